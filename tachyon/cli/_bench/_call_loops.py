"""Calls between two Python processes: 32 bytes there, 176 bytes back, every reply checked.

Each way of calling has caller(path), whose value is called with a request and returns the
reply, and serve(path, calls, stop), which answers so many calls, or until its caller ends.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter_ns
from typing import Any

import tachyon
from tachyon.cli._bench import _links, _stats

REQUEST = bytes(range(100, 132))
REPLY = bytes(range(176))

Call = Callable[[bytes], bytes]


@tachyon.rpc(msg_type=1)
def answer(request: memoryview) -> bytes:
    """The endpoint, and what all servers do."""
    if request != REQUEST:
        raise ValueError(f"wrong data: {bytes(request)!r} is not what was sent")
    return REPLY


# ---- what it is compared with -------------------------------------------------------------


@contextmanager
def stream_caller(path: str) -> Iterator[Call]:
    """The same over a stream: Bus.send(), and a step of iteration."""
    with tachyon.Bus.connect(path, prefault=True, timeout=_links.PATIENCE_S) as bus:
        send, messages = bus.send, iter(bus)

        def call(request: bytes) -> bytes:
            send(request)
            return next(messages).data

        yield call


def stream_serve(path: str, calls: int) -> None:
    with tachyon.Bus.listen(path, prefault=True, timeout=_links.PATIENCE_S) as bus:
        for message in bus:
            bus.send(answer(memoryview(message.data)))


@contextmanager
def zmq_caller(path: str) -> Iterator[Call]:
    """pyzmq, REQ and REP over ipc."""
    with _zmq_socket("REQ") as socket:
        socket.connect(f"ipc://{path}")

        def call(request: bytes) -> bytes:
            socket.send(request)
            return socket.recv()  # type: ignore[no-any-return]

        yield call


def zmq_serve(path: str, calls: int) -> None:
    with _zmq_socket("REP") as socket:
        socket.bind(f"ipc://{path}")
        for _ in range(calls):
            socket.send(answer(memoryview(socket.recv())))


@contextmanager
def _zmq_socket(kind: str) -> Iterator[Any]:
    import zmq

    context = zmq.Context()
    socket: Any = context.socket(getattr(zmq, kind))
    socket.setsockopt(zmq.RCVTIMEO, _links.PATIENCE_MS)
    socket.setsockopt(zmq.SNDTIMEO, _links.PATIENCE_MS)
    try:
        yield socket
    finally:
        socket.close(linger=1000)
        context.term()


class Service:
    """What a manager of multiprocessing offers."""

    def __init__(self, calls: int = 0) -> None:
        self.left = calls
        self.over = threading.Event()

    def answer(self, request: bytes) -> bytes:
        self.left -= 1
        if not self.left:
            self.over.set()
        return answer(memoryview(request))


def _manager(path: str, service: Service) -> Any:
    from multiprocessing.managers import BaseManager

    class Manager(BaseManager):
        pass

    Manager.register("service", lambda: service, exposed=["answer"])
    return Manager(path, b"tachyon bench")


@contextmanager
def managers_caller(path: str) -> Iterator[Call]:
    """multiprocessing.managers: a method of a proxy."""
    manager = _manager(path, Service())
    _links._retry(manager.connect)
    yield manager.service().answer


def managers_serve(path: str, calls: int) -> None:
    service = Service(calls)
    server = _manager(path, service).get_server()
    server.stop_event = threading.Event()
    # What serve_forever() does, without leaving the process at the end.
    threading.Thread(target=server.accepter, daemon=True).start()
    if not service.over.wait(60):
        raise TimeoutError("the caller did not come")


# ---- tachyon ------------------------------------------------------------------------------


@contextmanager
def rpc_caller(path: str) -> Iterator[Call]:
    """RpcBus.call()."""
    with tachyon.RpcBus.connect(path, prefault=True, timeout=_links.PATIENCE_S) as bus:
        yield lambda request: bus.call(request, 1)


def reply_serve(path: str, calls: int) -> None:
    """RpcBus.serve(), Request.reply()."""
    with tachyon.RpcBus.listen(path, prefault=True, timeout=_links.PATIENCE_S) as bus:
        for _ in range(calls):
            request = bus.serve()
            request.reply(answer(memoryview(request.data)))


def dispatcher_serve(path: str, calls: int) -> None:
    """Dispatcher.serve_forever()."""
    with tachyon.RpcBus.listen(path, prefault=True, timeout=_links.PATIENCE_S) as bus:
        tachyon.Dispatcher().register(answer).serve_forever(bus)


WAYS: dict[str, tuple[Callable[[str], Any], Callable[[str, int], None]]] = {
    "stream": (stream_caller, stream_serve),
    "reply": (rpc_caller, reply_serve),
    "dispatcher": (rpc_caller, dispatcher_serve),
    "pyzmq": (zmq_caller, zmq_serve),
    "managers": (managers_caller, managers_serve),
}


def drive(call: Call, count: int) -> array[int]:
    """Call so often; return what each took, in nanoseconds."""
    samples = array("Q", bytes(8 * count))
    clock, request, reply = perf_counter_ns, REQUEST, REPLY
    last = clock()
    for i in range(count):
        if call(request) != reply:
            raise ValueError("wrong data came back")
        now = clock()
        samples[i] = now - last
        last = now
    return samples


def run(job: dict[str, Any], side: int) -> dict[str, Any]:
    """One side of a job: side 0 calls, side 1 serves."""
    caller, serve = WAYS[job["transport"]]
    warmup, count = job["warmup"], job["count"]
    if side == 1:
        serve(job["path"], warmup + count)
        return {}
    with caller(job["path"]) as call:
        drive(call, warmup)
        ranks = _stats.percentiles(drive(call, count))
    return {"typical_ns": ranks["p50"], "ns": ranks}
