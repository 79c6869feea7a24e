"""One of the two Python processes of `tachyon bench`: `python -m tachyon.cli._bench._worker`.

Arguments: the side, 0 (drives, produces) or 1 (echoes, consumes), and the core to run on, -1
for any. Jobs come on standard input, one JSON object a line, an answer goes to standard
output for each: {"done": {...}} or {"error": "..."}. Both processes get the same jobs.

The loops are the same for all links but for one thing: a bus is iterated, as its users do.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from array import array
from collections.abc import Callable, Iterator
from time import perf_counter_ns
from typing import Any

from tachyon.cli._bench import _links, _stats

PAYLOAD = bytes(range(100, 100 + _links.SIZE))
READY = b"r" * _links.SIZE


class WrongDataError(ValueError):
    """What arrived is not what was sent."""


def _messages(link: _links.Link) -> Iterator[bytes] | None:
    """Return what a bus is iterated by, None for links that have only recv()."""
    return getattr(link, "messages", None)


def _check(data: bytes) -> None:
    if data != PAYLOAD:
        raise WrongDataError(f"wrong data: {data!r} is not what was sent")


# ---- round trips ----


def drive(link: _links.Link, count: int) -> array[int]:
    """Make round trips; return what each took, in nanoseconds."""
    samples = array("Q", bytes(8 * count))
    clock, payload, send = perf_counter_ns, PAYLOAD, link.send
    messages: Any = _messages(link)
    if messages is not None:
        last = clock()
        for i in range(count):
            send(payload)
            if next(messages).data != payload:
                raise WrongDataError("wrong data came back")
            now = clock()
            samples[i] = now - last
            last = now
        return samples
    recv = link.recv
    last = clock()
    for i in range(count):
        send(payload)
        if recv() != payload:
            raise WrongDataError("wrong data came back")
        now = clock()
        samples[i] = now - last
        last = now
    return samples


def echo(link: _links.Link, count: int) -> None:
    """Answer round trips."""
    send, messages = link.send, _messages(link)
    if messages is not None:
        for message in _first(messages, count):
            send(message.data)
        return
    recv = link.recv
    for _ in range(count):
        send(recv())


def _first(messages: Iterator[Any], count: int) -> Iterator[Any]:
    from itertools import islice

    return islice(messages, count)


# ---- stream ----


def produce(link: _links.Link, count: int) -> None:
    """Send messages one by one."""
    send, payload = link.send, PAYLOAD
    for _ in range(count):
        send(payload)


def consume(link: _links.Link, count: int) -> int:
    """Receive messages one by one, check each; return how long it took, in nanoseconds."""
    payload, messages = PAYLOAD, _messages(link)
    start = perf_counter_ns()
    if messages is not None:
        for message in _first(messages, count):
            if message.data != payload:
                raise WrongDataError("wrong data came")
        return perf_counter_ns() - start
    recv = link.recv
    for _ in range(count):
        if recv() != payload:
            raise WrongDataError("wrong data came")
    return perf_counter_ns() - start


# ---- jobs ----


def _rtt(link: _links.Link, side: int, job: dict[str, Any]) -> dict[str, Any]:
    warmup, count = job["warmup"], job["count"]
    if side == 1:
        echo(link, warmup + count)
        return {}
    drive(link, warmup)
    samples = drive(link, count)
    if job.get("samples"):
        with open(job["samples"], "wb") as file:
            samples.tofile(file)
    ranks = _stats.percentiles(samples)
    return {"typical_ns": ranks["p50"], "ns": ranks}


def _stream(link: _links.Link, side: int, job: dict[str, Any]) -> dict[str, Any]:
    warmup, count = job["warmup"], job["count"]
    if side == 0:
        produce(link, warmup + count)
        link.recv()  # the consumer has all: closing now loses nothing
        return {}
    consume(link, warmup)
    elapsed = consume(link, count)
    link.send(PAYLOAD)
    return {"figures": {"messages_per_second": count * 1e9 / elapsed, "elapsed_ns": elapsed}}


def _records(link: _links.Link, side: int, job: dict[str, Any]) -> dict[str, Any]:
    """A stream as NumPy arrays of records; each record's first and last word are checked."""
    from tachyon.cli._bench import _record_loops

    bus, warmup, count = link.bus, job["warmup"], job["count"]  # type: ignore[attr-defined]
    if side == 0:
        _record_loops.produce(bus, warmup, count)
        link.recv()
        return {}
    elapsed = _record_loops.consume(bus, warmup, count)
    link.send(PAYLOAD)
    return {"figures": {"messages_per_second": count * 1e9 / elapsed, "elapsed_ns": elapsed}}


def _arrays(link: _links.Link, side: int, job: dict[str, Any]) -> dict[str, Any]:
    """Arrays made in the ring; each one's shape and sum are checked."""
    from tachyon.cli._bench import _array_loops

    bus, warmup, count = link.bus, job["warmup"], job["count"]  # type: ignore[attr-defined]
    if side == 0:
        _array_loops.produce(bus, warmup, count)
        link.recv()
        return {}
    elapsed = _array_loops.consume(bus, warmup, count)
    link.send(PAYLOAD)
    rate = count * _array_loops.SIZE * 1e9 / elapsed
    return {"figures": {"bytes_per_second": rate, "elapsed_ns": elapsed}}


WORKS: dict[str, Callable[[_links.Link, int, dict[str, Any]], dict[str, Any]]] = {
    "rtt": _rtt,
    "stream": _stream,
    "records": _records,
    "arrays": _arrays,
}


def _meet(link: _links.Link, side: int) -> None:
    """Wait until both ends are really there: some libraries connect in the background."""
    if side == 0:
        link.send(READY)
        link.recv()
    else:
        link.recv()
        link.send(READY)


def run(job: dict[str, Any], side: int) -> dict[str, Any]:
    """Open the link, do the work, close the link."""
    if job["work"] == "call":
        from tachyon.cli._bench import _call_loops

        return _call_loops.run(job, side)
    options = {"capacity": job["capacity"]} if "capacity" in job else {}
    link = _links.LINKS[job["transport"]](job["path"], side, **options)
    try:
        _meet(link, side)
        if job.get("spoil") and side == 0:
            link.send(READY)
            link.send(READY)
        return WORKS[job["work"]](link, side, job)
    finally:
        link.close()


def main(side: int, core: int) -> None:
    """Answer jobs until standard input ends."""
    if core >= 0:
        os.sched_setaffinity(0, {core})
    gc.collect()
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"done": run(json.loads(line), side)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
