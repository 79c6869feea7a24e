"""Awaiting instead of blocking: what Bus and Listener offer to asyncio.

A call that finds something to do does it at once, by the same code as the blocking one. Else
the task sleeps: the bus is armed (its peer will ring), its descriptors are given to the event
loop, and taken back when the task wakes, whatever woke it. So a bus that nobody waits on has
no traces in any loop, and may be dropped, closed or left open as ever.

What cancels a task strikes while it sleeps. A message is taken out of the ring after the last
sleep, in one step with its return: so none is ever lost to a cancellation.

asyncio is imported by the first sleep, not by `import tachyon`.
"""

from __future__ import annotations

import errno
from ctypes import byref, c_int
from time import monotonic

from tachyon._end import End
from tachyon._errors import ClosedError, WaitTimeoutError
from tachyon._library import function, quick_function
from tachyon._message import Message
from tachyon._sleeps import Sleeps
from tachyon._wait import Countdown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, TypeVar

    from typing_extensions import Buffer, Self, Unpack

    from tachyon._bus import Bus, Path
    from tachyon._lease import Lease
    from tachyon._options import ConnectOptions, ListenOptions

    SomeBus = TypeVar("SomeBus", bound="AsyncEnd")

_try_recv = quick_function("tachyon_bus_try_recv_object")
_arm = function("tachyon_bus_arm")
_arm_space = function("tachyon_bus_arm_space")
_disarm_space = function("tachyon_bus_disarm_space")
_fds = function("tachyon_bus_fds")

# aaccept() looks at a listener that is readable for nothing at most this often, seconds.
_ACCEPT_PAUSE = 0.01
_FUTILE_WAKES = 4


class AsyncEnd(End):
    """The part of Bus that is for asyncio. See Bus, and docs/asyncio.md."""

    __slots__ = ("_sleeps",)

    _sleeps: Sleeps

    if TYPE_CHECKING:

        @classmethod
        def connect(
            cls, path: Path, *, timeout: float | None = 10.0, **options: Unpack[ConnectOptions]
        ) -> Self: ...

        def send(self, data: Buffer, type_id: int = 0, timeout: float | None = None) -> None: ...
        def recv_zero_copy(self, timeout: float | None = None) -> Lease: ...

    def _ready(self, path: str) -> Self:
        self._sleeps = Sleeps()
        return super()._ready(path)

    # ---- making a bus ----

    @classmethod
    async def alisten(
        cls, path: Path, capacity: int | None = None, **options: Unpack[ListenOptions]
    ) -> Self:
        """Listen on a path until one process connects; as Bus.listen(), for asyncio.

        For a time limit, use asyncio.timeout(). Cancelled, it leaves nothing behind.
        """
        from tachyon._listener import Listener

        with Listener(path, capacity, **options) as listener:
            return await listener._aaccept(cls)

    @classmethod
    async def aconnect(
        cls, path: Path, *, timeout: float | None = 10.0, **options: Unpack[ConnectOptions]
    ) -> Self:
        """Connect to the listener on a path; as Bus.connect(), for asyncio.

        The introduction, some milliseconds, runs in a thread of the loop's default executor:
        this is the only place where asyncio support has a thread. Cancelled, it leaves no
        connection behind; a listener that does not answer then keeps the thread for at most
        handshake_timeout (default: 2 s).
        """
        from tachyon._aio_connect import Connecting

        connecting = Connecting(cls, path, options)
        return await connecting.run(Countdown(timeout))  # type: ignore[return-value]

    # ---- receiving ----

    async def arecv(self) -> Message:
        """Receive one message, as a copy that is yours; as recv(), for asyncio.

        For a time limit, use asyncio.timeout() or asyncio.wait_for(): a cancellation loses
        no message. A task that finds messages without end lets others run every millisecond.

        Raises BusyError where another task is waiting, else as recv().
        """
        if monotonic() >= self._sleeps.turn_end:
            await self._sleeps.take_turns()
        self._sleeps.check_free("receive from", self._path)
        while True:
            data = _try_recv(self._handle)
            slot = self._slot
            if not slot[0]:
                return Message(data, slot[1])
            if slot[0] != errno.EAGAIN:
                raise self._failure(-slot[0], "receive from")
            await self._sleep_for_data()

    async def arecv_zero_copy(self) -> Lease:
        """Receive one message without copying it: `with await bus.arecv_zero_copy() as lease:`

        As recv_zero_copy(), for asyncio; time limits, cancelling and turns as with arecv().
        """
        if monotonic() >= self._sleeps.turn_end:
            await self._sleeps.take_turns()
        self._sleeps.check_free("receive from", self._path)
        while True:
            try:
                return self.recv_zero_copy(0)
            except WaitTimeoutError:
                pass
            await self._sleep_for_data()

    def __aiter__(self) -> AsyncMessages:
        """Messages as by arecv(), until either side closes the bus in good order.

        Raises as iteration does: PeerDeadError after the last message where the peer crashed,
        ClosedError where this side had closed the bus before the first step.
        """
        if self._closed:
            raise self._failure(-errno.ECANCELED, "receive from")
        return AsyncMessages(self)

    async def _sleep_for_data(self) -> None:
        status = _arm(self._handle)
        if status < 0:
            raise self._failure(status, "receive from")
        if status == 0:
            data_fd, _, death_fd = self._descriptors()
            await self._sleeps.until_readable("receive from", data_fd, death_fd)

    # ---- sending ----

    async def asend(self, data: Buffer, type_id: int = 0) -> None:
        """Send one message; sleeps while the ring is full; as send(), for asyncio.

        Do not change the data before this returns. For a time limit, use asyncio.timeout():
        cancelled, nothing was sent. Raises BusyError where another task is waiting to send,
        else as send().
        """
        if monotonic() >= self._sleeps.turn_end:
            await self._sleeps.take_turns()
        self._sleeps.check_free("send on", self._path)
        while True:
            try:
                return self.send(data, type_id, 0)
            except WaitTimeoutError:
                pass
            await self._sleep_for_room(memoryview(data).nbytes)

    async def _sleep_for_room(self, size: int) -> None:
        status = _arm_space(self._handle, size)
        if status < 0:
            raise self._failure(status, "send on")
        try:
            if status == 0:
                _, room_fd, death_fd = self._descriptors()
                await self._sleeps.until_readable("send on", room_fd, death_fd)
        finally:
            _disarm_space(self._handle)

    # ---- both ----

    def _descriptors(self) -> tuple[int, int, int]:
        data_fd, room_fd, death_fd = c_int(), c_int(), c_int()
        self._check(_fds(self._handle, byref(data_fd), byref(room_fd), byref(death_fd)), "watch")
        return data_fd.value, room_fd.value, death_fd.value

    def close(self) -> None:
        """End the bus in good order. May be called again, and from any thread.

        The peer receives all that was sent, then sees the end. Waits in other threads and
        tasks raise ClosedError. Leases stay readable until they are released; the memory goes
        with the last of them and of the references to this bus.

        While a task waits in an event loop of another thread, it is that thread which closes
        the bus, in the loop's next turn.
        """
        self._closed = True
        self._sleeps.end(super().close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncMessages:
    """`async for message in bus`. Nothing is held between the steps: it may be dropped."""

    __slots__ = ("_bus",)

    def __init__(self, bus: AsyncEnd) -> None:
        self._bus = bus

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self._bus.arecv()
        except ClosedError:
            raise StopAsyncIteration from None


class AsyncListening:
    """The part of Listener that is for asyncio. See Listener, and docs/asyncio.md."""

    __slots__ = ("_sleeps",)

    _sleeps: Sleeps

    if TYPE_CHECKING:
        _closed: bool
        _path: str

        def _accept(self, kind: type[Any], countdown: Countdown) -> Any: ...
        def fileno(self) -> int: ...
        def close(self) -> None: ...

    async def aaccept(self) -> Bus:
        """Wait for a process to connect; as accept(), for asyncio.

        For a time limit, use asyncio.timeout(): a cancellation loses no connection.
        Raises BusyError where another task is waiting, else as accept().
        """
        from tachyon._bus import Bus

        return await self._aaccept(Bus)

    async def _aaccept(self, kind: type[SomeBus]) -> SomeBus:
        from asyncio import sleep

        if monotonic() >= self._sleeps.turn_end:
            await self._sleeps.take_turns()
        self._sleeps.check_free("accept on", self._path)
        futile_wakes = 0
        while True:
            try:
                bus: SomeBus = self._accept(kind, Countdown(0))
                return bus
            except WaitTimeoutError:
                pass
            # An introduction has several steps. But a listener that has no descriptors left,
            # or no place for another introduction, is readable all the time.
            futile_wakes += 1
            if futile_wakes > _FUTILE_WAKES:
                await sleep(_ACCEPT_PAUSE)
            await self._sleeps.until_readable("accept on", self.fileno())

    def __aiter__(self) -> AsyncBuses:
        """Buses as by aaccept(), until the listener is closed."""
        return AsyncBuses(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncBuses:
    """`async for bus in listener`."""

    __slots__ = ("_listener",)

    def __init__(self, listener: AsyncListening) -> None:
        self._listener = listener

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Bus:
        try:
            return await self._listener.aaccept()
        except ClosedError:
            raise StopAsyncIteration from None
