"""RpcBus, Dispatcher: calls, their failures, deadlines, ends; both sides in this process."""

from __future__ import annotations

import logging
import os
import platform
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Peer, until
from rpc_support import MakeEnds, Running

import tachyon


def sleeps_in_poll(process_id: int) -> bool:
    """Whether its main thread sleeps in poll(2) without a time limit."""
    numbers = {"x86_64": {"7"}, "aarch64": {"73"}}[platform.machine()]
    return Path(f"/proc/{process_id}/syscall").read_text().split()[0] in numbers


@tachyon.rpc(msg_type=1)
def reverse(request: memoryview) -> bytes:
    return bytes(request)[::-1]


@tachyon.rpc(msg_type=2)
def double(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return values * 2


@tachyon.rpc(msg_type=3)
def explode(request: bytes) -> None:
    raise ValueError(f"no {request.decode()} here")


@tachyon.rpc(msg_type=4)
def nothing(request: memoryview) -> None:
    return None


@tachyon.rpc(msg_type=5)
def too_much(request: memoryview) -> bytes:
    return bytes(1 << 20)


@tachyon.rpc(msg_type=6)
def echo(request: memoryview) -> memoryview:
    return request


@tachyon.rpc(msg_type=7)
def wrong_result(request: memoryview) -> Any:
    return "text"


def dispatcher(**options: Any) -> tachyon.Dispatcher:
    return tachyon.Dispatcher(**options).register(
        reverse, double, explode, nothing, too_much, echo, wrong_result
    )


# ---- calls --------------------------------------------------------------------------------


def test_call_returns_the_reply_of_the_endpoint(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    with Running(server, dispatcher()):
        assert caller.call(b"abc", 1) == b"cba"
        assert caller.call(bytearray(b"abc"), np.uint32(1), timeout=5) == b"cba"
        assert caller.call(b"", 4) == b""
        for size in (0, 40, 41, 48, 49, 4096, 4097, 60000):
            payload = os.urandom(size)
            assert caller.call(payload, 6) == payload
        with caller.call_zero_copy(b"xyz", 1) as lease:
            assert bytes(lease.data) == b"zyx"
    assert caller.rpc_stats()["outstanding"] == caller.stats().leases == 0


def test_endpoints_stay_plain_functions() -> None:
    assert reverse(memoryview(b"abc")) == b"cba"
    assert double(np.arange(3)).tolist() == [0, 2, 4]


def test_arrays_go_both_ways(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    with Running(server, dispatcher()):
        values = np.arange(1000, dtype="f4").reshape(10, 100)[:, ::2]
        reply = caller.call_array(values, 2)
        assert reply.dtype == values.dtype and np.array_equal(reply, values * 2)
        with pytest.raises(tachyon.RpcError) as caught:
            caller.call(b"no array", 2)
        assert caught.value.type == "ArrayFormatError"


def test_submitted_calls_are_answered_in_any_order(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    calls = [caller.submit(b"%d" % number, number) for number in range(100)]
    requests = [server.serve() for _ in calls]
    assert [request.data for request in requests] == [b"%d" % number for number in range(100)]
    assert not calls[7].done()
    for request in reversed(requests):
        request.reply(request.data * 2)
    assert calls[7].done()
    for number, call in enumerate(calls):
        assert caller.wait(call) == call.result() == b"%d" % number * 2
    assert caller.rpc_stats()["outstanding"] == 0


def test_zero_copy_reply_out_of_order_is_a_copy(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    first = caller.submit(b"first")

    def serve() -> None:
        with server.serve_zero_copy(30) as one, server.serve_zero_copy(30) as two:
            two.reply(b"2")
            one.reply(b"1")

    thread = threading.Thread(target=serve)
    thread.start()
    with caller.call_zero_copy(b"second") as lease:
        assert bytes(lease.data) == b"2"
    assert first.wait() == b"1"
    thread.join()


# ---- failures -----------------------------------------------------------------------------


def test_failures_of_the_server_are_rpc_errors(
    make_ends: MakeEnds, caplog: pytest.LogCaptureFixture
) -> None:
    caller, server = make_ends()
    with Running(server, dispatcher()), caplog.at_level(logging.WARNING, "tachyon.rpc"):
        for msg_type, kind, words in (
            (3, "ValueError", "no tea here"),
            (99, "UnknownTypeError", "no endpoint for msg_type 99"),
            (5, "MessageTooLargeError", "too much"),
            (7, "TypeError", "must return bytes"),
        ):
            with pytest.raises(tachyon.RpcError, match=kind) as caught:
                caller.call(b"tea", msg_type)
            assert (caught.value.type, caught.value.traceback) == (kind, None)
            assert words in caught.value.message
        assert caller.call(b"ab", 1) == b"ba"
    text = caplog.text
    assert "no tea here" in text and "no endpoint" in text and "too large" in text


def test_traceback_goes_to_the_caller_where_allowed(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    served = dispatcher(tracebacks=True)
    with Running(server, served), pytest.raises(tachyon.RpcError) as caught:
        caller.call(b"tea", 3)
    assert caught.value.message == "no tea here"
    assert caught.value.traceback and "in explode" in caught.value.traceback


def test_program_s_own_codes_and_text_that_is_no_utf8(make_ends: MakeEnds) -> None:
    from tachyon import _rpc_serve

    caller, server = make_ends()
    call = caller.submit(b"x")
    server.serve().fail("sold out", code=7)
    with pytest.raises(tachyon.RpcError) as caught:
        call.wait()
    assert (caught.value.code, caught.value.message) == (7, "sold out")
    call = caller.submit(b"x")
    _rpc_serve._fail(server._rpc, server.serve().id, 7, b"\xff\xfe!", 3, 0)
    with pytest.raises(tachyon.RpcError) as caught:
        call.wait()
    assert caught.value.message.endswith("!")


def test_given_up_calls_are_forgotten(make_ends: MakeEnds) -> None:
    caller, _ = make_ends()
    call = caller.submit(b"x")
    with pytest.raises(tachyon.WaitTimeoutError):
        call.wait(0)
    call.cancel()
    with pytest.raises(ValueError, match="given up"):
        call.wait()
    caller.submit(b"nobody keeps it")
    assert caller.rpc_stats()["outstanding"] == 0


def test_outstanding_calls_have_a_limit(make_ends: MakeEnds) -> None:
    caller, _ = make_ends(max_outstanding=2)
    calls = [caller.submit(b"x"), caller.submit(b"x")]
    with pytest.raises(tachyon.BusyError, match="2 calls are outstanding"):
        caller.call(b"x")
    calls.pop()
    caller.submit(b"x")


def test_request_too_large_says_so(make_ends: MakeEnds) -> None:
    caller, _ = make_ends(4096)
    for payload in (bytes(5000), bytearray(5000)):
        with pytest.raises(tachyon.MessageTooLargeError, match="5000"):
            caller.call(payload)
    assert caller.rpc_stats()["outstanding"] == 0


def test_full_rings_do_not_wait_for_each_other(make_ends: MakeEnds) -> None:
    caller, server = make_ends(4096)
    with Running(server, dispatcher()):
        calls = [caller.submit(b"%0200d" % number, 6, timeout=30) for number in range(2000)]
        for number, call in enumerate(calls):
            assert call.wait(30) == b"%0200d" % number


def test_ends_of_the_server_fail_calls_at_once(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    calls = [caller.submit(b"x") for _ in range(3)]
    server.close()
    for call in calls:
        with pytest.raises(tachyon.ClosedError):
            call.wait(30)
    with pytest.raises(tachyon.ClosedError):
        caller.call(b"x")
    caller.close()
    with pytest.raises(tachyon.ClosedError):
        caller.call(b"x")


def test_wrong_kind_and_wrong_end(path: Path, make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    with pytest.raises(tachyon.TachyonError, match="does not serve"):
        caller.serve(0)
    with pytest.raises(tachyon.TachyonError, match="does not call"):
        server.call(b"x")
    for listener, kind, words in (
        (tachyon.RpcListener, tachyon.Bus, "peer stream, here rpc"),
        (tachyon.Listener, tachyon.RpcBus, "peer rpc, here stream"),
    ):
        with listener(path) as listening:
            errors: list[BaseException] = []

            def connect(kind: Any = kind, errors: list[BaseException] = errors) -> None:
                try:
                    kind.connect(path)
                except tachyon.TachyonError as error:
                    errors.append(error)

            thread = threading.Thread(target=connect)
            thread.start()
            while not errors:
                with pytest.raises(tachyon.WaitTimeoutError):
                    listening.accept(0.01)
            thread.join()
            assert isinstance(errors[0], tachyon.ProtocolError) and words in str(errors[0])


# ---- the dispatcher -----------------------------------------------------------------------


class Counter:
    def __init__(self) -> None:
        self.count = 0

    @tachyon.rpc(msg_type=10)
    def add(self, request: memoryview) -> bytes:
        self.count += len(request)
        return b"%d" % self.count


def test_methods_are_endpoints_and_registering_is_checked(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    served = tachyon.Dispatcher().register(Counter())
    with Running(server, served):
        assert [caller.call(b"ab", 10), caller.call(b"c", 10)] == [b"2", b"3"]
    with pytest.raises(ValueError, match="msg_type 10"):
        served.register(Counter())
    with pytest.raises(TypeError, match="no endpoint"):
        served.register(len)


def test_serve_once_serves_one(make_ends: MakeEnds) -> None:
    caller, server = make_ends()
    calls = [caller.submit(b"ab", 1), caller.submit(b"cd", 1)]
    served = dispatcher()
    served.serve_once(server)
    assert calls[0].wait(0) == b"ba" and not calls[1].done()
    served.serve_once(server, timeout=1)
    assert calls[1].wait(0) == b"dc"
    with pytest.raises(tachyon.WaitTimeoutError):
        served.serve_once(server, timeout=0)


def test_serve_forever_ends_on_close_and_ctrl_c(
    make_ends: MakeEnds, path: Path, start_peer: Callable[[str], Peer]
) -> None:
    caller, server = make_ends()
    thread = threading.Thread(target=server.serve_forever, args=(dispatcher(),))
    thread.start()
    caller.call(b"ab", 1)
    caller.close()
    thread.join(30)
    assert not thread.is_alive()

    peer = start_peer(
        "bus = RpcBus.listen(path)\nprint('up')\nDispatcher().serve_forever(bus)\nprint('ended')"
    )
    with tachyon.RpcBus.connect(path, timeout=30):
        assert peer.line() == "up"
        until(lambda: sleeps_in_poll(peer.pid))
        os.kill(peer.pid, signal.SIGINT)
        code, output, errors = peer.finish()
    assert (code, output) == (0, "ended\n"), errors
