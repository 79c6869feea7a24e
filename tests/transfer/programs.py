"""The programs of this folder, each there once in C and once in Python.

The C ones are compiled against the very library that the Python package has loaded, with
nothing but a C compiler.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import tachyon

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
LANGUAGES = ("c", "python")
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")


def build(source: Path, folder: Path) -> Path:
    """Compile a C program into the folder, where it is not there yet; returns its path."""
    program = folder / source.stem
    if program.exists():
        return program
    library = tachyon.library_path()
    search = os.path.dirname(library)
    command = [os.environ.get("CC", "cc"), "-std=c11", "-O2", "-g", *WARNINGS, str(source)]
    command += [f"-I{REPOSITORY / 'include'}", library, f"-Wl,-rpath,{search}", "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def command(name: str, language: str, folder: Path) -> list[str]:
    """What starts program `name` in a language; folder: where C programs are built."""
    if language == "c":
        return [str(build(HERE / f"{name}.c", folder))]
    return [sys.executable, str(HERE / f"{name}.py")]


def environment() -> dict[str, str]:
    """So that children have the package and the library that we have."""
    package = str(Path(tachyon.__file__).resolve().parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "TACHYON_LIBRARY": tachyon.library_path(),
    }
