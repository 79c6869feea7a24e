"""The cases at the end of PROMISES.md, one by one, in its words: what broke libraries of this kind.

Each is a function here, and runs in a process of its own: it must come to its end, in time,
with the descriptors and mappings that it began with. Peers are honest unless said otherwise.
"""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hostile import peer
from hostile.peer import PAGE, Peer, Refused, Script

import tachyon

LONG = 60.0  # a wait that only a fault of the library lets end by time
SOON = 0.05  # one that is to
CASES: list[tuple[str, Callable[[str], None]]] = []
Case = Callable[[str], None]


def case(words: str) -> Callable[[Case], Case]:
    def add(function: Case) -> Case:
        CASES.append((words, function))
        return function

    return add


class in_thread:
    """Runs a function in a thread; result() gives what it returned or raises what it raised."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._outcome: Any = None
        self._error: BaseException | None = None
        self._function = function
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome = self._function()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        self._thread.join()
        if self._error:
            raise self._error
        return self._outcome


@contextmanager
def pair(path: str, capacity: int = PAGE, **options: Any) -> Iterator[tuple[Any, Any]]:
    """Both ends of a bus, in this process."""
    with tachyon.Listener(path, capacity, **options) as listener:
        connecting = in_thread(lambda: tachyon.Bus.connect(path, timeout=LONG, **options))
        ours = listener.accept(LONG)
    with ours, connecting.result() as theirs:
        yield ours, theirs


@contextmanager
def hostile(path: str) -> Iterator[tuple[tachyon.Bus, Peer]]:
    """An end of ours, out of a listener, and a raw peer that has shaken hands."""
    with tachyon.Listener(path, PAGE, spin=0) as listener:
        connecting = in_thread(lambda: Peer().connect(path))
        bus = listener.accept(LONG)
    end = connecting.result()
    with bus:
        yield bus, end
        end.close()


def fails(number: int, function: Callable[[], Any]) -> tachyon.TachyonError:
    try:
        function()
    except tachyon.TachyonError as error:
        # A machine that is busy enough uses a short time up before the first wait.
        same = {error.errno, number} <= {errno.EAGAIN, errno.ETIMEDOUT}
        assert error.errno == number or same, f"{errno.errorcode[number]} was expected: {error!r}"
        return error
    raise AssertionError(f"{errno.errorcode[number]} was expected, and nothing happened")


def until(fact: Callable[[], object]) -> None:
    while not fact():  # alarm() is the limit
        time.sleep(0.0005)


def asleep(thread_of: int, process: int | None = None) -> bool:
    text = Path(f"/proc/{process or os.getpid()}/task/{thread_of}/stat").read_text()
    return text.rpartition(")")[2].split()[0] == "S"


# ---- the ring -------------------------------------------------------------


@case('a message bigger than the space to the ring\'s end on an empty ring is "full" for ever')
def bigger_than_the_rest(path: str) -> None:
    with pair(path) as (ours, theirs):
        for _ in range(3000):  # each time from another place in the ring
            ours.send(b"x" * 40)
            theirs.recv(timeout=LONG)
            ours.send(bytes(ours.max_message_size - 64), timeout=0)
            assert len(theirs.recv(timeout=LONG).data) == ours.max_message_size - 64


@case("consumer and producer both wait because a read position was held back")
def both_wait(path: str) -> None:
    with pair(path) as (ours, theirs):
        count = 20000

        def produce() -> None:
            for i in range(count):  # each needs nearly all of the ring
                ours.send(bytes(3000 + i % 900), timeout=LONG)

        producing = in_thread(produce)
        for _ in range(count):
            theirs.recv(timeout=LONG)
        producing.result()


@case("a sleeping consumer misses its wake-up")
def missed_wakeup(path: str) -> None:
    with pair(path, spin=0) as (ours, theirs):
        answering = in_thread(
            lambda: [ours.send(ours.recv(timeout=LONG).data) for _ in range(5000)]
        )
        for i in range(5000):
            theirs.send(i.to_bytes(8, "little"))
            assert theirs.recv(timeout=LONG).data == i.to_bytes(8, "little")
        answering.result()


@case("rollback after a wrap replays an old message")
def rollback(path: str) -> None:
    with pair(path) as (ours, theirs):
        for i in range(1000):
            ours.send(b"old %d" % i)
            theirs.recv(timeout=LONG)
            slot = ours.send_zero_copy(2000)
            slot.data[:4] = b"dead"
            slot.cancel()
            fails(errno.EAGAIN, lambda: theirs.recv(timeout=0))


@case("committed but unflushed messages vanish on close")
def unflushed(path: str) -> None:
    with pair(path) as (ours, theirs):
        for i in range(60):
            ours.send(b"%d" % i)
        ours.close()
        assert [message.data for message in theirs] == [b"%d" % i for i in range(60)]


@case("a header that points past the ring")
def past_the_ring(path: str) -> None:
    with hostile(path) as (bus, end):
        end.write_frame(b"x" * 32, size=PAGE)
        fails(errno.EPROTO, lambda: bus.recv(timeout=LONG))


@case("a forged position that makes reservations overlap")
def forged_position(path: str) -> None:
    with hostile(path) as (bus, end):
        first = bus.send_zero_copy(1000)
        first.data[:] = b"1" * 1000
        end.control(peer.READ_POSITION, 1 << 40, "<Q")
        fails(errno.EPROTO, lambda: bus.send_zero_copy(1000, timeout=0))
        fails(errno.EPROTO, first.commit)
        assert end.first_message(1) is None


def attempt(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except tachyon.TachyonError as error:
        return error


# ---- the handshake --------------------------------------------------------


def refused(path: str, number: int, script: Script) -> None:
    """A listener says no to this connector, and serves the next."""
    with tachyon.Listener(path, PAGE) as listener:
        accepting = in_thread(lambda: listener.accept(LONG))
        end = Peer(script)
        try:
            end.connect(path)
            raise AssertionError("it was taken")
        except Refused as refusal:
            assert refusal.errno == number, refusal
        finally:
            end.close()
        with tachyon.Bus.connect(path, timeout=LONG), accepting.result():
            pass


@case("a short or unsealed fd (SIGBUS)")
def short_or_unsealed(path: str) -> None:
    refused(path, errno.EPROTO, Script(half={"size": 2 * PAGE}))
    refused(path, errno.EPROTO, Script(half={"sparse": True}))
    refused(path, errno.EPROTO, Script(half={"seals": 0}))


@case("MSG_CTRUNC")
def control_truncated(path: str) -> None:
    """No descriptor left for what the peer sends: our shortage, told, and over when it is over."""
    with tachyon.Listener(path, PAGE) as listener:
        errors, over = set(), threading.Event()

        def accept() -> None:
            # More than once: Linux wants a descriptor before it looks whether anybody connects.
            while not over.is_set():
                errors.add(attempt(lambda: listener.accept(SOON)).errno)

        accepting = in_thread(accept)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        end = Peer(Script(send={peer.ANSWER: with_none_left}))
        error = attempt_any(lambda: end.connect(path))
        over.set()
        accepting.result()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        end.close()
        assert isinstance(error, Refused) and error.errno == errno.EMFILE, error
        assert errno.EMFILE in errors <= {errno.EMFILE, errno.ETIMEDOUT, errno.EAGAIN}, errors
        again = in_thread(lambda: listener.accept(LONG))
        with tachyon.Bus.connect(path, timeout=LONG), again.result():
            pass


def with_none_left(conversation: socket.socket, hello: bytes, descriptors: list[int]) -> None:
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    socket.send_fds(conversation, [hello], descriptors)


def attempt_any(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:
        return error


@case("surplus fds")
def surplus(path: str) -> None:
    for count in (1, 2, 100, 250):
        script = Script(descriptors={peer.ANSWER: lambda fds, n=count: fds + fds[:1] * n})  # type: ignore[misc]
        refused(path, errno.EPROTO, script)


@case("a half-sent hello")
def half_a_hello(path: str) -> None:
    with (
        tachyon.Listener(path, PAGE, handshake_timeout=SOON) as listener,
        socket.socket(socket.AF_UNIX) as raw,
    ):
        raw.connect(path)
        raw.sendall(peer.pack_hello(peer.CONNECT)[:64])
        fails(errno.ETIMEDOUT, lambda: listener.accept(4 * SOON))
        raw.settimeout(LONG)
        refusal = dict(zip(peer.HELLO_FIELDS, peer.HELLO.unpack(raw.recv(128)), strict=True))
        assert refusal["refusal"] == errno.ETIMEDOUT


@case("a mute listener")
def mute_listener(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        fails(errno.ETIMEDOUT, lambda: tachyon.Bus.connect(path, timeout=SOON))


@case("the peer closes between accept and send (SIGPIPE)")
def closed_before_send(path: str) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in a program in C: it would kill
    with tachyon.Listener(path, PAGE) as listener:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(path)
            raw.sendall(peer.pack_hello(peer.CONNECT))
        fails(errno.ETIMEDOUT, lambda: listener.accept(SOON))
    with hostile(path) as (bus, end):
        end.close()
        fails(errno.EOWNERDEAD, lambda: [bus.send(b"x", timeout=LONG) for _ in range(1000)])


# ---- the path -------------------------------------------------------------


@case("listening on another's live path")
def live_path(path: str) -> None:
    with tachyon.Listener(path):
        fails(errno.EADDRINUSE, lambda: tachyon.Listener(path))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        fails(errno.EADDRINUSE, lambda: tachyon.Listener(path))
        assert stat.S_ISSOCK(os.stat(path).st_mode)


@case("listening on a regular file")
def regular_file(path: str) -> None:
    Path(path).write_text("dear diary")
    fails(errno.EEXIST, lambda: tachyon.Listener(path))
    assert Path(path).read_text() == "dear diary"


@case("capacity 2^32")
def capacity_four_gib(path: str) -> None:
    fails(errno.EFBIG, lambda: tachyon.Listener(path, 1 << 32, max_capacity=(1 << 32) - 1))
    # Without the memory: the wire says 2^32, and all 64 bits count.
    script = Script({peer.OFFER: {"capacity": 1 << 32, "reply_capacity": 1 << 32}})
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        connecting = in_thread(
            lambda: tachyon.Bus.connect(path, timeout=LONG, max_capacity=1 << 33)
        )
        end = Peer(script)
        assert isinstance(attempt_any(lambda: end.accept(server)), Refused)
        # Our half says that it has a page, which is not what was agreed: 2^32 is not 0.
        assert "agreed" in str(fails(errno.EPROTO, connecting.result))
        end.close()


@case("a capacity that is not a power of two or not a page multiple")
def odd_capacities(path: str) -> None:
    for capacity in (1, 63, 4097, 5000, 3 * PAGE, (1 << 20) - 1):
        with pair(path, capacity) as (ours, theirs):
            ring = theirs.properties().send_capacity
            assert ring >= capacity and ring % PAGE == 0 and ring & (ring - 1) == 0, ring
            theirs.send(bytes(theirs.max_message_size), timeout=0)
            assert len(ours.recv(timeout=LONG).data) == ring - 128


# ---- time and processes ---------------------------------------------------


@case("SIGSTOP/SIGCONT on a waiter")
def stopped_waiter(path: str) -> None:
    with tachyon.Listener(path, PAGE) as listener:
        pid = os.fork()
        if pid == 0:
            with tachyon.Bus.connect(path, timeout=LONG, spin=0) as bus:
                os._exit(0 if bus.recv(timeout=LONG).data == b"after" else 1)
        with listener.accept(LONG) as bus:
            for _ in range(20):
                until(lambda: asleep(pid, pid))
                os.kill(pid, signal.SIGSTOP)
                os.waitpid(pid, os.WUNTRACED)
                os.kill(pid, signal.SIGCONT)
            bus.send(b"after")
            assert os.waitpid(pid, 0)[1] == 0


@case("fork while a bus is open")
def fork_with_a_bus(path: str) -> None:
    with pair(path) as (ours, theirs):
        pid = os.fork()
        if pid == 0:
            fails(errno.ECHILD, lambda: ours.send(b"x"))
            fails(errno.ECHILD, lambda: theirs.recv(timeout=0))
            ours.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        ours.send(b"the parent's goes on")
        assert theirs.recv(timeout=LONG).data == b"the parent's goes on"


@case("a peer that fills or un-NONBLOCKs a descriptor we write to")
def filled_descriptor(path: str) -> None:
    with hostile(path) as (bus, end):
        assert end.victims_room is not None
        end.victims_room.setblocking(False)
        try:
            while True:  # what we ring on goes to its other end, which nobody empties
                end.victims_room.send(b"\1" * 4096)
        except BlockingIOError:
            end.victims_room.setblocking(True)
        for i in range(2000):  # it asks to be rung for room at each release, and for data
            end.control(peer.SPACE_WAITING, i + 1, "<I")
            end.control(peer.DATA_WAITING, i + 1, "<I")
            end.write_frame(b"x" * 32)
            assert len(bus.recv(timeout=LONG).data) == 32
        fails(errno.EAGAIN, lambda: bus.recv(timeout=0))


# ---- views and threads ----------------------------------------------------


@case("a view used after release")
def view_after_release(path: str) -> None:
    with pair(path) as (ours, theirs):
        ours.send(b"x" * 100)
        lease = theirs.recv_zero_copy(timeout=LONG)
        data = lease.data
        lease.release()
        error = attempt_any(lambda: bytes(data))
        assert isinstance(error, ValueError), error
        assert isinstance(
            attempt_any(lambda: bytes(lease.data)), (ValueError, tachyon.TachyonError)
        )


@case("close while views are out")
def close_with_views(path: str) -> None:
    with pair(path) as (ours, theirs):
        ours.send(b"y" * 100)
        lease = theirs.recv_zero_copy(timeout=LONG)
        ours.close()
        theirs.close()
        assert bytes(lease.data) == b"y" * 100
        lease.release()


@case("two threads waiting on one bus")
def two_waiters(path: str) -> None:
    with pair(path, spin=0) as (ours, theirs):
        waiting = [in_thread(lambda: attempt(lambda: theirs.recv(timeout=LONG))) for _ in range(2)]
        until(lambda: any(not thread._thread.is_alive() for thread in waiting))
        ours.send(b"for one of them")
        results = [thread.result() for thread in waiting]
        busy = [r.errno for r in results if isinstance(r, tachyon.BusyError)]
        got = [r.data for r in results if not isinstance(r, Exception)]
        assert busy == [errno.EBUSY] and got == [b"for one of them"], results


# ---- limits ---------------------------------------------------------------


@case("RLIMIT_NOFILE reached in the middle of a handshake")
def descriptors_run_out(path: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with tachyon.Listener(path, PAGE) as listener:
        lowest = os.open("/dev/null", os.O_RDONLY)
        os.close(lowest)
        for more in range(20):
            pid = os.fork()
            if pid == 0:
                try:
                    tachyon.Bus.connect(path, timeout=LONG).close()
                finally:
                    os._exit(0)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, hard))
            result = attempt(lambda: listener.accept(LONG))
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            if isinstance(result, tachyon.Bus):
                result.close()
                os.waitpid(pid, 0)
                return
            assert result.errno == errno.EMFILE, result
            accepted = attempt(lambda: listener.accept(0.3))  # one that was still queued
            if isinstance(accepted, tachyon.Bus):
                accepted.close()
            os.waitpid(pid, 0)
    raise AssertionError("never enough descriptors")


@case("umask 0")
def umask_zero(path: str) -> None:
    os.umask(0)
    with tachyon.Listener(path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@case("a path longer than sun_path")
def long_path(path: str) -> None:
    long = path + "x" * (108 - len(path))
    fails(errno.ENAMETOOLONG, lambda: tachyon.Listener(long))
    fails(errno.ENAMETOOLONG, lambda: tachyon.Bus.connect(long, timeout=0))
    with tachyon.Listener(long[:107]):
        pass


@case("a late RPC reply")
def late_reply(path: str) -> None:
    connecting = in_thread(lambda: tachyon.RpcBus.connect(path, timeout=LONG))
    serving = tachyon.RpcBus.listen(path, timeout=LONG)
    with serving, connecting.result() as calling:
        fails(errno.ETIMEDOUT, lambda: calling.call(b"first", 1, timeout=SOON))
        first = serving.serve(timeout=LONG)
        second = in_thread(lambda: calling.call(b"second", 1, timeout=LONG))
        first.reply(b"late")
        serving.serve(timeout=LONG).reply(b"in time")
        assert second.result() == b"in time"
        assert calling.rpc_stats()["dropped"] == 1


# ---- running --------------------------------------------------------------


def facts() -> tuple[int, int]:
    gc.collect()
    maps = Path("/proc/self/maps").read_text()
    return len(os.listdir("/proc/self/fd")), maps.count("memfd:tachyon")


def warm_up(path: str) -> None:
    """What a process has once: the pipe by which signals interrupt waits."""
    with tachyon.Listener(path) as listener:
        fails(errno.ETIMEDOUT, lambda: listener.accept(SOON))


def run_case(function: Case) -> int:
    """In a process of its own: 0 where all is well."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    signal.alarm(120)
    code = 1
    try:
        with tempfile.TemporaryDirectory(prefix="promised-") as folder:
            warm_up(f"{folder}/warm")
            before = facts()
            function(f"{folder}/bus")
            assert facts() == before, f"descriptors and mappings: {facts()} instead of {before}"
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_all(match: str) -> tuple[int, int]:
    """How many, and how many passed."""
    passed = 0
    chosen = [(words, function) for words, function in CASES if match in words]
    for words, function in chosen:
        status = run_case(function)
        passed += status == 0
        print(f"{'ok   ' if status == 0 else 'FAIL '} {words}", flush=True)
    return len(chosen), passed
