# examples/inference_client.py
import numpy as np

import tachyon

with tachyon.RpcBus.connect("/tmp/classifier") as bus:
    images = np.linspace(0, 1, 32 * 784, dtype="f4").reshape(32, 784)
    probabilities = bus.call_array(images, 1)
    print(probabilities.shape, probabilities.dtype, np.allclose(probabilities.sum(axis=1), 1))
    try:
        bus.call_array(images[:, :100], 1)
    except tachyon.RpcError as error:
        print(f"the server says {error.type}: {error.message.splitlines()[0]}")
    bus.call(b"", 2)
