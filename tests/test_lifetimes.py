"""Finalizers that still use a bus and what came of it: in circles, and when Python ends.

Each case is a process of its own, for what is tested against is a crash.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import PACKAGE_FOLDER, PATIENCE

PRELUDE = """
    import gc, itertools, os, sys, threading
    import numpy as np
    import tachyon

    folder = sys.argv[1]
    gc.disable()

    def make_pair(number=[0]):
        number[0] += 1
        path = os.path.join(folder, f"bus-{number[0]}")
        ends = []
        with tachyon.Listener(path, 65536) as listener:
            thread = threading.Thread(target=lambda: ends.append(tachyon.Bus.connect(path)))
            thread.start()
            ends.append(listener.accept())
            thread.join()
        return ends

    class Circle:
        '''Refers to itself, and calls look() when it is collected.'''

        def __init__(self, look, *things):
            self.me, self.look, self.things = self, look, things

        def __del__(self):
            print(self.look(*self.things), flush=True)

    def after(*_):
        '''What comes into the ring and the memory after a message that was given back.'''
        return [bytearray(b"Z" * 100000) for _ in range(50)]
"""

# What a finalizer looks at: (how it is made of the ends a and b, what it then prints).
LOOKS = {
    "lease": ("Circle(lambda l, b: bytes(l.data[:4]), b.recv_zero_copy(), b)", "b'good'"),
    "view": ("Circle(lambda v: bytes(v[:4]), b.recv_zero_copy().data)", "b'good'"),
    "batch": ("Circle(lambda l, b: bytes(l[0].data[:4]), b.drain_batch(), b)", "b'good'"),
    "records": ("Circle(lambda r, b: bytes(r[0])[:4], b.recv_records('S400'), b)", "b'good'"),
    "memory": ("Circle(lambda m: bytes(m)[:4], memoryview(b.recv_records('S400')))", "b'good'"),
    "recv": ("Circle(lambda b: b.recv().data[:4], b)", "b'good'"),
    "send": ("Circle(lambda a, b: a.send(b'x'), a, b)", "None"),
    "send_array": ("Circle(lambda a, b: a.send_array(np.arange(9)), a, b)", "None"),
    "stats": ("Circle(lambda b: b.stats().received_messages, b)", "0"),
    "close": ("Circle(lambda b: b.close(), b)", "None"),
    "slot": ("Circle(lambda s: bytes(s.data[:0]), a.send_zero_copy(100))", "b''"),
    "commit": ("Circle(lambda s, *_: s.commit(), a.send_zero_copy(100), a, b)", "None"),
}
# At the end, the buses were closed before the finalizer runs.
CLOSED = {
    "recv": "b.recv()",
    "send": "a.send(b'x')",
    "commit": "s.commit()",
}


def run(folder: Path, code: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(PRELUDE) + textwrap.dedent(code), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER)}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=9 * PATIENCE
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize("name", LOOKS)
def test_a_finalizer_in_a_circle_finds_what_it_refers_to(folder: Path, name: str) -> None:
    make, shown = LOOKS[name]
    code = f"""
        for _ in range(5):
            a, b = make_pair()
            a.send(b"good" * 100)
            circle = {make}
            others = [a, b]
            del circle, a, b
            others.clear()
            kept = after()
            gc.collect()
            kept = after()
    """
    assert run(folder, code).splitlines() == [shown] * 5


def test_a_message_seen_from_a_circle_is_not_overwritten_before_it_is_gone(folder: Path) -> None:
    code = """
        a, b = make_pair()
        a.send(b"good" * 100)

        def look(lease):
            for _ in range(400):  # several times round the ring, were there room
                try:
                    a.send(b"evil" * 100, timeout=0)
                    b.recv(0)
                except (TimeoutError, tachyon.LeaseError):
                    return bytes(lease.data[:4])

        circle = Circle(look, b.recv_zero_copy())
        del circle
        gc.collect()
        assert b.stats().leases == 0
    """
    assert run(folder, code) == "b'good'\n"


def test_what_a_finalizer_saves_from_a_circle_lives_on(folder: Path) -> None:
    code = """
        a, b = make_pair()
        a.send(b"good" * 100)
        saved = []
        circle = Circle(lambda *things: saved.extend(things), b.recv_zero_copy(), b)
        del circle, b
        gc.collect()
        lease, b = saved
        assert bytes(lease.data) == b"good" * 100 and b.stats().leases == 1
        saved.clear()
        del lease
        assert b.stats().leases == 0
        a.send(b"more")
        print(b.recv().data)
    """
    assert run(folder, code) == "None\nb'more'\n"


@pytest.mark.parametrize("where", ["keep", "import builtins; builtins.keep"])
@pytest.mark.parametrize("name", sorted(set(LOOKS) - set(CLOSED) - {"send_array", "stats"}))
def test_a_finalizer_when_python_ends(folder: Path, name: str, where: str) -> None:
    make, shown = LOOKS[name]
    code = f"""
        a, b = make_pair()
        a.send(b"good" * 100)
        {where} = {make}
        del a, b
    """
    assert run(folder, code).splitlines() == [shown]


@pytest.mark.parametrize("name", CLOSED)
def test_a_bus_is_closed_before_finalizers_run_when_python_ends(folder: Path, name: str) -> None:
    code = f"""
        class Late:
            def __init__(self):
                self.me = self

            def __del__(self, Closed=tachyon.ClosedError):
                try:
                    {CLOSED[name]}
                except Closed:
                    print("closed")

        a, b = make_pair()
        s = a.send_zero_copy(10) if {name == "commit"} else None
        late = Late()
    """
    assert run(folder, code) == "closed\n"


def test_calls_and_their_ends_in_a_circle(folder: Path) -> None:
    code = """
        def look(pending, *_):
            try:
                return pending.wait()
            except ValueError:  # its own finalizer came first
                return b"answer"

        path = os.path.join(folder, "rpc")
        for _ in range(5):
            servers = []
            thread = threading.Thread(target=lambda: servers.append(tachyon.RpcBus.listen(path)))
            thread.start()
            caller = tachyon.RpcBus.connect(path)
            thread.join()
            server = servers.pop()
            pending = caller.submit(b"question")
            with server.serve() as request:
                request.reply(b"answer")
            lost = caller.submit(b"another")
            circle = Circle(look, pending, lost, caller, server)
            del circle, pending, lost, caller, server, request
            gc.collect()
            kept = after()
    """
    assert run(folder, code) == "b'answer'\n" * 5


def test_a_listener_in_a_circle(folder: Path) -> None:
    code = """
        def look(listener):
            try:
                listener.accept(0)
            except TimeoutError:
                return "nobody"

        path = os.path.join(folder, "listener")
        for _ in range(3):
            Circle(look, tachyon.Listener(path))
            gc.collect()
        print(os.path.exists(path))
    """
    assert run(folder, code) == "nobody\nnobody\nnobody\nFalse\n"
