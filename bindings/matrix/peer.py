"""peer.py ROLE MODE PATH COUNT BLOCK: one side of the matrix, in Python. See run-matrix."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tachyon

LARGEST = 1048448
RECORD_TYPE, FAILING_TYPE, FAILING_CODE, FAILING_TEXT = 7, 9, 42, "not today"
RECORD = np.dtype([("number", "u8"), ("random", "u8"), ("half", "f8")])
DTYPES = [np.dtype(text) for text in ("f4", "f8", "i2", "u1")]
XOR = bytes(i ^ 0x5A for i in range(256))


class Rule(NamedTuple):
    size: int
    start: int
    type_id: int
    dtype: np.dtype
    shape: tuple[int, int, int]


def mix(numbers: np.ndarray) -> np.ndarray:
    z = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def rules(count: int) -> Iterator[Rule]:
    for r in mix(np.arange(count, dtype=np.uint64)).tolist():
        size = (r >> 16) & ((1 << (r >> 10) % 13) - 1)
        yield Rule(
            LARGEST if r % 1024 == 0 else size,
            (r >> 40) & 0xFFFFF,
            (r >> 20) & 0xFFFFFFFF,
            DTYPES[r % 4],
            ((r >> 8) % 5, (r >> 16) % 7, (r >> 24) % 33),
        )


def records(first: int, count: int) -> np.ndarray:
    made = np.empty(count, RECORD)
    made["number"] = np.arange(first, first + count, dtype=np.uint64)
    made["random"] = mix(made["number"])
    made["half"] = made["number"] / 2
    return made


def elements(rule: Rule) -> np.ndarray:
    items = rule.shape[0] * rule.shape[1] * rule.shape[2]
    return ((rule.start + np.arange(items)) % 120).astype(rule.dtype).reshape(rule.shape)


def produce(mode: str, bus: tachyon.Bus, count: int, block: bytes) -> None:
    if mode == "stream":
        for i, rule in enumerate(rules(count)):
            payload = block[rule.start : rule.start + rule.size]
            if i % 2:
                bus.send(payload, rule.type_id)
            else:
                with bus.send_zero_copy(rule.size, rule.type_id) as slot:
                    slot.data[:] = payload
    elif mode == "records":
        assert bus.send_records(records(0, count), RECORD_TYPE) == count
    elif mode == "arrays":
        for rule in rules(count):
            bus.send_array(elements(rule))
    else:
        try:
            while True:
                bus.send(block[:1000])
        except tachyon.PeerDeadError:
            pass


def consume(mode: str, bus: tachyon.Bus, count: int, block: bytes) -> None:
    if mode == "stream":
        wanted = rules(count)
        received = 0
        for message, rule in zip(bus, wanted, strict=False):
            received += 1
            assert (message.size, message.type_id) == (rule.size, rule.type_id), rule
            assert message.data == block[rule.start : rule.start + rule.size], rule
        assert received == count
    elif mode == "records":
        received = 0
        while received < count:
            run = bus.recv_records(RECORD, type_id=RECORD_TYPE)
            assert (run == records(received, len(run))).all()
            received += len(run)
            del run
    elif mode == "arrays":
        for rule in rules(count):
            array = bus.recv_array()
            assert (array.dtype, array.shape) == (rule.dtype, rule.shape)
            assert (array == elements(rule)).all()
            del array
    else:
        try:
            while True:
                bus.recv()
        except tachyon.PeerDeadError:
            pass


def call(path: str, count: int, block: bytes) -> None:
    with tachyon.RpcBus.connect(path) as bus:
        for i, rule in enumerate(rules(count)):
            request = block[rule.start : rule.start + rule.size % 4096]
            if i % 97:
                assert bus.call(request, 1) == request.translate(XOR)
                continue
            try:
                bus.call(request, FAILING_TYPE)
            except tachyon.RpcError as error:
                assert (error.code, error.message) == (FAILING_CODE, FAILING_TEXT)
            else:
                raise AssertionError("it must fail")


def serve(path: str, count: int) -> None:
    served = 0
    with tachyon.RpcBus.listen(path) as bus:
        try:
            while True:
                request = bus.serve()
                served += 1
                if request.msg_type == FAILING_TYPE:
                    request.fail(FAILING_TEXT, FAILING_CODE)
                else:
                    request.reply(bytes(request.data).translate(XOR))
        except tachyon.ClosedError:
            assert served == count


def main() -> None:
    role, mode, path, number, block_path = sys.argv[1:]
    block, count = Path(block_path).read_bytes(), int(number)
    if mode == "rpc":
        call(path, count, block) if role == "producer" else serve(path, count)
    elif role == "producer":
        with tachyon.Bus.connect(path) as bus:
            produce(mode, bus, count, block)
    else:
        with tachyon.Bus.listen(path) as bus:
            consume(mode, bus, count, block)
    print("ok")


main()
