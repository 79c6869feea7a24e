"""RpcBus: request and reply over a bus. A call is ONE call into C where the reply is quick.

As everywhere in this package, whatever touches the rings and the table of calls keeps the
interpreter lock, and only waiting gives it up.
"""

from __future__ import annotations

import errno
import sys
from ctypes import ArgumentError, byref, c_int, c_uint64, sizeof

from tachyon._abi import FAILURE, KIND_RPC, RpcCountersStruct
from tachyon._buffer import PinnedBuffer, pin, unpin
from tachyon._builtin import quick, tell
from tachyon._errors import RpcError, WaitTimeoutError
from tachyon._lease import Lease
from tachyon._library import failure, function, quick_function
from tachyon._listener import Listener
from tachyon._message import checked_type_id
from tachyon._options import encode_path, make_connect_options
from tachyon._rpc_calls import PendingCall, ReplyCopy, remote_error
from tachyon._rpc_serve import ServingEnd
from tachyon._sleeps import Sleeps
from tachyon._wait import Countdown, call_blocking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

    from typing_extensions import Buffer, Self, Unpack

    from tachyon._bus import Path
    from tachyon._dispatcher import Dispatcher
    from tachyon._options import ConnectOptions, ListenOptions
    from tachyon._rpc_aio import Pump

_try_call = quick_function("tachyon_rpc_try_call_object")
_try_wait = quick_function("tachyon_rpc_try_wait_object")
_set_limit = function("tachyon_rpc_set_limit")
_submit = function("tachyon_rpc_submit")
_wait = function("tachyon_rpc_wait")
_forget = function("tachyon_rpc_forget")
_release = function("tachyon_rpc_release")
_stats = function("tachyon_rpc_stats")
_wait_room = function("tachyon_rpc_wait_room")
_connect = function("tachyon_bus_connect")
_wait_data = function("tachyon_bus_wait_data")
_fds = function("tachyon_bus_fds")

_ON_HEAP = 1  # the bit of a lease that says that the reply is not in the ring


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
        try:
            while (status := _wait(self._rpc, call_id, self._message, 0)) < 0:
                self._await_reply(-status, countdown)
        except BaseException:
            self._forget(call_id)
            raise
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

    def call_array(self, array: Any, msg_type: int = 0, timeout: float | None = None) -> Any:
        """Call with an array, and return the NumPy array of the reply, which is a copy.

        Raises what call() does; ArrayFormatError (the reply is no array), ImportError.
        """
        from tachyon._array import array_in
        from tachyon._dispatcher import encode_array

        return array_in(self.call(encode_array(array), msg_type, timeout))

    def _submit(self, payload: Buffer, msg_type: int, countdown: Countdown) -> int:
        buffer, call_id = PinnedBuffer(), c_uint64()
        try:
            pin(payload, buffer)
            while status := _submit(
                self._rpc, buffer.address, buffer.size, msg_type, byref(call_id), 0
            ):
                if status == -errno.EAGAIN and countdown.timeout != 0:
                    status = call_blocking(_wait_room, countdown, self._rpc, buffer.size)
                    if not status and countdown.left_ns() != 0:
                        continue
                    status = status or -errno.ETIMEDOUT
                raise self._failed_to_send(status, buffer.size, countdown)
            return call_id.value
        finally:
            unpin(buffer)

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
                if isinstance(early, RpcError):
                    raise early
                return early
            reply: bytes = _try_wait(self._rpc, number)
            error, type_id, _, _, flags = self._replied.tolist()
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
        """Counters: outstanding, stored, requests, replies, failures, dropped."""
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
