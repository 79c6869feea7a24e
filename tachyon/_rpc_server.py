"""RpcServer: many clients, one loop.

The server has one thread that owns all buses. It sleeps in epoll on their doorbells. Each turn
takes at most _BATCH requests of each client that has some, so that none waits for another's
flood. A client that does not read its replies is not served before there is room for them;
the others do not notice. Worker threads run handlers only: requests go to them by a queue,
and their replies come back by another, with an eventfd as its doorbell.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from tachyon._dispatcher import Answer, Dispatcher
from tachyon._errors import ClosedError, TachyonError, WaitTimeoutError
from tachyon._library import function
from tachyon._rpc import RpcBus, RpcListener
from tachyon._rpc_calls import Request
from tachyon._rpc_serve import room_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from tachyon._bus import Path
    from tachyon._options import ListenOptions

_log = logging.getLogger("tachyon.rpc")
_arm_space = function("tachyon_bus_arm_space")
_disarm_space = function("tachyon_bus_disarm_space")

_BATCH = 32
# Requests that one client may have with the workers; more stay in its ring.
_IN_WORK = 1024


class _Client:
    """One caller of an RpcServer."""

    __slots__ = ("answers", "bus", "fds", "in_work", "ready", "wants_room")

    def __init__(self, bus: RpcBus) -> None:
        self.bus = bus
        self.fds = bus.descriptors()
        self.answers: deque[Answer] = deque()  # those that the ring had no room for
        self.in_work = 0  # requests that the workers have
        self.ready = True  # may have requests
        self.wants_room = False


class RpcServer:
    """Listens on a path, and serves any number of callers with one dispatcher.

    workers: threads that run the endpoints; 0: the thread of serve_forever() does.
    The other arguments are those of Listener. A context manager that starts a thread for
    serve_forever() and stops it at the end of the block.

    It survives any client's death or nonsense, which it logs to "tachyon.rpc".
    """

    def __init__(
        self,
        path: Path,
        dispatcher: Dispatcher,
        workers: int = 0,
        capacity: int | None = None,
        **options: Unpack[ListenOptions],
    ) -> None:
        if workers < 0:
            raise ValueError(f"workers must be 0 or more, and is {workers}")
        self._dispatcher = dispatcher
        self._listener = RpcListener(path, capacity, **options)
        self._epoll = select.epoll()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._clients: dict[int, _Client] = {}  # by each of their descriptors
        self._ready: deque[_Client] = deque()
        self._stopping = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._done: deque[tuple[_Client, Answer]] = deque()
        self._pool: Any = None
        if workers:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(workers, "tachyon-rpc")

    @property
    def clients(self) -> int:
        """How many callers are connected."""
        return len({id(client) for client in list(self._clients.values())})

    @property
    def path(self) -> str:
        """The path of the socket."""
        return self._listener.path

    # ---- running ----

    def serve_forever(self) -> None:
        """Serve until stop() or Ctrl-C; then close all buses, and the listener."""
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._epoll.register(self._wake_read, select.EPOLLIN)
        try:
            while not self._stopping:
                self._turn()
        except KeyboardInterrupt:
            pass
        finally:
            self._shut_down()

    def stop(self) -> None:
        """End serve_forever(). From any thread, or handler of a signal. May be called again."""
        self._stopping = True
        self._wake_up()

    def start(self) -> None:
        """Run serve_forever() in a thread."""
        self._thread = threading.Thread(target=self.serve_forever, name="tachyon-rpc-server")
        self._thread.start()

    def close(self) -> None:
        """stop(), and wait for the end of the thread that start() made."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
        elif not self._ended.is_set():
            self._shut_down()

    def __enter__(self) -> RpcServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wake_up(self) -> None:
        try:
            os.write(self._wake_write, b"\0")
        except OSError:  # full: it is awake; closed: it has ended
            pass

    def _turn(self) -> None:
        """Sleep if nobody has anything, then one batch of each client that has."""
        timeout = 0 if self._ready else -1
        for fd, _ in self._epoll.poll(timeout):
            if fd == self._wake_read:
                self._drain_wakes()
            elif fd in self._clients:
                self._rouse(self._clients[fd])
            else:
                self._accept()
        while self._done:
            client, answer = self._done.popleft()
            client.in_work -= 1
            if not client.bus.closed:
                client.answers.append(answer)
                self._rouse(client)
        for _ in range(len(self._ready)):
            self._serve(self._ready.popleft())

    def _drain_wakes(self) -> None:
        try:
            while os.read(self._wake_read, 4096):
                pass
        except BlockingIOError:
            pass

    # ---- clients ----

    def _accept(self) -> None:
        try:
            bus = self._listener.accept(0)
        except WaitTimeoutError:
            return
        except TachyonError as error:
            _log.warning("no new client: %s", str(error))
            # Out of descriptors or memory: the others are served meanwhile.
            threading.Event().wait(0.01)
            return
        client = _Client(bus)
        for fd in client.fds:
            if fd >= 0:
                self._clients[fd] = client
        self._watch(client, data=False)
        self._ready.append(client)

    def _watch(self, client: _Client, *, data: bool = False, room: bool = False) -> None:
        """Only what was armed may be watched: a doorbell stays readable until then."""
        data_fd, room_fd, death_fd = client.fds
        self._set(data_fd, select.EPOLLIN if data else 0)
        self._set(room_fd, select.EPOLLIN if room else 0)
        if death_fd >= 0:
            self._set(death_fd, select.EPOLLIN | select.EPOLLONESHOT)

    def _set(self, fd: int, events: int) -> None:
        if events:
            try:
                self._epoll.modify(fd, events)
            except FileNotFoundError:
                self._epoll.register(fd, events)
        else:
            try:
                self._epoll.unregister(fd)
            except FileNotFoundError:
                pass

    def _rouse(self, client: _Client) -> None:
        if not client.ready:
            client.ready = True
            self._ready.append(client)

    def _serve(self, client: _Client) -> None:
        """One batch; then the client is ready still, asleep, or gone."""
        try:
            if self._serve_batch(client):
                self._ready.append(client)
            else:
                client.ready = False
        except ClosedError:
            self._drop(client)
        except TachyonError as error:
            # Its text only: whoever keeps the record would keep the bus with the traceback.
            _log.warning("a client is gone: %s", str(error))
            self._drop(client)

    def _serve_batch(self, client: _Client) -> bool:
        """Whether to come again without sleeping."""
        if client.wants_room:
            client.wants_room = False
            _disarm_space(client.bus._handle)
        for _ in range(_BATCH):
            if client.answers and not self._send_answers(client):
                return self._sleep_for_room(client)
            if client.in_work >= _IN_WORK:
                self._watch(client)
                return False
            request = client.bus.try_request()
            if request is None:
                if not client.bus.arm():
                    return True
                self._watch(client, data=True)
                return False
            self._take(client, request)
        if client.answers and not self._send_answers(client):
            return self._sleep_for_room(client)
        return True

    def _take(self, client: _Client, request: Request) -> None:
        with request:
            if self._pool is None:
                client.answers.append(self._dispatcher.answer(request))
                self._send_answers(client)
                return
            # The place in the ring goes back at once, however long the workers take.
            data = request.data if isinstance(request.data, bytes) else bytes(request.data)
        client.in_work += 1
        copy = Request(client.bus, data, request.msg_type, request.id)
        self._pool.submit(self._work, client, copy)

    def _work(self, client: _Client, request: Request) -> None:
        """In a worker thread."""
        answer = self._dispatcher.answer(request)
        if isinstance(answer.data, memoryview):
            answer = answer._replace(data=bytes(answer.data))
        self._done.append((client, answer))
        self._wake_up()

    def _send_answers(self, client: _Client) -> bool:
        while client.answers:
            try:
                self._dispatcher.send(client.bus, client.answers[0], 0)
            except WaitTimeoutError:
                answer = client.answers[0]
                if isinstance(answer.data, memoryview):  # of a request that is about to go
                    client.answers[0] = answer._replace(data=bytes(answer.data))
                return False
            client.answers.popleft()
        return True

    def _sleep_for_room(self, client: _Client) -> bool:
        data = client.answers[0].data
        size = len(data) if not isinstance(data, memoryview) else data.nbytes
        size = min(size if not isinstance(data, str) else 4 * size, client.bus.max_message_size)
        status = _arm_space(client.bus._handle, room_of(size))
        if status < 0:
            raise client.bus._failure(status, "reply on")
        client.wants_room = True
        if status:
            return True
        self._watch(client, room=True)
        return False

    def _drop(self, client: _Client) -> None:
        for fd in client.fds:
            if fd >= 0:
                self._set(fd, 0)
                self._clients.pop(fd, None)
        client.answers.clear()
        client.bus.close()

    def _shut_down(self) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        for client in {id(client): client for client in self._clients.values()}.values():
            self._drop(client)
        self._ready.clear()
        self._done.clear()
        self._listener.close()
        self._epoll.close()
        os.close(self._wake_read)
        fd, self._wake_write = self._wake_write, -1
        os.close(fd)
