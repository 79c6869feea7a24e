"""Bus: one end of a connection. The package's hot paths are here: send, recv, iteration.

Each of them is ONE call into C where nothing has to be waited for: a built-in function, or the
method that is written here, over ctypes (see _builtin.py). That call keeps the interpreter
lock, so two Python threads can never be inside one ring at a time (what a call over ctypes
leaves in the slot is another matter: see Bus on threads). Only waiting gives the lock up, and
it takes nothing out of the ring and puts nothing in: after it, the call that keeps the lock is
tried again.
"""

from __future__ import annotations

import errno
from _operator import index
from ctypes import ArgumentError, byref, c_int64, c_void_p, sizeof

from tachyon._abi import FRAME_ALIGNMENT, MessageStruct
from tachyon._aio import AsyncEnd
from tachyon._buffer import PinnedBuffer, pin, unpin
from tachyon._builtin import QUICK, BusBase, builtin_method, quick, tell
from tachyon._errors import ClosedError, MessageTooLargeError, WaitTimeoutError
from tachyon._lease import TRACES, Batch, Lease, Slot
from tachyon._library import failure, function, quick_function
from tachyon._message import Message, checked_type_id
from tachyon._options import encode_path, make_connect_options
from tachyon._vectors import Vectors
from tachyon._wait import Countdown, call_blocking

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from typing import Any

    from typing_extensions import Buffer, Self, Unpack

    from tachyon._options import ConnectOptions, ListenOptions

    Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_try_send = quick_function("tachyon_bus_try_send")
_try_recv = quick_function("tachyon_bus_try_recv_object")
_recv = quick_function("tachyon_bus_recv")
_connect = function("tachyon_bus_connect")
_send = function("tachyon_bus_send")
_reserve = function("tachyon_bus_reserve")
_cancel = function("tachyon_bus_cancel")
_recv_batch = function("tachyon_bus_recv_batch")
_release = function("tachyon_bus_release")
_wait_data = function("tachyon_bus_wait_data")
_wait_space = function("tachyon_bus_wait_space")

_AT_ONCE = c_int64(0)
_WORDS = sizeof(MessageStruct) // 8


class Bus(Vectors, AsyncEnd, BusBase):
    """One end of a connection between two processes; carries messages both ways.

    Made by Bus.listen(), Bus.connect() and Listener.accept(). One thread at a time sends and
    one at a time receives; they may be two threads. Two that receive at the same time get
    BusyError where both wait, but may lose messages where both find some: take a lock.
    A context manager: the `with` block ends with close(). A bus that nobody closed is closed
    when its last reference dies, or when the interpreter ends.

    Every `timeout` is in seconds: None waits for ever, 0 tries once. WaitTimeoutError (a
    TimeoutError) says that nothing happened; nothing is lost by it. Ctrl-C ends any wait at
    once, and the bus stays usable.
    """

    __slots__ = ()

    @classmethod
    def listen(
        cls,
        path: Path,
        capacity: int | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[ListenOptions],
    ) -> Self:
        """Listen on a path and wait until one process connects; the path is free again then.

        The other arguments and the errors are those of Listener; also WaitTimeoutError.
        """
        from tachyon._listener import Listener

        countdown = Countdown(timeout)
        with Listener(path, capacity, **options) as listener:
            return listener._accept(cls, countdown)

    @classmethod
    def connect(
        cls, path: Path, *, timeout: float | None = 10.0, **options: Unpack[ConnectOptions]
    ) -> Self:
        """Connect to the listener on a path; waits for one to appear.

        path: str, bytes or os.PathLike, at most 107 bytes. Options, explained at Listener:
        max_capacity, spin, prefault, mlock, huge_pages, trusted, numa_node, allowed_uids,
        handshake_timeout. The capacities are the listener's business.

        Raises WaitTimeoutError (no listener, or one that does not accept), RefusedError
        (with its reason), AccessError, PathError, ProtocolError (another version, or no
        tachyon listener), OptionError, ValueError, TachyonError (out of memory, descriptors).
        """
        raw_path, shown_path = encode_path(path)
        struct = make_connect_options("Bus", options)
        countdown = Countdown(timeout)
        bus = cls._empty()
        status = call_blocking(_connect, countdown, byref(bus._handle), raw_path, struct)
        if status in (-errno.EAGAIN, -errno.ETIMEDOUT):
            raise WaitTimeoutError(
                -status, f"no listener on {shown_path!r} accepted {countdown}; is one running?"
            )
        if status:
            raise failure(status, "connect to", shown_path)
        return bus._ready(shown_path)

    # ---- sending ----

    def send(self, data: Buffer, type_id: int = 0, timeout: float | None = None) -> None:
        """Send one message; blocks while the ring is full.

        data: bytes, or any C-contiguous bytes-like object (bytearray, memoryview, array,
        NumPy array); copied once, into the ring. type_id: a tag of your own, 0 to 2**32 - 1.

        When this returns, the message arrives even if this process is killed the moment
        after, as long as the receiver lives.

        Raises WaitTimeoutError (the ring is still full), ClosedError, PeerDeadError (noticed
        when the ring is full or the receiver sleeps), MessageTooLargeError, BusyError,
        ProtocolError, ForkError; TypeError, ValueError, BufferError for the arguments.
        """
        if type(data) is bytes:
            size = len(data)
            try:
                # One comparison for both: neither is negative or has more than 32 bits.
                if not (size | type_id) >> 32 and not _try_send(self._handle, data, size, type_id):
                    return
            except (TypeError, ArgumentError):
                pass  # a type_id that only operator.index() understands, as NumPy's integers
        self._send_slow(data, checked_type_id(type_id), Countdown(timeout))

    def _send_slow(self, data: Buffer, type_id: int, countdown: Countdown) -> None:
        buffer = PinnedBuffer()
        try:
            pin(data, buffer)
            while True:
                status = _send(self._handle, buffer.address, buffer.size, type_id, 0)
                if not status:
                    return
                self._await_space(status, buffer.size, countdown)
        finally:
            unpin(buffer)

    def _await_space(self, status: int, size: int, countdown: Countdown) -> None:
        """After a try to send that failed: return when another one is worth it, or raise."""
        if status == -errno.EAGAIN and countdown.timeout != 0:
            status = call_blocking(_wait_space, countdown, self._handle, size)
            if not status:
                return
        if status in (-errno.EAGAIN, -errno.ETIMEDOUT):
            raise WaitTimeoutError(
                -status,
                f"the ring of {self._path!r} is full: no room for {size} bytes {countdown}; "
                "the receiver is slow, or keeps leases",
            )
        if status == -errno.EMSGSIZE:
            raise MessageTooLargeError(
                -status,
                f"a message of {size} bytes is too large for {self._path!r}: its ring of "
                f"{self.capacity} bytes carries at most {self.max_message_size} (the listener "
                "chooses the capacity)",
            )
        raise self._failure(status, "send on")

    def send_zero_copy(self, size: int, type_id: int = 0, timeout: float | None = None) -> Slot:
        """Get room in the ring, to write a message in place: `with bus.send_zero_copy(n) as s:`

        size: the most bytes that the message will have. Blocks while the ring is full. Until
        the slot is committed or cancelled, nothing else can be sent on this bus (BusyError).

        Returns a Slot: fill its .data, lower its .size; the block's end sends it.
        Raises what send() does.
        """
        size = index(size)
        if size < 0:
            raise ValueError(f"size must not be negative, and is {size}")
        type_id = checked_type_id(type_id)
        countdown = Countdown(timeout)
        address = c_void_p()
        try:
            while status := _reserve(self._handle, byref(address), size, 0):
                self._await_space(status, size, countdown)
            return Slot(self, self._send_window, address.value or 0, size, type_id)
        except BaseException:  # a signal handler's, too
            if address:
                _cancel(self._handle)
            raise

    # ---- receiving ----

    def recv(self, timeout: float | None = None) -> Message:
        """Receive one message, as a copy that is yours; blocks until there is one.

        Raises WaitTimeoutError, ClosedError (the peer closed, all it sent was received),
        PeerDeadError (it died, all it had sent was received), LeaseError, BusyError (another
        thread is waiting), ProtocolError, ForkError.
        """
        data = _try_recv(self._handle)
        slot = self._slot
        if not data and slot[0]:  # empty where there is none; and looking is quicker than slot[0]
            return self._recv_later(slot[0], timeout)
        return Message(data, slot[1])

    def __iter__(self) -> Iterator[Message]:
        """Messages as by recv(), until either side closes the bus in good order.

        Raises PeerDeadError after the last message where the peer crashed, and what else
        recv() does; ClosedError where this side had closed the bus before the first step.
        """
        if self._closed:
            raise self._failure(-errno.ECANCELED, "receive from")
        return self

    def __next__(self) -> Message:
        """The next message, as by recv(); StopIteration where that would raise ClosedError."""
        try:
            return Bus.recv(self)
        except ClosedError:
            raise StopIteration from None

    def _recv_later(self, error: int, timeout: float | None = None) -> Message:
        """After a look that found nothing, for the reason `error`: wait, and receive."""
        countdown = Countdown(timeout)
        while error:
            self._await_data(-error, countdown)
            data = _try_recv(self._handle)
            error = self._slot[0]
        return Message(data, self._slot[1])

    def _next_later(self, error: int) -> Message:
        try:
            return self._recv_later(error)
        except ClosedError:
            raise StopIteration from None

    def _await_data(self, status: int, countdown: Countdown) -> None:
        """After a try to receive that failed: return when another one is worth it, or raise."""
        if status == -errno.EAGAIN and countdown.timeout != 0:
            status = call_blocking(_wait_data, countdown, self._handle)
            if not status:
                return
        if status in (-errno.EAGAIN, -errno.ETIMEDOUT):
            raise WaitTimeoutError(-status, f"no message on {self._path!r} {countdown}")
        raise self._failure(status, "receive from")

    def recv_zero_copy(self, timeout: float | None = None) -> Lease:
        """Receive one message without copying it: `with bus.recv_zero_copy() as lease:`

        Returns a Lease on the message's place in the ring: read its .data, and release it
        soon, for the peer cannot reuse that place before.
        Raises what recv() does; LeaseError where leases leave no room for another message.
        """
        words = self._words
        words[0] = 0
        try:
            status = _recv(self._handle, self._message, _AT_ONCE)
            if status:
                self._recv_zero_copy_slow(status, Countdown(timeout))
            return Lease(self, words.tolist())
        except BaseException:  # a signal handler's, too
            if words[0]:
                _release(self._handle, words[2])
            raise

    def _recv_zero_copy_slow(self, status: int, countdown: Countdown) -> None:
        while status:
            self._await_data(status, countdown)
            status = _recv(self._handle, self._message, _AT_ONCE)

    if TYPE_CHECKING:

        def _drain(self, most: int) -> list[Lease]: ...

    def drain_batch(self, max_messages: int = 1024, timeout: float | None = None) -> Batch:
        """Receive all that is there, at most max_messages, without copying.

        Blocks for the first message, then takes what has arrived. Returns a Batch, a tuple of
        leases that its `with` block releases. Raises what recv_zero_copy() does.
        """
        if max_messages < 1:
            raise ValueError(f"max_messages must be at least 1, and is {max_messages}")
        most = min(max_messages, self._properties.recv_capacity // FRAME_ALIGNMENT)
        if _QUICK_LEASES and (leases := self._drain(most)):
            return Batch(leases)
        countdown = Countdown(timeout)
        messages = (MessageStruct * most)()
        try:
            while (count := _recv_batch(self._handle, messages, most, 0)) < 0:
                self._await_data(count, countdown)
            return Batch(Lease(self, row) for row in _rows(messages, count))
        except BaseException:  # a signal handler's, too
            for row in _rows(messages, most):
                if row[0]:
                    _release(self._handle, row[2])
            raise


quick(Bus, "send", "data, type_id=0, timeout=None")
quick(Bus, "recv", "timeout=None")
# To trace where leases were taken is for the functions in Python.
_QUICK_LEASES = QUICK and not TRACES
if _QUICK_LEASES:
    quick(Bus, "recv_zero_copy", "timeout=None")
    Bus._drain = builtin_method(Bus, "_drain", "")  # type: ignore[method-assign]
if QUICK:
    tell(recv_later=Bus._recv_later, next_later=Bus._next_later)
    del Bus.__next__  # that of BusBase is quick


def _rows(messages: Any, count: int) -> Iterator[list[int]]:
    """The words of each message struct: address, size, lease, correlation id, type_id."""
    words = memoryview(messages).cast("B").cast("Q")
    for start in range(0, count * _WORDS, _WORDS):
        yield words[start : start + _WORDS].tolist()
