"""RpcBus: request and reply over a bus. A call is ONE call into C where the reply is quick.

As everywhere in this package, whatever touches the rings and the table of calls keeps the
interpreter lock, and only waiting gives it up.
"""

from __future__ import annotations

import errno
import sys
from ctypes import ArgumentError, byref, c_int, c_uint64, c_void_p, sizeof

from tachyon._abi import FAILURE, KIND_RPC, RpcCountersStruct
from tachyon._buffer import PinnedBuffer, pin, unpin
from tachyon._builtin import quick, tell
from tachyon._errors import RpcError, WaitTimeoutError
from tachyon._lease import Lease
from tachyon._library import failure, function, quick_function
from tachyon._listener import Listener
from tachyon._message import checked_type_id
from tachyon._options import encode_path, make_connect_options
from tachyon._rpc_calls import PendingCall, ReplyCopy, RequestSlot, remote_error
from tachyon._rpc_serve import ServingEnd, checked_size
from tachyon._sleeps import Sleeps
from tachyon._wait import Countdown, call_blocking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

    from numpy.typing import DTypeLike, NDArray
    from typing_extensions import Buffer, Self, Unpack

    from tachyon._bus import Path
    from tachyon._dispatcher import Dispatcher
    from tachyon._options import ConnectOptions, ListenOptions
    from tachyon._rpc_aio import Pump
    from tachyon._rpc_array import ArrayRequest

_try_call = quick_function("tachyon_rpc_try_call_object")
_try_wait = quick_function("tachyon_rpc_try_wait_object")
_set_limit = function("tachyon_rpc_set_limit")
_submit = function("tachyon_rpc_submit")
_reserve = function("tachyon_rpc_reserve")
_cancel = function("tachyon_rpc_cancel")
_wait = function("tachyon_rpc_wait")
_forget = function("tachyon_rpc_forget")
_release = function("tachyon_rpc_release")
_stats = function("tachyon_rpc_stats")
_wait_room = function("tachyon_rpc_wait_room")
_connect = function("tachyon_bus_connect")
_wait_data = function("tachyon_bus_wait_data")
_fds = function("tachyon_bus_fds")

_ON_HEAP = 1  # the bit of a lease that says that the reply is not in the ring


def _result(outcome: bytes | RpcError) -> bytes:
    if isinstance(outcome, RpcError):
        raise outcome
    return outcome


class RpcListener(Listener):
    """A Listener whose buses serve calls: RpcBus. The same arguments and errors."""

    __slots__ = ()

    _KIND = KIND_RPC

    def accept(self, timeout: float | None = None) -> RpcBus:  # type: ignore[override]
        """Wait for a caller to connect; as Listener.accept()."""
        return self._accept(RpcBus, Countdown(timeout))  # type: ignore[type-var]

    def __iter__(self) -> Iterator[RpcBus]:  # type: ignore[override]
        """Buses as by accept(), until the listener is closed."""
        from tachyon._errors import ClosedError

        while True:
            try:
                yield self.accept()
            except ClosedError:
                return


class RpcBus(ServingEnd):
    """One end of a connection for request and reply: connect() calls, listen() serves.

    A call has a payload and a msg_type, which says what procedure it is for: 0 to 2**32 - 1.
    Many calls may be outstanding (submit), replies may come in any order. Calls both ways are
    two buses. One thread at a time calls; at the serving end, one at a time serves, and any
    may reply. Timeouts, `with` and the end are as those of Bus: PeerDeadError and ClosedError
    say that no reply will come.
    """

    __slots__ = ("_early", "_pump", "_sleeps")

    _early: dict[int, bytes | RpcError]  # replies that the pump took for those of submit()
    _pump: Pump | None
    _sleeps: Sleeps

    # ---- making one ----

    @classmethod
    def _empty(cls) -> Self:
        bus = super()._empty()
        bus._sleeps = Sleeps()
        bus._early = {}
        bus._pump = None
        return bus

    @classmethod
    def listen(
        cls,
        path: Path,
        capacity: int | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[ListenOptions],
    ) -> Self:
        """Wait on a path for one caller, and return the serving end. As Bus.listen()."""
        countdown = Countdown(timeout)
        with RpcListener(path, capacity, **options) as listener:
            return listener._accept(cls, countdown)  # type: ignore[type-var]

    @classmethod
    def connect(
        cls,
        path: Path,
        *,
        timeout: float | None = 10.0,
        max_outstanding: int = 65536,
        **options: Unpack[ConnectOptions],
    ) -> Self:
        """Connect to the server on a path, and return the calling end. As Bus.connect().

        max_outstanding: the most calls that may wait for a reply, up to 2**20.
        """
        raw_path, shown_path = encode_path(path)
        struct = make_connect_options("RpcBus", options)
        struct.kind = KIND_RPC
        countdown = Countdown(timeout)
        bus = cls._empty()
        status = call_blocking(_connect, countdown, byref(bus._handle), raw_path, struct)
        if status in (-errno.EAGAIN, -errno.ETIMEDOUT):
            raise WaitTimeoutError(
                -status, f"no listener on {shown_path!r} accepted {countdown}; is one running?"
            )
        if status:
            raise failure(status, "connect to", shown_path)
        bus._ready(shown_path)
        bus._check(_set_limit(bus._rpc, max_outstanding), "limit the calls on")
        return bus

    # ---- calling ----

    def call(self, payload: Buffer, msg_type: int = 0, timeout: float | None = None) -> bytes:
        """Call, wait for the reply, and return its bytes, which are a copy.

        payload: bytes, or any C-contiguous bytes-like object. timeout: seconds, for sending
        and waiting together; what has timed out is given up.

        Raises RpcError (the server failed it), WaitTimeoutError, PeerDeadError, ClosedError,
        MessageTooLargeError, BusyError (too many are outstanding, or another thread waits),
        ProtocolError, ForkError; TypeError, ValueError, BufferError for the arguments.
        """
        if type(payload) is bytes:
            size = len(payload)
            try:
                if not (size | msg_type) >> 32:
                    reply: bytes = _try_call(self._rpc, payload, size, msg_type)
                    error, type_id, _, call_id, flags = self._replied.tolist()
                    self._tell_pump()
                    if not error:
                        if flags & FAILURE:
                            self._call_failed(reply, type_id)
                        return reply
                    if call_id:
                        return self._call_later(call_id, error, payload, msg_type, timeout)
                    if error != errno.EAGAIN:
                        raise self._failed_to_send(-error, size, Countdown(None))
            except (TypeError, ArgumentError):
                pass  # a msg_type that only operator.index() understands
        countdown = Countdown(timeout)
        return self._finish(self._submit(payload, checked_type_id(msg_type), countdown), countdown)

    def _call_later(
        self,
        call_id: int,
        error: int,
        payload: Buffer,
        msg_type: int = 0,
        timeout: float | None = None,
    ) -> bytes:
        """After a look that found no reply, for the reason `error`."""
        if error == errno.EAGAIN:
            return self._finish(call_id, Countdown(timeout))
        self._forget(call_id)
        raise self._failure(-error, "call on")

    def _call_failed(self, text: bytes, code: int) -> NoReturn:
        raise remote_error(text, code, f"call on {self._path!r}")

    def call_zero_copy(
        self, payload: Buffer, msg_type: int = 0, timeout: float | None = None
    ) -> Lease:
        """Call, and return the reply as a Lease on its place in the ring: release it soon.

        Raises what call() does; LeaseError where leases leave the server no room.
        """
        countdown = Countdown(timeout)
        call_id = self._submit(payload, checked_type_id(msg_type), countdown)
        return self._finish_lease(call_id, countdown)

    def _finish_lease(self, call_id: int, countdown: Countdown) -> Lease:
        try:
            return self._wait_for_lease(call_id, countdown)
        except BaseException:
            self._forget(call_id)
            raise

    def _wait_for_lease(self, call_id: int, countdown: Countdown) -> Lease:
        while (status := _wait(self._rpc, call_id, self._message, 0)) < 0:
            early = self._early.pop(call_id, None) if self._early else None
            if early is not None:
                return ReplyCopy(_result(early), 0)
            self._await_reply(-status, countdown)
        self._tell_pump()
        return self._lease_reply(status, self._words.tolist())

    def _lease_reply(self, failed: int, words: list[int]) -> Lease:
        type_id = words[4] & 0xFFFFFFFF
        if not failed and not words[2] & _ON_HEAP:
            return Lease(self, words)
        from ctypes import string_at

        data = string_at(words[0], words[1])
        _release(self._rpc, self._message)
        if failed:
            raise remote_error(data, type_id, f"call on {self._path!r}")
        return ReplyCopy(data, type_id)

    def submit(
        self, payload: Buffer, msg_type: int = 0, timeout: float | None = None
    ) -> PendingCall:
        """Call, and do not wait for the reply: PendingCall.wait() does.

        timeout: how long to wait for room in the ring. Raises what call() does, but RpcError.
        """
        call_id = self._submit(payload, checked_type_id(msg_type), Countdown(timeout))
        return PendingCall(self, call_id)

    def wait(self, call: PendingCall, timeout: float | None = None) -> bytes:
        """call.wait(timeout)."""
        return call.wait(timeout)

    # ---- calling in place, and with arrays ----

    def reserve(self, size: int, msg_type: int = 0, timeout: float | None = None) -> RequestSlot:
        """Get room in the ring, to write a request in place: `with bus.reserve(n, 1) as slot:`

        size: the most bytes that it will have. Until the slot is committed or cancelled, no
        other call can be made on this bus (BusyError). timeout: how long to wait for room.

        Returns a slot: fill its .data, lower its .size; the block's end sends it, and then
        slot.call is the PendingCall. Raises what submit() does.
        """
        msg_type = checked_type_id(msg_type)
        size, countdown, address = checked_size(size), Countdown(timeout), c_void_p()
        try:
            while status := _reserve(self._rpc, byref(address), size, 0):
                self._await_room_to_call(status, size, countdown)
            return RequestSlot(self, self._send_window, address.value or 0, size, msg_type)
        except BaseException:  # a signal handler's, too
            if address:
                _cancel(self._rpc)
            raise

    def reserve_array(
        self,
        shape: int | tuple[int, ...],
        dtype: DTypeLike,
        msg_type: int = 0,
        timeout: float | None = None,
    ) -> ArrayRequest:
        """Get a writable array IN the ring, to compute a request into:
        `request = bus.reserve_array((640, 480), "f4", 1)`, then `with request as array:`

        As Bus.reserve_array(): 64-byte aligned, content undefined; nothing else may refer to
        it when the block ends. After the block, request.call is the PendingCall.
        Raises what reserve() does; TypeError for a dtype that cannot be sent.
        """
        from tachyon._rpc_array import reserve_request

        return reserve_request(self, shape, dtype, msg_type, timeout)

    def submit_array(
        self, array: Any, msg_type: int = 0, timeout: float | None = None
    ) -> PendingCall:
        """Call with an array, copied once, into the ring, and do not wait for the reply.

        array: whatever Bus.send_array() takes. The reply: PendingCall.wait_array(), or wait().
        Raises what submit() does; TypeError for what is no array, or cannot be sent.
        """
        from tachyon._rpc_array import ArrayMessage

        message = ArrayMessage(array)
        request = self.reserve(len(message), msg_type, timeout)
        with request as slot:
            message.write(slot)
        return request.call

    def call_array(
        self,
        array: Any,
        msg_type: int = 0,
        timeout: float | None = None,
        copy: bool = True,
    ) -> NDArray[Any]:
        """Call with an array, and return the array of the reply.

        copy=False: a read-only array over the ring, which keeps its place there until the
        last array or slice of it dies.
        Raises what call() does; ArrayFormatError (the reply is no array), ImportError.
        """
        from tachyon._rpc_array import array_of

        countdown = Countdown(timeout)
        call = self.submit_array(array, msg_type, timeout)
        call_id, call.id = call.id, 0
        return array_of(self._finish_lease(call_id, countdown), copy)

    def _submit(self, payload: Buffer, msg_type: int, countdown: Countdown) -> int:
        buffer, call_id = PinnedBuffer(), c_uint64()
        try:
            pin(payload, buffer)
            while status := _submit(
                self._rpc, buffer.address, buffer.size, msg_type, byref(call_id), 0
            ):
                self._await_room_to_call(status, buffer.size, countdown)
            return call_id.value
        finally:
            unpin(buffer)

    def _await_room_to_call(self, status: int, size: int, countdown: Countdown) -> None:
        """After a try that found no room: return when another one is worth it, or raise."""
        if status == -errno.EAGAIN and countdown.timeout != 0:
            status = call_blocking(_wait_room, countdown, self._rpc, size)
            if not status and countdown.left_ns() != 0:
                return
            status = status or -errno.ETIMEDOUT
        raise self._failed_to_send(status, size, countdown)

    def _finish(self, call_id: int, countdown: Countdown) -> bytes:
        """Wait; whatever strikes, the call is over."""
        try:
            return self._wait_for(call_id, countdown)
        except BaseException:
            self._forget(call_id)
            raise

    def _wait_for(self, call_id: int, countdown: Countdown) -> bytes:
        number = c_uint64(call_id)
        while True:
            early = self._early.pop(call_id, None) if self._early else None
            if early is not None:
                return _result(early)
            reply: bytes = _try_wait(self._rpc, number)
            error, type_id, _, _, flags = self._replied.tolist()
            self._tell_pump()
            if not error:
                if flags & FAILURE:
                    self._call_failed(reply, type_id)
                return reply
            self._await_reply(error, countdown)

    def _await_reply(self, error: int, countdown: Countdown) -> None:
        """After a look that found no reply: return when another one is worth it, or raise."""
        if error == errno.EAGAIN and countdown.left_ns() != 0:
            error = -call_blocking(_wait_data, countdown, self._handle)
            if not error:
                return
        if error in (errno.EAGAIN, errno.ETIMEDOUT):
            raise WaitTimeoutError(error, f"no reply on {self._path!r} {countdown}")
        raise self._failure(-error, "wait for a reply on")

    def _tell_pump(self) -> None:
        """After a look for replies, which may have taken in those that tasks wait for."""
        if self._pump is not None:
            self._pump.look()

    def _forget(self, call_id: int) -> None:
        self._early.pop(call_id, None)
        _forget(self._rpc, call_id)

    # ---- serving: the rest is in _rpc_serve.py ----

    def serve_forever(self, dispatcher: Dispatcher) -> None:
        """dispatcher.serve_forever(bus)."""
        dispatcher.serve_forever(self)

    # ---- asyncio ----

    @classmethod
    async def aconnect(
        cls, path: Path, *, timeout: float | None = 10.0, **options: Unpack[ConnectOptions]
    ) -> Self:
        """connect(), for asyncio; the introduction runs in the default executor."""
        from tachyon._aio_connect import Connecting

        connecting = Connecting(cls, path, options)  # type: ignore[arg-type]
        return await connecting.run(Countdown(timeout))  # type: ignore[return-value]

    @classmethod
    async def alisten(
        cls, path: Path, capacity: int | None = None, **options: Unpack[ListenOptions]
    ) -> Self:
        """listen(), for asyncio."""
        with RpcListener(path, capacity, **options) as listener:
            return await listener._aaccept(cls)  # type: ignore[type-var]

    async def acall(self, payload: Buffer, msg_type: int = 0) -> bytes:
        """call(), for asyncio: as many tasks as you like may call over one bus.

        For a time limit, use asyncio.timeout() or wait_for(): a cancelled call is given up.
        Raises what call() does.
        """
        from tachyon._rpc_aio import acall

        return await acall(self, payload, msg_type)

    async def aserve_forever(self, dispatcher: Dispatcher) -> None:
        """Serve until the caller closes or this bus is closed; handlers may be coroutines."""
        from tachyon._rpc_aio import aserve_forever

        await aserve_forever(self, dispatcher)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    # ---- the end, and facts ----

    def close(self) -> None:
        """End the bus in good order; outstanding calls raise ClosedError. As Bus.close()."""
        self._closed = True
        self._sleeps.end(super().close)

    def rpc_stats(self) -> dict[str, int]:
        """Counters by name: requests and replies; failures, of the replies; outstanding: calls
        made and not over; stored: those whose reply is here, kept on the heap; dropped:
        replies that nobody waited for any more.
        """
        struct = RpcCountersStruct()
        struct.struct_size = sizeof(RpcCountersStruct)
        self._check(_stats(self._rpc, struct), "read the counters of")
        return {name: getattr(struct, name) for name, _ in struct._fields_[1:]}  # type: ignore[misc]

    def descriptors(self) -> tuple[int, int, int]:
        """For event loops: data, room and death descriptor; the last may be -1."""
        data_fd, room_fd, death_fd = c_int(), c_int(), c_int()
        self._check(_fds(self._handle, byref(data_fd), byref(room_fd), byref(death_fd)), "watch")
        return data_fd.value, room_fd.value, death_fd.value

    def __repr__(self) -> str:
        return f"<RpcBus {self._path!r} {'closed' if self._closed else 'open'}>"


quick(RpcBus, "call", "payload, msg_type=0, timeout=None")
tell(RpcBus=RpcBus, msg_type=sys.intern("msg_type"))
tell(call_later=RpcBus._call_later, call_failed=RpcBus._call_failed)
tell(call_stored=RpcBus._tell_pump)
