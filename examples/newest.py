# examples/newest.py
import struct
import time

import tachyon

reading = struct.Struct("<Qd")  # sequence number, value

with tachyon.Bus.listen("/tmp/newest", capacity=4096) as bus:
    newest = -1
    try:
        while True:
            with bus.drain_batch() as batch:  # all that is there; waits for one
                newest, value = reading.unpack(batch[-1].data)
            time.sleep(0.0001)  # the work on it
    except tachyon.ClosedError:
        print(f"the newest was number {newest}")
