"""Many calls outstanding, answered in random order by workers, with clients killed meanwhile.

    python tests/stress/rpc_storm.py --calls 10000000

In each of the rounds some client processes keep 1,000 calls outstanding and check every
reply; victims beside them are killed and started again all the while. After each round the
server's descriptors and mappings must be what they were before the first, and its memory must
not go on growing. Prints one line of JSON; exit code 0 only where all held.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import gc
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import tachyon

AT_ONCE = 1000
SLACK = 2 << 20


@tachyon.rpc(msg_type=1)
def echo(request: memoryview) -> bytes:
    return bytes(request)


class RandomOrder(tachyon.Dispatcher):
    """Some answers of each worker take longer, so that many others overtake them."""

    def answer(self, request: tachyon.Request):  # type: ignore[no-untyped-def]
        if not random.getrandbits(8):
            time.sleep(random.random() * 1e-3)
        return super().answer(request)


def client(path: str, calls: int) -> None:
    """Keep AT_ONCE calls outstanding until so many were answered; wait in random order."""
    with tachyon.RpcBus.connect(path, timeout=30) as bus:
        pending = collections.deque[tuple[int, tachyon.PendingCall]]()
        for number in range(calls):
            if len(pending) == AT_ONCE:
                pending.rotate(random.randrange(AT_ONCE))
                check(*pending.popleft())
            pending.append((number, bus.submit(payload(number), 1)))
        for number, call in pending:
            check(number, call)
        stats = bus.rpc_stats()
        assert stats["replies"] == calls, stats
        assert stats["dropped"] == stats["outstanding"] == stats["stored"] == 0, stats


def payload(number: int) -> bytes:
    return number.to_bytes(8, "little") + bytes(number % 100)


def check(number: int, call: tachyon.PendingCall) -> None:
    assert call.wait(120) == payload(number), number


def start(path: str, calls: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--client", path, str(calls)])


def facts() -> tuple[int, int]:
    mapped = Path("/proc/self/maps").read_text().count("memfd:tachyon")
    return len(os.listdir("/proc/self/fd")), mapped


def no_more_than(base: tuple[int, int]) -> bool:
    return all(now <= then for now, then in zip(facts(), base, strict=True))


def resident_bytes() -> int:
    """What is in use, and not what malloc() keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def run(calls: int, clients: int, rounds: int) -> dict[str, Any]:
    """Serve it all from this process, and return the figures."""
    each = -(-calls // (clients * rounds))
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        path = f"{folder}/bus"
        with tachyon.RpcServer(path, RandomOrder().register(echo), workers=3) as server:
            with tachyon.RpcBus.connect(path) as bus:  # threads and all are there from here on
                [call.wait() for call in [bus.submit(b"x", 1) for _ in range(AT_ONCE)]]
            del bus
            wait_until(lambda: server.clients == 0)
            base = facts()
            killed, resident = 0, []
            begin = time.monotonic()
            for _ in range(rounds):
                workers = [start(path, each) for _ in range(clients)]
                killed += kill_all_the_while(path, workers)
                assert all(worker.wait() == 0 for worker in workers), "a client failed"
                # Not "equals": what the first one left may have been on its way out at `base`.
                wait_until(lambda: server.clients == 0 and no_more_than(base))
                resident.append(resident_bytes())
            # The first round brings in what the program needs; a leak would go on.
            half = resident[: rounds // 2 + 1]
            assert resident[-1] <= max(half) + SLACK, resident
            return {
                "calls": each * clients * rounds,
                "seconds": round(time.monotonic() - begin, 1),
                "killed": killed,
                "descriptors": base[0],
                "resident_bytes": resident,
            }


def kill_all_the_while(path: str, workers: list[subprocess.Popen[bytes]]) -> int:
    killed = 0
    while any(worker.poll() is None for worker in workers):
        victim = start(path, 1 << 40)
        threading.Event().wait(random.uniform(0.2, 0.5))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        killed += 1
    return killed


def wait_until(fact) -> None:  # type: ignore[no-untyped-def]
    give_up = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < give_up, (facts(), "not back to the base")
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description="many calls, and clients that are killed")
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--client", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        client(options.client[0], int(options.client[1]))
    else:
        print(json.dumps(run(options.calls, options.clients, options.rounds)))


if __name__ == "__main__":
    main()
