"""Buses in an event loop: how they begin and end, and what stays behind."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from async_support import LOOPS, Run, connect_pair, fill, run_in, until_waiting
from conftest import PATIENCE, Peer, assert_within_100_ms, in_thread

import tachyon

StartPeer = Callable[[str], Peer]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return run_in(LOOPS[request.param](), coroutine)

    return run


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# ---- the end of the peer ----


STAYS = "bus = Bus.connect(path); print('connected'); sys.stdin.readline()"
# The child has the peer's sockets; only the peer's process descriptor tells of the death.
HAS_A_CHILD = """
    bus = Bus.connect(path)
    child = os.fork()
    if not child:
        sys.stdin.readline()
        os._exit(0)
    print('connected')
    os.wait()
"""


@pytest.mark.parametrize("code", [STAYS, HAS_A_CHILD])
@pytest.mark.parametrize("direction", ["arecv", "asend", "both"])
def test_a_waiting_task_hears_of_a_kill_within_100_ms(
    run: Run, path: Path, start_peer: StartPeer, direction: str, code: str
) -> None:
    async def killed() -> float:
        peer = start_peer(code)
        async with await tachyon.Bus.alisten(path, 4096) as bus:
            peer.line()
            tasks: list[asyncio.Task[Any]] = []
            if direction != "asend":
                tasks.append(asyncio.create_task(bus.arecv()))
            if direction != "arecv":
                fill(bus)
                tasks.append(asyncio.create_task(bus.asend(bytes(1000))))
            await until_waiting(*tasks)
            killed_at = time.monotonic()
            peer.kill()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            took = time.monotonic() - killed_at
            assert {type(outcome) for outcome in outcomes} == {tachyon.PeerDeadError}
        return took

    assert_within_100_ms(lambda: float(run(killed())))


def test_iteration_drains_what_a_dead_peer_left_before_it_raises(
    run: Run, path: Path, start_peer: StartPeer
) -> None:
    peer = start_peer("""
        bus = Bus.connect(path)
        for number in range(100):
            bus.send(b"", number)
        print("sent")
        sys.stdin.readline()
    """)

    async def main() -> None:
        received = []
        async with await tachyon.Bus.alisten(path) as bus:
            peer.line()
            peer.kill()
            peer.finish()
            with pytest.raises(tachyon.PeerDeadError):
                async for message in bus:
                    received.append(message.type_id)
        assert received == list(range(100))

    run(main())


def test_a_waiting_sender_hears_of_an_orderly_close(run: Run, path: Path) -> None:
    async def main() -> None:
        ours, theirs = await connect_pair(path, 4096)
        async with ours, theirs:
            fill(theirs)
            sending = asyncio.create_task(theirs.asend(bytes(1000)))
            await until_waiting(sending)
            ours.close()
            with pytest.raises(tachyon.ClosedError):
                await sending

    run(main())


# ---- our own end ----


def test_close_wakes_those_who_wait(run: Run, path: Path) -> None:
    async def iterate(bus: tachyon.Bus) -> str:
        async for _ in bus:
            pass
        return "ended"

    async def main() -> None:
        ours, theirs = await connect_pair(path, reply_capacity=4096)
        other, its_peer = await connect_pair(path)
        fill(ours)
        receiving = asyncio.create_task(ours.arecv())
        sending = asyncio.create_task(ours.asend(bytes(1000)))
        await until_waiting(receiving, sending)
        ours.close()
        outcomes = await asyncio.gather(receiving, sending, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [tachyon.ClosedError] * 2
        iterating = asyncio.create_task(iterate(other))
        await until_waiting(iterating)
        other.close()
        assert await iterating == "ended"
        theirs.close()
        its_peer.close()

    run(main())


def test_close_in_another_thread_wakes_those_who_wait(run: Run, path: Path) -> None:
    async def main() -> None:
        ours, theirs = await connect_pair(path)
        receiving = asyncio.create_task(ours.arecv())
        await until_waiting(receiving)
        await asyncio.get_running_loop().run_in_executor(None, ours.close)
        assert ours.closed
        with pytest.raises(tachyon.ClosedError):
            await receiving
        with pytest.raises(tachyon.ClosedError):
            await theirs.arecv()
        theirs.close()

    run(main())


def test_a_bus_that_nobody_closed_ends_with_its_last_reference(run: Run, path: Path) -> None:
    async def main() -> None:
        ours, theirs = await connect_pair(path)
        async with theirs:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ours.arecv(), 0.01)
            del ours
            with pytest.raises(tachyon.ClosedError):
                await theirs.arecv()

    run(main())


@pytest.mark.parametrize("kind", LOOPS)
def test_a_loop_that_is_closed_with_open_buses_leaves_nothing(
    path: Path, start_peer: StartPeer, kind: str
) -> None:
    peer = start_peer(f"""
        import asyncio, gc, warnings
        import uvloop
        warnings.simplefilter("error")
        sys.unraisablehook = lambda what: os._exit(3)

        async def main():
            buses = []
            async with Listener(path) as listener:
                for _ in range(5):
                    connecting = asyncio.create_task(Bus.aconnect(path))
                    buses.append(await listener.aaccept())
                    buses.append(await connecting)
            # Cancelled by asyncio.run(), while they wait; the last bus is never closed.
            waiting = [asyncio.ensure_future(bus.arecv()) for bus in buses]
            await asyncio.sleep(0.01)
            assert not any(task.done() for task in waiting)
            return buses[:-1]

        if {kind == "uvloop"}:
            asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        asyncio.run(asyncio.sleep(0))  # uvloop keeps two for ever
        from tachyon._wait import _signal_pipe
        _signal_pipe()  # and we keep these two
        descriptors = len(os.listdir("/proc/self/fd"))
        for bus in asyncio.run(main()):
            bus.close()
        del bus
        asyncio.set_event_loop_policy(None)
        gc.collect()
        print(len(os.listdir("/proc/self/fd")) - descriptors)
    """)
    code, output, errors = peer.finish()
    assert (code, output, errors) == (0, "0\n", "")


def test_a_loop_that_was_abandoned_does_not_stop_a_bus_from_being_closed(path: Path) -> None:
    loop = asyncio.new_event_loop()
    ours, theirs = loop.run_until_complete(connect_pair(path))
    receiving = loop.create_task(ours.arecv())
    loop.run_until_complete(until_waiting(receiving))
    ours.close()  # the loop stands still; nobody else takes the descriptors out of it
    with pytest.raises(tachyon.ClosedError):
        theirs.recv(PATIENCE)
    with pytest.raises(tachyon.ClosedError):
        loop.run_until_complete(receiving)
    theirs.close()
    run_in(loop, asyncio.sleep(0))


def test_a_forked_child_does_not_disturb_the_tasks_of_its_parent(
    path: Path, start_peer: StartPeer
) -> None:
    """The child has a copy of the loop, whose epoll descriptor is the parent's."""
    peer = start_peer("""
        import asyncio

        async def main():
            async with await Bus.aconnect(path) as bus:
                receiving = asyncio.create_task(bus.arecv())
                await asyncio.sleep(0.01)
                if not os.fork():
                    receiving.get_coro().close()  # as by the garbage collector
                    bus.close()
                    os._exit(0)
                assert os.wait()[1] == 0
                print("waits")
                print((await receiving).data.decode())

        asyncio.run(main())
    """)
    with tachyon.Bus.listen(path, timeout=PATIENCE) as bus:
        assert peer.line() == "waits"
        bus.send(b"awake")
        assert peer.line() == "awake"
        assert peer.finish()[0] == 0


# ---- the beginning ----


def test_connecting_waits_for_the_listener_to_appear(run: Run, path: Path) -> None:
    async def main() -> None:
        connecting = asyncio.create_task(tachyon.Bus.aconnect(path, timeout=None))
        await asyncio.sleep(0.01)
        assert not connecting.done()
        async with tachyon.Listener(path) as listener:
            ours = await listener.aaccept()
            theirs = await connecting
        ours.send(b"here")
        assert (await theirs.arecv()).data == b"here"
        ours.close()
        theirs.close()

    run(main())


def test_connecting_gives_up_when_the_time_is_over(run: Run, path: Path) -> None:
    async def main() -> None:
        with pytest.raises(tachyon.WaitTimeoutError, match=r"within 0\.05 s"):
            await tachyon.Bus.aconnect(path, timeout=0.05)
        with pytest.raises(tachyon.WaitTimeoutError, match="at once"):
            await tachyon.Bus.aconnect(path, timeout=0)
        with tachyon.Listener(path), pytest.raises(tachyon.WaitTimeoutError):
            await tachyon.Bus.aconnect(path, timeout=0.05)  # nobody is in accept
        with pytest.raises(ValueError, match="negative"):
            await tachyon.Bus.aconnect(path, timeout=-1)
        with pytest.raises(TypeError, match="capacity"):
            await tachyon.Bus.aconnect(path, capacity=4096)  # type: ignore[call-arg]

    run(main())


def test_a_cancelled_connect_leaves_no_connection(run: Run, path: Path) -> None:
    async def main() -> None:
        with tachyon.Listener(path) as listener:
            connecting = asyncio.create_task(tachyon.Bus.aconnect(path))
            # Its introduction has begun: the listener has something to do.
            await asyncio.get_running_loop().run_in_executor(None, wait_readable, listener)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            with listener.accept(PATIENCE) as bus, pytest.raises(tachyon.ClosedError):
                bus.recv(PATIENCE)

    run(main())


def wait_readable(file: Any) -> None:
    import select

    assert select.select([file], [], [], PATIENCE)[0]


def test_listening_can_be_cancelled(run: Run, path: Path) -> None:
    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(tachyon.Bus.alisten(path), 0.01)
        assert not path.exists()
        ours, theirs = await connect_pair(path)
        assert not path.exists()
        ours.close()
        theirs.close()

    run(main())


def test_a_listener_is_iterated_until_it_is_closed(run: Run, path: Path) -> None:
    async def serve(listener: tachyon.Listener) -> int:
        count = 0
        async for bus in listener:
            count += 1
            await bus.asend(b"welcome", count)
            bus.close()
        return count

    async def visit(listener: tachyon.Listener) -> int:
        async with await tachyon.Bus.aconnect(path) as bus:
            return (await bus.arecv()).type_id

    async def main() -> None:
        async with tachyon.Listener(path) as listener:
            serving = asyncio.create_task(serve(listener))
            await until_waiting(serving)
            with pytest.raises(tachyon.BusyError):
                await listener.aaccept()
            visits = await asyncio.gather(*(visit(listener) for _ in range(8)))
            assert sorted(visits) == list(range(1, 9))
            listener.close()
            assert await serving == 8
        with pytest.raises(tachyon.ClosedError):
            await listener.aaccept()

    run(main())


def test_cancelling_accept_loses_no_connection(run: Run, path: Path) -> None:
    async def main() -> None:
        async with tachyon.Listener(path) as listener:
            connecting = [asyncio.create_task(tachyon.Bus.aconnect(path)) for _ in range(4)]
            accepted: list[tachyon.Bus] = []
            while len(accepted) < 4:
                task = asyncio.create_task(listener.aaccept())
                for _ in range(len(accepted) + 1):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    accepted.append(task.result())
            for bus in [*accepted, *await asyncio.gather(*connecting)]:
                bus.close()

    run(main())


def test_a_listener_that_can_take_no_more_in_does_not_spin(run: Run, path: Path) -> None:
    """Its socket is readable all the time then."""
    import socket

    async def main() -> None:
        options: Any = {"max_pending": 1, "handshake_timeout": 2.0}
        async with tachyon.Listener(path, **options) as listener:
            cpu, began = time.process_time(), time.monotonic()
            accepting = asyncio.create_task(listener.aaccept())
            mutes = [socket.socket(socket.AF_UNIX) for _ in range(2)]
            for mute in mutes:
                mute.connect(os.fspath(path))
            await until_waiting(accepting)
            connecting = asyncio.create_task(tachyon.Bus.aconnect(path))
            ours, theirs = await asyncio.gather(accepting, connecting)
            cpu, took = time.process_time() - cpu, time.monotonic() - began
            assert took > 0.2  # it had to wait for the mute ones to go
            assert cpu < took / 3
            for end in (*mutes, ours, theirs):
                end.close()

    run(main())


# ---- waiting costs nothing ----


def facts(pid: int) -> tuple[list[str], list[str]]:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    return [line for line in status if "ctxt_switches" in line], ticks


def facts_after_3_seconds(pid: int) -> tuple[list[str], list[str]]:
    time.sleep(3)  # not to synchronise: it is the time that is looked at
    return facts(pid)


@pytest.mark.parametrize("kind", LOOPS)
def test_tasks_that_wait_use_no_cpu_at_all_for_3_seconds(
    path: Path, start_peer: StartPeer, kind: str
) -> None:
    peer = start_peer(f"""
        import asyncio
        import uvloop

        async def main():
            ours = await Bus.aconnect(path)
            try:
                while True:
                    ours.send(bytes(1000), timeout=0)
            except WaitTimeoutError:
                pass
            listener = Listener(path + "-2")
            asyncio.create_task(listener.aaccept())
            asyncio.create_task(ours.asend(bytes(1000)))
            asyncio.get_running_loop().call_later(0.2, print, "waits")
            print((await ours.arecv()).data)

        loop = {"uvloop" if kind == "uvloop" else "asyncio"}.new_event_loop()
        loop.run_until_complete(main())
    """)
    with tachyon.Bus.listen(path, 4096, timeout=PATIENCE) as bus:
        assert peer.line() == "waits"
        until_in_epoll(peer.pid)
        # Of several spans: in one, it was on its way to sleep still, or somebody stopped it.
        spans = 1
        while (was := facts(peer.pid)) != (became := facts_after_3_seconds(peer.pid)):
            assert spans < 4, (was, became)
            spans += 1
        bus.send(b"awake")
        assert peer.line() == "b'awake'"


def until_in_epoll(pid: int) -> None:
    """epoll_wait or epoll_pwait of x86-64 or aarch64."""
    from conftest import until

    until(lambda: Path(f"/proc/{pid}/syscall").read_text().split()[0] in ("232", "281", "22"))


def test_awaiting_starts_no_thread(run: Run, path: Path) -> None:
    async def main(theirs: tachyon.Bus) -> None:
        threads = set(threading.enumerate())  # the connecting one, and those of earlier tests
        ours = await tachyon.Bus.alisten(path)
        async with ours, theirs.result():  # type: ignore[attr-defined]
            receiving = asyncio.create_task(ours.arecv())
            await until_waiting(receiving)
            theirs.result().send(b"")  # type: ignore[attr-defined]
            await receiving
            assert set(threading.enumerate()) <= threads

    run(main(in_thread(lambda: tachyon.Bus.connect(path))))  # type: ignore[arg-type]


def test_nothing_leaks_over_many_waits(run: Run, path: Path) -> None:
    async def main() -> None:
        ours, theirs = await connect_pair(path)
        async with ours, theirs:
            gc.collect()  # what other tests have left, not now and then
            descriptors = open_descriptors()
            references = sys.getrefcount(ours)
            for _ in range(500):
                receiving = asyncio.create_task(ours.arecv())
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                await theirs.asend(b"")
                await receiving
            del receiving
            await asyncio.sleep(0)
            assert open_descriptors() == descriptors
            assert sys.getrefcount(ours) == references

    run(main())
