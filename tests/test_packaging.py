"""The wheel: one per platform with the library inside, or a pure one without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import tachyon

ROOT = Path(__file__).parent.parent
PLATFORM = sysconfig.get_platform().replace("-", "_").replace(".", "_")
NOT_SOURCE = shutil.ignore_patterns(".*", "build*", "dist", "__pycache__", "_lib", "*.egg-info")

BUILD = """
import sys
from hatchling.builders.wheel import WheelBuilder
for wheel in WheelBuilder(sys.argv[1]).build(directory=sys.argv[2], versions=[sys.argv[3]]):
    print(wheel)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, for an editable build writes into its tree; with what an earlier one left there."""
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT, folder, ignore=NOT_SOURCE, dirs_exist_ok=True)
    (folder / "tachyon" / "_lib").mkdir()
    (folder / "tachyon" / "_lib" / "libtachyon.so.1").write_text("stale")
    return folder


def build(source: Path, out: Path, version: str = "standard", **environment: str) -> Path:
    ran = subprocess.run(
        [sys.executable, "-c", BUILD, str(source), str(out), version],
        env={**os.environ, **environment},
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return Path(ran.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, tmp_path_factory.mktemp("wheel"))


def run_installed(folder: Path, code: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k != "TACHYON_LIBRARY"}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "PYTHONPATH": str(folder)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_the_wheel_fits_every_python_of_its_platform(wheel: Path) -> None:
    assert wheel.name == f"tachyon-0.1.0-py3-none-{PLATFORM}.whl"
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("tachyon-0.1.0.dist-info/WHEEL").decode()
    assert "Root-Is-Purelib: false" in text


def test_the_wheel_holds_the_package_and_one_fresh_library(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert archive.read("tachyon/_lib/libtachyon.so.1")[:4] == b"\x7fELF"
    assert len(names) == len(set(names))
    assert {name.split("/")[0] for name in names} == {"tachyon", "tachyon-0.1.0.dist-info"}
    for name in ("tachyon/__init__.py", "tachyon/py.typed", "tachyon/cli/__init__.py"):
        assert name in names


def test_the_wheels_library_is_the_one_that_is_loaded(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    path = run_installed(tmp_path, "import tachyon; print(tachyon.library_path())")
    assert path == str((tmp_path / "tachyon/_lib/libtachyon.so.1").resolve())


RESTRICTED = """
import os, sys
sys.path[:] = [p for p in sys.path if "packages" not in p]  # what Debian's site.py adds, too
import tachyon
path = sys.argv[1]
if os.fork() == 0:
    with tachyon.Bus.connect(path, timeout=60) as bus:
        bus.send(b"hello")
    os._exit(0)
with tachyon.Bus.listen(path, timeout=60) as bus:
    print(*(bytes(message.data).decode() for message in bus), os.geteuid())
assert os.wait()[1] == 0
try:
    import numpy
except ImportError:
    pass
else:
    raise AssertionError("this is to be without NumPy")
print(tachyon.library_path())
"""


def restricted_python() -> tuple[str, int]:
    """An interpreter, and a user who is not root and may run it, where there is one."""
    code = "import sys; assert sys.version_info >= (3, 10)"
    user = os.geteuid() or 65534
    for python in sys.executable, os.path.realpath(sys.executable), "/usr/bin/python3":
        try:
            subprocess.run([python, "-S", "-c", code], user=user, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python, user
    return sys.executable, os.geteuid()


def test_a_copied_library_and_the_package_folder_are_enough(source: Path, folder: Path) -> None:
    """No pip, no NumPy, nothing writable, and, where the tests run as root, no root."""
    carried, run_folder = folder / "carried", folder / "run"
    ignored = shutil.ignore_patterns("_lib", "__pycache__")
    shutil.copytree(source / "tachyon", carried / "tachyon", ignore=ignored)
    library = carried / "libtachyon-carried.so"
    shutil.copy(tachyon.library_path(), library)
    (carried / "script.py").write_text(RESTRICTED)
    run_folder.mkdir()
    python, user = restricted_python()
    os.chown(run_folder, user, -1)
    folder.chmod(0o755)
    for path in [carried, *carried.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(carried.rglob("*"))
    change = {"user": user, "group": user, "extra_groups": []} if os.geteuid() != user else {}
    ran = subprocess.run(
        [python, "-S", str(carried / "script.py"), str(run_folder / "bus")],
        env={"TACHYON_LIBRARY": str(library)},
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **change,
    )
    for path in [carried, *carried.rglob("*")]:
        path.chmod(0o755)  # or nobody but root could remove it
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.split() == ["hello", str(user), str(library.resolve())]
    assert sorted(carried.rglob("*")) == before


def test_the_command_is_installed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("tachyon-0.1.0.dist-info/entry_points.txt").decode()
    assert "tachyon = tachyon.cli:main" in text


def test_without_the_library_the_wheel_is_pure(source: Path, tmp_path: Path) -> None:
    wheel = build(source, tmp_path, TACHYON_NO_BUNDLE="1")
    assert wheel.name == "tachyon-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if "/_lib/" in name]


def test_an_editable_install_finds_its_library_in_the_tree(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path, "editable")
    path = run_installed(source, "import tachyon; print(tachyon.library_path())")
    assert path == str((source / "tachyon/_lib/libtachyon.so.1").resolve())


def test_the_sdist_is_enough_to_build_from(source: Path, tmp_path: Path) -> None:
    code = BUILD.replace("wheel", "sdist").replace("Wheel", "Sdist")
    built = subprocess.run(
        [sys.executable, "-c", code, str(source), str(tmp_path), "standard"],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    shutil.unpack_archive(tmp_path / "tachyon-0.1.0.tar.gz", tmp_path)
    wheel = build(tmp_path / "tachyon-0.1.0", tmp_path / "out")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "unpacked")
    path = run_installed(tmp_path / "unpacked", "import tachyon; print(tachyon.library_path())")
    assert path == str((tmp_path / "unpacked/tachyon/_lib/libtachyon.so.1").resolve())


def test_a_wheel_for_another_machine_has_its_tag(source: Path, tmp_path: Path) -> None:
    """Here the compiler is this machine's own; packaging/build-wheels has others."""
    cross_file = tmp_path / "cross.ini"
    cross_file.write_text("[built-in options]\nc_link_args = ['-s']\n")
    wheel = build(
        source, tmp_path, TACHYON_CROSS_FILE=str(cross_file), TACHYON_PLATFORM="other-1.2_machine"
    )
    assert wheel.name == "tachyon-0.1.0-py3-none-other_1_2_machine.whl"


def test_the_build_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    before = {p for p in source.rglob("*") if "__pycache__" not in p.parts}
    out = tmp_path / "out"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    build(source, out, TMPDIR=str(scratch))
    assert {p for p in source.rglob("*") if "__pycache__" not in p.parts} == before
    assert list(scratch.iterdir()) == []


def test_a_failed_compilation_says_what_is_needed(source: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", BUILD, str(source), str(tmp_path), "standard"],
        env={**os.environ, "CC": "/nowhere/cc", "TMPDIR": str(scratch)},
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "C compiler" in ran.stderr
    assert list(scratch.iterdir()) == []
