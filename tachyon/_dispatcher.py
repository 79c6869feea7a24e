"""Endpoints, and the Dispatcher that finds them and makes replies of what they do."""

from __future__ import annotations

import errno
import logging
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tachyon._abi import RPC_EXCEPTION, RPC_TOO_LARGE, RPC_UNKNOWN_TYPE
from tachyon._errors import ClosedError, MessageTooLargeError, TachyonError, WaitTimeoutError
from tachyon._message import checked_type_id
from tachyon._wait import Countdown, wait_readable
from tachyon._waker import Waker

if TYPE_CHECKING:
    from tachyon._rpc import RpcBus
    from tachyon._rpc_calls import Request

Handler = TypeVar("Handler", bound=Callable[..., Any])

_log = logging.getLogger("tachyon.rpc")
_MARK = "__tachyon_msg_type__"


def rpc(msg_type: int) -> Callable[[Handler], Handler]:
    """Mark a function, or method, as the endpoint for a msg_type; see Dispatcher.

    It takes the request as a memoryview, or as bytes or a NumPy array where its first
    parameter is annotated so; it returns bytes, a bytearray or memoryview, an array, or None.
    A memoryview and an array may lie in the ring, and show the peer's bytes: copy what is to
    be kept, or the caller has no room for more. An array that is returned is copied once,
    into the ring. The function itself stays as it was, to be called in unit tests.
    """
    number = checked_type_id(msg_type)

    def mark(handler: Handler) -> Handler:
        setattr(handler, _MARK, number)
        return handler

    return mark


def _array_argument(data: Any) -> Any:
    from tachyon._array import array_in

    return array_in(data)


def _argument_of(handler: Callable[..., Any]) -> Callable[[Any], Any]:
    """What makes the argument of a request's data, by the first parameter's annotation."""
    import inspect

    parameters = list(inspect.signature(handler).parameters.values())
    if not parameters:
        raise TypeError(f"{handler!r} takes no request")
    text = str(parameters[0].annotation)
    if "NDArray" in text or "ndarray" in text:
        return _array_argument
    return bytes if text in ("bytes", "<class 'bytes'>") else memoryview


def _in_words(error: BaseException) -> str:
    try:
        words = f"{type(error).__name__}: {error}"
    except Exception:
        words = f"{type(error).__name__}: it could not say what happened"
    return words.replace("\0", "\\0")  # which is where a traceback begins


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:
        return "it could not be formatted"


def report(level: int, text: str, *arguments: object, error: BaseException | None = None) -> None:
    """A line in the log. Where that fails, a server goes on."""
    try:
        _log.log(level, text, *arguments, exc_info=error)
    except Exception:
        pass


class Answer:
    """A reply on its way.

    code: 0, or a failure's. data: bytes-like in one piece, an ArrayMessage, or the text of a
    failure in UTF-8. size: its bytes.
    """

    __slots__ = ("call_id", "code", "data", "size")

    def __init__(self, call_id: int, data: Any, code: int = 0) -> None:
        self.call_id = call_id
        self._set(data, code)

    def _set(self, data: Any, code: int) -> None:
        self.data = data
        self.code = code
        self.size: int = data.nbytes if isinstance(data, memoryview) else len(data)

    @classmethod
    def of(cls, call_id: int, result: Any) -> Answer:
        """What an endpoint returned. Raises TypeError, and what making an array of it does."""
        if result is None:
            return cls(call_id, b"")
        if isinstance(result, memoryview):
            return cls(call_id, result if result.c_contiguous else result.tobytes())
        if isinstance(result, (bytes, bytearray)):
            return cls(call_id, result)
        if hasattr(result, "__array__") or hasattr(result, "__dlpack__"):
            from tachyon._rpc_array import ArrayMessage

            return cls(call_id, ArrayMessage(result))
        kind = type(result).__name__
        raise TypeError(f"an endpoint must return bytes, an array or None, not {kind}")

    def keep(self) -> None:
        """It has to wait, and the endpoint may use its memory for something else meanwhile."""
        if not isinstance(self.data, bytes):
            self.data = bytes(self.data)

    def send(self, bus: RpcBus, timeout: float | None) -> None:
        """Send it; if it is too large it becomes a failure. Raises what RpcBus.reply() does."""
        if self.code:
            bus._fail_in_utf8(self.call_id, self.data, self.code, timeout)
        elif self.size > bus.max_message_size:
            text = f"{self.size} bytes are too much for {bus.path!r}, which carries at most "
            text += str(bus.max_message_size)
            report(logging.ERROR, "a reply is too large: %s", text)
            self._set(f"MessageTooLargeError: {text}".encode("utf-8", "replace"), RPC_TOO_LARGE)
            self.send(bus, timeout)
        elif isinstance(self.data, (bytes, bytearray, memoryview)):
            bus.reply(self.call_id, self.data, 0, timeout)
        else:
            bus._reply_message(self.call_id, self.data, 0, timeout)


class Dispatcher:
    """Finds the endpoint for a request, and makes a reply, or a failure, of what it does.

    tracebacks: whether callers get the server's tracebacks with RpcError.
    Endpoints' exceptions are logged to "tachyon.rpc", and the server goes on. But Ctrl-C and
    sys.exit() in an endpoint end the serving, as they end anything else, where it runs in the
    thread that serves; in a worker thread of RpcServer they fail the call.
    """

    def __init__(self, *, tracebacks: bool = False) -> None:
        self._endpoints: dict[int, tuple[Callable[..., Any], Callable[[Any], Any]]] = {}
        self._tracebacks = tracebacks
        self._warned: set[int] = set()
        self._stopped = False
        self._waker: Waker | None = None
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
        self._endpoints[msg_type] = (handler, _argument_of(handler))

    # ---- one request ----

    def handle(self, request: Request) -> Any:
        """Call the endpoint, and return what it returned, which may be a coroutine.

        Raises LookupError (unknown msg_type), and what the endpoint does.
        """
        endpoint = self._endpoints.get(request.msg_type)
        if endpoint is None:
            raise LookupError(request.msg_type)
        handler, argument_of = endpoint
        return handler(argument_of(request.data))

    def answer(self, request: Request) -> Answer:
        """Run the endpoint; whatever Exception it raises, there is an answer."""
        try:
            return Answer.of(request.id, self.handle(request))
        except Exception as error:
            return self.explain(request, error)

    def explain(self, request: Request, error: BaseException) -> Answer:
        """The failure for an exception; and a line in the log."""
        if isinstance(error, LookupError) and request.msg_type not in self._endpoints:
            report(logging.WARNING, "no endpoint for msg_type %d", request.msg_type)
            text = f"UnknownTypeError: the server has no endpoint for msg_type {request.msg_type}"
            return Answer(request.id, text.encode(), RPC_UNKNOWN_TYPE)
        report(logging.ERROR, "the endpoint for msg_type %d failed", request.msg_type, error=error)
        text = _in_words(error)
        if self._tracebacks:
            text += "\0" + _traceback_of(error)
        return Answer(request.id, text.encode("utf-8", "replace"), RPC_EXCEPTION)

    def serve(self, bus: RpcBus, request: Request) -> Answer | None:
        """Run the endpoint; return what is to be sent, None where that is done already.

        Where the endpoint ends the program instead, its caller still hears of it.
        """
        try:
            result = self.handle(request)
            if type(result) is not bytes:
                return Answer.of(request.id, result)
        except Exception as error:
            return self.explain(request, error)
        except BaseException as error:
            self.tell_of_end(bus, request, error)
            raise
        try:
            bus.reply(request.id, result, 0, 0)
        except (WaitTimeoutError, MessageTooLargeError):
            return Answer(request.id, result)
        return None

    def tell_of_end(self, bus: RpcBus, request: Request, error: BaseException) -> None:
        """Where an endpoint ends the program: fail its call, if there is room to."""
        try:
            self.explain(request, error).send(bus, 0)
        except TachyonError:
            pass

    def warn_of_views(self, bus: RpcBus, request: Request) -> None:
        """After a request in the ring was released: whether somebody keeps it there."""
        if request.in_ring and bus.stats().leases and request.msg_type not in self._warned:
            self._warned.add(request.msg_type)
            report(
                logging.WARNING,
                "the endpoint for msg_type %d keeps a view of a request, and with it the room "
                "in its caller's ring: copy what you keep",
                request.msg_type,
            )

    # ---- one bus ----

    def serve_once(self, bus: RpcBus, timeout: float | None = None) -> None:
        """Wait for one request, and answer it. Raises what RpcBus.serve() and reply() do."""
        with bus.serve_zero_copy(timeout) as request:
            answer = self.serve(bus, request)
            if answer is not None:
                answer.send(bus, timeout)
        self.warn_of_views(bus, request)

    def serve_forever(self, bus: RpcBus) -> None:
        """Serve until the caller closes, this side does, Ctrl-C or stop().

        Raises PeerDeadError, ProtocolError; LeaseError (an endpoint keeps views of so many
        requests that no other has room).
        """
        with self._lock:
            self._waker = self._waker or Waker()
        try:
            while not self._stopped:
                request = bus.try_request()
                if request is None:
                    _sleep_for_data(bus, self._waker)
                    continue
                if request._lease is None:
                    answer = self.serve(bus, request)
                    if answer is not None:
                        self._send(bus, answer, self._waker)
                    continue
                with request:
                    answer = self.serve(bus, request)
                    if answer is not None:
                        self._send(bus, answer, self._waker)
                self.warn_of_views(bus, request)
        except (ClosedError, KeyboardInterrupt):
            pass

    def _send(self, bus: RpcBus, answer: Answer, waker: Waker) -> None:
        """Wait for room; but not when stop() is called."""
        while True:
            try:
                answer.send(bus, 0)
                return
            except WaitTimeoutError:
                if self._stopped:
                    return
                _sleep_for_room(bus, answer.size, waker)

    def stop(self) -> None:
        """End serve_forever(), after the request that it is at; one that begins later ends at
        once. From any thread, endpoint or handler of a signal. Those of asyncio end when
        their task is cancelled."""
        self._stopped = True
        if self._waker is not None:
            self._waker.wake()


def _marked_in(thing: Any) -> list[Callable[..., Any]]:
    found = (getattr(thing, name, None) for name in dir(thing) if not name.startswith("__"))
    return [value for value in found if callable(value) and hasattr(value, _MARK)]


# How long a server that has answered polls for the next request, seconds.
_LINGER = 50e-6


def _sleep_for_data(bus: RpcBus, waker: Waker) -> None:
    """Until there may be a request, or stop() was called."""
    try:
        bus._await_request(errno.EAGAIN, Countdown(_LINGER))
        return
    except WaitTimeoutError:
        pass
    if bus.arm():
        data_fd, _, death_fd = bus.descriptors()
        wait_readable(data_fd, death_fd, waker.fileno())


def _sleep_for_room(bus: RpcBus, size: int, waker: Waker) -> None:
    """Until there may be room for a reply, or stop() was called."""
    try:
        if bus._arm_room(size):
            _, room_fd, death_fd = bus.descriptors()
            wait_readable(room_fd, death_fd, waker.fileno())
    finally:
        bus._disarm_room()
