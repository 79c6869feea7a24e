# examples/fan_in.py
import asyncio
import struct

import tachyon

reading = struct.Struct("<Qd")  # sequence number, value


async def consume(bus: tachyon.Bus) -> str:
    sensor, count, total = 0, 0, 0.0
    async with bus:
        async for message in bus:  # ends when the producer closes; PeerDeadError if it crashes
            number, value = reading.unpack(message.data)
            assert number == count  # none is lost, none comes twice, all are in order
            sensor, count, total = message.type_id, count + 1, total + value
    return f"sensor {sensor}: {count} readings, mean {total / count:.5f}"


async def main() -> None:
    consuming = []
    async with tachyon.Listener("/tmp/fan-in") as listener:
        async for bus in listener:
            consuming.append(asyncio.create_task(consume(bus)))
            if len(consuming) == 5:
                break
    print("\n".join(sorted(await asyncio.gather(*consuming))))


asyncio.run(main())
