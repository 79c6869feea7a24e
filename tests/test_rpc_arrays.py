"""Arrays as requests and replies, in place where they can be."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import in_thread
from numpy.typing import NDArray
from rpc_support import MakeEnds, Running

import tachyon

BIG = np.arange(20_000, dtype="f4").reshape(100, 200)
ARRAYS = [
    np.arange(3),
    np.float64(7),
    np.empty((0, 4), "u1"),
    BIG,
    BIG[::3, ::-2],
    np.array([(1, 2.5)], dtype=[("a", "i1"), ("b", "f8")]),
    np.array(["2024-01-01"], dtype="M8[D]"),
]


@tachyon.rpc(msg_type=1)
def same(values: NDArray[Any]) -> NDArray[Any]:
    return values


@tachyon.rpc(msg_type=2)
def shape(values: np.ndarray) -> bytes:  # type: ignore[type-arg]
    return repr((values.dtype.str, values.shape, values.flags.writeable)).encode()


@tachyon.rpc(msg_type=3)
def too_large(request: memoryview) -> NDArray[Any]:
    return np.zeros(1 << 20)


def dispatcher() -> tachyon.Dispatcher:
    return tachyon.Dispatcher().register(same, shape, too_large)


def assert_equal(got: Any, wanted: Any) -> None:
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("copy", [True, False])
def test_arrays_go_there_and_back(path: Path, workers: int, copy: bool) -> None:
    with (
        tachyon.RpcServer(path, dispatcher(), workers, 1 << 20),
        tachyon.RpcBus.connect(path) as caller,
    ):
        for array in ARRAYS:
            reply = caller.call_array(array, 1, 30, copy)
            assert_equal(reply, array)
            assert reply.flags.writeable is copy
            call = caller.submit_array(array, 1)
            assert_equal(call.wait_array(30, copy), array)
        del reply
        gc.collect()
        assert caller.stats().leases == 0
        assert caller.rpc_stats()["outstanding"] == 0
        assert caller.submit_array(BIG, 2).wait(30) == b"('<f4', (100, 200), False)"


def test_requests_and_replies_are_computed_in_the_ring(make_ends: MakeEnds) -> None:
    caller, server = make_ends(1 << 20)
    request = caller.reserve_array((100, 200), "f4", 5)
    with request as array:
        assert array.ctypes.data % 64 == 0
        array[:] = BIG
    with server.serve_zero_copy(30) as asked:
        assert asked.msg_type == 5
        with asked.reserve_reply_array(100, "f8", type_id=9) as sums:
            np.sum(asked.array(), axis=1, out=sums)
    assert_equal(request.call.wait_array(30), BIG.sum(axis=1, dtype="f8"))


def test_bytes_in_place_and_shrunk(make_ends: MakeEnds) -> None:
    caller, server = make_ends(4096)
    for size in (0, 8, 40, 41, 48, 49, 1000):
        request = caller.reserve(1000, 7)
        with request as slot:
            slot.data[:size] = b"q" * size
            slot.size = size
        asked = server.serve(30)
        assert (asked.data, asked.msg_type) == (b"q" * size, 7)
        with asked.reserve_reply(size, type_id=3) as slot:
            slot.data[:] = b"r" * size
        assert request.call.wait(30) == b"r" * size
    assert caller.rpc_stats()["outstanding"] == 0


def test_what_is_given_up_in_place_was_never_there(make_ends: MakeEnds) -> None:
    caller, server = make_ends(4096)
    call = caller.submit(b"x")
    asked = server.serve(30)
    for slot in caller.reserve(100), asked.reserve_reply(100):
        with pytest.raises(RuntimeError), slot:
            raise RuntimeError
    for slot in caller.reserve_array(10, "f4"), asked.reserve_reply_array(10, "f4"):
        with pytest.raises(RuntimeError), slot:
            raise RuntimeError
    del slot
    asked.reply(b"y")
    assert call.wait(30) == b"y"
    assert caller.rpc_stats()["outstanding"] == 0
    with pytest.raises(tachyon.WaitTimeoutError):
        server.serve(0)


def test_one_at_a_time_is_written_in_place(make_ends: MakeEnds) -> None:
    caller, server = make_ends(4096)
    call = caller.submit(b"x")
    asked = server.serve(30)
    with asked.reserve_reply(10) as slot:
        for attempt in (
            lambda: asked.reply(b"y"),
            lambda: asked.fail("y"),
            lambda: asked.reply_array(np.arange(3)),
            lambda: asked.reserve_reply(10),
        ):
            with pytest.raises(tachyon.BusyError):
                attempt()
        slot.data[:] = b"0123456789"
    assert call.wait(30) == b"0123456789"
    request = caller.reserve(10)
    with request:
        for attempt in (
            lambda: caller.call(b"y"),
            lambda: caller.submit(b"y"),
            lambda: caller.submit_array(np.arange(3)),
        ):
            with pytest.raises(tachyon.BusyError):
                attempt()
    assert caller.rpc_stats()["outstanding"] == 1


def test_arrays_and_bytes_are_replied_by_many_threads(make_ends: MakeEnds) -> None:
    """One that is being written in place makes the others wait, and not fail."""
    caller, server = make_ends(1 << 16)
    array = np.arange(1000, dtype="u1")

    def serve() -> None:
        with lock:
            requests = [server.serve(30) for _ in range(100)]
        for number, request in enumerate(requests):
            if number % 2:
                request.reply_array(array, timeout=30)
            else:
                request.reply(array.tobytes(), timeout=30)

    lock = threading.Lock()
    calls = [caller.submit(b"x") for _ in range(400)]
    threads = [in_thread(serve) for _ in range(4)]
    replies = [call.wait(30) for call in calls]
    for thread in threads:
        thread.result()
    assert sorted(map(len, replies)) == [1000] * 200 + [1000 + 128] * 200
    assert all(reply.endswith(array.tobytes()) for reply in replies)


def test_array_failures(make_ends: MakeEnds) -> None:
    caller, server = make_ends(1 << 16)
    with Running(server, dispatcher()):
        with pytest.raises(tachyon.RpcError, match="ArrayFormatError"):
            caller.call(b"no array", 1)
        with pytest.raises(tachyon.RpcError, match="MessageTooLargeError: 8388736 bytes"):
            caller.call(b"", 3)
        with pytest.raises(tachyon.ArrayFormatError):
            caller.call_array(BIG[:2], 2)
        for call_array in caller.call_array, caller.submit_array:
            with pytest.raises(tachyon.MessageTooLargeError):
                call_array(np.zeros(1 << 20), 1)
            for wrong in ([1, 2], np.array([object()])):
                with pytest.raises(TypeError):
                    call_array(wrong, 1)
        for size, error in (
            (-1, ValueError),
            (1.5, TypeError),
            (1 << 20, tachyon.MessageTooLargeError),
        ):
            with pytest.raises(error):
                caller.reserve(size)  # type: ignore[arg-type]
        assert_equal(caller.call_array(BIG[:2], 1), BIG[:2])
    assert caller.rpc_stats()["outstanding"] == caller.stats().leases == 0


def test_reply_over_the_ring_outlives_its_bus(make_ends: MakeEnds) -> None:
    caller, server = make_ends(1 << 18)
    with Running(server, dispatcher()):
        reply = caller.call_array(BIG, 1, 30, copy=False)
        kept = reply[50:]
        del reply
        assert caller.stats().leases == 1
    caller.close()
    server.close()
    assert_equal(kept, BIG[50:])
