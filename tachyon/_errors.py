"""The exceptions of this package, and the one place where an errno becomes one of them.

TachyonError (OSError)      everything below; .errno is the C library's error number
├── ClosedError             the end in good order: of the peer (EPIPE, all it sent was received)
│                           or of this side (ECANCELED, a call on what was closed here)
├── PeerDeadError           the peer died without closing; all it had sent was received first
├── ProtocolError           the peer broke the protocol, or speaks another version of it
├── RefusedError            the listener refused this connection (also ConnectionRefusedError)
├── WaitTimeoutError        nothing happened in the time given (also TimeoutError)
├── MessageTooLargeError    larger than the ring can ever carry (also ValueError)
├── RecordMismatchError     the next message is not the record that was asked for (ValueError)
├── ArrayFormatError        a message is not an array that describes itself (also ValueError)
├── LeaseError              received messages that were not released fill the ring
├── BusyError               another thread is at it, or a zero-copy slot is still open
├── RpcError                the server failed the call: .type, .message, .traceback, .code
├── ForkError               the bus or listener was made before a fork, by the parent
├── AccessError             permissions or limits forbid it (also PermissionError)
├── OptionError             an option that cannot be (also ValueError)
└── PathError               the path cannot be a bus: no folder, no socket, too long
    └── AddressInUseError   a live listener, or a file that is no socket, has the path
"""

from __future__ import annotations

import errno

EOWNERDEAD = getattr(errno, "EOWNERDEAD", 105)  # macOS has it, its Python may not


class TachyonError(OSError):
    """Base of all errors of this package. .errno: the error number; str(): what happened."""

    def __str__(self) -> str:
        return self.strerror if isinstance(self.strerror, str) else super().__str__()


class ClosedError(TachyonError):
    """The bus ended in good order: the peer closed it, or this side did."""


class PeerDeadError(TachyonError):
    """The peer's process ended without closing the bus. All it had sent was received first."""


class ProtocolError(TachyonError):
    """The peer broke the protocol, or speaks another version or kind of it. The bus has ended."""


class RefusedError(TachyonError, ConnectionRefusedError):
    """The listener refused this connection, for the reason that the message gives."""


class WaitTimeoutError(TachyonError, TimeoutError):
    """Nothing happened in the time that was given. Nothing is lost; try again."""


class MessageTooLargeError(TachyonError, ValueError):
    """The message is larger than the ring can ever carry; see Bus.max_message_size."""


class RecordMismatchError(TachyonError, ValueError):
    """The next message has another size or tag than the records asked for. It is not lost."""


class ArrayFormatError(TachyonError, ValueError):
    """The message is no array that describes itself, or a broken one. It is not lost."""


class LeaseError(TachyonError):
    """Leases fill the ring, so that nothing more can arrive before one is released.

    Tells how many are out and how old they are; with TACHYON_TRACE_LEASES=1 in the
    environment also where they were taken.
    """


class BusyError(TachyonError):
    """Another thread is sending (or receiving) on this bus, or a zero-copy slot is open."""


class ForkError(TachyonError):
    """The object was made by the parent before a fork; the child must open its own."""


class RpcError(TachyonError):
    """The server answered that the call failed.

    type: what kind of error, such as the name of the exception there. message: its text.
    traceback: that of the server, where it gives it away, else None. code: the number.
    """

    type: str = ""
    message: str = ""
    traceback: str | None = None
    code: int = 0


class AccessError(TachyonError, PermissionError):
    """Permissions or limits of the system forbid it."""


class OptionError(TachyonError, ValueError):
    """An option has a value that cannot be."""


class PathError(TachyonError):
    """The path cannot be that of a bus."""


class AddressInUseError(PathError):
    """A live listener has the path, or something that is no socket."""


# errno: (class, what it means here, where the C library has nothing more exact to say)
_MEANINGS: dict[int, tuple[type[TachyonError], str]] = {
    errno.EPIPE: (ClosedError, "the peer closed the bus"),
    errno.ECANCELED: (ClosedError, "it was closed on this side"),
    EOWNERDEAD: (PeerDeadError, "the peer died without closing the bus"),
    errno.EPROTO: (ProtocolError, "the peer broke the protocol, so the bus has ended"),
    errno.EPROTONOSUPPORT: (ProtocolError, "the peer speaks another version or kind of protocol"),
    errno.ECONNREFUSED: (RefusedError, "the listener refused"),
    errno.EAGAIN: (WaitTimeoutError, "it would have to wait"),
    errno.ETIMEDOUT: (WaitTimeoutError, "the time is up"),
    errno.EMSGSIZE: (MessageTooLargeError, "the message is larger than the ring can carry"),
    errno.ENOBUFS: (LeaseError, "leases fill the ring: release some before receiving more"),
    errno.EBUSY: (
        BusyError,
        "another thread is at it, or a zero-copy slot (or a view of one) is still alive; "
        "one thread sends and one receives at a time",
    ),
    errno.ECHILD: (ForkError, "it was opened before a fork; open another one in the child"),
    errno.EACCES: (AccessError, "permission denied"),
    errno.EPERM: (AccessError, "not permitted"),
    errno.EINVAL: (OptionError, "invalid option"),
    errno.EFBIG: (OptionError, "the capacity is over max_capacity or RLIMIT_FSIZE"),
    errno.ENOENT: (PathError, "no such folder"),
    errno.ENOTDIR: (PathError, "a part of the path is not a folder"),
    errno.EROFS: (PathError, "read-only file system"),
    errno.ENOTSOCK: (PathError, "it is not a socket"),
    errno.ENAMETOOLONG: (PathError, "the path is longer than a socket's may be (107 bytes)"),
    errno.EADDRINUSE: (AddressInUseError, "a live listener has the path"),
    errno.EEXIST: (AddressInUseError, "something that is not a socket is there"),
}


def error_from_errno(number: int, what: str, detail: str = "") -> TachyonError:
    """Make the exception for an error number.

    number: errno, of either sign. what: the attempt, "receive from '/tmp/bus'".
    detail: the C library's own words; without them, the meaning of the number here.
    """
    number = abs(number)
    kind, meaning = _MEANINGS.get(number, (TachyonError, ""))
    if not (detail or meaning):
        import os

        meaning = os.strerror(number)
    return kind(number, f"cannot {what}: {detail or meaning}")
