//! Options of a listener or a connection, and time-outs.

use std::time::Duration;

/// Options of a listener or a connection; what each means stands at `tachyon_options` in `tachyon.h`.
///
/// ```
/// let options = tachyon::Options { capacity: 8 << 20, ..Default::default() };
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Listener: the ring from connector to listener, bytes. 0: 1 MiB.
    pub capacity: u64,
    /// Listener: the ring back. 0: as `capacity`.
    pub reply_capacity: u64,
    /// The largest ring to make or to map, bytes. 0: half of the memory, at most 64 GiB.
    pub max_capacity: u64,
    /// How long a wait polls before it sleeps. None: adaptive; zero: not at all.
    pub spin: Option<Duration>,
    /// `tachyon_sys::TACHYON_PREFAULT` and its like.
    pub flags: u32,
    /// The NUMA node of our ring's memory. None: anywhere.
    pub numa_node: Option<u32>,
    /// Listener: permission bits of the socket. 0: 0600.
    pub socket_mode: u32,
    /// User ids that may be the peer. Empty: our own only.
    pub allowed_uids: Vec<u32>,
    /// How long a connection may take to introduce itself. None: 2 seconds.
    pub handshake_timeout: Option<Duration>,
    /// Listener: unfinished introductions at a time. 0: 16.
    pub max_pending: u64,
}

impl Options {
    /// For the C functions; valid as long as this is.
    pub(crate) fn raw(&self, kind: u32) -> tachyon_sys::tachyon_options {
        let spin_ns = match self.spin {
            None => 0,
            Some(time) if time.is_zero() => -1,
            Some(time) => timeout_ns(time),
        };
        tachyon_sys::tachyon_options {
            struct_size: std::mem::size_of::<tachyon_sys::tachyon_options>() as u64,
            capacity: self.capacity,
            reply_capacity: self.reply_capacity,
            max_capacity: self.max_capacity,
            spin_ns,
            flags: self.flags,
            kind,
            // A number that is too large for the library is one that no machine has.
            numa_node: self
                .numa_node
                .map_or(0, |node| node.saturating_add(1).min(i32::MAX as u32) as i32),
            socket_mode: self.socket_mode,
            allowed_uids: self.allowed_uids.as_ptr(),
            allowed_uid_count: self.allowed_uids.len() as u64,
            handshake_timeout_ns: self.handshake_timeout.map_or(0, timeout_ns),
            max_pending: self.max_pending,
        }
    }
}

/// Waits for ever.
pub(crate) const FOREVER: i64 = -1;
/// Tries once.
pub(crate) const NOW: i64 = 0;

/// Nanoseconds; longer than 292 years is for ever, near enough.
pub(crate) fn timeout_ns(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
