"""How tachyon send and tachyon recv fail: exit codes, and one line that says what to do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from cli_support import (
    PATIENCE,
    PIPE,
    Commands,
    connected_pair,
    finish,
    read_exactly,
    running_commands,
    short_path,
    some_data,
)

import tachyon
from tachyon.cli import _exit

commands = pytest.fixture(running_commands, name="commands")
bus_path = pytest.fixture(short_path, name="bus_path")


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
    receiver, sender = connected_pair(commands, bus_path, recv=("--timeout", "2"))
    code, out, err = finish(receiver)
    assert (code, out) == (_exit.TIMEOUT, b"")
    assert err == f"tachyon recv: {bus_path}: no message within 2 s\n"
    assert finish(sender)[0] == _exit.ERROR


def test_no_room_in_time(commands: Commands, bus_path: Path) -> None:
    receiver, sender = connected_pair(
        commands, bus_path, recv=("--capacity", "64K"), send=("--timeout", "2")
    )
    os.kill(receiver.pid, signal.SIGSTOP)
    code, _, err = finish(sender, some_data(1_000_000))
    assert code == _exit.TIMEOUT
    assert err == f"tachyon send: {bus_path}: the receiver made no room within 2 s\n"
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
