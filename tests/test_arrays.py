"""Arrays that describe themselves: every dtype and shape, in place, and hostile headers."""

from __future__ import annotations

import gc
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakePair, Pair, in_thread, is_asleep, until

import tachyon
from tachyon import _array, _dtype

ROOT = Path(__file__).parent.parent
HEADER = struct.Struct("=QHHIQQII24s")

PADDED = np.dtype(
    {"names": ["a", "b"], "formats": ["u1", "<f8"], "offsets": [3, 16], "itemsize": 40}
)
OVERLAPPING = np.dtype({"names": ["all", "low"], "formats": ["<u4", "<u2"], "offsets": [0, 0]})
NESTED = np.dtype([("id", "<u8"), ("box", [("corner", "<f4", (2, 3)), ("tag", "S4")]), ("é", "?")])
DTYPES = [
    *("?", "i1", "u1", "<i2", ">i4", "<i8", "<u8", "<f2", "<f4", ">f8", "<c8", "<c16"),
    *("S7", "<U5", "V3", "<M8[ns]", "<M8[25s]", "<m8[D]", "<m8", np.longdouble),
    *(np.dtype("u1,<f8", align=True), PADDED, OVERLAPPING, NESTED),
]


def random_array(dtype: Any, shape: tuple[int, ...]) -> Any:
    dtype = np.dtype(dtype)
    data = np.random.default_rng(5).bytes(dtype.itemsize * int(np.prod(shape)))
    if dtype.kind in "Ufc" or dtype == np.longdouble:
        return np.arange(int(np.prod(shape))).astype(dtype).reshape(shape)
    return np.frombuffer(data, dtype).reshape(shape)


def through(pair: Pair, array: Any) -> Any:
    a, b = pair
    a.send_array(array)
    return b.recv_array()


def same(one: Any, other: Any) -> bool:
    return bool(
        (one.dtype, one.shape) == (other.dtype, other.shape) and one.tobytes() == other.tobytes()
    )


def good(array: Any) -> bytes:
    header, _ = _array._make_header(_dtype.text_of(array.dtype), array.itemsize, array.shape)
    return header + array.tobytes()


# ---- what arrives ----


@pytest.mark.parametrize("shape", [(), (1,), (5,), (0,), (3, 4), (2, 0, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtype_and_shape_arrive(pair: Pair, dtype: Any, shape: tuple[int, ...]) -> None:
    sent = random_array(dtype, shape)
    received = through(pair, sent)
    assert type(received) is np.ndarray
    assert same(received, sent)
    assert received.flags.c_contiguous and not received.flags.writeable
    assert received.ctypes.data % 64 == 0


def test_fields_keep_names_and_places(pair: Pair) -> None:
    for dtype in (PADDED, OVERLAPPING, NESTED):
        received = through(pair, np.zeros(3, dtype)).dtype
        assert received.names == dtype.names
        assert received.fields == dtype.fields


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array[:, ::2],
        lambda array: array[::-1, ::-1],
        lambda array: array.T,
        lambda array: np.asfortranarray(array),
        lambda array: np.broadcast_to(array[0], (5, array.shape[1])),
    ],
    ids=["columns", "backwards", "transposed", "fortran", "broadcast"],
)
def test_strided_arrays_arrive_in_c_order(pair: Pair, change: Any) -> None:
    sent = change(np.arange(24, dtype="f4").reshape(4, 6))
    received = through(pair, sent)
    assert np.array_equal(received, sent)
    assert received.flags.c_contiguous


def test_what_has_the_memory_of_an_array_can_be_sent(pair: Pair) -> None:
    import array

    assert through(pair, array.array("d", [1, 2])).tolist() == [1, 2]
    assert through(pair, memoryview(b"abcd").cast("H")).dtype == np.uint16
    assert through(pair, np.rec.array([(1, 2.0)], dtype="i4,f8")).dtype == np.dtype("i4,f8")


def test_the_type_id_is_the_users(pair: Pair) -> None:
    a, b = pair
    a.send_array(np.arange(3), 77)
    with b.recv_zero_copy() as lease:
        assert lease.type_id == 77
        assert lease.array().tolist() == [0, 1, 2]


def test_messages_and_leases_have_arrays(pair: Pair) -> None:
    a, b = pair
    sent = np.arange(12, dtype="i2").reshape(3, 4)
    a.send_array(sent, 5)
    message = b.recv()
    assert same(message.array(), sent)
    with pytest.raises(ValueError, match="WRITEABLE"):
        message.array().flags.writeable = True
    a.send_array(sent, 5)
    lease = b.recv_zero_copy()
    array = lease.array()[1:]
    lease.release()
    assert np.array_equal(array, sent[1:])
    assert b.stats().leases == 1
    with pytest.raises(ValueError, match="released"):
        lease.array()
    del array
    assert b.stats().leases == 0


def test_a_copy_leaves_no_lease(pair: Pair) -> None:
    a, b = pair
    a.send_array(np.arange(3))
    copy = b.recv_array(copy=True)
    assert b.stats().leases == 0
    copy[0] = 5


def test_an_array_outlives_the_bus(make_pair: MakePair) -> None:
    a, b = make_pair(65536)
    sent = np.arange(1000, dtype="f8")
    a.send_array(sent)
    row = b.recv_array()[500:]
    a.close()
    b.close()
    del a, b
    gc.collect()
    assert np.array_equal(row, sent[500:])


def test_nothing_can_be_written_through_a_received_array(pair: Pair) -> None:
    received = through(pair, np.arange(3))
    with pytest.raises(ValueError, match="read-only"):
        received[0] = 1
    for view in (received, received[1:], received.view("u1")):
        with pytest.raises(ValueError, match="WRITEABLE"):
            view.flags.writeable = True


def test_trusted_arrays_can_be_written(make_pair: MakePair) -> None:
    received = through(make_pair(trusted=True), np.arange(3))
    received *= 2
    assert received.tolist() == [0, 2, 4]


def test_waiting_for_an_array(pair: Pair) -> None:
    a, b = pair
    with pytest.raises(tachyon.WaitTimeoutError):
        b.recv_array(timeout=0)
    with pytest.raises(tachyon.WaitTimeoutError):
        b.recv_array(timeout=0.01)
    receiving = in_thread(lambda: b.recv_array(copy=True))
    until(lambda: is_asleep(os.getpid(), receiving.thread_id))
    a.send_array(np.arange(3))
    assert receiving.result().tolist() == [0, 1, 2]


@pytest.mark.parametrize("data", [b"", b"hello", bytes(64), bytes(1000)])
def test_what_is_no_array_stays_the_next_message(pair: Pair, data: bytes) -> None:
    a, b = pair
    a.send(data, 3)
    a.send_array(np.arange(3))
    for _ in range(3):
        with pytest.raises(tachyon.ArrayFormatError, match="not an array"):
            b.recv_array()
    assert b.stats().leases == 0
    assert b.recv() == tachyon.Message(data, 3)
    assert b.recv_array().tolist() == [0, 1, 2]
    assert b.stats().received_messages == 2


# ---- what is refused ----


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.array([None]), "references"),
        (np.zeros(2, [("a", "O")]), "references"),
        (np.zeros(3, "V0"), "no bytes"),
        (np.zeros(3, []), "no bytes"),
        (np.ma.masked_array([1, 2], [True, False]), "mask"),
        ([1, 2, 3], "numpy.asarray"),
        (5, "numpy.asarray"),
        ("text", "numpy.asarray"),
        (None, "numpy.asarray"),
    ],
    ids=str,
)
def test_what_cannot_be_sent(pair: Pair, bad: Any, words: str) -> None:
    a, _ = pair
    with pytest.raises(TypeError, match=words):
        a.send_array(bad)
    a.send(b"the bus is as before")
    assert a.stats().sent_messages == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="__buffer__ is from Python 3.12 on")
def test_what_a_signal_handler_raises_in_a_buffer_is_not_swallowed(pair: Pair) -> None:
    class Interrupted:
        def __buffer__(self, flags: int) -> memoryview:
            raise KeyboardInterrupt

    a, _ = pair
    for send in (a.send, a.send_array):
        with pytest.raises(KeyboardInterrupt):
            send(Interrupted())


def test_arrays_larger_than_the_ring_are_refused(make_pair: MakePair) -> None:
    a, _ = make_pair(4096)
    with pytest.raises(tachyon.MessageTooLargeError, match="4096"):
        a.send_array(np.zeros(4096, "u1"))
    with pytest.raises(tachyon.MessageTooLargeError):
        a.reserve_array((10, 1000), "f8")
    with pytest.raises(ValueError, match="memory can hold"):
        a.reserve_array((2**40, 2**40), "f8")
    with pytest.raises(ValueError, match="negative"):
        a.reserve_array(-1, "f8")
    with pytest.raises(TypeError):
        a.reserve_array((1.5,), "f8")  # type: ignore[arg-type]
    a.send_array(np.zeros(4096 - 128 - 128, "u1"))


# ---- computing in the ring ----


def test_a_reserved_array_is_in_the_ring(pair: Pair) -> None:
    a, b = pair
    with a.reserve_array((3, 4), "f4", type_id=9) as array:
        assert (array.shape, array.dtype) == ((3, 4), np.float32)
        assert array.ctypes.data % 64 == 0 and array.flags.c_contiguous
        np.multiply(np.arange(12).reshape(3, 4), 0.5, out=array)
    received = b.recv_zero_copy()
    assert received.type_id == 9
    assert received.array().tolist() == (np.arange(12).reshape(3, 4) * 0.5).tolist()


def test_after_the_block_the_array_is_empty(pair: Pair) -> None:
    a, b = pair
    with a.reserve_array(10, "i4") as array:
        array[:] = 5
    assert array.shape == (0,)
    with pytest.raises((IndexError, ValueError)):
        array[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        array[:] = 1
    assert b.recv_array().tolist() == [5] * 10


def fail_with(array: Any) -> None:
    array[:] = 1
    again = array
    raise KeyError(len(again))


def test_an_exception_cancels(pair: Pair) -> None:
    a, b = pair
    with pytest.raises(KeyError):  # noqa: SIM117
        with a.reserve_array(10, "i4") as array:
            fail_with(array)
    assert array.shape == (0,)
    a.send(b"next")
    assert b.recv().data == b"next"
    assert a.stats().sent_messages == 1


def keep_a_slice(bus: tachyon.Bus) -> None:
    with pytest.raises(BufferError), bus.reserve_array(10, "i4") as array:
        kept = array[1:]
    with pytest.raises(tachyon.BusyError):
        bus.send(kept.tobytes())


def test_a_debugger_may_look_on(pair: Pair) -> None:
    a, b = pair

    def trace(*_: Any) -> Any:
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with a.reserve_array(10, "i4") as array:
            array[:] = 5
        with pytest.raises(KeyError), a.reserve_array(10, "i4") as array:
            fail_with(array)
        # In a function: under a debugger, Python 3.10 drops names at its end only.
        keep_a_slice(a)
    finally:
        sys.settrace(before)
    assert b.recv_array().tolist() == [5] * 10
    a.send(b"next")
    assert a.stats().sent_messages == 2


@pytest.mark.parametrize(
    "keep",
    [
        lambda array: array[2:],
        lambda array: array.reshape(2, 5),
        lambda array: array,
        memoryview,
        lambda array: np.lib.stride_tricks.as_strided(array, (5,), (4,)),
        lambda array: array.ctypes,
        lambda array: np.from_dlpack(array),
        lambda array: [array],
    ],
    ids=["slice", "reshape", "name", "memoryview", "as_strided", "ctypes", "dlpack", "list"],
)
@pytest.mark.parametrize("failing", [False, True])
def test_what_still_uses_the_memory_holds_the_reservation(
    pair: Pair, keep: Any, failing: bool
) -> None:
    a, b = pair
    kept = None
    expected: Any = KeyError if failing else BufferError
    with pytest.raises(expected):  # noqa: SIM117
        with a.reserve_array(10, "i4") as array:
            array[:] = 1
            kept = keep(array)
            if failing:
                raise KeyError
    with pytest.raises(tachyon.BusyError):
        a.send(b"x")
    del kept, array
    gc.collect()
    a.send(b"next")
    assert b.recv().data == b"next"
    assert a.stats().sent_messages == 1


def test_a_reserved_array_that_is_never_entered(pair: Pair) -> None:
    a, b = pair
    slot = a.reserve_array(10, "i4")
    del slot
    gc.collect()
    a.send(b"next")
    assert b.recv().data == b"next"


def test_a_slot_is_good_for_one_block(pair: Pair) -> None:
    a, _ = pair
    slot = a.reserve_array(10, "i4")
    with slot as array:
        array[:] = 1
    with pytest.raises(ValueError, match="already"), slot:
        pass


def test_reserving_elements_that_are_arrays(pair: Pair) -> None:
    a, b = pair
    with a.reserve_array((2,), np.dtype(("f4", (3,)))) as array:
        assert array.shape == (2, 3)
        array[:] = 1
    assert b.recv_array().shape == (2, 3)
    with pytest.raises(TypeError, match="references"):
        a.reserve_array(1, object)


# ---- the same in C ----

C_PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include <tachyon.h>

int main(int argc, char **argv) {
        tachyon_bus *bus = NULL;
        tachyon_message message;
        tachyon_array array;
        void *room, *elements;
        uint64_t size;
        int r = tachyon_bus_connect(&bus, argv[argc - 1], NULL, 10000000000);

        while (r == 0 && (r = tachyon_bus_recv(bus, &message, -1)) == 0) {
                r = tachyon_array_read(&array, message.data, message.size);
                if (r < 0)
                        break;
                size = tachyon_array_size(&array);
                if ((r = tachyon_bus_reserve(bus, &room, size, -1)) < 0 ||
                    (r = tachyon_array_write(&array, room, size, &elements)) < 0)
                        break;
                memcpy(elements, array.data, array.data_size);
                r = tachyon_bus_commit(bus, size, message.type_id + 1);
                tachyon_bus_release(bus, message.lease);
        }
        printf("%s\n", tachyon_strerror(r));
        tachyon_bus_free(bus);
        return 0;
}
"""


def test_c_reads_and_writes_the_same_bytes(folder: Path, path: Path) -> None:
    (folder / "echo.c").write_text(C_PROGRAM)
    library = tachyon.library_path()
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run(
        [*compiler, "-Wall", "-Werror", f"-I{ROOT / 'include'}", "-o", "echo", "echo.c", library],
        cwd=folder,
        check=True,
    )
    echo = subprocess.Popen(
        [folder / "echo", path],
        env={**os.environ, "LD_LIBRARY_PATH": os.path.dirname(library)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with tachyon.Bus.listen(path, timeout=30) as bus:
        for dtype in DTYPES:
            for shape in [(), (0,), (3,), (2, 3, 4)]:
                sent = random_array(dtype, shape)
                bus.send_array(sent, 8)
                message = bus.recv(timeout=30)
                assert message.type_id == 9
                assert message.data == good(sent)
                assert same(message.array(), sent)
        bus.send(b"no array")
        assert echo.communicate(timeout=30)[0] == "Bad message\n"


def test_the_loops_of_the_benchmark_check_what_they_move(make_pair: MakePair) -> None:
    from tachyon.cli._bench import _array_loops

    a, b = make_pair(4 << 20)
    sending = in_thread(lambda: _array_loops.produce(a, 2, 40))
    assert _array_loops.consume(b, 2, 40) > 0
    sending.result()
    a.send_array(np.zeros(_array_loops.SHAPE, "f4"))
    with pytest.raises(ValueError, match="array 1 is not what was sent"):
        _array_loops._take(b, 1, 1)
