"""bench.py ROLE PATH: what `tachyon bench languages` measures, in Python. See README.md."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from time import perf_counter_ns

import numpy as np

import tachyon

DATA = bytes(32)
RECORD = np.dtype([("time", "u8"), ("id", "u8"), ("price", "f8"), ("size", "f8")])
TURN = 16384  # records of one call: a quarter of their ring
RING = 4 << 20
PAIRS = 1000

Round = Callable[[tachyon.Bus, int], "int | None"]


def ping(bus: tachyon.Bus, count: int) -> int:
    messages = iter(bus)
    begin = perf_counter_ns()
    for _ in range(count):
        bus.send(DATA)
        next(messages)
    return perf_counter_ns() - begin


def echo(bus: tachyon.Bus, count: int) -> None:
    for message in islice(bus, count):
        bus.send(message.data)


def produce(bus: tachyon.Bus, count: int) -> None:
    for _ in range(count):
        bus.send(DATA)


def consume(bus: tachyon.Bus, count: int) -> int:
    bus.recv()
    begin = perf_counter_ns()
    for _ in islice(bus, count - 1):
        pass
    return perf_counter_ns() - begin


def produce_records(bus: tachyon.Bus, count: int) -> None:
    records = np.zeros(TURN, RECORD)
    records["price"] = 0.5
    for sent in range(0, count, TURN):
        bus.send_records(records[: count - sent])


def consume_records(bus: tachyon.Bus, count: int) -> int:
    begin, total, left = 0, 0.0, count
    while left:
        run = bus.recv_records(RECORD, min(left, TURN))
        begin = begin or perf_counter_ns()
        total += float(run["price"].sum())
        left -= len(run)
        del run  # its place is given back before more is waited for
    assert total == 0.5 * count, "the prices do not add up"
    return perf_counter_ns() - begin


class Raw:
    """Both ends of a bus by ctypes, in the quickest way that it has.

    That is: the GIL is kept, there are no argtypes, and the arguments were made before.
    """

    def __init__(self, path: str) -> None:
        library = tachyon.library_path()
        waiting, kept = ctypes.CDLL(library), ctypes.PyDLL(library)
        self._send, self._recv = kept.tachyon_bus_send, kept.tachyon_bus_recv_copy
        with ThreadPoolExecutor() as pool:
            to = pool.submit(self._open, waiting.tachyon_bus_listen, path)
            self._ends = self._open(waiting.tachyon_bus_connect, path), to.result()

    @staticmethod
    def _open(function: Callable[..., int], path: str) -> ctypes.c_void_p:
        bus = ctypes.c_void_p()
        assert not function(ctypes.byref(bus), path.encode(), None, ctypes.c_int64(-1))
        return bus

    def pairs(self, count: int) -> int:
        send, recv, (start, end) = self._send, self._recv, self._ends
        room, size = ctypes.create_string_buffer(32), ctypes.c_size_t(32)
        forever, now = ctypes.c_int64(-1), ctypes.c_int64(0)
        begin = perf_counter_ns()
        for _ in range(count):
            send(start, DATA, size, 0, forever)
            if recv(end, room, size, None, now) != 32:
                raise AssertionError("it did not arrive")
        elapsed = perf_counter_ns() - begin
        self._ends = end, start
        return elapsed


def pairs(start: tachyon.Bus, end: tachyon.Bus, count: int) -> int:
    begin = perf_counter_ns()
    for _ in range(count):
        start.send(DATA)
        end.recv(timeout=0)
    return perf_counter_ns() - begin


def calls(path: str) -> Callable[[int], str]:
    with ThreadPoolExecutor() as pool:
        listener = pool.submit(tachyon.Bus.listen, path)
        ends = [tachyon.Bus.connect(path), listener.result()]
    raw = Raw(path)

    def round_of(count: int) -> str:
        binding = cheapest = 0
        for done in range(0, count, PAIRS):
            turn = min(count - done, PAIRS)
            binding += pairs(*ends, turn)
            cheapest += raw.pairs(turn)
            ends.reverse()
        return f"{binding / count:.3f} {cheapest / count:.3f}"

    return round_of


ROLES: dict[str, tuple[Callable[[str], tachyon.Bus], Round]] = {
    "ping": (tachyon.Bus.connect, ping),
    "echo": (tachyon.Bus.listen, echo),
    "produce": (tachyon.Bus.connect, produce),
    "consume": (tachyon.Bus.listen, consume),
    "records-produce": (tachyon.Bus.connect, produce_records),
    "records-consume": (lambda path: tachyon.Bus.listen(path, RING), consume_records),
}


def start(role: str, path: str) -> Callable[[int], str]:
    if role == "calls":
        return calls(path)
    opened, round_of = ROLES[role]
    bus = opened(path)

    def answer(count: int) -> str:
        elapsed = round_of(bus, count)
        return "done" if elapsed is None else str(elapsed)

    return answer


def main() -> None:
    round_of = start(*sys.argv[1:])
    print("ready", flush=True)
    for line in sys.stdin:
        print(round_of(int(line)), flush=True)


main()
