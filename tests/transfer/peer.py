"""One side of a transfer in which every byte is checked, in Python; peer.c has the rule.

The same arguments, the same messages, the same line of JSON as peer.c, over the public
package only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import mmap
import random
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

import tachyon

STUCK = 60.0  # seconds; longer than any honest wait: past it, a wake-up was lost
START_MASK = 0xFFFFF
STRETCH_BITS = 6
CHUNK = 4096  # messages whose rules are computed at once
MAX_BATCH = 64
MAX_HELD = 32

Rule = tuple[int, int, int]  # size, start in the block, type_id


class Wrong(Exception):
    """What arrived is not what was sent."""


def splitmix64(seed: int, numbers: np.ndarray) -> np.ndarray:
    """Outputs of splitmix64 by number, uint64 in and out."""
    z = np.uint64(seed) + (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def rule_sizes(r: np.ndarray, large_every: int, largest: int) -> np.ndarray:
    """rule_size() of peer.c, for many."""
    dice = (r & np.uint64(0xFFFF)).astype(np.int64)
    limits = np.full(len(r), min(512, largest), np.uint64)
    limits[dice % 16 == 0] = min(16384, largest)
    limits[dice % large_every == 0] = largest
    choices = np.array([int(limit).bit_length() + 1 for limit in limits], np.uint64)
    bits = (r >> np.uint64(16) & np.uint64(0xFFFF)) % choices
    sizes = np.minimum(r >> np.uint64(32) & ((np.uint64(1) << bits) - np.uint64(1)), limits)
    sizes[dice % (16 * large_every) == 0] = largest
    return sizes


def rules(seed: int, large_every: int, largest: int) -> Iterator[Rule]:
    """The messages, one after the other, without end."""
    for first in itertools.count(0, 2 * CHUNK):
        even = np.arange(first, first + 2 * CHUNK, 2, dtype=np.uint64)
        sizes = rule_sizes(splitmix64(seed, even), large_every, largest)
        r = splitmix64(seed, even + np.uint64(1))
        starts = r & np.uint64(START_MASK)
        yield from zip(sizes.tolist(), starts.tolist(), (r >> np.uint64(32)).tolist(), strict=True)


def work(nanoseconds: int) -> None:
    """Keep this side slower than the other, by computing."""
    end = time.perf_counter_ns() + nanoseconds
    while time.perf_counter_ns() < end:
        pass


class Flow:
    """What both roles share: the rule, the counters, the throttle."""

    def __init__(self, arguments: argparse.Namespace, bus: tachyon.Bus, block: bytes) -> None:
        self.arguments = arguments
        self.bus = bus
        self.block = block
        properties = bus.properties()
        producer = arguments.role == "producer"
        self.largest = properties.max_send_size if producer else properties.max_recv_size
        self.rules = rules(arguments.seed, arguments.large_every, self.largest)
        self.random = random.Random(arguments.seed)
        self.count = 0
        self.bytes = 0
        self.checksum = 0

    def payload(self, rule: Rule) -> bytes:
        size, start, _ = rule
        return self.block[start : start + size]

    def counted(self, data: bytes) -> None:
        self.checksum = zlib.crc32(data, self.checksum)
        self.bytes += len(data)
        self.count += 1

    def stretches(self, apis: Mapping[str, Callable[[int, int], None]]) -> Iterator[None]:
        """Run an API for a stretch of messages, then the next one; yields after each.

        Mixed: the throttle is on and off in stretches, so that the ring goes from full to
        empty and back.
        """
        names = list(apis) if self.arguments.api == "mixed" else [self.arguments.api]
        while True:
            work_ns = self.arguments.work_ns
            if self.arguments.wait == "mixed" and self.random.getrandbits(1):
                work_ns = 0
            apis[self.random.choice(names)](1 << STRETCH_BITS, work_ns)
            yield


class Producer(Flow):
    """Sends the messages of the rule."""

    def __init__(self, arguments: argparse.Namespace, bus: tachyon.Bus, block: bytes) -> None:
        super().__init__(arguments, bus, block)
        self.acknowledged: memoryview | None = None
        if arguments.acknowledge:
            with open(arguments.acknowledge, "r+b") as file:
                self.acknowledged = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")

    def run(self) -> None:
        apis = {"plain": self.plain, "in-place": self.in_place, "leases": self.bytes_like}
        for _ in self.stretches(apis):
            if self.count >= self.arguments.messages:
                return

    def next_rules(self, most: int) -> Iterator[Rule]:
        return itertools.islice(self.rules, min(most, self.arguments.messages - self.count))

    def sent(self, data: bytes) -> None:
        self.counted(data)
        if self.acknowledged is not None:
            self.acknowledged[0] = self.count

    def plain(self, most: int, work_ns: int) -> None:
        for rule in self.next_rules(most):
            work(work_ns)
            data = self.payload(rule)
            self.bus.send(data, rule[2], STUCK)
            self.sent(data)

    def bytes_like(self, most: int, work_ns: int) -> None:
        kinds: tuple[Callable[[bytes], Any], ...] = (
            bytearray,
            memoryview,
            lambda data: np.frombuffer(data, np.uint8),
        )
        for number, rule in enumerate(self.next_rules(most)):
            work(work_ns)
            data = self.payload(rule)
            self.bus.send(kinds[number % 3](data), rule[2], STUCK)
            self.sent(data)

    def in_place(self, most: int, work_ns: int) -> None:
        for rule in self.next_rules(most):
            work(work_ns)
            data = self.payload(rule)
            room = min(rule[0] + (rule[1] & 255), self.largest)
            if rule[2] & 7 == 0:
                with self.bus.send_zero_copy(room, timeout=STUCK) as slot:
                    slot.data[:] = b"\xee" * room
                    slot.cancel()
            with self.bus.send_zero_copy(room, rule[2], STUCK) as slot:
                slot.data[: rule[0]] = data
                slot.size = rule[0]
            self.sent(data)


class Consumer(Flow):
    """Receives and checks them, until the bus ends."""

    def __init__(self, arguments: argparse.Namespace, bus: tachyon.Bus, block: bytes) -> None:
        super().__init__(arguments, bus, block)
        self.held: list[tuple[tachyon.Lease, Rule, int]] = []
        self.iterator_ended = False

    def run(self) -> None:
        apis = {
            "plain": self.plain,
            "iterate": self.iterate,
            "in-place": self.batch,
            "leases": self.lease,
        }
        try:
            for _ in self.stretches(apis):
                # What an iterator made of the end, recv() tells as an exception.
                if self.iterator_ended:
                    self.plain(1, 0)
        finally:
            self.release_all_held()

    def check(self, data: bytes, type_id: int, rule: Rule, number: int, when: str) -> None:
        if type_id == rule[2] and data == self.payload(rule):
            return
        expected = self.payload(rule)
        differing = (i for i, (a, b) in enumerate(zip(data, expected, strict=False)) if a != b)
        raise Wrong(
            f"message {number} {when}: {len(data)} bytes, type_id {type_id:#x}, expected "
            f"{rule[0]}, {rule[2]:#x}; first other byte: {next(differing, None)}"
        )

    def received(self, data: bytes, type_id: int) -> Rule:
        rule = next(self.rules)
        self.check(data, type_id, rule, self.count, "as received")
        self.counted(data)
        return rule

    def plain(self, most: int, work_ns: int) -> None:
        self.release_all_held()
        for _ in range(most):
            message = self.bus.recv(STUCK)
            self.received(message.data, message.type_id)
            work(work_ns)

    def iterate(self, most: int, work_ns: int) -> None:
        self.release_all_held()
        for number, message in enumerate(self.bus, 1):
            self.received(message.data, message.type_id)
            work(work_ns)
            if number == most:
                return
        self.iterator_ended = True

    def batch(self, most: int, work_ns: int) -> None:
        self.release_all_held()
        with self.bus.drain_batch(most, STUCK) as batch:
            for lease in batch:
                self.received(bytes(lease.data), lease.type_id)
                work(work_ns)

    def lease(self, most: int, work_ns: int) -> None:
        for _ in range(most):
            try:
                lease = self.bus.recv_zero_copy(STUCK)
            except tachyon.LeaseError:
                self.release_all_held()
                continue
            rule = self.received(bytes(lease.data), lease.type_id)
            self.held.append((lease, rule, self.count - 1))
            if len(self.held) == MAX_HELD:
                self.release_held(MAX_HELD // 4)
            work(work_ns)

    def release_held(self, left: int) -> None:
        """In a random order; a lease's bytes must be the same at its end as at its beginning."""
        self.random.shuffle(self.held)
        while len(self.held) > left:
            lease, rule, number = self.held.pop()
            self.check(bytes(lease.data), lease.type_id, rule, number, "at its lease's end")
            lease.release()

    def release_all_held(self) -> None:
        self.release_held(0)


def open_bus(arguments: argparse.Namespace) -> tachyon.Bus:
    spin = {"spin": 3600.0, "sleep": 0.0, "mixed": None}[arguments.wait]
    if arguments.end == "listen":
        return tachyon.Bus.listen(arguments.path, arguments.capacity, timeout=STUCK, spin=spin)
    return tachyon.Bus.connect(arguments.path, timeout=STUCK, spin=spin)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", required=True)
    parser.add_argument("--role", choices=("producer", "consumer"), required=True)
    parser.add_argument("--end", choices=("listen", "connect"), required=True)
    parser.add_argument("--messages", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--block", required=True)
    parser.add_argument("--capacity", type=int)
    parser.add_argument("--large-every", type=int, default=4096)
    parser.add_argument(
        "--api", choices=("plain", "iterate", "in-place", "leases", "mixed"), default="mixed"
    )
    parser.add_argument("--wait", choices=("spin", "sleep", "mixed"), default="mixed")
    parser.add_argument("--work-ns", type=int, default=0)
    parser.add_argument("--acknowledge")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    with open(arguments.block, "rb") as file:
        block = file.read()
    with open_bus(arguments) as bus:
        begin = time.monotonic()
        flow = (Producer if arguments.role == "producer" else Consumer)(arguments, bus, block)
        end = 0
        try:
            flow.run()
        except (tachyon.ClosedError, tachyon.PeerDeadError) as error:
            end = error.errno or 0
        except (Wrong, tachyon.TachyonError) as error:
            print(f"peer.py: message {flow.count}: {error!r}", file=sys.stderr)
            return 1
        stats = bus.stats()
        result = {
            "count": flow.count,
            "bytes": flow.bytes,
            "checksum": flow.checksum,
            "seconds": round(time.monotonic() - begin, 6),
            "end": end,
            "data_sleeps": stats.data_sleeps,
            "space_sleeps": stats.space_sleeps,
            "doorbells": stats.doorbells,
        }
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
