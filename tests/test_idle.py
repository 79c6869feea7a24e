"""Waiting costs nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from conftest import PATIENCE, Peer

import tachyon

SECONDS = 10


def facts(pid: int) -> tuple[list[str], str]:
    """Context switches, and the system call that the process is in, with its registers."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    switches = [line for line in status if "ctxt_switches" in line]
    return switches, Path(f"/proc/{pid}/syscall").read_text()


def test_a_blocked_receiver_does_nothing_at_all_for_10_seconds(
    path: Path, start_peer: Callable[[str], Peer]
) -> None:
    peer = start_peer("bus = Bus.connect(path); print('waits'); print(bus.recv().data)")
    with tachyon.Bus.listen(path, timeout=PATIENCE) as bus:
        assert peer.line() == "waits"
        peer.until_asleep()
        before = facts(peer.pid)
        time.sleep(SECONDS)  # not to synchronise: it is the time that is looked at
        assert facts(peer.pid) == before
        bus.send(b"awake")
        assert peer.line() == "b'awake'"
