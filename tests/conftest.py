"""What the tests share: paths, pairs of buses, peers in processes of their own."""

from __future__ import annotations

import functools
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from rpc_support import Ends, MakeEnds, connect_ends

import tachyon

# Long enough for a busy machine, seconds; what takes longer hangs.
PATIENCE = 60
# Examples of `pytest --hypothesis-profile=long`: about ten minutes for a model.
LONG = 21000
hypothesis.settings.register_profile("long", max_examples=LONG)
PPOLL = {"x86_64": "271", "aarch64": "73"}[platform.machine()]
# A debugger that attaches makes restart_syscall of a poll that sleeps.
POLL, RESTARTED = {"x86_64": ("7", "219"), "aarch64": ("73", "128")}[platform.machine()]

# Processes that tests start may find the source tree's package before the installed one, and
# the tree has no library in it: they take the one that is under test.
PACKAGE_FOLDER = Path(tachyon.__file__).parent.parent
os.environ["TACHYON_LIBRARY"] = tachyon.library_path()

# A shell starts what it runs in the background with Ctrl-C ignored, and so would all our children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Pair = tuple[tachyon.Bus, tachyon.Bus]
MakePair = Callable[..., Pair]


@pytest.fixture(autouse=True)
def hanging_fails() -> Iterator[None]:
    """A call that hangs fails its test; every wait of this package can be interrupted."""

    def give_up(*_: object) -> None:
        raise AssertionError("this test hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(300 if hypothesis.settings().max_examples < LONG else 3600)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets, which pytest's tmp_path may not be."""
    name = tempfile.mkdtemp(prefix="tachyon-")
    yield Path(name)
    shutil.rmtree(name)


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "bus"


@pytest.fixture
def make_pair(folder: Path) -> Iterator[MakePair]:
    """make_pair(capacity, **options) -> (listener's end, connector's end), in this process."""
    ends: list[tachyon.Bus] = []

    def make(
        capacity: int | None = None,
        spin: float | None = None,
        trusted: bool = False,
        **options: Any,
    ) -> Pair:
        path = folder / f"pair-{len(ends)}"
        both = {"spin": spin, "trusted": trusted}
        with tachyon.Listener(path, capacity, **both, **options) as listener:
            connecting = in_thread(lambda: tachyon.Bus.connect(path, **both))
            pair = listener.accept(PATIENCE), connecting.result()
        ends.extend(pair)
        return pair

    yield make
    for end in ends:
        end.close()


@pytest.fixture
def make_ends(folder: Path) -> Iterator[MakeEnds]:
    """make_ends(capacity, **options of connect) -> (caller, server), of an RpcBus."""
    made: list[tachyon.RpcBus] = []

    def make(*arguments: Any, **options: Any) -> Ends:
        ends = connect_ends(folder / f"rpc{len(made)}", *arguments, **options)
        made.extend(ends)
        return ends

    yield make
    for bus in made:
        bus.close()


@pytest.fixture
def pair(make_pair: MakePair) -> Pair:
    return make_pair()


class in_thread:
    """Runs a function in a thread; result() returns or raises what it did."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._outcome: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome = self._function()
        except BaseException as error:
            self._error = error

    @property
    def thread_id(self) -> int:
        until(lambda: self._thread.native_id is not None)
        assert self._thread.native_id is not None
        return self._thread.native_id

    def result(self) -> Any:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the thread hangs"
        if self._error is not None:
            raise self._error
        return self._outcome


def until(fact: Callable[[], Any]) -> Any:
    """Wait for a fact; return what it is.

    Patience is counted in looks, as a machine may stand still for longer than that.
    """
    for _ in range(PATIENCE * 2000):
        if value := fact():
            return value
        time.sleep(0.0005)
    raise AssertionError("waited in vain")


def assert_within_100_ms(attempt: Callable[[], float]) -> None:
    """Of several attempts, each of which returns its seconds: the machine may be busy."""
    took = [attempt()]
    while min(took) >= 0.1:
        assert len(took) < 5, took
        took.append(attempt())


@functools.cache
def is_portable() -> bool:
    """Whether the library is one that was built with -Dportable=true: its properties say so."""
    with tempfile.TemporaryDirectory(prefix="tachyon-") as folder:
        connecting = in_thread(lambda: tachyon.Bus.connect(f"{folder}/bus"))
        with tachyon.Bus.listen(f"{folder}/bus", timeout=PATIENCE) as bus, connecting.result():
            facts = bus.properties()
    assert facts.isolation == facts.watches_pid, "this machine lacks one of the two"
    return not facts.isolation


def sleeping_calls() -> dict[str, str]:
    """The system calls that all our waits sleep in: numbers and names."""
    if is_portable():
        return {POLL: "poll", RESTARTED: "restart_syscall"}
    return {PPOLL: "ppoll"}


def count_mappings() -> int:
    """How often rings are mapped in this process."""
    name = "/dev/shm/tachyon-" if is_portable() else "memfd:tachyon"
    return Path("/proc/self/maps").read_text().count(name)


def assert_within_20_ms(lateness: Callable[[], float]) -> None:
    """Of something that should be over at a certain moment: how late it was, in seconds.

    On a busy machine whatever sleeps is late. So a sleep of select.select() before and one
    after it show how late that is now, and only what is beyond is counted. Of nine
    times, seven must be in time, in one of five rounds: what only looks every 50 ms is not.
    """
    rounds = []
    for _ in range(5):
        beyond = []
        for _ in range(9):
            before = _how_late_a_sleep_is()
            late = lateness()
            assert late >= 0, f"{-late} s too early"
            beyond.append(late - max(before, _how_late_a_sleep_is()))
        if sorted(beyond)[6] < 0.02:
            return
        rounds.append(beyond)
    raise AssertionError(rounds)


def _how_late_a_sleep_is() -> float:
    end = time.monotonic() + 0.005
    select.select([], [], [], 0.005)
    return time.monotonic() - end


def is_asleep(process_id: int, thread_id: int | None = None) -> bool:
    """Whether a thread (default: the main one) sleeps where all our waits sleep."""
    thread_id = thread_id or process_id
    text = Path(f"/proc/{process_id}/task/{thread_id}/syscall").read_text()
    return text.split()[0] in sleeping_calls()


def kernel_sleeps_main_thread() -> bool:
    return is_asleep(os.getpid())


class Peer:
    """Another process that runs a piece of Python, with `tachyon`, and `path`.

    The code says what it has come to by print(); line() reads that here.
    """

    def __init__(self, path: Path, code: str) -> None:
        prelude = "import sys, os, tachyon\nfrom tachyon import *\npath = sys.argv[1]\n"
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", prelude + textwrap.dedent(code), str(path)],
            cwd=path.parent,
            env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the peer ended: {self.process.communicate()[1]}")
        return line.rstrip("\n")

    def say(self, text: str = "go") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def until_asleep(self) -> None:
        until(lambda: is_asleep(self.pid))

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def finish(self) -> tuple[int, str, str]:
        """Wait for the end: exit code, what else it printed, standard error."""
        output, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output, errors

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start_peer(path: Path) -> Iterator[Callable[[str], Peer]]:
    peers: list[Peer] = []

    def start(code: str) -> Peer:
        peers.append(Peer(path, code))
        return peers[-1]

    yield start
    for peer in peers:
        peer.end()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    passed = terminalreporter.stats.get("passed", [])
    in_c = [report for report in passed if "test_c.py" in report.nodeid]
    cases = sum(dict(report.user_properties).get("cases", 0) for report in in_c)
    terminalreporter.write_line(
        f"passed: {len(passed) - len(in_c)} Python tests, {cases} C tests in {len(in_c)} programs"
    )
