"""Hostile headers of arrays: none is believed, and C and Python agree about each.

`TACHYON_HEADERS=24000 pytest tests/test_array_headers.py` takes that many.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import struct
from typing import Any

import numpy as np
import pytest
from conftest import Pair
from test_arrays import DTYPES, HEADER, good

import tachyon
from tachyon import _array, _dtype

# ---- one by one ----

FIELDS = ("magic", "version", "ndim", "dtype_size", "itemsize", "data_size", "data_offset")
FIELDS += ("flags", "reserved")


def forged(**changes: Any) -> bytes:
    data = good(np.arange(12, dtype="<f4").reshape(3, 4))
    values = dict(zip(FIELDS, HEADER.unpack_from(data), strict=True))
    shape = changes.pop("shape", None)
    text = changes.pop("dtype", None)
    data = HEADER.pack(*{**values, **changes}.values()) + data[HEADER.size :]
    if shape is not None:
        data = data[:64] + struct.pack("=2Q", *shape) + data[80:]
    if text is not None:
        data = data[:80] + text + data[80 + len(text) :]
    return data


@pytest.mark.parametrize(
    "changes",
    [
        {"magic": 0},
        {"version": 2},
        {"version": 0},
        {"flags": 1},
        {"reserved": b"\1" + bytes(23)},
        {"ndim": 0},
        {"ndim": 1},
        {"ndim": 3},
        {"ndim": 65},
        {"ndim": 65535},
        {"dtype_size": 0},
        {"dtype_size": 2},
        {"dtype_size": 2**32 - 1},
        {"itemsize": 0},
        {"itemsize": 8},
        {"itemsize": 2**63},
        {"data_size": 0},
        {"data_size": 47},
        {"data_size": 2**64 - 1},
        {"data_offset": 0},
        {"data_offset": 64},
        {"data_offset": 192},
        {"data_offset": 2**32 - 64},
        {"shape": (3, 5)},
        {"shape": (2**63, 2)},
        {"shape": (2**62, 4)},
        {"shape": (2**64 - 1, 2**64 - 1)},
        {"shape": (0, 2**63), "data_size": 0},
        {"dtype": b"|O8"},
        {"dtype": b"<f5"},
        {"dtype": b"O"},
        {"dtype": b"f,f"},
        {"dtype": b"<f\xff"},
        {"dtype": b"\0\0\0"},
        {"dtype": b"{}["},
        {"dtype": b"int"},
        {"dtype": b"...", "dtype_size": 3},
    ],
    ids=str,
)
def test_no_header_is_believed(pair: Pair, changes: Any) -> None:
    a, b = pair
    data = forged(**changes)
    a.send(data)
    with pytest.raises(tachyon.ArrayFormatError):
        b.recv_array()
    with b.recv_zero_copy() as lease, pytest.raises(tachyon.ArrayFormatError):
        lease.array()
    with pytest.raises(tachyon.ArrayFormatError):
        tachyon.Message(data).array()


def test_every_cut_of_an_array_is_refused() -> None:
    data = good(np.arange(12, dtype="<f4").reshape(3, 4))
    assert tachyon.Message(data).array().shape == (3, 4)
    for size in [*range(len(data)), len(data) + 1]:
        with pytest.raises(tachyon.ArrayFormatError):
            tachyon.Message((data + b"\0")[:size]).array()


@pytest.mark.parametrize(
    "text",
    [
        "O",
        "|O8",
        "object",
        "<f4,O",
        "(2,)<f4",
        "<f4 ",
        "<V99999999999",
        "<U999999999",
        "V0",
        "<f0",
        "<M8[xx]",
        "<M8[ns",
        "__import__('os')",
        "getattr",
        "finfo",
        "ml_dtypes",
        "{}",
        "{",
        "[" * 5000,
        "{" + '"fields":[' * 3000,
        '{"itemsize":4,"fields":5}',
        '{"itemsize":4,"fields":[5]}',
        '{"itemsize":4,"fields":[["a","<f4",0,[2]]]}',
        '{"itemsize":4,"fields":[["a","<f4",1]]}',
        '{"itemsize":4,"fields":[["a","<f4",-1]]}',
        '{"itemsize":4,"fields":[["a","<f4",0.0]]}',
        '{"itemsize":4,"fields":[["a","<f4",true]]}',
        '{"itemsize":4,"fields":[["a","|O8",0]]}',
        '{"itemsize":8,"fields":[["a","|O8",0]]}',
        '{"itemsize":4,"fields":[[5,"<f4",0]]}',
        '{"itemsize":8,"fields":[["a","<f4",0],["a","<f4",4]]}',
        '{"itemsize":4,"fields":[["a","<f4",0,[]],["b",["c"],0]]}',
        '{"itemsize":4,"fields":[["a","<f4",0,[0]]]}',
        '{"itemsize":4,"fields":[["a","<f4",0,[1099511627776,1099511627776]]]}',
        '{"itemsize":99999999999,"fields":[["a","<f4",0]]}',
        '{"itemsize":4,"fields":[["a","<f4",0]],"more":1}',
        '{"itemsize":NaN,"fields":[]}',
        '{"itemsize":0,"fields":[]}',
    ],
)
def test_no_dtype_is_believed(text: str) -> None:
    itemsize = 4
    with pytest.raises(tachyon.ArrayFormatError):
        tachyon.Message(_array._make_header(text, itemsize, (3,))[0] + bytes(12)).array()


def test_structures_nest_only_so_deep() -> None:
    form: Any = "|u1"
    for depth in range(30):
        form = {"itemsize": 1, "fields": [["a", form, 0]]}
        text = json.dumps(form)
        if depth <= 16:
            assert _dtype.dtype_of(text).itemsize == 1
        else:
            with pytest.raises(ValueError, match="itemsize and its fields"):
                _dtype.dtype_of(text)


def test_random_headers_are_arrays_or_errors() -> None:
    rng = random.Random(7)
    originals = [good(np.zeros(3, dtype)) for dtype in DTYPES]
    for _ in range(5000):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            data[rng.randrange(len(data))] = rng.choice(
                [0, 1, 2, 0x40, 0x7F, 0xFF, rng.randrange(256)]
            )
        try:
            array = tachyon.Message(bytes(data)).array()
        except tachyon.ArrayFormatError:
            continue
        assert not array.dtype.hasobject
        assert array.nbytes <= len(data)
        array.tobytes()


def test_headers_are_remembered_within_bounds() -> None:
    for number in range(1000):
        data = good(np.zeros(number, "u1"))
        assert tachyon.Message(data).array().shape == (number,)
    assert len(_array._layouts) <= _array._REMEMBERED
    assert len(_array._headers) <= _array._REMEMBERED


# ---- by the thousand, in C and Python ----

LIBRARY = ctypes.CDLL(tachyon.library_path())
COUNT = int(os.environ.get("TACHYON_HEADERS", "3000"))
TEXTS = [
    *(b"<f4", b"|u1", b"|b1", b"<M8[ns]", b">i8", b"<c16", b"|S5", b"<U3", b"|V16", b"bfloat16"),
    *(b"|O8", b"O", b"<f5", b"f", b"", b"x" * 300, b"<V999999999", b"int4", b"\xff\xfe", b"\0\0"),
    b'{"itemsize":16,"fields":[["time","<u8",0],["pair","<f4",8,[2]]]}',
    b'{"itemsize":16,"fields":[["a","<u8",12]]}',
    b'{"itemsize":4,"fields":[["a","|O8",0]]}',
    b'{"itemsize":4,"fields":[["a","<f4",0],["b","<f4",0]]}',
    b'{"itemsize":4,"fields":[["a","<f4",0,[0]]]}',
    b'{"itemsize":1e3,"fields":[]}',
    b'{"itemsize":2147483647,"fields":[["a","<f4",0,[536870911]]]}',
    b"[" * 2000,
    b'{"itemsize":4,"fields":' * 100,
]
EDGES = [0, 1, 2, 3, 7, 8, 255, 256, 65535]
EDGES += [2**n + d for n in (31, 32, 62, 63) for d in (-1, 0)] + [2**64 - 1]
NDIMS = [0, 1, 1, 2, 2, 3, 4, 8, 32, 63, 64, 65, 1000, 65535]
BITS = {"version": 16, "ndim": 16, "length": 32, "offset": 32, "flags": 32}


class Array(ctypes.Structure):
    """struct tachyon_array."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("data_size", ctypes.c_uint64),
        ("itemsize", ctypes.c_uint64),
        ("dtype", ctypes.c_void_p),
        ("dtype_size", ctypes.c_uint32),
        ("ndim", ctypes.c_uint32),
        ("shape", ctypes.c_uint64 * 64),
    ]


def itemsize_of(dice: random.Random, text: bytes) -> int:
    try:
        size = np.dtype(text.decode()).itemsize
    except (TypeError, ValueError, UnicodeDecodeError):
        size = dice.choice([1, 2, 4, 8, 16])
    return size if size and dice.random() < 0.85 else dice.choice(EDGES)


def forge(dice: random.Random) -> bytes:
    """A message that is an array's but for some lies, or for none."""
    text, ndim = dice.choice(TEXTS), dice.choice(NDIMS)
    shape = [
        dice.choice([0, 1, 1, 2, 3, 5]) if dice.random() < 0.8 else dice.choice(EDGES)
        for _ in range(min(ndim, 66))
    ]
    size = itemsize = itemsize_of(dice, text)
    for extent in shape:
        size *= extent
    offset = -(-(64 + 8 * ndim + len(text)) // 64) * 64
    fields: dict[str, Any] = {
        "magic": _array.MAGIC,
        "version": 1,
        "ndim": ndim,
        "length": len(text),
        "itemsize": itemsize,
        "size": size % 2**64,
        "offset": offset,
        "flags": 0,
        "reserved": bytes(24),
    }
    for _ in range(dice.choice([0, 0, 0, 0, 1, 1, 2])):
        name = dice.choice(list(fields))
        lie = dice.choice(EDGES) + dice.choice([0, 0, 64, -64, fields["offset"]])
        fields[name] = b"\1" * 24 if name == "reserved" else lie % 2 ** BITS.get(name, 64)
    head = HEADER.pack(*fields.values()) + struct.pack(f"={len(shape)}Q", *shape) + text
    total = offset + size if offset + size < 5000 else dice.choice([offset, offset + 1, 4096])
    if dice.random() < 0.1:
        total += dice.choice([-1, 1, -64, 64])
    message = bytearray(head[: max(total, 0)].ljust(max(total, 0), b"\1"))
    while message and dice.random() < 0.15:
        message[dice.randrange(min(len(message), 200))] = dice.randrange(256)
    return bytes(message)


def read_in_c(message: bytes) -> Array | None:
    """What tachyon_array_read() makes of it: nothing, or what lies within the message."""
    buffer = ctypes.create_string_buffer(message, max(len(message), 1))
    array, size = Array(), ctypes.c_uint64(len(message))
    if LIBRARY.tachyon_array_read(ctypes.byref(array), buffer, size) < 0:
        return None
    begin = ctypes.addressof(buffer)
    assert begin <= array.dtype and array.dtype + array.dtype_size <= array.data
    assert array.data + array.data_size == begin + len(message)
    return array


def dtype_means(message: bytes, itemsize: int) -> bool:
    """Whether the dtype of a message that C took is one that Python should take, too."""
    ndim, length = struct.unpack_from("=HI", message, 10)
    begin = 64 + 8 * ndim
    try:
        dtype = _dtype.dtype_of(message[begin : begin + length].decode("ascii"))
    except (ValueError, _dtype.ForeignType):
        return False
    return dtype.itemsize == itemsize


def test_c_and_python_agree_about_forged_headers() -> None:
    dice = random.Random(COUNT)
    taken = 0
    for _ in range(COUNT):
        message = forge(dice)
        in_c = read_in_c(message)
        try:
            array = tachyon.Message(message).array()
        except (tachyon.ArrayFormatError, ImportError) as error:
            if not isinstance(error, ImportError) and in_c is not None:
                assert not dtype_means(message, in_c.itemsize)
            continue
        taken += 1
        assert in_c is not None
        assert not array.dtype.hasobject
        assert (array.itemsize, array.nbytes) == (in_c.itemsize, in_c.data_size)
        assert array.shape == tuple(in_c.shape[: in_c.ndim])
        assert array.tobytes() == message[len(message) - array.nbytes :] or not array.nbytes
    assert COUNT // 50 < taken < COUNT // 2
