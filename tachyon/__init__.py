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
    RpcError,
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
    from tachyon._rpc import PendingCall as PendingCall
    from tachyon._rpc import Request as Request
    from tachyon._rpc import RpcBus as RpcBus
    from tachyon._rpc import RpcListener as RpcListener
    from tachyon._rpc_server import Dispatcher as Dispatcher
    from tachyon._rpc_server import RpcServer as RpcServer
    from tachyon._rpc_server import rpc as rpc

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "AddressInUseError",
    "ArrayFormatError",
    "Batch",
    "Bus",
    "BusyError",
    "ClosedError",
    "Dispatcher",
    "ForkError",
    "Lease",
    "LeaseError",
    "Listener",
    "Message",
    "MessageTooLargeError",
    "OptionError",
    "PathError",
    "PeerDeadError",
    "PendingCall",
    "Properties",
    "ProtocolError",
    "RecordMismatchError",
    "RefusedError",
    "Request",
    "RpcBus",
    "RpcError",
    "RpcListener",
    "RpcServer",
    "Slot",
    "Stats",
    "TachyonError",
    "WaitTimeoutError",
    "library_path",
    "library_version",
    "make_type_id",
    "msg_type",
    "route_id",
    "rpc",
    "wait",
]


def __getattr__(name: str) -> object:
    # NamedTuples need the typing module, which takes longer to import than all the rest.
    if name in ("Properties", "Stats"):
        from tachyon import _facts

        return getattr(_facts, name)
    if name in ("PendingCall", "Request", "RpcBus", "RpcListener"):
        from tachyon import _rpc

        return getattr(_rpc, name)
    if name in ("Dispatcher", "RpcServer", "rpc"):
        from tachyon import _rpc_server

        return getattr(_rpc_server, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
