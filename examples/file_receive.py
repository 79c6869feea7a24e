# examples/file_receive.py
import hashlib

import tachyon

digest = hashlib.sha256()
with tachyon.Bus.listen("/tmp/file") as bus:
    try:
        while True:
            with bus.recv_zero_copy() as lease:
                digest.update(lease.data)  # a view of the ring, until the block ends
    except tachyon.ClosedError:  # the sender has finished, and all of it has arrived
        print(digest.hexdigest())
