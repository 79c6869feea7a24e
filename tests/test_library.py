"""The bridge to C: the same functions, structures and numbers on both sides; finding it."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tachyon
from tachyon import _abi, _errors

ROOT = Path(__file__).parent.parent
HEADER = ROOT / "include" / "tachyon.h"
STRUCTS = {
    "tachyon_message": _abi.MessageStruct,
    "tachyon_records": _abi.RecordsStruct,
    "tachyon_options": _abi.OptionsStruct,
    "tachyon_properties": _abi.PropertiesStruct,
    "tachyon_stats": _abi.StatsStruct,
    "tachyon_rpc_counters": _abi.RpcCountersStruct,
}
CONSTANTS = {
    "TACHYON_ABI_MAJOR": _abi.ABI_MAJOR,
    "TACHYON_ABI_MINOR": _abi.ABI_MINOR,
    "TACHYON_PREFAULT": _abi.PREFAULT,
    "TACHYON_MLOCK": _abi.MLOCK,
    "TACHYON_HUGE_PAGES": _abi.HUGE_PAGES,
    "TACHYON_TRUSTED": _abi.TRUSTED,
    "TACHYON_KIND_RPC": _abi.KIND_RPC,
    "TACHYON_REPLY": _abi.REPLY,
    "TACHYON_FAILURE": _abi.FAILURE,
    "TACHYON_RPC_UNKNOWN_TYPE": _abi.RPC_UNKNOWN_TYPE,
    "TACHYON_RPC_EXCEPTION": _abi.RPC_EXCEPTION,
    "TACHYON_RPC_TOO_LARGE": _abi.RPC_TOO_LARGE,
    "TACHYON_EPEERDEAD": _errors.EOWNERDEAD,
}


def test_header_symbol_map_and_table_name_the_same_functions() -> None:
    header = set(re.findall(r"^TACHYON_API [^;(]*?(\w+)\(", HEADER.read_text(), re.MULTILINE))
    symbol_map = (ROOT / "libtachyon" / "libtachyon.sym").read_text()
    exported = set(re.findall(r"^\s+(tachyon_\w+);", symbol_map, re.MULTILINE))
    assert header == exported == set(_abi.FUNCTIONS)


def test_the_table_counts_the_arguments_of_the_header() -> None:
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    for name, (_, arguments, _) in _abi.FUNCTIONS.items():
        match = re.search(rf"\b{name}\(([^;]*)\);", text)
        assert match, name
        parameters = match[1].strip()
        assert (0 if parameters == "void" else parameters.count(",") + 1) == len(arguments), name


def test_structures_and_constants_are_the_compilers(tmp_path: Path) -> None:
    lines = ["#include <stdio.h>", "#include <tachyon.h>", "int main(void) {"]
    expected = []
    for name, struct in STRUCTS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        expected.append(f"{name} {ctypes.sizeof(struct)}")
        for field, *_ in struct._fields_:
            lines.append(
                f'printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}), '
                f"sizeof((({name} *)0)->{field}));"
            )
            member = getattr(struct, field)
            expected.append(f"{name}.{field} {member.offset} {member.size}")
    for name, value in CONSTANTS.items():
        lines.append(f'printf("{name} %d\\n", (int){name});')
        expected.append(f"{name} {value}")
    lines.append('printf("%s\\n", TACHYON_VERSION); }')
    expected.append(tachyon.__version__)
    (tmp_path / "sizes.c").write_text("\n".join(lines))
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run(
        [*compiler, "-I", str(HEADER.parent), "-o", "sizes", "sizes.c"], cwd=tmp_path, check=True
    )
    sizes = subprocess.run([tmp_path / "sizes"], capture_output=True, text=True, check=True)
    assert sizes.stdout.splitlines() == expected


def test_every_field_of_a_structure_is_in_the_header() -> None:
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    for name, struct in STRUCTS.items():
        match = re.search(rf"typedef struct {name} {{(.*?)}} {name};", text, re.DOTALL)
        assert match
        assert re.findall(r"(\w+);", match[1]) == [field for field, *_ in struct._fields_]


def test_versions_agree() -> None:
    assert tachyon.__version__ == tachyon.library_version() == "0.1.0"
    for file in ("pyproject.toml", "meson.build"):
        assert tachyon.__version__ in (ROOT / file).read_text()


def test_every_public_name_exists_and_is_documented() -> None:
    for name in tachyon.__all__:
        assert getattr(tachyon, name).__doc__, name
    for kind in (tachyon.Bus, tachyon.Listener, tachyon.Lease, tachyon.Slot, tachyon.Batch):
        for name in dir(kind):
            if not name.startswith("_") and callable(getattr(kind, name)):
                assert getattr(kind, name).__doc__, f"{kind.__name__}.{name}"
    with pytest.raises(AttributeError, match="nonsense"):
        tachyon.nonsense  # noqa: B018


@pytest.mark.parametrize("name", [n for n in tachyon.__all__ if n.endswith("Error")])
def test_errors_are_one_family_and_can_be_pickled(name: str) -> None:
    import pickle

    kind = getattr(tachyon, name)
    assert issubclass(kind, tachyon.TachyonError)
    assert issubclass(kind, OSError)
    error = pickle.loads(pickle.dumps(kind(5, "what happened")))
    assert (type(error), error.errno, str(error)) == (kind, 5, "what happened")


def test_every_errno_becomes_an_exception_with_words() -> None:
    import errno

    for number in errno.errorcode:
        error = _errors.error_from_errno(-number, "do it", "")
        assert error.errno == number
        assert len(str(error)) > len("cannot do it: ")
    assert str(_errors.error_from_errno(-5, "do it", "the reason")) == "cannot do it: the reason"


# ---- finding the library ----


def run(
    code: str, package: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, with `tachyon` from the folder `package`.

    -S: without site-packages, where the package may be installed with its library.
    """
    folder = package or Path(tachyon.__file__).parent.parent
    kept = {k: v for k, v in os.environ.items() if k not in ("TACHYON_LIBRARY", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**kept, "PYTHONPATH": str(folder), **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package without a library."""
    source = Path(tachyon.__file__).parent
    shutil.copytree(
        source, tmp_path / "tachyon", ignore=shutil.ignore_patterns("_lib", "__pycache__")
    )
    return tmp_path


def fake_library(folder: Path, version: int) -> Path:
    """A library that claims to have an ABI version, and nothing else."""
    source = folder / "fake.c"
    source.write_text(f"unsigned tachyon_abi_version(void) {{ return {version}; }}")
    compiler = os.environ.get("CC", "cc").split()
    built = folder / "fake.so"
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", built, source], check=True)
    return built


PATH_OF_LIBRARY = "import tachyon; print(tachyon.library_path())"


def test_the_exact_path_comes_first(package: Path) -> None:
    copy = package / "elsewhere.so"
    shutil.copy2(tachyon.library_path(), copy)
    ran = run(PATH_OF_LIBRARY, package, TACHYON_LIBRARY=str(copy))
    assert (ran.stdout.strip(), ran.stderr) == (str(copy.resolve()), "")


def test_the_bundled_library_comes_next(package: Path) -> None:
    (package / "tachyon" / "_lib").mkdir()
    bundled = package / "tachyon" / "_lib" / "libtachyon.so.1"
    shutil.copy2(tachyon.library_path(), bundled)
    ran = run(PATH_OF_LIBRARY, package)
    assert (ran.stdout.strip(), ran.stderr) == (str(bundled.resolve()), "")


def test_sources_use_the_library_of_the_installed_package(package: Path) -> None:
    """As for who starts Python in a clone of the repository, beside what pip has built."""
    installed = package / "site-packages" / "tachyon" / "_lib" / "libtachyon.so.1"
    installed.parent.mkdir(parents=True)
    shutil.copy2(tachyon.library_path(), installed)
    both = os.pathsep.join([str(package), str(package / "site-packages")])
    ran = run(PATH_OF_LIBRARY + "; print(tachyon.__file__)", package, PYTHONPATH=both)
    wanted = [str(installed.resolve()), str(package / "tachyon" / "__init__.py")]
    assert (ran.stdout.split(), ran.stderr) == (wanted, "")


def test_the_systems_library_comes_last(package: Path) -> None:
    system = package / "system"
    system.mkdir()
    shutil.copy2(tachyon.library_path(), system / "libtachyon.so.1")
    ran = run(PATH_OF_LIBRARY, package, LD_LIBRARY_PATH=str(system))
    assert (ran.stdout.strip(), ran.stderr) == (str((system / "libtachyon.so.1").resolve()), "")


def test_no_library_is_an_import_error_that_lists_every_try(package: Path) -> None:
    ran = run("import tachyon", package)
    assert ran.returncode == 1
    for word in ("ImportError", "bundled", str(package), "system", "TACHYON_LIBRARY", "pip"):
        assert word in ran.stderr


def test_an_exact_path_that_fails_is_the_end(package: Path) -> None:
    (package / "tachyon" / "_lib").mkdir()
    shutil.copy2(tachyon.library_path(), package / "tachyon" / "_lib" / "libtachyon.so.1")
    ran = run("import tachyon", package, TACHYON_LIBRARY="/nowhere/libtachyon.so")
    assert "ImportError" in ran.stderr
    assert "/nowhere/libtachyon.so" in ran.stderr
    assert "bundled" not in ran.stderr


@pytest.mark.parametrize("version", [0, 2 << 16, (2 << 16) | 5])
def test_another_abi_is_refused_by_its_number(package: Path, version: int) -> None:
    fake = fake_library(package, version)
    ran = run("import tachyon", package, TACHYON_LIBRARY=str(fake))
    assert f"its ABI is {version >> 16}.{version & 0xFFFF}" in ran.stderr


def test_another_library_is_refused(package: Path) -> None:
    ran = run("import tachyon", package, TACHYON_LIBRARY="libc.so.6")
    assert "ImportError" in ran.stderr


def test_import_takes_less_than_15_ms_and_only_the_standard_library() -> None:
    code = """
import sys, time
before = set(sys.modules)
start = time.process_time()
import tachyon
print(time.process_time() - start)
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names)))
"""
    ran = [
        run(code, TACHYON_LIBRARY=tachyon.library_path(), PYTHONDONTWRITEBYTECODE="").stdout.split(
            "\n"
        )
        for _ in range(10)
    ]
    # The fastest, and of the processor's time: the machine may be doing other things.
    assert min(float(lines[0]) for lines in ran) < 0.015
    assert {lines[1] for lines in ran} == {"tachyon"}


def test_python_in_the_sources_is_told_to_install_first(tmp_path: Path) -> None:
    shutil.copytree(
        Path(tachyon.__file__).parent, tmp_path / "tachyon", ignore=shutil.ignore_patterns("_lib")
    )
    (tmp_path / "pyproject.toml").touch()
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import tachyon"
    environment = {key: value for key, value in os.environ.items() if key != "TACHYON_LIBRARY"}
    # -S: without site-packages, where the package may be installed.
    command = [sys.executable, "-S", "-c", script]
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{tmp_path} is the source tree: run `pip install .` there first" in done.stderr
