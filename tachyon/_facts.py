"""What Bus.properties() and Bus.stats() return. Imported when first asked for."""

from typing import NamedTuple

from tachyon._abi import PropertiesStruct, StatsStruct


class Properties(NamedTuple):
    """Facts of a bus that do not change."""

    send_capacity: int  # bytes of the ring we send through
    recv_capacity: int  # bytes of the ring we receive from
    max_send_size: int  # largest message we can send, bytes
    max_recv_size: int  # largest message we can receive, bytes
    spin: float  # the longest that a wait polls before it sleeps, seconds
    peer_pid: int  # 0 where it cannot be known
    peer_uid: int
    layout_version: int  # of the shared memory, agreed on in the handshake
    is_listener: bool  # this end came out of a listener
    isolation: bool  # the kernel refuses to let the peer write our ring, or us its
    barrier: bool  # membarrier(2) spares senders a fence
    huge_pages: bool  # our ring lies on huge pages
    watches_pid: bool  # death is seen by process descriptor as well as by the socket
    trusted: bool  # both ends asked for trusted=True


class Stats(NamedTuple):
    """Counters of a bus since it was opened."""

    sent_messages: int
    sent_bytes: int  # payload
    received_messages: int
    received_bytes: int  # payload
    send_used: int  # ring bytes sent and not yet given back by the peer
    recv_used: int  # ring bytes received or waiting, not yet released by us
    leases: int  # received messages not yet released
    doorbells: int  # times that we woke the peer, one system call each
    data_sleeps: int  # times that we slept for data
    space_sleeps: int  # times that we slept for room


_TRUTHS = {name for name, kind in Properties.__annotations__.items() if kind is bool}


def properties_from(struct: PropertiesStruct) -> Properties:
    values = {name: getattr(struct, name) for name in Properties._fields if name != "spin"}
    for name in _TRUTHS:
        values[name] = bool(values[name])
    return Properties(spin=struct.spin_ns / 1e9, **values)


def stats_from(struct: StatsStruct) -> Stats:
    return Stats(*(getattr(struct, name) for name in Stats._fields))
