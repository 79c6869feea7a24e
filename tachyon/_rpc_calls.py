"""What RpcBus hands out: calls that are outstanding, requests to be answered, replies."""

from __future__ import annotations

import errno
from ctypes import byref, c_uint64

from tachyon._abi import RPC_EXCEPTION, RPC_TOO_LARGE, RPC_UNKNOWN_TYPE
from tachyon._builtin import quick, quick_type
from tachyon._errors import RpcError, WaitTimeoutError
from tachyon._lease import Lease, Slot
from tachyon._library import function
from tachyon._wait import Countdown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from numpy.typing import DTypeLike, NDArray
    from typing_extensions import Buffer

    from tachyon._array import ArraySlot
    from tachyon._rpc import RpcBus
    from tachyon._rpc_serve import ServingEnd

_commit = function("tachyon_rpc_commit")
_commit_reply = function("tachyon_rpc_commit_reply")

_EREMOTEIO = getattr(errno, "EREMOTEIO", 121)
_TYPES = {RPC_UNKNOWN_TYPE, RPC_EXCEPTION, RPC_TOO_LARGE}


def remote_error(text: bytes, code: int, what: str) -> RpcError:
    """The exception for a failed reply; its bytes are whatever the server wrote."""
    words, has_traceback, traceback = text.decode("utf-8", "replace").partition("\0")
    kind, message = "", words
    if code in _TYPES:
        kind, _, message = words.partition(": ")
    kind = kind or f"error {code}"
    error = RpcError(_EREMOTEIO, f"{what}: the server failed it: {kind}: {message}")
    error.type, error.message, error.code = kind, message, code
    error.traceback = traceback if has_traceback and code == RPC_EXCEPTION else None
    return error


class PendingCall:
    """A call whose reply may still be on its way; from RpcBus.submit().

    id: the correlation id. A call whose last reference dies is given up.
    """

    __slots__ = ("_bus", "_outcome", "id")

    id: int

    def __init__(self, bus: RpcBus, call_id: int) -> None:
        self._bus = bus
        self.id = call_id
        self._outcome: bytes | RpcError | None = None

    def wait(self, timeout: float | None = None) -> bytes:
        """Wait for the reply, and return its bytes; again and again, if you like.

        Raises RpcError, WaitTimeoutError (wait again, or cancel), and what call() does.
        """
        if self._outcome is None:
            if not self.id:
                raise ValueError("this call was given up")
            try:
                self._outcome = self._bus._wait_for(self.id, Countdown(timeout))
            except RpcError as error:
                self._outcome = error
            self.id = 0
        if isinstance(self._outcome, RpcError):
            raise self._outcome
        return self._outcome

    result = wait

    def wait_array(self, timeout: float | None = None, copy: bool = True) -> NDArray[Any]:
        """Wait for a reply that is an array, and return it, once: this ends the call.

        copy=False: a read-only array over the ring, which keeps its place there until the
        last array or slice of it dies (a copy where the reply came while another was waited
        for). Raises what wait() does; ArrayFormatError (the reply is no array), ImportError.
        """
        from tachyon._rpc_array import array_of

        if self._outcome is not None or not self.id:
            from tachyon._array import array_in

            return array_in(self.wait(0))
        lease = self._bus._wait_for_lease(self.id, Countdown(timeout))
        self.id = 0
        return array_of(lease, copy)

    def done(self) -> bool:
        """Whether wait() would return or raise an RpcError at once."""
        try:
            self.wait(0)
        except WaitTimeoutError:
            return False
        except RpcError:
            pass
        return True

    def cancel(self) -> None:
        """Give the call up: its slot is free, a late reply is dropped and counted."""
        call_id, self.id = self.id, 0
        if call_id:
            self._bus._forget(call_id)

    def __del__(self) -> None:
        self.cancel()


@quick_type
class Request:
    """A call to be answered; from RpcBus.serve(). A context manager, which releases it.

    data: bytes, or a memoryview of the ring from serve_zero_copy(). msg_type: which
    procedure. id: what the reply is matched by.
    """

    __slots__ = ("_bus", "_lease", "data", "id", "msg_type")

    data: bytes | memoryview

    def __init__(
        self,
        bus: ServingEnd,
        data: bytes | memoryview,
        msg_type: int,
        call_id: int,
        lease: Lease | None = None,
    ) -> None:
        self._bus = bus
        self.data = data
        self.msg_type = msg_type
        self.id = call_id
        self._lease = lease

    def reply(self, data: Buffer = b"", type_id: int = 0, timeout: float | None = None) -> None:
        """Answer; see RpcBus.reply()."""
        self._bus.reply(self.id, data, type_id, timeout)

    def fail(self, text: str, code: int = 1, timeout: float | None = None) -> None:
        """Tell the caller that it failed; see RpcBus.fail()."""
        self._bus.fail(self.id, text, code, timeout)

    def array(self) -> NDArray[Any]:
        """The request as the array that it is: read-only, over .data, which it keeps.

        Raises ArrayFormatError where it is none, ImportError.
        """
        from tachyon._array import array_in

        return array_in(self.data)

    def reply_array(self, array: Any, type_id: int = 0, timeout: float | None = None) -> None:
        """Answer with an array; see RpcBus.reply_array()."""
        self._bus.reply_array(self.id, array, type_id, timeout)

    def reserve_reply(self, size: int, type_id: int = 0, timeout: float | None = None) -> ReplySlot:
        """Get room in the ring, to write the answer in place; see RpcBus.reserve_reply()."""
        return self._bus.reserve_reply(self.id, size, type_id, timeout)

    def reserve_reply_array(
        self,
        shape: int | tuple[int, ...],
        dtype: DTypeLike,
        type_id: int = 0,
        timeout: float | None = None,
    ) -> ArraySlot:
        """Get a writable array in the ring for the answer; see RpcBus.reserve_reply_array()."""
        return self._bus.reserve_reply_array(self.id, shape, dtype, type_id, timeout)

    @property
    def in_ring(self) -> bool:
        """Whether .data was, or is, a view of the ring."""
        return self._lease is not None

    def release(self) -> None:
        """Give the place in the ring back, where there is one. May be called again."""
        if self._lease is not None:
            self._lease.release()

    def __enter__(self) -> Request:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Request cannot be sent to another process; send bytes(request.data)")


quick(Request, "reply", "data=b'', type_id=0, timeout=None", key="request_reply")


class RequestSlot(Slot):
    """Room in the ring for one request, to be written in place; from RpcBus.reserve().

    As Slot: fill .data, lower .size, the block's end sends it. call: the PendingCall, then.
    """

    __slots__ = ("call",)

    _bus: RpcBus
    call: PendingCall

    def _send(self) -> int:
        call_id = c_uint64()
        status: int = _commit(self._bus._rpc, self._size, self._type_id, byref(call_id))
        if not status:
            self.call = PendingCall(self._bus, call_id.value)
        return status


class ReplySlot(Slot):
    """Room in the ring for one reply, to be written in place; from RpcBus.reserve_reply()."""

    __slots__ = ()

    _bus: ServingEnd

    def _send(self) -> int:
        status: int = _commit_reply(self._bus._rpc, self._size, self._type_id)
        return status


class ReplyCopy(Lease):
    """A reply that came while another was waited for: a lease on bytes that are ours."""

    __slots__ = ()

    def __init__(self, data: bytes, type_id: int) -> None:
        self.data = memoryview(data)
        self.size = len(data)
        self.type_id = type_id
