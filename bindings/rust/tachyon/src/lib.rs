//! Same-machine messages at the speed of a cache line.
//!
//! A [`Bus`] is one end of a connection between two processes: it carries messages, bytes
//! with a 32-bit tag, both ways, through rings in shared memory. The C library `libtachyon`
//! does the work; this crate makes it safe, and adds nothing to a call but the look at its
//! result.
//!
//! ```no_run
//! # fn main() -> tachyon::Result<()> {
//! let bus = tachyon::Bus::connect("/tmp/hello")?;
//! bus.send(b"hello", 7)?;
//! for message in bus.iter() {
//!     let message = message?;
//!     println!("{} {} bytes", message.type_id(), message.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Lifetimes
//!
//! A received [`Message`] lies in the ring, and keeps its place there until it is dropped: in
//! any order, in any thread. It borrows the [`Receiver`], so it cannot outlive it, and what is
//! read through it cannot outlive the message:
//!
//! ```compile_fail,E0505
//! # fn main() -> tachyon::Result<()> {
//! # let bus = tachyon::Bus::connect("/tmp/hello")?;
//! let message = bus.recv()?;
//! let view: &[u8] = &message;
//! drop(message);
//! println!("{}", view.len()); // the place in the ring is given back already
//! # Ok(())
//! # }
//! ```
//!
//! ```compile_fail,E0505
//! # fn main() -> tachyon::Result<()> {
//! # let bus = tachyon::Bus::connect("/tmp/hello")?;
//! let message = bus.recv()?;
//! drop(bus); // the memory goes with it
//! println!("{}", message.len());
//! # Ok(())
//! # }
//! ```
//!
//! While a [`Slot`] is open, its sender cannot send anything else:
//!
//! ```compile_fail,E0502
//! # fn main() -> tachyon::Result<()> {
//! # let mut bus = tachyon::Bus::connect("/tmp/hello")?;
//! let mut slot = bus.sender.reserve(100)?;
//! bus.sender.send(b"x", 0)?;
//! slot[0] = 1;
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! A [`Sender`] and a [`Receiver`] may go to a thread each, and are not to be shared:
//!
//! ```compile_fail,E0277
//! # fn main() -> tachyon::Result<()> {
//! # let bus = tachyon::Bus::connect("/tmp/hello")?;
//! std::thread::scope(|scope| {
//!     scope.spawn(|| bus.receiver.recv().is_ok());
//!     scope.spawn(|| bus.receiver.recv().is_ok());
//! });
//! # Ok(())
//! # }
//! ```
//!
//! A thread that waits is ended by [`Closer::close`] of another one.
//!
//! # A hostile peer
//!
//! The bytes of a message are the peer's memory, mapped read-only. A peer that breaks the rules
//! can change them while they are looked at, which Rust does not expect of a `&[u8]`: where the
//! peer is not trusted, copy first ([`Message::to_vec`](slice::to_vec), [`Message::read`]), and
//! check the copy.
#![warn(missing_docs)]

mod array;
mod bus;
mod error;
mod message;
mod options;
mod rpc;

pub use array::{ArraySlot, ArrayView, Element};
pub use bus::{wait, Bus, Closer, Fds, Listener, Receiver, Sender, Slot};
pub use error::{Error, Result};
pub use message::{Batch, Message, Messages, Record, Records};
pub use options::Options;
pub use rpc::{Caller, Dispatcher, PendingCall, Reply, Request, Server};
pub use tachyon_sys as sys;
