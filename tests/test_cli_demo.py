"""tachyon demo, with fewer ticks than a user sees."""

from __future__ import annotations

import io
import itertools
import json
import os
import select
import signal
import struct
import subprocess
import sys
import tarfile
from array import array
from typing import Any

import pytest

from tachyon.cli import _demo_data, _demo_table, _demo_worker, demo, main
from tachyon.cli._progress import Progress

COMMAND = [sys.executable, "-m", "tachyon", "demo", "--ticks", "30000"]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    done = subprocess.run([*COMMAND, "--json"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout))


def test_everything_arrives(report: dict[str, Any]) -> None:
    assert report["ok"] is True
    for transport in ("bus", "socket"):
        for work in ("tar", "ticks"):
            transfer = report[transport][work]
            assert transfer["sha256_ok"] is True
            assert transfer["sha256"] == report["sent"][work]["sha256"]
            assert transfer["bytes"] == report["sent"][work]["bytes"]
        assert report[transport]["ticks"]["messages"] == 30_000


def test_figures_agree_with_each_other(report: dict[str, Any]) -> None:
    for transport in ("bus", "socket"):
        for work in ("tar", "ticks"):
            transfer = report[transport][work]
            rate = transfer["bytes"] / transfer["seconds"] / 1e6
            assert transfer["megabytes_per_second"] == pytest.approx(rate)
        times = report[transport]["roundtrip_us"]
        assert list(times) == ["min", "p50", "p90", "p99", "p99.9", "max"]
        assert list(times.values()) == sorted(times.values())
        assert times["min"] > 0


def test_table(report: dict[str, Any]) -> None:
    text = _demo_table.render(report)
    assert "Every byte arrived as it was sent." in text
    assert max(map(len, text.splitlines())) <= 100
    assert f"{report['bus']['tar']['megabytes_per_second']:,.0f}" in text
    report = json.loads(json.dumps(report))
    report["machine"]["cpus"] = 1
    report["ok"] = report["socket"]["ticks"]["sha256_ok"] = False
    text = _demo_table.render(report)
    assert "only one CPU" in text
    report["machine"] |= {"cpus": 4, "load": 6.25}
    report["bus"]["sleeps_per_roundtrip"] = 0.5
    text = _demo_table.render(report)
    assert text.index("load 6.2 on 4 CPUs") < text.index("tachyon bus")
    assert "NOT what was sent" in text


def test_ratio_is_in_words_where_the_bus_is_slower() -> None:
    assert _demo_table._times(2.0) == "2.0 x"
    assert _demo_table._times(0.4) == "2.5 x slower"


def test_mismatch_is_an_error(monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    def damaged(ticks: int, progress: Progress) -> dict[str, demo.Report]:
        reports = run_workers(ticks, progress)
        reports["consumer"]["bus-tar-3"]["sha256"] = "0" * 64
        return reports

    run_workers = demo._run_workers
    monkeypatch.setattr(demo, "_run_workers", damaged)
    assert main(["demo", "--ticks", "2000"]) == 1
    assert "NOT what was sent" in capsys.readouterr().out


@pytest.mark.parametrize("role", ["producer", "consumer"])
def test_killed_worker_ends_the_demo(role: str) -> None:
    # More ticks than will ever be through, so that the worker is at work when it is killed.
    with subprocess.Popen(
        [sys.executable, "-m", "tachyon", "demo", "--ticks", "3000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.kill(child_of(process.pid, role), signal.SIGKILL)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err == f"tachyon demo: the {role} process was killed by signal 9 before it was done\n"


def child_of(pid: int, role: str) -> int:
    """Wait for a worker process of the demo to appear, and return its id."""
    while True:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            for child in children.read().split():
                with open(f"/proc/{child}/cmdline", "rb") as command_line:
                    words = command_line.read().split(b"\0")
                if b"tachyon.cli._demo_worker" in words and role.encode() in words:
                    return int(child)


def test_progress_bar_on_a_terminal_only() -> None:
    controller, terminal = os.openpty()
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    seen = b""
    while process.poll() is None or select.select([controller], [], [], 0)[0]:
        try:
            seen += os.read(controller, 1 << 16)
        except OSError:  # The terminal's other side is closed.
            break
    os.close(controller)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"\x1b" not in out
    text = seen.decode()
    assert "packing the standard library" in text
    assert "market ticks, through a bus" in text
    # What is left on the terminal is an empty line.
    assert text.endswith("\r\x1b[K")
    fractions = [int(part.split("%")[0]) for part in text.replace("\r", " ").split() if "%" in part]
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 100


def test_interrupt_leaves_no_process() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tachyon", "demo", "--ticks", "3000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        workers = [child_of(process.pid, role) for role in ("producer", "consumer")]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")
    for worker in workers:
        assert not os.path.exists(f"/proc/{worker}")


def test_ticks_are_what_they_claim() -> None:
    ticks = _demo_data.market_ticks(5_000)
    assert ticks == _demo_data.market_ticks(5_000)
    assert len(ticks) == 5_000 * _demo_data.TICK_SIZE
    rows = list(struct.iter_unpack("<QIIdd", ticks))
    times = [row[0] for row in rows]
    assert times == sorted(times)
    for _, symbol, quantity, bid, ask in rows:
        assert 0 <= symbol < 8
        assert quantity % 100 == 0 and quantity > 0
        assert 0 < bid < ask < bid + 0.05
    steps = {round((b[3] - a[3]) * 100) for a, b in itertools.pairwise(rows)}
    assert steps == {-2, -1, 0, 1, 2}


def test_tar_holds_the_standard_library_and_keeps_its_limit() -> None:
    content, count = _demo_data.standard_library_tar(limit=3_000_000)
    assert 2_000_000 < len(content) <= 3_000_000
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names = archive.getnames()
        member = archive.extractfile("argparse.py")
        assert member is not None
        import argparse

        with open(argparse.__file__, "rb") as source:
            assert member.read() == source.read()
    assert len(names) == count
    assert not any("site-packages" in name for name in names)


def test_percentiles_are_nearest_rank() -> None:
    samples = array("Q", range(1000, 101_000, 1000))
    assert _demo_worker.percentiles(samples) == {
        "min": 1.0,
        "p50": 50.0,
        "p90": 90.0,
        "p99": 99.0,
        "p99.9": 100.0,
        "max": 100.0,
    }
    assert set(_demo_worker.percentiles(array("Q", [7000])).values()) == {7.0}
