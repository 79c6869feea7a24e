"""What goes wrong in RPC: deadlines, deaths, answers of a hostile or careless server."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Peer, assert_within_20_ms, until
from rpc_support import MakeEnds, Running

import tachyon
from tachyon import _rpc_serve
from tachyon._abi import RPC_EXCEPTION

LIMIT = 0.01


def fill(send: Callable[[], Any]) -> None:
    """Until the ring is full."""
    with pytest.raises(tachyon.WaitTimeoutError):
        while True:
            send()


def lateness(attempt: Callable[[], Any]) -> float:
    """Of an attempt that must time out after LIMIT."""
    end = time.monotonic() + LIMIT
    with pytest.raises(TimeoutError):
        attempt()
    return time.monotonic() - end


# ---- deadlines ----------------------------------------------------------------------------


@pytest.mark.parametrize("spin", [0, None])
def test_a_call_keeps_its_deadline_and_frees_its_slot(
    make_ends: MakeEnds, spin: float | None
) -> None:
    caller, server = make_ends(spin=spin)
    pending = caller.submit(b"x")
    attempts: dict[str, Callable[[], Any]] = {
        "call": lambda: caller.call(b"x", 1, LIMIT),
        "call of a bytearray": lambda: caller.call(bytearray(b"x"), 1, LIMIT),
        "zero copy": lambda: caller.call_zero_copy(b"x", 1, LIMIT),
        "array": lambda: caller.call_array(np.arange(3), 1, LIMIT),
        "wait": lambda: pending.wait(LIMIT),
        "wait for an array": lambda: pending.wait_array(LIMIT),
    }
    for attempt in attempts.values():
        assert_within_20_ms(lambda attempt=attempt: lateness(attempt))
        assert caller.rpc_stats()["outstanding"] == 1  # the pending one
    # The late replies are dropped and counted, and harm nobody.
    last, served = caller.submit(b"x"), 0
    with pytest.raises(tachyon.WaitTimeoutError):
        while True:
            server.serve(0).reply(b"late")
            served += 1
    assert last.wait(30) == pending.wait(30) == b"late"
    assert caller.rpc_stats()["dropped"] == served - 2 >= 4 * 9


def test_full_rings_and_empty_ones_keep_deadlines(make_ends: MakeEnds) -> None:
    caller, server = make_ends(4096)
    assert_within_20_ms(lambda: lateness(lambda: server.serve(LIMIT)))
    assert_within_20_ms(lambda: lateness(lambda: server.serve_zero_copy(LIMIT)))
    assert_within_20_ms(
        lambda: lateness(lambda: tachyon.Dispatcher().serve_once(server, timeout=LIMIT))
    )
    fill(lambda: server.reply(0, bytes(100), timeout=0))
    assert_within_20_ms(lambda: lateness(lambda: server.reply(0, bytes(100), 0, LIMIT)))
    assert_within_20_ms(lambda: lateness(lambda: server.fail(0, "x" * 100, 1, LIMIT)))
    assert_within_20_ms(lambda: lateness(lambda: server.reserve_reply(0, 100, 0, LIMIT)))
    calls = []
    fill(lambda: calls.append(caller.submit(bytes(100), timeout=0)))
    assert_within_20_ms(lambda: lateness(lambda: caller.submit(bytes(100), 0, LIMIT)))
    assert_within_20_ms(lambda: lateness(lambda: caller.reserve(100, 0, LIMIT)))
    assert_within_20_ms(lambda: lateness(lambda: caller.call(bytes(100), 0, LIMIT)))
    assert caller.rpc_stats()["outstanding"] == len(calls)


def test_time_limits_of_asyncio_are_kept(make_ends: MakeEnds) -> None:
    caller, _ = make_ends()

    async def late() -> float:
        end = time.monotonic() + LIMIT
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(caller.acall(b"x", 1), LIMIT)
        return time.monotonic() - end

    assert_within_20_ms(lambda: asyncio.run(late()))
    assert caller.rpc_stats()["outstanding"] == 0


def test_killed_server_fails_every_call_at_once(
    path: Path, start_peer: Callable[[str], Peer]
) -> None:
    def lateness() -> float:
        peer = start_peer(
            "bus = RpcBus.listen(path)\nprint('up')\n[bus.serve() for _ in range(11)]\n"
            "print('served')\nsys.stdin.readline()"
        )
        with tachyon.RpcBus.connect(path, timeout=30) as caller:
            peer.line()
            others = [caller.submit(b"x") for _ in range(10)]
            died = []

            def kill() -> None:
                peer.line()
                died.append(time.monotonic())
                peer.kill()

            thread = threading.Thread(target=kill)
            thread.start()
            with pytest.raises(tachyon.PeerDeadError):
                caller.call(b"x", timeout=30)
            for other in others:
                with pytest.raises(tachyon.PeerDeadError):
                    other.wait(30)
            late = time.monotonic() - died[0]
            thread.join()
        peer.finish()
        return late

    assert_within_20_ms(lateness)


def test_killed_server_fails_every_task_at_once(
    path: Path, start_peer: Callable[[str], Peer]
) -> None:
    peer = start_peer(
        "bus = RpcBus.listen(path)\nprint('up')\n[bus.serve() for _ in range(10)]\n"
        "os.kill(os.getpid(), 9)"
    )

    async def main() -> list[Any]:
        async with await tachyon.RpcBus.aconnect(path) as caller:
            calls = (caller.acall(b"x", 1) for _ in range(10))
            return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)

    assert [type(error) for error in asyncio.run(main())] == [tachyon.PeerDeadError] * 10
    peer.finish()


def test_replies_that_came_before_the_end_are_given_after_it(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    calls = [caller.submit(b"%d" % number) for number in range(3)]
    server.serve().reply(b"first")
    server.serve().fail("second")
    server.close()
    assert calls[0].wait(30) == b"first"
    with pytest.raises(tachyon.RpcError, match="second"):
        calls[1].wait(30)
    with pytest.raises(tachyon.ClosedError):
        calls[2].wait(30)


# ---- what an endpoint may do --------------------------------------------------------------


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@tachyon.rpc(msg_type=1)
def unspeakable(request: memoryview) -> None:
    raise Unspeakable


@tachyon.rpc(msg_type=2)
def every_other(request: memoryview) -> memoryview:
    return memoryview(bytes(range(10)))[::2]


@tachyon.rpc(msg_type=3)
def wide(request: memoryview) -> memoryview:
    return memoryview(np.arange(4, dtype="<u4"))


@tachyon.rpc(msg_type=4)
def objects(request: memoryview) -> Any:
    return np.array([object()])


@tachyon.rpc(msg_type=5)
def peer_of_another(request: memoryview) -> None:
    raise tachyon.ClosedError(errno.ESHUTDOWN, "another bus, which this endpoint uses")


@tachyon.rpc(msg_type=6)
def with_nul(request: memoryview) -> None:
    raise ValueError("a\0b \udc80")


@tachyon.rpc(msg_type=7)
def released(request: memoryview) -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


@tachyon.rpc(msg_type=8)
def leave(request: memoryview) -> None:
    raise SystemExit(7)


@tachyon.rpc(msg_type=9)
def echo(request: memoryview) -> memoryview:
    return request


CARELESS = (unspeakable, every_other, wide, objects, peer_of_another, with_nul, released, echo)


def check_careless(call: Callable[[bytes, int], bytes]) -> None:
    assert call(b"", 2) == bytes(range(0, 10, 2))
    assert call(b"", 3) == np.arange(4, dtype="<u4").tobytes()
    for msg_type, kind, words in (
        (1, "Unspeakable", "could not say"),
        (4, "TypeError", "object"),
        (5, "ClosedError", "another bus"),
        (6, "ValueError", "a\\0b ?"),
        (7, "ValueError", "released"),
    ):
        with pytest.raises(tachyon.RpcError) as caught:
            call(b"", msg_type)
        assert (caught.value.type, caught.value.traceback) == (kind, None)
        assert words in caught.value.message
    assert call(b"on", 9) == b"on"


def test_careless_endpoints_fail_their_calls_and_no_more(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    with Running(server, tachyon.Dispatcher().register(*CARELESS)):
        check_careless(lambda data, msg_type: caller.call(data, msg_type, 30))


@pytest.mark.parametrize("workers", [0, 2])
def test_careless_endpoints_of_a_server(path: Path, workers: int) -> None:
    served = tachyon.Dispatcher().register(*CARELESS)
    with tachyon.RpcServer(path, served, workers), tachyon.RpcBus.connect(path) as caller:
        check_careless(lambda data, msg_type: caller.call(data, msg_type, 30))


def test_careless_endpoints_under_asyncio(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    served = tachyon.Dispatcher().register(*CARELESS)
    thread = threading.Thread(target=lambda: asyncio.run(server.aserve_forever(served)))
    thread.start()
    check_careless(lambda data, msg_type: caller.call(data, msg_type, 30))
    caller.close()
    thread.join(30)
    assert not thread.is_alive()


def test_endpoint_that_ends_the_program_fails_its_call_first(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    call = caller.submit(b"", 8)
    for serve in "serve_once", "serve_forever":
        with pytest.raises(SystemExit):
            getattr(tachyon.Dispatcher().register(leave), serve)(server)
        with pytest.raises(tachyon.RpcError, match="SystemExit: 7"):
            call.wait(30)
        call = caller.submit(b"", 8)


@tachyon.rpc(msg_type=8)
async def leave_later(request: memoryview) -> None:
    await asyncio.sleep(0)
    raise SystemExit(7)


@pytest.mark.parametrize("endpoint", [leave, leave_later])
def test_endpoint_that_ends_the_event_loop_fails_its_call_first(
    make_ends: MakeEnds, endpoint: Callable[..., Any]
) -> None:
    caller, server = make_ends()
    call = caller.submit(b"", 8)
    with pytest.raises(SystemExit):
        asyncio.run(server.aserve_forever(tachyon.Dispatcher().register(endpoint)))
    with pytest.raises(tachyon.RpcError, match="SystemExit: 7"):
        call.wait(30)


def test_log_that_fails_harms_no_server(make_ends: MakeEnds) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError(errno.ENOSPC, "the disk is full")

    caller, server = make_ends()
    handler, log = Broken(), logging.getLogger("tachyon.rpc")
    log.addHandler(handler)
    try:
        with Running(server, tachyon.Dispatcher().register(*CARELESS)):
            for msg_type in (1, 77):
                with pytest.raises(tachyon.RpcError):
                    caller.call(b"", msg_type, 30)
            assert caller.call(b"on", 9, 30) == b"on"
    finally:
        log.removeHandler(handler)


def test_kept_view_is_told_of_and_ends_with_a_reason(
    make_ends: MakeEnds, caplog: pytest.LogCaptureFixture
) -> None:
    kept = []

    @tachyon.rpc(msg_type=1)
    def keep(request: memoryview) -> None:
        kept.append(request)

    caller, server = make_ends(16384)
    served = tachyon.Dispatcher().register(keep)
    with caplog.at_level(logging.WARNING, "tachyon.rpc"):
        for _ in range(2):
            call = caller.submit(bytes(5000), 1)
            served.serve_once(server)
            assert call.wait(30) == b""
        assert caplog.text.count("copy what you keep") == 1
    caller.submit(bytes(100), 1)
    del kept[:]
    served.serve_once(server)


def test_stop_is_heard_while_the_caller_does_not_read(make_ends: MakeEnds) -> None:
    @tachyon.rpc(msg_type=1)
    def long(request: memoryview) -> bytes:
        return bytes(500)

    caller, server = make_ends(4096)
    with Running(server, tachyon.Dispatcher().register(long)):
        calls = [caller.submit(b"x", 1, 0) for _ in range(30)]
        # Its ring has room for six or seven.
        until(lambda: server.rpc_stats()["requests"] > server.rpc_stats()["replies"] >= 6)
    assert not calls[29].done()


def test_stop_ends_every_serve_forever_and_later_ones(make_ends: MakeEnds) -> None:
    served = tachyon.Dispatcher().register(echo)
    ends = [make_ends() for _ in range(3)]
    threads = [threading.Thread(target=served.serve_forever, args=(end[1],)) for end in ends]
    for thread in threads:
        thread.start()
    for caller, _ in ends:
        assert caller.call(b"x", 9, 30) == b"x"
    served.stop()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    served.serve_forever(ends[0][1])


def test_stop_by_an_endpoint_answers_it_first(make_ends: MakeEnds) -> None:
    served = tachyon.Dispatcher()

    @tachyon.rpc(msg_type=1)
    def stop(request: memoryview) -> bytes:
        served.stop()
        return b"stopping"

    caller, server = make_ends()
    calls = [caller.submit(b"", 1), caller.submit(b"", 1)]
    served.register(stop).serve_forever(server)
    assert calls[0].wait(30) == b"stopping"
    assert not calls[1].done()


# ---- a hostile or strange server ----------------------------------------------------------


def test_failures_are_whatever_the_server_wrote(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    for text, code, kind, message, traceback in (
        (b"Error: words\0trace", RPC_EXCEPTION, "Error", "words", "trace"),
        (b"no colon", RPC_EXCEPTION, "no colon", "", None),
        (b"", RPC_EXCEPTION, f"error {RPC_EXCEPTION}", "", None),
        (b"a: b\0c", 77, "error 77", "a: b", None),
        (b"\xff\xfe: \xc3", RPC_EXCEPTION, "\ufffd\ufffd", "\ufffd", None),
    ):
        call = caller.submit(b"x")
        _rpc_serve._fail(server._rpc, server.serve().id, code, text, len(text), 0)
        with pytest.raises(tachyon.RpcError) as caught:
            call.wait(30)
        error = caught.value
        assert (error.type, error.message, error.traceback) == (kind, message, traceback)
        assert error.code == code


def test_replies_to_nothing_are_dropped_and_counted(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    call = caller.submit(b"x")
    request = server.serve()
    for number in (0, 1, request.id + (1 << 20), request.id ^ 1, 2**64 - 1):
        server.reply(number, b"nonsense")
    request.reply(b"right")
    request.reply(b"twice")
    assert call.wait(30) == b"right"
    with pytest.raises(tachyon.WaitTimeoutError):
        caller.submit(b"x").wait(0)
    assert caller.rpc_stats()["dropped"] == 6


def test_pending_calls_at_the_end_of_the_interpreter_say_nothing(
    path: Path, start_peer: Callable[[str], Peer], make_ends: MakeEnds
) -> None:
    peer = start_peer(
        "import threading\nmade = []\n"
        "thread = threading.Thread(target=lambda: made.append(RpcBus.listen(path)))\n"
        "thread.start()\nbus = RpcBus.connect(path)\nthread.join()\n"
        "call = bus.submit(b'x')\nrequest = made[0].serve_zero_copy()\n"
        "class Cycle: pass\ncycle = Cycle(); cycle.me = cycle; cycle.call = bus.submit(b'y')\n"
        "slot = bus.reserve(100)\n"
    )
    assert peer.finish() == (0, "", "")


def test_end_of_fork_is_told(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    call = caller.submit(b"x")
    child = os.fork()
    if child == 0:
        try:
            codes = []
            for attempt in (lambda: caller.call(b"x"), lambda: call.wait(1), server.serve):
                try:
                    attempt()
                except tachyon.ForkError:
                    codes.append(1)
            os._exit(len(codes))
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    server.serve().reply(b"y")
    assert call.wait(30) == b"y"
