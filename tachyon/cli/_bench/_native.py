"""Finds and runs tachyon-bench, the native loops; each run is one short round."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from array import array
from typing import Any

import tachyon
from tachyon.cli import _exit

PROGRAM = "tachyon-bench"
WRONG_DATA = 4
# For a round that takes a second on a quiet machine.
PATIENCE_S = 120


def find_program() -> str:
    """Return the program's path: TACHYON_BENCH, beside the library, or on the PATH."""
    exact = os.environ.get("TACHYON_BENCH")
    beside = os.path.join(os.path.dirname(tachyon.library_path()), PROGRAM)
    candidates = [exact] if exact else [beside, shutil.which(PROGRAM)]
    for path in candidates:
        if path and os.access(path, os.X_OK):
            return path
    tried = exact or f"{beside} and the PATH"
    raise _exit.Failure(
        _exit.ERROR,
        f"the program {PROGRAM} is not there (tried {tried}); it is built with the library:"
        " install the package with pip, or name it in TACHYON_BENCH",
    )


def run(arguments: list[str], samples_path: str | None = None) -> dict[str, Any]:
    """Run one round and return what it printed. Raises Failure where it failed."""
    command = [find_program(), *arguments, "--timeout", str(PATIENCE_S)]
    if samples_path:
        command += ["--samples", samples_path]
    environment = dict(os.environ)
    # A program built elsewhere than the library still measures the library that we loaded.
    folder = os.path.dirname(tachyon.library_path())
    paths = [folder, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(paths)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        # The first line is the cause; others are what came of it on the other side.
        lines = done.stderr.strip().splitlines() or [f"{PROGRAM} ended with {done.returncode}"]
        if done.returncode == WRONG_DATA:
            lines = [line for line in lines if "wrong data" in line] or lines
        raise _exit.Failure(_exit.ERROR, f"{' '.join(arguments)}: {lines[0]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def read_samples(path: str) -> array[int]:
    """Read the samples that a round has written: ticks."""
    samples = array("Q")
    with open(path, "rb") as file:
        samples.frombytes(file.read())
    return samples
