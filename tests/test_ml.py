"""PyTorch, JAX and ml_dtypes over the ring. They are large, so these tests run by `-m ml`,
after `pip install '.[test-ml]'`, and not otherwise; then they must all be there."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakePair, Pair, until

import tachyon

pytestmark = [
    pytest.mark.ml,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

FLOATS8 = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
TORCH = ["bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"]
TORCH += ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]


def numbers(name: str) -> Any:
    import torch

    return torch.arange(1, 25).to(getattr(torch, name)).reshape(4, 6)


def bits(tensor: Any) -> bytes:
    import torch

    return bytes(tensor.contiguous().view(torch.uint8).numpy())


# ---- PyTorch ----


@pytest.mark.parametrize("name", [*TORCH, *FLOATS8])
def test_torch_there_and_back(pair: Pair, name: str) -> None:
    import torch

    a, b = pair
    for sent in (numbers(name), numbers(name).t(), numbers(name)[1:3, ::2]):
        a.send_array(sent)
        a.send_array(sent)
        with b.recv_zero_copy() as lease:
            received = torch.from_dlpack(lease)
        assert (received.dtype, received.shape) == (sent.dtype, sent.shape)
        assert received.data_ptr() % 64 == 0
        assert bits(received) == bits(sent)
        assert b.stats().leases == 1
        del received
        assert b.stats().leases == 0
        copied = torch.from_dlpack(b.recv())
        assert bits(copied) == bits(sent) and copied.dtype == sent.dtype


def test_torch_from_arrays_and_bytes(pair: Pair) -> None:
    import torch

    a, b = pair
    a.send_array(np.arange(5, dtype="f4"))
    tensor = torch.from_dlpack(b.recv_array())
    assert tensor.tolist() == [0, 1, 2, 3, 4]
    a.send(b"hello")
    raw = torch.from_dlpack(b.recv_zero_copy())
    assert (raw.dtype, bytes(raw.numpy())) == (torch.uint8, b"hello")
    del tensor, raw
    assert b.stats().leases == 0


def test_torch_tensors_that_need_a_gradient_say_what_to_do(pair: Pair) -> None:
    import torch

    with pytest.raises(BufferError, match="detach"):
        pair[0].send_array(torch.ones(3, requires_grad=True))


def test_torch_computes_into_a_reserved_array(pair: Pair) -> None:
    import torch

    a, b = pair
    with a.reserve_array((4, 4), "f4") as array:
        torch.mul(torch.ones(4, 4), 3, out=torch.from_numpy(array))
    assert b.recv_array().tolist() == [[3.0] * 4] * 4
    kept = None
    with pytest.raises(BufferError):  # noqa: SIM117
        with a.reserve_array((4, 4), "f4") as array:
            kept = torch.from_numpy(array)
    with pytest.raises(tachyon.BusyError):
        a.send(b"")
    del kept, array
    gc.collect()
    a.send(b"")


def test_tensors_die_in_any_thread(make_pair: MakePair) -> None:
    import torch

    a, b = make_pair(65536)
    for _ in range(50):
        a.send_array(np.arange(1000, dtype="f4"))
        tensors = [torch.from_dlpack(b.recv_zero_copy())]
        thread = threading.Thread(target=tensors.clear)
        thread.start()
        thread.join()
    assert b.stats().leases == 0


PROGRAM = """
import sys, threading, numpy as np, tachyon
trusted = "trusted" in sys.argv[2]
with tachyon.Listener(sys.argv[1], trusted=trusted) as listener:
    ends = []
    thread = threading.Thread(
        target=lambda: ends.append(tachyon.Bus.connect(sys.argv[1], trusted=trusted)))
    thread.start()
    a = listener.accept(); thread.join(); b, = ends
a.send_array(np.arange(1000, dtype="f4"))
"""


def run(folder: Path, code: str, mode: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM + code, str(folder / "bus"), mode],
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(tachyon.__file__))},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def test_writing_in_place_into_a_received_tensor(folder: Path) -> None:
    """What the documentation says of it: torch does not look at the read-only flag."""
    write = "import torch\nt = torch.from_dlpack({})\nprint(t[1].item(), flush=True)\nt += 1\n"
    write += "print(t[1].item())"
    refused = run(folder, write.format("b.recv_zero_copy()"))
    assert (refused.returncode, refused.stdout) == (-signal.SIGSEGV, "1.0\n"), refused.stderr
    copied = run(folder, write.format("b.recv_zero_copy(), copy=True"))
    assert (copied.returncode, copied.stdout) == (0, "1.0\n2.0\n"), copied.stderr
    cloned = run(folder, write.format("b.recv_zero_copy()).clone("))
    assert (cloned.returncode, cloned.stdout) == (0, "1.0\n2.0\n"), cloned.stderr
    trusted = run(folder, write.format("b.recv_zero_copy()"), "trusted")
    assert (trusted.returncode, trusted.stdout) == (0, "1.0\n2.0\n"), trusted.stderr
    numpy = run(folder, "array = np.from_dlpack(b.recv_zero_copy())\narray += 1")
    assert numpy.returncode == 1
    assert "read-only" in numpy.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import torch; t = torch.from_dlpack(b.recv_zero_copy())",
        "import torch; t = torch.from_dlpack(b.recv_zero_copy()); a.close(); b.close()",
        "import torch; t = torch.from_dlpack(b.recv_zero_copy()); a.close(); b.close(); del a, b",
        "import torch; sys.t = torch.from_dlpack(b.recv_zero_copy()); b.close(); del b",
        "import torch, atexit; t = torch.from_dlpack(b.recv_zero_copy())\n"
        "atexit.register(lambda: print(t.sum().item()))",
        "import torch; t = torch.from_dlpack(b.recv_array())",
        "import torch; t = torch.from_dlpack(b.recv_zero_copy())\n"
        "threading.Thread(target=lambda k=[t]: (k.clear(), a.close(), b.close())).start(); del t",
        "import jax; t = jax.dlpack.from_dlpack(b.recv_zero_copy())",
        "import jax; sys.t = jax.dlpack.from_dlpack(b.recv_zero_copy()); b.close(); del a, b",
        "t = np.from_dlpack(b.recv_zero_copy()); sys.t = t; b.close(); del a, b",
    ],
)
def test_tensors_at_the_end_of_the_interpreter(folder: Path, code: str) -> None:
    ended = run(folder, code)
    assert (ended.returncode, ended.stderr) == (0, "")


# ---- JAX ----


def test_jax_takes_the_ring_itself(pair: Pair) -> None:
    import jax

    a, b = pair
    a.send_array(np.arange(1000, dtype="f4"))
    lease = b.recv_zero_copy()
    address = lease.array().ctypes.data
    tensor = jax.dlpack.from_dlpack(lease)
    lease.release()
    assert tensor.unsafe_buffer_pointer() == address
    assert float((tensor + 1).sum()) == 1000 * 1001 / 2
    assert b.stats().leases == 1
    del tensor
    gc.collect()
    assert b.stats().leases == 0


@pytest.mark.parametrize("name", ["int32", "float16", "bfloat16", "float32", "float8_e4m3fn"])
def test_jax_there_and_back(pair: Pair, name: str) -> None:
    import jax
    import jax.numpy as jnp

    a, b = pair
    sent = jnp.arange(1, 13).astype(name).reshape(3, 4)
    a.send_array(sent)
    a.send_array(sent)
    for source in (b.recv_zero_copy(), b.recv()):
        received = jax.dlpack.from_dlpack(source)
        assert (received.dtype, received.shape) == (sent.dtype, sent.shape)
        assert np.array_equal(np.asarray(received), np.asarray(sent))


# ---- ml_dtypes ----


def test_every_type_of_ml_dtypes(pair: Pair) -> None:
    import ml_dtypes

    a, b = pair
    names = [n for n in ml_dtypes.__all__ if n.startswith(("bfloat", "float", "int", "uint"))]
    assert len(names) > 10
    for name in names:
        dtype = np.dtype(getattr(ml_dtypes, name))
        sent = np.array([[0, 1], [1, 0]], dtype)
        a.send_array(sent)
        received = b.recv_array()
        assert (received.dtype, received.shape) == (dtype, (2, 2))
        assert received.tobytes() == sent.tobytes()
    structure = np.dtype([("weight", ml_dtypes.bfloat16, (3,)), ("id", "<u4")])
    with a.reserve_array(5, structure) as array:
        array["weight"] = 1.5
        array["id"] = 7
    received = b.recv_array()
    assert received.dtype == structure
    assert received["weight"].tolist() == [[1.5] * 3] * 5


def test_names_that_ml_dtypes_lacks_are_refused() -> None:
    from tachyon import _dtype

    for name in ("finfo", "iinfo", "float5_e1m1", "__all__", "np", "dtype"):
        with pytest.raises(ValueError):
            _dtype.dtype_of(name)


def test_types_without_a_form_in_dlpack_are_refused(pair: Pair) -> None:
    import ml_dtypes

    a, b = pair
    a.send_array(np.zeros(4, ml_dtypes.int4))
    with pytest.raises(BufferError, match="int4"):
        np.from_dlpack(b.recv_zero_copy())


def test_records_of_ml_dtypes(pair: Pair) -> None:
    import ml_dtypes

    a, b = pair
    dtype = np.dtype(ml_dtypes.bfloat16)
    assert a.send_records(np.ones((10, 4), dtype)) == 10
    assert b.recv_records(np.dtype((dtype, 4))).shape == (10, 4)


# ---- the examples that people copy ----

EXAMPLES = Path(__file__).parent.parent / "examples" / "features"


def build_producer(folder: Path) -> list[str]:
    library = tachyon.library_path()
    # Where the loader looks: under the name that the program is linked with.
    (folder / "libtachyon.so.1").symlink_to(library)
    command = [*os.environ.get("CC", "cc").split(), "-O2", "-Wall", "-Werror"]
    command += [f"-I{EXAMPLES.parent.parent / 'include'}", str(EXAMPLES / "produce.c"), library]
    subprocess.run([*command, "-o", str(folder / "produce"), f"-Wl,-rpath,{folder}"], check=True)
    return [str(folder / "produce")]


def expected_counts() -> list[int]:
    import torch

    torch.manual_seed(0)
    layers = [torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3)]
    values = (np.arange(102400)[:, None] * 31 + np.arange(32) * 7) % 101
    features = torch.from_numpy(values.astype("f4") / np.float32(101) - np.float32(0.5))
    with torch.inference_mode():
        classes = torch.nn.Sequential(*layers)(features).argmax(1)
    return [int(n) for n in classes.bincount(minlength=3)]


@pytest.mark.parametrize("language", ["c", "python"])
def test_features_stream_into_a_model(folder: Path, language: str) -> None:
    producer = [sys.executable, str(EXAMPLES / "produce.py")]
    if language == "c":
        producer = build_producer(folder)
    path = str(folder / "features")
    package = os.path.dirname(os.path.dirname(tachyon.__file__))
    environment = {**os.environ, "PYTHONPATH": package}
    consumer = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "classify.py"), path],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        # A busy machine may take longer to import PyTorch than the producer would wait.
        until(lambda: os.path.exists(path) or consumer.poll() is not None)
        subprocess.run([*producer, path], env=environment, check=True, timeout=120)
        output = consumer.communicate(timeout=120)[0]
    finally:
        consumer.kill()
    counts = expected_counts()
    assert sum(count > 0 for count in counts) > 1, "a model that tells nothing apart proves nothing"
    assert consumer.returncode == 0
    assert output == f"102400 vectors, by class: {counts}\n"
