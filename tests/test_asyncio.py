"""Buses in an event loop: messages, waiting, cancelling, taking turns."""

from __future__ import annotations

import array
import asyncio
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from async_support import LOOPS, Run, connect_pair, fill, run_in, until_waiting
from conftest import PATIENCE, Peer, in_thread

import tachyon

StartPeer = Callable[[str], Peer]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return run_in(LOOPS[request.param](), coroutine)

    return run


# ---- messages ----


def test_messages_go_both_ways_between_two_ends_in_one_loop(run: Run, path: Path) -> None:
    async def main() -> None:
        ours, theirs = await connect_pair(path)
        async with ours, theirs:
            await theirs.asend(b"question", type_id=7)
            assert await ours.arecv() == tachyon.Message(b"question", 7)
            waiting = asyncio.create_task(theirs.arecv())
            await until_waiting(waiting)
            await ours.asend(b"answer", 2**32 - 1)
            assert await waiting == tachyon.Message(b"answer", 2**32 - 1)
        assert ours.closed
        assert theirs.closed

    run(main())


def test_messages_can_be_awaited_in_the_ring(run: Run, path: Path) -> None:
    async def main() -> None:
        ours, theirs = await connect_pair(path)
        async with ours, theirs:
            theirs.send(b"there already", 1)
            with await ours.arecv_zero_copy() as lease:
                assert (bytes(lease.data), lease.type_id) == (b"there already", 1)
            waiting = asyncio.create_task(ours.arecv_zero_copy())
            await until_waiting(waiting)
            theirs.send(b"awaited", 2)
            with await waiting as lease:
                assert (bytes(lease.data), lease.type_id) == (b"awaited", 2)
                assert ours.stats().leases == 1
            cancelled = asyncio.create_task(ours.arecv_zero_copy())
            await until_waiting(cancelled)
            cancelled.cancel()
            theirs.send(b"not lost")
            theirs.close()
            with await ours.arecv_zero_copy() as lease:
                assert bytes(lease.data) == b"not lost"
            with pytest.raises(tachyon.ClosedError):
                await ours.arecv_zero_copy()

    run(main())


def test_every_kind_of_bytes_can_be_sent(run: Run, path: Path) -> None:
    values: list[Any] = [
        b"",
        bytearray(b"array"),
        memoryview(b"0123456789")[2:5],
        array.array("i", [1, 2, 3]),
    ]

    async def main() -> None:
        ours, theirs = await connect_pair(path)
        async with ours, theirs:
            for value in values:
                await theirs.asend(value)
                assert (await ours.arecv()).data == bytes(value)
            with pytest.raises(TypeError, match="encode"):
                await theirs.asend("text")  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="type_id"):
                await theirs.asend(b"", -1)
            with pytest.raises(tachyon.MessageTooLargeError):
                await theirs.asend(bytes(theirs.max_message_size + 1))

    run(main())


def test_iteration_ends_with_an_orderly_close(run: Run, path: Path) -> None:
    async def main() -> None:
        ours, theirs = await connect_pair(path)
        async with ours:
            async with theirs:
                for number in range(3):
                    await theirs.asend(b"", number)
            assert [message.type_id async for message in ours] == [0, 1, 2]
            assert [message async for message in ours] == []
        with pytest.raises(tachyon.ClosedError):
            async for _ in ours:
                pass

    run(main())


def test_a_sleeping_iteration_is_woken_by_messages_and_by_the_end(run: Run, path: Path) -> None:
    async def collect(bus: tachyon.Bus) -> list[int]:
        return [message.type_id async for message in bus]

    async def main() -> None:
        ours, theirs = await connect_pair(path)
        async with ours, theirs:
            collecting = asyncio.create_task(collect(ours))
            for number in range(10):
                await until_waiting(collecting)
                theirs.send(b"", number)
            await until_waiting(collecting)
            theirs.close()
            assert await collecting == list(range(10))

    run(main())


def test_a_sender_sleeps_while_the_ring_is_full(run: Run, path: Path) -> None:
    async def send_rest(bus: tachyon.Bus, numbers: range) -> None:
        for number in numbers:
            await bus.asend(bytes(1000), number)

    async def main() -> None:
        ours, theirs = await connect_pair(path, 4096)
        async with ours, theirs:
            count = fill(theirs)
            sending = asyncio.create_task(send_rest(theirs, range(count, 500)))
            await until_waiting(sending)
            for number in range(500):
                assert (await ours.arecv()).type_id == number
            await sending
            assert theirs.stats().space_sleeps > 0

    run(main())


def test_one_loop_serves_many_buses(run: Run, folder: Path) -> None:
    async def echo(bus: tachyon.Bus) -> None:
        async for message in bus:
            await bus.asend(message.data)

    async def ask(bus: tachyon.Bus, name: bytes) -> None:
        async with bus:
            for number in range(50):
                await bus.asend(name + b" %d" % number)
                assert (await bus.arecv()).data == name + b" %d" % number

    async def main() -> None:
        pairs = [await connect_pair(folder / str(i), 4096) for i in range(20)]
        echoing = [asyncio.create_task(echo(ours)) for ours, _ in pairs]
        await asyncio.gather(*(ask(theirs, b"%d" % i) for i, (_, theirs) in enumerate(pairs)))
        await asyncio.gather(*echoing)
        for ours, _ in pairs:
            ours.close()

    run(main())


def test_two_loops_in_two_threads_may_share_a_bus(path: Path, folder: Path) -> None:
    async def send_all(bus: tachyon.Bus) -> None:
        for number in range(2000):
            await bus.asend(bytes(500), number)

    async def receive_all(bus: tachyon.Bus) -> list[int]:
        return [(await bus.arecv()).type_id for _ in range(2000)]

    connecting = in_thread(lambda: tachyon.Bus.connect(path))
    with tachyon.Bus.listen(path, 4096) as ours, connecting.result() as theirs:
        # Each bus is received from in one loop, and sent through in another.
        jobs = [receive_all(ours), send_all(theirs), receive_all(theirs), send_all(ours)]
        threads = [in_thread(lambda job=job: asyncio.run(job)) for job in jobs]
        received, _, answered, _ = (thread.result() for thread in threads)
    assert received == answered == list(range(2000))


# ---- one at a time ----


def test_a_second_receiver_is_refused(run: Run, path: Path) -> None:
    async def main() -> None:
        ours, theirs = await connect_pair(path)
        async with ours, theirs:
            first = asyncio.create_task(ours.arecv())
            await until_waiting(first)
            with pytest.raises(tachyon.BusyError, match="another task"):
                await ours.arecv()
            theirs.send(b"for the first")
            assert (await first).data == b"for the first"
            await ours.asend(b"the other way, nobody waits")

    run(main())


def test_a_second_sender_is_refused(run: Run, path: Path) -> None:
    async def main() -> None:
        ours, theirs = await connect_pair(path, 4096)
        async with ours, theirs:
            count = fill(theirs)
            first = asyncio.create_task(theirs.asend(bytes(1000), count))
            await until_waiting(first)
            with pytest.raises(tachyon.BusyError, match="another task"):
                await theirs.asend(b"")
            received = [(await ours.arecv()).type_id for _ in range(count + 1)]
            await first
            assert received == list(range(count + 1))

    run(main())


def test_who_cancels_a_waiting_task_may_take_its_place_at_once(run: Run, path: Path) -> None:
    async def main() -> None:
        ours, theirs = await connect_pair(path)
        async with ours, theirs:
            first = asyncio.create_task(ours.arecv())
            await until_waiting(first)
            first.cancel()
            second = asyncio.create_task(ours.arecv())
            await asyncio.gather(first, return_exceptions=True)
            await until_waiting(second)
            theirs.send(b"for the second")
            assert (await second).data == b"for the second"
            assert first.cancelled()

    run(main())


# ---- cancelling ----


def test_a_cancelled_send_sends_nothing_and_stands_in_nobodys_way(run: Run, path: Path) -> None:
    async def main() -> None:
        ours, theirs = await connect_pair(path, 4096)
        async with ours, theirs:
            await theirs.asend(bytes(3000), 1)
            with ours.recv_zero_copy(timeout=0) as lease:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(theirs.asend(bytes(3000), 2), 0.01)
                # A sender that waits for what is leased would make this a LeaseError.
                with pytest.raises(tachyon.WaitTimeoutError):
                    ours.recv(timeout=0)
                assert lease.type_id == 1
            await theirs.asend(b"", 3)
            assert (await ours.arecv()).type_id == 3

    run(main())


def test_waiting_for_what_is_leased_is_an_error(run: Run, path: Path) -> None:
    async def main() -> None:
        ours, theirs = await connect_pair(path, 4096)
        async with ours, theirs:
            await theirs.asend(bytes(3000), 1)
            with ours.recv_zero_copy(timeout=0):
                receiving = asyncio.create_task(ours.arecv())
                await until_waiting(receiving)
                sending = asyncio.create_task(theirs.asend(bytes(3000), 2))
                with pytest.raises(tachyon.LeaseError):
                    await receiving
            await sending
            assert (await ours.arecv()).type_id == 2

    run(main())


NUMBERED = """
    import random, time
    dice = random.Random(sys.argv[1])
    bus = Bus.connect(path)
    for number in range(int(sys.stdin.readline())):
        bus.send(b"%d" % number)
        if dice.random() < 0.01:
            time.sleep(0)  # now and then, let the receiver find nothing
        if dice.random() < 0.001:
            time.sleep(dice.random() / 20)  # longer than a slow receiver takes for a full ring
    bus.close()
"""


async def cancel_at_random(bus: tachyon.Bus, dice: random.Random) -> tachyon.Message | None:
    task = asyncio.create_task(bus.arecv())
    for _ in range(dice.randrange(4)):
        await asyncio.sleep(0)
    if dice.random() < 0.5:
        task.cancel()
    await asyncio.wait([task])
    return None if task.cancelled() else task.result()


async def wait_at_most(bus: tachyon.Bus, dice: random.Random) -> tachyon.Message | None:
    try:
        return await asyncio.wait_for(bus.arecv(), dice.random() / 5000)
    except asyncio.TimeoutError:
        return None


async def with_timeout(bus: tachyon.Bus, dice: random.Random) -> tachyon.Message | None:
    try:
        async with asyncio.timeout(dice.random() / 5000):
            return await bus.arecv()
    except TimeoutError:
        return None


# How many messages: `TACHYON_STORM=10 pytest tests/test_asyncio.py` takes ten times as many.
STORM = 10_000 * int(os.environ.get("TACHYON_STORM", "1"))
STORMS: list[tuple[Callable[..., Any], int]] = [(cancel_at_random, STORM), (wait_at_most, STORM)]
if sys.version_info >= (3, 11):
    STORMS.append((with_timeout, STORM))


@pytest.mark.parametrize(("receive", "count"), STORMS)
def test_no_cancellation_loses_or_doubles_a_message(
    run: Run, path: Path, start_peer: StartPeer, receive: Callable[..., Any], count: int
) -> None:
    start_peer(NUMBERED).say(str(count))
    dice = random.Random(4711)

    async def main() -> None:
        cancelled = 0
        async with await tachyon.Bus.alisten(path, 4096) as bus:
            for number in range(count):
                while (message := await receive(bus, dice)) is None:
                    cancelled += 1
                assert int(message.data) == number
            with pytest.raises(tachyon.ClosedError):
                while await receive(bus, dice) is None:
                    pass
        assert cancelled > 10

    run(main())


# ---- taking turns ----


async def count_turns(coroutine: Coroutine[Any, Any, Any]) -> int:
    """Through how many turns of the loop it goes."""
    working = asyncio.create_task(coroutine)
    turns = 0
    while not working.done():
        await asyncio.sleep(0)
        turns += 1
    await working
    return turns


def test_a_flood_of_messages_lets_other_tasks_run(run: Run, path: Path) -> None:
    """All is there from the beginning; without a break this would be one turn."""

    async def receive(bus: tachyon.Bus, count: int) -> None:
        for _ in range(count):
            await bus.arecv()

    async def iterate(bus: tachyon.Bus, count: int) -> None:
        iterator = bus.__aiter__()
        for _ in range(count):
            await iterator.__anext__()

    async def send(bus: tachyon.Bus, count: int) -> None:
        for _ in range(count):
            await bus.asend(b"x" * 40)

    async def main() -> None:
        ours, theirs = await connect_pair(path, 1 << 22)
        async with ours, theirs:
            count = fill(theirs, b"x" * 40)
            assert count > 60000
            for receiving in (receive, iterate):
                # More than 10 ms of work by far, so more than a few turns of 1 ms.
                assert await count_turns(receiving(ours, count)) > 5
                assert await count_turns(send(theirs, count)) > 5

    run(main())


def test_a_ticker_ticks_during_a_flood(run: Run, path: Path, start_peer: StartPeer) -> None:
    start_peer("""
        bus = Bus.connect(path)
        try:
            while True:
                bus.send(b"flood")
        except ClosedError:
            pass
    """)

    async def main() -> None:
        ticks = received = 0
        async with await tachyon.Bus.alisten(path) as bus:

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.001)
                    ticks += 1

            ticking = asyncio.create_task(tick())
            async for _ in bus:
                received += 1
                if ticks >= 100 and received >= 10_000:
                    break
            ticking.cancel()

    run(main())


# ---- what it costs to those who do not use it ----


def test_importing_tachyon_does_not_import_asyncio() -> None:
    code = "import sys, tachyon; sys.exit('asyncio' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_outside_of_a_loop_there_is_an_error_and_no_trace(path: Path) -> None:
    threads = set(threading.enumerate())  # of earlier tests
    connecting = in_thread(lambda: tachyon.Bus.connect(path))
    with tachyon.Bus.listen(path) as ours, connecting.result() as theirs:
        coroutine = ours.arecv()
        with pytest.raises(RuntimeError, match="loop"):
            coroutine.send(None)
            coroutine.send(None)
        theirs.send(b"still usable")
        assert ours.recv(PATIENCE).data == b"still usable"
        assert set(threading.enumerate()) <= threads
