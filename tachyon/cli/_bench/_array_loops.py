"""The loops of `arrays`: 1 MiB of float32 at a time, made in the ring and reduced in place."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

import numpy as np

SHAPE = (512, 512)
SIZE = 4 * SHAPE[0] * SHAPE[1]


def _value(number: int) -> float:
    """What fills array number so-and-so; sums of it are exact in float32."""
    return float(number % 32)


def produce(bus: Any, warmup: int, count: int) -> None:
    """Send the arrays, each filled where it lies in the ring."""
    for number in range(warmup + count):
        with bus.reserve_array(SHAPE, np.float32) as array:
            array.fill(_value(number))


def _take(bus: Any, first: int, count: int) -> None:
    """Receive so many arrays, and add up every element of each, in place."""
    for number in range(first, first + count):
        array = bus.recv_array()
        if array.shape != SHAPE or array.sum() != _value(number) * array.size:
            raise ValueError(f"wrong data: array {number} is not what was sent")
        del array


def consume(bus: Any, warmup: int, count: int) -> int:
    """Receive and check the arrays; nanoseconds that the measured ones took."""
    _take(bus, 0, warmup)
    start = perf_counter_ns()
    _take(bus, warmup, count)
    return perf_counter_ns() - start
