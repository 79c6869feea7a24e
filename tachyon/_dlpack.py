"""DLPack, both ways: tensors of PyTorch, JAX and others over our memory, and ours over theirs.

NumPy does the work, and knows its rules: capsules of either version, read-only flags, copies.
What is added here:

- consumers that ask for no version get a capsule that cannot say "read-only", so NumPy
  refuses to make one of a read-only array. JAX is such a consumer, and never writes: it gets
  the memory all the same, by an array that does not know it is read-only;
- NumPy has no bfloat16 and no float8. They travel as unsigned integers of the same size, and
  the type is written into the capsule's tensor before anyone has looked at it.
"""

from __future__ import annotations

from ctypes import c_char_p, c_int, c_uint8, c_void_p, py_object, pythonapi

from tachyon._array import array_in, is_array, layout_of
from tachyon._dtype import is_foreign, text_of
from tachyon._numpy import numpy as np

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

# DLDeviceType of memory that a CPU can read: CPU, pinned by CUDA and by ROCm, CUDA's managed.
_CPU, *_ = _READABLE = (1, 3, 11, 13)

# DLDataTypeCode of what NumPy lacks, by the names of ml_dtypes, and bits.
_CODES = {
    "bfloat16": (4, 16),
    "float8_e3m4": (7, 8),
    "float8_e4m3": (8, 8),
    "float8_e4m3b11fnuz": (9, 8),
    "float8_e4m3fn": (10, 8),
    "float8_e4m3fnuz": (11, 8),
    "float8_e5m2": (12, 8),
    "float8_e5m2fnuz": (13, 8),
    "float8_e8m0fnu": (14, 8),
}
_NAMES = {code: name for name, code in _CODES.items()}
_UINT = 1
# Name of a capsule not yet consumed: offset of DLTensor.dtype in it. DLManagedTensor begins
# with the tensor; DLManagedTensorVersioned has version, context, deleter and flags before it.
# In the tensor, before dtype: data, device (8 bytes), ndim.
_DTYPE_OFFSETS = {b"dltensor": 20, b"dltensor_versioned": 52}

# By index: attributes of ctypes.pythonapi are shared with everyone in the process.
_capsule_is_valid = pythonapi["PyCapsule_IsValid"]
_capsule_is_valid.argtypes = [py_object, c_char_p]
_capsule_is_valid.restype = c_int
_capsule_pointer = pythonapi["PyCapsule_GetPointer"]
_capsule_pointer.argtypes = [py_object, c_char_p]
_capsule_pointer.restype = c_void_p


def _dtype_field(capsule: object) -> Any:
    """The first two bytes of DLTensor.dtype, [code, bits], in place."""
    for name, offset in _DTYPE_OFFSETS.items():
        if _capsule_is_valid(capsule, name):
            return (c_uint8 * 2).from_address(_capsule_pointer(capsule, name) + offset)
    raise BufferError("__dlpack__() gave no unused DLPack capsule")


# ---- out of our memory ----


class Exporter:
    """Memory of a received message: read-only, and where it can be had, one for those who
    cannot be told so."""

    __slots__ = ("_memory", "_unguarded")

    def __init__(self, memory: Any, unguarded: bool) -> None:
        """memory: memoryview of bytes, or bytes. unguarded: whether those who cannot be told
        may have it all the same; not where that would be a lie with consequences."""
        self._memory = memory
        self._unguarded = unguarded

    def capsule(
        self,
        max_version: tuple[int, int] | None,
        dl_device: tuple[Any, int] | None,
        copy: bool | None,
    ) -> object:
        """Raises BufferError for what DLPack or this memory cannot do."""
        memory = self._memory
        if (max_version is None or max_version[0] < 1) and not copy:
            if self._unguarded:
                memory = _without_guard(memory)
            elif copy is None:
                copy = True
        array, name = _elements(memory)
        capsule = array.__dlpack__(max_version=max_version, dl_device=dl_device, copy=copy)
        if name is not None:
            _dtype_field(capsule)[:] = _CODES[name]
        return capsule


def _without_guard(memory: memoryview) -> memoryview:
    """The same memory by a buffer that does not say that it is read-only."""
    size = len(memory)
    block = (c_uint8 * size).from_address(np.frombuffer(memory, "u1").ctypes.data if size else 0)
    # What the memory hangs on: the view itself may be released, and its lease with it.
    block.exporter = memory.obj  # type: ignore[attr-defined]
    return memoryview(block).cast("B")


def _elements(memory: Any) -> tuple[NDArray[Any], str | None]:
    """The array in a message, or its bytes as one; and the name where NumPy lacks the type."""
    if not is_array(memory):
        return np.ndarray((len(memory),), "u1", memory), None
    layout = layout_of(memory)
    if not is_foreign(layout.text):
        return array_in(memory), None
    if layout.text not in _CODES:
        raise BufferError(f"elements of type {layout.text} have no form in DLPack")
    raw = np.dtype(f"u{layout.itemsize}")
    base = np.frombuffer(memory, "u1")
    return np.ndarray(layout.shape, raw, base, layout.offset), layout.text


# ---- into our memory ----


class _Carrier:
    """Hands a capsule on to NumPy."""

    __slots__ = ("_capsule", "_device")

    def __init__(self, capsule: object, device: Any) -> None:
        self._capsule = capsule
        self._device = device

    def __dlpack__(self, **_: Any) -> object:
        return self._capsule

    def __dlpack_device__(self) -> Any:
        return self._device


def import_tensor(tensor: Any) -> tuple[NDArray[Any], str]:
    """An array over a tensor's memory, and the text of its dtype. Where NumPy lacks the type,
    the array has unsigned integers.

    Raises BufferError (on a GPU; what its __dlpack__() raises), TypeError.
    """
    device = tensor.__dlpack_device__()
    if int(device[0]) not in _READABLE:
        raise BufferError(
            f"this {type(tensor).__name__} is not in the CPU's memory (DLPack device "
            f"{int(device[0])}); move it there first, as by tensor.cpu()"
        )
    capsule = _ask_for_capsule(tensor)
    field = _dtype_field(capsule)
    code, bits = field
    name = _NAMES.get((code, bits))
    if name is not None:
        field[0] = _UINT
    array = np.from_dlpack(_Carrier(capsule, device))  # type: ignore[arg-type]
    return array, name or text_of(array.dtype)


def _ask_for_capsule(tensor: Any) -> object:
    try:
        return tensor.__dlpack__(max_version=(1, 1))
    except TypeError:  # older than DLPack 1.0
        return tensor.__dlpack__()
