# examples/store_client.py
import numpy as np

import tachyon

with tachyon.RpcBus.connect("/tmp/store") as bus:
    request = bus.reserve_array((1000, 100), "f4", msg_type=1)  # room in the ring
    with request as rows:
        rows[:] = 1.5  # computed in place; the end of the block sends it
    key = request.call.wait_array()

    rows = bus.call_array(key, 2)  # a copy that is ours
    print(rows.shape, rows.dtype, rows.sum())
    rows = bus.call_array(key, 2, copy=False)  # the reply in the ring, read-only
    print(rows.mean(), rows.flags.writeable)
    del rows  # gives its place back

    both = [bus.submit_array(np.int64(1), 2) for _ in range(2)]
    print([call.wait_array().shape for call in both])
    try:
        bus.call_array(np.int64(7), 2)
    except tachyon.RpcError as error:
        print(f"the server says {error.type}: {error.message}")
    bus.call(b"", 3)
