"""End: what Bus is apart from sending and receiving: its handle, its end, and facts."""

from __future__ import annotations

import atexit
import errno
import weakref
from ctypes import byref, c_int, c_ubyte, c_uint64, c_void_p, cast, pythonapi, sizeof

from tachyon._abi import MessageStruct, PropertiesStruct, StatsStruct
from tachyon._builtin import QUICK, EndBase, builtin_method
from tachyon._errors import error_from_errno
from tachyon._handle import Handle
from tachyon._lease import explain_leases
from tachyon._library import failure, function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, NoReturn

    from typing_extensions import Self

    from tachyon._errors import TachyonError
    from tachyon._facts import Properties, Stats

_recv_slot = function("tachyon_bus_recv_slot")
_arm = function("tachyon_bus_arm")
_fds = function("tachyon_bus_fds")
_close = function("tachyon_bus_close")
_free = function("tachyon_bus_free")
_get_properties = function("tachyon_bus_properties")
_get_stats = function("tachyon_bus_stats")

_MAKE_BYTES = cast(pythonapi["PyBytes_FromStringAndSize"], c_void_p)
_OneMessage = MessageStruct * 1

# What is still open at the exit of the interpreter is closed there, in good order.
_open_ends: weakref.WeakSet[Any] = weakref.WeakSet()


def refuse_to_leave(end: object) -> NoReturn:
    """What pickle and copy are told: descriptors and mappings belong to this process."""
    raise TypeError(
        f"a {type(end).__name__} cannot be sent to another process; connect or listen there"
    )


def close_at_exit(end: Any) -> None:
    _open_ends.add(end)


@atexit.register
def _close_open_ends() -> None:
    for end in list(_open_ends):
        end.close()


class End(EndBase):
    """See Bus."""

    __slots__ = (
        "__weakref__",
        "_closed",
        "_handle",
        "_message",
        "_owner",
        "_path",
        "_properties",
        "_recv_window",
        "_send_window",
        "_slot",
        "_words",
    )

    if TYPE_CHECKING:

        def _view(self, address: int, size: int, ticket: int, where: str | None) -> memoryview: ...
        def _leases(self) -> list[Any]: ...

    _closed: bool
    _handle: c_void_p
    _owner: Handle  # frees it, and no __del__(): see there

    def __init__(self, *_: object, **__: object) -> None:
        name = type(self).__name__
        raise TypeError(f"use {name}.listen(path), {name}.connect(path) or a listener's accept()")

    @classmethod
    def _empty(cls) -> Self:
        """A bus whose handle the C library fills in: it is freed whatever strikes next."""
        bus = cls.__new__(cls)
        bus._handle = bus._owner = cls._new_owner()
        bus._closed = False
        return bus

    @classmethod
    def _new_owner(cls) -> Handle:
        return Handle(_free)

    def _ready(self, path: str) -> Self:
        """Prepare what the hot paths use, now that there is a handle."""
        self._path = path
        # The leases refer to this one: they shall not keep the bus.
        self._handle = c_void_p(self._owner.value)
        self._properties = PropertiesStruct()
        self._properties.struct_size = sizeof(PropertiesStruct)
        self._check(_get_properties(self._handle, self._properties), "read the properties of")
        self._address = self._owner.value or 0
        # [0] errno, [1] type_id, [2] size of what _try_recv has made. Memory of the bus.
        slot = (c_uint64 * 4).from_address(_recv_slot(self._handle, _MAKE_BYTES))
        self._slot = memoryview(slot).cast("B").cast("Q")
        self._message = _OneMessage()
        self._words = memoryview(self._message).cast("B").cast("Q")
        # Types of views that start anywhere in a ring: they end within its second mapping.
        self._recv_window = c_ubyte * self._properties.recv_capacity
        self._send_window = c_ubyte * self._properties.max_send_size
        close_at_exit(self)
        return self

    def fileno(self) -> int:
        """The descriptor to sleep on after arm(): readable when there is something to receive.

        Owned by the bus, valid until close(); never read from it.
        """
        data_fd = c_int()
        self._check(_fds(self._handle, byref(data_fd), byref(c_int()), byref(c_int())), "watch")
        return data_fd.value

    def arm(self) -> bool:
        """Ask for fileno() to become readable when something comes.

        Returns True: armed, there is nothing to receive, go to sleep; False: receive first
        (a message, or news of the peer's end), until WaitTimeoutError, and arm again.
        """
        status: int = _arm(self._handle)
        if status < 0:
            raise self._failure(status, "watch")
        return status == 0

    def close(self) -> None:
        """End the bus in good order. May be called again, and from any thread.

        The peer receives all that was sent, then sees the end. Waits in other threads raise
        ClosedError. Leases stay readable until they are released; the memory goes with the
        last of them and of the references to this bus.
        """
        self._closed = True
        _close(self._handle)

    __reduce__ = refuse_to_leave

    def __enter__(self) -> Self:
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
        """Whether this side has closed the bus."""
        return self._closed

    @property
    def path(self) -> str:
        """The path that the two ends met on."""
        return self._path

    @property
    def capacity(self) -> int:
        """Size of the ring that we send through, bytes; a power of two."""
        return self._properties.send_capacity

    @property
    def max_message_size(self) -> int:
        """The largest message that we can send, bytes."""
        return self._properties.max_send_size

    def properties(self) -> Properties:
        """Facts of the bus that do not change: sizes, the peer, what the kernel gave."""
        from tachyon._facts import properties_from

        return properties_from(self._properties)

    def stats(self) -> Stats:
        """Counters, since the bus was opened: help(tachyon.Stats). Raises ForkError."""
        from tachyon._facts import stats_from

        struct = StatsStruct()
        struct.struct_size = sizeof(StatsStruct)
        self._check(_get_stats(self._handle, struct), "read the counters of")
        return stats_from(struct)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Bus {self._path!r} {state}>"

    def _check(self, status: int, what: str) -> None:
        if status:
            raise self._failure(status, what)

    def _failure(self, status: int, what: str) -> TachyonError:
        if status == -errno.ENOBUFS:
            capacity = self._properties.recv_capacity
            detail = explain_leases(self, self.stats().leases, capacity)
            return error_from_errno(status, f"{what} {self._path!r}", detail)
        return failure(status, what, self._path)


if QUICK:
    for _name in ("_view", "_leases"):
        setattr(End, _name, builtin_method(End, _name, ""))
