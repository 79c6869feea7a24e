"""Endpoints, and the Dispatcher that finds them and makes replies of what they do."""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tachyon._abi import RPC_EXCEPTION, RPC_TOO_LARGE, RPC_UNKNOWN_TYPE
from tachyon._errors import ClosedError, MessageTooLargeError, WaitTimeoutError
from tachyon._message import checked_type_id

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from tachyon._rpc import RpcBus
    from tachyon._rpc_calls import Request

Handler = TypeVar("Handler", bound=Callable[..., Any])

_log = logging.getLogger("tachyon.rpc")
_MARK = "__tachyon_msg_type__"


def rpc(msg_type: int) -> Callable[[Handler], Handler]:
    """Mark a function, or method, as the endpoint for a msg_type; see Dispatcher.

    It takes the request as a memoryview, or as bytes or a NumPy array where its first
    parameter is annotated so; it returns bytes (or any bytes-like object), an array, or None.
    The function itself stays as it was, to be called in unit tests.
    """
    number = checked_type_id(msg_type)

    def mark(handler: Handler) -> Handler:
        setattr(handler, _MARK, number)
        return handler

    return mark


def encode_array(array: Any) -> bytearray:
    """A message that is this array: the header, then the elements. Raises TypeError."""
    from tachyon import _array
    from tachyon._numpy import numpy as np

    source, text = _array._as_array(array)
    header, size = _array._make_header(text, source.itemsize, source.shape)
    message = bytearray(size)
    message[: len(header)] = header
    elements = np.frombuffer(message, np.uint8)[len(header) :]
    np.copyto(np.ndarray(source.shape, source.dtype, elements), source)
    return message


def _wants(handler: Callable[..., Any]) -> str:
    """What the first parameter is annotated as: "array", "bytes" or "memoryview"."""
    import inspect

    parameters = list(inspect.signature(handler).parameters.values())
    if not parameters:
        raise TypeError(f"{handler!r} takes no request")
    text = str(parameters[0].annotation)
    if "NDArray" in text or "ndarray" in text:
        return "array"
    return "bytes" if text in ("bytes", "<class 'bytes'>") else "memoryview"


def _argument(kind: str, data: Any) -> Any:
    if kind == "array":
        from tachyon._array import array_in

        return array_in(data)
    return bytes(data) if kind == "bytes" else memoryview(data)


def encode_reply(result: Any) -> Buffer:
    """What a handler returned, as bytes to send. Raises TypeError."""
    if result is None:
        return b""
    if isinstance(result, (bytes, bytearray, memoryview)):
        return result
    if hasattr(result, "__array__") or hasattr(result, "__dlpack__"):
        return encode_array(result)
    raise TypeError(f"an endpoint must return bytes, an array or None, not {type(result).__name__}")


class Answer(NamedTuple):
    """A reply on its way: code 0, or a failure's."""

    call_id: int
    data: Any
    code: int


class Dispatcher:
    """Finds the endpoint for a request, and makes a reply, or a failure, of what it does.

    tracebacks: whether callers get the server's tracebacks with RpcError.
    Handlers' exceptions are logged to "tachyon.rpc", and the server goes on.
    """

    def __init__(self, *, tracebacks: bool = False) -> None:
        self._endpoints: dict[int, tuple[Callable[..., Any], str]] = {}
        self._tracebacks = tracebacks
        self._stopped = threading.Event()
        self._wakers: set[int] = set()
        self._lock = threading.Lock()

    def register(self, *endpoints: Any) -> Dispatcher:
        """Add functions marked by @rpc(), or objects and modules with such among their
        attributes. Returns the dispatcher.

        Raises TypeError (nothing is marked), ValueError (the msg_type is taken).
        """
        for endpoint in endpoints:
            found = [endpoint] if hasattr(endpoint, _MARK) else _marked_in(endpoint)
            if not found:
                raise TypeError(f"{endpoint!r} is no endpoint: mark it with @tachyon.rpc()")
            for handler in found:
                self._add(getattr(handler, _MARK), handler)
        return self

    def _add(self, msg_type: int, handler: Callable[..., Any]) -> None:
        if msg_type in self._endpoints:
            raise ValueError(f"msg_type {msg_type} has an endpoint: {self._endpoints[msg_type][0]}")
        self._endpoints[msg_type] = (handler, _wants(handler))

    # ---- one request ----

    def handle(self, request: Request) -> Any:
        """Call the endpoint, and return what it returned, which may be a coroutine.

        Raises LookupError (unknown msg_type), and what the endpoint does.
        """
        endpoint = self._endpoints.get(request.msg_type)
        if endpoint is None:
            raise LookupError(request.msg_type)
        handler, kind = endpoint
        return handler(_argument(kind, request.data))

    def answer(self, request: Request) -> Answer:
        """Run the endpoint; whatever it does, there is an answer."""
        try:
            return Answer(request.id, encode_reply(self.handle(request)), 0)
        except Exception as error:
            return self.explain(request, error)

    def explain(self, request: Request, error: BaseException) -> Answer:
        """The failure for an exception; and a line in the log."""
        if isinstance(error, LookupError) and request.msg_type not in self._endpoints:
            _log.warning("no endpoint for msg_type %d", request.msg_type)
            text = f"UnknownTypeError: the server has no endpoint for msg_type {request.msg_type}"
            return Answer(request.id, text, RPC_UNKNOWN_TYPE)
        _log.error("the endpoint for msg_type %d failed", request.msg_type, exc_info=error)
        text = f"{type(error).__name__}: {error}"
        if self._tracebacks:
            text += "\0" + "".join(traceback.format_exception(error))
        return Answer(request.id, text, RPC_EXCEPTION)

    def send(self, bus: RpcBus, answer: Answer, timeout: float | None = None) -> None:
        """Send an answer; one that is too large becomes a failure. Raises what reply() does."""
        try:
            if answer.code:
                bus.fail(answer.call_id, answer.data, answer.code, timeout)
            else:
                bus.reply(answer.call_id, answer.data, 0, timeout)
        except MessageTooLargeError as error:
            _log.error("a reply is too large: %s", error)
            bus.fail(answer.call_id, f"MessageTooLargeError: {error}", RPC_TOO_LARGE, timeout)

    # ---- one bus ----

    def serve_once(self, bus: RpcBus, timeout: float | None = None) -> None:
        """Wait for one request, and answer it. Raises what RpcBus.serve() and reply() do."""
        with bus.serve_zero_copy(timeout) as request:
            self.send(bus, self.answer(request))

    def serve_forever(self, bus: RpcBus) -> None:
        """Serve until the caller closes, this side does, Ctrl-C or stop().

        Raises PeerDeadError, ProtocolError.
        """
        wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) if hasattr(os, "eventfd") else -1
        with self._lock:
            self._wakers.add(wake)
        try:
            while not self._stopped.is_set():
                request = bus.try_request()
                if request is None:
                    _sleep(bus, wake)
                    continue
                with request:
                    self.send(bus, self.answer(request))
        except (ClosedError, KeyboardInterrupt):
            pass
        finally:
            with self._lock:
                self._wakers.discard(wake)
                self._stopped.clear()
                if wake >= 0:
                    os.close(wake)

    def stop(self) -> None:
        """End a serve_forever(), after the request that it is at. From any thread or handler
        of a signal."""
        self._stopped.set()
        for wake in list(self._wakers):
            if wake >= 0:
                os.eventfd_write(wake, 1)


def _marked_in(thing: Any) -> list[Callable[..., Any]]:
    found = (getattr(thing, name, None) for name in dir(thing) if not name.startswith("__"))
    return [value for value in found if callable(value) and hasattr(value, _MARK)]


# How long a server that has answered polls for the next request, seconds.
_LINGER = 50e-6
# Without eventfd (Python 3.9's, and macOS), stop() is seen after at most so long.
_LOOK_MS = 100


def _sleep(bus: RpcBus, wake: int) -> None:
    """Until there may be a request, or stop() was called."""
    try:
        bus._await_request(errno.EAGAIN, _linger())
        return
    except WaitTimeoutError:
        pass
    if not bus.arm():
        return
    data_fd, _, death_fd = bus.descriptors()
    poll = select.poll()
    for fd in (data_fd, death_fd, wake):
        if fd >= 0:
            poll.register(fd, select.POLLIN)
    poll.poll(None if wake >= 0 else _LOOK_MS)


def _linger() -> Any:
    from tachyon._wait import Countdown

    return Countdown(_LINGER)
