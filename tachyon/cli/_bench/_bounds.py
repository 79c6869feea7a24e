"""What tachyon means to reach, and whether this run shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tachyon.cli._bench._amounts import MIB
from tachyon.cli._bench._cases import MANY_CAPACITY
from tachyon.cli._bench._languages import LEAST_RECORDS, MOST_OF_RAW, NAME, key, title

SLACK_BYTES = 64 << 10


class Bound(NamedTuple):
    """measured must be at most (or at least) bound."""

    name: str
    relation: str  # "<=" or ">="
    bound: float
    measured: Callable[[dict[str, Any]], float | None]


def _ratio(key: str) -> Callable[[dict[str, Any]], float | None]:
    def measured(result: dict[str, Any]) -> float | None:
        ratio = result["ratios"].get(key)
        return ratio["median"] if ratio else None

    return measured


def _worst_bandwidth(label: str) -> Callable[[dict[str, Any]], float | None]:
    """The block and ring with which tachyon is least near to the limit."""

    def measured(result: dict[str, Any]) -> float | None:
        found = [
            ratio["median"]
            for key, ratio in result["ratios"].items()
            if key.startswith("bandwidth/") and key.endswith(f"/{label}:limit")
        ]
        return min(found, default=None)

    return measured


def _worst_python_call(other: str) -> Callable[[dict[str, Any]], float | None]:
    """The slower way to serve."""
    ratios = [_ratio(f"rpc/python/{way}:{other}") for way in ("reply", "dispatcher")]

    def measured(result: dict[str, Any]) -> float | None:
        found = [value for ratio in ratios if (value := ratio(result)) is not None]
        return max(found, default=None)

    return measured


def _idle_overhead(result: dict[str, Any]) -> float | None:
    """Bytes of an idle bus beyond its two rings, among several, where single pages are no noise."""
    found = [
        row["median"] - 2 * MANY_CAPACITY
        for key, row in result["measurements"].items()
        if key.endswith("/idle") and key != "many/1/idle"
    ]
    return max(found, default=None)


def _of_raw(language: str) -> Callable[[dict[str, Any]], float | None]:
    def measured(result: dict[str, Any]) -> float | None:
        row = result["measurements"].get(key("calls", language))
        return row["figures"]["of_raw"] if row else None

    return measured


def _records(language: str) -> Callable[[dict[str, Any]], float | None]:
    def measured(result: dict[str, Any]) -> float | None:
        row = result["measurements"].get(key("records", language))
        return row["median"] if row else None

    return measured


BOUNDS = (
    Bound("C round trip, 32 B / rotating line", "<=", 1.15, _ratio("rtt/32/tachyon:limit")),
    Bound("C round trip, 32 B / one line", "<=", 1.7, _ratio("rtt/32/tachyon:line")),
    Bound(
        "C round trip, 32 B, p99.9 / p99.9 of the limit",
        "<=",
        1.5,
        _ratio("rtt/32/tachyon:limit:p99.9"),
    ),
    Bound(
        "C stream, 32 B, one by one / stamped lines", ">=", 0.70, _ratio("stream/32/tachyon:limit")
    ),
    Bound(
        "C stream, 32 B, in batches / stamped lines", ">=", 0.70, _ratio("stream/32/batch:limit")
    ),
    Bound("C bandwidth, send / memcpy, worst block", ">=", 0.90, _worst_bandwidth("send")),
    Bound(
        "C bandwidth, written in place / memcpy, worst block",
        ">=",
        0.90,
        _worst_bandwidth("reserve"),
    ),
    Bound("C call / the same round trip over a stream", "<=", 1.35, _ratio("rpc/call:stream")),
    Bound(
        "Python call / the same round trip over a stream", "<=", 2.5, _worst_python_call("stream")
    ),
    Bound("Python call / pyzmq, REQ and REP", "<=", 0.1, _worst_python_call("pyzmq")),
    Bound("Python call / multiprocessing.managers", "<=", 0.1, _worst_python_call("managers")),
    Bound("C wake of a sleeper / socket byte + ppoll", "<=", 1.15, _ratio("wake/tachyon:socket")),
    Bound("Python round trip / iceoryx2", "<=", 0.25, _ratio("python/rtt/tachyon:iceoryx2")),
    Bound(
        "Python round trip / multiprocessing",
        "<=",
        0.05,
        _ratio("python/rtt/tachyon:multiprocessing"),
    ),
    Bound("Python stream / pyzmq", ">=", 1.5, _ratio("python/stream/tachyon:pyzmq")),
    Bound("Python records / C stream", ">=", 0.5, _ratio("records/32/tachyon:c")),
    Bound("Python records / message by message", ">=", 10, _ratio("records/32/tachyon:stream")),
    Bound(
        "Python arrays of 1 MiB / C bandwidth, written in place",
        ">=",
        0.8,
        _ratio(f"arrays/{MIB}/tachyon:bandwidth"),
    ),
    Bound("growth: round trip, rings of 64 KiB to 64 MiB", "<=", 1.5, _ratio("capacity:flat")),
    Bound("growth: 1 to 1000 open buses, on one of them", "<=", 1.5, _ratio("many/one:flat")),
    Bound("growth: 1 to 1000 open buses, round all", "<=", 1.5, _ratio("many/robin:flat")),
    Bound("memory per idle bus beyond its rings, bytes", "<=", SLACK_BYTES, _idle_overhead),
)

# Of `languages`, which is measured by itself.
LANGUAGES = (
    *(
        Bound(f"{title(language)} send and receive / by hand", "<=", most, _of_raw(language))
        for language, most in MOST_OF_RAW.items()
    ),
    *(
        Bound(f"{title(language)} records, a second", ">=", least, _records(language))
        for language, least in LEAST_RECORDS.items()
    ),
)


def judge(bound: Bound, measured: float | None) -> dict[str, Any]:
    """Return a bound with what was measured; "holds" is None where nothing was."""
    holds = None
    if measured is not None:
        holds = measured <= bound.bound if bound.relation == "<=" else measured >= bound.bound
    return {
        "name": bound.name,
        "relation": bound.relation,
        "bound": bound.bound,
        "measured": measured,
        "holds": holds,
    }


def check(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every bound of what was asked for, judged by this result."""
    bounds = LANGUAGES if NAME in result["names"] else BOUNDS
    return [judge(bound, bound.measured(result)) for bound in bounds]
