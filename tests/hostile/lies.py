"""The lies of the handshake: every field of every hello, every descriptor, every memory, the end
at every step. flow_lies.py has those that come after it.

A lie is told to a listener (by a connector) or to a connector (by a listener). `expected` is
how the victim must take it: 0, it is none of its business, and messages flow; else the errno
that connect() fails with, or with which the listener refuses; the listener then serves the
next, honest one. 0 with `silent` is a listener that only hangs up, as nobody is there to tell.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hostile import peer
from hostile.peer import ANSWER, CONNECT, OFFER, PAGE, STEPS, WELCOME, Peer, Script

LISTENER, CONNECTOR = "listener", "connector"
SOON_MS = 300  # of introductions that are to end by their deadline
WAIT_MS = 20  # of waits that are to do so


@dataclass
class Lie:
    """One lie, and how it must be taken."""

    name: str
    victim: str
    expected: int | tuple[int, ...]  # of several: whoever is faster decides
    script: Script = field(default_factory=Script)
    silent: bool = False  # the listener says nothing, and hangs up
    handshake_ms: int = 60000  # of the victim
    # After an honest handshake: what the victim does, what the peer does, and what must come of it.
    action: str = "echo"
    act: Callable[[Peer], None] | None = None
    flow_ms: int = 60000
    messages: int | None = None  # that the victim took or sent; None: any number
    apart: bool = False  # the peer is a process of its own, which can die

    def taken_as(self, number: int) -> bool:
        return (
            number in self.expected if isinstance(self.expected, tuple) else number == self.expected
        )


def fields() -> Iterator[Lie]:
    """Every field of every hello. To a connector 1 MiB is the most that it maps."""
    magic, one, wrong_kind = errno.EPROTO, errno.EPROTONOSUPPORT, errno.EPROTONOSUPPORT
    common: list[tuple[str, int, int]] = [
        *(
            ("magic", v, magic)
            for v in (0, 1, peer.MAGIC ^ 1, peer.MAGIC << 8 & 2**64 - 1, 2**64 - 1)
        ),
        *(("endianness", v, magic) for v in (0, 0x04030201, 0x01020305, 2**32 - 1)),
        *(("layout_min", v, one) for v in (2, 3, 2**31, 2**32 - 1)),
        *(("layout_max", v, one) for v in (0,)),
        ("layout_min", 0, 0),
        *(("layout_max", v, 0) for v in (2, 2**31, 2**32 - 1)),
        *(("kind", v, wrong_kind) for v in (0, peer.RPC, 3, 2**31, 2**32 - 1)),
        *(("features", v, one) for v in (2, 3, 2**32 - 1)),
        *(("features", v, 0) for v in (0, 1, 4, 0x80000000)),
        *(("pid", v, 0) for v in (0, 1, 2**31, 2**32 - 1)),
    ]
    for step in (CONNECT, OFFER, ANSWER, WELCOME):
        victim = LISTENER if step in (CONNECT, ANSWER) else CONNECTOR
        for name, value, expected in common:
            yield Lie(
                f"{STEPS[step]}.{name} = {value:#x}", victim, expected, said(step, name, value)
            )
        for value in {0, 1, 2, 3, 4, 5, 2**32 - 1} - {step}:
            yield Lie(
                f"{STEPS[step]}.step = {value}", victim, errno.EPROTO, said(step, "step", value)
            )
        for value in (errno.EPERM, errno.EPROTO, 0x7FFFFFFF, 2**32 - 1):
            refused = errno.ECONNREFUSED
            yield Lie(
                f"{STEPS[step]}.refusal = {value}", victim, refused, said(step, "refusal", value)
            )
        for reason in (b"x" * 72, b"\1\2%s%n" * 10, b"\xff" * 72):
            script = said(step, "reason", reason)
            yield Lie(f"{STEPS[step]}.reason = {reason[:6]!r}...", victim, 0, script)
            script = Script({step: {"reason": reason, "refusal": errno.EACCES}})
            yield Lie(
                f"{STEPS[step]} refuses with {reason[:6]!r}...", victim, errno.ECONNREFUSED, script
            )


def said(step: int, name: str, value: object) -> Script:
    return Script({step: {name: value}})


def capacities() -> Iterator[Lie]:
    """What a listener offers: the way to it, and the way back, which must be its half's."""
    for name in ("capacity", "reply_capacity"):
        for value in (0, 1, 64, PAGE - 1, PAGE + 1, 3 * PAGE, 2**32 - 1, 2**63 + 1, 2**64 - 1):
            yield Lie(
                f"OFFER.{name} = {value:#x}", CONNECTOR, errno.EPROTO, said(OFFER, name, value)
            )
        for value in (1 << 21, 1 << 32, 1 << 44, 1 << 62, 1 << 63):
            yield Lie(
                f"OFFER.{name} = {value:#x}", CONNECTOR, errno.EFBIG, said(OFFER, name, value)
            )
    for value in (2 * PAGE, 1 << 20):
        yield Lie(
            f"OFFER.reply_capacity = {value:#x}, and the half has a page",
            CONNECTOR,
            errno.EPROTO,
            said(OFFER, "reply_capacity", value),
        )
    for step in (CONNECT, ANSWER, WELCOME):
        victim = CONNECTOR if step == WELCOME else LISTENER
        for name in ("capacity", "reply_capacity"):
            for value in (1, 1 << 63, 2**64 - 1):
                lie = said(step, name, value)
                yield Lie(f"{STEPS[step]}.{name} = {value:#x}, which nobody asks", victim, 0, lie)


# ---- the bytes of a hello -------------------------------------------------


def by_bytes(conversation: socket.socket, hello: bytes, descriptors: list[int]) -> None:
    for i in range(len(hello)):
        if i == 0 and descriptors:
            socket.send_fds(conversation, [hello[:1]], descriptors)
        else:
            conversation.send(hello[i : i + 1], socket.MSG_NOSIGNAL)


def cut(length: int, then: str) -> Callable[[socket.socket, bytes, list[int]], None]:
    def send(conversation: socket.socket, hello: bytes, descriptors: list[int]) -> None:
        if length and descriptors:
            socket.send_fds(conversation, [hello[:length]], descriptors)
        elif length:
            conversation.sendall(hello[:length])
        if then == "close":
            conversation.close()
            raise peer.Refused(0, "closed")
        if then == "shutdown":
            conversation.shutdown(socket.SHUT_WR)

    return send


def noise(conversation: socket.socket, hello: bytes, descriptors: list[int]) -> None:
    conversation.sendall(os.urandom(len(hello)))


def out_of_band(conversation: socket.socket, hello: bytes, descriptors: list[int]) -> None:
    try:
        conversation.send(b"!", socket.MSG_OOB)
    except OSError:
        pass  # not in this kernel
    if descriptors:
        socket.send_fds(conversation, [hello], descriptors)
    else:
        conversation.sendall(hello)


def framing() -> Iterator[Lie]:
    for step in (CONNECT, OFFER, ANSWER, WELCOME):
        victim = LISTENER if step in (CONNECT, ANSWER) else CONNECTOR
        name = STEPS[step]
        hung_up = errno.ECONNREFUSED if victim == CONNECTOR else errno.ECONNRESET
        yield Lie(f"{name} in single bytes", victim, 0, Script(send={step: by_bytes}))
        yield Lie(f"{name} is noise", victim, errno.EPROTO, Script(send={step: noise}))
        for length in (0, 1, 16, 127, 128):
            if step in (ANSWER, WELCOME) and length == 128:
                continue  # it is whole, and may be a bus already: see flow_lies.py
            script = Script(send={step: cut(length, "close")})
            yield Lie(
                f"{name}: {length} bytes, then closed", victim, hung_up, script, victim == LISTENER
            )
        for length in (0, 1, 127):
            script = Script(send={step: cut(length, "silence")})
            yield Lie(
                f"{name}: {length} bytes, then silence",
                victim,
                errno.ETIMEDOUT,
                script,
                handshake_ms=SOON_MS,
            )
            script = Script(send={step: cut(length, "shutdown")})
            yield Lie(f"{name}: {length} bytes, then half closed", victim, hung_up, script)
        yield Lie(
            f"{name} after a byte out of band",
            victim,
            0,  # which the kernel leaves out
            Script(send={step: out_of_band}),
        )


# ---- descriptors ----------------------------------------------------------


def surplus(count: int) -> Callable[[list[int]], list[int]]:
    return lambda right: [*right, *[right[0] if right else 0] * count]


def opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC)


def directory() -> int:
    return opened("/tmp", os.O_RDONLY)


def a_file() -> int:
    return opened("/etc/passwd", os.O_RDONLY)


def tmpfs_file() -> int:
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else "/tmp"
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(3 * PAGE)
        return os.dup(file.fileno())


def pipe_end() -> int:
    read, write = os.pipe()
    os.close(write)
    return read


def full_pipe() -> int:
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, bytes(65536))
    except BlockingIOError:
        pass
    os.close(read)
    return write


def unix_socket(kind: int) -> Callable[[], int]:
    def make() -> int:
        ours, other = socket.socketpair(socket.AF_UNIX, kind)
        other.close()
        return ours.detach()

    return make


def inet_socket(kind: int) -> Callable[[], int]:
    return lambda: socket.socket(socket.AF_INET, kind).detach()


def listening_socket() -> int:
    server = socket.socket(socket.AF_UNIX)
    server.bind("\0hostile-" + os.urandom(8).hex())
    server.listen()
    return server.detach()


def epoll() -> int:
    import select

    poller = select.epoll()
    return os.dup(poller.fileno())


def eventfd() -> int:
    import ctypes

    return ctypes.CDLL(None).eventfd(0, 0)


def another_processes_socket() -> int:
    """A Unix stream socket whose SO_PEERCRED names a process that is not the peer."""
    code = (
        "import socket; s = socket.socket(fileno=0); a, b = socket.socketpair(); "
        "socket.send_fds(s, [b'x'], [a.fileno()])"
    )
    ours, theirs = socket.socketpair()
    subprocess.run([sys.executable, "-c", code], stdin=theirs, check=True)
    _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    return descriptors[0]


FOREIGN: dict[str, Callable[[], int]] = {
    "a pipe": pipe_end,
    "a full pipe": full_pipe,
    "a plain file": a_file,
    "a file on tmpfs": tmpfs_file,
    "a folder": directory,
    "/dev/null": lambda: opened("/dev/null", os.O_RDWR),
    "/dev/zero": lambda: opened("/dev/zero", os.O_RDWR),
    "/proc/self/mem": lambda: opened("/proc/self/mem", os.O_RDWR),
    "an O_PATH descriptor": lambda: opened("/tmp", os.O_PATH),
    "a socket": unix_socket(socket.SOCK_STREAM),
    "an epoll": epoll,
    "an eventfd": eventfd,
}
NO_DOORBELL: dict[str, Callable[[], int]] = {
    **{name: make for name, make in FOREIGN.items() if name != "a socket"},
    "a datagram socket": unix_socket(socket.SOCK_DGRAM),
    "a seqpacket socket": unix_socket(socket.SOCK_SEQPACKET),
    "a TCP socket": inet_socket(socket.SOCK_STREAM),
    "a UDP socket": inet_socket(socket.SOCK_DGRAM),
    "another process's socket": another_processes_socket,
}


def instead(place: int, make: Callable[[], int]) -> Callable[[list[int]], list[int]]:
    """The descriptor at this place is another one; it is closed here when it was sent."""

    def change(right: list[int]) -> list[int]:
        changed = list(right)
        os.dup2(fd := make(), right[place], inheritable=False)
        os.close(fd)
        return changed

    return change


def descriptors() -> Iterator[Lie]:
    for step, right in ((CONNECT, 0), (OFFER, 2), (ANSWER, 2), (WELCOME, 0)):
        victim = LISTENER if step in (CONNECT, ANSWER) else CONNECTOR
        for count in (1, 2, 3, 20, 200):
            script = Script(descriptors={step: surplus(count)})
            name = f"{STEPS[step]} with {right + count} descriptors instead of {right}"
            yield Lie(name, victim, errno.EPROTO, script)
        for count in range(right):
            script = Script(descriptors={step: lambda fds, count=count: fds[:count]})  # type: ignore[misc]
            name = f"{STEPS[step]} with {count} descriptors instead of {right}"
            yield Lie(name, victim, errno.EPROTO, script)
    for step in (OFFER, ANSWER):
        victim = LISTENER if step == ANSWER else CONNECTOR
        for name, make in FOREIGN.items():
            script = Script(descriptors={step: instead(0, make)})
            yield Lie(f"{STEPS[step]}: the memory is {name}", victim, errno.EPROTO, script)
    for name, make in FOREIGN.items():
        script = Script(descriptors={OFFER: instead(1, make)})
        yield Lie(f"OFFER: the exchange line is {name}", CONNECTOR, errno.EPROTO, script)
    script = Script(descriptors={OFFER: lambda fds: fds[::-1]})
    yield Lie("OFFER: memory and exchange line swapped", CONNECTOR, errno.EPROTO, script)
    script = Script(descriptors={OFFER: lambda fds: [fds[0], fds[0]]})
    yield Lie("OFFER: the exchange line is the memory", CONNECTOR, errno.EPROTO, script)
    for features, count in ((0, 2), (peer.EXCHANGE, 1)):
        script = said(OFFER, "features", features)
        script.descriptors[OFFER] = lambda fds, count=count: [*fds, *fds][:count]  # type: ignore[misc]
        name = f"OFFER with features {features} and {count} descriptors"
        yield Lie(name, CONNECTOR, errno.EPROTO, script)
    for name, make in NO_DOORBELL.items():
        script = Script(descriptors={ANSWER: instead(1, make)})
        yield Lie(f"ANSWER: the room doorbell is {name}", LISTENER, errno.EPROTO, script)
    script = Script(descriptors={ANSWER: lambda fds: fds[::-1]})
    yield Lie("ANSWER: memory and doorbell swapped", LISTENER, errno.EPROTO, script)
    script = Script(descriptors={ANSWER: instead(1, listening_socket)})
    # Its own doorbell, in vain: a bus without one for room.
    yield Lie("ANSWER: the room doorbell is a listening socket", LISTENER, 0, script)


def memories() -> Iterator[Lie]:
    sealed = sum(peer.SEALS.values())
    for step in (OFFER, ANSWER):
        victim = LISTENER if step == ANSWER else CONNECTOR

        def lie(name: str, expected: int = errno.EPROTO, **half: object) -> Lie:
            return Lie(f"{STEPS[step]}: memory {name}", victim, expected, Script(half=half))  # noqa: B023

        for name, seal in peer.SEALS.items():
            yield lie(f"without F_SEAL_{name}", seals=sealed & ~seal)
        yield lie("without a seal", seals=0)
        for size in (0, 1, 39, 40, PAGE, 2 * PAGE, 3 * PAGE - 1, 3 * PAGE + 1, 4 * PAGE, 1 << 40):
            yield lie(f"of {size} bytes", size=size)
        yield lie("with holes", sparse=True)
        for name, values in {
            "magic": (0, peer.MAGIC ^ 1, 2**64 - 1),
            "endianness": (0, 0x04030201),
            "layout_version": (0, 2, 2**32 - 1),
            "page_size": (0, 1, 2 * PAGE, 2**63, 2**64 - 1),
            "ring_offset": (0, 1, PAGE, 3 * PAGE, 1 << 21, 2**63, 2**64 - PAGE),
            "capacity": (0, 1, 2 * PAGE, 2**63, 2**64 - 1),
        }.items():
            for value in values:
                yield lie(f"with geometry.{name} = {value:#x}", geometry={name: value})


# ---- the page of the exchange line ----------------------------------------


def with_seals(seals: int) -> Callable[[int], None]:
    return lambda fd: void(fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals))


def resized(size: int) -> Callable[[int], None]:
    def change(fd: int) -> None:
        os.ftruncate(fd, size)
        peer.seal_line(fd)

    return change


def emptied(fd: int) -> None:
    """Its size stays, its page goes."""
    os.ftruncate(fd, 0)
    os.ftruncate(fd, PAGE)
    peer.seal_line(fd)


def void(_: object) -> None:
    return None


def lines() -> Iterator[Lie]:
    sealed = sum(peer.SEALS.values())
    for name, made, expected in (
        ("that cannot be resized", {"seals": fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW}, 0),
        ("that lets nobody seal it", {"seals": fcntl.F_SEAL_SEAL}, errno.EPROTO),
        ("sealed as if trusted", {"seals": sealed & ~peer.F_SEAL_FUTURE_WRITE}, errno.EPROTO),
        ("sealed too early", {"seals": sealed}, errno.EPROTO),
        ("with holes", {"sparse": 1}, errno.EPROTO),
        *((f"of {n} bytes", {"size": n}, errno.EPROTO) for n in (0, 1, 64, PAGE - 1, PAGE + 1)),
        ("of two pages", {"size": 2 * PAGE}, errno.EPROTO),
        ("of a terabyte", {"size": 1 << 40, "sparse": 1}, errno.EPROTO),
        *((f"at {n:#x}", {"offset": n}, 0) for n in (64, PAGE // 2, PAGE - 64)),
        *(
            (f"at {n:#x}", {"offset": n}, errno.EPROTO)
            for n in (0, 1, 8, 63, 65, 96, PAGE - 63, PAGE - 1, PAGE, PAGE + 64)
        ),
        *((f"at {n:#x}", {"offset": n}, errno.EPROTO) for n in (2**32 + 64, 2**63, 2**64 - 64)),
    ):
        yield Lie(f"OFFER: an exchange line {name}", CONNECTOR, expected, Script(line=made))
    for name, seal, expected in (
        ("not sealed", void, errno.EPROTO),
        *(
            (f"sealed without F_SEAL_{name}", with_seals(sealed & ~seal), errno.EPROTO)
            for name, seal in peer.SEALS.items()
        ),
        ("sealed against all writing to come, and more", with_seals(sealed), 0),
        *((f"of {n} bytes, sealed", resized(n), errno.EPROTO) for n in (0, 64, 2 * PAGE)),
        ("emptied, and sealed", emptied, errno.EPROTO),
    ):
        yield Lie(f"ANSWER: the exchange line {name}", LISTENER, expected, Script(seal=seal))
    yield Lie("no exchange line is asked for", LISTENER, 0, said(CONNECT, "features", 0))
    yield Lie("no exchange line is offered", CONNECTOR, 0, said(OFFER, "features", 0))


def handshake_lies() -> list[Lie]:
    return [*fields(), *capacities(), *framing(), *descriptors(), *memories(), *lines()]
