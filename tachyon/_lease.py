"""Zero-copy views of the ring, and who keeps them alive.

A view that outlives its frame would show, or overwrite, another message. Python cannot call
back a slice or a NumPy array that somebody took of a memoryview; but each of them keeps the
object alive that the memoryview was made of, its *exporter*. So each view gets an exporter of
its own, and only the exporter's death (a weak reference tells) gives the frame back:

    frame  <-  exporter  <-  Lease.data, slices of it, NumPy arrays

The exporter of a message is an object that C has made (libtachyon/python_lease.c). Without
built-in functions, and for a reservation, it is a ctypes array, with a weak reference, _Watch,
that gives back or cancels in whichever thread it dies. The garbage collector is not told of
exporters, for what _handle.py says.
"""

from __future__ import annotations

import os
import sys
import weakref
from time import monotonic_ns

from tachyon._builtin import QUICK, quick, quick_type, tell
from tachyon._handle import hide_from_collector
from tachyon._library import failure, function
from tachyon._message import checked_type_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, NoReturn

    from numpy.typing import NDArray

    from tachyon._end import End

_release = function("tachyon_bus_release")
_commit = function("tachyon_bus_commit")
_cancel = function("tachyon_bus_cancel")

# What .data is after the end: whoever touches it gets ValueError.
_RELEASED = memoryview(b"")
_RELEASED.release()
tell(released=_RELEASED)


# Whether to take down where each lease was taken, for LeaseError: slow.
TRACES = os.environ.get("TACHYON_TRACE_LEASES", "0") not in ("", "0")
_SHOWN_PLACES = 5
_HERE = os.path.dirname(__file__)


class _Watch(weakref.ref):  # type: ignore[type-arg]
    """A weak reference to an exporter, and what is to be done when that dies."""

    __slots__ = ("armed", "owner", "since_ns", "ticket", "where")

    armed: bool  # of a reservation
    owner: Any  # the bus handle of a lease, the Bus of a reservation
    ticket: int  # of a lease
    since_ns: int  # of a lease
    where: str | None  # of a lease: the line that took it, if that is traced


# Weak references only call back while they live: each stays here until its exporter dies.
_watches: dict[int, _Watch] = {}


def _give_back(watch: _Watch) -> None:
    del _watches[id(watch)]
    _release(watch.owner, watch.ticket)


def _drop_reservation(watch: _Watch) -> None:
    del _watches[id(watch)]
    if watch.armed:
        watch.armed = False
        _cancel(watch.owner._handle)


def _end_view(view: memoryview) -> None:
    """Release a view; one that something like NumPy has exported goes when that goes."""
    try:
        view.release()
    except BufferError:
        pass


tell(end_view=_end_view)


def ring_memory(end: End, address: int, size: int, ticket: int) -> memoryview:
    """A view of what was received, which gives its place in the ring back when it dies."""
    where = _calling_line() if TRACES else None
    if QUICK:
        return end._view(address, size, ticket, where)
    exporter = end._recv_window.from_address(address)
    hide_from_collector(exporter)
    watch = _Watch(exporter, _give_back)
    watch.owner = end._handle
    watch.ticket = ticket
    watch.since_ns = monotonic_ns()
    watch.where = where
    _watches[id(watch)] = watch
    memory = memoryview(exporter).cast("B")[:size]
    return memory if end._properties.trusted else memory.toreadonly()


def _calling_line() -> str:
    """The line outside this package that is being executed."""
    frame = sys._getframe(1)
    while frame.f_back and os.path.dirname(frame.f_code.co_filename) == _HERE:
        frame = frame.f_back
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"


def explain_leases(end: End, count: int, capacity: int) -> str:
    """What a LeaseError says: how many leases there are, what to do, and who took them."""
    return (
        f"{count} {'message that is' if count == 1 else 'messages that are'} still leased "
        f"leave{'s' if count == 1 else ''} the peer no room to send in a ring of {capacity} bytes: "
        "release some (a variable or NumPy array of an earlier round holds its message, and one "
        "message holds all behind it), or choose a larger capacity" + _describe(_leases_of(end))
    )


def _leases_of(end: End) -> list[tuple[int, str | None]]:
    """When each lease was taken, by monotonic_ns(), and where if that is traced; oldest first."""
    if QUICK:
        words = end._leases()
        return list(zip(words[::2], words[1::2], strict=True))[::-1]
    watches = [watch for watch in list(_watches.values()) if watch.owner is end._handle]
    return [(watch.since_ns, watch.where) for watch in watches]


def _describe(leases: list[tuple[int, str | None]]) -> str:
    """How old the leases are, and who took them."""
    if not leases:
        return ""
    oldest = min(since_ns for since_ns, _ in leases)
    text = f". The oldest was taken {(monotonic_ns() - oldest) / 1e9:.3f} s ago"
    if not TRACES:
        return text + "; TACHYON_TRACE_LEASES=1 in the environment shows where"
    counts: dict[str | None, int] = {}
    for _, where in leases:
        counts[where] = counts.get(where, 0) + 1
    lines = [f"\n  {count} at {where}" for where, count in list(counts.items())[:_SHOWN_PLACES]]
    return text + ". They were taken:" + "".join(lines)


@quick_type
class Lease:
    """A received message whose bytes lie in the ring: read it, then release it soon.

    data: memoryview of the payload, format 'B', read-only (writable where both ends asked
    for trusted=True). It ends with release(), with the `with` block, or with the last
    reference to the lease. After that it is a released memoryview: it can be named, but its
    len(), its items and all else of it raise ValueError. A slice of it, or a NumPy array over
    it, may outlive all that, the bus included: the message stays as it is, and takes up its
    place in the ring, until the last of them dies.
    size: payload bytes. type_id: the sender's tag.

    The bytes are those that the peer wrote, and a hostile one can change them while you
    look: copy what you check before you use it. A forked child sees through the parent's views
    what the parent sees, and is not to count on it for longer than the parent keeps them.
    """

    __slots__ = ("data", "size", "type_id")

    data: memoryview
    size: int
    type_id: int

    def __init__(self, end: End, words: list[int]) -> None:
        """For Bus only. words: of the message struct: address, size, lease, correlation id,
        flags and type_id."""
        self.data = ring_memory(end, words[0], words[1], words[2])
        self.size = words[1]
        self.type_id = words[4] & 0xFFFFFFFF

    def release(self) -> None:
        """Give the place in the ring back. May be called again."""
        view, self.data = self.data, _RELEASED
        _end_view(view)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def array(self) -> NDArray[Any]:
        """The message as the array that it is, over the ring, 64-byte aligned: read-only (or
        writable, as .data). It may outlive the lease, as any view of .data.

        Raises ArrayFormatError where it is none, ValueError after release(); ImportError
        without NumPy, or where the elements need ml_dtypes.
        """
        from tachyon._array import array_in

        return array_in(self.data)

    def __dlpack__(
        self,
        *,
        stream: object = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        """numpy.from_dlpack(lease), torch.from_dlpack(lease), jax.dlpack.from_dlpack(lease):
        the array that it is, or its bytes as an array of uint8, without copying. The tensor
        keeps the message in the ring, however long it lives.

        Writing into it: NumPy refuses. PyTorch does not look, and the process ends by
        SIGSEGV, for the memory is mapped read-only: copy=True gives a tensor to write into,
        and so does a bus of which both ends asked for trusted=True.

        Raises BufferError for what DLPack cannot do, ValueError after release(), ImportError
        without NumPy.
        """
        from tachyon._dlpack import Exporter

        return Exporter(self.data, True).capsule(max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the CPU

    def __buffer__(self, flags: int) -> memoryview:
        """memoryview(lease): the same as lease.data. Over ctypes, from Python 3.12 on only."""
        return self.data[:]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Lease cannot be sent to another process; send bytes(lease.data)")

    def __repr__(self) -> str:
        state = ", released" if self.data is _RELEASED else ""
        return f"<Lease type_id={self.type_id}, size={self.size}{state}>"


for _name in ("release", "__enter__", "__exit__"):
    quick(Lease, _name, "*_" if _name == "__exit__" else "")


class Batch(tuple[Lease, ...]):
    """The leases of Bus.drain_batch(), oldest first; a tuple that its `with` block releases."""

    __slots__ = ()

    def release(self) -> None:
        """Release all of them. May be called again."""
        for lease in self:
            lease.release()

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Slot:
    """Room in the ring for one message, to be written in place; from Bus.send_zero_copy().

    data: writable memoryview, format 'B', of the size that was asked for; its content is
    undefined. size: bytes to send, may be lowered. type_id: the tag to send, may be changed.

    The `with` block's end commits the message, an exception in it cancels. No view may
    outlive the block, for it could write into a message that is already on its way: where a
    slice or a NumPy array still lives, nothing is sent, BufferError is raised, and the bus
    cannot send until the view is gone. So `del array` at the end of the block, or fill the
    slot without a name for the array: `numpy.frombuffer(slot.data, "f4")[:] = values`.
    """

    __slots__ = ("_bus", "_reserved", "_size", "_type_id", "_watch", "data")

    data: memoryview

    def __init__(self, bus: End, window: Any, address: int, size: int, type_id: int) -> None:
        """For Bus only. window: array type as large as a message can be."""
        exporter = window.from_address(address)
        hide_from_collector(exporter)
        watch = _Watch(exporter, _drop_reservation)
        watch.owner = bus
        watch.armed = True
        _watches[id(watch)] = watch
        self._watch: _Watch | None = watch
        self.data = memoryview(exporter).cast("B")[:size]
        self._bus: End = bus
        self._reserved = size
        self._size = size
        self._type_id = type_id

    @property
    def size(self) -> int:
        """Bytes to send: at first what was reserved. Raises ValueError when set to more."""
        return self._size

    @size.setter
    def size(self, size: int) -> None:
        if not 0 <= size <= self._reserved:
            raise ValueError(f"size must be 0 to the {self._reserved} bytes reserved: {size}")
        self._size = size

    @property
    def type_id(self) -> int:
        """The tag that the message will carry."""
        return self._type_id

    @type_id.setter
    def type_id(self, type_id: int) -> None:
        self._type_id = checked_type_id(type_id)

    def commit(self) -> None:
        """Send the message now, not at the end of the block.

        Raises BufferError (a view is still alive, nothing is sent), ValueError (already
        committed or cancelled), ClosedError, ProtocolError, ForkError.
        """
        watch, self._watch = self._watch, None
        if watch is None:
            raise ValueError("this slot was already committed or cancelled")
        # Disarmed: the end of the last view shall not cancel what is about to be sent.
        watch.armed = False
        self._end_data()
        if watch() is not None:
            _arm_again(watch)
            raise BufferError(
                "a slice or array over slot.data is still alive and could write into the "
                "message after it was sent; nothing was sent. Drop it before the end of the "
                "block (del array). This bus can send again when it is gone"
            )
        status = self._send()
        if status:
            raise failure(status, "send on", self._bus.path)

    def _send(self) -> int:
        status: int = _commit(self._bus._handle, self._size, self._type_id)
        return status

    def cancel(self) -> None:
        """Send nothing, and let others send (as soon as no view of .data is left)."""
        self._watch = None
        self._end_data()

    def _end_data(self) -> None:
        view, self.data = self.data, _RELEASED
        _end_view(view)

    def __enter__(self) -> Slot:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._watch is None:
            return
        if kind is None:
            self.commit()
        else:
            self.cancel()


def _arm_again(watch: _Watch) -> None:
    """Cancel the reservation when its last view dies; which may have been just now."""
    watch.armed = True
    if watch() is None and watch.armed:
        watch.armed = False
        _cancel(watch.owner._handle)
