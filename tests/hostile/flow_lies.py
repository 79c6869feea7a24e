"""The lies after an honest handshake: frames, positions and words in shared memory, doorbells,
and what a process can do with its life. Each is told in both roles, to a victim that receives
or sends in each of its ways.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

from hostile import peer
from hostile.lies import CONNECTOR, LISTENER, WAIT_MS, Lie
from hostile.peer import PAGE, Peer, Script

RECEIVING = ("recv", "batch", "records")
SENDING = ("send", "place")
DEAD, CLOSED, LATE, BROKEN = errno.EOWNERDEAD, errno.EPIPE, errno.ETIMEDOUT, errno.EPROTO
Act = Callable[[Peer], None]
HONEST = b"x" * 32


def until(fact: Callable[[], object]) -> None:
    give_up = time.monotonic() + peer.PATIENCE
    while not fact():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.0002)


def told(
    name: str,
    expected: int | tuple[int, ...],
    act: Act,
    actions: tuple[str, ...] = RECEIVING,
    *,
    victims: tuple[str, ...] = (LISTENER, CONNECTOR),
    messages: int | None = None,
    apart: bool = False,
    script: Script | None = None,
) -> Iterator[Lie]:
    may_wait = expected == LATE or (isinstance(expected, tuple) and LATE in expected)
    for victim in victims:
        for action in actions:
            yield Lie(
                f"{name}, to one that does {action}",
                victim,
                expected,
                script or Script(),
                action=action,
                act=act,
                messages=messages,
                apart=apart,
                flow_ms=WAIT_MS if may_wait else 60000,
            )


# ---- frames ---------------------------------------------------------------


def frame(**how: int) -> Act:
    """One honest message, then a frame that is not."""

    def act(end: Peer) -> None:
        until(lambda: end.victims(peer.DATA_WAITING, "<I"))
        end.write_frame(HONEST, advance=True)
        arguments = {name: value for name, value in how.items() if name != "stamp"}
        if "stamp" in how:
            arguments["stamp"] = (end.position + how["stamp"]) & 2**64 - 1
        end.write_frame(HONEST, **arguments)  # type: ignore[arg-type]
        end.ring()

    return act


def changing_frame(end: Peer) -> None:
    """The size of a frame goes to and fro between any two loads of it."""
    stop = threading.Event()
    memory = end.ours.memory
    assert memory is not None
    places = [2 * PAGE + line * 64 + 8 for line in range(60)]

    def flip() -> None:
        while not stop.is_set():
            for size in (2**32 - 1, PAGE, 32, 1):
                for place in places:
                    struct.pack_into("<I", memory, place, size)

    thread = threading.Thread(target=flip)
    thread.start()
    for _ in range(60):
        end.write_frame(HONEST)
    until(lambda: end.victims(peer.READ_POSITION, "<Q") or hung_up(end))
    stop.set()
    thread.join()


def hung_up(end: Peer) -> bool:
    import select

    poller = select.poll()
    poller.register(end.socket, select.POLLHUP)
    return bool(poller.poll(0))


def endless(end: Peer) -> None:
    """Round after round, without a look at what was read."""
    for _ in range(20000):
        end.write_frame(HONEST)
        if end.position % 4096 == 0 and hung_up(end):
            return
    end.socket.close()


def frames() -> Iterator[Lie]:
    for bit in (2, 4, 8, 32, 62):  # 16 is one of a message that follows, see lines()
        act = frame(stamp=peer.VALID | bit)
        yield from told(f"a stamp with flags {bit}", BROKEN, act, ("recv", "batch"), messages=1)
    for size in (PAGE - 64, PAGE, PAGE + 1, 2 * PAGE, 2**31, 2**32 - 65, 2**32 - 1):
        yield from told(
            f"a frame of {size} bytes", BROKEN, frame(size=size), ("recv", "batch"), messages=1
        )
        yield from told(
            f"a frame of {size} bytes",
            (BROKEN, errno.EMSGSIZE),
            frame(size=size),
            ("records",),
            messages=1,
        )
    for ahead in (64, 128, PAGE, -64, -PAGE, 2**32, 2**63):
        act = frame(stamp=peer.VALID + ahead)
        yield from told(f"a stamp {ahead} bytes ahead", LATE, act, messages=1)
    for stamp in (0, 2, 62):
        yield from told(
            f"a stamp with flags {stamp}, not valid", LATE, frame(stamp=stamp), messages=1
        )
    yield from told(
        "sizes that change all the while", (BROKEN, errno.EMSGSIZE, LATE, DEAD), changing_frame
    )
    yield from told("frames without end", (BROKEN, errno.EMSGSIZE, DEAD, 0), endless)


# ---- the exchange line ------------------------------------------------------


def on_the_line(**how: int) -> Act:
    """An honest message by the ring, then one over the line that is not."""

    def act(end: Peer) -> None:
        until(lambda: end.victims(peer.DATA_WAITING, "<I"))
        end.write_frame(HONEST)
        arguments = {name: value for name, value in how.items() if name != "stamp"}
        if "stamp" in how:
            arguments["stamp"] = end.position + how["stamp"]
        end.write_line(HONEST, **arguments)
        end.ring()

    return act


def until_asleep(end: Peer) -> None:
    """It has received all that there was, and waits for more."""
    last = end.victims(peer.DATA_WAITING, "<I")
    end.ring_if_asleep()
    until(lambda: end.victims(peer.DATA_WAITING, "<I") not in (0, last))


def twice(position: int) -> Act:
    """Over the line, and again, without an answer that would have given the turn back."""

    def act(end: Peer) -> None:
        until(lambda: end.victims(peer.DATA_WAITING, "<I"))
        end.write_line(HONEST)
        until_asleep(end)
        end.write_line(HONEST, stamp=end.position + position | end.line_flags)
        end.ring_if_asleep()

    return act


def before_a_frame(flags: int) -> Act:
    """On the line, and then in the ring, with these flags."""

    def act(end: Peer) -> None:
        until(lambda: end.victims(peer.DATA_WAITING, "<I"))
        end.write_line(HONEST)
        end.write_frame(HONEST, stamp=end.position | peer.VALID | flags)
        end.ring()

    return act


def marked(end: Peer) -> None:
    """As if something were on the line."""
    until(lambda: end.victims(peer.DATA_WAITING, "<I"))
    for _ in range(10):
        end.write_frame(HONEST, stamp=end.position | peer.VALID | peer.FOLLOWS)
    end.ring()


def out_of_turn(end: Peer) -> None:
    """One after the other, over what the victim may be reading, or has not read."""
    for i in range(20000):
        end.write_line(HONEST)
        if i % 100 == 0:
            try:
                end.ring_if_asleep()
            except OSError:
                return


def noise_on_the_line(end: Peer) -> None:
    """Any bytes at all times, most of them with a stamp that the victim waits for."""
    for i in range(3000):
        position = end.victims(peer.READ_POSITION, "<Q")
        end.line[8:64] = os.urandom(56)
        if i % 4:
            struct.pack_into("<I", end.line, 8, i % 49)
        for flags in (0, peer.BY_LISTENER, peer.ODD, peer.ODD | peer.BY_LISTENER):
            struct.pack_into("<Q", end.line, 0, position | end.line_flags ^ flags)
        struct.pack_into("<Q", end.line, 0, position | end.line_flags)
        end.line_flags ^= peer.ODD
        if i % 3 == 0 and end.position == position:
            end.write_frame(HONEST, stamp=position | peer.VALID | i % 2 * peer.FOLLOWS)
        if i % 50 == 0:
            try:
                end.ring_if_asleep()
            except OSError:
                return


def taking_the_page_away(end: Peer) -> None:
    """Which the seals do not allow: the victim would take SIGBUS."""
    libc = ctypes.CDLL(None, use_errno=True)
    page = ctypes.c_long(PAGE)
    assert libc.fallocate(end.line_fd, 3, ctypes.c_long(0), page) < 0, "there is a hole"
    assert ctypes.get_errno() == errno.EPERM
    with contextlib.suppress(PermissionError):
        os.ftruncate(end.line_fd, 0)
        raise AssertionError("it has shrunk")


def lines() -> Iterator[Lie]:
    for size in (49, 64, PAGE, 2**31, 2**32 - 1):
        act = on_the_line(size=size)
        yield from told(f"{size} bytes on the line", BROKEN, act, messages=1)
    for flags in (0, 2, 16, 32, *(peer.VALID | flag for flag in (2, 4, 8, peer.ODD, 62))):
        act = on_the_line(stamp=flags)
        yield from told(f"a stamp with flags {flags} on the line", LATE, act, messages=1)
    act = on_the_line(stamp=peer.VALID)  # each in the name of the other
    yield from told(
        "a stamp of a connector on the line", LATE, act, victims=(CONNECTOR,), messages=1
    )
    act = on_the_line(stamp=peer.VALID | peer.BY_LISTENER)
    yield from told("a stamp of a listener on the line", LATE, act, victims=(LISTENER,), messages=1)
    for ahead in (64, -64, PAGE, -PAGE, 2**32, 2**63):
        for flags in (peer.VALID, peer.VALID | peer.BY_LISTENER):
            act = on_the_line(stamp=ahead + flags)
            yield from told(f"a stamp {ahead} + {flags} on the line", LATE, act, messages=1)
    # To a listener, whose turn it is not; a connector that waits for a message has it.
    one = (LISTENER,)
    yield from told("two messages on the line in a row", BROKEN, twice(0), victims=one, messages=1)
    yield from told("another on the line, later", LATE, twice(64), victims=one, messages=1)
    act = before_a_frame(peer.FOLLOWS)
    yield from told("a message on the line, and one marked", LATE, act, victims=one, messages=2)
    yield from told(
        "a message on the line, and one that is not", LATE, before_a_frame(0), victims=one
    )
    yield from told(
        "the first message on the line",
        BROKEN,
        act,
        RECEIVING[:2],
        victims=(CONNECTOR,),
        messages=0,
    )
    yield from told("marked, and nothing on the line", LATE, marked, messages=10)
    for victim, step in ((LISTENER, peer.CONNECT), (CONNECTOR, peer.OFFER)):
        yield from told(
            "marked, and no line",
            BROKEN,
            marked,
            victims=(victim,),
            messages=0,
            script=Script({step: {"features": 0}}),
        )
    # EAGAIN: a message that was there when the wait for it ended, and was taken back.
    back = (BROKEN, LATE, errno.EAGAIN)
    yield from told("messages on the line out of turn", back, out_of_turn)
    anything = (*back, errno.EMSGSIZE)
    yield from told(
        "noise on the line", anything, noise_on_the_line, (*RECEIVING, *SENDING, "echo")
    )
    yield from told("taking the page away", LATE, taking_the_page_away, (*RECEIVING, *SENDING))


# ---- words ----------------------------------------------------------------


def word(offset: int, value: int, code: str) -> Act:
    return lambda end: end.control(offset, value, code)


def position(value: int) -> Act:
    """A forged read_position; whoever sleeps for room already has to be told to look."""

    def act(end: Peer) -> None:
        end.control(peer.READ_POSITION, value, "<Q")
        until(lambda: end.victims(peer.SPACE_WAITING, "<I") or hung_up(end))
        wake_for_room(end)

    return act


def wake_for_room(end: Peer) -> None:
    try:
        end.room.send(b"\1", socket.MSG_NOSIGNAL)
    except BrokenPipeError:
        pass  # it has hung up


def position_goes_back(end: Peer) -> None:
    until(lambda: end.victims(peer.SPACE_WAITING, "<I"))
    end.control(peer.READ_POSITION, 2048, "<Q")
    end.room.send(b"\1")
    until(lambda: end.victims(peer.SPACE_TARGET, "<Q") > 2048 - 64)
    end.control(peer.READ_POSITION, 1024, "<Q")
    until(lambda: end.victims(peer.SPACE_WAITING, "<I") or hung_up(end))
    wake_for_room(end)


def words() -> Iterator[Lie]:
    for value in (1, 63, 65, PAGE, PAGE + 64, 1 << 32, 1 << 63, 2**64 - 64, 2**64 - 1):
        yield from told(f"read_position = {value:#x}", BROKEN, position(value), SENDING)
    yield from told("read_position goes back", BROKEN, position_goes_back, SENDING)
    for value in (0, 1, 3, 2**31, 2**32 - 1):
        act = word(peer.STATE, value, "<I")
        yield from told(f"state = {value:#x}", LATE, act, ("recv", "send"))
    yield from told(
        "state = closed, without a word", CLOSED, closed_without_a_word, ("recv", "send")
    )
    for value in (1, 2, 2**31, 2**32 - 1):
        act = word(peer.REQUESTS, value, "<I")
        yield from told(f"requests = {value:#x}", LATE, act, ("recv", "send"))
    for name, offset in (
        ("data_waiting", peer.DATA_WAITING),
        ("space_waiting", peer.SPACE_WAITING),
    ):
        for value in (1, 2, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1):
            act = word(offset, value, "<I")
            yield from told(f"{name} = {value:#x}", LATE, act, ("recv", "send"))
    for value in (1, PAGE, 2**63 - 1, 2**63, 2**64 - 1):
        act = word(peer.SPACE_TARGET, value, "<Q")
        yield from told(f"space_target = {value:#x}", LATE, act, ("recv", "send"))


def closed_without_a_word(end: Peer) -> None:
    """To one that sleeps: it needs a bell to look."""
    until(lambda: end.victims(peer.DATA_WAITING, "<I") or end.victims(peer.SPACE_WAITING, "<I"))
    end.control(peer.STATE, peer.CLOSED, "<I")
    if end.victims(peer.DATA_WAITING, "<I"):
        end.ring()
    else:
        end.room.send(b"\1")


# ---- doorbells ------------------------------------------------------------


def asleep(end: Peer) -> None:
    until(lambda: end.victims(peer.DATA_WAITING, "<I") or end.victims(peer.SPACE_WAITING, "<I"))


def after_sleep(act: Act) -> Act:
    def wrapped(end: Peer) -> None:
        asleep(end)
        act(end)

    return wrapped


def bytes_on(which: str, data: bytes) -> Act:
    def act(end: Peer) -> None:
        asleep(end)
        sock: socket.socket = getattr(end, which)
        sock.setblocking(False)
        try:
            sock.send(data, socket.MSG_NOSIGNAL)
        except (BlockingIOError, BrokenPipeError):
            pass

    return act


def on_socket(which: str, how: str) -> Act:
    def act(end: Peer) -> None:
        asleep(end)
        sock: socket.socket = getattr(end, which)
        if how == "close":
            sock.close()
        else:
            sock.shutdown(getattr(socket, how))

    return act


def never_answered(end: Peer) -> None:
    """Asks for a bell at each message, and takes none off: the victim's socket fills up."""
    epoch, read = 0, 0
    while read < 64 * 6000 and not (epoch % 4096 == 0 and hung_up(end)):
        epoch += 1
        end.control(peer.DATA_WAITING, epoch, "<I")
        end.ring_if_asleep(peer.SPACE_WAITING)
        at = 2 * PAGE + read % (len(end.theirs) - 2 * PAGE)
        if struct.unpack_from("<Q", end.theirs, at)[0] == read | peer.VALID:
            read += 64
            if read % 1024 == 0:
                end.control(peer.READ_POSITION, read, "<Q")
    end.socket.close()
    end.room.close()


def bell_with_descriptors(end: Peer) -> None:
    asleep(end)
    end.write_frame(HONEST)
    try:
        socket.send_fds(end.socket, [b"\1"], [end.ours.fd] * 50)
    except PermissionError:
        end.ring()  # Linux 6.16 and later: the victim's socket refuses descriptors


def room_socket(change: Callable[[socket.socket], object]) -> Act:
    def act(end: Peer) -> None:
        assert end.victims_room is not None
        asleep(end)
        change(end.victims_room)

    return act


def fill(sock: socket.socket) -> None:
    sock.setblocking(False)
    try:
        while True:
            sock.send(b"\1" * 4096)
    except BlockingIOError:
        sock.setblocking(True)


def doorbells() -> Iterator[Lie]:
    for count in (2, 64, 65, 1000, 100000):
        act = bytes_on("socket", b"\1" * count)
        yield from told(f"{count} bells for data", BROKEN, act)
        act = bytes_on("room", b"\1" * count)
        yield from told(f"{count} bells for room", BROKEN, act, SENDING)
    for byte in (0, 2, 0xFF):
        yield from told(
            f"byte {byte} as a bell for data", BROKEN, bytes_on("socket", bytes([byte]))
        )
        act = bytes_on("room", bytes([byte]))
        yield from told(f"byte {byte} as a bell for room", BROKEN, act, SENDING)
    yield from told("a bell for data, in vain", LATE, bytes_on("socket", b"\1"))
    yield from told("a bell for room, in vain", LATE, bytes_on("room", b"\1"), SENDING)
    yield from told("bells for room, to one who waits for data", LATE, bytes_on("room", b"\1" * 9))
    for how in ("SHUT_RDWR", "SHUT_WR", "close"):
        act = on_socket("socket", how)
        yield from told(f"the data socket: {how}", DEAD, act)
        # Half a hang-up is none to one who waits for room.
        of_senders = (DEAD, LATE) if how == "SHUT_WR" else DEAD
        yield from told(f"the data socket: {how}", of_senders, act, SENDING)
        yield from told(f"the room socket: {how}", DEAD, on_socket("room", how), SENDING)
        yield from told(f"the room socket: {how}", LATE, on_socket("room", how), RECEIVING)
    yield from told("the data socket: SHUT_RD", (LATE, DEAD), on_socket("socket", "SHUT_RD"))
    yield from told("bells that nobody takes off", DEAD, never_answered, ("send",))
    yield from told("a bell with 50 descriptors", LATE, bell_with_descriptors, messages=1)
    for name, change in {
        "made blocking": lambda sock: sock.setblocking(True),
        "made non-blocking": lambda sock: sock.setblocking(False),
        "filled, and made blocking": fill,
        "given a tiny buffer": lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1),
        "given a linger": lambda sock: sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60)
        ),
    }.items():
        act = room_socket(change)
        yield from told(
            f"the room socket that we made is {name}",
            LATE,
            act,
            ("recv", "send"),
            victims=(LISTENER,),
        )
    act = room_socket(lambda sock: sock.shutdown(socket.SHUT_RDWR))
    yield from told("the room socket that we made is shut", DEAD, act, SENDING, victims=(LISTENER,))


# ---- life -----------------------------------------------------------------


def killed(end: Peer) -> None:
    asleep(end)
    os.kill(os.getpid(), signal.SIGKILL)


def killed_with_a_message(end: Peer) -> None:
    asleep(end)
    for _ in range(10):
        end.write_frame(HONEST)
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in_a_frame(end: Peer) -> None:
    """All of the second message is there but its stamp."""
    asleep(end)
    end.write_frame(HONEST)
    end.write_frame(HONEST, stamp=0)
    os.kill(os.getpid(), signal.SIGKILL)


def stopped(end: Peer) -> None:
    asleep(end)
    os.kill(os.getpid(), signal.SIGSTOP)


def forked(end: Peer) -> None:
    """The child holds the sockets, and the peer dies."""
    asleep(end)
    if os.fork() == 0:
        os.setpgid(0, 0)
        time.sleep(peer.PATIENCE)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def executed(end: Peer) -> None:
    """The sockets outlive exec(): it is the same process still, and says nothing."""
    asleep(end)
    os.set_inheritable(end.socket.fileno(), True)
    os.set_inheritable(end.room.fileno(), True)
    os.execv("/bin/sleep", ["sleep", "60"])


def executed_without(end: Peer) -> None:
    """exec() closes the sockets: that is an end."""
    asleep(end)
    os.execv("/bin/sleep", ["sleep", "60"])


def lives() -> Iterator[Lie]:
    both = (*RECEIVING, *SENDING)
    yield from told("kill -9", DEAD, killed, both, apart=True)
    yield from told(
        "kill -9 after 10 messages", DEAD, killed_with_a_message, messages=10, apart=True
    )
    yield from told("kill -9 in a frame", DEAD, killed_in_a_frame, messages=1, apart=True)
    yield from told("SIGSTOP", LATE, stopped, both, apart=True)
    yield from told("dead, and a child holds its sockets", DEAD, forked, both, apart=True)
    yield from told("exec, with the sockets", LATE, executed, ("recv", "send"), apart=True)
    yield from told(
        "exec, without the sockets", DEAD, executed_without, ("recv", "send"), apart=True
    )


def flow_lies() -> list[Lie]:
    return [*frames(), *lines(), *words(), *doorbells(), *lives()]
