"""Several buses from one thread: tachyon.wait(), and selectors and epoll by hand."""

from __future__ import annotations

import os
import select
import selectors
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, MakePair, Pair, Peer, in_thread, is_asleep, until

import tachyon

StartPeer = Callable[[str], Peer]
Drain = Callable[[list[tachyon.Bus]], Iterator[tuple[int, int]]]

PRODUCERS = 5
COUNT = 3000
PRODUCE = f"""
    bus = Bus.connect(path)
    for number in range({COUNT}):
        bus.send(b"x" * (number % 100), number)
    bus.close()
"""


def receive_what_is_there(
    buses: list[tachyon.Bus], index: int, most: int = 100
) -> Iterator[tuple[int, int]]:
    """(index of the bus, type_id); no more than so many, for the others want to be heard."""
    for _ in range(most):
        try:
            yield index, buses[index].recv(timeout=0).type_id
        except tachyon.WaitTimeoutError:
            return


def drain_by_wait(buses: list[tachyon.Bus]) -> Iterator[tuple[int, int]]:
    open_buses = list(buses)
    while open_buses:
        for bus in tachyon.wait(open_buses, PATIENCE):
            try:
                yield from receive_what_is_there(buses, buses.index(bus))
            except tachyon.ClosedError:
                open_buses.remove(bus)


def drain_by_selector(buses: list[tachyon.Bus]) -> Iterator[tuple[int, int]]:
    with selectors.DefaultSelector() as selector:
        for index, bus in enumerate(buses):
            selector.register(bus, selectors.EVENT_READ, index)
        while selector.get_map():
            ready = {key.data for key in selector.get_map().values() if not buses[key.data].arm()}
            if not ready:
                ready = {key.data for key, _ in selector.select(PATIENCE)}
                assert ready
            for index in ready:
                try:
                    yield from receive_what_is_there(buses, index)
                except tachyon.ClosedError:
                    selector.unregister(buses[index])


def drain_by_epoll(buses: list[tachyon.Bus]) -> Iterator[tuple[int, int]]:
    by_fd = {bus.fileno(): index for index, bus in enumerate(buses)}
    with select.epoll() as epoll:
        for fd in by_fd:
            epoll.register(fd, select.EPOLLIN)
        while by_fd:
            ready = [fd for fd, index in by_fd.items() if not buses[index].arm()]
            for fd in ready or [fd for fd, _ in epoll.poll(PATIENCE)]:
                try:
                    yield from receive_what_is_there(buses, by_fd[fd])
                except tachyon.ClosedError:
                    epoll.unregister(fd)
                    del by_fd[fd]


@pytest.mark.parametrize("drain", [drain_by_wait, drain_by_selector, drain_by_epoll])
def test_one_thread_receives_all_of_five_processes(
    path: Path, start_peer: StartPeer, drain: Drain
) -> None:
    with tachyon.Listener(path, 4096) as listener:
        for _ in range(PRODUCERS):
            start_peer(PRODUCE)
        buses = [listener.accept(PATIENCE) for _ in range(PRODUCERS)]
    received: list[list[int]] = [[] for _ in buses]
    for index, type_id in drain(buses):
        received[index].append(type_id)
    assert received == [list(range(COUNT))] * PRODUCERS
    for bus in buses:
        bus.close()


@pytest.fixture
def crowd(make_pair: MakePair) -> list[Pair]:
    return [make_pair() for _ in range(4)]


def test_wait_gives_those_that_are_ready_in_order(crowd: list[Pair]) -> None:
    ours = [pair[0] for pair in crowd]
    crowd[3][1].send(b"")
    crowd[1][1].close()
    assert tachyon.wait(ours) == [ours[1], ours[3]]
    assert tachyon.wait(iter(ours[2:]), timeout=0) == [ours[3]]
    ours[1].close()
    assert tachyon.wait(ours[:3]) == [ours[1]]


def test_wait_gives_nothing_when_the_time_is_over(crowd: list[Pair]) -> None:
    ours = [pair[0] for pair in crowd]
    assert tachyon.wait(ours, 0) == []
    began = time.monotonic()
    assert tachyon.wait(ours, 0.05) == []
    assert time.monotonic() - began >= 0.05


def test_wait_is_woken_by_a_message_an_end_and_its_own_close(crowd: list[Pair]) -> None:
    ours = [pair[0] for pair in crowd]
    for index, wake in enumerate(
        [lambda: crowd[0][1].send(b""), crowd[1][1].close, crowd[2][0].close]
    ):
        waiting = in_thread(lambda rest=ours[index:]: tachyon.wait(rest))
        until(lambda thread=waiting.thread_id: is_asleep_in_ppoll(thread))
        wake()
        assert waiting.result() == [ours[index]]


def is_asleep_in_ppoll(thread_id: int) -> bool:
    return is_asleep(os.getpid(), thread_id)


def test_wait_refuses_what_makes_no_sense(crowd: list[Pair]) -> None:
    ours = crowd[0][0]
    with pytest.raises(ValueError, match="at least one"):
        tachyon.wait([])
    with pytest.raises(ValueError, match="twice"):
        tachyon.wait([ours, ours])
    with pytest.raises(ValueError, match="negative"):
        tachyon.wait([ours], -1)
    waiting = in_thread(lambda: ours.recv(PATIENCE))
    until(lambda: is_asleep_in_ppoll(waiting.thread_id))
    with pytest.raises(tachyon.BusyError):
        tachyon.wait([crowd[1][0], ours])
    crowd[0][1].send(b"")
    waiting.result()


def test_ctrl_c_ends_a_wait_at_once(crowd: list[Pair]) -> None:
    def interrupt() -> None:
        main = threading.main_thread().native_id
        assert main
        until(lambda: is_asleep_in_ppoll(main))
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = in_thread(interrupt)
    with pytest.raises(KeyboardInterrupt):
        tachyon.wait([pair[0] for pair in crowd])
    interrupting.result()
    crowd[2][1].send(b"still usable")
    assert tachyon.wait([pair[0] for pair in crowd], PATIENCE) == [crowd[2][0]]


def test_wait_hears_of_a_kill(crowd: list[Pair], path: Path, start_peer: StartPeer) -> None:
    peer = start_peer("bus = Bus.connect(path); print('connected'); sys.stdin.readline()")
    with tachyon.Bus.listen(path, timeout=PATIENCE) as bus:
        peer.line()
        buses = [crowd[0][0], bus, crowd[1][0]]
        assert tachyon.wait(buses, 0) == []
        peer.kill()
        assert tachyon.wait(buses, PATIENCE) == [bus]
        with pytest.raises(tachyon.PeerDeadError):
            bus.recv()
