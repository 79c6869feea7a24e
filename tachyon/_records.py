"""Records: messages of one size, sent and received by the thousand with one call into C.

A call costs Python the same for one message as for the whole ring; here it is shared by as
many as there are. The view that is received is one lease on all of them.
"""

from __future__ import annotations

import errno
from ctypes import c_int64, c_size_t, c_uint32

from tachyon._errors import RecordMismatchError, WaitTimeoutError
from tachyon._lease import ring_memory
from tachyon._library import error_detail, function, quick_function
from tachyon._message import checked_type_id
from tachyon._numpy import numpy as np
from tachyon._wait import Countdown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import DTypeLike, NDArray

    from tachyon._vectors import Vectors

_send_records = function("tachyon_bus_send_records")
_recv_records = quick_function("tachyon_bus_recv_records")
_release = function("tachyon_bus_release")

_AT_ONCE = c_int64(0)
_UINT8 = np.dtype("u1")
_MISMATCHES = (-errno.EMSGSIZE, -errno.EBADMSG)
# Bytes to send in one call, which keeps the interpreter lock: a fraction of a millisecond.
_TURN_BYTES = 1 << 20


# ---- sending ----


def _check_sendable(array: NDArray[Any]) -> None:
    if array.dtype.hasobject:
        raise TypeError(f"records of {array.dtype} hold references to Python objects")
    if not array.dtype.isnative:
        raise TypeError(
            f"records of {array.dtype} are not in this machine's byte order; convert them: "
            "array.astype(array.dtype.newbyteorder('='))"
        )
    if array.ndim not in (1, 2):
        raise ValueError(
            f"records are the elements of an array of one dimension, or the rows of one of two; "
            f"this one has {array.ndim}"
        )
    if not array.flags.c_contiguous:
        raise BufferError(
            f"records must lie one behind the other, and this array has strides {array.strides}; "
            "send numpy.ascontiguousarray() of it"
        )


def send_records(bus: Vectors, array: NDArray[Any], type_id: int, timeout: float | None) -> int:
    """See Bus.send_records()."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"records are a NumPy array, not {type(array).__name__}")
    _check_sendable(array)
    type_id = checked_type_id(type_id)
    countdown = Countdown(timeout)
    count = len(array)
    size = array.itemsize if array.ndim == 1 else array.itemsize * array.shape[1]
    if not size:
        raise ValueError("records of 0 bytes cannot be told apart")
    address = array.__array_interface__["data"][0]
    turn = max(1, _TURN_BYTES // size)
    sent = 0
    while sent < count:
        status = _send_records(
            bus._handle, address + sent * size, size, min(turn, count - sent), type_id, 0
        )
        if status > 0:
            sent += status
            continue
        try:
            bus._await_space(status, size, countdown)
        except WaitTimeoutError:
            break
    return sent


# ---- receiving ----


def _size_of(dtype: np.dtype[Any]) -> int:
    """Bytes of a record, and no way to mistake the peer's bytes for pointers."""
    if dtype.hasobject:
        raise TypeError(f"records of {dtype} hold references to Python objects")
    if not dtype.itemsize:
        raise ValueError("records of 0 bytes cannot be told apart")
    return dtype.itemsize


def recv_records(
    bus: Vectors,
    dtype: DTypeLike,
    max_records: int,
    timeout: float | None,
    type_id: int | None,
    copy: bool,
) -> NDArray[Any]:
    """See Bus.recv_records()."""
    layout = dtype if isinstance(dtype, np.dtype) else np.dtype(dtype)
    if max_records < 1:
        raise ValueError(f"max_records must be at least 1, and is {max_records}")
    size, most = c_size_t(_size_of(layout)), c_size_t(min(max_records, 2**62))
    tag = None if type_id is None else (c_uint32 * 1)(checked_type_id(type_id))
    # As large as struct tachyon_records, and more: address, count, stride, lease.
    words = bus._words
    words[0] = 0
    try:
        status = _recv_records(bus._handle, bus._message, size, most, tag, _AT_ONCE)
        if status < 0:
            _recv_slow(bus, layout, status, Countdown(timeout), size, most, tag)
        address, count, stride, lease = words.tolist()[:4]
        view = _view(bus, layout, address, count, stride, lease)
        return view.copy() if copy else view
    except BaseException:  # a signal handler's, too
        if words[0]:
            _release(bus._handle, words[3])
        raise


def _view(
    bus: Vectors, layout: np.dtype[Any], address: int, count: int, stride: int, lease: int
) -> NDArray[Any]:
    memory = ring_memory(bus, address, (count - 1) * stride + layout.itemsize, lease)
    # Not np.ndarray(buffer=memory): that would make the memory behind a read-only memoryview
    # its base, and let flags.writeable be set.
    base = np.frombuffer(memory, _UINT8)
    return np.ndarray((count,), layout, base, 0, (stride,))


def _recv_slow(
    bus: Vectors, layout: np.dtype[Any], status: int, countdown: Countdown, *arguments: Any
) -> None:
    """After a try that received nothing: wait until one does."""
    while status < 0:
        if status in _MISMATCHES:
            raise RecordMismatchError(
                -status,
                f"cannot receive records of {layout} from {bus.path!r}: {error_detail()}; "
                "it is still the next one to receive",
            )
        bus._await_data(status, countdown)
        status = _recv_records(bus._handle, bus._message, *arguments, _AT_ONCE)
