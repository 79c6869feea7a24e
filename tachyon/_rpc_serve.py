"""The serving half of RpcBus: taking requests, and answering them."""

from __future__ import annotations

import errno
from _thread import RLock
from ctypes import ArgumentError, byref, c_uint64, c_void_p
from operator import index

from tachyon._buffer import PinnedBuffer, pin, unpin
from tachyon._builtin import quick, tell
from tachyon._end import _MAKE_BYTES, End
from tachyon._errors import MessageTooLargeError, WaitTimeoutError
from tachyon._handle import Handle
from tachyon._lease import Lease
from tachyon._library import function, quick_function
from tachyon._message import checked_type_id
from tachyon._rpc_calls import ReplySlot, Request
from tachyon._wait import Countdown, call_blocking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import DTypeLike
    from typing_extensions import Buffer, Self

    from tachyon._array import ArraySlot
    from tachyon._rpc_array import ArrayMessage

_try_serve = quick_function("tachyon_rpc_try_serve_object")
_try_reply = quick_function("tachyon_rpc_try_reply")
_create = function("tachyon_rpc_create")
_serve = function("tachyon_rpc_serve")
_reply = function("tachyon_rpc_reply")
_fail = function("tachyon_rpc_fail")
_reserve_reply = function("tachyon_rpc_reserve_reply")
_cancel = function("tachyon_rpc_cancel")
_slot = function("tachyon_rpc_slot")
_rpc_free = function("tachyon_rpc_free")
_bus_free = function("tachyon_bus_free")
_wait_data = function("tachyon_bus_wait_data")
_wait_room = function("tachyon_rpc_wait_room")
_arm_space = function("tachyon_bus_arm_space")
_disarm_space = function("tachyon_bus_disarm_space")

# What serve() copies, and larger requests are looked at in the ring by the dispatcher.
LARGEST_COPY = 4096
_ANY_SIZE = c_uint64(2**64 - 1)


def _free_both(owner: Any) -> None:
    """The calls, and the bus with them; or only the bus, where there were none yet."""
    if owner.rpc:
        _rpc_free(owner.rpc)
    else:
        _bus_free(owner)


def checked_size(size: int) -> int:
    """Raises TypeError, ValueError."""
    size = index(size)
    if size < 0:
        raise ValueError(f"size must not be negative, and is {size}")
    return size


class ServingEnd(End):
    """See RpcBus."""

    __slots__ = ("_awaiting", "_replied", "_replying", "_rpc")

    # A reply that is written in place is several steps, and other threads may reply meanwhile.
    # Reentrant: so may the handler of a signal, which gets BusyError then.
    _replying: RLock
    _awaiting: RLock
    _rpc: c_void_p

    @classmethod
    def _empty(cls) -> Self:
        bus = super()._empty()
        bus._rpc = bus._owner.rpc  # type: ignore[attr-defined]
        bus._replying = RLock()
        bus._awaiting = RLock()
        return bus

    @classmethod
    def _new_owner(cls) -> Handle:
        owner = Handle(_free_both)
        owner.rpc = c_void_p()  # type: ignore[attr-defined]
        return owner

    def _ready(self, path: str) -> Self:
        super()._ready(path)
        self._check(_create(byref(self._rpc), self._handle), "call over")
        self._rpc_address = self._rpc.value or 0
        # [0] errno, [1] type_id, [2] size, [3] correlation id, [4] flags.
        slot = (c_uint64 * 5).from_address(_slot(self._rpc, _MAKE_BYTES))
        self._replied = memoryview(slot).cast("B").cast("Q")
        return self

    def serve(self, timeout: float | None = None) -> Request:
        """Wait for a request; its data is a copy. Reply to it, in any order, by any thread.

        Raises WaitTimeoutError, ClosedError (the caller closed), PeerDeadError, BusyError,
        ProtocolError, ForkError.
        """
        data = _try_serve(self._rpc, _ANY_SIZE)
        error, type_id, _, call_id, _ = self._replied.tolist()
        if error:
            return self._serve_later(error, timeout)
        return Request(self, data, type_id, call_id)

    def _serve_later(self, error: int, timeout: float | None = None) -> Request:
        """After a look that found nothing, for the reason `error`: wait for a request."""
        countdown = Countdown(timeout)
        while error:
            self._await_request(error, countdown)
            data = _try_serve(self._rpc, _ANY_SIZE)
            error, type_id, _, call_id, _ = self._replied.tolist()
        return Request(self, data, type_id, call_id)

    def serve_zero_copy(self, timeout: float | None = None) -> Request:
        """Wait for a request, whose data is a memoryview of the ring: `with` releases it.

        Raises what serve() does; LeaseError where leases leave the caller no room.
        """
        countdown = Countdown(timeout)
        while status := _serve(self._rpc, self._message, 0):
            self._await_request(-status, countdown)
        words = self._words.tolist()
        lease = Lease(self, words)
        return Request(self, lease.data, lease.type_id, words[3], lease)

    def _await_request(self, error: int, countdown: Countdown) -> None:
        if error == errno.EAGAIN and countdown.left_ns() != 0:
            error = -call_blocking(_wait_data, countdown, self._handle)
            if not error:
                return
        if error in (errno.EAGAIN, errno.ETIMEDOUT):
            raise WaitTimeoutError(error, f"no request on {self._path!r} {countdown}")
        raise self._failure(-error, "serve on")

    def try_request(self) -> Request | None:
        """A request that is there already, or None. A large one is not copied: release it."""
        data = _try_serve(self._rpc, c_uint64(LARGEST_COPY))
        error, type_id, _, call_id, _ = self._replied.tolist()
        if not error:
            return Request(self, data, type_id, call_id)
        if error == errno.EMSGSIZE:
            return self.serve_zero_copy(0)
        if error == errno.EAGAIN:
            return None
        raise self._failure(-error, "serve on")

    def reply(
        self,
        call: Request | int,
        data: Buffer = b"",
        type_id: int = 0,
        timeout: float | None = None,
    ) -> None:
        """Answer a request, or its id. timeout: how long to wait for room.

        Raises MessageTooLargeError (the call can still be failed), WaitTimeoutError,
        ClosedError, PeerDeadError, BusyError, ProtocolError, ForkError.
        """
        call_id = call if isinstance(call, int) else call.id
        if type(data) is bytes:
            number, size = c_uint64(call_id), len(data)
            try:
                small = not (size | type_id) >> 32
                if small and not _try_reply(self._rpc, number, data, size, type_id):
                    return
            except (TypeError, ArgumentError):
                pass  # a type_id that only operator.index() understands, as NumPy's integers
        type_id, countdown = checked_type_id(type_id), Countdown(timeout)
        buffer = PinnedBuffer()
        try:
            pin(data, buffer)
            while True:
                with self._replying:
                    status = _reply(self._rpc, call_id, buffer.address, buffer.size, type_id, 0)
                if not status:
                    return
                self._await_room(status, buffer.size, countdown)
        finally:
            unpin(buffer)

    def reply_array(
        self,
        call: Request | int,
        array: Any,
        type_id: int = 0,
        timeout: float | None = None,
    ) -> None:
        """Answer with an array and its dtype and shape, copied once, into the ring.

        array: whatever Bus.send_array() takes. Raises what reply() does; TypeError for what
        is no array, or cannot be sent; BufferError for a tensor on a GPU.
        """
        from tachyon._rpc_array import ArrayMessage

        call_id = call if isinstance(call, int) else call.id
        self._reply_message(call_id, ArrayMessage(array), type_id, timeout)

    def _reply_message(
        self, call_id: int, message: ArrayMessage, type_id: int, timeout: float | None
    ) -> None:
        countdown = Countdown(timeout)
        while True:
            with self._replying:
                try:
                    slot = self.reserve_reply(call_id, len(message), type_id, 0)
                except WaitTimeoutError:
                    if countdown.timeout == 0:
                        raise
                else:
                    with slot:
                        message.write(slot)
                    return
            self._await_room(-errno.EAGAIN, len(message), countdown)

    def reserve_reply(
        self,
        call: Request | int,
        size: int,
        type_id: int = 0,
        timeout: float | None = None,
    ) -> ReplySlot:
        """Get room in the ring, to write a reply in place: `with bus.reserve_reply(r, n) as s:`

        size: the most bytes that it will have. Until the slot is committed or cancelled,
        nothing else can be replied on this bus, by any thread (BusyError).

        Returns a slot: fill its .data, lower its .size; the block's end sends it.
        Raises what reply() does.
        """
        call_id, type_id = call if isinstance(call, int) else call.id, checked_type_id(type_id)
        size, countdown, address = checked_size(size), Countdown(timeout), c_void_p()
        try:
            while status := _reserve_reply(self._rpc, call_id, byref(address), size, 0):
                self._await_room(status, size, countdown)
            return ReplySlot(self, self._send_window, address.value or 0, size, type_id)
        except BaseException:  # a signal handler's, too
            if address:
                _cancel(self._rpc)
            raise

    def reserve_reply_array(
        self,
        call: Request | int,
        shape: int | tuple[int, ...],
        dtype: DTypeLike,
        type_id: int = 0,
        timeout: float | None = None,
    ) -> ArraySlot:
        """Get a writable array IN the ring, to compute a reply into:
        `with bus.reserve_reply_array(request, (640, 480), "f4") as array:`

        As Bus.reserve_array(): 64-byte aligned, content undefined; nothing else may refer to
        it when the block ends. Raises what reserve_reply() does; TypeError.
        """
        from tachyon._array import ArraySlot, reserved_array

        def reserve(size: int) -> ReplySlot:
            return self.reserve_reply(call, size, type_id, timeout)

        return reserved_array(reserve, shape, dtype, ArraySlot)

    def fail(
        self,
        call: Request | int,
        text: str,
        code: int = 1,
        timeout: float | None = None,
    ) -> None:
        """Tell the caller that its call failed: it gets an RpcError. Raises what reply() does."""
        call_id = call if isinstance(call, int) else call.id
        self._fail_in_utf8(call_id, text.encode("utf-8", "replace"), code, timeout)

    def _fail_in_utf8(self, call_id: int, text: bytes, code: int, timeout: float | None) -> None:
        code, countdown = checked_type_id(code), Countdown(timeout)
        size = min(len(text), self.max_message_size)
        while True:
            with self._replying:
                status = _fail(self._rpc, call_id, code, text, len(text), 0)
            if not status:
                return
            self._await_room(status, size, countdown)

    def _await_room(self, status: int, size: int, countdown: Countdown) -> None:
        if status == -errno.EAGAIN and countdown.timeout != 0:
            left_ns = countdown.left_ns()
            status = -errno.ETIMEDOUT
            # One at a time may wait for room; the next one finds it, or waits in turn.
            if self._awaiting.acquire(timeout=-1 if left_ns < 0 else min(left_ns / 1e9, 1e6)):
                try:
                    # Other threads may reply meanwhile: that is what this one is for.
                    status = call_blocking(_wait_room, countdown, self._rpc, size)
                finally:
                    self._awaiting.release()
            # Busy: a reply is being written in place. The next try waits for its end, or says so.
            if status in (0, -errno.EBUSY):
                return
        raise self._failed_to_send(status, size, countdown)

    def _arm_room(self, size: int) -> bool:
        """Ask for the room descriptor to become readable when a reply of this size may fit.

        Returns True: armed, sleep; False: try to reply again at once.
        """
        status: int = _arm_space(self._handle, min(size, self.max_message_size))
        if status < 0:
            raise self._failure(status, "send on")
        return status == 0

    def _disarm_room(self) -> None:
        if not self._closed:
            _disarm_space(self._handle)

    def _failed_to_send(self, status: int, size: int, countdown: Countdown) -> Exception:
        if status in (-errno.EAGAIN, -errno.ETIMEDOUT):
            return WaitTimeoutError(
                -status,
                f"the ring of {self._path!r} is full: no room for {size} bytes {countdown}; "
                "the peer is slow, or keeps leases",
            )
        if status == -errno.EMSGSIZE:
            return MessageTooLargeError(
                -status,
                f"{size} bytes are too much for {self._path!r}: its ring of {self.capacity} "
                f"bytes carries at most {self.max_message_size}",
            )
        return self._failure(status, "call on")


quick(ServingEnd, "serve", "timeout=None")
quick(ServingEnd, "try_request", "")
quick(ServingEnd, "reply", "call, data=b'', type_id=0, timeout=None")
tell(serve_later=ServingEnd._serve_later)
