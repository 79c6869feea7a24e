"""Same-machine messages at the speed of a cache line: see Bus and Listener."""

from __future__ import annotations

from tachyon._bus import Bus
from tachyon._errors import (
    AccessError,
    AddressInUseError,
    ArrayFormatError,
    BusyError,
    ClosedError,
    ForkError,
    LeaseError,
    MessageTooLargeError,
    OptionError,
    PathError,
    PeerDeadError,
    ProtocolError,
    RecordMismatchError,
    RefusedError,
    TachyonError,
    WaitTimeoutError,
)
from tachyon._lease import Batch, Lease, Slot
from tachyon._library import library_path, library_version
from tachyon._listener import Listener
from tachyon._message import Message, make_type_id, msg_type, route_id
from tachyon._wait_many import wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tachyon._facts import Properties as Properties
    from tachyon._facts import Stats as Stats

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "AddressInUseError",
    "ArrayFormatError",
    "Batch",
    "Bus",
    "BusyError",
    "ClosedError",
    "ForkError",
    "Lease",
    "LeaseError",
    "Listener",
    "Message",
    "MessageTooLargeError",
    "OptionError",
    "PathError",
    "PeerDeadError",
    "Properties",
    "ProtocolError",
    "RecordMismatchError",
    "RefusedError",
    "Slot",
    "Stats",
    "TachyonError",
    "WaitTimeoutError",
    "library_path",
    "library_version",
    "make_type_id",
    "msg_type",
    "route_id",
    "wait",
]


def __getattr__(name: str) -> object:
    # NamedTuples need the typing module, which takes longer to import than all the rest.
    if name in ("Properties", "Stats"):
        from tachyon import _facts

        return getattr(_facts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
