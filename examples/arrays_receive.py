# examples/arrays_receive.py
import tachyon

TICK = [("time", "u8"), ("price", "f8")]

with tachyon.Bus.listen("/tmp/arrays", capacity=8 << 20) as bus:
    print(bus.recv_array(copy=True))  # yours; it has the sender's dtype and shape
    image = bus.recv_array()  # read-only, in the ring
    print(image.shape, image.dtype, image.mean())
    del image  # gives its place in the ring back
    count = total = 0
    try:
        while True:
            ticks = bus.recv_records(TICK)  # as many as are there: one array in the ring
            count, total = count + len(ticks), total + ticks["price"].sum()
            del ticks
    except tachyon.ClosedError:
        print(f"{count} ticks, mean price {total / count:.3f}")
