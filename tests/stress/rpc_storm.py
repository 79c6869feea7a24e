"""Many calls outstanding, answered in random order by workers, with clients killed meanwhile.

    python tests/stress/rpc_storm.py [CALLS] [CLIENTS]

Each client process keeps 1,000 calls outstanding and checks every reply; victims beside them
are killed and started again all the while. At the end the server's descriptors and mappings
must be back to what they were. Prints one line of JSON; exit code 0 only where all held.
"""

from __future__ import annotations

import collections
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

import tachyon

AT_ONCE = 1000


@tachyon.rpc(msg_type=1)
def echo(request: memoryview) -> bytes:
    return bytes(request)


class RandomOrder(tachyon.Dispatcher):
    """Holds some answers of each worker back, so that they leave in random order."""

    def answer(self, request: tachyon.Request):  # type: ignore[no-untyped-def]
        if not random.getrandbits(6):
            time.sleep(0)
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


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def run(calls: int, clients: int) -> dict[str, float]:
    """Serve it all from this process, and return the figures."""
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        path = f"{folder}/bus"
        with tachyon.RpcServer(path, RandomOrder().register(echo), workers=3) as server:
            with tachyon.RpcBus.connect(path) as bus:  # threads and all are there from here on
                [call.wait() for call in [bus.submit(b"x", 1) for _ in range(AT_ONCE)]]
            del bus
            wait_until(lambda: server.clients == 0)
            base, resident = facts(), resident_bytes()
            begin = time.monotonic()
            workers = [start(path, calls // clients) for _ in range(clients)]
            killed = kill_all_the_while(path, workers)
            assert all(worker.wait() == 0 for worker in workers), "a client failed"
            seconds = time.monotonic() - begin
            wait_until(lambda: server.clients == 0 and facts() == base)
            return {
                "calls": calls // clients * clients,
                "seconds": seconds,
                "killed": killed,
                "descriptors": base[0],
                "resident_growth_bytes": resident_bytes() - resident,
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


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        client(sys.argv[2], int(sys.argv[3]))
    else:
        numbers = [int(word) for word in sys.argv[1:]] + [10_000_000, 4][len(sys.argv) - 1 :]
        print(json.dumps(run(*numbers)))
