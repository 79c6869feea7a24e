"""tachyon doctor."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import tachyon
from tachyon.cli import _checks, _checks_machine


def run_doctor(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tachyon", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


def test_json_tells_what_the_system_tells() -> None:
    done = run_doctor("--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["ok"] is True
    checks = {check["name"]: check for check in report["checks"]}
    assert len(checks) == len(report["checks"])
    assert {check["state"] for check in checks.values()} <= {"ok", "note"}
    assert all(check["value"] and check["meaning"] for check in checks.values())
    assert tachyon.library_path() in checks["library"]["meaning"]
    assert tachyon.__version__ in checks["library"]["value"]
    assert os.uname().release in checks["kernel"]["value"]
    assert str(len(os.sched_getaffinity(0))) in checks["cpus"]["value"]
    assert checks["bus"]["state"] == "ok"


def test_text_has_a_mark_on_each_line() -> None:
    done = run_doctor()
    assert (done.returncode, done.stderr) == (0, "")
    *body, _, verdict = done.stdout.splitlines()
    assert verdict.startswith("tachyon works here")
    assert max(map(len, body)) <= 140
    marks = [line[:4] for line in body if not line.startswith("     ")]
    assert set(marks) <= {"ok  ", "note"}
    assert len(marks) == len(json.loads(run_doctor("--json").stdout)["checks"])


def test_one_cpu_is_noted() -> None:
    first = min(os.sched_getaffinity(0))
    done = run_doctor("--json", preexec_fn=lambda: os.sched_setaffinity(0, {first}))
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 0
    assert checks["cpus"]["state"] == "note"
    assert checks["cpus"]["value"].startswith("1")


def test_bad_check_is_an_error(monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    bad = _checks.Check("bus", "bad", "does not open", "Because.")
    monkeypatch.setattr(_checks, "check_bus", lambda: [bad])
    from tachyon.cli import main

    assert main(["doctor"]) == 1
    assert "tachyon cannot work here: bus." in capsys.readouterr().out


def test_seal_that_is_not_enforced_is_noted(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    assert _checks.check_seals().state == "ok"
    # A sandbox that takes FUTURE_WRITE without doing it.
    monkeypatch.setattr(_checks, "SEAL_FUTURE_WRITE", 0)
    assert _checks.check_seals().state == "note"


def test_descriptors_of_a_bus_are_counted() -> None:
    _checks.check_bus()  # what the first wait of a process opens, it has opened then
    again = {check.name: check for check in _checks.check_bus()}["descriptors"]
    told = {check["name"]: check for check in json.loads(run_doctor("--json").stdout)["checks"]}
    assert told["descriptors"]["meaning"] == again.meaning


def test_quota_of_both_versions(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    files = {
        "/proc/self/cgroup": "4:cpu,cpuacct:/job\n0::/slice/unit",
        "/sys/fs/cgroup/slice/cpu.max": "150000 100000",
        "/sys/fs/cgroup/slice/unit/cpu.max": "max 100000",
        "/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "-1",
        "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "400000",
        "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
    }
    monkeypatch.setattr(_checks_machine, "_read", lambda path: files.get(path, ""))
    assert sorted(_checks_machine._quotas()) == [1.5, 4.0]
    assert _checks_machine.check_quota()[1:3] == ("note", "1.5 CPUs")
    files.clear()
    assert _checks_machine.check_quota()[1:3] == ("ok", "none")
