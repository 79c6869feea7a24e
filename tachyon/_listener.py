"""Listener: owns a socket path and makes a Bus for each process that connects to it."""

from __future__ import annotations

import errno
from ctypes import byref

from tachyon._aio import AsyncListening
from tachyon._bus import Bus
from tachyon._end import close_at_exit, refuse_to_leave
from tachyon._errors import ClosedError, WaitTimeoutError
from tachyon._handle import Handle
from tachyon._library import failure, function
from tachyon._options import encode_path, make_listen_options
from tachyon._sleeps import Sleeps
from tachyon._wait import Countdown, call_blocking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import TypeVar

    from typing_extensions import Unpack

    from tachyon._bus import Path
    from tachyon._options import ListenOptions

    SomeBus = TypeVar("SomeBus", bound=Bus)

_create = function("tachyon_listener_create")
_accept = function("tachyon_listener_accept")
_fd = function("tachyon_listener_fd")
_close = function("tachyon_listener_close")
_free = function("tachyon_listener_free")


class Listener(AsyncListening):
    """Owns a socket path; accept() makes a Bus for each process that connects.

    path: str, bytes or os.PathLike, at most 107 bytes. The socket is removed by close().
        One that a dead listener left behind is taken over; a live listener's, or a file
        that is no socket, is left alone.
    capacity: ring from the connector to us, bytes; rounded up to a power of two of at least
        a page. Default 1 MiB. reply_capacity: ring from us to the connector; default: as
        capacity. max_capacity: largest ring to make or map; default: half
        of the machine's memory, at most 64 GiB.
    spin: how long a wait polls before it sleeps, seconds; default: adaptive, up to 100 us,
        and never on one processor; 0: never.
    prefault: map all pages now. mlock: lock both rings in memory. huge_pages: use 2 MiB
        pages; where there are none left, normal ones (see Bus.properties()).
    trusted: where both ends say so, received data may be changed in place.
    numa_node: the node on which our ring's memory shall lie.
    socket_mode: permission bits of the socket; default 0o600, whatever the umask.
    allowed_uids: user ids that may be the peer; default: our own only.
    handshake_timeout: how long a connection may take to introduce itself, seconds; default
        2. max_pending: unfinished introductions at a time; default 16, at most 64.

    A context manager, and iterable: `for bus in listener`. Connections are taken care of
    only while accept() runs.

    Raises AddressInUseError, PathError, AccessError, OptionError, ValueError, TypeError,
    TachyonError (out of memory or descriptors).
    """

    __slots__ = ("__weakref__", "_closed", "_handle", "_path")

    _KIND = 0  # of the buses: the default

    def __init__(
        self,
        path: Path,
        capacity: int | None = None,
        **options: Unpack[ListenOptions],
    ) -> None:
        # Filled in by the C library: freed whatever strikes next.
        self._handle = Handle(_free)
        self._closed = False
        self._sleeps = Sleeps()
        raw_path, self._path = encode_path(path)
        struct = make_listen_options(type(self).__name__, {"capacity": capacity, **options})
        struct.kind = self._KIND
        status = _create(byref(self._handle), raw_path, struct)
        if status:
            raise failure(status, "listen on", self._path)
        close_at_exit(self)

    def accept(self, timeout: float | None = None) -> Bus:
        """Wait for a process to connect, and return the bus to it, which is then yours.

        timeout: seconds, None: for ever, 0: only see whether one is there.
        A connector that is mute, wrong or dies meanwhile is dropped, the wait goes on.

        Raises WaitTimeoutError, ClosedError (also when another thread closes the listener),
        ForkError, TachyonError (no memory or descriptors for this connection; try later).
        """
        return self._accept(Bus, Countdown(timeout))

    def _accept(self, kind: type[SomeBus], countdown: Countdown) -> SomeBus:
        bus = kind._empty()
        status = call_blocking(_accept, countdown, self._handle, byref(bus._handle))
        if status in (-errno.EAGAIN, -errno.ETIMEDOUT):
            raise WaitTimeoutError(-status, f"nobody connected to {self._path!r} {countdown}")
        if status:
            raise failure(status, "accept on", self._path)
        return bus._ready(self._path)

    def __iter__(self) -> Iterator[Bus]:
        """Buses as by accept(), until the listener is closed."""
        while True:
            try:
                yield self._accept(Bus, Countdown(None))
            except ClosedError:
                return

    def fileno(self) -> int:
        """A descriptor that is readable when accept(0) has something to do; the listener's."""
        fd: int = _fd(self._handle)
        if fd < 0:
            raise failure(fd, "watch", self._path)
        return fd

    def close(self) -> None:
        """Stop listening and remove the socket. Accepted buses live on. May be called again.

        An accept() or aaccept() that waits in another thread or task raises ClosedError.
        """
        self._closed = True
        self._sleeps.end(self._close)

    def _close(self) -> None:
        _close(self._handle)

    __reduce__ = refuse_to_leave

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    @property
    def path(self) -> str:
        """The path of the socket."""
        return self._path

    def __repr__(self) -> str:
        return f"<Listener {self._path!r} {'closed' if self._closed else 'open'}>"
