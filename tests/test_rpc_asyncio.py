"""RpcBus under asyncio: concurrent calls, coroutine endpoints, cancellation, ends."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

import tachyon


@tachyon.rpc(msg_type=1)
def reverse(request: memoryview) -> bytes:
    return bytes(request)[::-1]


@tachyon.rpc(msg_type=2)
async def slowly(request: memoryview) -> bytes:
    await asyncio.sleep(random.random() * 0.005)
    return bytes(request)


@tachyon.rpc(msg_type=3)
async def explode(request: memoryview) -> None:
    raise RuntimeError("on purpose")


@tachyon.rpc(msg_type=4)
async def never(request: memoryview) -> None:
    await asyncio.Event().wait()


def dispatcher() -> tachyon.Dispatcher:
    return tachyon.Dispatcher().register(reverse, slowly, explode, never)


class Ends:
    """async with Ends(path) as caller: with the other end served in the same loop."""

    def __init__(self, path: Path, capacity: int = 65536) -> None:
        self._path, self._capacity = path, capacity

    async def __aenter__(self) -> tachyon.RpcBus:
        listening = asyncio.ensure_future(tachyon.RpcBus.alisten(self._path, self._capacity))
        self._caller = await tachyon.RpcBus.aconnect(self._path)
        self.server = await listening
        self._serving = asyncio.ensure_future(self.server.aserve_forever(dispatcher()))
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


def test_cancelled_call_is_given_up(path: Path) -> None:
    async def main() -> None:
        async with Ends(path) as caller:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(caller.acall(b"x", 4), 0.01)
            tasks = [asyncio.ensure_future(caller.acall(b"y", 2)) for _ in range(100)]
            await asyncio.sleep(0.001)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert [task.result() for task in tasks[1::2]] == [b"y"] * 50
            assert await caller.acall(b"ab", 1) == b"ba"
            assert caller.rpc_stats()["outstanding"] == 0

    asyncio.run(main())


def test_end_of_the_server_fails_all_tasks(path: Path) -> None:
    async def main() -> None:
        ends = Ends(path)
        async with ends as caller:
            tasks = [asyncio.ensure_future(caller.acall(b"x", 4)) for _ in range(5)]
            await asyncio.sleep(0.01)
            ends.server.close()
            done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
            assert [type(error) for error in done] == [tachyon.ClosedError] * 5

    asyncio.run(main())


def test_own_close_fails_all_tasks(path: Path) -> None:
    async def main() -> None:
        async with Ends(path) as caller:
            tasks = [asyncio.ensure_future(caller.acall(b"x", 4)) for _ in range(5)]
            await asyncio.sleep(0.01)
            caller.close()
            done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
            assert [type(error) for error in done] == [tachyon.ClosedError] * 5

    asyncio.run(main())


def test_submitted_and_awaited_calls_share_a_bus(path: Path) -> None:
    async def main() -> None:
        async with Ends(path) as caller:
            call = caller.submit(b"early", 1)
            assert await caller.acall(b"x", 2) == b"x"
            assert call.wait(0) == b"ylrae"

    asyncio.run(main())
