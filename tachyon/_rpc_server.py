"""RpcServer: many clients, one loop.

The server has one thread that owns all buses. It sleeps in epoll on their doorbells. Each turn
takes at most _BATCH requests of each client that has some, so that none waits for another's
flood. A client that does not read its replies is not served before there is room for them;
the others do not notice. Worker threads run handlers only: requests go to them by a queue,
and their replies come back by another, with an eventfd as its doorbell.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import select
import threading
import weakref
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from tachyon._dispatcher import Answer, Dispatcher, report
from tachyon._errors import ClosedError, ForkError, WaitTimeoutError
from tachyon._rpc import RpcBus, RpcListener
from tachyon._rpc_calls import Request
from tachyon._wait import runs_handlers, wait_readable
from tachyon._waker import Waker

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from tachyon._bus import Path
    from tachyon._options import ListenOptions

_BATCH = 32
# Requests that one client may have with the workers; more stay in its ring. Few, for those of
# all clients wait in one queue; and enough that no worker waits for the loop.
_IN_WORK = 64
# Out of descriptors or memory: those who want to connect wait so long, seconds; the clients do not.
_PAUSE = 0.05
_SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


_open_servers: weakref.WeakSet[RpcServer] = weakref.WeakSet()


# Registered after _end.py's, so called before it: no bus ends under its server.
@atexit.register
def _close_open_servers() -> None:
    for server in list(_open_servers):
        server.close()


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
        self._pid = os.getpid()
        self._clients: dict[int, _Client] = {}  # by each of their descriptors
        self._ready: deque[_Client] = deque()
        self._done: deque[tuple[_Client, Answer]] = deque()
        self._accept_at = 0.0  # when to look at the listener again; 0: it is watched
        self._stopping = False
        self._running: threading.Thread | None = None  # who is in serve_forever()
        self._thread: threading.Thread | None = None  # of start()
        self._lock = threading.RLock()  # for those two
        self._ended = threading.Event()
        self._inside = threading.local()
        self._pool: Any = None
        if workers:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(workers, "tachyon-rpc")
        self._waker = Waker()
        self._epoll = select.epoll()
        self._epoll.register(self._waker.fileno(), select.EPOLLIN)
        self._listener = RpcListener(path, capacity, **options)
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        _open_servers.add(self)

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
        """Serve until stop() or Ctrl-C; then close all buses, and the listener.

        Requests that the workers are at are answered first; a second Ctrl-C waits for none.
        Raises RuntimeError where another thread is in here.
        """
        with self._lock:
            if self._ended.is_set():
                return
            if self._running is not None:
                raise RuntimeError("this server runs already")
            self._running = threading.current_thread()
        try:
            while not self._stopping:
                self._turn()
        except KeyboardInterrupt:
            pass
        finally:
            self._shut_down()

    def stop(self) -> None:
        """End serve_forever(). From any thread, endpoint or handler of a signal. May be
        called again."""
        self._stopping = True
        self._waker.wake()

    def start(self) -> None:
        """Run serve_forever() in a thread. Raises RuntimeError where it runs already."""
        with self._lock:
            if self._thread is not None or self._running is not None:
                raise RuntimeError("this server runs already")
            thread = threading.Thread(
                target=self.serve_forever, name="tachyon-rpc-server", daemon=True
            )
            thread.start()
            self._thread = thread

    def close(self) -> None:
        """stop(), and wait for the end of serve_forever(); but not in an endpoint, which it
        waits for itself. May be called again, and from any thread. Does nothing in a forked
        child, which has neither the thread nor the buses."""
        if os.getpid() != self._pid:
            return
        self.stop()
        with self._lock:
            if self._thread is None and self._running is None:
                self._running = threading.current_thread()
                self._shut_down()
                return
            is_inside = self._running is threading.current_thread()
        if not is_inside and not hasattr(self._inside, "works"):
            self._ended.wait()
            if self._thread is not None:
                self._thread.join()

    def __enter__(self) -> RpcServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _turn(self) -> None:
        """Sleep if nobody has anything, then one batch of each client that has."""
        for fd, _ in self._sleep(self._patience()):
            if fd == self._waker.fileno():
                self._waker.clear()
            elif fd in self._clients:
                self._rouse(self._clients[fd])
            else:
                self._accept()
        self._take_done()
        for _ in range(len(self._ready)):
            if self._stopping:
                break
            self._serve(self._ready.popleft())

    def _sleep(self, patience: float) -> list[tuple[int, int]]:
        """What is readable in time."""
        if patience and runs_handlers():
            wait_readable(self._epoll.fileno(), timeout=None if patience < 0 else patience)
            patience = 0
        return self._epoll.poll(patience)

    def _patience(self) -> float:
        """How long to sleep: -1 for ever."""
        if self._accept_at:
            left = self._accept_at - monotonic()
            if left > 0:
                return 0 if self._ready else left
            self._accept_at = 0.0
            self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        return 0 if self._ready else -1

    def _take_done(self) -> None:
        while self._done:
            client, answer = self._done.popleft()
            client.in_work -= 1
            if not client.bus.closed:
                client.answers.append(answer)
                self._rouse(client)

    # ---- clients ----

    def _accept(self) -> None:
        bus = None
        try:
            bus = self._listener.accept(0)
            client = _Client(bus)
            self._watch(client)
        except WaitTimeoutError:
            return
        except OSError as error:  # TachyonError, too
            report(logging.WARNING, "no new client: %s", str(error))
            if bus is not None:
                bus.close()
            if error.errno in _SHORT:
                self._accept_at = monotonic() + _PAUSE
                self._epoll.unregister(self._listener.fileno())
            return
        for fd in client.fds:
            if fd >= 0:
                self._clients[fd] = client
        self._ready.append(client)

    def _watch(self, client: _Client, *, data: bool = False, room: bool = False) -> None:
        """Only what was armed may be watched: a doorbell stays readable until then."""
        data_fd, room_fd, death_fd = client.fds
        self._set(data_fd, select.EPOLLIN if data else 0)
        self._set(room_fd, select.EPOLLIN if room else 0)
        if death_fd >= 0:
            self._set(death_fd, select.EPOLLIN | select.EPOLLONESHOT)

    def _unwatch(self, client: _Client) -> None:
        for fd in client.fds:
            if fd >= 0:
                self._set(fd, 0)

    def _set(self, fd: int, events: int) -> None:
        if events:
            try:
                self._epoll.modify(fd, events)
            except FileNotFoundError:
                self._epoll.register(fd, events)
        else:
            try:
                self._epoll.unregister(fd)
            except OSError:  # it is not there, or closed
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
        except ForkError:  # an endpoint forked, and this is the child: the parent goes on
            raise
        except ClosedError:
            self._drop(client)
        except OSError as error:
            # Its text only: whoever keeps the record would keep the bus with the traceback.
            report(logging.WARNING, "a client is gone: %s", str(error))
            self._drop(client)
        except Exception as error:
            report(logging.ERROR, "a client is given up", error=error)
            self._drop(client)

    def _serve_batch(self, client: _Client) -> bool:
        """Whether to come again without sleeping."""
        if client.wants_room:
            client.wants_room = False
            client.bus._disarm_room()
        for _ in range(_BATCH):
            if client.answers and not self._send_answers(client):
                return self._sleep_for_room(client)
            if client.in_work >= _IN_WORK:
                self._unwatch(client)  # until a worker is done
                return False
            request = client.bus.try_request()
            if request is None:
                if not client.bus.arm():
                    return True
                self._watch(client, data=True)
                return False
            self._take(client, request)
            if self._stopping:
                return True
        if client.answers and not self._send_answers(client):
            return self._sleep_for_room(client)
        return True

    def _take(self, client: _Client, request: Request) -> None:
        with request:
            if self._pool is None:
                answer = self._dispatcher.serve(client.bus, request)
                if answer is not None:
                    client.answers.append(answer)
                    self._send_answers(client)
            else:
                # The place in the ring goes back at once, however long the workers take.
                data = request.data if isinstance(request.data, bytes) else bytes(request.data)
        if self._pool is None:
            self._dispatcher.warn_of_views(client.bus, request)
            return
        try:
            copy = Request(client.bus, data, request.msg_type, request.id)
            self._pool.submit(self._work, client, copy)
            client.in_work += 1
        except RuntimeError:  # the interpreter is about to end, and has ended the workers
            self._stopping = True

    def _work(self, client: _Client, request: Request) -> None:
        """In a worker thread."""
        self._inside.works = True
        try:
            answer = self._dispatcher.answer(request)
            answer.keep()
        except BaseException as error:  # sys.exit() ends no server from here; memory ran out
            answer = self._dispatcher.explain(request, error)
        self._done.append((client, answer))
        self._waker.wake()

    def _send_answers(self, client: _Client) -> bool:
        while client.answers:
            try:
                client.answers[0].send(client.bus, 0)
            except WaitTimeoutError:
                client.answers[0].keep()
                return False
            client.answers.popleft()
        return True

    def _sleep_for_room(self, client: _Client) -> bool:
        client.wants_room = True
        if not client.bus._arm_room(client.answers[0].size):
            return True
        self._watch(client, room=True)
        return False

    def _drop(self, client: _Client) -> None:
        self._unwatch(client)
        for fd in client.fds:
            self._clients.pop(fd, None)
        client.answers.clear()
        client.bus.close()

    # ---- the end ----

    def _shut_down(self) -> None:
        """In the thread of serve_forever(); the second Ctrl-C may strike in here."""
        if os.getpid() != self._pid:  # an endpoint forked: the epoll is the parent's, too
            return
        try:
            self._listener.close()
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)
            self._take_done()
            for client in {id(client): client for client in self._clients.values()}.values():
                self._send_last_answers(client)
        finally:
            for client in {id(client): client for client in self._clients.values()}.values():
                self._drop(client)
            self._ready.clear()
            self._done.clear()
            self._epoll.close()
            self._waker.close()
            self._ended.set()

    def _send_last_answers(self, client: _Client) -> None:
        """As many as there is room for."""
        try:
            self._send_answers(client)
        except OSError:  # it is gone
            pass
