"""Arrays as requests and replies: written straight into the ring, and read there.

The bytes are those of _array.py. Imported at the first use, and NumPy with it.
"""

from __future__ import annotations

from tachyon._array import ArraySlot, _as_array, _fill, _make_header, array_in, reserved_array
from tachyon._numpy import numpy as np

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import DTypeLike, NDArray

    from tachyon._lease import Lease, Slot
    from tachyon._rpc import RpcBus
    from tachyon._rpc_calls import PendingCall, RequestSlot


class ArrayMessage:
    """An array that is to be sent; looked at now, copied when it is sent.

    Raises TypeError for what is no array, or cannot be sent; BufferError for a GPU's.
    """

    __slots__ = ("_header", "_size", "_source")

    def __init__(self, array: Any) -> None:
        # What sum() and the like return is no array to NumPy; here it is one of no dimension.
        if isinstance(array, np.generic):
            array = np.asarray(array)
        self._source, text = _as_array(array)
        self._header, self._size = _make_header(text, self._source.itemsize, self._source.shape)

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return self._header + self._source.tobytes()

    def write(self, slot: Slot) -> None:
        """Fill a slot of so many bytes."""
        _fill(slot, self._header, self._source)


def array_of(lease: Lease, copy: bool) -> NDArray[Any]:
    """The array of a reply: over the ring, which it keeps, or a copy of it."""
    with lease:
        array = array_in(lease.data)
        return array.copy() if copy else array


class ArrayRequest(ArraySlot):
    """From RpcBus.reserve_array(): its `with` block has the array, and calls at the end.

    call: the PendingCall, after the block.
    """

    __slots__ = ()

    _slot: RequestSlot

    @property
    def call(self) -> PendingCall:
        return self._slot.call


def reserve_request(
    bus: RpcBus,
    shape: int | tuple[int, ...],
    dtype: DTypeLike,
    msg_type: int,
    timeout: float | None,
) -> ArrayRequest:
    """See RpcBus.reserve_array()."""

    def reserve(size: int) -> RequestSlot:
        return bus.reserve(size, msg_type, timeout)

    return reserved_array(reserve, shape, dtype, ArrayRequest)
