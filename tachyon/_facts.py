"""What Bus.properties() and Bus.stats() return. Imported when first asked for."""

from typing import NamedTuple

from tachyon._abi import PropertiesStruct, StatsStruct


class Properties(NamedTuple):
    """Facts of a bus that do not change.

    send_capacity: bytes of the ring we send through
    recv_capacity: bytes of the ring we receive from
    max_send_size: largest message we can send, bytes
    max_recv_size: largest message we can receive, bytes
    spin: the longest that a wait polls before it sleeps, seconds
    peer_pid: 0 where it cannot be known
    layout_version: of the shared memory, agreed on in the handshake
    is_listener: this end came out of a listener
    isolation: the kernel refuses to let the peer write our ring, or us its
    barrier: membarrier(2) spares senders a fence
    huge_pages: our ring lies on huge pages
    watches_pid: death is seen by process descriptor as well as by the socket
    trusted: both ends asked for trusted=True
    """

    send_capacity: int
    recv_capacity: int
    max_send_size: int
    max_recv_size: int
    spin: float
    peer_pid: int
    peer_uid: int
    layout_version: int
    is_listener: bool
    isolation: bool
    barrier: bool
    huge_pages: bool
    watches_pid: bool
    trusted: bool


class Stats(NamedTuple):
    """Counters of a bus since it was opened; bytes are those of payloads.

    send_used: ring bytes sent and not yet given back by the peer; after its end: unread. A message
        that answers another may take no place in the ring
    recv_used: ring bytes received or waiting, not yet released by us
    leases: received messages not yet released
    doorbells: times that we woke the peer, one system call each
    data_sleeps: times that we slept for data
    space_sleeps: times that we slept for room
    """

    sent_messages: int
    sent_bytes: int
    received_messages: int
    received_bytes: int
    send_used: int
    recv_used: int
    leases: int
    doorbells: int
    data_sleeps: int
    space_sleeps: int


_TRUTHS = {name for name, kind in Properties.__annotations__.items() if kind is bool}


def properties_from(struct: PropertiesStruct) -> Properties:
    values = {name: getattr(struct, name) for name in Properties._fields if name != "spin"}
    for name in _TRUTHS:
        values[name] = bool(values[name])
    return Properties(spin=struct.spin_ns / 1e9, **values)


def stats_from(struct: StatsStruct) -> Stats:
    return Stats(*(getattr(struct, name) for name in Stats._fields))
