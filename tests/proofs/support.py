"""What proofs share: builds of the library, what a process has open, the closing line."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
BUILDS = REPOSITORY / "build" / "proofs"


def build(name: str, *options: str, cc: str | None = None, targets: tuple[str, ...] = ()) -> Path:
    """Build the tree in a folder of this name, as far as it is not built yet; return the folder.

    options: for `meson setup`, taken at the first time only. targets: of `meson compile`;
    default: all. Several proofs may want the same build at once: they take turns.
    """
    folder = BUILDS / name
    BUILDS.mkdir(parents=True, exist_ok=True)
    with open(BUILDS / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "build.ninja").exists():
            environment = {**os.environ, **({"CC": cc} if cc else {})}
            meson("setup", "--werror", str(folder), *options, environment=environment)
        meson("compile", "-C", str(folder), *targets)
    return folder


def meson(*arguments: str, environment: dict[str, str] | None = None) -> None:
    """Run meson of this Python's environment, quietly where it works."""
    here = os.path.dirname(sys.executable)
    environment = environment or dict(os.environ)
    environment["PATH"] = os.pathsep.join([here, environment.get("PATH", "")])  # ninja, too
    program = f"{here}/meson" if os.path.exists(f"{here}/meson") else "meson"
    done = subprocess.run(
        [program, *arguments],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{done.stdout[-6000:]}\nmeson {' '.join(arguments)} failed")


def closing(name: str, size: str, good: bool) -> int:
    """Print a proof's last line, for the table of tests/run-proofs; return its exit code."""
    print(f"proof: {name}: {size}: {'ok' if good else 'FAILED'}", flush=True)
    return 0 if good else 1
