"""fork: a bus is dead in the child, and the parent's goes on unharmed."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import PACKAGE_FOLDER, PATIENCE, MakePair, Pair, Peer, in_thread

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


def test_views_of_the_parent_are_read_and_dropped_in_any_order(make_pair: MakePair) -> None:
    a, b = make_pair()
    values = np.arange(1000.0)
    a.send(b"leased")
    a.send_array(values)
    a.send_records(values)
    things = {"a": a, "b": b, "lease": b.recv_zero_copy(), "array": b.recv_array()}
    things["part"] = things["lease"].data[2:4]
    things["records"] = b.recv_records("f8")
    things["slot"] = a.send_zero_copy(10)
    slot = things["slot"]

    def child(order: list[str]) -> None:
        assert bytes(things["lease"].data) == b"leased"
        assert (things["array"] == values).all()
        assert (things["records"] == values).all()
        things["slot"].data[:] = b"of a child"
        for name in order:
            del things[name]
            gc.collect()
            assert "part" not in things or bytes(things["part"]) == b"as"

    for order in itertools.islice(itertools.permutations(list(things)), 0, None, 720):
        in_fork(lambda order=order: child(list(order)))  # type: ignore[misc]
    slot.data[:] = b"the parent"
    slot.commit()
    assert (things["array"] == values).all()
    things.clear()
    assert b.recv(PATIENCE).data == b"the parent"
    del slot
    assert_works(a, b)


@pytest.mark.parametrize("end", ["sys.exit(0)", "pass", "os._exit(0)", "del b, a; gc.collect()"])
def test_a_child_that_exits_with_views_of_the_parent_does_not_crash(path: Path, end: str) -> None:
    code = f"""
        import gc, os, sys, threading
        import numpy, tachyon
        with tachyon.Listener(sys.argv[1]) as listener:
            ends = []
            def connect():
                ends.append(tachyon.Bus.connect(sys.argv[1]))
            thread = threading.Thread(target=connect)
            thread.start()
            a = listener.accept()
            thread.join()
        b = ends.pop()
        a.send_array(numpy.arange(100))
        a.send(b"x")
        array, lease = b.recv_array(), b.recv_zero_copy()
        slot = a.send_zero_copy(10)
        child = os.fork()
        if child == 0:
            {end}
        else:
            status = os.waitpid(child, 0)[1]
            print(os.waitstatus_to_exitcode(status), array.sum())
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), str(path)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER)}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=9 * PATIENCE
    )
    assert (done.returncode, done.stdout) == (0, "0 4950\n"), done.stderr


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
