"""What `tachyon doctor` finds out by trying: the library, the kernel, a bus.

Kernel facilities are tried, not looked up by version: sandboxes leave things
out or accept them without effect.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import NamedTuple

import tachyon
from tachyon.cli import _text

# From <linux/memfd.h> and <linux/fcntl.h>; Python has names for some of them only.
MFD_CLOEXEC = 0x1
MFD_ALLOW_SEALING = 0x2
MFD_NOEXEC_SEAL = 0x8
F_ADD_SEALS = 1033
SEAL_SEAL, SEAL_SHRINK, SEAL_GROW, SEAL_FUTURE_WRITE = 0x1, 0x2, 0x4, 0x10

PATIENCE_S = 5.0


class Check(NamedTuple):
    """One line: its name, "ok", "note" or "bad", what there is, and what that means."""

    name: str
    state: str
    value: str
    meaning: str


def all_checks() -> list[Check]:
    """Run the checks of this file."""
    return [
        check_library(),
        check_python(),
        check_numpy(),
        check_kernel(),
        check_seals(),
        check_noexec(),
        check_pidfd(),
        *check_bus(),
    ]


def check_library() -> Check:
    path = tachyon.library_path()
    if os.environ.get("TACHYON_LIBRARY"):
        how = "named by TACHYON_LIBRARY"
    elif os.path.dirname(path) == os.path.join(os.path.dirname(tachyon.__file__), "_lib"):
        how = "the one that came with this Python package"
    else:
        how = "the system's"
    version = tachyon.library_version()
    value = f"libtachyon {version}, Python package {tachyon.__version__}"
    return Check("library", "ok", value, f"{path}, {how}.")


def check_python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    value = f"{sys.implementation.name} {version}, {sys.executable}"
    if sys.version_info < (3, 12):
        return Check("python", "ok", value, "memoryview(lease) needs 3.12; lease.data works here.")
    return Check("python", "ok", value, "memoryview(lease) works, as does lease.data.")


def check_numpy() -> Check:
    """Look for NumPy without importing it: that would take longer than all the rest."""
    from importlib import metadata

    try:
        version = metadata.version("numpy")
    except metadata.PackageNotFoundError:
        return Check(
            "numpy", "ok", "not installed", "Nothing here needs it; arrays can be sent where it is."
        )
    return Check(
        "numpy", "ok", version, "numpy.frombuffer(lease.data) is a view of the ring, no copy."
    )


def check_kernel() -> Check:
    system = os.uname()
    value = f"{system.sysname} {system.release}, {system.machine}"
    if system.sysname != "Linux":
        return Check("kernel", "note", value, "Linux is where tachyon is at home and tested.")
    numbers = [int(part) for part in system.release.split("-")[0].split(".")[:2] if part.isdigit()]
    if tuple(numbers) < (5, 1):
        meaning = "Too old: seals that keep a peer from writing came with 5.1."
        return Check("kernel", "bad", value, meaning)
    return Check(
        "kernel", "ok", value, "New enough; the lines below are tried, not guessed from it."
    )


def check_seals() -> Check:
    """Make a memfd with the four seals, as each end does, and try to write it by a new mapping."""
    if not hasattr(os, "memfd_create"):
        return Check("seals", "note", "none on this system", "Peers must trust each other.")
    seals = SEAL_SEAL | SEAL_SHRINK | SEAL_GROW | SEAL_FUTURE_WRITE
    try:
        with (
            _memfd(MFD_CLOEXEC | MFD_ALLOW_SEALING) as fd,
            # As the owner's: a mapping older than the seal stays writable.
            mmap.mmap(fd, mmap.PAGESIZE) as own,
        ):
            fcntl.fcntl(fd, F_ADD_SEALS, seals)
            own[0] = 1
            enforced = _refuses_writers(fd)
    except OSError as error:
        text = f"Shared memory cannot be sealed here ({error.strerror})."
        return Check("seals", "bad", "refused", text)
    if enforced:
        meaning = "A crashed or hostile peer cannot change what you send, nor cut it short."
        return Check("seals", "ok", "enforced", meaning)
    meaning = (
        "The kernel (a sandbox?) takes the seals but lets others write all the same: connect"
        " to processes you trust only."
    )
    return Check("seals", "note", "accepted, not enforced", meaning)


@contextlib.contextmanager
def _memfd(flags: int) -> Iterator[int]:
    fd = os.memfd_create("tachyon-doctor", flags)
    try:
        os.ftruncate(fd, mmap.PAGESIZE)
        yield fd
    finally:
        os.close(fd)


def _refuses_writers(fd: int) -> bool:
    try:
        mmap.mmap(fd, mmap.PAGESIZE).close()
    except PermissionError:
        return True
    return False


def check_noexec() -> Check:
    name = "noexec memory"
    if not hasattr(os, "memfd_create"):
        return Check(name, "note", "none on this system", "Shared memory could be made executable.")
    try:
        with _memfd(MFD_CLOEXEC | MFD_NOEXEC_SEAL):
            return Check(name, "ok", "MFD_NOEXEC_SEAL", "Shared memory can never become a program.")
    except OSError as error:
        if error.errno != errno.EINVAL:
            return Check(name, "bad", "refused", f"memfd_create failed: {error.strerror}.")
    meaning = "The kernel is older than 6.3; all works, this extra protection is left out."
    return Check(name, "note", "not there", meaning)


def check_pidfd() -> Check:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        meaning = (
            "A peer's death is seen by the socket alone, so not while a child that it forked"
            " keeps the socket open."
        )
        return Check("pidfd", "note", "not there", meaning)
    meaning = "A peer's death is seen at once, even where its forked children live on."
    return Check("pidfd", "ok", "there", meaning)


# ---- a real bus -------------------------------------------------------------


def check_bus() -> list[Check]:
    """Open a bus between two threads of this process, and report what was agreed on."""
    try:
        with (
            tempfile.TemporaryDirectory(prefix="tachyon-", dir=_text.short_folder()) as folder,
            _bus_to_ourselves(os.path.join(folder, "bus")) as (one, other),
        ):
            one.send(b"are you there?", 7, timeout=PATIENCE_S)
            message = other.recv(timeout=PATIENCE_S)
            if message.data != b"are you there?" or message.type_id != 7:
                return [Check("bus", "bad", "broken", "A message came out changed.")]
            properties = one.properties()
            descriptors = _open_descriptors()
        # What closing both ends gave back: the first wait opens some more, for signals.
        descriptors = (descriptors - _open_descriptors()) // 2
    except OSError as error:
        return [Check("bus", "bad", "does not open", f"{error}")]
    return [
        Check("bus", "ok", "opened one here, a message went through", _shape(properties)),
        _check_barrier(properties.barrier),
        _check_isolation(properties.isolation),
        _check_watch(properties.watches_pid),
        _check_descriptors(descriptors),
    ]


@contextlib.contextmanager
def _bus_to_ourselves(path: str) -> Iterator[tuple[tachyon.Bus, tachyon.Bus]]:
    """Connect a bus to this very process: accepting takes a thread of its own."""
    accepted: list[tachyon.Bus] = []
    failed: list[OSError] = []

    def accept(listener: tachyon.Listener) -> None:
        try:
            accepted.append(listener.accept(timeout=PATIENCE_S))
        except OSError as error:
            failed.append(error)

    with tachyon.Listener(path) as listener:
        thread = threading.Thread(target=accept, args=(listener,))
        thread.start()
        try:
            connected = tachyon.Bus.connect(path, timeout=PATIENCE_S)
        finally:
            thread.join()
    if failed:
        raise failed[0]
    with connected, accepted[0]:
        yield connected, accepted[0]


def _shape(properties: tachyon.Properties) -> str:
    spin_us = properties.spin * 1e6
    polls = (
        f"a wait polls up to {spin_us:g} us, then sleeps" if spin_us else "a wait sleeps at once"
    )
    ring = _text.exact_size(properties.send_capacity)
    largest = _text.plural(properties.max_send_size, "byte")
    return f"By default: a ring of {ring} each way, messages up to {largest}; {polls}."


def _check_barrier(there: bool) -> Check:
    if there:
        return Check(
            "membarrier", "ok", "agreed on", "Sending needs no fence: one store, no system call."
        )
    meaning = "Not there, or slow: each send has a fence instead, some 10 ns."
    return Check("membarrier", "note", "not used", meaning)


def _check_isolation(there: bool) -> Check:
    if there:
        meaning = "Seen on the bus itself: each process can write its own half only."
        return Check("isolation", "ok", "on", meaning)
    return Check(
        "isolation", "note", "off", "The peer could write our memory: trust it, or do not connect."
    )


def _check_watch(there: bool) -> Check:
    if there:
        return Check(
            "death watch", "ok", "process and socket", "kill -9 of a peer is seen at once."
        )
    meaning = "A peer whose forked child keeps the socket open is not seen to die."
    return Check("death watch", "note", "socket only", meaning)


def _open_descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def _check_descriptors(per_bus: int) -> Check:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or not per_bus:
        return Check("descriptors", "ok", "no limit that matters", "As many buses as you like.")
    buses = max(soft - 16, 0) // per_bus
    state = "ok" if buses >= 50 else "note"
    meaning = f"A bus takes {per_bus}, so about {buses:,} buses in one process"
    more = f"; ulimit -n {hard} allows more." if soft < hard else "."
    return Check("descriptors", state, f"{soft:,} per process", meaning + more)
