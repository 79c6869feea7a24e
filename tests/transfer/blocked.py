"""Blocks in one call until something ends it, and says when it returned and with what.

The same arguments and output as blocked.c, which explains them. "iterate" is a for loop over
the bus, and its orderly end is `end` 0.
"""

from __future__ import annotations

import json
import sys
import time

import tachyon

CAPACITY = 65536


class Program:
    """One run; `received` counts messages, each of which must be its own number."""

    def __init__(self, action: str, path: str, end: str, count: str, spin: str) -> None:
        self.action = action
        self.path = path
        self.end = end
        self.count = int(count)
        self.spin = None if spin == "default" else float(spin)
        self.received = 0
        self.bus: tachyon.Bus | None = None

    def take(self, data: bytes) -> None:
        if data != self.received.to_bytes(8, "little"):
            sys.exit(f"blocked.py: message {self.received} is another one: {data!r}")
        self.received += 1

    def recv(self, timeout: float | None = None) -> None:
        while True:
            self.take(self.opened.recv(timeout).data)

    def iterate(self) -> None:
        for message in self.opened:
            self.take(message.data)

    def send(self) -> None:
        while True:
            self.opened.send(b"no room for this one")

    def park(self) -> None:
        for number in range(self.count):
            self.opened.send(number.to_bytes(8, "little"), timeout=0)
        say_ready()
        sys.stdin.read()

    @property
    def opened(self) -> tachyon.Bus:
        assert self.bus is not None
        return self.bus

    def open(self) -> None:
        if self.end == "listen":
            self.bus = tachyon.Bus.listen(self.path, CAPACITY, spin=self.spin)
        else:
            self.bus = tachyon.Bus.connect(self.path, timeout=None, spin=self.spin)

    def accept(self) -> None:
        with tachyon.Listener(
            self.path, CAPACITY, max_pending=1, handshake_timeout=3600.0
        ) as listener:
            say_ready()
            self.bus = listener.accept()

    def block(self) -> None:
        if self.action == "accept":
            self.accept()
        elif self.action == "connect":
            self.open()
        else:
            self.open()
            if self.action != "park":
                say_ready()
            getattr(self, self.action)()


def say_ready() -> None:
    print("ready", flush=True)


def main() -> None:
    program = Program(*sys.argv[1:])
    end = 0
    try:
        program.block()
    except tachyon.TachyonError as error:
        end = error.errno or 0
    returned_ns = time.monotonic_ns()
    if program.action == "send":  # what came meanwhile is still ours
        try:
            program.recv(0)
        except tachyon.TachyonError:
            pass
    result = {"returned_ns": returned_ns, "end": end, "received": program.received}
    print(json.dumps(result))
    if program.bus is not None:
        program.bus.close()


if __name__ == "__main__":
    main()
