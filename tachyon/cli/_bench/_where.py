"""Where each nanosecond of send() and of a step of iteration goes, seen from Python.

Each part is timed as a loop of its own, the empty loop subtracted; the C functions are timed by
tachyon-bench, without Python. The last row is the real thing, timed as a whole; what the parts
do not add up to has a row as well.

The bus is in one process: this is the cost of the calls, nobody waits for anybody. Where send()
and recv() are no built-in functions (see tachyon/_builtin.py), the parts are those of the way
through ctypes.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import inspect
import itertools
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from time import perf_counter_ns
from typing import Any

import tachyon
from tachyon.cli import _text
from tachyon.cli._bench import _native, _stats

PAYLOAD = bytes(range(32))
# Few enough that their lines stay in the first caches, as those of a bus with few messages do.
CALLS = 500
Timer = Callable[[], float]
QUICK = not inspect.isfunction(tachyon.Bus.send)


class _Ends:
    """Both ends of a bus, twice: as Python has them, and as bare C handles."""

    def __init__(self, folder: str) -> None:
        self.sender, self.receiver = _open_python(os.path.join(folder, "python"))
        self.library = ctypes.PyDLL(tachyon.library_path())
        self.c_sender, self.c_receiver = _open_c(self.library, os.path.join(folder, "c"))
        function = self.library.tachyon_bus_recv_slot
        function.restype = ctypes.c_void_p
        make = ctypes.cast(ctypes.pythonapi.PyBytes_FromStringAndSize, ctypes.c_void_p)
        address = function(self.c_receiver, make)
        slot = (ctypes.c_uint64 * 4).from_address(address)
        self.slot = memoryview(slot).cast("B").cast("Q")
        self.try_send = self.library.tachyon_bus_try_send
        self.try_recv = self.library.tachyon_bus_try_recv_object
        self.try_recv.restype = ctypes.py_object

    def close(self) -> None:
        """Close all four."""
        self.sender.close()
        self.receiver.close()
        self.library.tachyon_bus_free(self.c_sender)
        self.library.tachyon_bus_free(self.c_receiver)


def _open_python(path: str) -> tuple[tachyon.Bus, tachyon.Bus]:
    found: list[tachyon.Bus] = []
    thread = threading.Thread(
        target=lambda: found.append(tachyon.Bus.listen(path, prefault=True, timeout=10))
    )
    thread.start()
    sender = tachyon.Bus.connect(path, prefault=True, timeout=10)
    thread.join()
    return sender, found[0]


def _open_c(library: Any, path: str) -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
    # PyDLL would keep the interpreter lock while one waits for the other.
    waiting = ctypes.CDLL(library._name)
    ends = ctypes.c_void_p(), ctypes.c_void_p()
    timeout = ctypes.c_int64(10_000_000_000)

    def listen() -> None:
        waiting.tachyon_bus_listen(ctypes.byref(ends[1]), os.fsencode(path), None, timeout)

    thread = threading.Thread(target=listen)
    thread.start()
    waiting.tachyon_bus_connect(ctypes.byref(ends[0]), os.fsencode(path), None, timeout)
    thread.join()
    return ends


class _Empty:
    """Methods with the arguments of the real ones that do nothing of the real work."""

    def send(self, data: bytes, type_id: int = 0, timeout: float | None = None) -> None:
        return

    def send_checked(self, data: bytes, type_id: int = 0, timeout: float | None = None) -> None:
        if type(data) is bytes:
            size = len(data)
            try:
                if not (size | type_id) >> 32:
                    return
            except TypeError:
                return


# ---- timing -----------------------------------------------------------------


def _per_call(loop: Callable[[], None]) -> float:
    """Time one loop of CALLS; nanoseconds per call."""
    start = perf_counter_ns()
    loop()
    return (perf_counter_ns() - start) / CALLS


def _medians(rounds: int, timers: dict[str, Timer]) -> dict[str, float]:
    """Time all in turn, round after round; the median of each."""
    found: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            found[name].append(timer())
    return {name: _stats.median(values) for name, values in found.items()}


def _loop(work: Callable[..., object], *arguments: object) -> Callable[[], None]:
    """Make a loop that calls `work` with nothing else in it."""

    def one() -> None:
        (first,) = arguments
        for _ in range(CALLS):
            work(first)

    def none() -> None:
        for _ in range(CALLS):
            work()

    def four() -> None:
        first, second, third, fourth = arguments
        for _ in range(CALLS):
            work(first, second, third, fourth)

    return {0: none, 1: one, 4: four}[len(arguments)]


def _empty() -> None:
    for _ in range(CALLS):
        pass


def _drain(receiver: tachyon.Bus, left: int) -> None:
    while left:
        with receiver.drain_batch(left) as batch:
            left -= len(batch)


def _timed_send(ends: _Ends) -> float:
    result = _per_call(_loop(ends.sender.send, PAYLOAD))
    _drain(ends.receiver, CALLS)
    return result


def _timed_c_send(ends: _Ends) -> float:
    result = _per_call(_loop(ends.try_send, ends.c_sender, PAYLOAD, len(PAYLOAD), 0))
    for _ in range(CALLS):
        ends.try_recv(ends.c_receiver)
    return result


def _fill(send: Callable[[], object]) -> None:
    for _ in range(CALLS):
        send()


def _timed_recv(ends: _Ends) -> float:
    _fill(lambda: ends.sender.send(PAYLOAD))
    messages = iter(ends.receiver)

    def loop() -> None:
        for _ in range(CALLS):
            next(messages)

    return _per_call(loop)


def _timed_c_recv(ends: _Ends) -> float:
    _fill(lambda: ends.try_send(ends.c_sender, PAYLOAD, len(PAYLOAD), 0))
    return _per_call(_loop(ends.try_recv, ends.c_receiver))


def _timed_slot(slot: memoryview) -> float:
    def loop() -> None:
        for _ in range(CALLS):
            slot[0]

    return _per_call(loop)


def _timed_step() -> float:
    def steps() -> Any:
        while True:
            yield None

    generator = steps()

    def loop() -> None:
        for _ in range(CALLS):
            next(generator)

    return _per_call(loop)


def _timed_next() -> float:
    nothing = itertools.repeat(None)

    def loop() -> None:
        for _ in range(CALLS):
            next(nothing)

    return _per_call(loop)


def _timed_message() -> float:
    make = tachyon.Message

    def loop() -> None:
        for _ in range(CALLS):
            make(PAYLOAD, 0)

    return _per_call(loop)


@contextlib.contextmanager
def _undisturbed(cores: tuple[int, int] | None) -> Iterator[None]:
    """Stay on one core, and keep the garbage collector out."""
    before = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, {cores[0]})
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        os.sched_setaffinity(0, before)


# ---- the tables -------------------------------------------------------------


def measure(rounds: int, cores: tuple[int, int] | None) -> dict[str, Any]:
    """Return the two tables: {"send": [[what, nanoseconds], ...], "recv": ...}."""
    arguments = ["bus-call", "--count", "200000", "--warmup", "20000"]
    if cores:
        arguments += ["--cores", f"{cores[0]},{cores[1]}"]
    native = _native.run(arguments)["figures"]
    with (
        _undisturbed(cores),
        tempfile.TemporaryDirectory(prefix="tachyon-", dir=_text.short_folder()) as folder,
        contextlib.closing(_Ends(folder)) as ends,
    ):
        times = _medians(rounds, _timers(ends))
    nothing = times.pop("empty")
    net = {name: max(value - nothing, 0.0) for name, value in times.items()}
    send_table, recv_table = (
        (_quick_send_table, _quick_recv_table) if QUICK else (_send_table, _recv_table)
    )
    return {
        "empty_loop_ns": nothing,
        "send": send_table(net, native["send_ns"]),
        "recv": recv_table(net, native["recv_ns"]),
    }


def _timers(ends: _Ends) -> dict[str, Timer]:
    both: dict[str, Timer] = {
        "empty": lambda: _per_call(_empty),
        "send": lambda: _timed_send(ends),
        "recv": lambda: _timed_recv(ends),
    }
    return {**both, **(_quick_timers() if QUICK else _ctypes_timers(ends))}


def _quick_timers() -> dict[str, Timer]:
    return {
        # Built-in functions that do nearly nothing, but for the copy that the second one makes.
        "call": lambda: _per_call(_loop(callable, PAYLOAD)),
        "copy": lambda: _per_call(_loop(PAYLOAD.lstrip, PAYLOAD[:1])),
        "next": _timed_next,
    }


def _quick_send_table(net: dict[str, float], c_ns: float) -> list[list[Any]]:
    rows = [
        ["call of a built-in function", net["call"]],
        ["the C function: copy, publish, look for a sleeper", c_ns],
    ]
    return _with_rest(rows, net["send"], "bus.send(data)")


def _quick_recv_table(net: dict[str, float], c_ns: float) -> list[list[Any]]:
    rows = [
        ["next() of a built-in iterator", net["next"]],
        ["the C function: look, take, release", c_ns],
        ["making a bytes object, and its end", net["copy"] - net["call"]],
    ]
    return _with_rest(rows, net["recv"], "next(messages)", "the Message, and ")


def _ctypes_timers(ends: _Ends) -> dict[str, Timer]:
    empty, version = _Empty(), ends.library.tachyon_abi_version
    return {
        "method": lambda: _per_call(_loop(empty.send, PAYLOAD)),
        "checks": lambda: _per_call(_loop(empty.send_checked, PAYLOAD)),
        "call": lambda: _per_call(_loop(version)),
        "call_send": lambda: _timed_c_send(ends),
        "step": _timed_step,
        "call_recv": lambda: _timed_c_recv(ends),
        "slot": lambda: _timed_slot(ends.slot),
        "message": _timed_message,
    }


def _send_table(net: dict[str, float], c_ns: float) -> list[list[Any]]:
    rows = [
        ["call of a Python method with these arguments", net["method"]],
        ["checks in Python: type, size, type_id", net["checks"] - net["method"]],
        ["ctypes call without arguments", net["call"]],
        ["its four arguments", net["call_send"] - net["call"] - c_ns],
        ["the C function: copy, publish, look for a sleeper", c_ns],
    ]
    return _with_rest(rows, net["send"], "bus.send(data)")


def _recv_table(net: dict[str, float], c_ns: float) -> list[list[Any]]:
    rows = [
        ["a step of a Python generator", net["step"]],
        ["ctypes call without arguments", net["call"]],
        ["its argument, and making the bytes object", net["call_recv"] - net["call"] - c_ns],
        ["the C function: look, take, release", c_ns],
        ["reading the slot twice: error, type_id", 2 * net["slot"]],
        ["making the Message", net["message"]],
    ]
    return _with_rest(rows, net["recv"], "next(messages)")


def _with_rest(rows: list[list[Any]], whole: float, name: str, known: str = "") -> list[list[Any]]:
    rest = whole - sum(ns for _, ns in rows)
    return [*rows, [f"{known}what the rows above do not explain", rest], [name, whole]]
