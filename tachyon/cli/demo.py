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

LABELS = {
    "bus-tar": "the standard library, through a bus",
    "socket-tar": "the standard library, through a socket",
    "bus-ticks": "market ticks, through a bus",
    "socket-ticks": "market ticks, through a socket",
    "bus-roundtrip": "round trips, through a bus",
    "socket-roundtrip": "round trips, through a socket",
}


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
        workers = {
            role: stack.enter_context(_worker(role, folder, ticks, progress.visible))
            for role in reports
        }
        for role, report in _listen_to(workers):
            if "error" in report:
                raise _exit.Failure(_exit.ERROR, f"the {role} failed: {report['error']}")
            if "job" in report:
                reports[role][report["job"]] = report
            _show(progress, reports, report)
    return reports


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
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        # Ctrl-C is for this process alone, which then ends the workers.
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


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


def _how_it_ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


# ---- what they said ---------------------------------------------------------


def _show(progress: Progress, reports: dict[str, Report], report: Report) -> None:
    """Move the bar: each job is an equal part of it."""
    data = reports["producer"].get("data")
    if not progress.visible or data is None:
        return
    both_done = [job for job in LABELS if all(job in reports[role] for role in reports)]
    current = next((job for job in LABELS if job not in both_done), None)
    if current is None:
        return
    part = report["done"] / _total(current, data) if "done" in report else 0.0
    progress.show((1 + len(both_done) + min(part, 1.0)) / (1 + len(LABELS)), LABELS[current])


def _total(job: str, data: Report) -> int:
    from tachyon.cli._demo_worker import ROUND_TRIPS

    totals = {"tar": data["tar"]["bytes"], "ticks": data["ticks"]["count"]}
    return int(totals.get(job.split("-")[1], ROUND_TRIPS))


def _summarise(reports: dict[str, Report]) -> Report:
    """Check what arrived against what was sent, and turn times into rates."""
    sent, arrived = reports["producer"], reports["consumer"]
    data = sent["data"]
    result: Report = {"ok": True, "machine": _machine(), "sent": {}, "bus": {}, "socket": {}}
    for work in ("tar", "ticks"):
        result["sent"][work] = data[work]
        for transport in ("bus", "socket"):
            job = f"{transport}-{work}"
            transfer = _transfer(arrived[job], sent[job]["began_ns"], data[work]["sha256"])
            result[transport][work] = transfer
            result["ok"] = result["ok"] and transfer["sha256_ok"]
    for transport in ("bus", "socket"):
        result[transport]["roundtrip_us"] = sent[f"{transport}-roundtrip"]["microseconds"]
        result[transport]["roundtrips"] = sent[f"{transport}-roundtrip"]["count"]
    return result


def _transfer(arrived: Report, began_ns: int, sha256: str) -> Report:
    seconds = (arrived["ended_ns"] - began_ns) / 1e9
    return {
        "bytes": arrived["bytes"],
        "messages": arrived["messages"],
        "seconds": seconds,
        "megabytes_per_second": arrived["bytes"] / seconds / 1e6,
        "messages_per_second": arrived["messages"] / seconds,
        "sha256": arrived["sha256"],
        "sha256_ok": arrived["sha256"] == sha256,
    }


def _machine() -> Report:
    system = os.uname()
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "tachyon": tachyon.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "system": f"{system.sysname} {system.release} {system.machine}",
        "cpus": len(affinity(0)) if affinity else os.cpu_count() or 1,
    }
