# examples/order_book_server.py
import struct

import tachyon

SNAPSHOT = struct.Struct("<QQ20d")  # sequence, instrument, 5 x (price, size) of bids and asks
books = {2330: [100.0 - 0.5 * level for level in range(20)]}
calls = 0


@tachyon.rpc(msg_type=1)
def snapshot(request: memoryview) -> bytes:
    """The request is the instrument as 8 bytes; the reply has 176."""
    global calls
    calls += 1
    (instrument,) = struct.unpack("<Q", request)
    return SNAPSHOT.pack(calls, instrument, *books[instrument])  # a KeyError is the caller's


@tachyon.rpc(msg_type=2)
def stop(request: memoryview) -> None:
    server.stop()


server = tachyon.RpcServer("/tmp/books", tachyon.Dispatcher().register(snapshot, stop))
server.serve_forever()
