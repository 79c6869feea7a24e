"""What Bus does with NumPy: records, arrays. The work is done by _records.py and _array.py,
which are imported at the first use, and NumPy with them."""

from __future__ import annotations

from tachyon._end import End

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import DTypeLike, NDArray

    from tachyon._array import ArraySlot
    from tachyon._lease import Slot
    from tachyon._wait import Countdown


class Vectors(End):
    """See Bus."""

    __slots__ = ()

    if TYPE_CHECKING:

        def _await_space(self, status: int, size: int, countdown: Countdown) -> None: ...
        def _await_data(self, status: int, countdown: Countdown) -> None: ...
        def _recv_zero_copy_slow(self, status: int, countdown: Countdown) -> None: ...
        def send_zero_copy(
            self, size: int, type_id: int = 0, timeout: float | None = None
        ) -> Slot: ...

    def send_records(
        self, array: NDArray[Any], type_id: int = 0, timeout: float | None = None
    ) -> int:
        """Send many messages of one size: each element, or each row, becomes one message.

        array: C-contiguous and of native byte order. Of one dimension: each element is a
        message of its itemsize bytes, be it a number or a structure. Of two: each row is one.
        Never copied on the way to the ring; what is strided raises BufferError, swapped bytes
        and object references raise TypeError. type_id: the tag of each.

        The receiver cannot tell them from messages that were sent one by one. Blocks while
        the ring is full. Returns how many were sent: all of them, or fewer where the time
        was over, even none. Raises what send() does, but WaitTimeoutError; where the bus ends
        on the way, what was sent before has been committed.
        """
        from tachyon._records import send_records

        return send_records(self, array, type_id, timeout)

    def recv_records(
        self,
        dtype: DTypeLike,
        max_records: int = 65536,
        timeout: float | None = None,
        *,
        type_id: int | None = None,
        copy: bool = False,
    ) -> NDArray[Any]:
        """Receive a run of equal-sized messages as one NumPy array, without copying.

        dtype: record layout, its itemsize = message size in bytes. type_id: the tag that each
        must have; None takes any. Blocks for the first message, then takes what is there.

        Returns a read-only array of shape (n,), 1 <= n <= max_records, strided over the ring;
        the whole run is one lease, given back when the last array or slice of it dies, in
        whatever thread, the bus closed or not. copy=True: a packed array that is yours
        instead, and the ring is free again at once. Where both ends asked for trusted=True,
        the view is writable.

        A message of another size or tag ends the run and is the next one received. Where it
        is the first: RecordMismatchError, and it still is the next one received.
        Raises what recv_zero_copy() does; ClosedError comes after the last record.
        """
        from tachyon._records import recv_records

        return recv_records(self, dtype, max_records, timeout, type_id, copy)

    def send_array(self, array: Any, type_id: int = 0, timeout: float | None = None) -> None:
        """Send an array with its dtype and shape, copied once, into the ring.

        array: a NumPy array of any dtype without object references (structured, datetime64,
        bfloat16 and float8 of ml_dtypes, ...), of any strides; or whatever hands over its
        memory: a tensor on the CPU (__dlpack__), or a buffer. It arrives in C order.

        Raises what send() does; TypeError for what is no array, or cannot be sent;
        BufferError for a tensor on a GPU (move it to the CPU first).
        """
        from tachyon._array import send_array

        send_array(self, array, type_id, timeout)

    def reserve_array(
        self,
        shape: int | tuple[int, ...],
        dtype: DTypeLike,
        type_id: int = 0,
        timeout: float | None = None,
    ) -> ArraySlot:
        """Get a writable array IN the ring, to compute into:
        `with bus.reserve_array((640, 480), "f4") as array:`

        64-byte aligned, in C order, its content undefined. The end of the block sends it, an
        exception in the block sends nothing. Then the array is empty: its memory is the
        ring's again. Nothing else may refer to that memory when the block ends, be it a
        slice, a tensor made of the array or a second name for it: where something does,
        nothing is sent, BufferError is raised, and the bus cannot send until it is gone.

        Raises what send_zero_copy() does; TypeError for a dtype that cannot be sent.
        """
        from tachyon._array import reserve_array

        return reserve_array(self, shape, dtype, type_id, timeout)

    def recv_array(self, timeout: float | None = None, copy: bool = False) -> NDArray[Any]:
        """Receive a message that send_array(), reserve_array() or tachyon_array_write() made.

        Returns a read-only array over the ring, 64-byte aligned; its place in the ring is
        given back when the last array or slice of it dies, as with recv_records().
        copy=True: an array that is yours. Where both ends asked for trusted=True, the view is
        writable. For its type_id use recv_zero_copy() and Lease.array().

        NumPy refuses to write into it. Others may not look: writing into a PyTorch tensor
        made of it ends the process by SIGSEGV, for the memory is mapped read-only.

        Raises ArrayFormatError where the next message is no array, which then still is the
        next one received; ImportError where its elements need ml_dtypes, likewise; and what
        recv_zero_copy() does.
        """
        from tachyon._array import recv_array

        return recv_array(self, timeout, copy)
