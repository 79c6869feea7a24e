"""The machine that the figures are from: without it they say little."""

from __future__ import annotations

import os
import platform
from typing import Any

import tachyon
from tachyon.cli import _checks_machine

CPU = "/sys/devices/system/cpu"


def _read(path: str) -> str:
    """Return a small file's text, stripped; "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def usable_cores() -> list[int]:
    """Return the CPUs that we may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))


def _siblings(core: int) -> str:
    return _read(f"{CPU}/cpu{core}/topology/thread_siblings_list")


def _last_cache(core: int) -> tuple[str, str]:
    """Return who shares the core's last-level cache ("" unknown), and its size like "32768K"."""
    folder = f"{CPU}/cpu{core}/cache"
    levels = {}
    try:
        indexes = os.listdir(folder)
    except OSError:
        return "", ""
    for name in indexes:
        if name.startswith("index") and _read(f"{folder}/{name}/type") in ("Unified", "Data"):
            levels[int(_read(f"{folder}/{name}/level") or 0)] = f"{folder}/{name}"
    if not levels:
        return "", ""
    last = levels[max(levels)]
    return _read(f"{last}/shared_cpu_list"), _read(f"{last}/size")


def last_cache_bytes() -> int:
    """Return the size of the last-level cache; 32 MiB where it is not known."""
    _, size = _last_cache(usable_cores()[0])
    units = {"K": 1 << 10, "M": 1 << 20}
    if size[:-1].isdigit() and size[-1] in units:
        return int(size[:-1]) * units[size[-1]]
    return 32 << 20


def choose_cores() -> tuple[int, int] | None:
    """Choose two CPUs: not two threads of one core, under one cache. None with one CPU only."""
    cores = usable_cores()
    first, others = cores[0], cores[1:]
    if not others:
        return None

    def distance(core: int) -> tuple[bool, bool, int]:
        same_core = bool(_siblings(core)) and _siblings(core) == _siblings(first)
        return same_core, _last_cache(core)[0] != _last_cache(first)[0], core

    return first, min(others, key=distance)


def _relation(cores: tuple[int, int]) -> str:
    """Say how near two CPUs are to each other."""
    a, b = cores
    if a == b:
        return "one CPU: the two sides take turns on it"
    if _siblings(a) and _siblings(a) == _siblings(b):
        return "two threads of one core (SMT siblings)"
    cache = _last_cache(a)
    if cache[0] and cache[0] == _last_cache(b)[0]:
        return f"two cores under one last-level cache of {cache[1]}"
    return "two cores without a common cache" if cache[0] else "not known"


def _cpu_model() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.lower().startswith(("model name", "hardware", "cpu model")):
            return line.partition(":")[2].strip()
    return os.uname().machine


def describe(cores: tuple[int, int] | None) -> dict[str, Any]:
    """Return the state of the machine, for --json."""
    system = os.uname()
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "usable_cpus": usable_cores(),
        "pinned_to": list(cores) if cores else None,
        "cores_are": _relation(cores) if cores else "not pinned",
        "last_cache_bytes": last_cache_bytes(),
        "governor": _checks_machine.check_governor().value,
        "load_average": list(os.getloadavg()),
        "cpu_quota": _checks_machine.check_quota().value,
        "virtual": _checks_machine.check_machine().value,
        "kernel": f"{system.sysname} {system.release} {system.machine}",
        "python": platform.python_version(),
        "tachyon": tachyon.__version__,
        "library": tachyon.library_path(),
    }


def warnings(cores: tuple[int, int] | None) -> list[str]:
    """Say what this machine does to the figures."""
    found = []
    if len(usable_cores()) == 1 or (cores and cores[0] == cores[1]):
        found.append(
            "One CPU: the two sides take turns on it. Nobody can wait by polling, a bus sleeps at"
            " once, and every round trip holds two switches by the kernel. The limits that poll"
            " give the CPU away between two looks; ratios to them say nothing about two cores."
        )
    quota = _checks_machine.check_quota()
    if quota.state != "ok":
        found.append(
            f"A quota of {quota.value}: the kernel stops both sides for milliseconds once it is"
            " used up, which two that poll do at once. Percentiles from p99 on show the quota."
        )
    load = os.getloadavg()[0]
    if load > 0.5 * len(usable_cores()):
        found.append(
            f"The load average is {load:.1f}: others use the cores too. What polls is hurt most"
            " when it loses its core. Run it again on a quiet machine."
        )
    if not cores and len(usable_cores()) > 1:
        found.append("Not pinned: the kernel may move the two sides while they run.")
    return found
