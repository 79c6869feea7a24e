"""Listening, accepting, connecting: who gets a path, and what the errors say."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, Peer, in_thread, is_asleep, until

import tachyon

StartPeer = Callable[[str], Peer]


def connect(path: Any, **options: Any) -> tachyon.Bus:
    return tachyon.Bus.connect(path, timeout=PATIENCE, **options)


def test_many_connections_on_one_path_have_rings_of_their_own(path: Path) -> None:
    with tachyon.Listener(path, 4096) as listener:
        pairs = []
        for _ in range(5):
            connecting = in_thread(lambda: connect(path))
            pairs.append((listener.accept(PATIENCE), connecting.result()))
        for i, (ours, _) in enumerate(pairs):
            ours.send(b"%d" % i)
        for i, (_, theirs) in enumerate(pairs):
            assert theirs.recv().data == b"%d" % i
    ours.send(b"accepted buses outlive their listener")
    assert theirs.recv().size == 37


@pytest.mark.parametrize("form", [str, os.fsencode, Path], ids=["str", "bytes", "Path"])
def test_a_path_may_be_str_bytes_or_pathlike(path: Path, form: Any) -> None:
    with tachyon.Listener(form(path)) as listener:
        assert listener.path == str(path)
        connecting = in_thread(lambda: connect(form(path)))
        assert listener.accept(PATIENCE).path == connecting.result().path == str(path)


def test_bus_listen_waits_for_one_and_frees_the_path(path: Path) -> None:
    for _ in range(3):
        listening = in_thread(lambda: tachyon.Bus.listen(path, 8192, reply_capacity=4096))
        with connect(path) as bus, listening.result() as other:
            assert (bus.capacity, other.capacity) == (8192, 4096)
            assert not path.exists()


def test_bus_listen_times_out_and_frees_the_path(path: Path) -> None:
    for timeout in (0, 0.01):
        with pytest.raises(tachyon.WaitTimeoutError, match="nobody connected") as caught:
            tachyon.Bus.listen(path, timeout=timeout)
        assert str(path) in str(caught.value)
        assert not path.exists()


def test_accept_times_out(path: Path) -> None:
    with tachyon.Listener(path) as listener:
        for timeout in (0, 0.01):
            with pytest.raises(tachyon.WaitTimeoutError, match="nobody connected"):
                listener.accept(timeout)


def test_connect_waits_for_a_listener_to_appear(path: Path) -> None:
    connecting = in_thread(lambda: connect(path))
    until(lambda: is_asleep(os.getpid(), connecting.thread_id))
    with tachyon.Bus.listen(path, timeout=PATIENCE) as bus:
        bus.send(b"late")
        assert connecting.result().recv().data == b"late"


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_connect_times_out_and_names_the_path(path: Path, timeout: float) -> None:
    with pytest.raises(tachyon.WaitTimeoutError) as caught:
        tachyon.Bus.connect(path, timeout=timeout)
    assert str(path) in str(caught.value)
    with tachyon.Listener(path), pytest.raises(tachyon.WaitTimeoutError) as caught:
        tachyon.Bus.connect(path, timeout=timeout)
    assert str(path) in str(caught.value)


def test_iteration_accepts_until_the_listener_is_closed(path: Path) -> None:
    listener = tachyon.Listener(path)
    iterating = in_thread(lambda: [bus.recv().data for bus in listener])
    for i in range(3):
        with connect(path) as bus:
            bus.send(b"%d" % i)
    until(lambda: is_asleep(os.getpid(), iterating.thread_id))
    listener.close()
    assert iterating.result() == [b"0", b"1", b"2"]
    assert list(listener) == []


def test_a_closed_listener_says_so_and_leaves_no_file(path: Path) -> None:
    with tachyon.Listener(path) as listener:
        assert path.exists()
        assert repr(listener) == f"<Listener {str(path)!r} open>"
    listener.close()
    assert listener.closed
    assert repr(listener) == f"<Listener {str(path)!r} closed>"
    assert not path.exists()
    for call in (listener.accept, listener.fileno):
        with pytest.raises(tachyon.ClosedError) as caught:
            call()
        assert caught.value.errno == errno.ECANCELED


def test_close_ends_an_accept_in_another_thread(path: Path) -> None:
    listener = tachyon.Listener(path)
    accepting = in_thread(listener.accept)
    until(lambda: is_asleep(os.getpid(), accepting.thread_id))
    listener.close()
    with pytest.raises(tachyon.ClosedError):
        accepting.result()


def test_fileno_serves_an_event_loop(path: Path) -> None:
    with tachyon.Listener(path) as listener:
        fd = listener.fileno()
        assert select.select([fd], [], [], 0)[0] == []
        connecting = in_thread(lambda: connect(path))
        while True:
            assert select.select([fd], [], [], PATIENCE)[0] == [fd]
            try:
                bus = listener.accept(0)
            except tachyon.WaitTimeoutError:
                continue
            break
        bus.send(b"x")
        assert connecting.result().recv().data == b"x"


def test_a_live_listeners_path_is_left_alone(path: Path) -> None:
    with tachyon.Listener(path) as listener:
        with pytest.raises(tachyon.AddressInUseError) as caught:
            tachyon.Listener(path)
        assert caught.value.errno == errno.EADDRINUSE
        assert str(path) in str(caught.value)
        connecting = in_thread(lambda: connect(path))
        listener.accept(PATIENCE)
        connecting.result()


def test_a_plain_file_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(tachyon.AddressInUseError) as caught:
        tachyon.Listener(path)
    assert caught.value.errno == errno.EEXIST
    assert str(path) in str(caught.value)
    assert path.read_text() == "precious"
    with pytest.raises(tachyon.PathError, match="socket"):
        tachyon.Bus.connect(path, timeout=PATIENCE)


def test_another_programs_live_socket_is_left_alone(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(tachyon.AddressInUseError):
            tachyon.Listener(path)
        assert path.exists()


def test_a_dead_listeners_socket_is_taken_over(path: Path, start_peer: StartPeer) -> None:
    peer = start_peer("listener = Listener(path); print('listening'); listener.accept()")
    peer.line()
    peer.kill()
    peer.finish()
    assert path.is_socket()
    with tachyon.Listener(path) as listener:
        connecting = in_thread(lambda: connect(path))
        listener.accept(PATIENCE)
        connecting.result()


def test_a_missing_folder_is_named(folder: Path) -> None:
    path = folder / "nowhere" / "bus"
    with pytest.raises(tachyon.PathError) as caught:
        tachyon.Listener(path)
    assert caught.value.errno == errno.ENOENT
    assert str(path) in str(caught.value)


def test_a_path_that_is_too_long_is_named_with_the_limit(folder: Path) -> None:
    path = folder / ("x" * 300)
    for call in (tachyon.Listener, tachyon.Bus.connect):
        with pytest.raises(tachyon.PathError, match="107") as caught:
            call(path)
        assert caught.value.errno == errno.ENAMETOOLONG
        assert str(path) in str(caught.value)


def test_the_longest_path_works(folder: Path) -> None:
    path = folder / ("x" * (107 - len(str(folder)) - 1))
    with tachyon.Listener(path) as listener:
        connecting = in_thread(lambda: connect(path))
        listener.accept(PATIENCE)
        connecting.result()
    with pytest.raises(tachyon.PathError):
        tachyon.Listener(str(path) + "x")


@pytest.mark.parametrize("path", [5, None, 1.5, ["a"]])
def test_a_path_of_a_wrong_type_is_a_type_error(path: Any) -> None:
    for call in (tachyon.Listener, tachyon.Bus.connect, tachyon.Bus.listen):
        with pytest.raises(TypeError):
            call(path)


def test_a_path_that_cannot_be_is_an_error() -> None:
    for call in (tachyon.Listener, tachyon.Bus.connect):
        with pytest.raises(ValueError, match="NUL"):
            call("a\0b")
        with pytest.raises(tachyon.TachyonError):
            call("")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("capacity", [0, -1, 2**64]),
        ("reply_capacity", [0, -1]),
        ("max_capacity", [0]),
        ("spin", [-1, float("nan"), 1e10]),
        ("numa_node", [-1, 2**31]),
        ("socket_mode", [0, 0o1000]),
        ("allowed_uids", [[], [-1], [2**32]]),
        ("handshake_timeout", [0, -1]),
        ("max_pending", [0, 65]),
    ],
)
def test_options_that_cannot_be_are_named(path: Path, name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ValueError, match=name):
            tachyon.Listener(path, **{name: value})
    assert not path.exists()


def test_options_of_a_wrong_type_or_name_are_type_errors(path: Path) -> None:
    for options, says in (
        ({"capacity": "1M"}, "capacity must be an int of bytes, not str"),
        ({"capacity": 1.5}, "capacity must be an int of bytes, not float"),
        ({"colour": 1}, r"Listener\(\) has no option 'colour'; it has: capacity, "),
        ({"spin": "long"}, "str"),
    ):
        with pytest.raises(TypeError, match=says):
            tachyon.Listener(path, **options)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"Bus\.connect\(\) has no option 'colour'; it has: timeout, "
    ):
        tachyon.Bus.connect(path, colour=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="capacity must be at least 1, and is -1"):
        tachyon.Listener(path, -1)
    for name in ("capacity", "reply_capacity", "socket_mode", "max_pending"):
        with pytest.raises(TypeError, match=name):
            tachyon.Bus.connect(path, **{name: 4096})


def test_a_capacity_over_the_limit_is_an_option_error(path: Path) -> None:
    with pytest.raises(tachyon.OptionError):
        tachyon.Listener(path, 1 << 20, max_capacity=1 << 16)
    with tachyon.Listener(path, 1 << 20) as listener:
        accepting = in_thread(lambda: listener.accept(PATIENCE))
        with pytest.raises(tachyon.OptionError, match="max_capacity"):
            connect(path, max_capacity=1 << 16)
        connect(path)
        accepting.result()


def test_the_socket_is_private_unless_told_otherwise(path: Path) -> None:
    before = os.umask(0)
    try:
        with tachyon.Listener(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with tachyon.Listener(path, socket_mode=0o660):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
    finally:
        os.umask(before)


def test_a_user_who_is_not_allowed_is_refused_with_the_reason(path: Path) -> None:
    with tachyon.Listener(path, allowed_uids=[os.getuid() + 1]) as listener:
        accepting = in_thread(listener.accept)
        with pytest.raises(tachyon.RefusedError, match="not allowed"):
            connect(path)
        listener.close()
        with pytest.raises(tachyon.ClosedError):
            accepting.result()
    with tachyon.Listener(path) as listener, pytest.raises(tachyon.AccessError):
        connect(path, allowed_uids=[os.getuid() + 1])


def test_trust_must_be_mutual(path: Path) -> None:
    with tachyon.Listener(path, trusted=True) as listener:
        accepting = in_thread(listener.accept)
        with pytest.raises((tachyon.ProtocolError, tachyon.RefusedError), match="trusted"):
            connect(path)
        connect(path, trusted=True)
        accepting.result()


def test_a_socket_that_speaks_something_else_is_a_protocol_error(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        connecting = in_thread(lambda: connect(path))
        conversation, _ = other.accept()
        with conversation:
            conversation.sendall(b"HTTP/1.1 400 Bad Request\r\n".ljust(128, b"."))
            with pytest.raises(tachyon.ProtocolError) as caught:
                connecting.result()
    assert str(path) in str(caught.value)


def test_a_listener_ignores_strangers(path: Path) -> None:
    with tachyon.Listener(path) as listener:
        accepting = in_thread(lambda: listener.accept(PATIENCE))
        with socket.socket(socket.AF_UNIX) as mute, socket.socket(socket.AF_UNIX) as rude:
            mute.connect(str(path))
            rude.connect(str(path))
            rude.sendall(b"x" * 128)
            bus = connect(path)
            accepting.result().send(b"x")
            assert bus.recv().data == b"x"


@pytest.mark.parametrize("option", ["prefault", "huge_pages"])
def test_memory_options_work(path: Path, option: str) -> None:
    with tachyon.Listener(path, **{option: True}) as listener:  # type: ignore[arg-type]
        connecting = in_thread(lambda: connect(path, **{option: True}))
        bus = listener.accept(PATIENCE)
        other = connecting.result()
        data = os.urandom(bus.max_message_size)
        bus.send(data)
        assert other.recv().data == data
        assert isinstance(bus.properties().huge_pages, bool)


def test_errors_are_os_errors_with_an_errno(path: Path) -> None:
    with pytest.raises(OSError) as caught:
        tachyon.Bus.connect(path, timeout=0)
    assert caught.value.errno == errno.EAGAIN
    assert not str(caught.value).startswith("[")


@pytest.mark.parametrize("attempt", [tachyon.Bus.connect, tachyon.Bus.listen, tachyon.Listener])
def test_a_missing_folder_is_named_at_once(attempt: Callable[[Path], Any], path: Path) -> None:
    missing = path.parent / "missing"
    with pytest.raises(tachyon.PathError) as caught:
        attempt(missing / "bus")
    assert f"'{missing}/bus': there is no folder {missing}; create it" in str(caught.value)


def test_an_error_names_the_path_once(path: Path) -> None:
    path.write_text("a file")
    for attempt in (tachyon.Bus.connect, tachyon.Bus.listen):
        with pytest.raises(tachyon.PathError) as caught:
            attempt(path)
        assert str(caught.value).count(str(path)) == 1
