"""Messages, records, arrays and zero-copy, mixed at random, against a queue of bytes.

A short run by default; `pytest --hypothesis-profile=long tests/test_array_model.py` takes
about ten minutes.
"""

from __future__ import annotations

import gc
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from conftest import LONG, PATIENCE, in_thread
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import tachyon
from tachyon import _array, _dtype

CAPACITY = 8192
LARGEST = CAPACITY - 128
TYPE_IDS = st.integers(0, 3)

SCALARS = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(),
    hnp.unsigned_integer_dtypes(),
    hnp.floating_dtypes(),
    hnp.complex_number_dtypes(),
    hnp.datetime64_dtypes(),
    hnp.timedelta64_dtypes(),
    hnp.byte_string_dtypes(min_len=1, max_len=20),
)
DTYPES = st.one_of(SCALARS, hnp.array_dtypes(SCALARS, max_size=4, allow_subarrays=True))
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)
# Of messages that are taken for records: few, so that runs happen.
RECORDS = st.sampled_from(
    [np.dtype("u1"), np.dtype("<u8"), np.dtype("<u8,<f8,<f8,<u8"), np.dtype("V80")]
)
STEPS = st.sampled_from([1, 1, 2, -1, -2])


def wire(array: Any) -> bytes:
    """The message that carries an array."""
    text = _dtype.text_of(array.dtype)
    return _array._make_header(text, array.itemsize, array.shape)[0] + array.tobytes()


class Traffic(RuleBasedStateMachine):
    """A bus, and what it should hold."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="tachyon-")
        path = Path(self.folder.name) / "bus"
        with tachyon.Listener(path, CAPACITY) as listener:
            connecting = in_thread(lambda: tachyon.Bus.connect(path))
            self.sender = listener.accept(PATIENCE)
        self.receiver = connecting.result()
        self.queue: deque[tuple[bytes, int]] = deque()
        self.views: list[tuple[Any, bytes]] = []
        self.ended = False
        self.serial = 0

    def teardown(self) -> None:
        if not self.ended:
            self.sender.close()
            self.views.clear()
            assert [(m.data, m.type_id) for m in self.receiver] == list(self.queue)
        self.receiver.close()
        self.compare_views()
        self.views.clear()
        self.folder.cleanup()

    def bytes_of(self, size: int) -> bytes:
        self.serial += 1
        pattern = self.serial.to_bytes(4, "little") + b"\x01\x02\x03"
        return (pattern * (size // len(pattern) + 1))[:size]

    def array_of(self, dtype: np.dtype[Any], shape: tuple[int, ...], steps: Any) -> Any:
        """Of bytes 0 and 1, which mean something in every dtype (but in text, left out here)."""
        full = tuple(extent * 2 for extent in shape)
        count = int(np.prod(full))
        raw = np.frombuffer(self.bytes_of(count * dtype.itemsize), "u1") & 1
        array = np.frombuffer(raw.tobytes(), dtype, count).reshape(full)
        return array[(..., *(slice(None, None, step) for step in steps[: len(shape)]))]

    # ---- sending ----

    def is_full(self) -> None:
        assert self.queue or self.views or self.receiver.stats().recv_used

    @precondition(lambda self: not self.ended)
    @rule(size=st.one_of(st.integers(0, 200), st.sampled_from([8, 32, 80])), type_id=TYPE_IDS)
    def send(self, size: int, type_id: int) -> None:
        data = self.bytes_of(size)
        try:
            self.sender.send(data, type_id, timeout=0)
        except tachyon.WaitTimeoutError:
            self.is_full()
            return
        self.queue.append((data, type_id))

    @precondition(lambda self: not self.ended)
    @rule(dtype=RECORDS, count=st.integers(0, 40), type_id=TYPE_IDS, rows=st.booleans())
    def send_records(self, dtype: Any, count: int, type_id: int, rows: bool) -> None:
        data = self.bytes_of(count * dtype.itemsize)
        records = np.frombuffer(data, dtype)
        if rows:
            records = records.view("u1").reshape(count, dtype.itemsize)
        sent = self.sender.send_records(records, type_id, timeout=0)
        if sent < count:
            self.is_full()
        for i in range(sent):
            self.queue.append((data[i * dtype.itemsize : (i + 1) * dtype.itemsize], type_id))

    @precondition(lambda self: not self.ended)
    @rule(
        dtype=DTYPES,
        shape=SHAPES,
        steps=st.tuples(STEPS, STEPS, STEPS, STEPS),
        type_id=TYPE_IDS,
        turn=st.booleans(),
    )
    def send_array(self, dtype: Any, shape: Any, steps: Any, type_id: int, turn: bool) -> None:
        array = self.array_of(dtype, shape, steps)
        array = array.T if turn else array
        try:
            self.sender.send_array(array, type_id, timeout=0)
        except tachyon.WaitTimeoutError:
            self.is_full()
            return
        except tachyon.MessageTooLargeError:
            assert len(wire(array)) > LARGEST
            return
        self.queue.append((wire(array), type_id))

    @precondition(lambda self: not self.ended)
    @rule(dtype=DTYPES, shape=SHAPES, type_id=TYPE_IDS, fail=st.booleans())
    def reserve_array(self, dtype: Any, shape: Any, type_id: int, fail: bool) -> None:
        array = self.array_of(dtype, shape, [None] * 4)
        array = array[(..., *(slice(n) for n in shape))].copy()
        try:
            with self.sender.reserve_array(shape, dtype, type_id, timeout=0) as room:
                room.view(f"V{array.itemsize}")[...] = array.view(f"V{array.itemsize}")
                if fail:
                    raise KeyError
        except tachyon.WaitTimeoutError:
            self.is_full()
            return
        except tachyon.MessageTooLargeError:
            assert len(wire(array)) > LARGEST
            return
        except KeyError:
            return
        self.queue.append((wire(array), type_id))

    # ---- receiving ----

    def nothing_there(self, error: tachyon.TachyonError) -> None:
        assert not self.queue, error
        if isinstance(error, tachyon.LeaseError):
            assert self.views

    @precondition(lambda self: not self.ended)
    @rule()
    def recv(self) -> None:
        try:
            message = self.receiver.recv(timeout=0)
        except (tachyon.WaitTimeoutError, tachyon.LeaseError) as error:
            self.nothing_there(error)
            return
        assert (message.data, message.type_id) == self.queue.popleft()

    @precondition(lambda self: not self.ended)
    @rule(
        dtype=RECORDS,
        most=st.sampled_from([1, 3, 1000]),
        by_type=st.booleans(),
        keep=st.sampled_from(["all", "part", "copy", ""]),
        fitting=st.booleans(),
    )
    def recv_records(self, dtype: Any, most: int, by_type: bool, keep: str, fitting: bool) -> None:
        if fitting and self.queue and self.queue[0][0]:
            dtype = np.dtype(f"V{len(self.queue[0][0])}")
        type_id = self.queue[0][1] if by_type and self.queue else None
        try:
            run = self.receiver.recv_records(dtype, most, 0, type_id=type_id, copy=keep == "copy")
        except (tachyon.WaitTimeoutError, tachyon.LeaseError) as error:
            self.nothing_there(error)
            return
        except tachyon.RecordMismatchError:
            assert len(self.queue[0][0]) != dtype.itemsize
            return
        expected = []
        while len(expected) < most and self.queue and len(self.queue[0][0]) == dtype.itemsize:
            if type_id not in (None, self.queue[0][1]):
                break
            expected.append(self.queue.popleft()[0])
        assert [record.tobytes() for record in run] == expected
        if keep == "all":
            self.views.append((run, b"".join(expected)))
        elif keep == "part":
            self.views.append((run[::-2], b"".join(expected[::-2])))

    @precondition(lambda self: not self.ended)
    @rule(copy=st.booleans(), keep=st.sampled_from(["all", "raw", ""]))
    def recv_array(self, copy: bool, keep: str) -> None:
        try:
            array = self.receiver.recv_array(0, copy)
        except (tachyon.WaitTimeoutError, tachyon.LeaseError) as error:
            self.nothing_there(error)
            return
        except tachyon.ArrayFormatError:
            assert self.queue[0][0][:8] != _array._MAGIC_BYTES
            return
        data, _ = self.queue.popleft()
        assert wire(array) == data
        assert array.flags.writeable == copy
        if keep and not copy:
            view = array if keep == "all" else array.reshape(-1)[1:]
            self.views.append((view, view.tobytes()))

    @precondition(lambda self: not self.ended)
    @rule(keep=st.sampled_from(["lease", "data", "array", "tensor", ""]))
    def recv_zero_copy(self, keep: str) -> None:
        try:
            lease = self.receiver.recv_zero_copy(timeout=0)
        except (tachyon.WaitTimeoutError, tachyon.LeaseError) as error:
            self.nothing_there(error)
            return
        data, type_id = self.queue.popleft()
        assert (bytes(lease.data), lease.type_id) == (data, type_id)
        is_array = data[:8] == _array._MAGIC_BYTES
        if keep == "lease":
            self.views.append((lease, data))
        elif keep == "data":
            self.views.append((lease.data[1:], data[1:]))
        elif keep == "array" and is_array:
            array = lease.array()
            assert wire(array) == data
            self.views.append((array, array.tobytes()))
        elif keep == "tensor" and not is_array:
            self.views.append((np.from_dlpack(lease), data))

    # ---- leases ----

    @rule(data=st.data())
    def drop_a_view(self, data: Any) -> None:
        if self.views:
            self.views.pop(data.draw(st.integers(0, len(self.views) - 1)))

    @rule()
    def drop_all_views(self) -> None:
        self.views.clear()

    @precondition(lambda self: not self.ended and self.serial > 20)
    @rule(ours=st.booleans())
    def close(self, ours: bool) -> None:
        self.ended = True
        if ours:
            self.receiver.close()
            return
        self.sender.close()
        received = []
        while True:
            try:
                received.extend((m.data, m.type_id) for m in self.receiver)
                break
            except tachyon.LeaseError:
                self.views.pop()
        assert received == list(self.queue)

    @invariant()
    def compare_views(self) -> None:
        for view, data in self.views:
            seen = bytes(view.data) if isinstance(view, tachyon.Lease) else None
            seen = seen if seen is not None else np.asarray(view).tobytes()
            assert seen == data

    @invariant()
    def count_leases(self) -> None:
        if self.receiver.stats().leases != len(self.views):
            gc.collect()
        assert self.receiver.stats().leases == len(self.views)


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(
    max_examples=LONG if settings().max_examples == LONG else 60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
