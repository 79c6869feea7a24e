"""The loops of `records`: messages of 32 bytes by the thousand, as NumPy arrays."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

import numpy as np

RECORD = np.dtype([("number", "<u8"), ("bid", "<f8"), ("ask", "<f8"), ("check", "<u8")])
# Records of one call, a quarter of the default ring: while some are read, others are sent.
TURN = 4096


def make(count: int) -> Any:
    """Return so many records; the first word tells the number, the last one its square."""
    records = np.zeros(count, RECORD)
    records["number"] = np.arange(count, dtype="<u8")
    records["check"] = records["number"] ** 2
    return records


def produce(bus: Any, warmup: int, count: int) -> None:
    """Send the records, some thousand a call."""
    records = make(warmup + count)
    for start in range(0, len(records), TURN):
        bus.send_records(records[start : start + TURN])


def _take(bus: Any, expected: Any) -> None:
    """Receive as many records as expected, in place, and check them."""
    done, left = 0, len(expected)
    while left:
        run = bus.recv_records(RECORD, min(left, TURN))
        end = done + len(run)
        for word in ("number", "check"):
            if not np.array_equal(run[word], expected[word][done:end]):
                raise ValueError(f"wrong data: records {done} to {end} are not what was sent")
        left -= len(run)
        done = end
        del run  # its place in the ring is given back before more is waited for


def consume(bus: Any, warmup: int, count: int) -> int:
    """Receive and check the records; nanoseconds that the measured ones took."""
    expected = make(warmup + count)
    _take(bus, expected[:warmup])
    start = perf_counter_ns()
    _take(bus, expected[warmup:])
    return perf_counter_ns() - start
