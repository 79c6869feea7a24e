"""Messages of 32 bytes between two Python processes: tachyon and what one would use instead.

Each link has `send(data)` and `recv() -> bytes`, made the fastest way that its library offers
to send bytes and to get bytes of one's own. Side 0 listens, side 1 connects.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import tachyon

SIZE = 32
PATIENCE_S = 20.0
PATIENCE_MS = int(PATIENCE_S * 1000)

# Python package of each, for pip and for the question whether it is there.
MODULES = {
    "multiprocessing": "multiprocessing",
    "pyzmq": "zmq",
    "pynng": "pynng",
    "iceoryx2": "iceoryx2",
}


class Link(Protocol):
    """One end."""

    @property
    def send(self) -> Callable[[bytes], Any]: ...

    @property
    def recv(self) -> Callable[[], bytes]: ...

    @property
    def close(self) -> Callable[[], None]: ...


class TachyonLink:
    """Bus.send() and iteration."""

    def __init__(self, path: str, side: int, capacity: int | None = None) -> None:
        if side == 0:
            bus = tachyon.Bus.listen(path, capacity, prefault=True, timeout=PATIENCE_S)
        else:
            bus = tachyon.Bus.connect(path, prefault=True, timeout=PATIENCE_S)
        self.bus = bus
        self.send = bus.send
        self.messages = iter(bus)
        self.close = bus.close

    def recv(self) -> bytes:
        """Receive by iteration; the loops of _worker iterate without this call around it."""
        return next(self.messages).data


class MultiprocessingLink:
    """multiprocessing.connection over a Unix socket, as multiprocessing.Pipe() makes it.

    send_bytes() and recv_bytes(): send() would pickle, and be slower.
    """

    def __init__(self, path: str, side: int) -> None:
        from multiprocessing.connection import Client, Listener

        if side == 0:
            with Listener(path, "AF_UNIX") as listener:
                connection: Any = listener.accept()
        else:
            connection = _retry(lambda: Client(path, "AF_UNIX"))
        self.send = connection.send_bytes
        self.recv = connection.recv_bytes
        self.close = connection.close


class ZmqLink:
    """pyzmq, PAIR over ipc."""

    def __init__(self, path: str, side: int) -> None:
        import zmq

        self._context = zmq.Context()
        self._socket: Any = self._context.socket(zmq.PAIR)
        self._socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
        self._socket.setsockopt(zmq.SNDTIMEO, PATIENCE_MS)
        if side == 0:
            self._socket.bind(f"ipc://{path}")
        else:
            self._socket.connect(f"ipc://{path}")
        self.send = self._socket.send
        self.recv = self._socket.recv

    def close(self) -> None:
        self._socket.close(linger=0)
        self._context.term()


class NngLink:
    """pynng, pair over ipc."""

    def __init__(self, path: str, side: int) -> None:
        import pynng

        where = {"listen": f"ipc://{path}"} if side == 0 else {"dial": f"ipc://{path}"}
        if side == 1:
            _await_path(path)
        self._socket = pynng.Pair0(recv_timeout=PATIENCE_MS, send_timeout=PATIENCE_MS, **where)
        self.send = self._socket.send
        self.recv = self._socket.recv
        self.close = self._socket.close


class IceoryxLink:
    """iceoryx2, publish-subscribe both ways, polled; no safe overflow: nothing is dropped."""

    BUFFER = 1024

    def __init__(self, path: str, side: int) -> None:
        import iceoryx2 as iox

        iox.set_log_level(iox.LogLevel.Error)
        self._payload = ctypes.c_uint8 * SIZE
        self._node = iox.NodeBuilder.new().create(iox.ServiceType.Ipc)
        services = [self._service(iox, f"{path}/{name}") for name in ("there", "back")]
        self._publisher: Any = services[side].publisher_builder().create()
        self._subscriber: Any = services[not side].subscriber_builder().create()
        self._services = services
        self._await_peer()

    def _service(self, iox: Any, name: str) -> Any:
        return (
            self._node.service_builder(iox.ServiceName.new(name))
            .publish_subscribe(self._payload)
            .enable_safe_overflow(False)
            .subscriber_max_buffer_size(self.BUFFER)
            .history_size(0)
            .max_publishers(1)
            .max_subscribers(1)
            .open_or_create()
        )

    def _await_peer(self) -> None:
        # Before the other side subscribes, what is published goes nowhere.
        ports = [service.dynamic_config for service in self._services]
        _retry_until(lambda: all(p.number_of_publishers and p.number_of_subscribers for p in ports))

    def send(self, data: bytes) -> None:
        sample = self._publisher.loan_uninit()
        ctypes.memmove(sample.payload_ptr, data, SIZE)
        sample.assume_init().send()

    def recv(self) -> bytes:
        receive = self._subscriber.receive
        while (sample := receive()) is None:
            pass
        data = ctypes.string_at(sample.payload_ptr, SIZE)
        sample.delete()
        return data

    def close(self) -> None:
        self._publisher.delete()
        self._subscriber.delete()
        del self._services, self._node


def _retry_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError("the other side did not come")
        os.sched_yield()


def _retry(connect: Callable[[], Any]) -> Any:
    """Connect to a listener that may come a little later."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return connect()
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > deadline:
                raise
            os.sched_yield()


def _await_path(path: str) -> None:
    _retry_until(lambda: os.path.exists(path))


LINKS: dict[str, Callable[[str, int], Link]] = {
    "tachyon": TachyonLink,
    "multiprocessing": MultiprocessingLink,
    "pyzmq": ZmqLink,
    "pynng": NngLink,
    "iceoryx2": IceoryxLink,
}


def is_installed(peer: str) -> bool:
    """Tell whether a peer can be measured here, without importing it."""
    import importlib.util

    return sys.platform != "win32" and importlib.util.find_spec(MODULES[peer]) is not None


def has_numpy() -> bool:
    """Tell whether NumPy is installed, which records need, without importing it."""
    import importlib.util

    return importlib.util.find_spec("numpy") is not None


def versions() -> dict[str, str]:
    """Return the versions of the peers that are installed."""
    import importlib.metadata

    found = {}
    for peer in MODULES:
        try:
            found[peer] = importlib.metadata.version(peer)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
