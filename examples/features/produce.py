# examples/features/produce.py: as produce.c, in Python
import sys

import numpy as np

import tachyon

FEATURES, BATCH, VECTORS = 32, 256, 102400


def extract(vectors: np.ndarray) -> np.ndarray:
    """Stands for what your program extracts: the vectors of these numbers, one a row."""
    values = (vectors[:, None] * 31 + np.arange(FEATURES) * 7) % 101
    return values.astype("f4") / np.float32(101) - np.float32(0.5)


with tachyon.Bus.connect(sys.argv[1] if len(sys.argv) > 1 else "/tmp/features") as bus:
    for first in range(0, VECTORS, BATCH):
        bus.send_records(extract(np.arange(first, first + BATCH)), type_id=1)
