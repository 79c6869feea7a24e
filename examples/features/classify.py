# examples/features/classify.py: runs a small model on the vectors, where they lie
import sys

import numpy as np
import torch

import tachyon

FEATURES = 32
torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(FEATURES, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3)
).eval()
counts = torch.zeros(3, dtype=torch.long)

path = sys.argv[1] if len(sys.argv) > 1 else "/tmp/features"
with tachyon.Bus.listen(path, capacity=4 << 20) as bus, torch.inference_mode():
    try:
        while True:
            # As many vectors as are there, up to 4096: one (n, 32) array in the ring.
            vectors = bus.recv_records(np.dtype(("f4", FEATURES)), max_records=4096)
            batch = torch.from_dlpack(vectors)  # the same memory: never write into it
            counts += model(batch).argmax(1).bincount(minlength=3)
            del vectors, batch  # their place in the ring is free again
    except tachyon.ClosedError:  # the producer has finished
        print(f"{counts.sum()} vectors, by class: {counts.tolist()}")
