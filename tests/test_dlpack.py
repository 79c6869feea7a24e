"""DLPack, with NumPy on the other side; PyTorch and JAX are in test_ml.py."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from conftest import MakePair, Pair

import tachyon
from tachyon import _array, _dlpack


def kinds(pair: Pair, array: Any) -> list[Any]:
    """The array as a lease and as a message."""
    a, b = pair
    a.send_array(array)
    a.send_array(array)
    return [b.recv_zero_copy(), b.recv()]


DTYPES = ["?", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8", "<c8"]


@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [*DTYPES, "<c16"])
def test_from_dlpack_gives_dtype_and_shape(pair: Pair, dtype: str, shape: Any) -> None:
    sent = np.arange(int(np.prod(shape))).astype(dtype).reshape(shape)
    for source in kinds(pair, sent):
        tensor = np.from_dlpack(source)
        assert (tensor.dtype, tensor.shape) == (sent.dtype, sent.shape)
        assert np.array_equal(tensor, sent)
        assert not tensor.flags.writeable


@pytest.mark.parametrize("data", [b"", b"x", b"hello", bytes(63), bytes(1000)])
def test_plain_bytes_are_uint8(pair: Pair, data: bytes) -> None:
    a, b = pair
    a.send(data)
    a.send(data)
    for source in (b.recv_zero_copy(), b.recv()):
        tensor = np.from_dlpack(source)
        assert (tensor.dtype, tensor.shape) == (np.uint8, (len(data),))
        assert tensor.tobytes() == data


def test_a_tensor_of_a_lease_is_the_ring(pair: Pair) -> None:
    a, b = pair
    a.send_array(np.arange(100, dtype="f4"))
    with b.recv_zero_copy() as lease:
        tensor = np.from_dlpack(lease)
        assert np.shares_memory(tensor, lease.array())
        assert tensor.ctypes.data % 64 == 0
    assert b.stats().leases == 1
    assert tensor[99] == 99
    with pytest.raises(ValueError, match="read-only"):
        tensor[0] = 1
    with pytest.raises(ValueError, match="released"):
        np.from_dlpack(lease)
    del tensor
    assert b.stats().leases == 0


def test_a_tensor_outlives_the_bus(make_pair: MakePair) -> None:
    a, b = make_pair(65536)
    sent = np.arange(1000, dtype="f8")
    a.send_array(sent)
    tensor = np.from_dlpack(b.recv_zero_copy())
    a.close()
    b.close()
    del a, b
    gc.collect()
    assert np.array_equal(tensor, sent)


def test_a_copy_can_be_written_and_holds_no_lease(pair: Pair) -> None:
    for source in kinds(pair, np.arange(5)):
        tensor = np.from_dlpack(source, copy=True)
        tensor[0] = 7
    source = None
    del source
    gc.collect()
    assert pair[1].stats().leases == 0


def test_capsules_of_both_versions(pair: Pair) -> None:
    lease, message = kinds(pair, np.arange(5))
    for source in (lease, message):
        assert source.__dlpack_device__() == (1, 0)
        assert '"dltensor"' in repr(source.__dlpack__())
        assert '"dltensor"' in repr(source.__dlpack__(max_version=(0, 8)))
        assert '"dltensor_versioned"' in repr(source.__dlpack__(max_version=(1, 0)))
        assert '"dltensor_versioned"' in repr(source.__dlpack__(max_version=(1, 1), copy=True))
    # Who cannot be told "read-only" gets the ring of a lease, which is only memory...
    assert '"dltensor"' in repr(lease.__dlpack__(copy=False))
    # ...but never the bytes object of a message, which Python may have anywhere.
    with pytest.raises(BufferError):
        message.__dlpack__(copy=False)


@pytest.mark.parametrize("version", [None, (1, 0)])
@pytest.mark.parametrize("trusted", [False, True])
def test_a_capsule_keeps_the_message_until_it_goes(
    make_pair: MakePair, version: Any, trusted: bool
) -> None:
    a, b = make_pair(trusted=trusted)
    a.send_array(np.arange(5))
    lease = b.recv_zero_copy()
    capsule = lease.__dlpack__(max_version=version)
    lease.release()
    gc.collect()
    assert b.stats().leases == 1
    del capsule, lease
    assert b.stats().leases == 0


def test_other_devices_are_refused(pair: Pair) -> None:
    for source in kinds(pair, np.arange(5)):
        with pytest.raises((BufferError, ValueError), match="device"):
            source.__dlpack__(max_version=(1, 0), dl_device=(2, 0))
        source.__dlpack__(max_version=(1, 0), dl_device=(1, 0))


@pytest.mark.parametrize("dtype", ["<M8[s]", "S3", "<i4,<f4"])
def test_what_dlpack_has_no_form_for_is_refused(pair: Pair, dtype: str) -> None:
    for source in kinds(pair, np.zeros(3, dtype)):
        with pytest.raises(BufferError):
            np.from_dlpack(source)


def test_broken_arrays_are_refused(pair: Pair) -> None:
    a, b = pair
    data = bytearray(np.zeros(200, "u1").tobytes())
    data[:8] = _array._MAGIC_BYTES
    a.send(data)
    with pytest.raises(tachyon.ArrayFormatError):
        np.from_dlpack(b.recv_zero_copy())


def test_trusted_tensors_can_be_written(make_pair: MakePair) -> None:
    a, b = make_pair(trusted=True)
    a.send_array(np.arange(5))
    tensor = np.from_dlpack(b.recv_zero_copy())
    tensor *= 2
    assert tensor.tolist() == [0, 2, 4, 6, 8]


# ---- sending tensors ----


class Tensor:
    """Somebody's tensor; `old` ones know no versions."""

    def __init__(self, array: Any, device: int = 1, old: bool = False) -> None:
        self._array = array
        self._device = device
        self._old = old

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device, 0

    def __dlpack__(self, **keywords: Any) -> Any:
        if self._old and keywords:
            raise TypeError("unexpected keyword argument")
        return self._array.__dlpack__(**keywords)


@pytest.mark.parametrize("old", [False, True])
def test_tensors_can_be_sent(pair: Pair, old: bool) -> None:
    a, b = pair
    sent = np.arange(24, dtype="f4").reshape(4, 6)
    for array in (sent, sent[:, ::2], sent.T):
        a.send_array(Tensor(array, old=old))
        assert np.array_equal(b.recv_array(), array)


def test_leases_and_messages_can_be_sent_on(pair: Pair) -> None:
    a, b = pair
    sent = np.arange(6, dtype="i2").reshape(2, 3)
    for source in kinds(pair, sent):
        a.send_array(source)
        assert np.array_equal(b.recv_array(), sent)


@pytest.mark.parametrize("device", [2, 4, 7, 8, 10])
def test_tensors_on_a_gpu_are_refused(pair: Pair, device: int) -> None:
    a, _ = pair
    with pytest.raises(BufferError, match=r"move it there first.*cpu\(\)"):
        a.send_array(Tensor(np.arange(3), device))
    assert a.stats().sent_messages == 0


def test_what_gives_no_capsule_is_refused(pair: Pair) -> None:
    a, _ = pair

    class Broken(Tensor):
        def __dlpack__(self, **keywords: Any) -> Any:
            return object()

    with pytest.raises(BufferError, match="capsule"):
        a.send_array(Broken(None))


# ---- types that NumPy lacks ----


class Numbers16(Tensor):
    """A tensor of bfloat16, made of unsigned integers as PyTorch would make one."""

    def __dlpack__(self, **keywords: Any) -> Any:
        capsule = self._array.__dlpack__(**keywords)
        _dlpack._dtype_field(capsule)[0] = 4
        return capsule


def test_bfloat16_travels_without_ml_dtypes(pair: Pair, monkeypatch: Any) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    a, b = pair
    sent = np.array([0x3F80, 0x4000, 0xC000], "u2")
    a.send_array(Numbers16(sent), 3)
    for _ in range(2):
        with pytest.raises(ImportError, match="bfloat16 need ml_dtypes: pip install"):
            b.recv_array()
    assert b.stats().leases == 0
    lease = b.recv_zero_copy()
    with pytest.raises(ImportError, match="ml_dtypes"):
        lease.array()
    for version in (None, (1, 0)):
        capsule = lease.__dlpack__(max_version=version)
        assert list(_dlpack._dtype_field(capsule)) == [4, 16]
    a.send_array(lease)
    on = b.recv()
    assert on.data[-6:] == sent.tobytes()
    assert b"bfloat16" in on.data[:192]
