# examples/arrays_send.py
import numpy

import tachyon

with tachyon.Bus.connect("/tmp/arrays") as bus:
    bus.send_array(numpy.eye(2))  # of any dtype and strides, copied once
    with bus.reserve_array((480, 640), "f4") as image:  # made in the ring, never copied
        image[:] = 0.5
    ticks = numpy.zeros(100_000, [("time", "u8"), ("price", "f8")])
    ticks["time"] = numpy.arange(len(ticks))
    ticks["price"] = 100 + ticks["time"] / 100_000
    bus.send_records(ticks)  # 100,000 messages of 16 bytes
