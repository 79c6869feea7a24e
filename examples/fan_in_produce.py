# examples/fan_in_produce.py
import struct
import sys

import tachyon

sensor = int(sys.argv[1])
reading = struct.Struct("<Qd")  # sequence number, value

with tachyon.Bus.connect(sys.argv[2] if sys.argv[2:] else "/tmp/fan-in") as bus:
    for number in range(10_000):
        bus.send(reading.pack(number, sensor + number / 10_000), type_id=sensor)
