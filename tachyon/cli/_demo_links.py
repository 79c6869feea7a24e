"""The same work over a tachyon bus and over a Unix socket, for `tachyon demo`.

Each link has both halves of the three jobs: blocks and ticks are sent and
received, round trips are pinged and echoed. The socket is used as well as
Python can: no framing (its stream carries nothing but the data), blocks
received in place, and ticks by as many as have come.
"""

from __future__ import annotations

import os
import socket
import time
from array import array
from collections.abc import Callable
from typing import Protocol

import tachyon
from tachyon.cli._demo_data import TICK_SIZE

Tell = Callable[[int], None]

BLOCK_SIZE = 256 << 10
CAPACITY = 1 << 20
BATCH = 1024
# How long either end waits for the other before the demo is called off.
PATIENCE_S = 30.0

TAR_TYPE = tachyon.make_type_id(1, 1)
TICK_TYPE = tachyon.make_type_id(1, 2)
PING_TYPE = tachyon.make_type_id(1, 3)


class Link(Protocol):
    """One end of a connection; receivers go on until the other end closes it."""

    def send_blocks(self, data: bytes) -> None: ...

    def recv_blocks(self, target: memoryview, tell: Tell) -> tuple[int, int]:
        """Fill the target; return how many bytes and how many messages came."""
        ...

    def send_ticks(self, ticks: bytes) -> None: ...

    def recv_ticks(self, tell: Tell) -> tuple[list[bytes], int]:
        """Return the ticks in order, in pieces of any size, and how many ticks they are."""
        ...

    def ping(self, ticks: bytes, tell: Tell) -> array[int]: ...

    def echo(self) -> int: ...

    def close(self) -> None: ...


class BusLink:
    """Over a tachyon bus."""

    def __init__(self, bus: tachyon.Bus) -> None:
        self.bus = bus
        self.close = bus.close

    @classmethod
    def listen(cls, path: str) -> BusLink:
        return cls(tachyon.Bus.listen(path, CAPACITY, timeout=PATIENCE_S))

    @classmethod
    def connect(cls, path: str) -> BusLink:
        return cls(tachyon.Bus.connect(path, timeout=PATIENCE_S))

    def send_blocks(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(data), BLOCK_SIZE):
            self.bus.send(view[start : start + BLOCK_SIZE], TAR_TYPE)

    def recv_blocks(self, target: memoryview, tell: Tell) -> tuple[int, int]:
        received = count = 0
        try:
            while True:
                # One copy, from the ring to where the bytes shall be.
                with self.bus.recv_zero_copy() as block:
                    target[received : received + block.size] = block.data
                    received += block.size
                count += 1
                tell(received)
        except tachyon.ClosedError:
            return received, count

    def send_ticks(self, ticks: bytes) -> None:
        send = self.bus.send
        for start in range(0, len(ticks), TICK_SIZE):
            send(ticks[start : start + TICK_SIZE], TICK_TYPE)

    def recv_ticks(self, tell: Tell) -> tuple[list[bytes], int]:
        ticks = []
        for message in self.bus:
            ticks.append(message.data)
            if not len(ticks) % BATCH:
                tell(len(ticks))
        return ticks, len(ticks)

    def ping(self, ticks: bytes, tell: Tell) -> array[int]:
        send, recv, clock = self.bus.send, self.bus.recv, time.perf_counter_ns
        samples = array("Q")
        for start in range(0, len(ticks), TICK_SIZE):
            tick = ticks[start : start + TICK_SIZE]
            began = clock()
            send(tick, PING_TYPE)
            answer = recv()
            samples.append(clock() - began)
            if answer.data != tick:
                raise ValueError("an echo came back changed")
            tell(len(samples))
        return samples

    def echo(self) -> int:
        send = self.bus.send
        count = 0
        for message in self.bus:
            send(message.data, message.type_id)
            count += 1
        return count


class SocketLink:
    """Over a Unix stream socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.close = connection.close

    @classmethod
    def listen(cls, path: str) -> SocketLink:
        with socket.socket(socket.AF_UNIX) as listener:
            # Under its final name it is ready, so that a connector need not try twice.
            listener.bind(f"{path}~")
            listener.listen(1)
            listener.settimeout(PATIENCE_S)
            os.rename(f"{path}~", path)
            connection, _ = listener.accept()
        connection.settimeout(None)
        return cls(connection)

    @classmethod
    def connect(cls, path: str) -> SocketLink:
        deadline = time.monotonic() + PATIENCE_S
        while not os.path.exists(path):
            if time.monotonic() > deadline:
                raise TimeoutError("the consumer did not listen in time")
            time.sleep(0.001)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        return cls(connection)

    def send_blocks(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(data), BLOCK_SIZE):
            self.socket.sendall(view[start : start + BLOCK_SIZE])

    def recv_blocks(self, target: memoryview, tell: Tell) -> tuple[int, int]:
        received = count = 0
        while size := self._fill(target[received : received + BLOCK_SIZE]):
            received += size
            count += 1
            tell(received)
        return received, count

    def _fill(self, room: memoryview) -> int:
        return self.socket.recv_into(room, len(room), socket.MSG_WAITALL)

    def send_ticks(self, ticks: bytes) -> None:
        send = self.socket.sendall
        for start in range(0, len(ticks), TICK_SIZE):
            send(ticks[start : start + TICK_SIZE])

    def recv_ticks(self, tell: Tell) -> tuple[list[bytes], int]:
        pieces = []
        count = 0
        carried = b""
        while chunk := self.socket.recv(BATCH * TICK_SIZE):
            data = carried + chunk
            whole = len(data) // TICK_SIZE * TICK_SIZE
            ticks = [data[start : start + TICK_SIZE] for start in range(0, whole, TICK_SIZE)]
            carried = data[whole:]
            pieces.append(b"".join(ticks))
            count += len(ticks)
            tell(count)
        return [*pieces, carried], count

    def ping(self, ticks: bytes, tell: Tell) -> array[int]:
        send, recv, clock = self.socket.sendall, self.socket.recv, time.perf_counter_ns
        samples = array("Q")
        for start in range(0, len(ticks), TICK_SIZE):
            tick = ticks[start : start + TICK_SIZE]
            began = clock()
            send(tick)
            answer = recv(TICK_SIZE)
            samples.append(clock() - began)
            if answer != tick:
                raise ValueError("an echo came back changed")
            tell(len(samples))
        return samples

    def echo(self) -> int:
        send, recv = self.socket.sendall, self.socket.recv
        count = 0
        while data := recv(TICK_SIZE):
            send(data)
            count += 1
        return count


LINKS: dict[str, type[BusLink | SocketLink]] = {"bus": BusLink, "socket": SocketLink}
