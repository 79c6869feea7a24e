"""Random sends, receives and leases against the simplest thing that does the same: a queue."""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import numpy
from conftest import PATIENCE, in_thread
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import tachyon

CAPACITY = 4096
SIZES = st.one_of(
    st.sampled_from([0, 1, 47, 48, 49, 63, 64, 65, CAPACITY - 129, CAPACITY - 128]),
    st.integers(0, CAPACITY - 128),
    st.integers(0, 200),
)
TYPE_IDS = st.integers(0, 2**32 - 1)


class Queue(RuleBasedStateMachine):
    """A bus, and what it should hold."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="tachyon-")
        path = Path(self.folder.name) / "bus"
        with tachyon.Listener(path, CAPACITY) as listener:
            connecting = in_thread(lambda: tachyon.Bus.connect(path))
            self.sender = listener.accept(PATIENCE)
        self.receiver = connecting.result()
        self.sent: deque[tuple[bytes, int]] = deque()
        self.views: list[tuple[Any, bytes]] = []
        self.serial = 0

    def teardown(self) -> None:
        self.sender.close()
        assert [(m.data, m.type_id) for m in self.receiver] == list(self.sent)
        self.receiver.close()
        self.compare_views()
        self.folder.cleanup()

    def payload(self, size: int) -> bytes:
        self.serial += 1
        return (self.serial.to_bytes(4, "little") * (size // 4 + 1))[:size]

    @rule(size=SIZES, type_id=TYPE_IDS, kind=st.sampled_from([bytes, bytearray, memoryview]))
    def send(self, size: int, type_id: int, kind: Any) -> None:
        data = self.payload(size)
        try:
            self.sender.send(kind(data), type_id, timeout=0)
        except tachyon.WaitTimeoutError:
            assert self.sent or self.views or self.receiver.stats().recv_used
            return
        self.sent.append((data, type_id))

    @rule(size=SIZES, less=st.integers(0, 100), type_id=TYPE_IDS, fail=st.booleans())
    def send_zero_copy(self, size: int, less: int, type_id: int, fail: bool) -> None:
        data = self.payload(size)
        try:
            with self.sender.send_zero_copy(size, type_id, timeout=0) as slot:
                slot.data[:] = data
                if fail:
                    raise KeyError
                slot.size = max(0, size - less)
        except (tachyon.WaitTimeoutError, KeyError):
            return
        self.sent.append((data[: slot.size], type_id))

    def nothing_there(self, error: tachyon.TachyonError) -> None:
        assert not self.sent, error
        if isinstance(error, tachyon.LeaseError):
            assert self.views

    @rule()
    def recv(self) -> None:
        try:
            message = self.receiver.recv(timeout=0)
        except (tachyon.WaitTimeoutError, tachyon.LeaseError) as error:
            self.nothing_there(error)
            return
        assert (message.data, message.type_id) == self.sent.popleft()

    @rule(max_messages=st.integers(1, 10), keep=st.sampled_from(["lease", "slice", "array", ""]))
    def drain(self, max_messages: int, keep: str) -> None:
        try:
            batch = self.receiver.drain_batch(max_messages, timeout=0)
        except (tachyon.WaitTimeoutError, tachyon.LeaseError) as error:
            self.nothing_there(error)
            return
        assert len(batch) == min(max_messages, len(self.sent))
        for lease in batch:
            self.take(lease, keep)

    @rule(keep=st.sampled_from(["lease", "slice", "array", ""]))
    def lease(self, keep: str) -> None:
        try:
            lease = self.receiver.recv_zero_copy(timeout=0)
        except (tachyon.WaitTimeoutError, tachyon.LeaseError) as error:
            self.nothing_there(error)
            return
        self.take(lease, keep)

    def take(self, lease: tachyon.Lease, keep: str) -> None:
        data, type_id = self.sent.popleft()
        assert (bytes(lease.data), lease.type_id, lease.size) == (data, type_id, len(data))
        if keep == "lease":
            self.views.append((lease, data))
            return
        with lease:
            if keep == "slice":
                self.views.append((lease.data[: len(data) // 2], data[: len(data) // 2]))
            elif keep == "array":
                self.views.append((numpy.frombuffer(lease.data, "u1"), data))

    @rule(data=st.data())
    def drop_a_view(self, data: Any) -> None:
        if self.views:
            view, _ = self.views.pop(data.draw(st.integers(0, len(self.views) - 1)))
            if isinstance(view, tachyon.Lease):
                view.release()

    @rule()
    def drop_all_views(self) -> None:
        self.views.clear()

    @invariant()
    def compare_views(self) -> None:
        for view, data in self.views:
            assert bytes(view.data if isinstance(view, tachyon.Lease) else view) == data

    @invariant()
    def count_leases(self) -> None:
        assert self.receiver.stats().leases == len(self.views)


TestQueue = Queue.TestCase
TestQueue.settings = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
