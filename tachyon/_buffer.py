"""The address of a bytes-like object's bytes, without a copy of them."""

from __future__ import annotations

from ctypes import POINTER, Structure, c_char_p, c_int, c_ssize_t, c_void_p, py_object, pythonapi

TYPE_CHECKING = False


class PinnedBuffer(Structure):
    """Py_buffer of CPython's stable ABI. address and size are ours to use while it is pinned."""

    if TYPE_CHECKING:
        address: int | None
        size: int
        format: bytes | None

    _fields_ = [
        ("address", c_void_p),
        ("obj", c_void_p),
        ("size", c_ssize_t),
        ("itemsize", c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_char_p),
        ("shape", POINTER(c_ssize_t)),
        ("strides", POINTER(c_ssize_t)),
        ("suboffsets", POINTER(c_ssize_t)),
        ("internal", c_void_p),
    ]


# By index: attributes of ctypes.pythonapi are shared with everyone in the process.
_get_buffer = pythonapi["PyObject_GetBuffer"]
_get_buffer.argtypes = [py_object, POINTER(PinnedBuffer), c_int]
_get_buffer.restype = c_int
# Also takes one that was never filled; so it may stand in a finally clause around pin().
unpin = pythonapi["PyBuffer_Release"]
unpin.argtypes = [POINTER(PinnedBuffer)]
unpin.restype = None

_SIMPLE = 0
# Of C's order, and with the kind of the elements.
_TYPED = 0x08 | 0x04


def pin(data: object, buffer: PinnedBuffer) -> None:
    """Hold an object's bytes in place until unpin(buffer).

    Raises TypeError (not bytes-like, or references to Python objects), BufferError (not
    C-contiguous).
    """
    try:
        _get_buffer(data, buffer, _TYPED)
    except TypeError:
        raise _not_bytes_like(data) from None
    except (BufferError, ValueError):
        _pin_untyped(data, buffer)
    if buffer.format and b"O" in buffer.format and _has_references(buffer.format):
        raise TypeError(
            f"the elements of this {type(data).__name__} are references to Python objects, which "
            "mean nothing to another process; send the objects themselves, pickled for one"
        )


def _pin_untyped(data: object, buffer: PinnedBuffer) -> None:
    """For what the first try had no words for, as dates in NumPy; or is not in one piece."""
    try:
        _get_buffer(data, buffer, _SIMPLE)
    except (BufferError, ValueError) as error:  # NumPy says ValueError
        raise BufferError(
            f"{error}: the bytes of this {type(data).__name__} must be in one piece "
            "(C-contiguous); send its tobytes(), or numpy.ascontiguousarray() of it"
        ) from None


def _has_references(form: bytes) -> bool:
    """Whether there is an O in a format of the buffer protocol, but for names: `T{l:Order:}`."""
    return any(b"O" in part for part in form.split(b":")[::2])


def _not_bytes_like(data: object) -> TypeError:
    if isinstance(data, str):
        return TypeError("cannot send a str: send text.encode()")
    if hasattr(data, "__dlpack__"):
        return TypeError(
            f"cannot send {type(data).__name__}: a bytes-like object is needed; send_array() takes "
            "tensors"
        )
    return TypeError(f"cannot send {type(data).__name__}: a bytes-like object is needed")
