"""Find libtachyon, load it, check its version, and bind its functions once.

Search order: the file that TACHYON_LIBRARY names (and nothing else, where it is set); the
one inside this package; the one that the system's loader finds.
"""

from __future__ import annotations

import os
import sys
from ctypes import CDLL, POINTER, PyDLL, Structure, byref, c_char_p, c_int, c_void_p, cast

from tachyon._abi import ABI_MAJOR, ABI_MINOR, FUNCTIONS, YIELDS
from tachyon._errors import TachyonError, error_from_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FILE_NAME = "libtachyon.1.dylib" if sys.platform == "darwin" else "libtachyon.so.1"


def _check_abi(library: CDLL) -> None:
    """Refuse what is no libtachyon, another ABI major, or an older minor."""
    try:
        version = library.tachyon_abi_version()
    except AttributeError:
        raise OSError("it is not libtachyon: it has no tachyon_abi_version") from None
    major, minor = version >> 16, version & 0xFFFF
    if major != ABI_MAJOR or minor < ABI_MINOR:
        raise OSError(
            f"its ABI is {major}.{minor}, this package needs {ABI_MAJOR}.{ABI_MINOR} "
            f"or a later {ABI_MAJOR}.x"
        )


def _candidates() -> list[tuple[str, str]]:
    """Where to look: (why there, name for the loader)."""
    exact = os.environ.get("TACHYON_LIBRARY")
    if exact:
        return [("TACHYON_LIBRARY", os.path.abspath(exact))]
    package = os.path.dirname(os.path.abspath(__file__))
    return [
        ("bundled with the package", os.path.join(package, "_lib", FILE_NAME)),
        *(("bundled with the installed package", name) for name in _installed(package)),
        ("the system's loader", FILE_NAME),
    ]


def _installed(package: str) -> list[str]:
    """Libraries of the package as it is installed elsewhere on sys.path.

    For who runs Python in a clone of the repository: there, `import tachyon` means the
    sources, which have no library, and not what pip has built of them.
    """
    names = [os.path.join(entry, "tachyon", "_lib", FILE_NAME) for entry in sys.path if entry]
    return [name for name in names if not name.startswith(package) and os.path.exists(name)]


def _load() -> CDLL:
    tries = []
    for why, name in _candidates():
        try:
            library = CDLL(name)
            _check_abi(library)
            return library
        except OSError as error:
            tries.append(f"  {why}: {name}: {error}")
    raise ImportError(
        "cannot load libtachyon; tried:\n"
        + "\n".join(tries)
        + f"\n{_advice()}, or set TACHYON_LIBRARY to the file."
    )


def _advice() -> str:
    sources = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if os.path.exists(os.path.join(sources, "pyproject.toml")):
        return f"{sources} is the source tree: run `pip install .` there first"
    return "Install the package with pip to build it"


_yielding = _load()
_keeping = PyDLL(_yielding._name, handle=_yielding._handle)


def function(name: str) -> Callable[..., Any]:
    """Bind a function of the table, with its types checked at every call."""
    result, arguments, yields = FUNCTIONS[name]
    bound = (_yielding if yields is YIELDS else _keeping)[name]
    bound.restype = result
    bound.argtypes = arguments
    return bound


def quick_function(name: str) -> Callable[..., Any]:
    """Bind a function that keeps the interpreter lock, without argument conversion.

    Such a call costs less than half of a checked one. The caller passes exactly: handles and
    64-bit numbers as ctypes instances, bytes objects, and ints of 32 bits.
    """
    result, _, yields = FUNCTIONS[name]
    assert yields is not YIELDS
    bound = _keeping[name]
    bound.restype = result
    return bound


class _DlInfo(Structure):
    """Dl_info of dladdr(3)."""

    if TYPE_CHECKING:
        dli_fname: bytes | None

    _fields_ = [
        ("dli_fname", c_char_p),
        ("dli_fbase", c_void_p),
        ("dli_sname", c_char_p),
        ("dli_saddr", c_void_p),
    ]


def library_path() -> str:
    """The file that libtachyon was loaded from, symbolic links resolved."""
    dladdr = PyDLL(None)["dladdr"]
    dladdr.argtypes = [c_void_p, POINTER(_DlInfo)]
    dladdr.restype = c_int
    info = _DlInfo()
    address = cast(_keeping["tachyon_abi_version"], c_void_p)
    if not dladdr(address, byref(info)) or info.dli_fname is None:
        return _yielding._name
    return os.path.realpath(os.fsdecode(info.dli_fname))


def library_version() -> str:
    """The version of the loaded libtachyon, like "0.1.0"."""
    return str(_version().decode())


_version = function("tachyon_version")
_error_detail = function("tachyon_error_detail")


def error_detail() -> str:
    """The C library's own words about what has just failed in this thread."""
    detail = _error_detail() or b""
    return str(detail.decode("utf-8", "replace"))


def failure(status: int, what: str, path: str) -> TachyonError:
    """Make the exception for a status that a function has just returned in this thread.

    what: the attempt, "receive from". path: the bus or listener it was about.
    """
    # The C library begins with the path, which has just been said.
    return error_from_errno(status, f"{what} {path!r}", error_detail().removeprefix(f"{path}: "))
