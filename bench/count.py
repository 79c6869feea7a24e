"""Sends, or sends and receives, 32-byte messages within one process: bench/count counts it.

count.py PATH send N: N messages are sent, into a ring with room for all.
count.py PATH recv N, or next N: MOST messages are sent, then N of them received.
"""

from __future__ import annotations

import sys
import threading
from itertools import islice, repeat

import tachyon

MOST = 16384  # messages, one cache line each
CAPACITY = 2 * 64 * MOST
DATA = bytes(range(32))


def open_ends(path: str) -> tuple[tachyon.Bus, tachyon.Bus]:
    ends = []
    with tachyon.Listener(path, CAPACITY) as listener:
        connecting = threading.Thread(target=lambda: ends.append(tachyon.Bus.connect(path)))
        connecting.start()
        ends.append(listener.accept())
        connecting.join()
    return ends[0], ends[1]


def main() -> None:
    path, what, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    one, other = open_ends(path)
    send, recv = one.send, other.recv
    for _ in repeat(None, count if what == "send" else MOST):
        send(DATA)
    if what == "recv":
        for _ in repeat(None, count):
            recv()
    if what == "next":
        for _ in islice(other, count):
            pass


if __name__ == "__main__":
    main()
