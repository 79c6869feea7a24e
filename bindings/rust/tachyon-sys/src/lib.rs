//! The functions of libtachyon, as `tachyon.h` has them; what each does stands there.
//!
//! This crate has nothing safe. Use the crate `tachyon`.
#![no_std]
#![allow(non_camel_case_types)]

use core::ffi::{c_char, c_int, c_void};

pub const TACHYON_ECLOSED: c_int = 32;
pub const TACHYON_EFORK: c_int = 10;
#[cfg(target_os = "macos")]
pub const TACHYON_EPEERDEAD: c_int = 105;
#[cfg(target_os = "macos")]
pub const TACHYON_ELEASES: c_int = 55;
#[cfg(not(target_os = "macos"))]
pub const TACHYON_EPEERDEAD: c_int = 130;
#[cfg(not(target_os = "macos"))]
pub const TACHYON_ELEASES: c_int = 105;

pub const TACHYON_KIND_STREAM: u32 = 1;
pub const TACHYON_KIND_RPC: u32 = 2;
pub const TACHYON_PREFAULT: u32 = 1;
pub const TACHYON_MLOCK: u32 = 2;
pub const TACHYON_HUGE_PAGES: u32 = 4;
pub const TACHYON_TRUSTED: u32 = 8;
pub const TACHYON_RPC_UNKNOWN_TYPE: u32 = 0x7fff_0001;
pub const TACHYON_RPC_EXCEPTION: u32 = 0x7fff_0002;
pub const TACHYON_RPC_TOO_LARGE: u32 = 0x7fff_0003;
pub const TACHYON_ARRAY_MAX_NDIM: usize = 64;

/// One end of a connection; made and freed by the library.
#[repr(C)]
pub struct tachyon_bus {
    _private: [u8; 0],
}

/// Accepts buses; made and freed by the library.
#[repr(C)]
pub struct tachyon_listener {
    _private: [u8; 0],
}

/// Calls, or serves calls; made and freed by the library.
#[repr(C)]
pub struct tachyon_rpc {
    _private: [u8; 0],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tachyon_message {
    pub data: *const c_void,
    pub size: u64,
    pub lease: u64,
    pub correlation_id: u64,
    pub type_id: u32,
    pub flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tachyon_records {
    pub data: *const c_void,
    pub count: u64,
    pub stride: u64,
    pub lease: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tachyon_array {
    pub data: *const c_void,
    pub data_size: u64,
    pub itemsize: u64,
    pub dtype: *const c_char,
    pub dtype_size: u32,
    pub ndim: u32,
    pub shape: [u64; TACHYON_ARRAY_MAX_NDIM],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tachyon_options {
    pub struct_size: u64,
    pub capacity: u64,
    pub reply_capacity: u64,
    pub max_capacity: u64,
    pub spin_ns: i64,
    pub flags: u32,
    pub kind: u32,
    pub numa_node: i32,
    pub socket_mode: u32,
    pub allowed_uids: *const u32,
    pub allowed_uid_count: u64,
    pub handshake_timeout_ns: i64,
    pub max_pending: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct tachyon_properties {
    pub struct_size: u64,
    pub send_capacity: u64,
    pub recv_capacity: u64,
    pub max_send_size: u64,
    pub max_recv_size: u64,
    pub spin_ns: i64,
    pub peer_pid: i32,
    pub peer_uid: u32,
    pub kind: u32,
    pub layout_version: u32,
    pub is_listener: u32,
    pub isolation: u32,
    pub barrier: u32,
    pub huge_pages: u32,
    pub watches_pid: u32,
    pub trusted: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct tachyon_stats {
    pub struct_size: u64,
    pub sent_messages: u64,
    pub sent_bytes: u64,
    pub received_messages: u64,
    pub received_bytes: u64,
    pub send_used: u64,
    pub recv_used: u64,
    pub leases: u64,
    pub doorbells: u64,
    pub data_sleeps: u64,
    pub space_sleeps: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct tachyon_rpc_counters {
    pub struct_size: u64,
    pub outstanding: u64,
    pub stored: u64,
    pub requests: u64,
    pub replies: u64,
    pub failures: u64,
    pub dropped: u64,
}

extern "C" {
    pub fn tachyon_abi_version() -> u32;
    pub fn tachyon_version() -> *const c_char;
    pub fn tachyon_strerror(error: c_int) -> *const c_char;
    pub fn tachyon_error_detail() -> *const c_char;

    pub fn tachyon_listener_create(
        listenerp: *mut *mut tachyon_listener,
        path: *const c_char,
        options: *const tachyon_options,
    ) -> c_int;
    pub fn tachyon_listener_accept(
        listener: *mut tachyon_listener,
        busp: *mut *mut tachyon_bus,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_listener_fd(listener: *mut tachyon_listener) -> c_int;
    pub fn tachyon_listener_close(listener: *mut tachyon_listener);
    pub fn tachyon_listener_free(listener: *mut tachyon_listener);

    pub fn tachyon_bus_listen(
        busp: *mut *mut tachyon_bus,
        path: *const c_char,
        options: *const tachyon_options,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_bus_connect(
        busp: *mut *mut tachyon_bus,
        path: *const c_char,
        options: *const tachyon_options,
        timeout_ns: i64,
    ) -> c_int;

    pub fn tachyon_bus_send(
        bus: *mut tachyon_bus,
        data: *const c_void,
        size: usize,
        type_id: u32,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_bus_reserve(
        bus: *mut tachyon_bus,
        datap: *mut *mut c_void,
        size: usize,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_bus_commit(bus: *mut tachyon_bus, size: usize, type_id: u32) -> c_int;
    pub fn tachyon_bus_cancel(bus: *mut tachyon_bus) -> c_int;

    pub fn tachyon_bus_recv(
        bus: *mut tachyon_bus,
        message: *mut tachyon_message,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_bus_recv_copy(
        bus: *mut tachyon_bus,
        buffer: *mut c_void,
        capacity: usize,
        type_id: *mut u32,
        timeout_ns: i64,
    ) -> i64;
    pub fn tachyon_bus_recv_batch(
        bus: *mut tachyon_bus,
        messages: *mut tachyon_message,
        max: usize,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_bus_release(bus: *mut tachyon_bus, lease: u64) -> c_int;
    pub fn tachyon_bus_release_batch(
        bus: *mut tachyon_bus,
        messages: *const tachyon_message,
        count: usize,
    ) -> c_int;
    pub fn tachyon_bus_put_back(bus: *mut tachyon_bus, message: *const tachyon_message) -> c_int;

    pub fn tachyon_bus_send_records(
        bus: *mut tachyon_bus,
        records: *const c_void,
        record_size: usize,
        count: usize,
        type_id: u32,
        timeout_ns: i64,
    ) -> i64;
    pub fn tachyon_bus_recv_records(
        bus: *mut tachyon_bus,
        records: *mut tachyon_records,
        record_size: usize,
        max: usize,
        type_id: *const u32,
        timeout_ns: i64,
    ) -> i64;

    pub fn tachyon_array_size(array: *const tachyon_array) -> u64;
    pub fn tachyon_array_write(
        array: *const tachyon_array,
        message: *mut c_void,
        size: u64,
        datap: *mut *mut c_void,
    ) -> c_int;
    pub fn tachyon_array_read(
        array: *mut tachyon_array,
        message: *const c_void,
        size: u64,
    ) -> c_int;
    pub fn tachyon_array_is(array: *const tachyon_array, dtype: *const c_char) -> c_int;

    pub fn tachyon_bus_wait_data(bus: *mut tachyon_bus, timeout_ns: i64) -> c_int;
    pub fn tachyon_bus_wait_space(bus: *mut tachyon_bus, size: usize, timeout_ns: i64) -> c_int;
    pub fn tachyon_bus_wait_any(
        buses: *const *mut tachyon_bus,
        count: usize,
        ready: *mut u8,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_bus_arm(bus: *mut tachyon_bus) -> c_int;
    pub fn tachyon_bus_arm_space(bus: *mut tachyon_bus, size: usize) -> c_int;
    pub fn tachyon_bus_disarm_space(bus: *mut tachyon_bus) -> c_int;
    pub fn tachyon_bus_fds(
        bus: *mut tachyon_bus,
        data_fdp: *mut c_int,
        room_fdp: *mut c_int,
        death_fdp: *mut c_int,
    ) -> c_int;
    pub fn tachyon_thread_interrupt_fd(fd: c_int);

    pub fn tachyon_rpc_create(rpcp: *mut *mut tachyon_rpc, bus: *mut tachyon_bus) -> c_int;
    pub fn tachyon_rpc_bus(rpc: *mut tachyon_rpc) -> *mut tachyon_bus;
    pub fn tachyon_rpc_set_limit(rpc: *mut tachyon_rpc, calls: u32) -> c_int;
    pub fn tachyon_rpc_call(
        rpc: *mut tachyon_rpc,
        data: *const c_void,
        size: usize,
        type_id: u32,
        message: *mut tachyon_message,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_rpc_call_copy(
        rpc: *mut tachyon_rpc,
        data: *const c_void,
        size: usize,
        type_id: u32,
        buffer: *mut c_void,
        capacity: usize,
        reply: *mut tachyon_message,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_rpc_submit(
        rpc: *mut tachyon_rpc,
        data: *const c_void,
        size: usize,
        type_id: u32,
        idp: *mut u64,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_rpc_reserve(
        rpc: *mut tachyon_rpc,
        datap: *mut *mut c_void,
        size: usize,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_rpc_commit(
        rpc: *mut tachyon_rpc,
        size: usize,
        type_id: u32,
        idp: *mut u64,
    ) -> c_int;
    pub fn tachyon_rpc_cancel(rpc: *mut tachyon_rpc) -> c_int;
    pub fn tachyon_rpc_wait(
        rpc: *mut tachyon_rpc,
        id: u64,
        message: *mut tachyon_message,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_rpc_poll(
        rpc: *mut tachyon_rpc,
        message: *mut tachyon_message,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_rpc_forget(rpc: *mut tachyon_rpc, id: u64) -> c_int;
    pub fn tachyon_rpc_release(rpc: *mut tachyon_rpc, message: *const tachyon_message) -> c_int;
    pub fn tachyon_rpc_serve(
        rpc: *mut tachyon_rpc,
        request: *mut tachyon_message,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_rpc_reply(
        rpc: *mut tachyon_rpc,
        id: u64,
        data: *const c_void,
        size: usize,
        type_id: u32,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_rpc_reserve_reply(
        rpc: *mut tachyon_rpc,
        id: u64,
        datap: *mut *mut c_void,
        size: usize,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_rpc_commit_reply(rpc: *mut tachyon_rpc, size: usize, type_id: u32) -> c_int;
    pub fn tachyon_rpc_fail(
        rpc: *mut tachyon_rpc,
        id: u64,
        code: u32,
        text: *const c_char,
        size: usize,
        timeout_ns: i64,
    ) -> c_int;
    pub fn tachyon_rpc_stats(rpc: *mut tachyon_rpc, counters: *mut tachyon_rpc_counters) -> c_int;
    pub fn tachyon_rpc_close(rpc: *mut tachyon_rpc);
    pub fn tachyon_rpc_free(rpc: *mut tachyon_rpc);

    pub fn tachyon_bus_close(bus: *mut tachyon_bus);
    pub fn tachyon_bus_free(bus: *mut tachyon_bus);
    pub fn tachyon_bus_properties(
        bus: *mut tachyon_bus,
        properties: *mut tachyon_properties,
    ) -> c_int;
    pub fn tachyon_bus_stats(bus: *mut tachyon_bus, stats: *mut tachyon_stats) -> c_int;
}
