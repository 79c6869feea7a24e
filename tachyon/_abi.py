"""include/tachyon.h for ctypes: constants, structures, and ONE table of function signatures.

A test asserts that this table, the header and libtachyon.sym name the same functions, and
that the structures have the compiler's sizes and offsets.
"""

from __future__ import annotations

from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    py_object,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ABI_MAJOR = 1
ABI_MINOR = 0

PREFAULT = 1 << 0
MLOCK = 1 << 1
HUGE_PAGES = 1 << 2
TRUSTED = 1 << 3

KIND_RPC = 2
REPLY = 1 << 2
FAILURE = 1 << 3
RPC_UNKNOWN_TYPE = 0x7FFF0001
RPC_EXCEPTION = 0x7FFF0002
RPC_TOO_LARGE = 0x7FFF0003

# Bytes that each message takes at least: a frame is a multiple of this.
FRAME_ALIGNMENT = 64


class MessageStruct(Structure):
    """struct tachyon_message: six words, the last one type_id below flags."""

    _fields_ = [
        ("data", c_void_p),
        ("size", c_uint64),
        ("lease", c_uint64),
        ("correlation_id", c_uint64),
        ("type_id", c_uint32),
        ("flags", c_uint32),
    ]


class OptionsStruct(Structure):
    """struct tachyon_options."""

    if TYPE_CHECKING:
        struct_size: int
        capacity: int
        reply_capacity: int
        max_capacity: int
        spin_ns: int
        flags: int
        kind: int
        numa_node: int
        socket_mode: int
        allowed_uids: Any
        allowed_uid_count: int
        handshake_timeout_ns: int
        max_pending: int

    _fields_ = [
        ("struct_size", c_uint64),
        ("capacity", c_uint64),
        ("reply_capacity", c_uint64),
        ("max_capacity", c_uint64),
        ("spin_ns", c_int64),
        ("flags", c_uint32),
        ("kind", c_uint32),
        ("numa_node", c_int32),
        ("socket_mode", c_uint32),
        ("allowed_uids", POINTER(c_uint32)),
        ("allowed_uid_count", c_uint64),
        ("handshake_timeout_ns", c_int64),
        ("max_pending", c_uint64),
    ]


class RecordsStruct(Structure):
    """struct tachyon_records."""

    if TYPE_CHECKING:
        data: int
        count: int
        stride: int
        lease: int

    _fields_ = [
        ("data", c_void_p),
        ("count", c_uint64),
        ("stride", c_uint64),
        ("lease", c_uint64),
    ]


class PropertiesStruct(Structure):
    """struct tachyon_properties."""

    if TYPE_CHECKING:
        struct_size: int
        send_capacity: int
        recv_capacity: int
        max_send_size: int
        max_recv_size: int
        trusted: int

    _fields_ = [
        ("struct_size", c_uint64),
        ("send_capacity", c_uint64),
        ("recv_capacity", c_uint64),
        ("max_send_size", c_uint64),
        ("max_recv_size", c_uint64),
        ("spin_ns", c_int64),
        ("peer_pid", c_int32),
        ("peer_uid", c_uint32),
        ("kind", c_uint32),
        ("layout_version", c_uint32),
        ("is_listener", c_uint32),
        ("isolation", c_uint32),
        ("barrier", c_uint32),
        ("huge_pages", c_uint32),
        ("watches_pid", c_uint32),
        ("trusted", c_uint32),
    ]


class StatsStruct(Structure):
    """struct tachyon_stats."""

    if TYPE_CHECKING:
        struct_size: int

    _fields_ = [
        ("struct_size", c_uint64),
        ("sent_messages", c_uint64),
        ("sent_bytes", c_uint64),
        ("received_messages", c_uint64),
        ("received_bytes", c_uint64),
        ("send_used", c_uint64),
        ("recv_used", c_uint64),
        ("leases", c_uint64),
        ("doorbells", c_uint64),
        ("data_sleeps", c_uint64),
        ("space_sleeps", c_uint64),
    ]


class RpcCountersStruct(Structure):
    """struct tachyon_rpc_counters."""

    if TYPE_CHECKING:
        struct_size: int
        outstanding: int
        stored: int
        requests: int
        replies: int
        failures: int
        dropped: int

    _fields_ = [
        ("struct_size", c_uint64),
        ("outstanding", c_uint64),
        ("stored", c_uint64),
        ("requests", c_uint64),
        ("replies", c_uint64),
        ("failures", c_uint64),
        ("dropped", c_uint64),
    ]


_bus_p = c_void_p
_rpc_p = c_void_p
_listener_p = c_void_p
_handle_out = POINTER(c_void_p)
_options_p = POINTER(OptionsStruct)
_message_p = POINTER(MessageStruct)
_array_p = c_void_p  # struct tachyon_array; Python has a reader and writer of its own

# How a function is called: KEEPS the interpreter lock (it never sleeps; those that can are
# then given a timeout of 0), or YIELDS it to the other threads while it runs.
KEEPS, YIELDS = False, True

# name: (result, arguments, KEEPS or YIELDS); one row per function of tachyon.h, in its order.
FUNCTIONS: dict[str, tuple[Any, list[Any], bool]] = {
    "tachyon_abi_version": (c_uint32, [], KEEPS),
    "tachyon_version": (c_char_p, [], KEEPS),
    "tachyon_strerror": (c_char_p, [c_int], KEEPS),
    "tachyon_error_detail": (c_char_p, [], KEEPS),
    "tachyon_listener_create": (c_int, [_handle_out, c_char_p, _options_p], YIELDS),
    "tachyon_listener_accept": (c_int, [_listener_p, _handle_out, c_int64], YIELDS),
    "tachyon_listener_fd": (c_int, [_listener_p], KEEPS),
    "tachyon_listener_close": (None, [_listener_p], KEEPS),
    "tachyon_listener_free": (None, [_listener_p], KEEPS),
    "tachyon_bus_listen": (c_int, [_handle_out, c_char_p, _options_p, c_int64], YIELDS),
    "tachyon_bus_connect": (c_int, [_handle_out, c_char_p, _options_p, c_int64], YIELDS),
    "tachyon_bus_send": (c_int, [_bus_p, c_void_p, c_size_t, c_uint32, c_int64], KEEPS),
    "tachyon_bus_reserve": (c_int, [_bus_p, _handle_out, c_size_t, c_int64], KEEPS),
    "tachyon_bus_commit": (c_int, [_bus_p, c_size_t, c_uint32], KEEPS),
    "tachyon_bus_cancel": (c_int, [_bus_p], KEEPS),
    "tachyon_bus_recv": (c_int, [_bus_p, _message_p, c_int64], KEEPS),
    "tachyon_bus_recv_copy": (
        c_int64,
        [_bus_p, c_void_p, c_size_t, POINTER(c_uint32), c_int64],
        KEEPS,
    ),
    "tachyon_bus_recv_batch": (c_int, [_bus_p, _message_p, c_size_t, c_int64], KEEPS),
    "tachyon_bus_release": (c_int, [_bus_p, c_uint64], KEEPS),
    "tachyon_bus_release_batch": (c_int, [_bus_p, _message_p, c_size_t], KEEPS),
    "tachyon_bus_put_back": (c_int, [_bus_p, _message_p], KEEPS),
    "tachyon_bus_send_records": (
        c_int64,
        [_bus_p, c_void_p, c_size_t, c_size_t, c_uint32, c_int64],
        KEEPS,
    ),
    "tachyon_bus_recv_records": (
        c_int64,
        [_bus_p, POINTER(RecordsStruct), c_size_t, c_size_t, POINTER(c_uint32), c_int64],
        KEEPS,
    ),
    "tachyon_array_size": (c_uint64, [_array_p], KEEPS),
    "tachyon_array_write": (c_int, [_array_p, c_void_p, c_uint64, _handle_out], KEEPS),
    "tachyon_array_read": (c_int, [_array_p, c_void_p, c_uint64], KEEPS),
    "tachyon_array_is": (c_int, [_array_p, c_char_p], KEEPS),
    "tachyon_bus_wait_data": (c_int, [_bus_p, c_int64], YIELDS),
    "tachyon_bus_wait_space": (c_int, [_bus_p, c_size_t, c_int64], YIELDS),
    "tachyon_bus_wait_any": (c_int, [POINTER(_bus_p), c_size_t, c_char_p, c_int64], YIELDS),
    "tachyon_bus_arm": (c_int, [_bus_p], KEEPS),
    "tachyon_bus_arm_space": (c_int, [_bus_p, c_size_t], KEEPS),
    "tachyon_bus_disarm_space": (c_int, [_bus_p], KEEPS),
    "tachyon_bus_fds": (c_int, [_bus_p, POINTER(c_int), POINTER(c_int), POINTER(c_int)], KEEPS),
    "tachyon_thread_interrupt_fd": (None, [c_int], KEEPS),
    "tachyon_rpc_create": (c_int, [_handle_out, _bus_p], KEEPS),
    "tachyon_rpc_bus": (c_void_p, [_rpc_p], KEEPS),
    "tachyon_rpc_set_limit": (c_int, [_rpc_p, c_uint32], KEEPS),
    "tachyon_rpc_call": (
        c_int,
        [_rpc_p, c_void_p, c_size_t, c_uint32, _message_p, c_int64],
        KEEPS,
    ),
    "tachyon_rpc_call_copy": (
        c_int,
        [_rpc_p, c_void_p, c_size_t, c_uint32, c_void_p, c_size_t, _message_p, c_int64],
        YIELDS,
    ),
    "tachyon_rpc_submit": (
        c_int,
        [_rpc_p, c_void_p, c_size_t, c_uint32, POINTER(c_uint64), c_int64],
        KEEPS,
    ),
    "tachyon_rpc_reserve": (c_int, [_rpc_p, _handle_out, c_size_t, c_int64], KEEPS),
    "tachyon_rpc_commit": (c_int, [_rpc_p, c_size_t, c_uint32, POINTER(c_uint64)], KEEPS),
    "tachyon_rpc_cancel": (c_int, [_rpc_p], KEEPS),
    "tachyon_rpc_wait": (c_int, [_rpc_p, c_uint64, _message_p, c_int64], KEEPS),
    "tachyon_rpc_poll": (c_int, [_rpc_p, _message_p, c_int64], KEEPS),
    "tachyon_rpc_forget": (c_int, [_rpc_p, c_uint64], KEEPS),
    "tachyon_rpc_release": (c_int, [_rpc_p, _message_p], KEEPS),
    "tachyon_rpc_serve": (c_int, [_rpc_p, _message_p, c_int64], KEEPS),
    "tachyon_rpc_reply": (
        c_int,
        [_rpc_p, c_uint64, c_void_p, c_size_t, c_uint32, c_int64],
        KEEPS,
    ),
    "tachyon_rpc_reserve_reply": (
        c_int,
        [_rpc_p, c_uint64, _handle_out, c_size_t, c_int64],
        KEEPS,
    ),
    "tachyon_rpc_commit_reply": (c_int, [_rpc_p, c_size_t, c_uint32], KEEPS),
    "tachyon_rpc_fail": (
        c_int,
        [_rpc_p, c_uint64, c_uint32, c_char_p, c_size_t, c_int64],
        KEEPS,
    ),
    "tachyon_rpc_stats": (c_int, [_rpc_p, POINTER(RpcCountersStruct)], KEEPS),
    "tachyon_rpc_close": (None, [_rpc_p], KEEPS),
    "tachyon_rpc_free": (None, [_rpc_p], KEEPS),
    "tachyon_bus_close": (None, [_bus_p], KEEPS),
    "tachyon_bus_free": (None, [_bus_p], KEEPS),
    "tachyon_bus_properties": (c_int, [_bus_p, POINTER(PropertiesStruct)], KEEPS),
    "tachyon_bus_stats": (c_int, [_bus_p, POINTER(StatsStruct)], KEEPS),
    "tachyon_bus_try_send": (c_int, [_bus_p, c_void_p, c_uint32, c_uint32], KEEPS),
    "tachyon_bus_recv_slot": (c_void_p, [_bus_p, c_void_p], KEEPS),
    "tachyon_bus_try_recv_object": (py_object, [_bus_p], KEEPS),
    "tachyon_rpc_slot": (c_void_p, [_rpc_p, c_void_p], KEEPS),
    "tachyon_rpc_try_call_object": (py_object, [_rpc_p, c_void_p, c_uint32, c_uint32], KEEPS),
    "tachyon_rpc_try_wait_object": (py_object, [_rpc_p, c_uint64], KEEPS),
    "tachyon_rpc_try_serve_object": (py_object, [_rpc_p, c_uint64], KEEPS),
    "tachyon_rpc_try_reply": (c_int, [_rpc_p, c_uint64, c_void_p, c_uint32, c_uint32], KEEPS),
    "tachyon_rpc_wait_room": (c_int, [_rpc_p, c_size_t, c_int64], YIELDS),
    "tachyon_python_needs": (c_char_p, [], KEEPS),
    "tachyon_python_start": (c_int, [POINTER(c_void_p), POINTER(py_object)], KEEPS),
    "tachyon_python_set": (c_int, [c_char_p, py_object], KEEPS),
    "tachyon_python_method": (py_object, [c_char_p, py_object, c_char_p], KEEPS),
}
