"""Waiting costs nothing: no system call and no context switch, in C and in Python."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from conftest import sleeping_calls
from transfer import processes

SECONDS = 10


@dataclass(frozen=True)
class Facts:
    """What the kernel says of a process; two looks at an idle one are equal."""

    switches: dict[str, list[str]]  # of each thread: voluntary and not
    cpu_ticks: tuple[str, str]  # user, system
    system_call: list[str]  # its number, arguments, stack and instruction pointer


def facts(pid: int) -> Facts:
    """Look at a process."""
    folder = Path(f"/proc/{pid}")
    switches = {
        task.name: [
            line for line in (task / "status").read_text().splitlines() if "ctxt_switches" in line
        ]
        for task in (folder / "task").iterdir()
    }
    # The command's name, in parentheses, is the second field; utime and stime are 14 and 15.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return Facts(switches, (fields[11], fields[12]), (folder / "syscall").read_text().split())


@contextlib.contextmanager
def traced(pids: list[int], report: Path) -> Iterator[None]:
    """Have strace write down every system call, where it is there and may attach."""
    if not shutil.which("strace"):
        yield
        return
    command = ["strace", "-f", "-o", str(report)]
    for pid in pids:
        command += ["-p", str(pid)]
    strace = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        processes.until(lambda: strace.poll() is not None or all(map(is_traced, pids)))
        yield
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait()


def is_traced(pid: int) -> bool:
    """Whether a debugger is attached, and the process sleeps again after that."""
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    return status["TracerPid"] != "0" and status["State"].startswith("S")


def calls_seen(report: Path) -> dict[int, list[str]]:
    """System calls of each process as strace wrote them down; the first is the one it was in."""
    calls: dict[int, list[str]] = {}
    for line in report.read_text().splitlines():
        pid, call = line.split(None, 1)
        calls.setdefault(int(pid), []).append(call)
    return calls


def test_a_blocked_process_does_nothing_at_all_for_10_seconds(folder: Path) -> None:
    """Blocked for data at both ends of one bus, and for room at both ends of another."""
    with contextlib.ExitStack() as stack:
        waiters = {}
        for action in ("recv", "send"):
            place = folder / action
            place.mkdir()
            for language, end in (("c", "listen"), ("python", "connect")):
                waiter = processes.blocked(language, place, action, end)
                waiters[language, action] = stack.enter_context(waiter)
        for waiter in waiters.values():
            waiter.wait_ready()
        # Filling a ring, and falling asleep, take a moment.
        for waiter in waiters.values():
            processes.until(partial(is_settled, waiter))

        pids = [waiter.pid for waiter in waiters.values()]
        report = folder / "strace"
        with traced(pids, report):
            before = {who: facts(waiter.pid) for who, waiter in waiters.items()}
            time.sleep(SECONDS)  # not to synchronise: it is the time that is looked at
            after = {who: facts(waiter.pid) for who, waiter in waiters.items()}
        assert after == before
        assert {seen.system_call[0] for seen in before.values()} <= set(sleeping_calls())
        if report.exists() and report.stat().st_size:
            for pid, calls in calls_seen(report).items():
                assert pid in pids
                names = [call.split("(")[0] for call in calls]
                assert len(names) == 1 and names[0] in sleeping_calls().values(), calls
                print(pid, *calls)


def is_settled(waiter: processes.Process) -> bool:
    """Whether it sleeps in its wait, and has not moved between two looks."""
    before = facts(waiter.pid)
    time.sleep(0.05)
    return before.system_call[0] in sleeping_calls() and facts(waiter.pid) == before
