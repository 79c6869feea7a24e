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
//! The same holds for [`Records`] and for what a call receives:
//!
//! ```compile_fail,E0505
//! # fn main() -> tachyon::Result<()> {
//! # let bus = tachyon::Bus::connect("/tmp/hello")?;
//! let records = bus.receiver.recv_records::<u64>(100, None)?;
//! let first: &u64 = &records[0];
//! drop(records);
//! println!("{first}");
//! # Ok(())
//! # }
//! ```
//!
//! ```compile_fail,E0505
//! # fn main() -> tachyon::Result<()> {
//! # let bus = tachyon::Bus::connect("/tmp/hello")?;
//! let message = bus.recv()?;
//! let array = message.array::<f32>()?;
//! drop(message);
//! println!("{}", array[0]);
//! # Ok(())
//! # }
//! ```
//!
//! ```compile_fail,E0505
//! # fn main() -> tachyon::Result<()> {
//! # let server = tachyon::Server::listen("/tmp/hello")?;
//! let request = server.serve()?;
//! drop(server);
//! println!("{}", request.len());
//! # Ok(())
//! # }
//! ```
//!
//! ```compile_fail,E0505
//! # fn main() -> tachyon::Result<()> {
//! # let caller = tachyon::Caller::connect("/tmp/hello")?;
//! let reply = caller.call(b"", 1)?;
//! drop(caller);
//! println!("{}", reply.len());
//! # Ok(())
//! # }
//! ```
//!
//! ```compile_fail,E0505
//! # fn main() -> tachyon::Result<()> {
//! # let server = tachyon::Server::listen("/tmp/hello")?;
//! let request = server.serve()?;
//! let slot = request.reserve_reply(100)?;
//! drop(request);
//! slot.commit(0)
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

/// Who may go to another thread, and who may be shared: seen to by the compiler.
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// fn reply(reply: tachyon::Reply<'static>) {
///     send(reply); // the calling end is one thread's, and so are its replies
/// }
/// ```
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// fn call(call: tachyon::PendingCall<'static>) {
///     send(call);
/// }
/// ```
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// fn slot(slot: tachyon::Slot<'static>) {
///     send(slot);
/// }
/// ```
///
/// ```compile_fail,E0277
/// fn share(_: impl Sync) {}
/// fn caller(caller: tachyon::Caller) {
///     share(caller);
/// }
/// ```
///
/// ```compile_fail,E0277
/// fn share(_: impl Sync) {}
/// fn listener(listener: tachyon::Listener) {
///     share(listener);
/// }
/// ```
///
/// ```compile_fail,E0277
/// fn share(_: impl Sync) {}
/// fn sender(sender: tachyon::Sender) {
///     share(sender);
/// }
/// ```
const _: () = {
    const fn send<T: Send>() {}
    const fn share<T: Send + Sync>() {}
    send::<Bus>();
    send::<Sender>();
    send::<Receiver>();
    send::<Listener>();
    send::<Caller>();
    send::<Server>();
    share::<Closer>();
    share::<Error>();
    share::<Options>();
    share::<Message<'static>>();
    share::<Batch<'static>>();
    share::<Records<'static, u64>>();
};

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
pub use rpc::{
    Caller, Dispatcher, PendingCall, Reply, ReplySlot, Request, RequestSlot, Server, ServerListener,
};
pub use tachyon_sys as sys;
