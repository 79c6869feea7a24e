"""What the tests of asyncio share: loops of both kinds, and pairs of buses in one loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop
from conftest import PATIENCE

import tachyon

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def watched_descriptors(loop: asyncio.AbstractEventLoop) -> int:
    """How many descriptors asyncio's own loop watches, apart from its own pipe."""
    selector: Any = getattr(loop, "_selector", None)
    return len(selector.get_map()) - 1 if selector else 0


def run_in(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end; a bus must leave nothing in the loop. Whole tests have more patience."""
    try:
        result = loop.run_until_complete(asyncio.wait_for(coroutine, 3 * PATIENCE))
        loop.run_until_complete(loop.shutdown_default_executor())
        assert watched_descriptors(loop) == 0
        return result
    finally:
        loop.close()


async def connect_pair(
    path: Path, capacity: int | None = None, **options: Any
) -> tuple[tachyon.Bus, tachyon.Bus]:
    """(listener's end, connector's end), both in this loop."""
    connecting = asyncio.create_task(tachyon.Bus.aconnect(path))
    listener_end = await tachyon.Bus.alisten(path, capacity, **options)
    return listener_end, await connecting


async def until_waiting(*tasks: asyncio.Task[Any]) -> None:
    """Until the tasks have gone as far as they can get; each of them must be waiting."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


def fill(bus: tachyon.Bus, data: bytes = bytes(1000)) -> int:
    """Send until the ring is full; how many there are."""
    count = 0
    while True:
        try:
            bus.send(data, count, timeout=0)
        except tachyon.WaitTimeoutError:
            return count
        count += 1
