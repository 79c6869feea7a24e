"""RpcBus under asyncio: concurrent calls, coroutine endpoints, cancellation, ends."""

from __future__ import annotations

import asyncio
import errno
import random
import threading
from pathlib import Path
from typing import Any

import pytest

import tachyon


@tachyon.rpc(msg_type=1)
def reverse(request: memoryview) -> bytes:
    return bytes(request)[::-1]


@tachyon.rpc(msg_type=2)
async def shuffled(request: memoryview) -> bytes:
    """Some turns of the loop later, so that replies come in another order than requests."""
    for _ in range(random.randrange(5)):
        await asyncio.sleep(0)
    return bytes(request)


@tachyon.rpc(msg_type=3)
async def explode(request: memoryview) -> None:
    raise RuntimeError("on purpose")


@tachyon.rpc(msg_type=4)
async def never(request: memoryview) -> None:
    await asyncio.Event().wait()


def dispatcher(*more: Any) -> tachyon.Dispatcher:
    return tachyon.Dispatcher().register(reverse, shuffled, explode, never, *more)


class Ends:
    """async with Ends(path) as caller: with the other end served in the same loop."""

    def __init__(self, path: Path, capacity: int = 65536, *more: Any) -> None:
        self._path, self._capacity, self._more = path, capacity, more

    async def __aenter__(self) -> tachyon.RpcBus:
        listening = asyncio.ensure_future(tachyon.RpcBus.alisten(self._path, self._capacity))
        self._caller = await tachyon.RpcBus.aconnect(self._path)
        self.server = await listening
        self._serving = asyncio.ensure_future(self.server.aserve_forever(dispatcher(*self._more)))
        return self._caller

    async def __aexit__(self, *_: object) -> None:
        self._caller.close()
        await asyncio.wait_for(self._serving, 30)
        self.server.close()


def test_concurrent_calls_over_one_bus(path: Path) -> None:
    async def main() -> None:
        async with Ends(path) as caller:
            assert await caller.acall(b"abc", 1) == b"cba"
            payloads = [b"%d" % number for number in range(1000)]
            replies = await asyncio.gather(*(caller.acall(payload, 2) for payload in payloads))
            assert replies == payloads
            assert caller.rpc_stats()["outstanding"] == 0

    asyncio.run(main())


def test_full_rings_in_one_loop(path: Path) -> None:
    async def main() -> None:
        async with Ends(path, 4096) as caller:
            payloads = [b"%0500d" % number for number in range(300)]
            replies = await asyncio.gather(*(caller.acall(payload, 2) for payload in payloads))
            assert replies == payloads

    asyncio.run(asyncio.wait_for(main(), 60))


def test_failures_reach_the_task_that_called(path: Path) -> None:
    async def main() -> None:
        async with Ends(path) as caller:
            good = asyncio.ensure_future(caller.acall(b"good", 2))
            with pytest.raises(tachyon.RpcError, match="on purpose"):
                await caller.acall(b"", 3)
            with pytest.raises(tachyon.RpcError, match="no endpoint"):
                await caller.acall(b"", 77)
            assert await good == b"good"

    asyncio.run(main())


async def until_served(ends: Ends, calls: int) -> None:
    """Let the others run until the server has taken so many requests."""
    while ends.server.rpc_stats()["requests"] < calls:
        await asyncio.sleep(0)


def test_cancelled_call_is_given_up(path: Path) -> None:
    async def main() -> None:
        ends = Ends(path)
        async with ends as caller:
            call = asyncio.ensure_future(caller.acall(b"x", 4))
            await until_served(ends, 1)
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
            for served in range(0, 100, 10):  # cancelled in every state
                tasks = [asyncio.ensure_future(caller.acall(b"%d" % n, 2)) for n in range(100)]
                await until_served(ends, ends.server.rpc_stats()["requests"] + served)
                for task in tasks[::2]:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                assert [task.result() for task in tasks[1::2]] == [
                    b"%d" % n for n in range(1, 100, 2)
                ]
                assert caller.rpc_stats()["outstanding"] == 0
            assert await caller.acall(b"ab", 1) == b"ba"
            assert not caller._early

    asyncio.run(asyncio.wait_for(main(), 60))


def test_cancelled_server_fails_the_calls_that_it_is_at(path: Path) -> None:
    async def main() -> None:
        ends = Ends(path)
        async with ends as caller:
            tasks = [asyncio.ensure_future(caller.acall(b"x", 4)) for _ in range(5)]
            await until_served(ends, 5)  # the last endpoints have not begun, perhaps
            ends._serving.cancel()
            done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
            assert [getattr(error, "type", error) for error in done] == ["CancelledError"] * 5
            await asyncio.wait([ends._serving])
            assert ends._serving.cancelled()
            ends._serving = asyncio.ensure_future(ends.server.aserve_forever(dispatcher()))
            assert await caller.acall(b"ab", 1) == b"ba"

    asyncio.run(main())


@pytest.mark.parametrize("end", ["server", "caller"])
def test_either_end_fails_all_tasks(path: Path, end: str) -> None:
    async def main() -> None:
        ends = Ends(path)
        async with ends as caller:
            tasks = [asyncio.ensure_future(caller.acall(b"x", 4)) for _ in range(5)]
            await until_served(ends, 5)
            (ends.server if end == "server" else caller).close()
            done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
            assert [type(error) for error in done] == [tachyon.ClosedError] * 5

    asyncio.run(main())


def test_a_call_that_blocks_takes_no_reply_from_those_awaited(path: Path) -> None:
    """What call() and wait() take in meanwhile reaches the tasks that sleep."""

    async def main() -> None:
        with tachyon.RpcServer(path, dispatcher_without_coroutines()):
            async with await tachyon.RpcBus.aconnect(path) as caller:
                for blocking in 20 * (
                    lambda: caller.call(b"cd", 1),
                    lambda: caller.call(bytearray(b"cd"), 1),
                    lambda: caller.submit(b"cd", 1).wait(),
                    lambda: bytes(caller.call_zero_copy(b"cd", 1).data),
                ):
                    awaited = asyncio.ensure_future(caller.acall(b"ab", 5))
                    while not caller._sleeps._sleeping:  # the pump is asleep
                        await asyncio.sleep(0)
                    opened.set()
                    assert blocking() == b"dc"
                    assert await asyncio.wait_for(awaited, 30) == b"ab"
                    opened.clear()

    opened = threading.Event()

    def dispatcher_without_coroutines() -> tachyon.Dispatcher:
        @tachyon.rpc(msg_type=5)
        def wait(request: memoryview) -> bytes:
            assert opened.wait(60)
            return bytes(request)

        return tachyon.Dispatcher().register(reverse, wait)

    asyncio.run(main())


def test_endpoint_that_is_cancelled_from_within_fails_its_call(path: Path) -> None:
    @tachyon.rpc(msg_type=5)
    async def gives_up(request: memoryview) -> None:
        raise asyncio.CancelledError

    @tachyon.rpc(msg_type=6)
    async def calls_another(request: memoryview) -> None:
        raise tachyon.PeerDeadError(errno.EPIPE, "another server")

    async def main() -> None:
        async with Ends(path, 65536, gives_up, calls_another) as caller:
            for msg_type, kind in ((5, "CancelledError"), (6, "PeerDeadError")):
                with pytest.raises(tachyon.RpcError) as caught:
                    await asyncio.wait_for(caller.acall(b"", msg_type), 30)
                assert caught.value.type == kind
            assert await caller.acall(b"ab", 1) == b"ba"

    asyncio.run(main())


def test_requests_of_coroutines_that_fill_the_ring(path: Path) -> None:
    """More would have no room before one is answered: that is no error."""
    opened = asyncio.Event()

    @tachyon.rpc(msg_type=5)
    async def wait(request: memoryview) -> bytes:
        await opened.wait()
        return bytes(request[:1])

    async def main() -> None:
        ends = Ends(path, 16384, wait)
        async with ends as caller:
            calls = [asyncio.ensure_future(caller.acall(bytes([n]) * 5000, 5)) for n in range(9)]
            await until_served(ends, 2)
            for _ in range(100):  # the third one is being sent, and has no room
                await asyncio.sleep(0)
            opened.set()
            done = await asyncio.wait_for(asyncio.gather(*calls), 30)
            assert done == [bytes([n]) for n in range(9)]

    asyncio.run(main())


def test_arrays_are_served_by_coroutines(path: Path) -> None:
    import numpy as np

    @tachyon.rpc(msg_type=5)
    async def double(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        await asyncio.sleep(0)
        return values * 2

    async def main() -> None:
        async with Ends(path, 1 << 20, double) as caller:
            call = caller.submit_array(np.arange(10_000), 5)
            assert await caller.acall(b"ab", 1) == b"ba"
            while not call.done():
                await asyncio.sleep(0)
            assert np.array_equal(call.wait_array(), np.arange(0, 20_000, 2))

    asyncio.run(main())


def test_submitted_and_awaited_calls_share_a_bus(path: Path) -> None:
    async def main() -> None:
        async with Ends(path) as caller:
            call = caller.submit(b"early", 1)
            assert await caller.acall(b"x", 2) == b"x"
            assert call.wait(0) == b"ylrae"

    asyncio.run(main())
