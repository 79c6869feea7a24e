"""The C tests, built by meson: each program is a test of this run, and counts its cases."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def meson(*arguments: str) -> subprocess.CompletedProcess[str]:
    # meson looks for ninja on the PATH, where an environment that is not activated is not.
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    return subprocess.run(
        [sys.executable, "-m", "mesonbuild.mesonmain", *arguments],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@cache
def build_folder() -> Path:
    """Set up, not yet compiled: enough to know which tests there are."""
    build = Path(tempfile.mkdtemp(prefix="tachyon-c-tests-"))
    atexit.register(shutil.rmtree, build, ignore_errors=True)
    setup = meson("setup", str(build), str(ROOT))
    if setup.returncode:
        raise RuntimeError(f"meson setup failed:\n{setup.stdout}")
    return build


@cache
def compile_once() -> subprocess.CompletedProcess[str]:
    return meson("compile", "-C", str(build_folder()))


def c_tests() -> dict[str, dict[str, Any]]:
    tests = json.loads((build_folder() / "meson-info/intro-tests.json").read_text())
    return {test["name"]: test for test in tests if any("c" in s.split(":") for s in test["suite"])}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = sorted(c_tests())
    assert names, "meson.build has no tests in suite c"
    metafunc.parametrize("name", names)


def test_c(name: str, record_property: Any) -> None:
    compiled = compile_once()
    assert compiled.returncode == 0, compiled.stdout
    test = c_tests()[name]
    run = subprocess.run(
        test["cmd"],
        env={**os.environ, **test["env"]},
        cwd=test["workdir"] or build_folder(),
        timeout=test["timeout"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if run.returncode == 77:  # meson's, and automake's, exit code for it
        pytest.skip(run.stdout.strip() or "the machine cannot run it")
    assert run.returncode == 0, run.stdout
    # A line for each of its cases, or it is a single one; conftest.py adds them up.
    record_property("cases", len(re.findall(r"^ok\b", run.stdout, re.MULTILINE)) or 1)
