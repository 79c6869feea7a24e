"""Zero-copy views of the ring, and who keeps them alive.

A view that outlives its frame would show, or overwrite, another message. Python cannot call
back a slice or a NumPy array that somebody took of a memoryview; but each of them keeps the
object alive that the memoryview was made of, its *exporter*. So each view gets an exporter of
its own, and only the exporter's death (a weak reference tells) gives the frame back:

    frame  <-  exporter (a ctypes array)  <-  Lease.data, slices of it, NumPy arrays
                   ^ weak: _Watch -> release or cancel, in whichever thread it dies
"""

from __future__ import annotations

import weakref
from ctypes import c_uint64, c_void_p

from tachyon._library import failure, function
from tachyon._message import checked_type_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from tachyon._bus import Bus

_release = function("tachyon_bus_release")
_commit = function("tachyon_bus_commit")
_cancel = function("tachyon_bus_cancel")

# What .data is after the end: whoever touches it gets ValueError.
_RELEASED = memoryview(b"")
_RELEASED.release()


class _Watch(weakref.ref):  # type: ignore[type-arg]
    """A weak reference to an exporter that stays in _watches until the exporter dies."""

    __slots__ = ("armed", "owner", "ticket")

    armed: bool
    owner: Any  # the bus handle of a lease, the Bus of a reservation
    ticket: Any  # of a lease


_watches: dict[int, _Watch] = {}


def _watch(exporter: Any, owner: Any, ticket: Any, at_death: Callable[[Any], None]) -> _Watch:
    watch = _Watch(exporter, at_death)
    watch.owner = owner
    watch.ticket = ticket
    watch.armed = True
    _watches[id(watch)] = watch
    return watch


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


class Lease:
    """A received message whose bytes lie in the ring: read it, then release it soon.

    data: memoryview of the payload, format 'B', read-only (writable where both ends asked
    for trusted=True). It ends with release(), with the `with` block, or with the last
    reference to the lease; reading it after that raises ValueError. A slice of it, or a
    NumPy array over it, may outlive all that, the bus included: the message stays as it is,
    and takes up its place in the ring, until the last of them dies.
    size: payload bytes. type_id: the sender's tag.

    The bytes are those that the peer wrote, and a hostile one can change them while you
    look: copy what you check before you use it.
    """

    __slots__ = ("__weakref__", "data", "size", "type_id")

    data: memoryview
    size: int
    type_id: int

    def __init__(self, handle: c_void_p, window: Any, writable: bool, words: list[int]) -> None:
        """For Bus only. window: array type as large as a message can be. words: of the
        message struct: address, size, lease, correlation id, flags and type_id."""
        exporter = window.from_address(words[0])
        _watch(exporter, handle, c_uint64(words[2]), _give_back)
        view = memoryview(exporter).cast("B")[: words[1]]
        self.data = view if writable else view.toreadonly()
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

    def __buffer__(self, flags: int) -> memoryview:
        """memoryview(lease), from Python 3.12 on: the same as lease.data."""
        return self.data[:]

    def __repr__(self) -> str:
        state = ", released" if self.data is _RELEASED else ""
        return f"<Lease type_id={self.type_id}, size={self.size}{state}>"


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

    def __init__(self, bus: Bus, window: Any, address: int, size: int, type_id: int) -> None:
        """For Bus only. window: array type as large as a message can be."""
        exporter = window.from_address(address)
        self._watch: _Watch | None = _watch(exporter, bus, None, _drop_reservation)
        self.data = memoryview(exporter).cast("B")[:size]
        self._bus = bus
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
        status = _commit(self._bus._handle, self._size, self._type_id)
        if status:
            raise failure(status, "send on", self._bus.path)

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
