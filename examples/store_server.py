# examples/store_server.py
import numpy as np

import tachyon

arrays: dict[int, np.ndarray] = {}


@tachyon.rpc(msg_type=1)
def put(rows: np.ndarray) -> np.int64:
    """The request may lie in the ring, which wants its room back: what is kept is a copy."""
    key = len(arrays) + 1
    arrays[key] = rows.copy()
    return np.int64(key)


@tachyon.rpc(msg_type=2)
def get(key: np.ndarray) -> np.ndarray:
    return arrays[int(key)]  # copied once, into the ring; a KeyError is the caller's


@tachyon.rpc(msg_type=3)
def stop(request: memoryview) -> None:
    server.stop()


dispatcher = tachyon.Dispatcher().register(put, get, stop)
server = tachyon.RpcServer("/tmp/store", dispatcher, capacity=1 << 24)
server.serve_forever()
