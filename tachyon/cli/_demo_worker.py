"""A process of `tachyon demo`: `python -m tachyon.cli._demo_worker ROLE FOLDER ...`.

The producer makes the data and sends it, the consumer receives it, once it has
read the size of the archive from standard input. Both do the jobs in the same
order and report on standard output, one JSON object a line:
{"done": 4096}, {"job": "bus-tar", ...}, {"finished": true} or {"error": ...}.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import resource
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Sequence

from tachyon.cli import _demo_data, _exit
from tachyon.cli._demo_links import LINKS, Link

# The tar is through in milliseconds, which a hiccup of the machine could double: five
# times, and the median counts.
ROUNDS = {"tar": 5, "ticks": 1, "roundtrip": 1}
# (transport, work, round), in the order in which they are done.
JOBS = tuple(
    (transport, work, number)
    for work, rounds in ROUNDS.items()
    for number in range(rounds)
    for transport in LINKS
)
ROUND_TRIPS = 20_000
# Before the clock counts: caches, branch predictors and the adaptive spin settle.
WARM_UP = 1_000


def job_name(transport: str, work: str, number: int) -> str:
    """Return a job's name, in reports and as the file name of its socket."""
    return f"{transport}-{work}-{number}"


def report(**facts: object) -> None:
    """Tell the parent something."""
    os.write(sys.stdout.fileno(), json.dumps(facts).encode() + b"\n")


def teller(step: int, wanted: bool) -> Callable[[int], None]:
    """Return a function to call with a growing count; it reports about every step of it."""
    if not wanted:
        return lambda done: None
    following = step

    def tell(done: int) -> None:
        nonlocal following
        if done >= following:
            following = done + step
            report(done=done)

    return tell


def checksum(pieces: Iterable[bytes | memoryview]) -> str:
    """Return the sha256 of the pieces in a row."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def percentiles(samples: array[int]) -> dict[str, float]:
    """Return the usual quantiles in microseconds, each a sample that was measured."""
    ordered = sorted(samples)
    picks = {"min": 0.0, "p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
    last = len(ordered) - 1
    return {
        # Nearest rank: the smallest sample that so many percent are not above.
        name: ordered[min(max(-int(-len(ordered) * p // 100) - 1, 0), last)] / 1e3
        for name, p in picks.items()
    }


class Producer:
    """Makes the data, sends it, and times round trips."""

    def __init__(self, folder: str, ticks: int, progress: bool) -> None:
        self.folder = folder
        self.progress = progress
        self.tar, files = _demo_data.standard_library_tar()
        self.ticks = _demo_data.market_ticks(ticks)
        report(
            job="data",
            tar={"bytes": len(self.tar), "files": files, "sha256": checksum([self.tar])},
            ticks={"bytes": len(self.ticks), "count": ticks, "sha256": checksum([self.ticks])},
        )

    def run(self, transport: str, work: str, job: str) -> None:
        link = LINKS[transport].connect(os.path.join(self.folder, job))
        if work == "roundtrip":
            self._round_trips(link, job)
            link.close()
            return
        began = time.monotonic_ns()
        if work == "tar":
            link.send_blocks(self.tar)
        else:
            link.send_ticks(self.ticks)
        link.close()
        report(job=job, began_ns=began)

    def _round_trips(self, link: Link, job: str) -> None:
        size = _demo_data.TICK_SIZE
        wanted = min(WARM_UP + ROUND_TRIPS, len(self.ticks) // size)
        slept = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        samples = link.ping(self.ticks[: wanted * size], teller(wanted // 20, self.progress))
        slept = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - slept
        counted = samples[WARM_UP:] or samples
        report(
            job=job,
            count=len(counted),
            sleeps=slept / len(samples),
            microseconds=percentiles(counted),
        )


class Consumer:
    """Receives, stops the clock, and only then checks what came."""

    def __init__(self, folder: str, ticks: int, progress: bool) -> None:
        self.folder = folder
        self.tick_count = ticks
        self.progress = progress
        size = int(sys.stdin.readline() or 0)
        # Written to, so that the kernel has given all of it before the clock runs.
        self.target = memoryview(bytearray(b"\xff") * size)

    def run(self, transport: str, work: str, job: str) -> None:
        link = LINKS[transport].listen(os.path.join(self.folder, job))
        if work == "roundtrip":
            report(job=job, messages=link.echo())
            link.close()
            return
        pieces: Sequence[bytes | memoryview]
        if work == "tar":
            size, count = link.recv_blocks(self.target, teller(1 << 20, self.progress))
            pieces = [self.target[:size]]
        else:
            pieces, count = link.recv_ticks(teller(self.tick_count // 40, self.progress))
        ended = time.monotonic_ns()
        link.close()
        size = sum(map(len, pieces))
        report(job=job, ended_ns=ended, messages=count, bytes=size, sha256=checksum(pieces))


def main(role: str, folder: str, ticks: str, progress: str) -> int:
    """Do all jobs in one role."""
    try:
        worker = (Producer if role == "producer" else Consumer)(folder, int(ticks), progress == "1")
        # A collection in the middle of a round trip would be measured as the bus's.
        gc.collect()
        gc.freeze()
        for job in JOBS:
            worker.run(*job[:2], job_name(*job))
        report(finished=True)
        return _exit.DONE
    except (OSError, ValueError, MemoryError) as error:
        with contextlib.suppress(BrokenPipeError):  # The parent may be what has gone.
            report(error=_exit.text_of(error))
        return _exit.ERROR


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
