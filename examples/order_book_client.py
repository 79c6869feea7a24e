# examples/order_book_client.py
import struct

import tachyon

with tachyon.RpcBus.connect("/tmp/books") as bus:
    reply = bus.call(struct.pack("<Q", 2330), 1, timeout=1.0)
    number, instrument, best, *_ = struct.unpack("<QQ20d", reply)
    print(f"snapshot {number} of {instrument}: {len(reply)} bytes, best bid {best}")
    try:
        bus.call(struct.pack("<Q", 1), 1)
    except tachyon.RpcError as error:
        print(f"the server says {error.type}: {error.message}")
    calls = [bus.submit(struct.pack("<Q", 2330), 1) for _ in range(3)]
    print([struct.unpack_from("<Q", call.wait())[0] for call in reversed(calls)])
    bus.call(b"", 2)
