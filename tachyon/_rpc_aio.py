"""RpcBus for asyncio: concurrent calls over one bus, and a server with coroutine handlers.

While calls are out, one task per bus (the pump) sleeps on its doorbell, takes replies as they
come and wakes the task that each belongs to.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
from time import monotonic
from typing import TYPE_CHECKING, Any

from tachyon._abi import FAILURE
from tachyon._dispatcher import Answer, Dispatcher
from tachyon._errors import ClosedError, LeaseError, TachyonError, WaitTimeoutError
from tachyon._message import checked_type_id
from tachyon._rpc import RpcBus, _try_wait
from tachyon._rpc_calls import Request, remote_error
from tachyon._wait import Countdown

if TYPE_CHECKING:
    from ctypes import c_uint64

    from typing_extensions import Buffer

# Requests whose coroutines run at a time; more stay in the ring.
_AT_ONCE = 1024
_FOR_REPLIES = "wait for a reply on"


def _any() -> c_uint64:
    from ctypes import c_uint64

    return c_uint64(0)


async def _sleep_for_data(bus: RpcBus, purpose: str) -> None:
    if bus.arm():
        data_fd, _, death_fd = bus.descriptors()
        await bus._sleeps.until_readable(purpose, data_fd, death_fd)


async def _sleep_for_room(bus: RpcBus, size: int) -> None:
    try:
        if bus._arm_room(size):
            _, room_fd, death_fd = bus.descriptors()
            await bus._sleeps.until_readable("send on", room_fd, death_fd)
    finally:
        bus._disarm_room()


class Pump:
    """The replies of one bus, in one event loop."""

    def __init__(self, bus: RpcBus) -> None:
        self.loop = asyncio.get_running_loop()
        self.sending = asyncio.Lock()
        self.senders = 0
        self._bus = bus
        self._futures: dict[int, asyncio.Future[bytes]] = {}
        self._task: asyncio.Task[None] | None = None

    def expect(self, call_id: int) -> asyncio.Future[bytes]:
        """The future that will be given the reply."""
        future = self._futures[call_id] = self.loop.create_future()
        self.run()
        return future

    def give_up(self, call_id: int) -> None:
        """After expect(): whatever came of it, the call is over."""
        if self._futures.pop(call_id, None) is not None:
            self._bus._forget(call_id)
        if not self._futures and not self.senders and self._task is not None:
            self._task.cancel()
            self._task = None

    def run(self) -> None:
        """Take replies in, as long as somebody waits for one, or for room."""
        if self._task is None or self._task.done():
            self._task = self.loop.create_task(self._run())

    async def _run(self) -> None:
        sleeps = self._bus._sleeps
        try:
            while self._futures or self.senders:
                if not self._take_one():
                    await _sleep_for_data(self._bus, _FOR_REPLIES)
                elif monotonic() >= sleeps.turn_end:
                    await sleeps.take_turns()
        except TachyonError as error:
            self._fail_all(error)

    def look(self) -> None:
        """Somebody else has looked for a reply, and may have taken ours in with it."""
        if self._futures:
            self._bus._sleeps.wake_purpose(_FOR_REPLIES)

    def _take_one(self) -> bool:
        bus = self._bus
        reply = _try_wait(bus._rpc, _any())
        error, type_id, _, call_id, flags = bus._replied.tolist()
        if error == errno.EAGAIN:
            return False
        if error:
            raise bus._failure(-error, _FOR_REPLIES)
        outcome: Any = reply
        if flags & FAILURE:
            outcome = remote_error(reply, type_id, f"call on {bus.path!r}")
        future = self._futures.pop(call_id, None)
        if future is None:
            bus._early[call_id] = outcome  # of a submit()
        elif future.cancelled():
            pass
        elif flags & FAILURE:
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
        return True

    def _fail_all(self, error: TachyonError) -> None:
        futures, self._futures = self._futures, {}
        for call_id, future in futures.items():
            self._bus._forget(call_id)
            if not future.done():
                future.set_exception(type(error)(*error.args))


def _pump_of(bus: RpcBus) -> Pump:
    pump = bus._pump
    if pump is None or pump.loop is not asyncio.get_running_loop():
        pump = bus._pump = Pump(bus)
    return pump


async def acall(bus: RpcBus, payload: Buffer, msg_type: int) -> bytes:
    """See RpcBus.acall()."""
    pump = _pump_of(bus)
    call_id = await _submit(bus, pump, payload, checked_type_id(msg_type))
    try:
        return await pump.expect(call_id)
    finally:
        pump.give_up(call_id)


async def _submit(bus: RpcBus, pump: Pump, payload: Buffer, msg_type: int) -> int:
    if not pump.senders:
        try:
            return bus._submit(payload, msg_type, Countdown(0))
        except WaitTimeoutError:
            pass
    pump.senders += 1
    try:
        async with pump.sending:
            while True:
                try:
                    return bus._submit(payload, msg_type, Countdown(0))
                except WaitTimeoutError:
                    pump.run()  # the server may be waiting for us to read
                await _sleep_for_room(bus, memoryview(payload).nbytes)
    finally:
        pump.senders -= 1


# ---- serving ------------------------------------------------------------------------------


class _Serving:
    """aserve_forever() of one bus."""

    def __init__(self, bus: RpcBus, dispatcher: Dispatcher) -> None:
        self._bus = bus
        self._dispatcher = dispatcher
        self._replying = asyncio.Lock()
        self._tasks: dict[asyncio.Task[None], Request] = {}
        self._fewer = asyncio.Event()
        self._ending = False

    async def run(self) -> None:
        sleeps = self._bus._sleeps
        try:
            while True:
                try:
                    request = self._bus.try_request()
                    if request is None:
                        await _sleep_for_data(self._bus, "serve on")
                        continue
                except LeaseError:  # the ring is full of requests that coroutines are at
                    if not self._tasks:
                        raise
                    await self._until_fewer()
                    continue
                await self._take(request)
                if monotonic() >= sleeps.turn_end:
                    await sleeps.take_turns()
        except ClosedError:
            pass
        finally:
            self._ending = True
            await self._cancel_tasks()

    async def _cancel_tasks(self) -> None:
        """End the endpoints that still run; their callers would wait until the bus closes."""
        tasks = dict(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task, request in tasks.items():
            if task.cancelled():  # here and not in the task, which may not have begun
                self._dispatcher.tell_of_end(self._bus, request, asyncio.CancelledError())

    async def _take(self, request: Request) -> None:
        """Run the endpoint; what is to be awaited becomes a task."""
        try:
            result = self._dispatcher.handle(request)
            answer = None if inspect.isawaitable(result) else Answer.of(request.id, result)
        except Exception as error:
            answer = self._dispatcher.explain(request, error)
        except (KeyboardInterrupt, SystemExit) as error:
            with request:
                self._dispatcher.tell_of_end(self._bus, request, error)
            raise
        if answer is not None:
            with request:
                await self._send(answer)
            return
        task = asyncio.ensure_future(self._finish(request, result))
        self._tasks[task] = request
        task.add_done_callback(self._finished)
        while len(self._tasks) >= _AT_ONCE:
            await self._until_fewer()

    async def _until_fewer(self) -> None:
        self._fewer.clear()
        await self._fewer.wait()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._fewer.set()
        if not task.cancelled():
            task.exception()  # the bus has ended, as run() sees by itself

    async def _finish(self, request: Request, result: Any) -> None:
        with request:
            try:
                answer = Answer.of(request.id, await result)
            except asyncio.CancelledError as error:
                if self._ending:
                    raise
                answer = self._dispatcher.explain(request, error)  # by something that it awaited
            except Exception as error:
                answer = self._dispatcher.explain(request, error)
            except (KeyboardInterrupt, SystemExit) as error:
                self._dispatcher.tell_of_end(self._bus, request, error)
                raise
            await self._send(answer)

    async def _send(self, answer: Answer) -> None:
        async with self._replying:
            while True:
                try:
                    answer.send(self._bus, 0)
                    return
                except WaitTimeoutError:
                    await _sleep_for_room(self._bus, answer.size)


async def aserve_forever(bus: RpcBus, dispatcher: Dispatcher) -> None:
    """See RpcBus.aserve_forever()."""
    await _Serving(bus, dispatcher).run()
