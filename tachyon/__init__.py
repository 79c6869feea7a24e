"""Messages between two processes of one machine, through shared memory.

    with tachyon.Bus.listen("/tmp/hello") as bus:     # one process; any path will do
        for message in bus:
            print(message.type_id, message.data)

    with tachyon.Bus.connect("/tmp/hello") as bus:    # the other one
        bus.send(b"hello", type_id=1)

Meet:           Bus.listen(), Bus.connect(); Listener for many processes
Copies:         Bus.send(), Bus.recv() and iteration -> Message
Without copies: Bus.send_zero_copy() -> Slot, Bus.recv_zero_copy() -> Lease,
                Bus.drain_batch() -> Batch
NumPy, PyTorch: Bus.send_array(), reserve_array(), recv_array(); many small messages at
                once: send_records(), recv_records()
Waiting:        a timeout in seconds at every call; tachyon.wait() for several buses;
                Bus.fileno() and arm() for event loops
asyncio:        Bus.alisten(), aconnect(), asend(), arecv(), arecv_zero_copy(), async for
Calls:          RpcBus, RpcServer, Dispatcher, @tachyon.rpc
Facts:          Bus.capacity, max_message_size, properties(), stats()
Errors:         all are TachyonError, an OSError; ClosedError and PeerDeadError are the ends

help(tachyon.Bus) and help(tachyon.Listener) tell the rest.
"""

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
    from tachyon._dispatcher import Dispatcher as Dispatcher
    from tachyon._dispatcher import rpc as rpc
    from tachyon._facts import Properties as Properties
    from tachyon._facts import Stats as Stats
    from tachyon._rpc import RpcBus as RpcBus
    from tachyon._rpc import RpcListener as RpcListener
    from tachyon._rpc_calls import PendingCall as PendingCall
    from tachyon._rpc_calls import Request as Request
    from tachyon._rpc_server import RpcServer as RpcServer

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


def _show_as_public(value: object) -> object:
    """Let tracebacks and help() say tachyon.ClosedError, and not in which file it is."""
    if isinstance(value, type):
        value.__module__ = __name__
    return value


# What is imported when it is first asked for: not every program calls.
_RPC = {
    "Dispatcher": "_dispatcher",
    "PendingCall": "_rpc_calls",
    "Request": "_rpc_calls",
    "RpcBus": "_rpc",
    "RpcListener": "_rpc",
    "RpcServer": "_rpc_server",
    "rpc": "_dispatcher",
}


def __getattr__(name: str) -> object:
    # NamedTuples need the typing module, which takes longer to import than all the rest.
    if name in ("Properties", "Stats"):
        from tachyon import _facts

        return _show_as_public(getattr(_facts, name))
    module = _RPC.get(name)
    if module is not None:
        from importlib import import_module

        return _show_as_public(getattr(import_module(f"tachyon.{module}"), name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


for _name in __all__:
    _show_as_public(globals().get(_name))
