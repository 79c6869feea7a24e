"""RpcServer among clients that die, starve, flood or sulk; and its end, from wherever."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import Peer, in_thread, until

import tachyon
from tachyon._wait import _signal_pipe
from tachyon._waker import Waker


@tachyon.rpc(msg_type=1)
def echo(request: memoryview) -> bytes:
    return bytes(request)


class Gate:
    """An endpoint that waits until the test opens it."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()
        self.requests: list[bytes] = []  # as they came

    @tachyon.rpc(msg_type=2)
    def wait(self, request: memoryview) -> bytes:
        self.requests.append(bytes(request))
        self.entered.release()
        assert self.opened.wait(60)
        return bytes(request)


def serve(path: Path, *endpoints: Any, **options: Any) -> tachyon.RpcServer:
    return tachyon.RpcServer(path, tachyon.Dispatcher().register(echo, *endpoints), **options)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture
def no_leak() -> Iterator[None]:
    _signal_pipe()  # which stays
    gc.collect()
    before = descriptors()
    yield
    gc.collect()
    assert descriptors() - before == set()


# ---- clients ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        "bus.submit(bytes(100), 1); call = bus.call(b'x', 1)",
        "calls = [bus.submit(bytes(100), 2) for _ in range(120)]",
        "slot = bus.reserve(1000, 1)",
        "lease = bus.call_zero_copy(bytes(100), 1)",
        "fill(lambda: bus._submit(bytes(500), 1, Countdown(0)))",
        "fill(lambda: bus._submit(bytes(500), 2, Countdown(0)))",
    ],
    ids=["idle", "calls out", "writing in place", "leasing", "does not read", "both rings full"],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_client_killed_in_any_state_leaves_nothing(
    path: Path, start_peer: Callable[[str], Peer], no_leak: None, workers: int, state: str
) -> None:
    gate = Gate()
    if not workers:
        gate.opened.set()
    with serve(path, gate, workers=workers, capacity=16384) as server:
        with tachyon.RpcBus.connect(path) as other:
            assert other.call(b"x", 1, 30) == b"x"
            peer = start_peer(
                "from tachyon._wait import Countdown\n"
                "def fill(send):\n    try:\n        while True: send()\n"
                "    except TimeoutError: pass\n"
                f"bus = RpcBus.connect(path)\n{state}\nprint('there')\nsys.stdin.readline()"
            )
            assert peer.line() == "there"
            until(lambda: server.clients == 2)
            peer.kill()
            gate.opened.set()
            until(lambda: server.clients == 1)
            assert other.call(b"y", 1, 30) == b"y"
        peer.end()


def test_workers_are_shared_among_clients(path: Path) -> None:
    """One with a thousand calls outstanding does not make another wait for all of them."""
    gate = Gate()
    with (
        serve(path, gate, workers=1, capacity=1 << 20) as _,
        tachyon.RpcBus.connect(path) as greedy,
        tachyon.RpcBus.connect(path) as modest,
    ):
        calls = [greedy.submit(b"%d" % number, 2) for number in range(1000)]
        gate.entered.acquire()
        call = modest.submit(b"me", 2)
        gate.opened.set()
        assert call.wait(30) == b"me"
        # After those that were with the workers before, and a batch.
        assert gate.requests.index(b"me") < 300
        assert [call.wait(30) for call in calls] == [b"%d" % number for number in range(1000)]


def test_dead_client_whose_requests_wait_for_workers_costs_no_time(
    path: Path, start_peer: Callable[[str], Peer]
) -> None:
    gate = Gate()
    with serve(path, gate, workers=1) as server, tachyon.RpcBus.connect(path) as other:
        peer = start_peer(
            "bus = RpcBus.connect(path)\n[bus.submit(b'x', 2) for _ in range(200)]\n"
            "print('there')\nsys.stdin.readline()"
        )
        assert peer.line() == "there"
        gate.entered.acquire()
        peer.kill()
        peer.finish()
        other.submit(b"x", 1)
        before = time.process_time()
        threading.Event().wait(1.0)
        assert time.process_time() - before < 0.3
        gate.opened.set()
        until(lambda: server.clients == 1)


def test_wrong_peers_do_not_hold_the_clients_up(path: Path) -> None:
    with serve(path) as server, tachyon.RpcBus.connect(path) as caller:
        mute = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for one in mute:
            one.connect(str(path))
        mute[1].send(b"nonsense" * 8)
        mute[2].close()
        with pytest.raises(tachyon.ProtocolError, match="peer stream, here rpc"):
            tachyon.Bus.connect(path, timeout=30)
        assert caller.call(b"x", 1, 30) == b"x"
        assert server.clients == 1
        with tachyon.RpcBus.connect(path, timeout=30) as another:
            assert another.call(b"y", 1, 30) == b"y"
        for one in mute:
            one.close()


def test_out_of_descriptors_the_clients_are_served(
    path: Path, start_peer: Callable[[str], Peer], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, "tachyon.rpc"),
        serve(path) as server,
        tachyon.RpcBus.connect(path) as caller,
    ):
        caller.call(b"x", 1, 30)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        peer = start_peer(
            "sys.stdin.readline()\nbus = RpcBus.connect(path, timeout=60)\n"
            "print(bus.call(b'z', 1).decode())\nsys.stdin.readline()"
        )
        highest = max(map(int, descriptors()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        gaps = []
        try:
            with suppress(OSError):
                while True:
                    gaps.append(os.open("/dev/null", os.O_RDONLY))
            peer.say()
            until(lambda: "no new client" in caplog.text)
            for _ in range(1000):
                assert caller.call(b"y", 1, 30) == b"y"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for gap in gaps:
                os.close(gap)
        assert peer.line() == "z"
        assert server.clients == 2
        # A pause between two tries, and not one after another.
        assert caplog.text.count("no new client") < 200


@pytest.mark.parametrize("workers", [0, 1])
def test_buffer_that_an_endpoint_uses_again_is_sent_as_it_was(path: Path, workers: int) -> None:
    """Replies that have to wait for room, while another client's go into the same buffer."""
    import numpy as np

    buffer, array = bytearray(300), np.zeros(300, np.uint8)

    @tachyon.rpc(msg_type=3)
    def again(request: memoryview) -> bytearray:
        buffer[:] = bytes(request) * 300
        return buffer

    @tachyon.rpc(msg_type=4)
    def array_again(request: memoryview) -> np.ndarray:  # type: ignore[type-arg]
        array[:] = request[0]
        return array

    with (
        serve(path, again, array_again, workers=workers, capacity=4096),
        tachyon.RpcBus.connect(path) as lazy,
        tachyon.RpcBus.connect(path) as other,
    ):
        for msg_type in (3, 4):
            calls = [lazy.submit(bytes([number]), msg_type, 0) for number in range(30)]
            for number in range(100, 200):
                assert other.call(bytes([number]), msg_type, 30)[-300:] == bytes([number]) * 300
            for number, call in enumerate(calls):
                assert call.wait(30)[-300:] == bytes([number]) * 300


# ---- workers ------------------------------------------------------------------------------


def test_worker_that_ends_the_program_fails_its_call_only(path: Path) -> None:
    @tachyon.rpc(msg_type=3)
    def leave(request: memoryview) -> None:
        raise {b"s": SystemExit, b"k": KeyboardInterrupt, b"g": GeneratorExit}[bytes(request)](7)

    with serve(path, leave, workers=1), tachyon.RpcBus.connect(path) as caller:
        for letter, kind in (b"s", "SystemExit"), (b"k", "KeyboardInterrupt"):
            with pytest.raises(tachyon.RpcError) as caught:
                caller.call(letter, 3, 30)
            assert caught.value.type == kind
        assert caller.call(b"on", 1, 30) == b"on"


def test_requests_that_workers_are_at_are_answered_at_the_end(path: Path) -> None:
    gate = Gate()
    server = serve(path, gate, workers=2)
    server.start()
    with tachyon.RpcBus.connect(path) as caller:
        calls = [caller.submit(b"%d" % number, 2) for number in range(5)]
        gate.entered.acquire()
        gate.entered.acquire()
        ending = in_thread(server.close)
        until(lambda: not path.exists())
        gate.opened.set()
        ending.result()
        assert [call.wait(30) for call in calls[:2]] == [b"0", b"1"]
        for call in calls[2:]:
            with pytest.raises(tachyon.ClosedError):
                call.wait(30)


# ---- the end ------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", ["stop", "close"])
def test_an_endpoint_may_end_the_server(path: Path, no_leak: None, workers: int, how: str) -> None:
    servers: list[tachyon.RpcServer] = []

    @tachyon.rpc(msg_type=3)
    def end(request: memoryview) -> bytes:
        getattr(servers[0], how)()
        return b"ending"

    servers.append(serve(path, end, workers=workers))
    running = in_thread(servers[0].serve_forever)
    with tachyon.RpcBus.connect(path) as caller:
        assert caller.call(b"", 3, 30) == b"ending"
        running.result()
        with pytest.raises(tachyon.ClosedError):
            caller.call(b"", 1, 30)
    servers[0].close()
    servers.clear()


def test_close_by_another_thread_waits_for_serve_forever(path: Path, no_leak: None) -> None:
    server = serve(path)
    running = in_thread(server.serve_forever)
    with tachyon.RpcBus.connect(path) as caller:
        assert caller.call(b"x", 1, 30) == b"x"
        closing = [in_thread(server.close) for _ in range(3)]
        for one in closing:
            one.result()
        running.result()
        with pytest.raises(tachyon.ClosedError):
            caller.call(b"x", 1, 30)


def test_only_one_thread_serves(path: Path) -> None:
    with serve(path) as server:
        until(lambda: server._running)
        with pytest.raises(RuntimeError):
            server.serve_forever()
        with pytest.raises(RuntimeError):
            server.start()
    server.serve_forever()  # it has ended


def test_server_that_cannot_be_made_leaks_nothing(path: Path, no_leak: None) -> None:
    with serve(path), pytest.raises(tachyon.AddressInUseError):
        serve(path, workers=1)
    with pytest.raises(ValueError, match="workers"):
        serve(path, workers=-1)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_server(
    path: Path, start_peer: Callable[[str], Peer], workers: int, number: int
) -> None:
    peer = start_peer(
        "import signal\n"
        "@rpc(msg_type=1)\ndef echo(request): return bytes(request)\n"
        f"server = RpcServer(path, Dispatcher().register(echo), {workers})\n"
        "signal.signal(signal.SIGTERM, lambda *_: server.stop())\n"
        "print('up')\nserver.serve_forever()\nprint('ended', len(os.listdir('/proc/self/fd')))\n"
    )
    assert peer.line() == "up"
    with tachyon.RpcBus.connect(path, timeout=30) as caller:
        assert caller.call(b"x", 1, 30) == b"x"
        os.kill(peer.pid, number)
        with pytest.raises(tachyon.ClosedError):
            caller.call(b"x", 1, 30) and caller.call(b"x", 1, 30)
    code, output, errors = peer.finish()
    assert (code, errors) == (0, ""), errors
    assert output.startswith("ended")


def test_second_ctrl_c_does_not_wait_for_the_workers(
    path: Path, start_peer: Callable[[str], Peer]
) -> None:
    peer = start_peer(
        "import threading\n"
        "@rpc(msg_type=1)\ndef hang(request):\n"
        "    if request:\n        print('in')\n        threading.Event().wait()\n"
        "try:\n    print('up')\n"
        "    RpcServer(path, Dispatcher().register(hang), 1).serve_forever()\n"
        "except KeyboardInterrupt:\n    print('interrupted', flush=True)\n    os._exit(7)\n"
    )
    assert peer.line() == "up"
    with tachyon.RpcBus.connect(path, timeout=30) as caller:
        caller.call(b"", 1)  # the pool knows of its thread from here on
        call = caller.submit(b"x", 1)
        assert peer.line() == "in"
        os.kill(peer.pid, signal.SIGINT)
        until(lambda: not path.exists())  # the listener goes first
        os.kill(peer.pid, signal.SIGINT)
        with pytest.raises(tachyon.ClosedError):
            call.wait(30)
        assert peer.finish()[:2] == (7, "interrupted\n")


@pytest.mark.parametrize("workers", [0, 2])
def test_program_that_forgets_to_close_ends(
    path: Path, start_peer: Callable[[str], Peer], workers: int
) -> None:
    peer = start_peer(
        "@rpc(msg_type=1)\ndef echo(request): return bytes(request)\n"
        f"server = RpcServer(path, Dispatcher().register(echo), {workers})\nserver.start()\n"
        "print('up')\nsys.stdin.readline()\n"
    )
    assert peer.line() == "up"
    with tachyon.RpcBus.connect(path, timeout=30) as caller:
        assert caller.call(b"x", 1, 30) == b"x"
        peer.say()
        assert peer.finish() == (0, "", "")
        with pytest.raises(tachyon.ClosedError):
            caller.call(b"x", 1, 30)
    assert not path.exists()


def test_child_of_a_fork_ends_without_the_server(
    path: Path, start_peer: Callable[[str], Peer]
) -> None:
    peer = start_peer(
        "import os\n@rpc(msg_type=1)\ndef echo(request): return bytes(request)\n"
        "server = RpcServer(path, Dispatcher().register(echo))\nserver.start()\n"
        # From 3.12 on, Python warns of what we want to see: a fork beside another thread.
        "import warnings\nwarnings.simplefilter('ignore', DeprecationWarning)\n"
        "child = os.fork()\nif child == 0: sys.exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\nsys.stdin.readline()\n"
    )
    assert peer.line() == "7"
    with tachyon.RpcBus.connect(path, timeout=30) as caller:
        assert caller.call(b"x", 1, 30) == b"x"
    peer.say()
    assert peer.finish() == (0, "", "")


@pytest.mark.parametrize("end", ["sys.exit(0)", "return b''"])
def test_child_that_an_endpoint_forks_takes_no_client_along(
    path: Path, start_peer: Callable[[str], Peer], end: str
) -> None:
    peer = start_peer(
        "import os\n@rpc(msg_type=1)\ndef fork(request):\n  child = os.fork()\n"
        f"  if child == 0: {end}\n  os.waitpid(child, 0)\n  return bytes(request)\n"
        "sys.stderr = open(os.devnull, 'w')\n"  # the child's
        "server = RpcServer(path, Dispatcher().register(fork))\nprint('up')\n"
        "server.serve_forever()\n"
    )
    assert peer.line() == "up"
    with (
        tachyon.RpcBus.connect(path, timeout=30) as one,
        tachyon.RpcBus.connect(path, timeout=30) as another,
    ):
        for _ in range(2):
            assert one.call(b"x", 1, 30) == b"x"
            assert another.call(b"y", 1, 30) == b"y"
    with tachyon.RpcBus.connect(path, timeout=30) as late:
        assert late.call(b"z", 1, 30) == b"z"


# ---- the waker ----------------------------------------------------------------------------


@contextmanager
def many_threads(function: Callable[[], None]) -> Iterator[None]:
    threads = [in_thread(function) for _ in range(4)]
    yield
    for thread in threads:
        thread.result()


def test_waker_never_writes_to_a_descriptor_that_is_another_s(no_leak: None) -> None:
    """close() while others wake: their bytes must not go to who gets the number next."""
    for _ in range(20):
        waker, over = Waker(), threading.Event()

        def wake(waker: Waker = waker, over: threading.Event = over) -> None:
            while not over.is_set():
                waker._is_readable = False  # or it would write only once
                waker.wake()

        with many_threads(wake):
            waker.close()
            mine = [os.pipe() for _ in range(4)]
            over.set()
        for read, write in mine:
            os.set_blocking(read, False)
            with pytest.raises(BlockingIOError):
                os.read(read, 1)
            os.close(read)
            os.close(write)


def test_waker_that_is_full_or_closed() -> None:
    waker = Waker()
    for _ in range(70_000):
        waker._is_readable = False
        waker.wake()
    waker.clear()
    with pytest.raises(BlockingIOError):
        os.read(waker.fileno(), 1)
    waker.close()
    waker.wake()
    waker.close()
    assert waker.fileno() == -1
