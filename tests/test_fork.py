"""fork: a bus is dead in the child, and the parent's goes on unharmed."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PATIENCE, MakePair, Pair, Peer, in_thread

import tachyon


def in_fork(function: Callable[[], None]) -> None:
    """Run a function in a forked child, and assert that it returns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork, from 3.12 on
        child = os.fork()
    if child == 0:
        try:
            function()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def assert_works(a: tachyon.Bus, b: tachyon.Bus) -> None:
    for sender, receiver in ((a, b), (b, a)):
        for i in range(200):
            sender.send(b"%d" % i, i)
            assert receiver.recv(PATIENCE) == tachyon.Message(b"%d" % i, i)


def test_every_call_on_a_bus_raises_in_the_child(pair: Pair) -> None:
    a, b = pair
    b.send(b"for the parent")

    def child() -> None:
        for call in (
            lambda: a.send(b"x"),
            lambda: a.send(bytearray(b"x")),
            lambda: a.send_zero_copy(1),
            a.recv,
            lambda: next(iter(a)),
            a.recv_zero_copy,
            a.drain_batch,
            a.arm,
            a.fileno,
            a.stats,
        ):
            with pytest.raises(tachyon.ForkError) as caught:
                call()
            assert a.path in str(caught.value)
        a.close()
        b.close()

    in_fork(child)
    assert a.recv(timeout=0).data == b"for the parent"
    assert_works(a, b)


def test_every_call_on_a_listener_raises_in_the_child(path: Path) -> None:
    with tachyon.Listener(path) as listener:

        def child() -> None:
            for call in (listener.accept, listener.fileno, lambda: next(iter(listener))):
                with pytest.raises(tachyon.ForkError):
                    call()
            listener.close()

        in_fork(child)
        assert path.is_socket()
        connecting = in_thread(lambda: tachyon.Bus.connect(path))
        assert_works(listener.accept(PATIENCE), connecting.result())


def test_garbage_collection_in_the_child_disturbs_nobody(make_pair: MakePair, path: Path) -> None:
    a, b = make_pair()
    a.send(b"leased")
    a.send(b"leased too")
    buses = [a, b]
    leases = [b.recv_zero_copy(), b.recv_zero_copy()]
    leases[1].release()
    slots = [a.send_zero_copy(10)]
    listeners = [tachyon.Listener(path)]

    def child() -> None:
        for things in (leases, slots, buses, listeners):
            things.clear()
        gc.collect()

    in_fork(child)
    assert bytes(leases[0].data) == b"leased"
    assert path.is_socket()
    slots.clear()
    leases.clear()
    assert_works(a, b)
    listeners[0].close()


def test_a_child_can_open_its_own(pair: Pair, path: Path) -> None:
    def child() -> None:
        with tachyon.Bus.connect(path, timeout=PATIENCE) as bus:
            bus.send(b"from the child")

    listening = in_thread(lambda: tachyon.Bus.listen(path, timeout=PATIENCE))
    in_fork(child)
    with listening.result() as bus:
        assert [message.data for message in bus] == [b"from the child"]
    assert_works(*pair)


def echo(path: str) -> None:
    with tachyon.Bus.connect(path, timeout=PATIENCE) as bus:
        for message in bus:
            bus.send(message.data, message.type_id)


def test_with_multiprocessing_spawn(path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=echo, args=(str(path),))
    process.start()
    with tachyon.Bus.listen(path, timeout=PATIENCE) as bus:
        for i in range(1000):
            bus.send(b"%d" % i, i)
            assert bus.recv(PATIENCE) == tachyon.Message(b"%d" % i, i)
    process.join(PATIENCE)
    assert process.exitcode == 0


def test_a_child_that_outlives_its_killed_parent_hides_no_death(
    path: Path, start_peer: Callable[[str], Peer]
) -> None:
    """The child holds copies of the dead peer's descriptors: still the death is seen."""
    peer = start_peer("""
        bus = Bus.connect(path)
        bus.send(b"x")
        if os.fork() == 0:
            print(os.getpid())
            sys.stdin.read()
            os._exit(0)
        sys.stdin.read()
    """)
    with tachyon.Bus.listen(path, timeout=PATIENCE) as bus:
        assert bus.recv(PATIENCE).data == b"x"
        child = int(peer.line())
        peer.kill()
        with pytest.raises(tachyon.PeerDeadError):
            bus.recv(PATIENCE)
    os.kill(child, signal.SIGKILL)
