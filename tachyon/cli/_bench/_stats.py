"""Medians, percentiles, and distributions that grow over rounds."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

RANKS = {
    "min": 0.0,
    "p50": 50.0,
    "p90": 90.0,
    "p99": 99.0,
    "p99.9": 99.9,
    "p99.99": 99.99,
    "max": 100.0,
}
# Points of a percentile curve: evenly spread where 1 / (1 - p) is drawn on a log axis.
CURVE = (0, 10, 25, 50, 68, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99, 99.999)

# Resolution of the distributions, so that 3 digits are 3 digits below 100 ns too.
UNIT_NS = 0.01
LARGEST_NS = 100_000_000_000


def median(values: Iterable[float]) -> float:
    """Return the middle value, or the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2


def rank_of(percent: float, count: int) -> int:
    """Return the nearest rank, from 0: so many percent of count values are not above it."""
    return min(max(-int(-round(count * percent, 6) // 100) - 1, 0), count - 1)


def percentiles(samples: Iterable[float]) -> dict[str, float]:
    """Return the exact percentiles by name."""
    ordered = sorted(samples)
    return {name: ordered[rank_of(percent, len(ordered))] for name, percent in RANKS.items()}


class Distribution(Protocol):
    """Samples of all rounds of one measurement."""

    method: str
    total: int

    def add(self, ticks: array[int], ns_per_tick: float) -> None: ...

    def at(self, percent: float) -> float: ...


class ExactDistribution:
    """Keeps every distinct value and how often it came."""

    method = "exact"

    def __init__(self) -> None:
        self._counts: Counter[float] = Counter()
        self.total = 0

    def add(self, ticks: array[int], ns_per_tick: float) -> None:
        """Add samples in ticks of a clock."""
        for tick, count in Counter(ticks).items():
            self._counts[round(tick * ns_per_tick / UNIT_NS) * UNIT_NS] += count
            self.total += count

    def at(self, percent: float) -> float:
        """Return a percentile in nanoseconds."""
        rank = rank_of(percent, self.total)
        for value in sorted(self._counts):
            rank -= self._counts[value]
            if rank < 0:
                return value
        raise ValueError("no samples")


class HdrDistribution:
    """In an HdrHistogram of 3 significant digits."""

    method = "hdrhistogram, 3 digits"

    def __init__(self, histogram: Any) -> None:
        self._histogram = histogram
        self.total = 0

    def add(self, ticks: array[int], ns_per_tick: float) -> None:
        """Add samples in ticks of a clock."""
        # Equal ones together: the clock has few values, and a call for each would take long.
        for tick, count in Counter(ticks).items():
            self._histogram.record_value(max(round(tick * ns_per_tick / UNIT_NS), 1), count)
            self.total += count

    def at(self, percent: float) -> float:
        """Return a percentile in nanoseconds."""
        if percent == 0:
            return float(self._histogram.get_min_value()) * UNIT_NS
        return float(self._histogram.get_value_at_percentile(percent)) * UNIT_NS


def curve(distribution: Distribution) -> list[list[float]]:
    """Return [percent, nanoseconds] for as many of CURVE as there are samples for."""
    total = distribution.total
    known = [percent for percent in CURVE if round(total * (100 - percent), 6) >= 100]
    return [[percent, distribution.at(percent)] for percent in known or CURVE[:1]]


def new_distribution() -> Distribution:
    """Make one by HdrHistogram where that is installed, else an exact one."""
    try:
        from hdrh.histogram import HdrHistogram
    except ImportError:
        return ExactDistribution()
    return HdrDistribution(HdrHistogram(1, int(LARGEST_NS / UNIT_NS), 3))
