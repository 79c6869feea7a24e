"""The loops of `records`: messages of 32 bytes by the thousand, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter_ns
from typing import Any

import numpy as np

RECORD = np.dtype([("number", "<u8"), ("bid", "<f8"), ("ask", "<f8"), ("check", "<u8")])
# A record takes a line of the ring.
LINE = 64


def make(count: int) -> Any:
    """Return so many records; the first word tells the number, the last one its square."""
    records = np.zeros(count, RECORD)
    records["number"] = np.arange(count, dtype="<u8")
    records["check"] = records["number"] ** 2
    return records


def _turn(bus: Any) -> int:
    """Records of one call, a quarter of the ring: while some are read, others are sent."""
    return int(bus.capacity) // 4 // LINE


def produce(bus: Any, warmup: int, count: int) -> None:
    """Send the records, some thousand a call."""
    records, turn = make(warmup + count), _turn(bus)
    for start in range(0, len(records), turn):
        bus.send_records(records[start : start + turn])


def _runs(bus: Any, count: int) -> Iterator[Any]:
    """Yield so many records as they come, each run in place; it is given back after its turn."""
    turn = _turn(bus)
    while count:
        run = bus.recv_records(RECORD, min(count, turn))
        count -= len(run)
        yield run
        del run  # before more is waited for


def _check(bus: Any, expected: Any) -> None:
    """Receive these records, and look at every word."""
    done = 0
    for run in _runs(bus, len(expected)):
        if not np.array_equal(run, expected[done : done + len(run)]):
            raise ValueError(f"wrong data in {len(run)} records after record {done}")
        done += len(run)


def consume(bus: Any, warmup: int, count: int) -> int:
    """Receive the records and add up a field of them; nanoseconds that the measured ones took.

    The first ones are compared word by word, the measured ones by the sum of their squares.
    """
    expected = make(warmup + count)
    _check(bus, expected[:warmup])
    total = np.uint64(0)
    start = perf_counter_ns()
    for run in _runs(bus, count):
        total += run["check"].sum()
        del run
    elapsed = perf_counter_ns() - start
    if total != expected["check"][warmup:].sum():
        raise ValueError("wrong data: the squares do not add up to what was sent")
    return elapsed
