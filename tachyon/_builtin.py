"""The hot functions as CPython's own built-in functions, or else as Python over ctypes.

libtachyon has functions in the shape of those that an extension module has, and types to go
with them (libtachyon/python.h): calling one costs a fifth of a call through ctypes. They are
not compiled against Python; we hand the library the addresses of the few functions of the
stable ABI that they need, once for the process.

So each hot method is there twice. In Python, as any other, with its documentation: that is
the way for all interpreters (PyPy, free-threaded builds, a second interpreter in the process)
and for all that is not quick (waiting, errors, odd arguments). Where it can be, quick() puts
a built-in function in its place, which calls the Python one where it is at its wits' end.
"""

from __future__ import annotations

import os
import sys
from ctypes import POINTER, c_void_p, cast, py_object, pythonapi

from tachyon._library import function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

_needs = function("tachyon_python_needs")
_start = function("tachyon_python_start")
_set = function("tachyon_python_set")
_method = function("tachyon_python_method")


class EndBase:
    """Of every end: where its C handles are, 0 before there are any and when they are freed."""

    __slots__ = ("_address", "_rpc_address")

    _address: int
    _rpc_address: int


class BusBase(EndBase):
    """Of every Bus."""

    __slots__ = ()


def _can_be_quick() -> bool:
    """Whether objects are as the limited API of a CPython with its lock has them.

    TACHYON_CTYPES=1 in the environment says no: for tests, and to see the difference.
    """
    return (
        sys.implementation.name == "cpython"
        and object.__basicsize__ == 16
        and os.environ.get("TACHYON_CTYPES", "0") in ("", "0")
    )


def _make_types() -> list[Any] | None:
    names = _needs().decode().split()
    functions = (c_void_p * len(names))(*(cast(pythonapi[name], c_void_p) for name in names))
    types = (py_object * 6)()
    status = _start(cast(functions, POINTER(c_void_p)), types)
    return None if status else list(types)


_types = _make_types() if _can_be_quick() else None
# Whether there are built-in functions.
QUICK = _types is not None
if _types is not None:
    EndBase, BusBase = _types[:2]  # type: ignore[misc]


def tell(**objects: object) -> None:
    """Hand objects to the C functions, which keep them for ever."""
    if QUICK:
        for name, value in objects.items():
            _set(name.encode(), value)


if _types is not None:
    tell(View=_types[-1])
tell(None_=None, bytes=bytes, int=int, no_buffer=(TypeError, BufferError, ValueError))
# Names of arguments are compared by identity.
tell(type_id=sys.intern("type_id"), timeout=sys.intern("timeout"))


def builtin_method(kind: type, name: str, text: str) -> Any:
    """The built-in function of this name as a method of a type. text: its signature and help."""
    return _method(name.encode(), kind, text.encode())


def quick(kind: type, name: str, signature: str, key: str = "") -> None:
    """Replace a method by the built-in function of its name, which falls back on the method.

    signature: the arguments, as help() is to show them. key: how the C functions know the
    method, if not by its name.
    """
    if QUICK:
        method = kind.__dict__[name]
        tell(**{key or name: method})
        text = f"{name}($self, {signature})\n--\n\n{method.__doc__}"
        setattr(kind, name, builtin_method(kind, name, text))


def quick_type(kind: type[T]) -> type[T]:
    """Decorate Message, Request, Lease: the type that C makes, with the methods of the class.

    Not a class derived from that type: such ones take part in garbage collection, which would
    cost each message more than all the rest of receiving it.
    """
    if _types is None:
        return kind
    (made,) = (one for one in _types if one.__name__ == kind.__name__)
    # C has the buffer of a lease.
    skipped = ("__slots__", "__module__", "__qualname__", "__buffer__", *kind.__dict__["__slots__"])
    for name, value in kind.__dict__.items():
        if name not in skipped:
            setattr(made, name, value)
    tell(**{kind.__name__: made})
    return made  # type: ignore[no-any-return]
