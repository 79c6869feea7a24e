"""kill -9 of the peer, and ends in good order, between real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    PATIENCE,
    Peer,
    assert_within_100_ms,
    in_thread,
    kernel_sleeps_main_thread,
    until,
)

import tachyon

StartPeer = Callable[[str], Peer]

SENDS_AND_STAYS = """
    bus = Bus.connect(path)
    for i in range(100):
        bus.send(b"%d" % i, i)
    print("sent")
    sys.stdin.readline()
    bus.send(b"unreachable")
"""
STAYS = "bus = Bus.connect(path); print('connected'); sys.stdin.readline()"


def seconds_after_kill(peer: Peer, call: Callable[[], Any], error: type[BaseException]) -> float:
    """Kill the peer when the main thread sleeps in call(); how long until it raises."""
    killed_at: list[float] = []

    def kill() -> None:
        until(kernel_sleeps_main_thread)
        killed_at.append(time.monotonic())
        peer.kill()

    killing = in_thread(kill)
    with pytest.raises(error):
        call()
    raised_at = time.monotonic()
    killing.result()
    return raised_at - killed_at[0]


def recv_all(bus: tachyon.Bus, received: list[int]) -> None:
    while True:
        received.append(bus.recv().type_id)


def iterate_all(bus: tachyon.Bus, received: list[int]) -> None:
    received.extend(message.type_id for message in bus)


def lease_all(bus: tachyon.Bus, received: list[int]) -> None:
    while True:
        with bus.recv_zero_copy() as lease:
            received.append(lease.type_id)


def drain_all(bus: tachyon.Bus, received: list[int]) -> None:
    while True:
        with bus.drain_batch(7) as batch:
            received.extend(lease.type_id for lease in batch)


@pytest.mark.parametrize("receive", [recv_all, iterate_all, lease_all, drain_all])
def test_a_receiver_hears_of_a_kill_within_100_ms_after_all_that_was_sent(
    path: Path, start_peer: StartPeer, receive: Callable[[tachyon.Bus, list[int]], None]
) -> None:
    def attempt() -> float:
        peer = start_peer(SENDS_AND_STAYS)
        received: list[int] = []
        with tachyon.Bus.listen(path, timeout=PATIENCE) as bus:
            assert peer.line() == "sent"
            took = seconds_after_kill(peer, lambda: receive(bus, received), tachyon.PeerDeadError)
            with pytest.raises(tachyon.PeerDeadError) as caught:
                bus.recv()
        assert str(path) in str(caught.value)
        assert received == list(range(100))
        return took

    assert_within_100_ms(attempt)


def test_iteration_drains_what_a_dead_peer_left_before_it_raises(
    path: Path, start_peer: StartPeer
) -> None:
    peer = start_peer(SENDS_AND_STAYS)
    with tachyon.Bus.listen(path, timeout=PATIENCE) as bus:
        assert peer.line() == "sent"
        peer.kill()
        peer.finish()
        received: list[int] = []
        with pytest.raises(tachyon.PeerDeadError):
            received.extend(message.type_id for message in bus)
        iterate = iter(bus)
        with pytest.raises(tachyon.PeerDeadError):
            next(iterate)


def send_all(bus: tachyon.Bus) -> None:
    while True:
        bus.send(bytes(100))


def send_all_zero_copy(bus: tachyon.Bus) -> None:
    while True:
        with bus.send_zero_copy(100):
            pass


@pytest.mark.parametrize("send", [send_all, send_all_zero_copy])
def test_a_sender_hears_of_a_kill_within_100_ms(
    path: Path, start_peer: StartPeer, send: Callable[[tachyon.Bus], None]
) -> None:
    def attempt() -> float:
        peer = start_peer(STAYS)
        with tachyon.Bus.listen(path, 4096, timeout=PATIENCE) as bus:
            assert peer.line() == "connected"
            return seconds_after_kill(peer, lambda: send(bus), tachyon.PeerDeadError)

    assert_within_100_ms(attempt)


def test_accept_goes_on_after_a_connector_was_killed(path: Path, start_peer: StartPeer) -> None:
    with tachyon.Listener(path) as listener:
        # Connected, mute, and dead while accept() runs: only the raw socket can do that.
        doomed = start_peer(
            "import socket; s = socket.socket(socket.AF_UNIX); s.connect(path)\n"
            "print('connected'); sys.stdin.readline()"
        )
        assert doomed.line() == "connected"

        def kill_and_connect() -> tachyon.Bus:
            until(kernel_sleeps_main_thread)
            doomed.kill()
            doomed.finish()
            return tachyon.Bus.connect(path, timeout=PATIENCE)

        connecting = in_thread(kill_and_connect)
        bus = listener.accept(PATIENCE)
        bus.send(b"alive")
        assert connecting.result().recv().data == b"alive"


def test_connect_hears_of_the_listeners_kill_within_100_ms(
    path: Path, start_peer: StartPeer
) -> None:
    def connect() -> None:
        with pytest.raises(tachyon.RefusedError, match="hung up") as caught:
            tachyon.Bus.connect(path, timeout=PATIENCE)
        assert str(path) in str(caught.value)
        raise caught.value

    def attempt() -> float:
        deaf = start_peer("listener = Listener(path); print('deaf'); sys.stdin.readline()")
        assert deaf.line() == "deaf"
        took = seconds_after_kill(deaf, connect, tachyon.RefusedError)
        deaf.finish()  # its lock may go after its socket
        return took

    assert_within_100_ms(attempt)
    connecting = in_thread(lambda: tachyon.Bus.connect(path, timeout=PATIENCE))
    with tachyon.Bus.listen(path, timeout=PATIENCE) as bus:
        bus.send(b"the next listener takes over")
        assert connecting.result().recv().size == 28


def test_a_stopped_peer_is_not_dead(path: Path, start_peer: StartPeer) -> None:
    peer = start_peer(
        "bus = Bus.connect(path); print('ready')\nfor m in bus: bus.send(m.data, m.type_id)"
    )
    with tachyon.Bus.listen(path, timeout=PATIENCE) as bus:
        assert peer.line() == "ready"
        peer.until_asleep()
        os.kill(peer.pid, signal.SIGSTOP)
        for i in range(10):
            bus.send(b"x", i)
        with pytest.raises(tachyon.WaitTimeoutError):
            bus.recv(timeout=0.05)
        os.kill(peer.pid, signal.SIGCONT)
        assert [bus.recv(PATIENCE).type_id for _ in range(10)] == list(range(10))


ENDS = {
    "close": "bus.close()",
    "with": "bus.__exit__(None, None, None)",
    "the end of the program": "",
    "sys.exit": "sys.exit(3)",
    "an exception": "raise RuntimeError('as intended')",
    "the last reference": "del bus; sys.stdin.readline()",
    "SIGINT": "import signal; signal.raise_signal(signal.SIGINT)",
}


@pytest.mark.parametrize("how", ENDS)
def test_an_orderly_end_of_the_peer_ends_iteration(
    path: Path, start_peer: StartPeer, how: str
) -> None:
    peer = start_peer("bus = Bus.connect(path)\nfor i in range(10): bus.send(b'', i)\n" + ENDS[how])
    with tachyon.Bus.listen(path, timeout=PATIENCE) as bus:
        assert [message.type_id for message in bus] == list(range(10))
    peer.end()


def test_an_end_with_leases_slots_and_waiting_threads_out_is_orderly(
    path: Path, start_peer: StartPeer
) -> None:
    peer = start_peer("""
        import threading
        bus = Bus.connect(path)
        lease = bus.recv_zero_copy()
        kept = lease.data[:]
        bus.send(b"got it")
        slot = bus.send_zero_copy(100)
        waiting = threading.Thread(target=bus.recv, daemon=True)
        waiting.start()
        print("ends")
    """)
    with tachyon.Bus.listen(path, timeout=PATIENCE) as bus:
        bus.send(b"hello")
        assert peer.line() == "ends"
        assert [message.data for message in bus] == [b"got it"]
    assert peer.finish()[0] == 0


def test_a_listener_is_closed_at_the_end_of_the_program(path: Path, start_peer: StartPeer) -> None:
    peer = start_peer("listener = Listener(path)")
    assert peer.finish() == (0, "", "")
    assert not path.exists()


def test_os_exit_is_a_crash(path: Path, start_peer: StartPeer) -> None:
    start_peer("bus = Bus.connect(path); bus.send(b'x'); os._exit(0)")
    with tachyon.Bus.listen(path, timeout=PATIENCE) as bus:
        assert bus.recv().data == b"x"
        with pytest.raises(tachyon.PeerDeadError):
            bus.recv()


def test_real_data_between_processes(path: Path, start_peer: StartPeer) -> None:
    peer = start_peer("""
        import hashlib
        digest = hashlib.sha256()
        with Bus.connect(path) as bus:
            for message in bus:
                digest.update(message.data)
        print(digest.hexdigest())
    """)
    import hashlib

    digest = hashlib.sha256()
    with tachyon.Bus.listen(path, 65536, timeout=PATIENCE) as bus:
        for i in range(300):
            data = os.urandom(i * 211 % 65000)
            digest.update(data)
            if i % 3:
                bus.send(data)
            else:
                with bus.send_zero_copy(len(data)) as slot:
                    slot.data[:] = data
    assert peer.line() == digest.hexdigest()
