# examples/squares_call.py
import struct

import tachyon

SQUARE, ROOT = 1, 2

with tachyon.RpcBus.connect("/tmp/squares") as rpc:
    for procedure, x in (SQUARE, 12.0), (ROOT, 2.0), (ROOT, -1.0):
        try:
            (result,) = struct.unpack("d", rpc.call(struct.pack("d", x), procedure))
            print(f"{result:.3f}")
        except tachyon.RpcError as error:
            print(error)
