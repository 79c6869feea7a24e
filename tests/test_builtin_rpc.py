"""call(), serve() and reply() as built-in functions, and as Python over ctypes: the same."""

from __future__ import annotations

import gc
import os
import pickle
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_builtin import Bytes, Index, outcome, run

import tachyon

Ends = tuple[tachyon.RpcBus, tachyon.RpcBus]


def open_ends(path: Any, kind: type[tachyon.RpcBus] = tachyon.RpcBus) -> Ends:
    """(the calling end, the serving end)"""
    found: list[tachyon.RpcBus] = []
    thread = threading.Thread(target=lambda: found.append(kind.listen(path, 4096)))
    thread.start()
    caller = kind.connect(path)
    thread.join()
    return caller, found[0]


@pytest.fixture
def ends(path: Path) -> Iterator[Ends]:
    caller, server = open_ends(path)
    yield caller, server
    caller.close()
    server.close()


CALLS: list[Callable[[Any], Any]] = [
    lambda call: call(),
    lambda call: call(b"x", 1, 0, 3),
    lambda call: call(b"x", kind=2),
    lambda call: call(b"x", -1),
    lambda call: call(b"x", 2**32),
    lambda call: call(b"x", Index(KeyError("from __index__"))),
    lambda call: call("text"),
    lambda call: call(b"y" * 5000, timeout=0),
    lambda call: call(b"too late", timeout=0),
    lambda call: call(b"too late", 7, 0),
    lambda call: call(Bytes(b"a subclass"), msg_type=7, timeout=0.0),
    lambda call: call(bytearray(b"bytearray"), Index(8), 0),
]
REPLIES: list[Callable[[Any], Any]] = [
    lambda reply: reply(),
    lambda reply: reply(b"x", 1, 0, 3),
    lambda reply: reply(b"x", kind=2),
    lambda reply: reply(b"x", -1),
    lambda reply: reply("text"),
    lambda reply: reply(b"y" * 5000),
    lambda reply: reply(b"answer", 9),
    lambda reply: reply(b"answer", type_id=2**32 - 1),
    lambda reply: reply(bytearray(b"answer"), 3, None),
    lambda reply: reply(data=b"named"),
    lambda reply: reply(Bytes(b"a subclass")),
]


def transcript(path: str) -> list[str]:
    caller, server = open_ends(path)
    lines = [outcome(lambda serve: serve(0), server.serve)]
    lines.append(outcome(lambda serve: serve(1, 2), server.serve))
    lines.append(outcome(lambda call: call(b"x", 1), server.call))
    lines.append(outcome(lambda serve: serve(), caller.serve))
    for number, call in enumerate(CALLS):
        lines.append(f"call {number}: {outcome(call, caller.call)}")
        while request := server.try_request():
            lines.append(f"  {request.msg_type} {request.data!r} {request.id > 0}")
            request.reply(b"late")
    for number, reply in enumerate(REPLIES):
        pending = caller.submit(b"request" * number * 50 if number < 8 else b"", number)
        with server.serve(timeout=0) as request:
            lines.append(f"{request.msg_type} {bytes(request.data)!r}")
            lines.append(f"reply {number}: {outcome(reply, request.reply)}")
        lines.append(outcome(lambda wait: wait(0), pending.wait))
        pending.cancel()
    for number in range(3):
        pending = caller.submit(b"by id")
        request = server.serve()
        call_id: Any = [request, request.id, Index(request.id)][number]
        lines.append(outcome(lambda reply, call_id=call_id: reply(call_id, b"done"), server.reply))
        lines.append(outcome(lambda wait: wait(0), pending.wait))
    lines.append(outcome(lambda reply: reply(2**64, b"x"), server.reply))
    lines.append(outcome(lambda reply: reply(-1, b"x"), server.reply))
    lines.append(outcome(lambda reply: reply(request), server.reply))

    def fail() -> None:
        for text in ("why", "because: \N{SNOWMAN}"):
            server.serve().fail(text, 5)

    thread = threading.Thread(target=fail)
    thread.start()
    for _ in range(2):
        try:
            caller.call(b"x", 3)
        except tachyon.RpcError as error:
            lines.append(f"{error} {error.type} {error.message} {error.code} {error.traceback}")
    thread.join()
    lines.append(str(caller.rpc_stats()))
    lines.append(str(server.rpc_stats()))
    server.close()
    lines.append(outcome(lambda call: call(b"x"), caller.call))
    lines.append(outcome(lambda serve: serve(), server.serve))
    caller.close()
    lines.append(outcome(lambda call: call(b"x"), caller.call))
    return lines


def test_both_ways_do_the_same_with_any_arguments() -> None:
    code = """
        import os, sys, tempfile
        sys.path.insert(0, os.environ["TESTS"])
        import test_builtin_rpc
        path = os.path.join(tempfile.mkdtemp(), "bus")
        for line in test_builtin_rpc.transcript(path):
            print(line.replace(path, "PATH"))
    """
    tests = os.path.dirname(os.path.abspath(__file__))
    quick = run(code, TACHYON_CTYPES="0", TESTS=tests)
    over_ctypes = run(code, TACHYON_CTYPES="1", TESTS=tests)
    assert quick == over_ctypes
    assert "KeyError: 'from __index__'" in quick and "because: \N{SNOWMAN}" in quick
    assert len(quick.splitlines()) > len(CALLS) + 3 * len(REPLIES)


def test_the_type_of_a_reply_may_be_any_kind_of_integer(ends: Ends) -> None:
    caller, server = ends
    call = caller.submit(b"", Index(3))
    for number in (Index(8), np.uint32(8)):
        server.reply(server.try_request() or 0, b"x", number)  # type: ignore[arg-type]
        server.reply(0, b"to nobody", type_id=number)  # type: ignore[arg-type]
    assert call.wait() == b"x"
    with pytest.raises(TypeError, match="type_id must be an int, not NoneType"):
        server.reply(0, b"x", None)  # type: ignore[arg-type]


def test_a_request_stays_in_its_process(ends: Ends) -> None:
    caller, server = ends
    call = caller.submit(b"x")
    request = server.serve()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be sent to another process"):
            pickle.dumps(request, protocol)
    request.reply(b"y")
    assert call.wait() == b"y"


def test_subclasses_may_override_reply(path: Path) -> None:
    class Loud(tachyon.RpcBus):
        last: Any

        def reply(self, call: Any, data: Any = b"", *rest: Any, **names: Any) -> None:
            super().reply(call, data.upper(), *rest, **names)

    caller, server = open_ends(path, Loud)
    pending = caller.submit(b"x")
    server.last = server.serve()  # type: ignore[attr-defined]
    server.last.reply(b"hello")  # type: ignore[attr-defined]
    assert pending.wait(5) == b"HELLO"
    # A circle of the bus and its request is collected, and the bus is closed with it.
    gone = weakref.ref(server)
    del server
    gc.collect()
    assert gone() is None
    with pytest.raises(tachyon.ClosedError):
        caller.call(b"x")


def test_calls_leak_nothing(ends: Ends) -> None:
    caller, server = ends
    payload, answer, msg_type = b"x" * 30, b"y" * 300, 10**6
    keeps: list[Any] = [payload, answer, msg_type, None, tachyon.Request, caller, server]
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            request = server.serve()
            if request.msg_type == 1:
                request.fail("no")
            else:
                request.reply(answer, msg_type)

    def use(times: int) -> None:
        for _ in range(times):
            assert caller.call(payload, msg_type) == answer
            assert caller.call(payload, msg_type=2) == answer
            with pytest.raises(tachyon.RpcError):
                caller.call(payload, 1)
            with pytest.raises((ValueError, tachyon.WaitTimeoutError)):
                caller.call(payload, -1)

    thread = threading.Thread(target=serve)
    thread.start()
    use(20)
    gc.collect()
    before = [sys.getrefcount(thing) for thing in keeps]
    use(500)
    gc.collect()
    changes = [sys.getrefcount(thing) - count for thing, count in zip(keeps, before, strict=True)]
    assert max(map(abs, changes)) < 50, changes
    stop.set()
    caller.call(payload)
    thread.join()
    assert caller.rpc_stats()["outstanding"] == 0


def test_a_request_is_what_it_was(ends: Ends) -> None:
    caller, server = ends
    caller.submit(b"hello", 2**31)
    with server.serve() as request:
        assert type(request) is tachyon.Request
        assert (request.data, request.msg_type) == (b"hello", 2**31)
        request.data = b"other"
        assert request.data == b"other"
    assert tachyon.Request.reply.__doc__
    mine = tachyon.Request(server, b"data", 3, 4)
    assert (mine.data, mine.msg_type, mine.id) == (b"data", 3, 4)
    mine.release()
    mine.id = "no id"  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        mine.reply(b"x")
    with pytest.raises(AttributeError):
        mine._bus = None  # type: ignore[assignment]
        mine.reply(b"x")
