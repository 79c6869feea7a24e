"""What `tachyon doctor` reads about the machine: processors, memory, limits.

Everything comes from /proc and /sys, where a file that is not there or not
readable means "not known", never an error.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator

from tachyon.cli import _text
from tachyon.cli._checks import Check


def all_checks() -> list[Check]:
    """Run the checks of this file."""
    return [
        check_cpus(),
        check_quota(),
        check_governor(),
        check_machine(),
        check_numa(),
        check_huge_pages(),
        check_memlock(),
        check_file_size(),
    ]


def _read(path: str) -> str:
    """Return a small file's text, stripped; "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def check_cpus() -> Check:
    total = os.cpu_count() or 1
    affinity = getattr(os, "sched_getaffinity", None)
    usable = len(affinity(0)) if affinity else total
    value = f"{usable} of {total} usable" if usable < total else f"{total}"
    if usable == 1:
        meaning = (
            "Both ends share one CPU: a wait sleeps at once, and each message to a sleeper"
            " costs a switch by the kernel (tens of microseconds)."
        )
        return Check("cpus", "note", value, meaning)
    if usable == 2:
        meaning = "Enough for one producer and one consumer side by side."
        return Check("cpus", "ok", value, meaning)
    return Check(
        "cpus", "ok", value, "Enough; pin both ends to neighbouring cores for the least delay."
    )


# ---- processor quota --------------------------------------------------------


def check_quota() -> Check:
    quotas = list(_quotas())
    if not quotas:
        return Check("cpu quota", "ok", "none", "Nothing stops a process that polls.")
    cpus = min(quotas)
    value = f"{cpus:.2g} CPUs"
    if cpus >= 2:
        return Check(
            "cpu quota", "ok", value, "Enough for a producer and a consumer at full speed."
        )
    meaning = (
        "The container may be paused for tens of milliseconds when it has used this up; polling"
        " counts as use, so open buses with spin=0 if you see such pauses."
    )
    return Check("cpu quota", "note", value, meaning)


def _quotas() -> Iterator[float]:
    """Yield the limit, in CPUs, of each control group that we are in and that has one."""
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            for folder in _upwards("/sys/fs/cgroup", path):
                yield from _quota(_read(f"{folder}/cpu.max").split())
        elif "cpu" in controllers.split(","):
            for folder in _upwards(f"/sys/fs/cgroup/{controllers}", path):
                limit = _read(f"{folder}/cpu.cfs_quota_us")
                yield from _quota([limit, _read(f"{folder}/cpu.cfs_period_us")])


def _upwards(root: str, path: str) -> Iterator[str]:
    """Yield a group's folder and those above it: all their limits hold."""
    while path and path != "/":
        yield root + path
        path = os.path.dirname(path)
    yield root


def _quota(words: list[str]) -> Iterator[float]:
    # "max 100000" (version 2) and "-1" (version 1) are no limit; neither is an unreadable file.
    with contextlib.suppress(ValueError, ZeroDivisionError):
        limit, period = map(int, words)
        if limit > 0:
            yield limit / period


# ---- the rest of the processor ----------------------------------------------


def check_governor() -> Check:
    governor = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if not governor:
        meaning = "Not shown (usual in a virtual machine): the host decides about clock speeds."
        return Check("cpu governor", "ok", "not known", meaning)
    if governor == "performance":
        return Check("cpu governor", "ok", governor, "Clocks stay up between messages.")
    meaning = (
        "Clocks may drop between messages; for the least delay:"
        " cpupower frequency-set -g performance"
    )
    return Check("cpu governor", "note", governor, meaning)


def check_machine() -> Check:
    guest = _hypervisor()
    name = f" ({guest})" if guest else ""
    kind = "real hardware, it seems" if guest is None else f"virtual machine{name}"
    value = f"{kind}, in a container" if _in_container() else kind
    if guest is None:
        return Check("machine", "ok", value, "Latency is the hardware's own.")
    meaning = "The host may take a CPU away for milliseconds: expect such outliers in latency."
    return Check("machine", "note", value, meaning)


def _hypervisor() -> str | None:
    """Name what we are a guest of, perhaps ""; None on bare metal."""
    known = _read("/sys/hypervisor/type") or _read("/sys/class/dmi/id/sys_vendor")
    # x86 has a processor flag for it; elsewhere the firmware's name must do.
    if "hypervisor" in _read("/proc/cpuinfo").split():
        return known
    guests = ("qemu", "kvm", "vmware", "xen", "google", "microsoft", "innotek")
    return known if any(guest in known.lower() for guest in guests) else None


def _in_container() -> bool:
    return os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv")


def check_numa() -> Check:
    try:
        folders = os.listdir("/sys/devices/system/node")
    except OSError:
        folders = []
    nodes = sum(name.startswith("node") and name[4:].isdigit() for name in folders)
    if nodes <= 1:
        return Check("numa", "ok", "1 node", "All memory is equally near.")
    meaning = "Put both ends on one node (numactl -N 0), and the ring too (numa_node=0)."
    return Check("numa", "note", f"{nodes} nodes", meaning)


# ---- memory and limits ------------------------------------------------------


def check_huge_pages() -> Check:
    folder = "/sys/kernel/mm/hugepages/hugepages-2048kB"
    if not os.path.isdir(folder):
        meaning = "huge_pages=True falls back to normal pages, and says so in properties()."
        return Check("huge pages", "ok", "none of 2 MiB here", meaning)
    free = int(_read(f"{folder}/free_hugepages") or 0)
    total = int(_read(f"{folder}/nr_hugepages") or 0)
    value = f"{free:,} of {total:,} free (2 MiB each)"
    if free:
        return Check(
            "huge pages",
            "ok",
            value,
            f"Rings of {_text.exact_size(free << 21)} in all can have them.",
        )
    meaning = (
        "huge_pages=True falls back to normal pages. Of use for rings of many MiB only;"
        " to have some: sysctl vm.nr_hugepages=64"
    )
    return Check("huge pages", "ok", value, meaning)


def check_memlock() -> Check:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if os.geteuid() == 0 or soft == resource.RLIM_INFINITY:
        return Check("memlock", "ok", "no limit", "mlock=True keeps rings of any size in memory.")
    value = _text.exact_size(soft)
    # Both rings of a bus, each mapped twice.
    if soft >= 4 << 20:
        return Check("memlock", "ok", value, "mlock=True works for buses of the default size.")
    meaning = (
        "mlock=True fails for buses of the default size; raise it with ulimit -l if you need it."
    )
    return Check("memlock", "note", value, meaning)


def check_file_size() -> Check:
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft == resource.RLIM_INFINITY:
        return Check("file size", "ok", "no limit", "Rings can be as large as memory allows.")
    meaning = "This limit (ulimit -f) counts for shared memory too: no larger ring can be made."
    state = "ok" if soft >= 1 << 30 else "note" if soft >= 1 << 14 else "bad"
    return Check("file size", state, _text.exact_size(soft), meaning)
