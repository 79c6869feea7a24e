"""A peer that speaks the protocol with nothing but sockets and mmap, and can lie at any point.

It shakes hands in either role as docs/protocol.md says, or as it is told by a Script: other
values in the fields of a hello, other descriptors, a memory that is not what it should be, an
end in the middle. Afterwards it has what a peer has: its own memory, writable; the victim's,
to be read; the two doorbell sockets.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

PAGE = os.sysconf("SC_PAGESIZE")
MAGIC = 0x0A6E6F7968636174
ENDIANNESS = 0x01020304
STREAM, RPC = 1, 2
CONNECT, OFFER, ANSWER, WELCOME = 1, 2, 3, 4
STEPS = {CONNECT: "CONNECT", OFFER: "OFFER", ANSWER: "ANSWER", WELCOME: "WELCOME"}
HELLO = struct.Struct("<QIIIIIIQQII72s")
HELLO_FIELDS = (
    *("magic", "endianness", "layout_min", "layout_max", "kind", "features", "refusal"),
    *("capacity", "reply_capacity", "pid", "step", "reason"),
)
GEOMETRY = struct.Struct("<QIIQQQ")
GEOMETRY_FIELDS = (
    *("magic", "endianness", "layout_version", "page_size", "ring_offset", "capacity"),
)
F_SEAL_FUTURE_WRITE = 0x10
SEALS = {
    "SEAL": fcntl.F_SEAL_SEAL,
    "SHRINK": fcntl.F_SEAL_SHRINK,
    "GROW": fcntl.F_SEAL_GROW,
    "FUTURE_WRITE": F_SEAL_FUTURE_WRITE,
}
# Offsets in the control page.
READ_POSITION, DATA_WAITING, STATE, REQUESTS = 0, 128, 132, 136
SPACE_WAITING, SPACE_TARGET = 256, 264
CLOSED = 2
VALID, BY_LISTENER, ODD = 1, 16, 32  # the last two on the exchange line
FOLLOWS = 16  # in a ring: the first frame after a message there
EXCHANGE = 4  # of the features
PATIENCE = 60.0  # seconds; what takes longer hangs


class Refused(Exception):
    """The victim said no, or hung up; .errno is the number in its refusal, or 0."""

    def __init__(self, number: int, reason: str = "") -> None:
        super().__init__(f"{errno.errorcode.get(number, number)}: {reason}")
        self.errno = number
        self.reason = reason


def pack_hello(step: int, /, **fields: object) -> bytes:
    values: dict[str, object] = dict.fromkeys(HELLO_FIELDS, 0)
    values.update(magic=MAGIC, endianness=ENDIANNESS, layout_min=1, layout_max=1, kind=STREAM)
    values.update(pid=os.getpid(), step=step, reason=b"")
    values.update(fields)
    return HELLO.pack(*(values[name] for name in HELLO_FIELDS))


class Half:
    """Our memory: memfd, writable mapping, sealed. Whatever is given is done differently."""

    def __init__(
        self,
        capacity: int,
        *,
        size: int | None = None,
        sparse: bool = False,
        seals: int | None = None,
        geometry: dict[str, int] | None = None,
    ) -> None:
        self.capacity = capacity
        self.fd = os.memfd_create("tachyon", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        whole = 2 * PAGE + capacity
        os.ftruncate(self.fd, whole if size is None else size)
        if not sparse and size is None:
            os.posix_fallocate(self.fd, 0, whole)
        room = min(whole, whole if size is None else size)
        self.memory = mmap.mmap(self.fd, room) if room else None
        values = dict(
            zip(GEOMETRY_FIELDS, (MAGIC, ENDIANNESS, 1, PAGE, 2 * PAGE, capacity), strict=True)
        )
        values.update(geometry or {})
        if self.memory and room >= GEOMETRY.size:
            self.memory[: GEOMETRY.size] = GEOMETRY.pack(*values.values())
            if room >= 2 * PAGE:
                self.control(STATE, 1, "<I")
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, sum(SEALS.values()) if seals is None else seals)

    def control(self, offset: int, value: int, code: str) -> None:
        assert self.memory is not None
        struct.pack_into(code, self.memory, PAGE + offset, value)

    def close(self) -> None:
        if self.memory is not None:
            self.memory.close()
        os.close(self.fd)


def make_line(
    size: int = PAGE, sparse: bool = False, seals: int = 0, offset: int = PAGE - 64
) -> int:
    """The page of the exchange line, as a listener makes it, or not quite."""
    fd = os.memfd_create("line", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if size and not sparse:
        os.posix_fallocate(fd, 0, size)
        os.pwrite(fd, struct.pack("<Q", offset)[:size], 0)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def seal_line(fd: int) -> None:
    """What a connector does with it before it answers."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, sum(SEALS.values()))


@dataclass
class Script:
    """Where to leave the truth. Empty: nowhere."""

    fields: dict[int, dict[str, object]] = field(default_factory=dict)  # step: hello fields
    half: dict[str, object] = field(default_factory=dict)  # arguments of Half
    line: dict[str, int] = field(default_factory=dict)  # arguments of make_line()
    seal: Callable[[int], None] = seal_line
    # step: what to send instead, (socket, hello, descriptors)
    send: dict[int, Callable[[socket.socket, bytes, list[int]], None]] = field(default_factory=dict)
    # What descriptors to send at this step: (the right ones) -> others
    descriptors: dict[int, Callable[[list[int]], list[int]]] = field(default_factory=dict)
    capacity: int = PAGE  # of the ring that the victim writes, where we are the listener


class Peer:
    """One end, made by connect() or listen() + accept(); close() it."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.socket: socket.socket
        self.room: socket.socket
        self.victims_room: socket.socket | None = None  # where we are the connector
        self.ours: Half
        self.theirs: mmap.mmap
        self.line: memoryview  # which both write
        self.line_fd: int
        self.line_flags = VALID  # of our stamps there
        self.position = 0
        self._rung = {DATA_WAITING: 0, SPACE_WAITING: 0}
        self._received: list[int] = []
        self._garbage: list[Callable[[], None]] = []

    # ---- the handshake ----

    def _send(self, step: int, descriptors: list[int], **fields: object) -> None:
        fields.update(self.script.fields.get(step, {}))
        hello = pack_hello(step, **fields)
        if change := self.script.descriptors.get(step):
            descriptors = change(descriptors)
        if instead := self.script.send.get(step):
            instead(self.socket, hello, descriptors)
            return
        try:
            if descriptors:
                socket.send_fds(self.socket, [hello], descriptors)
            else:
                self.socket.sendall(hello)
        except (BrokenPipeError, ConnectionResetError):
            raise Refused(0, "it hung up") from None

    def _features(self, step: int) -> int:
        """What we say there of ours: all that concerns the exchange line goes by it."""
        said = self.script.fields.get(step, {}).get("features", EXCHANGE)
        assert isinstance(said, int)
        return said

    def _receive(
        self, step: int, n_descriptors: int | None = None
    ) -> tuple[dict[str, int], list[int]]:
        data, descriptors = b"", []
        while len(data) < HELLO.size:
            try:
                part, fds, _, _ = socket.recv_fds(self.socket, HELLO.size - len(data), 4)
            except ConnectionResetError:
                part, fds = b"", []
            self._received += fds
            descriptors += fds
            if not part:
                raise Refused(0, "it hung up")
            data += part
        hello = dict(zip(HELLO_FIELDS, HELLO.unpack(data), strict=True))
        if hello["refusal"]:
            raise Refused(hello["refusal"], hello["reason"].rstrip(b"\0").decode())
        assert hello["step"] == step, hello
        if n_descriptors is None:
            n_descriptors = 2 if hello["features"] & EXCHANGE else 1
        assert len(descriptors) == n_descriptors, descriptors
        return hello, descriptors

    def connect(self, path: str) -> Peer:
        """Shake hands with a listener; Refused where it does not want us."""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self._garbage.append(self.socket.close)
        self.socket.connect(path)
        self._send(CONNECT, [], features=EXCHANGE)
        offer, descriptors = self._receive(OFFER)
        assert len(descriptors) == (2 if self._features(CONNECT) & EXCHANGE else 1)
        self._map(descriptors[0], offer["reply_capacity"])
        if len(descriptors) == 2:
            self._map_line(descriptors[1])
            self.script.seal(self.line_fd)
        self._make_half(offer["capacity"])
        self.room, other = socket.socketpair()
        self.room.settimeout(PATIENCE)
        self.victims_room = other.dup()  # what the victim rings on, which we made
        self._garbage += [self.room.close, other.close, self.victims_room.close]
        self._send(ANSWER, [self.ours.fd, other.fileno()])
        self._receive(WELCOME, 0)
        other.close()
        return self

    def accept(self, listening: socket.socket) -> Peer:
        """Shake hands with whoever connects to a socket of ours."""
        listening.settimeout(PATIENCE)
        self.socket, _ = listening.accept()
        self.socket.settimeout(PATIENCE)
        self._garbage.append(self.socket.close)
        self._receive(CONNECT, 0)
        self._make_half(PAGE)
        capacity = self.script.capacity
        memories = [self.ours.fd]
        if self._features(OFFER) & EXCHANGE:
            self.line_flags |= BY_LISTENER
            self._map_line(make_line(**self.script.line))
            self._garbage.append(lambda: os.close(self.line_fd))
            memories.append(self.line_fd)
        self._send(OFFER, memories, capacity=capacity, reply_capacity=PAGE, features=EXCHANGE)
        _, descriptors = self._receive(ANSWER, 2)
        self._map(descriptors[0], capacity)
        self._received.remove(descriptors[1])  # so that closing the socket is the end of it
        self.room = socket.socket(fileno=descriptors[1])
        self.room.settimeout(PATIENCE)
        self._garbage.append(self.room.close)
        self._send(WELCOME, [])
        return self

    def _make_half(self, capacity: int) -> None:
        arguments: dict[str, object] = {"capacity": capacity, **self.script.half}
        self.ours = Half(**arguments)  # type: ignore[arg-type]
        self._garbage.append(self.ours.close)

    def _map(self, descriptor: int, capacity: int) -> None:
        self.theirs = mmap.mmap(descriptor, 2 * PAGE + capacity, prot=mmap.PROT_READ)
        self._garbage.append(self.theirs.close)

    def _map_line(self, descriptor: int) -> None:
        self.line_fd = descriptor
        with contextlib.suppress(PermissionError, ValueError):  # as the lie wanted it
            page = mmap.mmap(descriptor, PAGE)
            self._garbage.append(page.close)
            offset: int = struct.unpack_from("<Q", page, 0)[0]
            if 64 <= offset < PAGE:
                self.line = memoryview(page)[offset : offset + 64]
                self._garbage.append(self.line.release)

    # ---- afterwards ----

    def write_frame(
        self,
        payload: bytes = b"",
        *,
        size: int | None = None,
        stamp: int | None = None,
        position: int | None = None,
        type_id: int = 0,
        advance: bool = True,
    ) -> None:
        """Put a frame at our position; stamp, size and place as they should be, or not."""
        where = self.position if position is None else position
        at = 2 * PAGE + where % self.ours.capacity
        small = len(payload) <= 48
        memory = self.ours.memory
        assert memory is not None
        begin = at + (16 if small else 64)
        memory[begin : begin + len(payload)] = payload
        struct.pack_into("<II", memory, at + 8, len(payload) if size is None else size, type_id)
        struct.pack_into("<Q", memory, at, (where | VALID) if stamp is None else stamp)
        if advance:
            self.position += 64 if small else 64 + (len(payload) + 63) // 64 * 64

    def write_line(
        self, payload: bytes = b"", *, size: int | None = None, stamp: int | None = None
    ) -> None:
        """The same over the exchange line, whoever's turn it is; it takes no place in the ring."""
        self.line[16 : 16 + len(payload)] = payload
        struct.pack_into("<II", self.line, 8, len(payload) if size is None else size, 0)
        whole = self.position | self.line_flags if stamp is None else stamp
        struct.pack_into("<Q", self.line, 0, whole & 2**64 - 1)
        self.line_flags ^= ODD

    def ring(self, count: int = 1) -> None:
        """Doorbells for data."""
        self.socket.send(b"\1" * count, socket.MSG_NOSIGNAL)

    def ring_if_asleep(self, waiting: int = DATA_WAITING) -> None:
        """The bell that the victim waits for, once for each epoch, as an honest peer does."""
        epoch = self.victims(waiting, "<I")
        if epoch not in (0, self._rung[waiting]):
            self._rung[waiting] = epoch
            (self.socket if waiting == DATA_WAITING else self.room).send(b"\1", socket.MSG_NOSIGNAL)

    def control(self, offset: int, value: int, code: str) -> None:
        self.ours.control(offset, value, code)

    def victims(self, offset: int, code: str) -> int:
        """A word of the victim's control page."""
        value: int = struct.unpack_from(code, self.theirs, PAGE + offset)[0]
        return value

    def first_message(self, size: int) -> bytes | None:
        """The victim's, of this size, wherever it wrote it; None: not yet."""
        if struct.unpack_from("<Q", self.theirs, 2 * PAGE)[0] == VALID:
            return self.theirs[2 * PAGE + 16 :][:size]
        theirs = VALID | BY_LISTENER ^ self.line_flags & BY_LISTENER
        if hasattr(self, "line") and struct.unpack_from("<Q", self.line, 0)[0] == theirs:
            return bytes(self.line[16 : 16 + size])
        return None

    def close(self) -> None:
        """Hang up without a word: a death, as far as the victim can see."""
        for throw_away in reversed(self._garbage):
            try:
                throw_away()
            except OSError:
                pass  # closed already, as the lie wanted it
        self._garbage.clear()
        while self._received:
            os.close(self._received.pop())
