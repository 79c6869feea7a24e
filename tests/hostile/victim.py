"""Who is lied to, in Python; see victim.c, which this repeats with the package tachyon."""

from __future__ import annotations

import errno
import json
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tachyon

MOST_MESSAGES = 20000


class Victim:
    """One session: what it has come to is in .count."""

    def __init__(self, bus: tachyon.Bus, timeout: float) -> None:
        self.bus = bus
        self.timeout = timeout
        self.count = 0
        self._enough = False

    def run(self, action: str) -> None:
        """The action, again and again until "enough" has come, and once more."""
        while True:
            try:
                getattr(self, action)()
                if action != "echo" and self.count >= MOST_MESSAGES:
                    return
            except tachyon.WaitTimeoutError:
                if self._enough:
                    raise
                if select.select([0], [], [], 0)[0]:
                    self._enough = read_line() == "enough"

    def recv(self) -> None:
        bytes(self.bus.recv(timeout=self.timeout).data)
        self.count += 1

    def batch(self) -> None:
        with self.bus.drain_batch(timeout=self.timeout) as batch:
            for message in batch:
                bytes(message.data)
                self.count += 1

    def records(self) -> None:
        self.count += len(self.bus.recv_records("S32", timeout=self.timeout).copy())

    def send(self) -> None:
        self.bus.send(b"0123456789abcdef0123456789abcdef", 1, timeout=self.timeout)
        self.count += 1

    def place(self) -> None:
        with self.bus.send_zero_copy(300, 1, timeout=self.timeout) as slot:
            slot.data[:] = bytes(300)
        self.count += 1

    def echo(self) -> None:
        message = self.bus.recv(timeout=self.timeout)
        self.count += 1
        self.bus.send(message.data, message.type_id, timeout=self.timeout)


def read_line() -> str:
    """From standard input, and not a byte more, so that select() tells the truth."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(0)
        line += byte
    return line.decode().rstrip("\n")


def meet(role: str, path: str, seconds: float) -> tachyon.Bus:
    options = {"max_capacity": 1 << 20, "spin": 0, "handshake_timeout": seconds}
    if role == "connect":
        return tachyon.Bus.connect(path, timeout=seconds, **options)
    with tachyon.Listener(path, 4096, **options) as listener:
        print("ready", flush=True)
        return listener.accept(timeout=60)


def attempt(function: Callable[[], object]) -> int:
    """How it ended: 0, or the errno of the exception."""
    try:
        function()
    except tachyon.WaitTimeoutError:
        return errno.ETIMEDOUT  # or EAGAIN, on a machine so busy that the time is up at once
    except tachyon.TachyonError as error:
        return error.errno or 0
    return 0


def session(role: str, path: str, action: str, seconds: float, timeout: float) -> dict[str, int]:
    buses: list[tachyon.Bus] = []
    opened = attempt(lambda: buses.append(meet(role, path, seconds)))
    if opened:
        return {"open": opened, "end": 0, "count": 0}
    with buses[0] as bus:
        victim = Victim(bus, timeout)
        return {"open": 0, "end": attempt(lambda: victim.run(action)), "count": victim.count}


def main() -> None:
    while True:
        line = read_line()
        if line == "enough":
            continue  # it was over before
        role, path, action, handshake_ms, flow_ms = line.split()
        begin = time.process_time_ns()
        result = session(role, path, action, int(handshake_ms) / 1e3, int(flow_ms) / 1e3)
        result["cpu_us"] = (time.process_time_ns() - begin) // 1000
        result["descriptors"] = len(os.listdir("/proc/self/fd")) - 1
        maps = Path("/proc/self/maps").read_text().splitlines()
        result["mappings"] = sum("memfd:tachyon" in name for name in maps)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
