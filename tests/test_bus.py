"""Sending and receiving copies: what goes in comes out, and what cannot go in says why."""

from __future__ import annotations

import array
import ctypes
import enum
import errno
import gc
import mmap
import os
import pickle
import select
import threading
from pathlib import Path
from typing import Any

import numpy
import pytest
from conftest import PATIENCE, MakePair, Pair, count_mappings, in_thread, is_asleep, until

import tachyon

LARGEST_IN_4K = 4096 - 128
SIZES = [0, 1, 2, 31, 32, 47, 48, 49, 63, 64, 65, 127, 128, 1000, LARGEST_IN_4K - 1, LARGEST_IN_4K]


def pattern(size: int, seed: int = 1) -> bytes:
    return bytes((seed + i * 7) & 0xFF for i in range(size))


@pytest.mark.parametrize("size", SIZES)
def test_every_size_arrives_whole_both_ways(make_pair: MakePair, size: int) -> None:
    a, b = make_pair(4096)
    for sender, receiver in ((a, b), (b, a)):
        for seed in range(20):  # so that every place of the ring is a start
            sender.send(pattern(size, seed), seed << 24 | size)
            message = receiver.recv()
            assert message.data == pattern(size, seed)
            assert (message.type_id, message.size) == (seed << 24 | size, size)


def test_the_largest_message_is_as_large_as_said(make_pair: MakePair) -> None:
    for capacity in (4096, 65536, 1 << 20):
        a, b = make_pair(capacity)
        data = os.urandom(a.max_message_size)
        a.send(data)
        assert b.recv().data == data


def test_a_message_that_can_never_fit_names_both_sizes(make_pair: MakePair) -> None:
    a, _ = make_pair(4096)
    with pytest.raises(tachyon.MessageTooLargeError) as caught:
        a.send(bytes(LARGEST_IN_4K + 1))
    assert str(LARGEST_IN_4K + 1) in str(caught.value)
    assert str(LARGEST_IN_4K) in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert caught.value.errno == errno.EMSGSIZE
    a.send(bytes(LARGEST_IN_4K))


class BytesChild(bytes):
    pass


def anonymous_map() -> mmap.mmap:
    memory = mmap.mmap(-1, 8)
    memory[:] = b"abcdefgh"
    return memory


BYTES_LIKE: dict[str, Any] = {
    "bytes": lambda: b"abcdefgh",
    "subclass of bytes": lambda: BytesChild(b"abcdefgh"),
    "bytearray": lambda: bytearray(b"abcdefgh"),
    "memoryview": lambda: memoryview(b"abcdefgh"),
    "slice of a memoryview": lambda: memoryview(b"xxabcdefghxx")[2:10],
    "writable memoryview": lambda: memoryview(bytearray(b"abcdefgh")),
    "memoryview of words": lambda: memoryview(b"abcdefgh").cast("I"),
    "array of bytes": lambda: array.array("B", b"abcdefgh"),
    "array of doubles": lambda: array.array("d", b"abcdefgh"),
    "ctypes array": lambda: (ctypes.c_char * 8)(*b"abcdefgh"),
    "mmap": anonymous_map,
    "NumPy array": lambda: numpy.frombuffer(b"abcdefgh", "u1").copy(),
    "read-only NumPy array": lambda: numpy.frombuffer(b"abcdefgh", "<u4"),
    "NumPy array of 2 x 2": lambda: numpy.frombuffer(b"abcdefgh", "<u2").reshape(2, 2),
    "NumPy scalar": lambda: numpy.frombuffer(b"abcdefgh", "<u8")[0],
}


@pytest.mark.parametrize("kind", BYTES_LIKE)
def test_bytes_like_objects_are_sent_as_their_bytes(pair: Pair, kind: str) -> None:
    a, b = pair
    a.send(BYTES_LIKE[kind](), 9)
    assert b.recv() == tachyon.Message(b"abcdefgh", 9)


@pytest.mark.parametrize("make", [bytearray, lambda: memoryview(b""), lambda: array.array("d")])
def test_empty_bytes_like_objects_can_be_sent(pair: Pair, make: Any) -> None:
    a, b = pair
    a.send(make(), 4)
    assert b.recv() == tachyon.Message(b"", 4)


def test_sent_buffers_are_let_go(pair: Pair) -> None:
    a, _ = pair
    data = bytearray(b"abc")
    a.send(data)
    data.extend(b"a bytearray that is still pinned cannot grow")


@pytest.mark.parametrize(
    "data",
    [
        memoryview(b"abcdefgh")[::2],
        numpy.arange(8)[::2],
        numpy.zeros((3, 4), order="F"),
    ],
    ids=["memoryview", "strided array", "Fortran order"],
)
def test_a_buffer_in_pieces_says_what_to_do(pair: Pair, data: Any) -> None:
    a, _ = pair
    with pytest.raises(BufferError, match="ascontiguousarray"):
        a.send(data)


@pytest.mark.parametrize(
    "data",
    [
        numpy.array([None, "text"]),
        numpy.zeros(2, [("order", "i4"), ("what", "O")]),
        memoryview(numpy.array([[None]])),
        (ctypes.py_object * 2)(1, 2),
    ],
    ids=["objects", "structures", "memoryview", "ctypes"],
)
def test_references_to_python_objects_are_refused(pair: Pair, data: Any) -> None:
    a, b = pair
    with pytest.raises(TypeError, match="references to Python objects"):
        a.send(data)
    a.send(b"the bus is as before")
    assert b.recv().data == b"the bus is as before"


@pytest.mark.parametrize("dtype", [[("Order:O", "i4"), ("O", "M8[s]")], [("O", "i4")], "M8[s]"])
def test_what_only_looks_like_references_is_sent(pair: Pair, dtype: Any) -> None:
    a, b = pair
    a.send(numpy.ones(3, "u1").repeat(16).view(dtype))
    assert b.recv().data == b"\1" * 48


def test_a_tensor_says_what_to_do(pair: Pair) -> None:
    class Tensor:
        def __dlpack__(self) -> None: ...

    with pytest.raises(TypeError, match=r"bytes-like.*send_array\(\)"):
        pair[0].send(Tensor())  # type: ignore[arg-type]


def test_a_str_says_what_to_do(pair: Pair) -> None:
    with pytest.raises(TypeError, match=r"\.encode\(\)"):
        pair[0].send("text")  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [None, 5, 1.5, ["a"], object()])
def test_what_has_no_bytes_is_a_type_error(pair: Pair, data: Any) -> None:
    with pytest.raises(TypeError, match="bytes-like"):
        pair[0].send(data)


class Kind(enum.IntEnum):
    QUOTE = 70000


@pytest.mark.parametrize(
    "type_id", [0, 1, 2**31, 2**32 - 1, True, Kind.QUOTE, numpy.uint32(7), numpy.int64(2**32 - 1)]
)
def test_type_ids_of_any_integer_type_arrive(pair: Pair, type_id: Any) -> None:
    a, b = pair
    a.send(b"x", type_id)
    a.send(bytearray(b"x"), type_id)
    assert b.recv().type_id == b.recv().type_id == int(type_id)


@pytest.mark.parametrize("type_id", [-1, 2**32, 2**64 + 1, -(2**40)])
def test_a_type_id_out_of_range_is_a_value_error(pair: Pair, type_id: int) -> None:
    a, b = pair
    for data in (b"x", bytearray(b"x")):
        with pytest.raises(ValueError, match="type_id"):
            a.send(data, type_id)
    with pytest.raises(ValueError, match="type_id"):
        a.send_zero_copy(1, type_id)
    with pytest.raises(tachyon.WaitTimeoutError):
        b.recv(timeout=0)


@pytest.mark.parametrize("type_id", ["1", 1.0, None])
def test_a_type_id_that_is_no_integer_is_a_type_error(pair: Pair, type_id: Any) -> None:
    with pytest.raises(TypeError):
        pair[0].send(b"x", type_id)


def test_messages_come_in_the_order_sent(make_pair: MakePair) -> None:
    a, b = make_pair(4096)
    sending = in_thread(lambda: [a.send(b"%d" % i, i) for i in range(20000)])
    assert [(m.data, m.type_id) for m in (b.recv() for _ in range(20000))] == [
        (b"%d" % i, i) for i in range(20000)
    ]
    sending.result()


def test_both_directions_at_once(make_pair: MakePair) -> None:
    a, b = make_pair(4096)

    def echo() -> None:
        for message in b:
            b.send(message.data, message.type_id)

    echoing = in_thread(echo)
    sending = in_thread(lambda: [a.send(pattern(i % 300), i) for i in range(5000)])
    for i in range(5000):
        assert a.recv(PATIENCE) == tachyon.Message(pattern(i % 300), i)
    sending.result()
    a.close()
    echoing.result()


def fill(bus: tachyon.Bus, data: bytes = b"x" * 500) -> int:
    """Send until the ring is full; how many went in."""
    count = 0
    while True:
        try:
            bus.send(data, timeout=0)
        except tachyon.WaitTimeoutError:
            return count
        count += 1


def test_send_blocks_while_the_ring_is_full(make_pair: MakePair) -> None:
    a, b = make_pair(4096)
    count = fill(a)
    sending = in_thread(lambda: a.send(b"y" * 500))
    until(lambda: is_asleep(os.getpid(), sending.thread_id))
    assert [b.recv().data for _ in range(count + 1)] == [b"x" * 500] * count + [b"y" * 500]
    sending.result()
    assert a.stats().space_sleeps == 1


def test_recv_blocks_until_a_message_comes(pair: Pair) -> None:
    a, b = pair
    receiving = in_thread(b.recv)
    until(lambda: is_asleep(os.getpid(), receiving.thread_id))
    a.send(b"now", 3)
    assert receiving.result() == tachyon.Message(b"now", 3)


@pytest.mark.parametrize("timeout", [0, 0.0, 0.001, 0.05])
def test_timeouts_of_a_bus(make_pair: MakePair, timeout: float) -> None:
    a, b = make_pair(4096)
    for call in (b.recv, b.recv_zero_copy):
        with pytest.raises(tachyon.WaitTimeoutError) as caught:
            call(timeout=timeout)
        assert isinstance(caught.value, TimeoutError)
        assert b.path in str(caught.value)
    with pytest.raises(tachyon.WaitTimeoutError):
        b.drain_batch(timeout=timeout)
    fill(a, b"")
    with pytest.raises(tachyon.WaitTimeoutError, match="full"):
        a.send(b"", timeout=timeout)
    with pytest.raises(tachyon.WaitTimeoutError, match="full"):
        a.send_zero_copy(0, timeout=timeout)
    b.recv()


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan"), float("-inf")])
def test_impossible_timeouts_are_value_errors(pair: Pair, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        pair[1].recv(timeout)


def test_a_timeout_that_is_no_number_is_a_type_error(pair: Pair) -> None:
    with pytest.raises(TypeError, match="timeout"):
        pair[1].recv("soon")  # type: ignore[arg-type]


def test_an_endless_timeout_waits(pair: Pair) -> None:
    a, b = pair
    receiving = in_thread(lambda: b.recv(timeout=float("inf")))
    until(lambda: is_asleep(os.getpid(), receiving.thread_id))
    a.send(b"x")
    assert receiving.result().data == b"x"
    a.send(b"y")
    assert b.recv(timeout=1e300).data == b"y"


def test_iteration_ends_when_the_peer_closes_and_all_is_received(pair: Pair) -> None:
    a, b = pair
    for i in range(100):
        a.send(b"", i)
    a.close()
    assert [message.type_id for message in b] == list(range(100))
    with pytest.raises(tachyon.ClosedError, match="peer"):
        b.recv()
    with pytest.raises(tachyon.ClosedError):
        b.send(b"x")


def test_a_closed_bus_says_so_everywhere(pair: Pair) -> None:
    a, _ = pair
    assert not a.closed
    a.close()
    a.close()
    assert a.closed
    for call in (
        lambda: a.send(b"x"),
        lambda: a.send(bytearray(b"x")),
        lambda: a.send_zero_copy(5),
        a.recv,
        a.recv_zero_copy,
        a.drain_batch,
        a.__iter__,
        a.fileno,
        a.arm,
    ):
        with pytest.raises(tachyon.ClosedError) as caught:
            call()
        assert caught.value.errno == errno.ECANCELED
        assert a.path in str(caught.value)


def test_with_closes(pair: Pair) -> None:
    a, b = pair
    with a as same:
        assert same is a
    assert a.closed
    with pytest.raises(tachyon.ClosedError):
        b.recv()


def test_close_ends_the_waits_of_other_threads(make_pair: MakePair) -> None:
    a, _ = make_pair(4096)
    fill(a)
    receiving = in_thread(a.recv)
    sending = in_thread(lambda: a.send(b"x" * 500))
    for waiting in (receiving, sending):
        until(lambda waiting=waiting: is_asleep(os.getpid(), waiting.thread_id))
    a.close()
    for waiting in (receiving, sending):
        with pytest.raises(tachyon.ClosedError) as caught:
            waiting.result()
        assert caught.value.errno == errno.ECANCELED


def test_close_ends_an_iteration_in_another_thread(pair: Pair) -> None:
    a, b = pair
    a.send(b"x")
    iterating = in_thread(lambda: [message.data for message in b])
    until(lambda: is_asleep(os.getpid(), iterating.thread_id))
    b.close()
    assert iterating.result() == [b"x"]


def test_two_threads_cannot_wait_for_the_same_thing(make_pair: MakePair) -> None:
    a, b = make_pair(4096)
    fill(a)
    receiving = in_thread(a.recv)
    sending = in_thread(lambda: a.send(b"y" * 500))
    for waiting in (receiving, sending):
        until(lambda waiting=waiting: is_asleep(os.getpid(), waiting.thread_id))
    with pytest.raises(tachyon.BusyError, match="thread"):
        a.recv()
    with pytest.raises(tachyon.BusyError, match="thread"):
        a.send(b"z" * 500)
    b.send(b"x")
    assert receiving.result().data == b"x"
    b.drain_batch().release()
    sending.result()


def test_arm_and_fileno_serve_an_event_loop(pair: Pair) -> None:
    a, b = pair
    fd = b.fileno()
    for i in range(50):
        assert b.arm() is True
        assert select.select([fd], [], [], 0)[0] == []
        a.send(b"", i)
        assert select.select([fd], [], [], PATIENCE)[0] == [fd]
        assert b.recv(timeout=0).type_id == i
    a.send(b"")
    assert b.arm() is False
    b.recv(timeout=0)
    assert b.arm() is True
    a.close()
    assert select.select([fd], [], [], PATIENCE)[0] == [fd]
    with pytest.raises(tachyon.ClosedError):
        b.recv(timeout=0)


def test_stats_count(make_pair: MakePair) -> None:
    a, b = make_pair(4096)
    for size in (0, 10, 100):
        a.send(bytes(size))
    assert a.stats()[:4] == (3, 110, 0, 0)
    assert a.stats().send_used == 64 + 64 + 192
    b.recv()
    lease = b.recv_zero_copy()
    stats = b.stats()
    assert (stats.received_messages, stats.received_bytes, stats.leases) == (2, 10, 1)
    lease.release()
    assert b.stats().leases == 0
    assert isinstance(stats, tachyon.Stats)


def test_properties_tell_facts(make_pair: MakePair) -> None:
    a, b = make_pair(5000, reply_capacity=100, spin=0.25)
    ours, theirs = a.properties(), b.properties()
    assert (ours.send_capacity, ours.recv_capacity) == (4096, 8192)
    assert (theirs.send_capacity, theirs.recv_capacity) == (8192, 4096)
    assert (ours.max_send_size, ours.max_recv_size) == (LARGEST_IN_4K, 8192 - 128)
    assert (ours.is_listener, theirs.is_listener) == (True, False)
    assert ours.peer_pid == os.getpid()
    assert ours.peer_uid == os.getuid()
    assert ours.spin == 0.25
    assert not ours.trusted
    assert isinstance(ours, tachyon.Properties)
    assert (a.capacity, a.max_message_size) == (4096, LARGEST_IN_4K)
    assert (b.capacity, b.max_message_size) == (8192, 8192 - 128)


def test_never_spinning_works(make_pair: MakePair) -> None:
    a, b = make_pair(spin=0)
    assert a.properties().spin <= 0
    echoing = in_thread(lambda: [b.send(message.data) for message in b])
    for i in range(200):
        a.send(b"%d" % i)
        assert a.recv(PATIENCE).data == b"%d" % i
    a.close()
    echoing.result()


def test_message_is_a_value() -> None:
    message = tachyon.Message(b"hello", 7)
    assert message == tachyon.Message(b"hello", 7)
    assert message != tachyon.Message(b"hello", 8)
    assert message != tachyon.Message(b"hellO", 7)
    assert message != b"hello"
    assert len({message, tachyon.Message(b"hello", 7)}) == 1
    assert repr(message) == "Message(type_id=7, size=5, data=b'hello')"
    assert len(repr(tachyon.Message(bytes(10000)))) < 200
    match message:
        case tachyon.Message(data, type_id):
            assert (data, type_id) == (b"hello", 7)


def test_type_id_helpers() -> None:
    assert tachyon.make_type_id(0x1234, 0x5678) == 0x12345678
    assert tachyon.route_id(0x12345678) == 0x1234
    assert tachyon.msg_type(0x12345678) == 0x5678
    assert tachyon.make_type_id(0xFFFF, 0xFFFF) == 0xFFFFFFFF
    for call in (
        lambda: tachyon.make_type_id(0x10000, 0),
        lambda: tachyon.make_type_id(0, 0x10000),
        lambda: tachyon.make_type_id(-1, 0),
        lambda: tachyon.make_type_id(0, -1),
        lambda: tachyon.route_id(1 << 32),
        lambda: tachyon.msg_type(-1),
    ):
        with pytest.raises(ValueError, match="must be"):
            call()


def test_a_bus_is_not_made_by_its_class() -> None:
    with pytest.raises(TypeError, match=r"Bus\.connect"):
        tachyon.Bus()


def test_repr_shows_path_and_state(pair: Pair) -> None:
    assert repr(pair[0]) == f"<Bus {pair[0].path!r} open>"
    pair[0].close()
    assert repr(pair[0]) == f"<Bus {pair[0].path!r} closed>"


def test_a_dropped_bus_is_closed(make_pair: MakePair, path: Any) -> None:
    with tachyon.Listener(path) as listener:
        connecting = in_thread(lambda: tachyon.Bus.connect(path))
        bus = listener.accept(PATIENCE)
        other = connecting.result()
    del connecting, bus
    with pytest.raises(tachyon.ClosedError):
        other.recv(PATIENCE)


def test_no_descriptor_and_no_mapping_is_left_behind(make_pair: MakePair, path: Any) -> None:
    def count() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), count_mappings()

    def use() -> None:
        with tachyon.Listener(path) as listener:
            connecting = in_thread(lambda: tachyon.Bus.connect(path))
            with listener.accept(PATIENCE) as bus, connecting.result() as other:
                bus.send(b"x")
                other.recv_zero_copy()

    use()
    gc.collect()  # what earlier tests left in circles goes now, and not while we count
    before = count()
    for _ in range(5):
        use()
    assert count() == before


def test_threads_do_not_stop_each_other(pair: Pair) -> None:
    a, b = pair
    receiving = in_thread(b.recv)
    until(lambda: is_asleep(os.getpid(), receiving.thread_id))
    ran = threading.Event()
    in_thread(ran.set).result()
    assert ran.is_set()
    a.send(b"x")
    receiving.result()


def test_what_belongs_to_this_process_cannot_be_pickled(make_pair: MakePair, path: Path) -> None:
    a, b = make_pair(4096)
    a.send(b"x")
    with tachyon.Listener(path) as listener, b.recv_zero_copy() as lease:
        for thing in (a, listener, lease):
            name = type(thing).__name__
            with pytest.raises(TypeError, match=f"a {name} cannot be sent to another process"):
                pickle.dumps(thing)


def test_a_bus_is_not_made_by_calling_its_class(path: Path) -> None:
    with pytest.raises(TypeError, match=r"use Bus\.listen\(path\), Bus\.connect\(path\)"):
        tachyon.Bus(path)
    with pytest.raises(TypeError, match=r"use RpcBus\.listen\(path\)"):
        tachyon.RpcBus(path)


def test_a_type_id_that_is_no_number_is_named(make_pair: MakePair) -> None:
    a, _ = make_pair(4096)
    with pytest.raises(TypeError, match="type_id must be an int, not str"):
        a.send(b"", "a")  # type: ignore[arg-type]


def test_tracebacks_name_what_is_public() -> None:
    for name in tachyon.__all__:
        value = getattr(tachyon, name)
        assert not isinstance(value, type) or value.__module__ == "tachyon", name
