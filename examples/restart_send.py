# examples/restart_send.py
import os
import signal
import sys

import tachyon

with tachyon.Bus.connect("/tmp/restart") as bus:
    for word in sys.argv[1:]:
        if word == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        bus.send(word.encode())
