# examples/fan_in_anyio.py
import sys
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel

import tachyon


async def messages(bus: tachyon.Bus) -> AsyncIterator[tachyon.Message]:
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


async def consume(bus: tachyon.Bus, counts: dict[int, int]) -> None:
    with bus:
        async for message in messages(bus):
            counts[message.type_id] += 1


async def main() -> None:
    counts = dict.fromkeys(range(1, 6), 0)
    async with anyio.create_task_group() as tasks:
        with tachyon.Listener("/tmp/fan-in-anyio") as listener:
            for _ in counts:
                tasks.start_soon(consume, await accept(listener), counts)
    print(counts)


anyio.run(main, backend=sys.argv[1])  # "trio" or "asyncio"
