# examples/inference_server.py
import numpy as np
import torch

import tachyon

torch.manual_seed(1)
model = torch.nn.Sequential(torch.nn.Linear(784, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))


@tachyon.rpc(msg_type=1)
def classify(images: np.ndarray) -> torch.Tensor:
    """Images of float32, (n, 784), to probabilities, (n, 10)."""
    with torch.inference_mode():
        batch = torch.from_dlpack(images)  # no copy: the memory of the ring; do not write there
        return model(batch).softmax(dim=1)  # copied once, into the ring


@tachyon.rpc(msg_type=2)
def stop(request: memoryview) -> None:
    server.stop()


dispatcher = tachyon.Dispatcher().register(classify, stop)
server = tachyon.RpcServer("/tmp/classifier", dispatcher, capacity=1 << 24)
server.serve_forever()
