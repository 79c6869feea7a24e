"""The same under trio or asyncio by way of anyio: a bus is a descriptor to sleep on."""

import sys
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel

import tachyon


async def messages(bus: tachyon.Bus) -> AsyncIterator[tachyon.Message]:
    """Messages until the peer closes. Cancelled, it loses none."""
    while True:
        try:
            yield bus.recv(timeout=0)
            await anyio.lowlevel.checkpoint()  # a flood shall not keep other tasks waiting
        except tachyon.WaitTimeoutError:
            if bus.arm():  # nothing there: the next message makes the bus readable
                await anyio.wait_readable(bus)
        except tachyon.ClosedError:
            return


async def accept(listener: tachyon.Listener) -> tachyon.Bus:
    while True:
        await anyio.wait_readable(listener)
        try:
            return listener.accept(timeout=0)
        except tachyon.WaitTimeoutError:
            pass  # an introduction has several steps


async def consume(bus: tachyon.Bus) -> None:
    count = 0
    with bus:
        async for _ in messages(bus):
            count += 1
    print(f"{count} messages")


async def main(path: str, producers: int) -> None:
    async with anyio.create_task_group() as tasks:
        with tachyon.Listener(path) as listener:
            for _ in range(producers):
                tasks.start_soon(consume, await accept(listener))


if __name__ == "__main__":
    # fan_in_anyio.py PATH PRODUCERS [trio | asyncio]
    anyio.run(main, sys.argv[1], int(sys.argv[2]), backend=(sys.argv[3:] or ["trio"])[0])
