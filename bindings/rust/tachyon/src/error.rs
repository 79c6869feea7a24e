//! What can go wrong.

use std::ffi::{c_int, CStr};
use std::fmt;

/// What can go wrong; each function says which of them it may give.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The peer closed the bus in good order, and all that it sent was received.
    Closed,
    /// The peer died without closing, and all that it had sent was received.
    PeerDead,
    /// The time was over; nothing happened.
    TimedOut,
    /// A signal handler ran; nothing happened, call again.
    Interrupted,
    /// This end was closed.
    Cancelled,
    /// Messages that are kept fill the ring: drop some. The text says how many there are.
    Leases(String),
    /// Another thread is at it, or a slot is open.
    Busy(String),
    /// It does not fit the ring; or the next message has another size than the records asked for.
    TooLarge(String),
    /// The peer broke the protocol, or speaks another version of it.
    Protocol(String),
    /// The listener said no, and why.
    Refused(String),
    /// The handle was made before a fork, in the parent process.
    Fork,
    /// The message is not what was asked for.
    Format(String),
    /// The server failed the call.
    Rpc {
        /// `tachyon_sys::TACHYON_RPC_EXCEPTION` and its like, or the server's own.
        code: u32,
        /// The same in words.
        text: String,
    },
    /// What else the system says: its errno, and what it was about.
    Os(i32, String),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For a negative result of a C function that has just been called in this thread.
    #[cold]
    pub(crate) fn from_result(result: i64) -> Self {
        // What the library returns is a small negative number.
        let errno = (-result) as c_int;
        match errno {
            tachyon_sys::TACHYON_ECLOSED => Self::Closed,
            tachyon_sys::TACHYON_EPEERDEAD => Self::PeerDead,
            tachyon_sys::TACHYON_ELEASES => Self::Leases(detail()),
            tachyon_sys::TACHYON_EFORK => Self::Fork,
            errno::EAGAIN | errno::ETIMEDOUT => Self::TimedOut,
            errno::EINTR => Self::Interrupted,
            errno::ECANCELED => Self::Cancelled,
            errno::EBUSY => Self::Busy(detail()),
            errno::EMSGSIZE => Self::TooLarge(detail()),
            errno::EPROTO | errno::EPROTONOSUPPORT => Self::Protocol(detail()),
            errno::ECONNREFUSED => Self::Refused(detail()),
            errno::EBADMSG => Self::Format(detail()),
            _ => Self::Os(errno, detail()),
        }
    }
}

/// The numbers that differ by system; std does not name them.
mod errno {
    pub const EINTR: i32 = 4;
    pub const EBUSY: i32 = 16;
    #[cfg(target_os = "macos")]
    mod system {
        pub const EAGAIN: i32 = 35;
        pub const ETIMEDOUT: i32 = 60;
        pub const ECANCELED: i32 = 89;
        pub const EMSGSIZE: i32 = 40;
        pub const EPROTO: i32 = 100;
        pub const EPROTONOSUPPORT: i32 = 43;
        pub const ECONNREFUSED: i32 = 61;
        pub const EBADMSG: i32 = 94;
    }
    #[cfg(not(target_os = "macos"))]
    mod system {
        pub const EAGAIN: i32 = 11;
        pub const ETIMEDOUT: i32 = 110;
        pub const ECANCELED: i32 = 125;
        pub const EMSGSIZE: i32 = 90;
        pub const EPROTO: i32 = 71;
        pub const EPROTONOSUPPORT: i32 = 93;
        pub const ECONNREFUSED: i32 = 111;
        pub const EBADMSG: i32 = 74;
    }
    pub use system::*;
}

fn detail() -> String {
    // SAFETY: a string of this thread's, valid until its next failure.
    unsafe { CStr::from_ptr(tachyon_sys::tachyon_error_detail()) }.to_string_lossy().into_owned()
}

fn strerror(errno: i32) -> String {
    // SAFETY: a string of this thread's, valid until its next call.
    unsafe { CStr::from_ptr(tachyon_sys::tachyon_strerror(errno)) }.to_string_lossy().into_owned()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the peer closed the bus"),
            Self::PeerDead => f.write_str("the peer died"),
            Self::TimedOut => f.write_str("the time was over"),
            Self::Interrupted => f.write_str("a signal handler ran"),
            Self::Cancelled => f.write_str("this end was closed"),
            Self::Fork => f.write_str("the handle belongs to the parent process"),
            Self::Rpc { code, text } => write!(f, "the call failed ({code:#x}): {text}"),
            Self::Os(errno, what) if what.is_empty() => f.write_str(&strerror(*errno)),
            Self::Os(errno, what) => write!(f, "{}: {what}", strerror(*errno)),
            Self::Leases(what)
            | Self::Busy(what)
            | Self::TooLarge(what)
            | Self::Protocol(what)
            | Self::Refused(what)
            | Self::Format(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

/// 0 or a count, or the error.
#[inline]
pub(crate) fn check(result: impl Into<i64>) -> Result<usize> {
    let result = result.into();
    if result < 0 {
        return Err(Error::from_result(result));
    }
    Ok(result as usize)
}

/// Nothing where the time was over.
#[inline]
pub(crate) fn unless_timed_out<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}
