"""tachyon send and tachyon recv, as processes, the way a shell script uses them."""

from __future__ import annotations

import argparse
import base64
import hashlib
import itertools
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cli_support import (
    PATIENCE,
    PIPE,
    Commands,
    connected_pair,
    feed,
    finish,
    read_exactly,
    running_commands,
    short_path,
    some_data,
    transfer,
)

import tachyon
from tachyon.cli import _exit, _text, send

commands = pytest.fixture(running_commands, name="commands")
bus_path = pytest.fixture(short_path, name="bus_path")

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
