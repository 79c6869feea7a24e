"""tachyon demo: the main job on real data, next to a Unix socket, in one table.

This process starts a producer and a consumer (see _demo_worker.py), shows what
they report and compares the checksums; it touches no data itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import tachyon
from tachyon.cli import _exit, _text
from tachyon.cli._progress import Progress

if TYPE_CHECKING:
    import subprocess

DESCRIPTION = """\
Start a producer and a consumer process and move real data between them: the
sources of Python's standard library as one tar, and a million market ticks of
32 bytes each. Both are checked by sha256 on arrival. Then round trips. All of
it through a bus, and for comparison through a Unix socket in the same run.
"""

Report = dict[str, Any]

LABELS = {"tar": "the standard library", "ticks": "market ticks", "roundtrip": "round trips"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `tachyon demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="move real data between two processes, check it and time it",
        description=DESCRIPTION,
        epilog=_exit.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")
    parser.add_argument(
        "--ticks",
        metavar="N",
        type=_text.parse_count,
        default=1_000_000,
        help="how many market ticks (default 1000000)",
    )
    parser.set_defaults(run=run, command="demo")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 only if all that arrived is what was sent."""
    with Progress(sys.stderr) as progress:
        result = _summarise(_run_workers(args.ticks, progress))
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        # Only now: the table is nobody's business but a person's.
        from tachyon.cli import _demo_table

        print(_demo_table.render(result))
    return _exit.DONE if result["ok"] else _exit.ERROR


# ---- the two processes ------------------------------------------------------


def _run_workers(ticks: int, progress: Progress) -> dict[str, Report]:
    """Run producer and consumer to their end; return what each reported, by job."""
    import tempfile

    progress.show(0, "packing the standard library, making ticks")
    reports: dict[str, Report] = {"producer": {}, "consumer": {}}
    with (
        tempfile.TemporaryDirectory(prefix="tachyon-", dir=_text.short_folder()) as folder,
        contextlib.ExitStack() as stack,
    ):
        with _interrupts_later():
            workers = {
                role: stack.enter_context(_worker(role, folder, ticks, progress.visible))
                for role in reports
            }
        for role, report in _listen_to(workers):
            if "error" in report:
                raise _exit.Failure(_exit.ERROR, f"the {role} failed: {report['error']}")
            if "job" in report:
                reports[role][report["job"]] = report
            if report.get("job") == "data":
                _tell(workers["consumer"], report["tar"]["bytes"])
            _show(progress, reports, report)
    return reports


@contextlib.contextmanager
def _interrupts_later() -> Iterator[None]:
    """Put Ctrl-C off: in the middle of starting a process, it would leave one behind."""
    import signal

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _worker(
    role: str, folder: str, ticks: int, progress: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker; whatever happens, it is gone when the context ends."""
    import subprocess

    package = os.path.dirname(os.path.dirname(os.path.abspath(tachyon.__file__)))
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tachyon.cli._demo_worker",
            role,
            folder,
            str(ticks),
            str(int(progress)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        # Ctrl-C is for this process alone, which then ends the workers.
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait()  # After Ctrl-C, Popen's own end waits for a quarter of a second only.


def _listen_to(workers: dict[str, subprocess.Popen[bytes]]) -> Iterator[tuple[str, Report]]:
    """Yield what the workers say as they say it, until both have finished."""
    import selectors

    selector = selectors.DefaultSelector()
    unread = dict.fromkeys(workers, b"")
    finished: set[str] = set()
    for role, process in workers.items():
        assert process.stdout is not None
        selector.register(process.stdout, selectors.EVENT_READ, role)
    while len(finished) < len(workers):
        for key, _ in selector.select():
            role = key.data
            block = os.read(key.fd, 1 << 16)
            if not block:
                how = _how_it_ended(workers[role].wait())
                raise _exit.Failure(_exit.ERROR, f"the {role} process {how} before it was done")
            *lines, unread[role] = (unread[role] + block).split(b"\n")
            for report in map(json.loads, lines):
                yield role, report
                if "finished" in report:
                    finished.add(role)
                    selector.unregister(key.fileobj)


def _tell(process: subprocess.Popen[bytes], number: int) -> None:
    """Write a number to a worker's input. One that is gone is told of by _listen_to()."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(b"%d\n" % number)
        process.stdin.flush()


def _how_it_ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


# ---- what they said ---------------------------------------------------------


def _show(progress: Progress, reports: dict[str, Report], report: Report) -> None:
    """Move the bar: each job is an equal part of it."""
    from tachyon.cli._demo_worker import JOBS, job_name

    if not progress.visible or "data" not in reports["producer"]:
        return
    done = sum(all(job_name(*job) in reports[role] for role in reports) for job in JOBS)
    if done < len(JOBS):
        transport, work, _ = JOBS[done]
        part = report.get("done", 0) / _total(work, reports["producer"]["data"])
        progress.show((1 + done + min(part, 1.0)) / (1 + len(JOBS)), _label(transport, work))


def _label(transport: str, work: str) -> str:
    return f"{LABELS[work]}, through a {transport}"


def _total(work: str, data: Report) -> int:
    from tachyon.cli._demo_worker import ROUND_TRIPS

    totals = {"tar": data["tar"]["bytes"], "ticks": data["ticks"]["count"]}
    return int(totals.get(work, ROUND_TRIPS))


def _summarise(reports: dict[str, Report]) -> Report:
    """Check what arrived against what was sent, and turn times into rates."""
    from tachyon.cli._demo_worker import job_name

    sent = reports["producer"]
    data = sent["data"]
    result: Report = {"ok": True, "machine": _machine(), "sent": {}, "bus": {}, "socket": {}}
    for transport in ("bus", "socket"):
        for work in ("tar", "ticks"):
            transfer = _transfer(reports, transport, work)
            result["sent"][work] = data[work]
            result[transport][work] = transfer
            result["ok"] = result["ok"] and transfer["sha256_ok"]
        round_trips = sent[job_name(transport, "roundtrip", 0)]
        result[transport]["roundtrip_us"] = round_trips["microseconds"]
        result[transport]["roundtrips"] = round_trips["count"]
        result[transport]["sleeps_per_roundtrip"] = round_trips["sleeps"]
    return result


def _transfer(reports: dict[str, Report], transport: str, work: str) -> Report:
    """Sum up the rounds of a job: the median's figures, and whether all were right."""
    from tachyon.cli._demo_worker import ROUNDS, job_name

    sent, arrived = reports["producer"], reports["consumer"]
    jobs = [job_name(transport, work, number) for number in range(ROUNDS[work])]
    nanoseconds = {job: arrived[job]["ended_ns"] - sent[job]["began_ns"] for job in jobs}
    wrong = [job for job in jobs if arrived[job]["sha256"] != sent["data"][work]["sha256"]]
    median = sorted(jobs, key=nanoseconds.__getitem__)[len(jobs) // 2]
    shown = arrived[wrong[0] if wrong else median]
    seconds = nanoseconds[median] / 1e9
    return {
        "bytes": shown["bytes"],
        "messages": shown["messages"],
        "rounds": len(jobs),
        "seconds": seconds,
        "megabytes_per_second": shown["bytes"] / seconds / 1e6,
        "messages_per_second": shown["messages"] / seconds,
        "sha256": shown["sha256"],
        "sha256_ok": not wrong,
    }


def _machine() -> Report:
    system = os.uname()
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "tachyon": tachyon.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "system": f"{system.sysname} {system.release} {system.machine}",
        "cpus": len(affinity(0)) if affinity else os.cpu_count() or 1,
        "load": os.getloadavg()[0],
    }
