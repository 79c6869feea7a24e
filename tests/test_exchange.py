"""Messages that answer each other: the small ones go over one line that both sides write in turn.

That they do is seen by where they are: in the ring each is on a line of its own.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import deque
from pathlib import Path
from typing import Any

import numpy
import pytest
from async_support import LOOPS, connect_pair, run_in
from conftest import MakePair, Pair, Peer
from test_fork import in_fork

import tachyon

LARGEST = 48
WORDS = numpy.dtype([("number", "<u4"), ("what", "S20")])


def address(view: Any) -> int:
    return numpy.frombuffer(view, "u1").ctypes.data


def begin(connector: tachyon.Bus) -> None:
    """Wait, as who wants an answer does: from here on the first turn is the connector's."""
    with pytest.raises(tachyon.WaitTimeoutError):
        connector.recv(timeout=0)


@pytest.fixture
def ends(pair: Pair) -> Pair:
    """The connector's end, whose turn it is, and the listener's."""
    listener, connector = pair
    begin(connector)
    return connector, listener


def place(sender: tachyon.Bus, receiver: tachyon.Bus, data: bytes, type_id: int = 0) -> int:
    """Send one message, and receive it as a lease; where it was."""
    sender.send(data, type_id)
    with receiver.recv_zero_copy(timeout=0) as lease:
        assert (bytes(lease.data), lease.type_id) == (data, type_id)
        return address(lease.data)


def test_small_questions_and_answers_are_all_in_one_place(ends: Pair) -> None:
    ours, theirs = ends
    questions = {place(ours, theirs, b"%048d" % i, i) for i in range(100)}
    answers = set()
    for i in range(100):
        questions.add(place(ours, theirs, bytes(i % (LARGEST + 1)), i))
        answers.add(place(theirs, ours, b"%d" % i, 2**32 - 1))
    # The first is on the line. Those that had no answer before them, a hundred, are in the ring.
    assert len(questions) == 101
    assert len(answers) == 1


def test_who_never_waited_for_an_answer_sends_by_the_ring(pair: Pair) -> None:
    theirs, ours = pair
    assert len({place(ours, theirs, b"%d" % i) for i in range(20)}) == 20


def test_larger_messages_in_between_take_the_ring_and_leave_the_turn(ends: Pair) -> None:
    ours, theirs = ends
    line = place(ours, theirs, b"first")
    for i in range(200):
        answer = place(theirs, ours, b"small")
        assert place(theirs, ours, bytes(LARGEST + 1 + i)) != answer
        assert place(ours, theirs, bytes(49)) != line
        assert place(ours, theirs, b"%d" % i) == line


@pytest.mark.parametrize("kept", ["lease", "slice", "array"])
def test_what_is_held_of_a_question_never_changes_while_answers_go_on(
    ends: Pair, kept: str
) -> None:
    ours, theirs = ends
    question = bytes(range(100, 100 + LARGEST))
    for _ in range(50):
        ours.send(question)
        lease = theirs.recv_zero_copy(timeout=0)
        line = address(lease.data)
        held: Any = lease
        if kept != "lease":
            with lease:
                held = lease.data[:] if kept == "slice" else numpy.frombuffer(lease.data, "u1")
        for i in range(40):
            assert place(theirs, ours, b"a" * LARGEST, i)
            assert place(ours, theirs, b"q" * LARGEST, i) != line
            assert bytes(held.data if kept == "lease" else held) == question
        if kept == "lease":
            lease.release()
        del held, lease
        # Given back: the answer to it goes over the line, and so does the next question.
        place(theirs, ours, b"answer")
        assert place(ours, theirs, b"again") == line
        place(theirs, ours, b"answer")


def test_a_lease_on_the_line_is_seen_by_a_forked_child(ends: Pair) -> None:
    ours, theirs = ends
    ours.send(b"question")
    lease = theirs.recv_zero_copy(timeout=0)

    def child() -> None:
        assert bytes(lease.data) == b"question"
        with pytest.raises(tachyon.ForkError):
            theirs.send(b"answer")
        lease.release()

    for i in range(20):
        in_fork(child)
        place(theirs, ours, b"answer", i)
    assert bytes(lease.data) == b"question"
    line = address(lease.data)
    lease.release()
    place(theirs, ours, b"answer")
    assert place(ours, theirs, b"next") == line
    assert theirs.stats().leases == 0


def test_without_leases_a_forked_child_leaves_the_line_to_its_parent(ends: Pair) -> None:
    ours, theirs = ends
    line = place(ours, theirs, b"question")

    def child() -> None:
        for end in ends:
            with pytest.raises(tachyon.ForkError):
                end.recv(timeout=0)
            end.close()

    in_fork(child)
    place(theirs, ours, b"answer")
    assert place(ours, theirs, b"next") == line


@pytest.mark.skipif("TACHYON_CTYPES" in os.environ, reason="ctypes makes its objects by itself")
def test_what_there_was_no_memory_for_stays_on_the_line(ends: Pair) -> None:
    memory = pytest.importorskip("_testcapi")
    ours, theirs = ends
    line = place(ours, theirs, b"question")
    failed = 0
    for nth in range(12):  # allocations that fail
        place(theirs, ours, b"answer")
        ours.send(b"%048d" % nth, 300 + nth)
        message = None
        memory.set_nomemory(nth, nth + 1)
        try:
            message = theirs.recv(timeout=0)
        except MemoryError:
            failed += 1
        finally:
            memory.remove_mem_hooks()
        if message is None:
            assert theirs.stats().leases == 0
            message = theirs.recv(timeout=0)
        assert (message.data, message.type_id) == (b"%048d" % nth, 300 + nth)
    assert failed
    place(theirs, ours, b"answer")
    assert place(ours, theirs, b"next") == line


def test_records_come_over_the_line_one_at_a_time_and_in_runs_behind_it(ends: Pair) -> None:
    ours, theirs = ends
    values = numpy.array([(i, b"record %d" % i) for i in range(8)], WORDS)
    for i in range(30):
        ours.send(values[:1].tobytes(), i)
        ours.send_records(values[1:], i)
        # The first that follows what is on the line comes by itself, as that does.
        runs = [theirs.recv_records(WORDS, type_id=i, timeout=0) for _ in range(3)]
        place(theirs, ours, b"not over the line, which is held")
        place(ours, theirs, b"nor this")
        assert [len(run) for run in runs] == [1, 1, 6]
        assert [value for run in runs for value in run.tolist()] == values.tolist()
        del runs
        place(theirs, ours, b"answer")


def test_a_record_of_another_size_or_type_stays_on_the_line(ends: Pair) -> None:
    ours, theirs = ends
    ours.send(bytes(WORDS.itemsize), 7)
    with pytest.raises(tachyon.TachyonError, match="24 bytes, not 8"):
        theirs.recv_records("<u8", timeout=0)
    with pytest.raises(tachyon.TachyonError, match="type_id 7, not 8"):
        theirs.recv_records(WORDS, type_id=8, timeout=0)
    theirs.send(b"not yet the answer")
    assert len(theirs.recv_records(WORDS, type_id=7, timeout=0)) == 1
    assert ours.recv(timeout=0).data == b"not yet the answer"


def test_a_batch_has_what_came_over_the_line_and_what_came_behind_it(ends: Pair) -> None:
    ours, theirs = ends
    for i in range(50):
        for k in range(5):
            ours.send(b"%d" % (i * k), k)
        with theirs.drain_batch(10, timeout=0) as batch:
            assert [(bytes(m.data), m.type_id) for m in batch] == [
                (b"%d" % (i * k), k) for k in range(5)
            ]
            theirs.send(b"answer")
            assert bytes(batch[0].data) == b"0"
        assert ours.recv(timeout=0).data == b"answer"


@pytest.mark.parametrize("loop", LOOPS)
def test_coroutines_answer_each_other(path: Path, loop: str) -> None:
    async def answer(bus: tachyon.Bus) -> int:
        places = set()
        for i in range(200):
            with await bus.arecv_zero_copy() as lease:
                assert bytes(lease.data) == b"%d" % i
                places.add(address(lease.data))
            await bus.asend(b"%d" % -i, i)
        return len(places)

    async def main() -> None:
        theirs, ours = await connect_pair(path)
        async with ours, theirs:
            answering = asyncio.create_task(answer(theirs))
            for i in range(200):
                await ours.asend(b"%d" % i)
                assert await ours.arecv() == tachyon.Message(b"%d" % -i, i)
            assert await answering == 2  # the first, before anybody had waited, and the others

    run_in(LOOPS[loop](), main())


@pytest.mark.parametrize("seed", range(20))
def test_whatever_both_do_in_turn_is_as_two_queues_have_it(make_pair: MakePair, seed: int) -> None:
    dice = random.Random(seed)
    both = make_pair(4096)
    sent: tuple[deque[Any], deque[Any]] = (deque(), deque())
    views: list[tuple[Any, bytes]] = []
    for step in range(600):
        me = dice.randrange(2)
        other = both[1 - me]
        data = dice.randbytes(dice.choice([0, 8, 30, 48, 49, 200]))
        try:
            if dice.random() < 0.1:
                with both[me].send_zero_copy(300, timeout=0) as slot:
                    slot.data[:] = bytes(dice.randbytes(4) * 75)
                    slot.cancel()
            both[me].send(data, step, timeout=0)
            sent[me].append((data, step))
        except (tachyon.WaitTimeoutError, tachyon.LeaseError):
            views.clear()
        while sent[me] and dice.random() < 0.7:
            how = dice.randrange(3)
            expected = sent[me].popleft()
            if how == 0:
                message = other.recv(timeout=0)
                assert (message.data, message.type_id) == expected
                continue
            with other.recv_zero_copy(timeout=0) as lease:
                assert (bytes(lease.data), lease.type_id) == expected
                if how == 1:
                    views.append((lease.data[:], expected[0]))
        for view, was in views:
            assert bytes(view) == was
        while views and dice.random() < 0.4:
            views.pop(dice.randrange(len(views)))


def test_a_peer_that_is_killed_leaves_its_last_answer(path: Path, start_peer: Any) -> None:
    peer: Peer = start_peer("""
        bus = Bus.connect(path)
        for i in range(100):
            bus.send(b"%d" % i, i)
            assert bus.recv().data == b"answer %d" % i
        bus.send(b"last")
        print("sent")
        sys.stdin.readline()
    """)
    with tachyon.Bus.listen(path, timeout=30) as bus:
        for i in range(100):
            assert bus.recv() == tachyon.Message(b"%d" % i, i)
            bus.send(b"answer %d" % i)
        assert peer.line() == "sent"
        peer.kill()
        peer.finish()
        assert bus.recv().data == b"last"
        with pytest.raises(tachyon.PeerDeadError):
            bus.recv()


def test_nothing_is_sent_over_the_line_to_a_peer_that_has_closed(ends: Pair) -> None:
    ours, theirs = ends
    place(ours, theirs, b"question")
    place(theirs, ours, b"answer")
    theirs.close()
    with pytest.raises(tachyon.ClosedError, match="peer"):
        ours.send(b"to nobody")
