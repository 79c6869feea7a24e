"""Signals: Ctrl-C ends every blocking call at once, and the bus stays usable."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    PATIENCE,
    MakePair,
    Pair,
    Peer,
    assert_within_100_ms,
    in_thread,
    is_asleep,
    kernel_sleeps_main_thread,
    until,
)

import tachyon
from tachyon._wait import call_blocking


def interrupt(number: int = signal.SIGINT) -> float:
    """When the main thread sleeps, send the process a signal; return when that was."""
    until(kernel_sleeps_main_thread)
    now = time.monotonic()
    os.kill(os.getpid(), number)
    return now


def assert_interrupted(call: Callable[[], Any]) -> None:
    def attempt() -> float:
        interrupting = in_thread(interrupt)
        with pytest.raises(KeyboardInterrupt):
            call()
        return time.monotonic() - float(interrupting.result())

    assert_within_100_ms(attempt)


def full_pair(make_pair: MakePair) -> Pair:
    a, b = make_pair(4096)
    with pytest.raises(tachyon.WaitTimeoutError):
        while True:
            a.send(bytes(500), timeout=0)
    return a, b


RECEIVING: dict[str, Callable[[tachyon.Bus], Any]] = {
    "recv": lambda bus: bus.recv(),
    "recv with a timeout": lambda bus: bus.recv(PATIENCE),
    "iteration": lambda bus: next(iter(bus)),
    "recv_zero_copy": lambda bus: bus.recv_zero_copy(),
    "drain_batch": lambda bus: bus.drain_batch(),
}
SENDING: dict[str, Callable[[tachyon.Bus], Any]] = {
    "send": lambda bus: bus.send(bytes(500)),
    "send with a timeout": lambda bus: bus.send(bytes(500), timeout=PATIENCE),
    "send of a bytearray": lambda bus: bus.send(bytearray(500)),
    "send_zero_copy": lambda bus: bus.send_zero_copy(500),
}


@pytest.mark.parametrize("name", RECEIVING)
def test_ctrl_c_ends_receiving(pair: Pair, name: str) -> None:
    a, b = pair
    assert_interrupted(lambda: RECEIVING[name](b))
    a.send(b"still works", 3)
    assert b.recv() == tachyon.Message(b"still works", 3)
    assert b.stats().leases == 0


def test_ctrl_c_ends_a_wait_that_only_polls(make_pair: MakePair) -> None:
    """Long before the polling would be over; whether it strikes before or in it."""
    a, b = make_pair(spin=10 * PATIENCE)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_thread(lambda: os.kill(os.getpid(), signal.SIGINT))
        b.recv()
    assert time.monotonic() - begin < PATIENCE
    a.send(b"still works")
    assert b.recv().data == b"still works"


@pytest.mark.parametrize("name", SENDING)
def test_ctrl_c_ends_sending(make_pair: MakePair, name: str) -> None:
    a, b = full_pair(make_pair)
    sent = a.stats().sent_messages
    assert_interrupted(lambda: SENDING[name](a))
    for _ in range(sent):
        assert b.recv().data == bytes(500)
    with pytest.raises(tachyon.WaitTimeoutError):
        b.recv(timeout=0)
    a.send(b"still works")
    assert b.recv().data == b"still works"


def test_ctrl_c_ends_accept(path: Path) -> None:
    with tachyon.Listener(path) as listener:
        assert_interrupted(listener.accept)
        assert_interrupted(lambda: next(iter(listener)))
        connecting = in_thread(lambda: tachyon.Bus.connect(path))
        listener.accept(PATIENCE)
        connecting.result()


def test_ctrl_c_ends_listen_and_frees_the_path(path: Path) -> None:
    assert_interrupted(lambda: tachyon.Bus.listen(path))
    assert not path.exists()


def test_ctrl_c_ends_connect(path: Path) -> None:
    assert_interrupted(lambda: tachyon.Bus.connect(path))
    with tachyon.Listener(path):  # deaf: nobody accepts
        assert_interrupted(lambda: tachyon.Bus.connect(path))


@pytest.fixture
def usr1() -> Iterator[list[int]]:
    """SIGUSR1 is handled by noting it, without an exception."""
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    yield seen
    signal.signal(signal.SIGUSR1, before)


def test_a_handler_that_returns_lets_the_wait_go_on(pair: Pair, usr1: list[int]) -> None:
    a, b = pair

    def signal_then_send() -> None:
        for count in range(1, 6):
            interrupt(signal.SIGUSR1)
            until(lambda count=count: len(usr1) == count)
        a.send(b"x")

    sending = in_thread(signal_then_send)
    assert b.recv().data == b"x"
    sending.result()
    assert len(usr1) == 5


def test_a_handler_does_not_prolong_the_timeout(pair: Pair, usr1: list[int]) -> None:
    """Counted in signals, as a busy machine's clock proves nothing: 15 fall into the timeout."""

    def note(*_: object) -> None:
        usr1.append(1)
        assert len(usr1) < 150, "every signal prolongs it"

    signal.setitimer(signal.ITIMER_REAL, 0)
    before = signal.signal(signal.SIGALRM, note)
    try:
        start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        with pytest.raises(tachyon.WaitTimeoutError):
            pair[1].recv(timeout=0.3)
        assert time.monotonic() - start >= 0.3
        assert usr1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


STRUCK_ON_THE_WAY = """
    import random, signal, time

    class Struck(Exception):
        pass

    def strike(*_):
        raise Struck

    signal.signal(signal.SIGALRM, strike)
    chance = random.Random(1)
    bus = Bus.connect(path)
    for attempt in range(2000):
        start = time.monotonic()
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 200e-6))
            bus.recv(timeout=30)
        except Struck:
            pass
        if time.monotonic() - start > 25:
            sys.exit(f"the signal of attempt {attempt} was lost")
    print("none lost")
"""


# Like NumPy's: it takes signals, and Python does not know it.
FOREIGN_THREAD = """
    import ctypes
    pthread_create = ctypes.pythonapi["pthread_create"]
    pthread_create.argtypes = [ctypes.c_void_p] * 4
    thread = ctypes.c_ulong()
    sleeping = ctypes.cast(ctypes.pythonapi["sem_wait"], ctypes.c_void_p)
    semaphore = (ctypes.c_char * 64)()
    for _ in range(3):
        assert pthread_create(ctypes.byref(thread), None, sleeping, semaphore) == 0
"""


@pytest.mark.parametrize("others", ["", FOREIGN_THREAD], ids=["alone", "among other threads"])
def test_a_signal_before_the_sleep_is_not_lost(
    path: Path, start_peer: Callable[[str], Peer], others: str
) -> None:
    """At any moment of the way into the sleep. A lost one is noticed when the timeout is over."""
    peer = start_peer(others + STRUCK_ON_THE_WAY)
    with tachyon.Bus.listen(path, timeout=PATIENCE):
        assert peer.line() == "none lost"


# Between the last look at signals and the sleep there is no bytecode: map() calls both from C.
STRIKES_BEFORE_POLL = """
    import ctypes, functools, operator, select, signal
    signal.signal(signal.SIGTERM, lambda *_: serving.stop())
    strikes = [functools.partial(ctypes.PyDLL(None).kill, os.getpid(), signal.SIGTERM)]
    poll_of_select = select.poll

    class Poll:
        def __init__(self):
            self._poll = poll_of_select()
            self.register = self._poll.register

        def poll(self, *arguments):
            first = strikes.pop() if strikes else int
            calls = first, functools.partial(self._poll.poll, *arguments)
            return list(map(operator.methodcaller("__call__"), calls))[-1]

    select.poll = Poll
"""
SERVING = {
    "Dispatcher": "serving = Dispatcher(); serving.serve_forever(RpcBus.listen(path))",
    "RpcServer": "serving = RpcServer(path, Dispatcher()); serving.serve_forever()",
}


@pytest.mark.parametrize("name", SERVING)
def test_a_signal_before_a_server_sleeps_is_not_lost(
    path: Path, start_peer: Callable[[str], Peer], name: str
) -> None:
    peer = start_peer(f"{STRIKES_BEFORE_POLL}\n    {SERVING[name]}\n    print('struck', strikes)")
    if name == "Dispatcher":
        with tachyon.RpcBus.connect(path, timeout=PATIENCE):
            assert peer.line() == "struck []"
    else:
        assert peer.line() == "struck []"


def test_an_event_loops_wakeup_descriptor_stays_and_gets_its_bytes(
    pair: Pair, usr1: list[int]
) -> None:
    a, b = pair
    read_end, write_end = os.pipe2(os.O_NONBLOCK)
    before = signal.set_wakeup_fd(write_end)
    try:

        def signal_then_send() -> None:
            interrupt(signal.SIGUSR1)
            until(lambda: usr1)
            a.send(b"x")

        sending = in_thread(signal_then_send)
        assert b.recv().data == b"x"
        sending.result()
        assert os.read(read_end, 10) == bytes([signal.SIGUSR1])
    finally:
        assert signal.set_wakeup_fd(before) == write_end
        os.close(read_end)
        os.close(write_end)


def test_the_signal_mask_is_as_before_after_every_end(pair: Pair) -> None:
    a, b = pair
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        with pytest.raises(tachyon.WaitTimeoutError):
            b.recv(timeout=0.001)
        assert_interrupted(b.recv)
        sending = in_thread(lambda: (until(kernel_sleeps_main_thread), a.send(b"x")))
        b.recv()
        sending.result()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGUSR2}
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])


def test_a_blocked_signal_stays_blocked_while_waiting(pair: Pair, usr1: list[int]) -> None:
    a, b = pair
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:

        def send_both() -> None:
            until(kernel_sleeps_main_thread)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            a.send(b"x")

        sending = in_thread(send_both)
        assert b.recv().data == b"x"
        sending.result()
        assert usr1 == []
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    assert usr1 == [signal.SIGUSR1]


def test_the_main_thread_takes_signals_while_another_thread_waits(
    make_pair: MakePair, usr1: list[int]
) -> None:
    (a, b), (c, d) = make_pair(), make_pair()
    waiting = in_thread(b.recv)
    until(lambda: is_asleep(os.getpid(), waiting.thread_id))
    assert_interrupted(d.recv)
    for _ in range(100):
        count = len(usr1)
        os.kill(os.getpid(), signal.SIGUSR1)
        until(lambda count=count: len(usr1) > count)
    assert is_asleep(os.getpid(), waiting.thread_id)
    a.send(b"x")
    c.send(b"y")
    assert (waiting.result().data, d.recv().data) == (b"x", b"y")


def test_a_bus_that_arrives_with_a_signal_is_not_leaked(path: Path) -> None:
    """The handler raises after the C library has made the bus, before Python has it."""
    with tachyon.Listener(path) as listener:
        connecting = in_thread(lambda: tachyon.Bus.connect(path, timeout=PATIENCE))

        class Struck(Exception):
            pass

        def accept_then_raise(*arguments: Any) -> int:
            from tachyon._listener import _accept

            status = _accept(*arguments)
            if status == 0:
                raise Struck
            return int(status)

        from tachyon._wait import Countdown

        bus = tachyon.Bus._empty()
        with pytest.raises(Struck):
            call_blocking(accept_then_raise, Countdown(None), listener._handle, bus._handle)
        other = connecting.result()
        del bus
        with pytest.raises(tachyon.ClosedError):
            other.recv(PATIENCE)
