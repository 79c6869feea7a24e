# examples/file_send.py
import sys

import tachyon

with (
    open(sys.argv[1], "rb", buffering=0) as file,
    tachyon.Bus.connect("/tmp/file") as bus,
):
    while True:
        with bus.send_zero_copy(64 * 1024) as slot:
            slot.size = file.readinto(slot.data)  # the kernel reads straight into the ring
            if not slot.size:
                slot.cancel()
                break
