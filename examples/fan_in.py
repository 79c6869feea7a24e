"""asyncio fan-in: five producer processes, one consumer that hears all of them at once."""

import asyncio
import struct
import subprocess
import sys

import tachyon

PATH = "/tmp/fan-in" if len(sys.argv) < 2 else sys.argv[1]
PRODUCERS = 5
COUNT = 10_000
READING = struct.Struct("<Qd")  # sequence number, value


def produce(path: str, sensor: int) -> None:
    """What each of the producers does, in a process of its own."""
    with tachyon.Bus.connect(path) as bus:
        for number in range(COUNT):
            bus.send(READING.pack(number, sensor + number / COUNT), type_id=sensor)


async def consume(bus: tachyon.Bus) -> tuple[int, int, float]:
    """Everything that one producer has to say: its number, how much it was, and the sum."""
    sensor, count, total = 0, 0, 0.0
    async with bus:
        async for message in bus:  # ends when the producer closes; PeerDeadError if it crashes
            number, value = READING.unpack(message.data)
            assert number == count  # none is lost, none comes twice, all are in order
            sensor, count, total = message.type_id, count + 1, total + value
    return sensor, count, total


async def main() -> None:
    async with tachyon.Listener(PATH) as listener:
        commands = [[sys.executable, __file__, PATH, str(i)] for i in range(PRODUCERS)]
        processes = [subprocess.Popen(command) for command in commands]
        buses = [await asyncio.wait_for(listener.aaccept(), 30) for _ in processes]
    for sensor, count, total in sorted(await asyncio.gather(*map(consume, buses))):
        print(f"sensor {sensor}: {count} readings, mean {total / count:.5f}")
    for process in processes:
        process.wait()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        produce(PATH, int(sys.argv[2]))
    else:
        asyncio.run(main())
