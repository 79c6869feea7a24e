"""Arrays that describe themselves: a header, then the elements. docs/protocol.md has the bytes.

The header of a received array is the peer's: it is copied out of the ring once, and only the
copy is checked and used. What has been found right is remembered by its very bytes, for a
stream of arrays mostly repeats them.
"""

from __future__ import annotations

import struct
import sys
from ctypes import c_int64
from math import prod

from tachyon._dtype import ForeignType, dtype_of, text_of
from tachyon._errors import ArrayFormatError
from tachyon._lease import ring_memory
from tachyon._library import function, quick_function
from tachyon._numpy import numpy as np
from tachyon._wait import Countdown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Any, TypeVar

    from numpy.typing import DTypeLike, NDArray

    from tachyon._lease import Slot
    from tachyon._vectors import Vectors

    SomeSlot = TypeVar("SomeSlot", bound="ArraySlot")

_recv = quick_function("tachyon_bus_recv")
_release = function("tachyon_bus_release")
_put_back = function("tachyon_bus_put_back")

MAGIC = 0x0A72726168636174
_MAGIC_BYTES = MAGIC.to_bytes(8, sys.byteorder)
_VERSION = 1
# magic, version, ndim, dtype_size, itemsize, data_size, data_offset, flags, reserved
_HEADER = struct.Struct("=QHHIQQII24s")
_RESERVED = bytes(24)
_DATA_OFFSET = struct.Struct("=32xI")
_ALIGNMENT = 64
_MAX_NDIM = 64
_MAX_DTYPE = 65536
_MAX_HEADER = _HEADER.size + 8 * _MAX_NDIM + _MAX_DTYPE + _ALIGNMENT
_MAX_DATA = 2**63 - 1
# How many headers to remember, of either direction.
_REMEMBERED = 64

_AT_ONCE = c_int64(0)
# CO_OPTIMIZED: code whose local variables are not in a dictionary.
_FUNCTION = 1
_UINT8 = np.dtype("u1")


def _data_offset(ndim: int, dtype_size: int) -> int:
    return -(-(_HEADER.size + 8 * ndim + dtype_size) // _ALIGNMENT) * _ALIGNMENT


def _data_size(itemsize: int, shape: tuple[int, ...]) -> int:
    """Raises ValueError where even the extents that are not 0 make too many bytes."""
    if itemsize * prod(extent for extent in shape if extent) > _MAX_DATA:
        raise ValueError(f"shape {shape} of {itemsize}-byte elements is more than memory can hold")
    return itemsize * prod(shape)


# ---- headers to send ----

_headers: dict[tuple[str, int, tuple[int, ...]], tuple[bytes, int]] = {}


def _make_header(text: str, itemsize: int, shape: tuple[int, ...]) -> tuple[bytes, int]:
    """The header of an array, up to its elements, and the bytes of the whole message."""
    key = (text, itemsize, shape)
    known = _headers.get(key)
    if known is None:
        if len(_headers) >= _REMEMBERED:
            _headers.clear()
        known = _headers[key] = _compose(text, itemsize, shape)
    return known


def _compose(text: str, itemsize: int, shape: tuple[int, ...]) -> tuple[bytes, int]:
    if len(text) > _MAX_DTYPE:
        raise TypeError(f"the dtype's description has {len(text)} characters, over {_MAX_DTYPE}")
    if any(extent < 0 for extent in shape):
        raise ValueError(f"shape {shape} has a negative extent")
    ndim, size = len(shape), _data_size(itemsize, shape)
    offset = _data_offset(ndim, len(text))
    head = _HEADER.pack(MAGIC, _VERSION, ndim, len(text), itemsize, size, offset, 0, _RESERVED)
    head += struct.pack(f"={ndim}Q", *shape) + text.encode("ascii")
    return head.ljust(offset, b"\0"), offset + size


# ---- headers received ----


class Layout:
    """What a checked header says of its message. dtype is None where it needs ml_dtypes, and
    that cannot be imported."""

    __slots__ = ("dtype", "itemsize", "offset", "shape", "size", "text")

    def __init__(self, head: bytes) -> None:
        """Raises ValueError."""
        magic, version, ndim, length, itemsize, data_size, offset, flags, reserved = (
            _HEADER.unpack_from(head)
        )
        if magic != MAGIC:
            raise ValueError("it does not begin as an array does")
        if version != _VERSION or flags or reserved != _RESERVED:
            raise ValueError(f"it is of version {version}, which is not known here")
        if not (ndim <= _MAX_NDIM and 0 < length <= _MAX_DTYPE and itemsize):
            raise ValueError(f"{ndim} dimensions, {length} characters of dtype")
        if offset != _data_offset(ndim, length) or offset != len(head):
            raise ValueError("its elements are not where they should be")
        begin = _HEADER.size + 8 * ndim
        self.shape = struct.unpack_from(f"={ndim}Q", head, _HEADER.size)
        self.text = head[begin : begin + length].decode("ascii")
        self.itemsize: int = itemsize
        self.offset: int = offset
        self.size: int = offset + data_size
        if _data_size(itemsize, self.shape) != data_size:
            raise ValueError(f"shape {self.shape} does not make {data_size} bytes")
        self.dtype = self._find_dtype()
        if self.dtype is not None and self.dtype.itemsize != itemsize:
            raise ValueError(f"elements of {self.text[:100]} do not have {itemsize} bytes")

    def _find_dtype(self) -> np.dtype[Any] | None:
        try:
            return dtype_of(self.text)
        except ForeignType:
            return None

    def known_dtype(self) -> np.dtype[Any]:
        """The dtype; or ImportError, with advice."""
        if self.dtype is None:
            raise ImportError(
                f"elements of type {self.text} need ml_dtypes: pip install ml_dtypes",
                name="ml_dtypes",
            )
        return self.dtype


_layouts: dict[bytes, Layout] = {}


def is_array(memory: Any) -> bool:
    """Whether a message (bytes, or a memoryview of bytes) begins as an array does."""
    return bytes(memory[:8]) == _MAGIC_BYTES


def layout_of(memory: Any) -> Layout:
    """Check the header of a message: bytes, or a memoryview of bytes.

    Raises ArrayFormatError.
    """
    if len(memory) < _HEADER.size or not is_array(memory):
        raise _no_array(len(memory), "it does not begin as an array does")
    # Only how much to copy; the copy has this number once more, and that one counts.
    length = max(_HEADER.size, min(_DATA_OFFSET.unpack_from(memory)[0], _MAX_HEADER))
    head = bytes(memory[:length])
    layout = _layouts.get(head)
    if layout is None:
        layout = _remember_layout(head, len(memory))
    if layout.size != len(memory):
        raise _no_array(len(memory), f"its header speaks of {layout.size}")
    return layout


def _remember_layout(head: bytes, size: int) -> Layout:
    try:
        layout = Layout(head)
    except ValueError as error:
        raise _no_array(size, str(error)) from None
    if layout.dtype is not None:  # ml_dtypes may be installed yet
        if len(_layouts) >= _REMEMBERED:
            _layouts.clear()
        _layouts[head] = layout
    return layout


def _no_array(size: int, why: str) -> ArrayFormatError:
    from errno import EBADMSG

    return ArrayFormatError(EBADMSG, f"a message of {size} bytes is not an array: {why}")


def array_in(memory: Any) -> NDArray[Any]:
    """The array over a message, bytes or a memoryview of bytes; writable if that is.

    Raises ArrayFormatError, ImportError (ml_dtypes).
    """
    layout = layout_of(memory)
    return _array_over(memory, layout, layout.known_dtype())


def _array_over(memory: Any, layout: Layout, dtype: np.dtype[Any]) -> NDArray[Any]:
    # By way of frombuffer, whose base is the memoryview itself and not what is behind it:
    # else flags.writeable could be set on an array over read-only memory.
    base = np.frombuffer(memory, _UINT8)
    return np.ndarray(layout.shape, dtype, base, layout.offset)


# ---- receiving ----


def recv_array(bus: Vectors, timeout: float | None, copy: bool) -> NDArray[Any]:
    """See Bus.recv_array()."""
    words = bus._words
    words[0] = 0
    is_ours = False
    try:
        status = _recv(bus._handle, bus._message, _AT_ONCE)
        if status:
            bus._recv_zero_copy_slow(status, Countdown(timeout))
        address, size, lease = words.tolist()[:3]
        layout = layout_of(memoryview(bus._recv_window.from_address(address)).cast("B")[:size])
        dtype = layout.known_dtype()
        is_ours = True
        array = _array_over(ring_memory(bus, address, size, lease), layout, dtype)
        return array.copy() if copy else array
    except BaseException:  # a signal handler's, too
        # What was not looked at to the end can be received again.
        if words[0] and (is_ours or _put_back(bus._handle, bus._message)):
            _release(bus._handle, words[2])
        raise


# ---- sending ----


def _as_array(array: Any) -> tuple[NDArray[Any], str]:
    """An array over the same memory, and the text of its dtype."""
    if not isinstance(array, np.ndarray):
        if hasattr(array, "__dlpack__"):
            from tachyon._dlpack import import_tensor

            return import_tensor(array)
        try:
            array = np.asarray(_buffer_of(array), copy=False)
        except ValueError:
            raise TypeError(
                f"a {type(array).__name__} has no array's memory to send; "
                "send numpy.asarray() of it"
            ) from None
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError("the mask of a masked array would be lost; send its filled(), or .data")
    return array, text_of(array.dtype)


def _buffer_of(thing: Any) -> Any:
    """Its buffer, where it has one. NumPy would take what is raised there for "it has none", be
    it a signal handler's exception that struck in a __buffer__() written in Python."""
    try:
        return memoryview(thing)
    except (TypeError, ValueError, BufferError):
        return thing


def send_array(bus: Vectors, array: Any, type_id: int, timeout: float | None) -> None:
    """See Bus.send_array()."""
    source, text = _as_array(array)
    header, size = _make_header(text, source.itemsize, source.shape)
    slot = bus.send_zero_copy(size, type_id, timeout)
    with slot:
        _fill(slot, header, source)


def _fill(slot: Slot, header: bytes, source: NDArray[Any]) -> None:
    """In a frame of its own: its views of the ring end with it."""
    slot.data[: len(header)] = header
    elements = np.frombuffer(slot.data, _UINT8)[len(header) :]
    if source.dtype.fields is not None:
        # NumPy would leave out the bytes between the fields, and so send what was there before.
        source = source.view(f"V{source.itemsize}")
    try:
        np.copyto(np.ndarray(source.shape, source.dtype, elements), source)
    finally:
        del elements  # an exception would keep it otherwise, and the reservation with it


def reserve_array(
    bus: Vectors,
    shape: int | tuple[int, ...],
    dtype: DTypeLike,
    type_id: int,
    timeout: float | None,
) -> ArraySlot:
    """See Bus.reserve_array()."""

    def reserve(size: int) -> Slot:
        return bus.send_zero_copy(size, type_id, timeout)

    return reserved_array(reserve, shape, dtype, ArraySlot)


def reserved_array(
    reserve: Callable[[int], Slot],
    shape: int | tuple[int, ...],
    dtype: DTypeLike,
    kind: type[SomeSlot],
) -> SomeSlot:
    """An array in room for a message, which reserve(size) gets."""
    from operator import index

    layout = dtype if isinstance(dtype, np.dtype) else np.dtype(dtype)
    extents = tuple(map(index, shape)) if np.iterable(shape) else (index(shape),)
    if layout.subdtype is not None:
        layout, inner = layout.subdtype
        extents += inner
    header, size = _make_header(text_of(layout), layout.itemsize, extents)
    return kind(reserve(size), header, extents, layout)


class ArraySlot:
    """From Bus.reserve_array(): its `with` block has the array, and sends it at the end."""

    __slots__ = ("_array", "_slot")

    def __init__(
        self, slot: Slot, header: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        slot.data[: len(header)] = header
        # Slices of an array have that array's base for theirs, if it is an array as well: so
        # they keep the memory by `base`, and not by this array, which loses it at the end.
        base = np.frombuffer(slot.data, _UINT8)
        self._array: NDArray[Any] | None = np.ndarray(shape, dtype, base, len(header))
        self._slot: Slot = slot

    def __enter__(self) -> NDArray[Any]:
        if self._array is None:
            raise ValueError("this array was already sent or cancelled")
        return self._array

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        array, self._array = self._array, None
        if array is None:
            return
        # Here: `array`, the argument, and the name in the `with` statement.
        references = sys.getrefcount(array) - 3
        if references <= 0 or references <= _count_locals(array, traceback, sys._getframe(1)):
            _detach(array)
        del array
        if kind is None:
            self._slot.commit()
        else:
            self._slot.cancel()


def _count_locals(array: NDArray[Any], traceback: TracebackType | None, frame: FrameType) -> int:
    """References that are but names: local variables of the functions that an exception has
    left, and the copies of local variables that Python makes for a debugger (up to 3.12).

    frame: that of the `with` statement.
    """
    are_copied = sys.gettrace() is not None and sys.version_info < (3, 13)
    count = _count_names(array, frame) if are_copied and frame.f_code.co_flags & _FUNCTION else 0
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
        count += _count_names(array, traceback.tb_frame) * (2 if are_copied else 1)
    return count


def _count_names(array: NDArray[Any], frame: FrameType) -> int:
    return sum(value is array for value in frame.f_locals.values())


def _detach(array: NDArray[Any]) -> None:
    """Take the ring's memory from an array that others may still name: it is empty after that.

    Only where nothing but names refers to it: a tensor or a memoryview made of it would go on
    using the memory, and does not show but as a reference. For those it is left as it is, and
    keeps the reservation.
    """
    # What unpickling uses: replaces data, shape and base of an array.
    array.__setstate__(((0,), array.dtype, False, b""))  # type: ignore[arg-type]
    array.flags.writeable = False
