"""tachyon send and tachyon recv, as processes, the way a shell script uses them."""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import itertools
import json
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tachyon
from tachyon.cli import _exit, _text, send

PIPE = subprocess.PIPE
# Long enough for a busy machine; a test that gets here has failed.
PATIENCE = 30


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


@pytest.fixture
def commands() -> Iterator[Commands]:
    commands = Commands()
    yield commands
    commands.end()


@pytest.fixture
def bus_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    """Start both; return when the first bytes, "first", have gone through."""
    receiver = commands.start("recv", path, *recv)
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


def feed(process: subprocess.Popen[bytes], data: bytes) -> Any:
    """Write data to a command's input in a thread, then close it."""
    import threading

    stdin, process.stdin = process.stdin, None
    assert stdin is not None

    def write() -> None:
        # A command that fails leaves before it has read all; its code will tell.
        with contextlib.suppress(BrokenPipeError), stdin:
            stdin.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


# ---- the data ---------------------------------------------------------------


SIZES = ["", "1", "3001", "4095", "max"]


@pytest.mark.parametrize(
    ("capacity", "message_size"),
    # All but the one that is larger than its ring: see test_message_size_that_does_not_fit.
    sorted({*itertools.product(["4K", "64K", "1M"], SIZES)} - {("4K", "4095")}),
)
def test_what_is_sent_arrives(
    commands: Commands, bus_path: Path, capacity: str, message_size: str
) -> None:
    data = some_data(300_000 if message_size == "1" else 5_000_000)
    send = ("--message-size", message_size) if message_size else ()
    out = transfer(commands, bus_path, data, ("--capacity", capacity), send)
    assert hashlib.sha256(out).hexdigest() == hashlib.sha256(data).hexdigest()


def test_file_to_file(commands: Commands, bus_path: Path, tmp_path: Path) -> None:
    data = some_data(3_000_001)
    (tmp_path / "in").write_bytes(data)
    (tmp_path / "out").write_bytes(b"what was there before" * 1_000_000)
    receiver = commands.start("recv", bus_path, "-o", tmp_path / "out")
    sender = commands.start("send", bus_path, tmp_path / "in")
    assert finish(receiver) == (0, b"", "")
    assert finish(sender) == (0, b"", "")
    assert (tmp_path / "out").read_bytes() == data


def test_roles_swapped(commands: Commands, bus_path: Path) -> None:
    data = some_data(2_000_000)
    sender = commands.start("send", "--listen", "--capacity", "8K", bus_path, stdin=PIPE)
    receiver = commands.start("recv", "--connect", bus_path)
    feeder = feed(sender, data)
    assert finish(receiver) == (0, data, "")
    feeder.join(PATIENCE)
    assert finish(sender) == (0, b"", "")


@pytest.mark.parametrize("form", [(), ("--hex",), ("--json",)])
def test_empty_input_is_no_message(
    commands: Commands, bus_path: Path, form: tuple[str, ...]
) -> None:
    assert transfer(commands, bus_path, b"", form) == b""


def test_messages_have_the_size_asked_for(commands: Commands, bus_path: Path) -> None:
    # Through a pipe, which gives less per read than a message takes.
    out = transfer(
        commands, bus_path, some_data(500_000), ("--json",), ("--message-size", "200000")
    )
    sizes = [json.loads(line)["size"] for line in out.splitlines()]
    assert sizes == [200_000, 200_000, 100_000]


def test_input_is_sent_as_it_comes(commands: Commands, bus_path: Path) -> None:
    receiver, sender = connected_pair(commands, bus_path)
    assert sender.stdin is not None
    for word in (b"second", b"third"):
        sender.stdin.write(word)
        sender.stdin.flush()
        assert read_exactly(receiver, len(word)) == word
    sender.stdin.close()
    assert (receiver.wait(PATIENCE), sender.wait(PATIENCE)) == (0, 0)


@pytest.mark.parametrize("size", ["10", "5000"])
def test_send_count(commands: Commands, bus_path: Path, size: str) -> None:
    data = some_data(100_000)
    receiver = commands.start("recv", bus_path)
    sender = commands.start(
        "send", bus_path, "--count", "3", "--message-size", size, stdin=subprocess.PIPE
    )
    assert sender.stdin is not None
    sender.stdin.write(data[:60_000])
    sender.stdin.flush()
    assert finish(receiver) == (0, data[: 3 * int(size)], "")
    assert sender.wait(PATIENCE) == 0


def test_recv_count(commands: Commands, bus_path: Path) -> None:
    receiver = commands.start("recv", bus_path, "--count", "3")
    sender = commands.start("send", bus_path, "--message-size", "4", stdin=PIPE)
    assert sender.stdin is not None
    sender.stdin.write(b"one.two.tri.")
    sender.stdin.flush()
    assert finish(receiver) == (0, b"one.two.tri.", "")
    # It has more to say, perhaps, and nobody listens.
    code, _, err = finish(sender, b"four")
    assert code == _exit.ERROR
    assert "the receiver closed the bus before everything was sent" in err


def test_exact_count_is_no_error(commands: Commands, bus_path: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"one.two.")
    receiver = commands.start("recv", bus_path, "--count", "2")
    sender = commands.start("send", bus_path, tmp_path / "in", "--message-size", "4")
    assert finish(receiver) == (0, b"one.two.", "")
    assert finish(sender) == (0, b"", "")


@pytest.mark.parametrize("taken", [1, 2])
def test_receiver_may_close_when_it_has_taken_everything(
    bus_path: Path, tmp_path: Path, taken: int
) -> None:
    # In one process, so that the receiver has closed for sure when the sender looks.
    (tmp_path / "in").write_bytes(b"one.two.")
    args = argparse.Namespace(type_id=0, timeout=PATIENCE, count=2, message_size=4, path="")
    with (
        tachyon.Listener(bus_path) as listener,
        ThreadPoolExecutor() as pool,
        open(tmp_path / "in", "rb") as source,
    ):
        accepted = pool.submit(listener.accept, PATIENCE)
        with tachyon.Bus.connect(bus_path) as bus, accepted.result() as receiver:
            sender = send._Sender(bus, source.fileno(), args)
            sender.send_all()
            for _ in range(taken):
                receiver.recv(timeout=PATIENCE)
            receiver.close()
            if taken == 2:
                sender.send_all()  # The input has ended; all that is left to do is the last look.
            else:
                with pytest.raises(tachyon.ClosedError):
                    sender.send_all()


def test_non_blocking_output(commands: Commands, bus_path: Path) -> None:
    data = some_data(1_000_000)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    receiver = commands.start("recv", bus_path, stdout=writing)
    os.close(writing)
    sender = commands.start("send", bus_path, stdin=PIPE)
    feeder = feed(sender, data)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == data
    feeder.join(PATIENCE)
    assert finish(receiver)[::2] == (0, "")
    assert finish(sender)[::2] == (0, "")


# ---- forms ------------------------------------------------------------------


def test_hex(commands: Commands, bus_path: Path) -> None:
    out = transfer(
        commands,
        bus_path,
        b"The quick brown fox\n" + bytes([0, 127, 255]),
        ("--hex",),
        ("--message-size", "20", "--type-id", "0x10007"),
    )
    assert out.decode() == (
        "message 1: 20 bytes, type_id 65543\n"
        "00000000  54 68 65 20 71 75 69 63  6b 20 62 72 6f 77 6e 20  |The quick brown |\n"
        "00000010  66 6f 78 0a                                       |fox.|\n"
        "message 2: 3 bytes, type_id 65543\n"
        "00000000  00 7f ff                                          |...|\n"
    )


def test_hex_of_a_large_message(commands: Commands, bus_path: Path) -> None:
    data = some_data(150_000)
    out = transfer(commands, bus_path, data, ("--hex",), ("--message-size", "150000"))
    title, *lines = out.decode().splitlines()
    assert title == "message 1: 150,000 bytes, type_id 0"
    assert b"".join(bytes.fromhex(line[10:59]) for line in lines) == data
    assert [int(line[:8], 16) for line in lines] == list(range(0, len(data), 16))


def test_json(commands: Commands, bus_path: Path) -> None:
    text = 'grüße, "tachyon"\0\n'.encode()
    binary = b"\xff" * len(text)
    size = str(len(text))
    send = ("--message-size", size, "--type-id", "7")
    out = transfer(commands, bus_path, text + binary, ("--json",), send)
    first, second = map(json.loads, out.splitlines())
    assert first == {
        "type_id": 7,
        "size": len(text),
        "encoding": "text",
        "data": text.decode(),
    }
    assert second["encoding"] == "base64"
    assert base64.b64decode(second["data"], validate=True) == binary


# ---- things that go wrong ---------------------------------------------------


def test_message_size_that_does_not_fit(commands: Commands, bus_path: Path) -> None:
    receiver = commands.start("recv", bus_path, "--capacity", "4K")
    sender = commands.start("send", bus_path, "--message-size", "4095", stdin=PIPE)
    code, _, err = finish(sender, some_data(100))
    assert code == _exit.ERROR
    assert err.startswith(f"tachyon send: {bus_path}: a message of 4095 bytes does not fit")
    assert err.count("\n") == 1
    # Nothing came, and that is not told as an empty input.
    assert finish(receiver)[:2] == (_exit.PEER_DIED, b"")


@pytest.mark.parametrize("command", ["recv", "send", "recv --connect", "send --listen"])
def test_nobody_comes(commands: Commands, bus_path: Path, command: str) -> None:
    code, out, err = finish(commands.start(*command.split(), bus_path, "--timeout", "0.1"))
    assert (code, out) == (_exit.TIMEOUT, b"")
    other = {
        "recv": f"tachyon send {bus_path}",
        "send": f"tachyon recv {bus_path}",
        "recv --connect": f"tachyon send --listen {bus_path}",
        "send --listen": f"tachyon recv --connect {bus_path}",
    }[command]
    words = f"no other end within 0.1 s; start it with: {other}"
    assert err == f"tachyon {command.split()[0]}: {bus_path}: {words}\n"


def test_no_message_in_time(commands: Commands, bus_path: Path) -> None:
    receiver, sender = connected_pair(commands, bus_path, recv=("--timeout", "0.5"))
    code, out, err = finish(receiver)
    assert (code, out) == (_exit.TIMEOUT, b"")
    assert err == f"tachyon recv: {bus_path}: no message within 0.5 s\n"
    assert finish(sender)[0] == _exit.ERROR


def test_no_room_in_time(commands: Commands, bus_path: Path) -> None:
    receiver, sender = connected_pair(
        commands, bus_path, recv=("--capacity", "64K"), send=("--timeout", "0.5")
    )
    os.kill(receiver.pid, signal.SIGSTOP)
    code, _, err = finish(sender, some_data(1_000_000))
    assert code == _exit.TIMEOUT
    assert err == f"tachyon send: {bus_path}: the receiver made no room within 0.5 s\n"
    os.kill(receiver.pid, signal.SIGCONT)
    assert finish(receiver)[0] == _exit.PEER_DIED


@pytest.mark.parametrize("command", ["recv", "send"])
def test_missing_folder(commands: Commands, tmp_path: Path, command: str) -> None:
    code, _, err = finish(commands.start(command, tmp_path / "none" / "bus"))
    assert code == _exit.ERROR
    assert err.startswith(f"tachyon {command}: {tmp_path}/none/bus: there is no folder ")
    assert err.count("\n") == 1


def test_file_in_the_way_is_kept(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "bus").write_text("precious")
    for command in ("recv", "send"):
        code, _, err = finish(commands.start(command, tmp_path / "bus", "--timeout", PATIENCE))
        assert code == _exit.ERROR
        assert err.startswith(f"tachyon {command}: {tmp_path}/bus: ")
        assert "not a socket" in err
        assert (err.count("\n"), err.count(str(tmp_path))) == (1, 1)
    assert (tmp_path / "bus").read_text() == "precious"


def test_second_listener_is_refused(commands: Commands, bus_path: Path) -> None:
    with tachyon.Listener(bus_path):
        code, _, err = finish(commands.start("recv", bus_path))
    assert code == _exit.ERROR
    assert err.startswith(f"tachyon recv: {bus_path}: ")


def test_files_that_cannot_be_opened(commands: Commands, bus_path: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "file"
    code, _, err = finish(commands.start("send", bus_path, missing))
    assert (code, err) == (1, f"tachyon send: {missing}: No such file or directory\n")
    code, _, err = finish(commands.start("recv", bus_path, "-o", missing))
    assert (code, err) == (1, f"tachyon recv: {missing}: No such file or directory\n")
    code, _, err = finish(commands.start("send", bus_path, tmp_path))
    assert (code, err.startswith(f"tachyon send: {tmp_path}: is a folder")) == (1, True)


def test_closed_standard_streams(commands: Commands, bus_path: Path) -> None:
    def close_them() -> None:
        os.close(0)
        os.close(1)

    for command in ("send", "recv"):
        code, _, err = finish(commands.start(command, bus_path, preexec_fn=close_them))
        assert code == _exit.ERROR
        assert "is closed" in err


def test_full_disk(commands: Commands, bus_path: Path) -> None:
    receiver = commands.start("recv", bus_path, "-o", "/dev/full")
    sender = commands.start("send", bus_path, stdin=PIPE)
    assert sender.stdin is not None
    sender.stdin.write(b"x")
    sender.stdin.flush()
    assert finish(receiver)[::2] == (1, "tachyon recv: /dev/full: No space left on device\n")
    assert finish(sender)[0] == _exit.ERROR


def test_reader_of_the_output_goes(commands: Commands, bus_path: Path) -> None:
    receiver = commands.start("recv", bus_path)
    sender = commands.start("send", bus_path, "/dev/zero")
    assert read_exactly(receiver, 10) == bytes(10)
    assert receiver.stdout is not None
    receiver.stdout.close()
    assert receiver.wait(PATIENCE) == _exit.BROKEN_PIPE
    assert receiver.stderr is not None
    assert receiver.stderr.read() == b""
    code, _, err = finish(sender)
    assert code == _exit.ERROR
    assert "the receiver closed the bus before everything was sent" in err


def test_sender_killed(commands: Commands, bus_path: Path) -> None:
    receiver, sender = connected_pair(commands, bus_path)
    sender.kill()
    code, out, err = finish(receiver)
    assert (code, out) == (_exit.PEER_DIED, b"")
    assert err.startswith(f"tachyon recv: {bus_path}: the sender died")


def test_receiver_killed_while_the_sender_has_no_input(commands: Commands, bus_path: Path) -> None:
    receiver, sender = connected_pair(commands, bus_path)
    receiver.kill()
    # Its input stays open all the while.
    assert sender.wait(PATIENCE) == _exit.PEER_DIED
    assert sender.stderr is not None
    assert sender.stderr.read().decode().startswith(f"tachyon send: {bus_path}: the receiver died")


def test_receiver_killed_while_the_ring_is_full(commands: Commands, bus_path: Path) -> None:
    receiver = commands.start("recv", bus_path, "--capacity", "64K")
    sender = commands.start("send", bus_path, "/dev/zero")
    assert read_exactly(receiver, 10) == bytes(10)
    # Nobody reads on, so the pipe fills, then the ring; and the input never ends.
    receiver.kill()
    code, _, err = finish(sender)
    assert code == _exit.PEER_DIED
    assert err.startswith(f"tachyon send: {bus_path}: the receiver died")


def test_interrupted_sender_is_not_taken_for_the_end(commands: Commands, bus_path: Path) -> None:
    receiver, sender = connected_pair(commands, bus_path)
    sender.send_signal(signal.SIGINT)
    assert sender.wait(PATIENCE) == _exit.INTERRUPTED
    assert sender.stderr is not None
    assert sender.stderr.read() == b""
    assert finish(receiver)[0] == _exit.PEER_DIED


def test_interrupted_receiver(commands: Commands, bus_path: Path) -> None:
    receiver, sender = connected_pair(commands, bus_path)
    receiver.send_signal(signal.SIGINT)
    assert finish(receiver) == (_exit.INTERRUPTED, b"", "")
    assert finish(sender)[0] == _exit.ERROR


@pytest.mark.parametrize(
    ("command", "notice"),
    [("recv", b"listening on"), ("send", b"connecting to"), ("send --listen", b"listening on")],
)
def test_interrupted_while_waiting_for_the_other_end(
    commands: Commands, bus_path: Path, command: str, notice: bytes
) -> None:
    # A terminal, on which the command says when it begins to wait.
    controller, terminal = os.openpty()
    try:
        process = commands.start(*command.split(), bus_path, stderr=terminal)
        os.close(terminal)
        said = b""
        while b"\n" not in said:
            said += os.read(controller, 1000)
        assert notice + b" " + bytes(bus_path) in said.replace(b"\r\n", b"\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == _exit.INTERRUPTED
    finally:
        os.close(controller)
    assert not bus_path.exists()


# ---- usage ------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "fly",
        "recv",
        "send",
        "recv p --count 0",
        "recv p --capacity 4X",
        "recv p --hex --json",
        "recv p --timeout -1",
        "recv p --timeout nan",
        "recv --connect p --capacity 4K",
        "send p --capacity 4K",
        "send p --message-size 0",
        "send p --type-id 4294967296",
        "send p file another",
    ],
)
def test_wrong_usage(commands: Commands, arguments: str) -> None:
    code, out, err = finish(commands.start(*arguments.split()))
    assert (code, out) == (_exit.USAGE, b"")
    assert "usage: tachyon" in err


@pytest.mark.parametrize("command", ["", "demo", "recv", "send", "doctor"])
def test_help(commands: Commands, command: str) -> None:
    code, out, err = finish(commands.start(*command.split(), "--help"))
    assert (code, err) == (0, "")
    assert max(map(len, out.decode().splitlines())) <= 100
    if command != "doctor":
        assert "exit codes:" in out.decode()


def test_version(commands: Commands) -> None:
    code, out, err = finish(commands.start("--version"))
    assert (code, err) == (0, "")
    assert out.decode() == (
        f"tachyon {tachyon.__version__}"
        f" (libtachyon {tachyon.library_version()} from {tachyon.library_path()})\n"
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("4096", 4096), ("64k", 1 << 16), ("1M", 1 << 20), ("2GiB", 2 << 30), ("3KB", 3072)],
)
def test_sizes(text: str, size: int) -> None:
    assert _text.parse_size(text) == size
