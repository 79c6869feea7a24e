"""The hot methods as built-in functions, and as Python over ctypes: the same for their users."""

from __future__ import annotations

import copy
import ctypes
import gc
import inspect
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import PACKAGE_FOLDER, MakePair, Pair

import tachyon
from tachyon import _builtin

quick_only = pytest.mark.skipif(not _builtin.QUICK, reason="no built-in functions here")


def run(code: str, **environment: str) -> str:
    """Run a program of its own; what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- which way is taken ----


def test_cpython_with_its_lock_has_built_in_functions() -> None:
    usual = sys.implementation.name == "cpython" and object.__basicsize__ == 16
    asked_not_to = os.environ.get("TACHYON_CTYPES") == "1"
    assert (usual and not asked_not_to) == _builtin.QUICK
    assert inspect.isfunction(tachyon.Bus.send) != _builtin.QUICK


def test_the_environment_chooses_ctypes() -> None:
    code = """
        import inspect, tachyon
        assert inspect.isfunction(tachyon.Bus.send)
        print(tachyon.Message(b"a", 1))
    """
    assert "type_id=1" in run(code, TACHYON_CTYPES="1")


def test_a_second_import_of_the_package_works_without_them() -> None:
    code = """
        import sys, threading
        import tachyon as first
        for name in [name for name in sys.modules if name.split(".")[0] == "tachyon"]:
            del sys.modules[name]
        import tachyon as second
        from tachyon import _builtin
        assert second.Bus is not first.Bus and not _builtin.QUICK

        import os, tempfile
        for package in first, second:
            path = os.path.join(tempfile.mkdtemp(), "bus")
            found = []
            thread = threading.Thread(target=lambda: found.append(package.Bus.listen(path)))
            thread.start()
            bus = package.Bus.connect(path)
            thread.join()
            bus.send(b"hello", 3)
            message = found[0].recv()
            assert type(message) is package.Message and message.data == b"hello"
            bus.close()
            assert list(found[0]) == []
    """
    run(code)


@pytest.mark.parametrize("name", ["send", "recv", "__next__"])
def test_help_and_signatures_are_those_of_the_python_methods(name: str) -> None:
    code = f"""
        import inspect, tachyon
        method = tachyon.Bus.{name}
        print([str(p).split(":")[0].split("=")[0].strip()
               for p in inspect.signature(method).parameters.values()])
        print((method.__doc__ or "").split(".")[0])
    """
    quick, over_ctypes = run(code, TACHYON_CTYPES="0"), run(code, TACHYON_CTYPES="1")
    if name == "__next__":  # a slot's has Python's own text
        quick, over_ctypes = quick.splitlines()[0], over_ctypes.splitlines()[0]
    assert quick == over_ctypes


# ---- arguments ----


class Index:
    """Not an int, but may be used as one; or raises when it is."""

    def __init__(self, value: int | BaseException) -> None:
        self.value = value

    def __index__(self) -> int:
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


class Number(int):
    pass


class Bytes(bytes):
    pass


SENDS: list[Callable[[Any], Any]] = [
    lambda send: send(),
    lambda send: send(b"x", 1, 2, 3),
    lambda send: send(type_id=1),
    lambda send: send(b"x", data=b"y"),
    lambda send: send(b"x", 1, type_id=2),
    lambda send: send(b"x", kind=2),
    lambda send: send(data=b"named"),
    lambda send: send(type_id=5, data=b"both named"),
    lambda send: send(b"x", type_id=5),
    lambda send: send(b"x", type_id=5, timeout=0),
    lambda send: send(b"x", **{"".join(["type", "_id"]): 5}),
    lambda send: send(b"x", timeout="never looked at"),
    lambda send: send(b"x", 5, "never looked at"),
    lambda send: send(b"x", -1),
    lambda send: send(b"x", 2**32 - 1),
    lambda send: send(b"x", 2**32),
    lambda send: send(b"x", 2**64),
    lambda send: send(b"x", -(2**100)),
    lambda send: send(b"x", True),
    lambda send: send(b"x", 1.5),
    lambda send: send(b"x", None),
    lambda send: send(b"x", Number(7)),
    lambda send: send(b"x", Index(7)),
    lambda send: send(b"x", Index(2**40)),
    lambda send: send(b"x", Index(KeyError("from __index__"))),
    lambda send: send("text"),
    lambda send: send(None),
    lambda send: send(b""),
    lambda send: send(b"y" * 48),
    lambda send: send(b"y" * 49),
    lambda send: send(b"y" * 5000),
    lambda send: send(Bytes(b"a subclass")),
    lambda send: send(bytearray(b"bytearray"), 9),
    lambda send: send(memoryview(b"a view of it")[2:6], type_id=2),
    lambda send: send(memoryview(b"abcdef")[::2]),
    lambda send: send(memoryview(b"abcdef")[::2], Index(OSError("first or second?"))),
    lambda send: send((ctypes.py_object * 2)()),
]
RECEIVES: list[Callable[[Any], Any]] = [
    lambda recv: recv(1, 2),
    lambda recv: recv(time=1),
    lambda recv: recv(1, timeout=2),
    lambda recv: recv("never looked at"),
    lambda recv: recv(timeout=0),
    lambda recv: recv(None),
    lambda recv: recv(**{"".join(["time", "out"]): 0}),
]


def outcome(call: Callable[[Any], Any], method: Any) -> str:
    try:
        return repr(call(method))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def transcript(pair: Pair) -> list[str]:
    a, b = pair
    lines = []
    for number, call in enumerate(SENDS):
        lines.append(f"send {number}: {outcome(call, a.send)}")
        with (
            b.drain_batch(timeout=0)
            if a.stats().sent_messages > b.stats().received_messages
            else (memoryview(b"")) as batch
        ):
            lines.extend(f"  {m.type_id}: {bytes(m.data)[:60]!r}" for m in batch)
    for number, call in enumerate(RECEIVES):
        lines.append(
            f"recv {number} of none: {outcome(call, b.recv) if number in (0, 1, 4, 6) else ''}"
        )
        a.send(b"z" * number * 20, number)
        lines.append(f"recv {number}: {outcome(call, b.recv)}")
        lines.append(f"left {b.stats().recv_used}")
        with b.drain_batch(timeout=0) if b.stats().recv_used else memoryview(b""):
            pass
    a.send(b"last", 4)
    a.close()
    lines.extend(repr(message) for message in b)
    lines.append(outcome(next, b))
    lines.append(outcome(lambda recv: recv(), b.recv).partition(":")[0])
    lines.append(outcome(lambda send: send(b"x"), b.send).partition(":")[0])
    lines.append(outcome(lambda send: send(b"x"), a.send).partition(":")[0])
    return lines


def test_both_ways_do_the_same_with_any_arguments(make_pair: MakePair) -> None:
    code = """
        import os, sys, tempfile, threading
        sys.path.insert(0, sys.argv[1] if len(sys.argv) > 1 else os.environ["TESTS"])
        import tachyon, test_builtin
        path = os.path.join(tempfile.mkdtemp(), "bus")
        found = []
        thread = threading.Thread(target=lambda: found.append(tachyon.Bus.listen(path, 4096)))
        thread.start()
        bus = tachyon.Bus.connect(path)
        thread.join()
        for line in test_builtin.transcript((bus, found[0])):
            print(line.replace(path, "PATH"))
    """
    tests = os.path.dirname(os.path.abspath(__file__))
    quick = run(code, TACHYON_CTYPES="0", TESTS=tests)
    over_ctypes = run(code, TACHYON_CTYPES="1", TESTS=tests)
    assert quick == over_ctypes
    assert "KeyError: 'from __index__'" in quick
    assert len(quick.splitlines()) > len(SENDS) + 3 * len(RECEIVES)


# ---- lives ----


def test_a_bound_method_keeps_its_bus_alive_and_open(make_pair: MakePair) -> None:
    a, b = make_pair()
    code = """
        import gc, os, sys, tempfile, threading
        import tachyon
        path = os.path.join(tempfile.mkdtemp(), "bus")
        found = []
        thread = threading.Thread(target=lambda: found.append(tachyon.Bus.listen(path)))
        thread.start()
        send = tachyon.Bus.connect(path).send
        thread.join()
        gc.collect()
        send(b"still there")
        recv = found.pop().recv
        assert recv().data == b"still there"
        del send
        try:
            recv()
        except tachyon.ClosedError:
            print("closed")
    """
    assert run(code) == "closed\n"
    send, recv = a.send, b.recv
    a.close()
    for _ in range(2):
        with pytest.raises(tachyon.ClosedError):
            send(b"x")
        with pytest.raises(tachyon.ClosedError):
            recv(0)
        gc.collect()


@pytest.mark.parametrize("ctypes_only", ["0", "1"])
@pytest.mark.parametrize("kind", ["Message", "Request", "Lease"])
def test_a_long_chain_of_objects_is_freed_within_little_stack(kind: str, ctypes_only: str) -> None:
    code = f"""
        import tachyon
        kind = tachyon.{kind}
        class Derived(kind):
            pass
        for wrap in (lambda link: link, lambda link: [link]):
            for make in (kind, Derived):
                chain = None
                for _ in range(100_000):
                    link = make.__new__(make)
                    link.data = wrap(chain)
                    chain = link
                del link, chain
        class Last:
            def __del__(self):
                print("freed")
        chain = Last()
        for _ in range(1000):
            link = kind.__new__(kind)
            link.data = chain
            chain = link
        del link, chain
        print("all")
    """
    assert run(code, TACHYON_CTYPES=ctypes_only) == "freed\nall\n"


@pytest.mark.parametrize("ctypes_only", ["0", "1"])
def test_release_of_a_lease_takes_no_arguments(ctypes_only: str) -> None:
    code = """
        import tachyon
        lease = tachyon.Lease.__new__(tachyon.Lease)
        lease.data = memoryview(b"x")
        for arguments, names in (((1,), {}), ((), {"early": True})):
            try:
                lease.release(*arguments, **names)
            except TypeError:
                print(len(lease.data))
    """
    assert run(code, TACHYON_CTYPES=ctypes_only) == "1\n1\n"


def test_what_was_never_opened_raises() -> None:
    bus = tachyon.Bus.__new__(tachyon.Bus)
    for use in (lambda: bus.send(b"x"), bus.recv, lambda: next(bus)):
        with pytest.raises(AttributeError):
            use()
    with pytest.raises((AttributeError, TypeError)):
        tachyon.Bus.send(1, b"x")  # type: ignore[arg-type]


def test_subclasses_may_override_and_extend(make_pair: MakePair, path: Any) -> None:
    class Loud(tachyon.Bus):
        def send(self, data: Any, type_id: int = 0, timeout: float | None = None) -> None:
            super().send(data.upper(), type_id + 1, timeout)

        def recv(self, timeout: float | None = None) -> tachyon.Message:
            message = super().recv(timeout)
            message.data += b"!"
            return message

    found: list[tachyon.Bus] = []
    thread = threading.Thread(target=lambda: found.append(Loud.listen(path)))
    thread.start()
    with tachyon.Bus.connect(path) as a:
        thread.join()
        (b,) = found
        b.send(b"hello", 4)
        assert a.recv() == tachyon.Message(b"HELLO", 5)
        a.send(b"x")
        assert b.recv().data == b"x!"
    b.close()


def test_a_process_that_ends_with_open_buses_ends_well() -> None:
    code = """
        import os, tempfile, threading
        import tachyon
        path = os.path.join(tempfile.mkdtemp(), "bus")
        found = []
        thread = threading.Thread(target=lambda: found.append(tachyon.Bus.listen(path)))
        thread.start()
        bus = tachyon.Bus.connect(path)
        thread.join()

        class Last:
            send, recv, message = bus.send, found[0].recv, tachyon.Message(b"x")
            def __del__(self):
                try:
                    self.send(b"from the end")
                except Exception as error:
                    print(type(error).__name__)
                try:
                    self.recv(0)
                except Exception as error:
                    print(type(error).__name__)
        last = Last()
        last.me = last
    """
    for way in "0", "1":
        run(code, TACHYON_CTYPES=way)


# ---- references ----


def test_nothing_is_leaked_and_nothing_is_freed_twice(pair: Pair) -> None:
    a, b = pair
    data, type_id, array = b"x" * 40, 10**6, bytearray(60)
    keeps: list[Any] = [data, type_id, array, None, tachyon.Message, tachyon.Bus, a, b]

    def use(times: int) -> None:
        for _ in range(times):
            a.send(data, type_id)
            a.send(array, type_id=type_id)
            a.send(data)
            assert b.recv().type_id == type_id
            assert next(b).data == array
            b.recv(timeout=0)
            for wrong in (lambda: b.recv(0), lambda: a.send(data, -1), lambda: a.send(data, x=1)):
                with pytest.raises((TypeError, ValueError, TimeoutError)):
                    wrong()  # type: ignore[no-untyped-call]

    use(20)
    gc.collect()
    before = [sys.getrefcount(thing) for thing in keeps]
    tracemalloc.start()
    try:
        use(20)
        gc.collect()
        first = tracemalloc.get_traced_memory()[0]
        use(500)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - first
    finally:
        tracemalloc.stop()
    changes = [sys.getrefcount(thing) - count for thing, count in zip(keeps, before, strict=True)]
    assert max(map(abs, changes)) < 50, changes  # of 520 rounds
    assert grown < 500 * 30  # a leaked object a round would be more


@pytest.mark.skipif(sys.version_info < (3, 12), reason="__buffer__ is from Python 3.12 on")
def test_what_a_signal_handler_raises_in_a_buffer_method_goes_on(pair: Pair) -> None:
    class Interrupted:
        def __buffer__(self, flags: int) -> memoryview:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pair[0].send(Interrupted())
    assert pair[0].stats().sent_messages == 0


def test_messages_are_values_that_can_be_copied(pair: Pair) -> None:
    a, b = pair
    a.send(b"hello", 2**31)
    message = b.recv()
    for other in (copy.copy(message), copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert type(other) is tachyon.Message and other == message and hash(other) == hash(message)
    match message:
        case tachyon.Message(data, type_id):
            assert (data, type_id) == (b"hello", 2**31)
    message.data, message.type_id = b"other", 1
    assert message == tachyon.Message(b"other", 1) and message.size == 5
    del message.data
    with pytest.raises(AttributeError):
        _ = message.data
    with pytest.raises(AttributeError):
        message.other = 1  # type: ignore[attr-defined]

    class Child(tachyon.Message):
        pass

    child = Child(b"x", 3)
    child.extra = [child]  # type: ignore[attr-defined]
    del child
    gc.collect()


def test_a_bus_is_its_own_iterator(pair: Pair) -> None:
    a, b = pair
    messages: Iterator[tachyon.Message] = iter(b)
    a.send(b"1")
    a.send(b"2")
    assert next(messages).data == b"1"
    for message in b:
        assert message.data == b"2"
        break
    a.close()
    assert list(messages) == [] and list(b) == []
