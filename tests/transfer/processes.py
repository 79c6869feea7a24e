"""Processes of this folder's programs, and what /proc tells of them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from transfer import programs

PATIENCE = 60  # seconds; what takes longer hangs
# Where all waits of the library sleep, as /proc shows it: ppoll, or poll with -Dportable=true.
SLEEPS = {"x86_64": ("271", "7"), "aarch64": ("73",)}[os.uname().machine]


def until(fact: Callable[[], Any]) -> Any:
    """Wait for a fact, looking again and again; return what it is.

    Patience is counted in looks, as a machine may stand still for longer than that.
    """
    for _ in range(PATIENCE * 2000):
        if value := fact():
            return value
        time.sleep(0.0005)
    raise AssertionError("waited in vain")


class Process:
    """A child whose standard input and output are ours; ends with its `with` block."""

    def __init__(self, *command: object) -> None:
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=programs.environment(),
        )
        self.pid = self._process.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def wait_ready(self) -> None:
        """Until it has printed "ready"."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line != "ready\n":
            raise AssertionError(f"it ended: {line}{self._process.communicate()[1]}")

    def wait_asleep(self) -> None:
        """Until its main thread sleeps where all waits of the library sleep."""
        until(lambda: self._process.poll() is not None or self.system_call()[0] in SLEEPS)
        if self._process.returncode is not None:
            raise AssertionError(f"it ended: {self._process.communicate()}")

    def system_call(self) -> list[str]:
        """Number and arguments of the system call that its main thread is in."""
        return Path(f"/proc/{self.pid}/syscall").read_text().split()

    def sockets(self) -> int:
        """How many of its descriptors are sockets."""
        folder = f"/proc/{self.pid}/fd"
        count = 0
        for name in os.listdir(folder):
            try:
                count += os.readlink(f"{folder}/{name}").startswith("socket:")
            except FileNotFoundError:
                pass  # closed meanwhile
        return count

    def kill(self) -> int:
        """kill -9; returns the CLOCK_MONOTONIC nanoseconds before it."""
        now = time.monotonic_ns()
        self._process.kill()
        return now

    def close_input(self) -> int:
        """The end of its standard input; returns the CLOCK_MONOTONIC nanoseconds before it."""
        assert self._process.stdin is not None
        now = time.monotonic_ns()
        self._process.stdin.close()
        self._process.stdin = None
        return now

    def result(self) -> dict[str, Any]:
        """The JSON that it printed at its end, which this waits for."""
        output, errors = self._process.communicate(timeout=PATIENCE)
        if self._process.returncode:
            raise AssertionError(f"exit {self._process.returncode}: {errors}")
        result: dict[str, Any] = json.loads(output.splitlines()[-1])
        return result


def blocked(
    language: str, folder: Path, action: str, end: str, *, count: int = 0, spin: str = "default"
) -> Process:
    """Start blocked.c or blocked.py on the bus of this folder."""
    command = programs.command("blocked", language, folder)
    return Process(*command, action, folder / "bus", end, count, spin)
