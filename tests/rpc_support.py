"""What the tests of RPC share: both ends in this process, and a thread that serves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tachyon

Ends = tuple[tachyon.RpcBus, tachyon.RpcBus]
MakeEnds = Callable[..., Ends]


def connect_ends(path: Path, capacity: int = 1 << 16, **options: Any) -> Ends:
    """(caller, server). options: of connect."""
    servers: list[tachyon.RpcBus] = []
    thread = threading.Thread(
        target=lambda: servers.append(tachyon.RpcBus.listen(path, capacity, timeout=30))
    )
    thread.start()
    caller = tachyon.RpcBus.connect(path, **options)
    thread.join()
    return caller, servers[0]


class Running:
    """A dispatcher that serves a bus in a thread until the block ends."""

    def __init__(self, server: tachyon.RpcBus, dispatcher: tachyon.Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._thread = threading.Thread(target=dispatcher.serve_forever, args=(server,))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._dispatcher.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()
