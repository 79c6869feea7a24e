"""The serving half of RpcBus: taking requests, and answering them."""

from __future__ import annotations

import errno
from ctypes import byref, c_uint64, c_void_p

from tachyon._buffer import PinnedBuffer, pin, unpin
from tachyon._builtin import quick, tell
from tachyon._end import _MAKE_BYTES, End
from tachyon._errors import MessageTooLargeError, WaitTimeoutError
from tachyon._handle import Handle
from tachyon._lease import Lease
from tachyon._library import function, quick_function
from tachyon._message import checked_type_id
from tachyon._rpc_calls import Request
from tachyon._wait import Countdown, call_blocking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Buffer, Self

_try_serve = quick_function("tachyon_rpc_try_serve_object")
_try_reply = quick_function("tachyon_rpc_try_reply")
_create = function("tachyon_rpc_create")
_serve = function("tachyon_rpc_serve")
_reply = function("tachyon_rpc_reply")
_fail = function("tachyon_rpc_fail")
_slot = function("tachyon_rpc_slot")
_rpc_free = function("tachyon_rpc_free")
_bus_free = function("tachyon_bus_free")
_wait_data = function("tachyon_bus_wait_data")
_wait_space = function("tachyon_bus_wait_space")

# What serve() copies, and larger requests are looked at in the ring by the dispatcher.
LARGEST_COPY = 4096
_ANY_SIZE = c_uint64(2**64 - 1)


def room_of(size: int) -> int:
    """Bytes of an uncorrelated message that takes as much room as this correlated one."""
    return 49 if 40 < size <= 48 else size


def _free_both(owner: Any) -> None:
    """The calls, and the bus with them; or only the bus, where there were none yet."""
    if owner.rpc:
        _rpc_free(owner.rpc)
    else:
        _bus_free(owner)


class ServingEnd(End):
    """See RpcBus."""

    __slots__ = ("_replied", "_rpc")

    _rpc: c_void_p

    @classmethod
    def _empty(cls) -> Self:
        bus = super()._empty()
        bus._rpc = bus._owner.rpc  # type: ignore[attr-defined]
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
        if type(data) is bytes and not (len(data) | type_id) >> 32:
            number = c_uint64(call_id)
            if not _try_reply(self._rpc, number, data, len(data), type_id):
                return
        countdown = Countdown(timeout)
        buffer = PinnedBuffer()
        try:
            pin(data, buffer)
            while status := _reply(
                self._rpc, call_id, buffer.address, buffer.size, checked_type_id(type_id), 0
            ):
                self._await_room(status, buffer.size, countdown)
        finally:
            unpin(buffer)

    def fail(
        self,
        call: Request | int,
        text: str,
        code: int = 1,
        timeout: float | None = None,
    ) -> None:
        """Tell the caller that its call failed: it gets an RpcError. Raises what reply() does."""
        call_id = call if isinstance(call, int) else call.id
        data = text.encode("utf-8", "replace")
        countdown = Countdown(timeout)
        while status := _fail(self._rpc, call_id, checked_type_id(code), data, len(data), 0):
            self._await_room(status, min(len(data), self.max_message_size), countdown)

    def _await_room(self, status: int, size: int, countdown: Countdown) -> None:
        if status == -errno.EAGAIN and countdown.timeout != 0:
            status = call_blocking(_wait_space, countdown, self._handle, room_of(size))
            if not status:
                return
        raise self._failed_to_send(status, size, countdown)

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
