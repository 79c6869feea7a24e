"""What the tests of tachyon send and tachyon recv share: commands as processes."""

from __future__ import annotations

import contextlib
import os
import random
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import is_asleep, until

from tachyon.cli import _exit

PIPE = subprocess.PIPE
# Long enough for a busy machine; a test that gets here has failed.
PATIENCE = 60


class Commands:
    """Starts commands, and leaves none of them behind."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: object, **others: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tachyon", *map(str, arguments)]
        options: Any = {"stdin": subprocess.DEVNULL, "stdout": PIPE, "stderr": PIPE, **others}
        process = subprocess.Popen(command, **options)
        self.started.append(process)
        return process

    def end(self) -> None:
        for process in self.started:
            process.kill()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    # What was never read by a command that failed.
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
            process.wait()


def running_commands() -> Iterator[Commands]:
    """For a fixture."""
    commands = Commands()
    yield commands
    commands.end()


def short_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For a fixture: a socket's path has at most 107 bytes."""
    return tmp_path_factory.mktemp("b") / "bus"


def finish(process: subprocess.Popen[bytes], data: bytes | None = None) -> tuple[int, bytes, str]:
    """Wait for the end; return exit code, standard output, standard error."""
    out, err = process.communicate(data, timeout=PATIENCE)
    return process.returncode, out or b"", (err or b"").decode()


def some_data(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def read_exactly(process: subprocess.Popen[bytes], size: int) -> bytes:
    """Read from a command's output: when it is there, both ends are connected and at work."""
    assert process.stdout is not None
    data = b""
    while len(data) < size:
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        assert ready, f"only {len(data)} of {size} bytes came"
        block = os.read(process.stdout.fileno(), size - len(data))
        assert block, f"the output ended after {len(data)} of {size} bytes"
        data += block
    return data


def connected_pair(
    commands: Commands, path: Path, recv: tuple[str, ...] = (), send: tuple[str, ...] = ()
) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    """Start both; return when the first bytes, "first", have gone through.

    Python takes its time to start: one with a time limit starts when the other waits for it.
    """
    if "--timeout" in recv:
        sender = commands.start("send", path, *send, stdin=PIPE)
        until(lambda: is_asleep(sender.pid))
        receiver = commands.start("recv", path, *recv)
    else:
        receiver = commands.start("recv", path, *recv)
        until(path.exists)
        sender = commands.start("send", path, *send, stdin=PIPE)
    assert sender.stdin is not None
    sender.stdin.write(b"first")
    sender.stdin.flush()
    assert read_exactly(receiver, 5) == b"first"
    return receiver, sender


def transfer(
    commands: Commands,
    path: Path,
    data: bytes,
    recv: tuple[str, ...] = (),
    send: tuple[str, ...] = (),
) -> bytes:
    """Send data from one command to the other; return what the receiver printed."""
    receiver = commands.start("recv", path, *recv)
    sender = commands.start("send", path, *send, stdin=subprocess.PIPE)
    # The receiver's pipe holds little: it has to be read while the sender is fed.
    source = feed(sender, data)
    code, out, err = finish(receiver)
    assert (code, err) == (_exit.DONE, "")
    source.join(PATIENCE)
    assert finish(sender)[::2] == (_exit.DONE, "")
    return out


def feed(process: subprocess.Popen[bytes], data: bytes) -> threading.Thread:
    """Write data to a command's input in a thread, then close it."""
    stdin, process.stdin = process.stdin, None
    assert stdin is not None

    def write() -> None:
        # A command that fails leaves before it has read all; its code will tell.
        with contextlib.suppress(BrokenPipeError), stdin:
            stdin.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    return thread
