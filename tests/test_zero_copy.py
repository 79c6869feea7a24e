"""Views of the ring: recycled memory is never visible through an old one, nor written by it."""

from __future__ import annotations

import gc
import os
import random
import sys
from typing import Any

import numpy
import pytest
from conftest import PATIENCE, MakePair, Pair, count_mappings, in_thread, is_asleep, until

import tachyon
from tachyon._builtin import QUICK


def overwrite(sender: tachyon.Bus, receiver: tachyon.Bus, rounds: int = 3) -> None:
    """Send through the whole ring several times, so that what is free is written over."""
    data = b"\xee" * 100
    for _ in range(rounds * sender.capacity // 128):
        try:
            sender.send(data, timeout=0)
            receiver.recv(timeout=0)
        except (tachyon.WaitTimeoutError, tachyon.LeaseError):
            return


# ---- leases ----


def test_a_lease_shows_the_message(pair: Pair) -> None:
    a, b = pair
    a.send(b"hello", 7)
    with b.recv_zero_copy() as lease:
        assert (lease.size, lease.type_id, bytes(lease.data)) == (5, 7, b"hello")
        assert lease.data.readonly
        assert (lease.data.format, lease.data.itemsize, lease.data.nbytes) == ("B", 1, 5)
        with pytest.raises(TypeError):
            lease.data[0] = 1
        assert b.stats().leases == 1
        assert repr(lease) == "<Lease type_id=7, size=5>"
    assert b.stats().leases == 0
    assert repr(lease) == "<Lease type_id=7, size=5, released>"


@pytest.mark.parametrize("size", [0, 1, 47, 48, 49, 63, 64, 65, 4096 - 128])
def test_leases_of_every_size(make_pair: MakePair, size: int) -> None:
    a, b = make_pair(4096)
    for _ in range(10):
        data = os.urandom(size)
        a.send(data)
        with b.recv_zero_copy() as lease:
            assert bytes(lease.data) == data


def test_large_payloads_are_aligned_for_tensors(pair: Pair) -> None:
    a, b = pair
    for size in (49, 64, 1000):
        a.send(bytes(size))
        with b.recv_zero_copy() as lease:
            assert numpy.frombuffer(lease.data, "u1").ctypes.data % 64 == 0


def test_reading_a_released_lease_is_an_error(pair: Pair) -> None:
    a, b = pair
    a.send(b"hello")
    with b.recv_zero_copy() as lease:
        view = lease.data
    for released in (view, lease.data):
        for read in (bytes, len, lambda view: view[0]):
            with pytest.raises(ValueError, match="released"):
                read(released)
    lease.release()


@pytest.mark.parametrize(
    "keep",
    [
        lambda data: data[1:4],
        lambda data: memoryview(data)[1:4],
        lambda data: numpy.frombuffer(data, "u1")[1:4],
        lambda data: numpy.asarray(data)[1:4],
        lambda data: numpy.frombuffer(data, "u1").reshape(-1, 2)[0:2].ravel()[1:4],
    ],
    ids=["slice", "slice of a memoryview", "frombuffer", "asarray", "views of views"],
)
def test_a_view_that_outlives_its_block_keeps_the_message(make_pair: MakePair, keep: Any) -> None:
    a, b = make_pair(4096)
    a.send(b"abcdef")
    with b.recv_zero_copy() as lease:
        kept = keep(lease.data)
    with pytest.raises(ValueError, match="released"):
        bytes(lease.data)
    assert b.stats().leases == 1
    overwrite(a, b)
    assert bytes(kept) == b"bcd"
    del kept
    assert b.stats().leases == 0
    overwrite(a, b)


def test_a_view_outlives_the_bus_and_its_peer(make_pair: MakePair) -> None:
    a, b = make_pair(65536)
    data = os.urandom(50000)
    a.send(data)
    array = numpy.frombuffer(b.recv_zero_copy().data, "u1")
    a.close()
    b.close()
    assert array.tobytes() == data
    assert b.stats().leases == 1


def test_a_view_outlives_every_reference_to_the_bus(path: Any) -> None:
    def receive() -> Any:
        with tachyon.Listener(path) as listener:
            connecting = in_thread(lambda: tachyon.Bus.connect(path))
            with listener.accept(PATIENCE) as bus, connecting.result() as other:
                other.send(b"still here")
                lease = bus.recv_zero_copy()
                return lease.data[6:]

    kept = receive()
    gc.collect()
    assert count_mappings() > 0
    assert bytes(kept) == b"here"
    del kept
    assert count_mappings() == 0


def test_a_dropped_lease_is_released(pair: Pair) -> None:
    a, b = pair
    for _ in range(3):
        a.send(b"x")
    kept = b.recv_zero_copy()
    b.recv_zero_copy()
    assert b.stats().leases == 1
    cycle: list[Any] = [b.recv_zero_copy()]
    cycle.append(cycle)
    assert b.stats().leases == 2
    del cycle
    gc.collect()
    assert b.stats().leases == 1
    kept.release()
    kept.release()
    assert b.stats().leases == 0


def test_leases_are_released_in_any_order_and_by_any_thread(make_pair: MakePair) -> None:
    a, b = make_pair(4096)
    chance = random.Random(1)
    leases: list[tuple[tachyon.Lease, bytes]] = []
    for _ in range(3000):
        data = chance.randbytes(chance.randrange(100))
        try:
            a.send(data, timeout=0)
            leases.append((b.recv_zero_copy(timeout=0), data))
        except tachyon.WaitTimeoutError:
            pass
        while len(leases) > 20 or (leases and chance.random() < 0.4):
            lease, expected = leases.pop(chance.randrange(len(leases)))
            assert bytes(lease.data) == expected
            in_thread(lease.release).result() if chance.random() < 0.1 else lease.release()
    assert b.stats().leases == len(leases)


def test_a_ring_full_of_leases_is_an_error_that_counts_them(make_pair: MakePair) -> None:
    a, b = make_pair(4096)
    leases = []
    with pytest.raises(tachyon.LeaseError, match="63"):
        while True:
            a.send(b"x", timeout=0)
            leases.append(b.recv_zero_copy(timeout=0))
            if len(leases) == 63:
                b.recv()
    assert [bytes(lease.data) for lease in leases] == [b"x"] * 63
    leases[0].release()
    a.send(b"y", timeout=PATIENCE)
    assert b.recv().data == b"y"


def test_trusted_data_may_be_changed_in_place(make_pair: MakePair) -> None:
    a, b = make_pair(trusted=True)
    assert a.properties().trusted
    a.send(b"hello")
    with b.recv_zero_copy() as lease:
        lease.data[0] = ord("J")
        assert bytes(lease.data) == b"Jello"


@pytest.mark.skipif(
    not QUICK and sys.version_info < (3, 12), reason="over ctypes, from Python 3.12 on"
)
def test_a_lease_is_a_buffer_itself(pair: Pair) -> None:
    a, b = pair
    a.send(b"hello")
    with b.recv_zero_copy() as lease:
        assert bytes(lease) == b"hello"  # type: ignore[call-overload]
        view = memoryview(lease)  # type: ignore[arg-type]
        assert view.readonly
    assert b.stats().leases == 1
    assert bytes(view) == b"hello"
    view.release()
    assert b.stats().leases == 0
    with pytest.raises(ValueError, match="released"):
        memoryview(lease)  # type: ignore[arg-type]


@pytest.mark.parametrize("hold", ["data", "slice", "array", "nothing"])
def test_release_ends_the_view_whoever_has_it(pair: Pair, hold: str) -> None:
    a, b = pair
    a.send(b"hello")
    lease = b.recv_zero_copy()
    kept = {
        "data": lambda: lease.data,
        "slice": lambda: lease.data[1:],
        "array": lambda: numpy.frombuffer(lease.data, "u1"),
        "nothing": lambda: None,
    }[hold]()
    lease.release()
    lease.release()
    if hold == "data":
        with pytest.raises(ValueError, match="released"):
            bytes(kept)
    assert b.stats().leases == (hold in ("slice", "array"))
    del kept
    assert b.stats().leases == 0


# ---- batches ----


def test_a_batch_is_what_was_there(pair: Pair) -> None:
    a, b = pair
    for i in range(10):
        a.send(b"%d" % i, i)
    with b.drain_batch(4) as batch:
        assert [bytes(lease.data) for lease in batch] == [b"0", b"1", b"2", b"3"]
        assert len(batch) == 4
    with b.drain_batch() as batch:
        assert [lease.type_id for lease in batch] == [4, 5, 6, 7, 8, 9]
        assert b.stats().leases == 6
        kept = batch[2].data[:]
    assert b.stats().leases == 1
    assert bytes(kept) == b"6"
    with pytest.raises(tachyon.WaitTimeoutError):
        b.drain_batch(timeout=0)


def test_drain_batch_blocks_for_the_first(pair: Pair) -> None:
    a, b = pair
    draining = in_thread(b.drain_batch)
    until(lambda: is_asleep(os.getpid(), draining.thread_id))
    a.send(b"x")
    with draining.result() as batch:
        assert bytes(batch[0].data) == b"x"


def test_a_batch_can_be_the_whole_ring(make_pair: MakePair) -> None:
    a, b = make_pair(4096)
    for i in range(63):
        a.send(b"", i, timeout=0)
    with b.drain_batch(10**12) as batch:
        assert [lease.type_id for lease in batch] == list(range(63))


def test_a_batch_of_nothing_is_refused(pair: Pair) -> None:
    with pytest.raises(ValueError, match="max_messages"):
        pair[1].drain_batch(0)


# ---- slots ----


def test_a_slot_sends_what_was_written(pair: Pair) -> None:
    a, b = pair
    with a.send_zero_copy(5, 7) as slot:
        assert (slot.data.format, slot.data.nbytes, slot.data.readonly) == ("B", 5, False)
        slot.data[:] = b"hello"
        with pytest.raises(tachyon.WaitTimeoutError):
            b.recv(timeout=0)
    assert b.recv() == tachyon.Message(b"hello", 7)


@pytest.mark.parametrize("size", [0, 1, 48, 49, 65, 4096 - 128])
def test_slots_of_every_size(make_pair: MakePair, size: int) -> None:
    a, b = make_pair(4096)
    for _ in range(10):
        data = os.urandom(size)
        with a.send_zero_copy(size) as slot:
            slot.data[:] = data
        assert b.recv().data == data


def test_a_slot_can_shrink_and_change_its_tag(pair: Pair) -> None:
    a, b = pair
    with a.send_zero_copy(1000) as slot:
        slot.data[:3] = b"abc"
        slot.size = 3
        slot.type_id = 2**32 - 1
        for size in (1001, -1):
            with pytest.raises(ValueError, match="size"):
                slot.size = size
        with pytest.raises(ValueError, match="type_id"):
            slot.type_id = 2**32
    assert b.recv() == tachyon.Message(b"abc", 2**32 - 1)


def test_an_exception_cancels_the_slot(pair: Pair) -> None:
    a, b = pair
    with pytest.raises(KeyError), a.send_zero_copy(5) as slot:
        slot.data[:] = b"wrong"
        raise KeyError
    a.send(b"right")
    assert b.recv().data == b"right"


def test_commit_and_cancel_by_hand(pair: Pair) -> None:
    a, b = pair
    with a.send_zero_copy(1) as slot:
        slot.data[:] = b"1"
        slot.commit()
        assert b.recv(timeout=0).data == b"1"
        with pytest.raises(ValueError, match="already"):
            slot.commit()
    with a.send_zero_copy(1) as slot:
        slot.cancel()
    a.send(b"2")
    assert b.recv().data == b"2"


def test_a_slot_that_nobody_entered_is_cancelled(pair: Pair) -> None:
    a, b = pair
    a.send_zero_copy(100)
    a.send(b"x")
    assert b.recv().data == b"x"


def test_nothing_else_is_sent_while_a_slot_is_open(pair: Pair) -> None:
    a, b = pair
    with a.send_zero_copy(1) as slot:
        for send in (
            lambda: a.send(b"x"),
            lambda: a.send(bytearray(1)),
            lambda: a.send_zero_copy(1),
        ):
            with pytest.raises(tachyon.BusyError):
                send()
        slot.data[:] = b"y"
    assert b.recv().data == b"y"
    assert a.stats().sent_messages == 1


@pytest.mark.parametrize(
    "keep",
    [lambda data: data[1:4], lambda data: numpy.frombuffer(data, "u1")[1:4]],
    ids=["slice", "array"],
)
def test_a_living_view_of_a_slot_is_never_sent(pair: Pair, keep: Any) -> None:
    a, b = pair
    with pytest.raises(BufferError, match="still alive"), a.send_zero_copy(6) as slot:
        kept = keep(slot.data)
    kept[0] = 1  # writes into the reservation, which nobody will ever see
    with pytest.raises(tachyon.WaitTimeoutError):
        b.recv(timeout=0)
    with pytest.raises(tachyon.BusyError):
        a.send(b"x")
    del kept
    a.send(b"x")
    assert b.recv().data == b"x"
    assert a.stats().sent_messages == 1


def test_a_view_of_a_cancelled_slot_holds_the_bus_until_it_dies(pair: Pair) -> None:
    a, b = pair
    with pytest.raises(KeyError), a.send_zero_copy(6) as slot:
        kept = slot.data[:]
        raise KeyError
    with pytest.raises(tachyon.BusyError):
        a.send(b"x")
    kept.release()
    a.send(b"x")
    assert b.recv().data == b"x"


def test_a_view_of_a_slot_outlives_the_bus(path: Any) -> None:
    def reserve() -> Any:
        with tachyon.Listener(path) as listener:
            connecting = in_thread(lambda: tachyon.Bus.connect(path))
            with listener.accept(PATIENCE) as bus, connecting.result():
                return bus.send_zero_copy(6).data[:]

    kept = reserve()
    gc.collect()
    kept[:] = b"abcdef"
    assert bytes(kept) == b"abcdef"


def test_a_slot_of_a_closed_bus_is_not_sent(pair: Pair) -> None:
    a, b = pair
    with pytest.raises(tachyon.ClosedError), a.send_zero_copy(6):
        a.close()
    assert list(b) == []


def test_slots_that_cannot_be(make_pair: MakePair) -> None:
    a, _ = make_pair(4096)
    with pytest.raises(tachyon.MessageTooLargeError):
        a.send_zero_copy(4096)
    with pytest.raises(ValueError, match="size"):
        a.send_zero_copy(-1)
    with pytest.raises(TypeError):
        a.send_zero_copy(1.5)  # type: ignore[arg-type]
    a.send(b"x")


def test_a_slot_waits_for_room(make_pair: MakePair) -> None:
    a, b = make_pair(4096)
    a.send(bytes(3000))
    reserving = in_thread(lambda: a.send_zero_copy(3000))
    until(lambda: is_asleep(os.getpid(), reserving.thread_id))
    b.recv()
    with pytest.raises(tachyon.WaitTimeoutError):
        b.recv(timeout=0)  # gives the room back
    with reserving.result() as slot:
        slot.data[:] = bytes(3000)
    assert b.recv().size == 3000


def test_a_lease_error_counts_in_good_english_and_says_what_to_do(make_pair: MakePair) -> None:
    a, b = make_pair(4096)
    a.send(bytes(a.max_message_size))
    lease = b.recv_zero_copy()
    with pytest.raises(tachyon.LeaseError) as caught:
        b.recv(timeout=0)
    text = str(caught.value)
    assert "1 message that is still leased leaves the peer no room" in text
    assert "in a ring of 4096 bytes" in text
    assert "NumPy array of an earlier round" in text
    assert "larger capacity" in text
    lease.release()
