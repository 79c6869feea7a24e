"""Records: runs of messages of one size as one NumPy array, to and from single messages."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import threading
from typing import Any

import numpy as np
import pytest
from conftest import MakePair, Pair, in_thread, is_asleep, until

import tachyon

TICK = np.dtype(
    [("time", "<u8"), ("bid", "<f8"), ("ask", "<f8"), ("size", "<u4"), ("venue", "<u4")]
)


def ticks(count: int, first: int = 0) -> Any:
    records = np.zeros(count, TICK)
    records["time"] = np.arange(first, first + count)
    records["bid"] = records["time"] * 0.25
    records["venue"] = records["time"] % 7
    return records


# ---- what they are ----


def test_a_run_is_one_strided_view_and_one_lease(pair: Pair) -> None:
    a, b = pair
    sent = ticks(1000)
    assert a.send_records(sent, 7) == 1000
    run = b.recv_records(TICK)
    assert run.dtype == TICK
    assert (run.shape, run.strides) == ((1000,), (64,))
    assert np.array_equal(run, sent)
    assert b.stats().leases == 1
    part = run["bid"][10:20]
    del run
    gc.collect()
    assert b.stats().leases == 1
    assert part.tolist() == [n * 0.25 for n in range(10, 20)]
    del part
    assert b.stats().leases == 0


@pytest.mark.parametrize("size", [1, 7, 8, 32, 47, 48, 49, 64, 65, 100, 1000])
def test_every_size_of_record(make_pair: MakePair, size: int) -> None:
    a, b = make_pair(65536)
    count = 65536 // 64 // (4 + 2 * (size // 48))
    for turn in range(5):
        sent = np.frombuffer(np.random.default_rng(turn).bytes(count * size), f"V{size}")
        assert a.send_records(sent, turn) == count
        run = b.recv_records(f"V{size}")
        assert len(run) == count
        assert run.tobytes() == sent.tobytes()


def test_they_are_messages_like_any_other(pair: Pair) -> None:
    a, b = pair
    sent = ticks(5)
    a.send_records(sent[:3], 9)
    for record in sent[3:]:
        a.send(record.tobytes(), 9)
    first = b.recv()
    assert (first.data, first.type_id) == (sent[0].tobytes(), 9)
    with b.recv_zero_copy() as lease:
        assert (bytes(lease.data), lease.type_id) == (sent[1].tobytes(), 9)
    assert np.array_equal(b.recv_records(TICK), sent[2:])


@pytest.mark.parametrize("dtype", ["u1", "<i2", "<f4", "<f8", "<c16", "?", "<M8[ns]", "S5", "<U3"])
def test_numbers_are_records_too(pair: Pair, dtype: str) -> None:
    a, b = pair
    sent = np.arange(20).astype(dtype)
    assert a.send_records(sent) == 20
    run = b.recv_records(dtype)
    assert run.dtype == np.dtype(dtype)
    assert np.array_equal(run, sent)


def test_rows_are_records(pair: Pair) -> None:
    a, b = pair
    sent = np.arange(60, dtype="f4").reshape(10, 6)
    assert a.send_records(sent) == 10
    assert b.recv(timeout=0).data == sent[0].tobytes()
    run = b.recv_records(np.dtype(("f4", (2, 3))))
    assert run.shape == (9, 2, 3)
    assert np.array_equal(run.reshape(9, 6), sent[1:])


def test_at_most_so_many_at_a_time(pair: Pair) -> None:
    a, b = pair
    a.send_records(ticks(10))
    lengths = [len(b.recv_records(TICK, max_records=limit)) for limit in (1, 4, 3, 100)]
    assert lengths == [1, 4, 3, 2]


def test_a_copy_is_packed_and_leaves_no_lease(pair: Pair) -> None:
    a, b = pair
    a.send_records(ticks(10))
    copy = b.recv_records(TICK, copy=True)
    assert b.stats().leases == 0
    assert copy.strides == (TICK.itemsize,)
    assert copy.flags.writeable and copy.flags.owndata
    copy["bid"] = 1


def test_no_records_are_no_messages(pair: Pair) -> None:
    a, b = pair
    assert a.send_records(ticks(0)) == 0
    with pytest.raises(tachyon.WaitTimeoutError):
        b.recv_records(TICK, timeout=0)


# ---- where a run ends ----


def test_another_size_ends_the_run_and_comes_next(pair: Pair) -> None:
    a, b = pair
    a.send_records(ticks(3))
    a.send(b"other")
    a.send_records(ticks(2))
    assert len(b.recv_records(TICK)) == 3
    for _ in range(2):
        with pytest.raises(tachyon.RecordMismatchError, match=r"has 5 bytes, not 32") as caught:
            b.recv_records(TICK)
        assert isinstance(caught.value, ValueError)
        assert b.path in str(caught.value)
    assert b.recv().data == b"other"
    assert len(b.recv_records(TICK)) == 2


def test_another_tag_ends_the_run_where_a_tag_is_asked_for(pair: Pair) -> None:
    a, b = pair
    for type_id in (1, 2, 0, 2**32 - 1):
        a.send_records(ticks(3), type_id)
    assert len(b.recv_records(TICK, type_id=1)) == 3
    with pytest.raises(tachyon.RecordMismatchError, match="type_id 2, not 1"):
        b.recv_records(TICK, type_id=1)
    assert len(b.recv_records(TICK, type_id=2)) == 3
    assert len(b.recv_records(TICK)) == 6


def test_an_empty_message_is_no_record(pair: Pair) -> None:
    a, b = pair
    a.send(b"")
    with pytest.raises(tachyon.RecordMismatchError, match="0 bytes, not 32"):
        b.recv_records(TICK)
    assert b.recv().data == b""


# ---- waiting ----


def test_a_full_ring_takes_what_fits_in_the_time(make_pair: MakePair) -> None:
    a, b = make_pair(4096)
    fitting = 4096 // 64 - 1
    assert a.send_records(ticks(100), timeout=0) == fitting
    assert a.send_records(ticks(100), timeout=0) == 0
    assert a.send_records(ticks(100), timeout=0.01) == 0
    assert len(b.recv_records(TICK)) == fitting


def test_a_full_ring_is_waited_for(make_pair: MakePair) -> None:
    a, b = make_pair(4096)
    sending = in_thread(lambda: a.send_records(ticks(10000)))
    done = 0
    while done < 10000:
        run = b.recv_records(TICK)
        assert np.array_equal(run, ticks(len(run), done))
        done += len(run)
        del run
    assert sending.result() == 10000


def test_the_first_record_is_waited_for(pair: Pair) -> None:
    a, b = pair
    receiving = in_thread(lambda: b.recv_records(TICK, copy=True))
    until(lambda: is_asleep(os.getpid(), receiving.thread_id))
    a.send_records(ticks(1))
    assert len(receiving.result()) == 1
    with pytest.raises(tachyon.WaitTimeoutError):
        b.recv_records(TICK, timeout=0.01)


def test_between_processes(path: Any, start_peer: Any) -> None:
    peer = start_peer("""
        import numpy as np
        with Bus.connect(path) as bus:
            numbers = np.arange(300000, dtype="<u8").reshape(-1, 3)
            print(bus.send_records(numbers, 5))
    """)
    total = count = 0
    with tachyon.Bus.listen(path, 65536) as bus, pytest.raises(tachyon.ClosedError):
        while True:
            run = bus.recv_records(np.dtype(("<u8", 3)), type_id=5)
            total += int(run.sum())
            count += len(run)
            del run
    assert (count, total) == (100000, 299999 * 300000 // 2)
    assert peer.line() == "100000"


def test_a_dead_producers_records_arrive_before_the_news(path: Any, start_peer: Any) -> None:
    peer = start_peer("""
        import numpy as np
        bus = Bus.connect(path)
        bus.send_records(np.arange(1000, dtype="<u8"))
        print("sent", flush=True)
        sys.stdin.read()
    """)
    bus = tachyon.Bus.listen(path)
    assert peer.line() == "sent"
    peer.kill()
    assert len(bus.recv_records("<u8")) == 1000
    with pytest.raises(tachyon.PeerDeadError):
        bus.recv_records("<u8")


def test_a_consumer_that_closes_ends_the_sending(make_pair: MakePair) -> None:
    a, b = make_pair(4096)
    sending = in_thread(lambda: a.send_records(ticks(10000)))
    until(lambda: is_asleep(os.getpid(), sending.thread_id))
    b.close()
    with pytest.raises(tachyon.ClosedError):
        sending.result()


def test_an_open_slot_is_in_the_way(pair: Pair) -> None:
    a, _ = pair
    with a.send_zero_copy(10) as slot:
        with pytest.raises(tachyon.BusyError):
            a.send_records(ticks(1))
        slot.data[:] = bytes(10)


# ---- leases ----


def test_nothing_can_be_written_through_a_view(pair: Pair) -> None:
    a, b = pair
    a.send_records(ticks(3))
    run = b.recv_records(TICK)
    with pytest.raises(ValueError, match="read-only"):
        run["bid"][0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        run.flags.writeable = True
    with pytest.raises(ValueError, match="WRITEABLE"):
        run["bid"].flags.writeable = True


def test_trusted_views_can_be_written(make_pair: MakePair) -> None:
    a, b = make_pair(trusted=True)
    a.send_records(ticks(3))
    run = b.recv_records(TICK)
    run["bid"] *= 2
    assert run["bid"].tolist() == [0, 0.5, 1]


def test_a_view_outlives_the_bus(make_pair: MakePair) -> None:
    a, b = make_pair(65536)
    sent = ticks(500)
    a.send_records(sent)
    run = b.recv_records(TICK)[100:]
    a.close()
    b.close()
    del a, b
    gc.collect()
    assert np.array_equal(run, sent[100:])


def test_leases_that_fill_the_ring_are_told_of(make_pair: MakePair) -> None:
    a, b = make_pair(4096)
    assert a.send_records(ticks(100), timeout=0) == 63
    runs = [b.recv_records(TICK, 21) for _ in range(3)]
    with pytest.raises(tachyon.LeaseError, match=r"3 messages.*oldest was taken [\d.]+ s ago"):
        b.recv_records(TICK)
    assert a.send_records(ticks(1), timeout=0) == 0
    assert [run["time"][0] for run in runs] == [0, 21, 42]
    del runs[1]
    with pytest.raises(tachyon.LeaseError, match="2 messages"):
        b.recv_records(TICK)
    del runs[0]
    assert a.send_records(ticks(100), timeout=0) == 42


def test_traced_leases_tell_where_they_were_taken(make_pair: MakePair) -> None:
    program = """
import sys, threading, tachyon
import numpy as np
with tachyon.Listener(sys.argv[1], 4096) as listener:
    thread = threading.Thread(target=lambda: ends.append(tachyon.Bus.connect(sys.argv[1])))
    ends = []
    thread.start()
    a = listener.accept(); thread.join(); b, = ends
def take():
    return b.recv_records("<u8", 1), b.recv_zero_copy()
a.send_records(np.arange(63, dtype="<u8"))
kept = [take() for _ in range(2)] + [b.drain_batch(59)]
try:
    b.recv_records("<u8")
except tachyon.LeaseError as error:
    print(error)
"""
    with tempfile.TemporaryDirectory(prefix="tachyon-") as folder:
        run = subprocess.run(
            [sys.executable, "-c", program, f"{folder}/bus"],
            env={
                **os.environ,
                "TACHYON_TRACE_LEASES": "1",
                "PYTHONPATH": os.path.dirname(os.path.dirname(tachyon.__file__)),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert run.returncode == 0, run.stderr
    first, *places = run.stdout.splitlines()
    assert first.endswith("They were taken:")
    assert places == ["  4 at <string>:10 in take", "  59 at <string>:12 in <module>"]


def test_views_may_die_in_any_thread_and_order(make_pair: MakePair) -> None:
    a, b = make_pair(65536)
    rng = np.random.default_rng(3)
    held: list[Any] = []
    failures: list[str] = []

    def drop(mine: list[Any]) -> None:
        for run, first in mine:
            if run["time"][0] != first:
                failures.append(f"{run['time'][0]} is not {first}")
        mine.clear()

    number = 0
    for _ in range(300):
        a.send_records(ticks(20, number))
        run = b.recv_records(TICK)
        held.append((run, number))
        del run
        number += 20
        if len(held) > 30:
            rng.shuffle(held)  # type: ignore[arg-type]
            mine, held[:] = held[:], []
            thread = threading.Thread(target=drop, args=(mine,))
            thread.start()
            del mine
            thread.join()
    drop(held)
    assert not failures
    assert b.stats().leases == 0
    assert b.stats().received_messages == 6000


# ---- what is refused ----


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (ticks(10)[::2], BufferError, "ascontiguousarray"),
        (np.zeros((4, 4), "f4").T, BufferError, "ascontiguousarray"),
        (np.zeros(4, ">u4"), TypeError, "byte order"),
        (np.zeros(4, [("a", "<u4"), ("b", ">f8")]), TypeError, "byte order"),
        (np.zeros(4, object), TypeError, "references"),
        (np.zeros(4, [("a", "O")]), TypeError, "references"),
        (np.zeros(4, "V0"), ValueError, "0 bytes"),
        (np.zeros((4, 0), "f4"), ValueError, "0 bytes"),
        (np.array(5.0), ValueError, "dimension"),
        (np.zeros((2, 2, 2)), ValueError, "dimension"),
        ([1, 2, 3], TypeError, "NumPy array"),
        (b"abc", TypeError, "NumPy array"),
    ],
)
def test_what_cannot_be_sent(pair: Pair, bad: Any, error: Any, words: str) -> None:
    a, _ = pair
    with pytest.raises(error, match=words):
        a.send_records(bad)
    assert a.stats().sent_messages == 0


def test_records_larger_than_the_ring_are_refused(make_pair: MakePair) -> None:
    a, _ = make_pair(4096)
    with pytest.raises(tachyon.MessageTooLargeError):
        a.send_records(np.zeros((2, 4096), "u1"))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("O",), TypeError),
        (([("a", "<u4"), ("b", "O")],), TypeError),
        (("V0",), ValueError),
        (("no such thing",), TypeError),
        (("<u8", 0), ValueError),
    ],
)
def test_what_cannot_be_received(pair: Pair, arguments: Any, error: Any) -> None:
    a, b = pair
    a.send(b"12345678")
    with pytest.raises(error):
        b.recv_records(*arguments)
    assert b.stats().leases == 0
    assert b.recv().data == b"12345678"


def test_type_ids_are_checked(pair: Pair) -> None:
    a, b = pair
    with pytest.raises(ValueError, match="type_id"):
        a.send_records(ticks(1), 2**32)
    with pytest.raises(ValueError, match="type_id"):
        b.recv_records(TICK, type_id=-1)


def test_numpy_is_not_imported_before_it_is_needed() -> None:
    code = "import tachyon, sys; sys.exit('numpy' in sys.modules)"
    environment = {
        **os.environ,
        "PYTHONPATH": os.path.dirname(os.path.dirname(tachyon.__file__)),
    }
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )
