"""RpcServer: many clients, workers, clients that die or do not read, a clean end."""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Peer, count_mappings, until

import tachyon
from tachyon._wait import Countdown


@tachyon.rpc(msg_type=1)
def reverse(request: memoryview) -> bytes:
    return bytes(request)[::-1]


@tachyon.rpc(msg_type=2)
def shuffled(request: memoryview) -> bytes:
    """Workers that take differently long answer in another order than they were asked."""
    time.sleep(random.random() * 1e-4)
    return bytes(request)


@tachyon.rpc(msg_type=3)
def explode(request: memoryview) -> None:
    raise RuntimeError("on purpose")


def dispatcher() -> tachyon.Dispatcher:
    return tachyon.Dispatcher().register(reverse, shuffled, explode)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("workers", [0, 3])
def test_many_clients_are_served(path: Path, workers: int) -> None:
    with tachyon.RpcServer(path, dispatcher(), workers) as server:
        callers = [tachyon.RpcBus.connect(path) for _ in range(20)]
        for number, caller in enumerate(callers):
            assert caller.call(b"%03d" % number, 1) == (b"%03d" % number)[::-1]
        assert server.clients == 20
        with pytest.raises(tachyon.RpcError, match="on purpose"):
            callers[3].call(b"", 3)
        for caller in callers[:10]:
            caller.close()
        until(lambda: server.clients == 10)
        assert callers[15].call(b"ab", 1, timeout=30) == b"ba"
    for caller in callers[10:]:
        with pytest.raises(tachyon.ClosedError):
            caller.call(b"x", 1, timeout=30)
        caller.close()
    assert not path.exists()


def test_thousand_outstanding_calls_in_random_order_by_workers(path: Path) -> None:
    with (
        tachyon.RpcServer(path, dispatcher(), workers=4),
        tachyon.RpcBus.connect(path) as caller,
    ):
        for turn in range(3):
            calls = [caller.submit(b"%d %d" % (turn, number), 2) for number in range(1000)]
            random.shuffle(calls)
            expected = {call.id: call for call in calls}
            assert len(expected) == 1000
            replies = sorted(int(call.wait(60).split()[1]) for call in calls)
            assert replies == list(range(1000))
        stats = caller.rpc_stats()
        assert (stats["replies"], stats["dropped"], stats["outstanding"]) == (3000, 0, 0)


def test_killed_and_restarted_clients_leave_nothing_behind(
    path: Path, start_peer: Callable[[str], Peer]
) -> None:
    with tachyon.RpcServer(path, dispatcher(), workers=2, capacity=65536) as server:
        with tachyon.RpcBus.connect(path) as caller:
            caller.call(b"x", 2)
        until(lambda: server.clients == 0)
        base = descriptors(), count_mappings()
        for _ in range(6):
            peer = start_peer(
                "bus = RpcBus.connect(path)\nprint('up')\n"
                "while True:\n    calls = [bus.submit(bytes(1000), 2) for _ in range(100)]\n"
                "    [call.wait() for call in calls]\n    print('round')"
            )
            peer.line()
            peer.line()
            peer.kill()
            peer.finish()
        until(lambda: server.clients == 0)
        # Not "equals": what the first client left may have been on its way out when base was taken.
        until(lambda: descriptors() <= base[0] and count_mappings() <= base[1])
        with tachyon.RpcBus.connect(path) as caller:
            assert caller.call(b"ab", 1) == b"ba"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_client_that_does_not_read_holds_nobody_up(path: Path, workers: int) -> None:
    with (
        tachyon.RpcServer(path, dispatcher(), workers, capacity=4096),
        tachyon.RpcBus.connect(path) as lazy,
        tachyon.RpcBus.connect(path) as other,
    ):
        calls = []
        # Until requests wait in the ring because replies do.
        with pytest.raises(tachyon.WaitTimeoutError):
            while len(calls) < 10_000:
                lazy_id = lazy._submit(b"x" * 100, 1, Countdown(0))
                calls.append(lazy_id)
                if len(calls) % 16 == 0:
                    other.call(b"ab", 1, timeout=30)
        for _ in range(100):
            assert other.call(b"ab", 1, timeout=30) == b"ba"
        for call in calls:
            assert lazy._wait_for(call, Countdown(30)) == b"x" * 100


def test_one_client_s_flood_does_not_starve_another(path: Path) -> None:
    with tachyon.RpcServer(path, dispatcher()), tachyon.RpcBus.connect(path) as caller:
        over = threading.Event()

        def flood() -> None:
            with tachyon.RpcBus.connect(path) as busy:
                while not over.is_set():
                    for call in [busy.submit(bytes(100), 1) for _ in range(500)]:
                        call.wait()

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            for _ in range(50):
                assert caller.call(b"ab", 1, timeout=30) == b"ba"
        finally:
            over.set()
            thread.join()


def test_idle_server_sleeps(path: Path) -> None:
    with tachyon.RpcServer(path, dispatcher()), tachyon.RpcBus.connect(path) as caller:
        caller.call(b"x", 1)
        before = time.process_time()
        threading.Event().wait(1.0)
        assert time.process_time() - before < 0.2


def test_stop_and_close_may_come_before_start(path: Path) -> None:
    gc.collect()  # what earlier tests left in circles goes now, and not while we count
    before = descriptors()
    server = tachyon.RpcServer(path, dispatcher())
    server.close()
    server.close()
    assert descriptors() == before
    assert not path.exists()
    with pytest.raises(ValueError, match="workers"):
        tachyon.RpcServer(path, dispatcher(), -1)


def test_small_storm() -> None:
    """tests/stress/rpc_storm.py, which is meant for 10 million calls."""
    storm = Path(__file__).parent / "stress" / "rpc_storm.py"
    run = subprocess.run(
        [sys.executable, storm, "--calls", "10000", "--rounds", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["calls"] == 10_000
