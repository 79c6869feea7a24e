//! Request and reply: the end that connected calls, the listener's end serves.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use crate::array::{ArrayView, Element};
use crate::bus::{self, connect_raw, within, Closer, Closes, Fds, Listener, CONNECT_NS};
use crate::error::{check, unless_timed_out, Error, Result};
use crate::message::{bytes, record, Record};
use crate::options::{timeout_ns, Options, FOREVER, NOW};
use tachyon_sys as sys;

/// The library's handle; freed with its end, or with a [`Closer`] that is at it.
struct Handle(*mut sys::tachyon_rpc);

// SAFETY: one thread is at it, as End is not Sync; any may close.
unsafe impl Send for Handle {}
unsafe impl Sync for Handle {}

impl Closes for Handle {
    fn close(&self) {
        // SAFETY: allowed in any thread.
        unsafe { sys::tachyon_rpc_close(self.0) };
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: replies and requests borrow their end, so none is left.
        unsafe { sys::tachyon_rpc_free(self.0) };
    }
}

/// What [`Caller`] and [`Server`] are.
struct End {
    rpc: *mut sys::tachyon_rpc,
    handle: Arc<Handle>,
}

// SAFETY: it may move; the pointer makes it not Sync, so only one thread is in it.
unsafe impl Send for End {}

impl End {
    fn new(bus: *mut sys::tachyon_bus) -> Result<Self> {
        let mut rpc = ptr::null_mut();
        // SAFETY: the bus is new; it belongs to the handle from here on.
        let result = check(unsafe { sys::tachyon_rpc_create(&mut rpc, bus) });
        if let Err(error) = result {
            // SAFETY: it is still ours.
            unsafe { sys::tachyon_bus_free(bus) };
            return Err(error);
        }
        Ok(Self { rpc, handle: Arc::new(Handle(rpc)) })
    }

    fn bus(&self) -> *mut sys::tachyon_bus {
        // SAFETY: the handle is there.
        unsafe { sys::tachyon_rpc_bus(self.rpc) }
    }
}

macro_rules! end {
    ($end:ident) => {
        impl $end {
            /// For another thread, to end this and what waits on it.
            pub fn closer(&self) -> Closer {
                Closer::new(&self.0.handle)
            }

            /// The peer gets what was sent, then the end.
            pub fn close(&self) {
                self.0.handle.close();
            }

            /// As [`Receiver::arm`](crate::Receiver::arm), for an event loop.
            pub fn arm(&self) -> Result<bool> {
                // SAFETY: the bus is there.
                unsafe { bus::arm(self.0.bus()) }
            }

            /// The descriptors to sleep on after arming.
            pub fn fds(&self) -> Result<Fds> {
                // SAFETY: the bus is there.
                unsafe { bus::fds(self.0.bus()) }
            }

            /// Counters of the calls.
            pub fn counters(&self) -> Result<sys::tachyon_rpc_counters> {
                let mut counters = sys::tachyon_rpc_counters {
                    struct_size: std::mem::size_of::<sys::tachyon_rpc_counters>() as u64,
                    ..Default::default()
                };
                // SAFETY: struct_size is the truth.
                check(unsafe { sys::tachyon_rpc_stats(self.0.rpc, &mut counters) })?;
                Ok(counters)
            }
        }

        impl AsRawFd for $end {
            /// The data descriptor of `fds()`; -1 once this is closed.
            fn as_raw_fd(&self) -> RawFd {
                self.fds().map_or(-1, |fds| fds.data)
            }
        }
    };
}
end!(Caller);
end!(Server);

/// Room in the ring for a request or a reply.
struct Room<'a> {
    rpc: *mut sys::tachyon_rpc,
    data: *mut u8,
    size: usize,
    end: PhantomData<&'a End>,
}

impl Room<'_> {
    /// `reserve` must have filled in where there are `size` bytes in the ring of `rpc`.
    unsafe fn new(
        rpc: *mut sys::tachyon_rpc,
        size: usize,
        reserve: impl FnOnce(*mut *mut std::ffi::c_void) -> i32,
    ) -> Result<Self> {
        let mut data = ptr::null_mut();
        check(reserve(&mut data))?;
        Ok(Self { rpc, data: data.cast(), size, end: PhantomData })
    }

    /// Whom to commit `size` bytes with. Panics where there are not so many.
    fn finish(self, size: usize) -> *mut sys::tachyon_rpc {
        assert!(size <= self.size, "{size} bytes of a slot of {}", self.size);
        let rpc = self.rpc;
        std::mem::forget(self);
        rpc
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        // SAFETY: it is reserved.
        unsafe { sys::tachyon_rpc_cancel(self.rpc) };
    }
}

macro_rules! slot {
    ($slot:ident) => {
        impl Deref for $slot<'_> {
            type Target = [u8];

            fn deref(&self) -> &[u8] {
                // SAFETY: reserved for us alone; the ring's memory is never uninitialised.
                unsafe { std::slice::from_raw_parts(self.room.data, self.room.size) }
            }
        }

        impl DerefMut for $slot<'_> {
            fn deref_mut(&mut self) -> &mut [u8] {
                // SAFETY: as above.
                unsafe { std::slice::from_raw_parts_mut(self.room.data, self.room.size) }
            }
        }
    };
}
slot!(RequestSlot);
slot!(ReplySlot);

/// A request that is being written in the ring. Dropped without a commit, nothing is sent.
pub struct RequestSlot<'a> {
    caller: &'a Caller,
    room: Room<'a>,
}

impl<'a> RequestSlot<'a> {
    /// Sends all of it.
    pub fn commit(self, type_id: u32) -> Result<PendingCall<'a>> {
        let size = self.room.size;
        self.commit_size(size, type_id)
    }

    /// Sends the first `size` bytes of it. Panics where there are not so many.
    pub fn commit_size(self, size: usize, type_id: u32) -> Result<PendingCall<'a>> {
        let mut id = 0;
        let rpc = self.room.finish(size);
        // SAFETY: it is reserved; nobody can write into it any more.
        check(unsafe { sys::tachyon_rpc_commit(rpc, size, type_id, &mut id) })?;
        Ok(PendingCall { caller: self.caller, id })
    }
}

/// A reply that is being written in the ring. Dropped without a commit, nothing is sent.
pub struct ReplySlot<'a> {
    room: Room<'a>,
}

impl ReplySlot<'_> {
    /// Sends all of it.
    pub fn commit(self, type_id: u32) -> Result<()> {
        let size = self.room.size;
        self.commit_size(size, type_id)
    }

    /// Sends the first `size` bytes of it. Panics where there are not so many.
    pub fn commit_size(self, size: usize, type_id: u32) -> Result<()> {
        let rpc = self.room.finish(size);
        // SAFETY: it is reserved; nobody can write into it any more.
        check(unsafe { sys::tachyon_rpc_commit_reply(rpc, size, type_id) }).map(drop)
    }
}

/// A reply; dereferences to its bytes. Dropping it gives its place back.
pub struct Reply<'a> {
    rpc: *mut sys::tachyon_rpc,
    raw: sys::tachyon_message,
    end: PhantomData<&'a End>,
}

impl Reply<'_> {
    /// The server's tag; of a request, which procedure it is for.
    pub fn type_id(&self) -> u32 {
        self.raw.type_id
    }

    /// The bytes as a `T`. [`Error::Format`] where their number is not its size.
    pub fn get<T: Record>(&self) -> Result<&T> {
        record(self)
    }

    /// The array that it is. [`Error::Format`] where it is no array of `T`.
    pub fn array<T: Element>(&self) -> Result<ArrayView<'_, T>> {
        ArrayView::new(self)
    }
}

impl Deref for Reply<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        bytes(&self.raw)
    }
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        // SAFETY: it is out, and its end lives as long as 'a.
        unsafe { sys::tachyon_rpc_release(self.rpc, &self.raw) };
    }
}

/// The calling end; for one thread at a time.
pub struct Caller(End);

impl Caller {
    /// Connects to a server; waits for one to appear, for 10 seconds.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self> {
        Self::connect_ns(path.as_ref(), &Options::default(), CONNECT_NS)
    }

    /// [`Caller::connect`] with options, and for some time or without end.
    pub fn connect_with(
        path: impl AsRef<Path>,
        options: &Options,
        timeout: Option<Duration>,
    ) -> Result<Self> {
        Self::connect_ns(path.as_ref(), options, within(timeout))
    }

    fn connect_ns(path: &Path, options: &Options, ns: i64) -> Result<Self> {
        End::new(connect_raw(path, options, sys::TACHYON_KIND_RPC, ns)?).map(Self)
    }

    /// Calls, and waits for the reply. [`Error::Rpc`] where the server failed the call.
    pub fn call(&self, data: &[u8], type_id: u32) -> Result<Reply<'_>> {
        self.call_ns(data, type_id, FOREVER)
    }

    /// [`Caller::call`] that gives the call up with [`Error::TimedOut`].
    pub fn call_timeout(&self, data: &[u8], type_id: u32, timeout: Duration) -> Result<Reply<'_>> {
        self.call_ns(data, type_id, timeout_ns(timeout))
    }

    fn call_ns(&self, data: &[u8], type_id: u32, ns: i64) -> Result<Reply<'_>> {
        self.reply(|rpc, raw| {
            // SAFETY: the bytes are there, and `raw` is.
            unsafe {
                sys::tachyon_rpc_call(rpc, data.as_ptr().cast(), data.len(), type_id, raw, ns)
            }
        })
    }

    /// Calls, and copies the reply into `buffer`: its size and tag. Nothing is allocated.
    /// [`Error::TooLarge`] where it does not fit; it is lost then.
    pub fn call_into(&self, data: &[u8], type_id: u32, buffer: &mut [u8]) -> Result<(usize, u32)> {
        self.call_into_ns(data, type_id, buffer, FOREVER)
    }

    /// [`Caller::call_into`] that gives the call up with [`Error::TimedOut`].
    pub fn call_into_timeout(
        &self,
        data: &[u8],
        type_id: u32,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<(usize, u32)> {
        self.call_into_ns(data, type_id, buffer, timeout_ns(timeout))
    }

    fn call_into_ns(
        &self,
        data: &[u8],
        type_id: u32,
        buffer: &mut [u8],
        ns: i64,
    ) -> Result<(usize, u32)> {
        let (at, size) = (data.as_ptr().cast(), data.len());
        let (to, room) = (buffer.as_mut_ptr().cast(), buffer.len());
        let mut raw = std::mem::MaybeUninit::uninit();
        // SAFETY: the bytes are there, the buffer is, and `raw` is.
        let failed = check(unsafe {
            let raw = raw.as_mut_ptr();
            sys::tachyon_rpc_call_copy(self.0.rpc, at, size, type_id, to, room, raw, ns)
        })? == 1;
        // SAFETY: it was filled in.
        let raw = unsafe { raw.assume_init() };
        let size = raw.size as usize;
        if failed {
            let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
            return Err(Error::Rpc { code: raw.type_id, text });
        }
        Ok((size, raw.type_id))
    }

    /// Room for a request, to be written in place; [`RequestSlot::commit`] sends it. Until then
    /// whatever else would send gives [`Error::Busy`].
    pub fn reserve(&self, size: usize) -> Result<RequestSlot<'_>> {
        let rpc = self.0.rpc;
        // SAFETY: the library fills it in.
        let room = unsafe {
            Room::new(rpc, size, |data| sys::tachyon_rpc_reserve(rpc, data, size, FOREVER))
        }?;
        Ok(RequestSlot { caller: self, room })
    }

    /// Calls that may be outstanding; 65536 at first.
    pub fn set_limit(&self, calls: u32) -> Result<()> {
        // SAFETY: the handle is there.
        check(unsafe { sys::tachyon_rpc_set_limit(self.0.rpc, calls) }).map(drop)
    }

    /// Calls, and does not wait for the reply.
    pub fn submit(&self, data: &[u8], type_id: u32) -> Result<PendingCall<'_>> {
        let mut id = 0;
        // SAFETY: the bytes are there, and `id` is.
        check(unsafe {
            let (at, size) = (data.as_ptr().cast(), data.len());
            sys::tachyon_rpc_submit(self.0.rpc, at, size, type_id, &mut id, FOREVER)
        })?;
        Ok(PendingCall { caller: self, id })
    }

    fn reply(
        &self,
        get: impl FnOnce(*mut sys::tachyon_rpc, *mut sys::tachyon_message) -> i32,
    ) -> Result<Reply<'_>> {
        let mut raw = std::mem::MaybeUninit::uninit();
        let failed = check(get(self.0.rpc, raw.as_mut_ptr()))? == 1;
        // SAFETY: it was filled in.
        let reply = Reply { rpc: self.0.rpc, raw: unsafe { raw.assume_init() }, end: PhantomData };
        if failed {
            let text = String::from_utf8_lossy(&reply).into_owned();
            return Err(Error::Rpc { code: reply.type_id(), text });
        }
        Ok(reply)
    }
}

/// A call whose reply is still to come. Dropped, it is given up.
pub struct PendingCall<'a> {
    caller: &'a Caller,
    id: u64,
}

impl<'a> PendingCall<'a> {
    /// Waits for the reply.
    pub fn wait(self) -> Result<Reply<'a>> {
        self.wait_ns(FOREVER)
    }

    /// Waits for some time; after [`Error::TimedOut`] the call is still outstanding.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Reply<'a>> {
        self.wait_ns(timeout_ns(timeout))
    }

    fn wait_ns(&self, ns: i64) -> Result<Reply<'a>> {
        // SAFETY: `raw` is there.
        self.caller.reply(|rpc, raw| unsafe { sys::tachyon_rpc_wait(rpc, self.id, raw, ns) })
    }
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        // SAFETY: one that is over is not found, and nothing happens.
        unsafe { sys::tachyon_rpc_forget(self.caller.0.rpc, self.id) };
    }
}

/// The serving end; for one thread at a time.
pub struct Server(End);

/// A request: a [`Reply`] by what can be read of it; to be answered once.
pub struct Request<'a>(Reply<'a>);

impl<'a> Deref for Request<'a> {
    type Target = Reply<'a>;

    fn deref(&self) -> &Reply<'a> {
        &self.0
    }
}

impl Request<'_> {
    /// Answers it. After [`Error::TooLarge`] it can still be failed.
    pub fn reply(&self, data: &[u8], type_id: u32) -> Result<()> {
        let (at, size) = (data.as_ptr().cast(), data.len());
        // SAFETY: the bytes are there.
        check(unsafe { sys::tachyon_rpc_reply(self.0.rpc, self.id(), at, size, type_id, FOREVER) })
            .map(drop)
    }

    /// Room for the reply, to be written in place; [`ReplySlot::commit`] sends it. Until then no
    /// other request is answered: [`Error::Busy`].
    pub fn reserve_reply(&self, size: usize) -> Result<ReplySlot<'_>> {
        let (rpc, id) = (self.0.rpc, self.id());
        // SAFETY: the library fills it in.
        let room = unsafe {
            Room::new(rpc, size, |data| {
                sys::tachyon_rpc_reserve_reply(rpc, id, data, size, FOREVER)
            })
        }?;
        Ok(ReplySlot { room })
    }

    /// The caller gets [`Error::Rpc`] with this code and text.
    pub fn fail(&self, code: u32, text: &str) -> Result<()> {
        let (at, size) = (text.as_ptr().cast(), text.len());
        // SAFETY: the text is there.
        check(unsafe { sys::tachyon_rpc_fail(self.0.rpc, self.id(), code, at, size, FOREVER) })
            .map(drop)
    }

    /// What the reply will carry.
    pub fn id(&self) -> u64 {
        self.0.raw.correlation_id
    }
}

impl Server {
    /// Listens on a path until one client has connected; the path is free again then.
    pub fn listen(path: impl AsRef<Path>) -> Result<Self> {
        Self::listen_with(path, &Options::default(), None)
    }

    /// [`Server::listen`] with options, and for some time only.
    pub fn listen_with(
        path: impl AsRef<Path>,
        options: &Options,
        timeout: Option<Duration>,
    ) -> Result<Self> {
        let listener = ServerListener::bind_with(path, options)?;
        End::new(listener.0.accept_ns(within(timeout))?).map(Self)
    }

    /// Waits for a request.
    pub fn serve(&self) -> Result<Request<'_>> {
        self.serve_ns(FOREVER)
    }

    /// [`Server::serve`] that gives up with [`Error::TimedOut`].
    pub fn serve_timeout(&self, timeout: Duration) -> Result<Request<'_>> {
        self.serve_ns(timeout_ns(timeout))
    }

    /// A request, if there is one.
    pub fn try_serve(&self) -> Result<Option<Request<'_>>> {
        unless_timed_out(self.serve_ns(NOW))
    }

    fn serve_ns(&self, ns: i64) -> Result<Request<'_>> {
        let mut raw = std::mem::MaybeUninit::uninit();
        // SAFETY: `raw` is there, and was filled in after success.
        let raw = unsafe {
            check(sys::tachyon_rpc_serve(self.0.rpc, raw.as_mut_ptr(), ns))?;
            raw.assume_init()
        };
        Ok(Request(Reply { rpc: self.0.rpc, raw, end: PhantomData }))
    }

    /// Serves until the client closes or dies, or this end is closed.
    pub fn serve_forever(&self, dispatcher: &mut Dispatcher<'_>) -> Result<()> {
        loop {
            match self.serve().and_then(|request| dispatcher.answer(&request)) {
                Ok(()) | Err(Error::Interrupted) => {}
                Err(Error::Closed | Error::PeerDead | Error::Cancelled) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Accepts one [`Server`] for each client that connects.
pub struct ServerListener(Listener);

impl ServerListener {
    /// Owns a path and listens on it.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self> {
        Self::bind_with(path, &Options::default())
    }

    /// [`ServerListener::bind`] with options.
    pub fn bind_with(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        Listener::bind_kind(path.as_ref(), options, sys::TACHYON_KIND_RPC).map(Self)
    }

    /// Waits for a client to connect.
    pub fn accept(&self) -> Result<Server> {
        End::new(self.0.accept_ns(FOREVER)?).map(Server)
    }

    /// [`ServerListener::accept`] that gives up with [`Error::TimedOut`].
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Server> {
        End::new(self.0.accept_ns(timeout_ns(timeout))?).map(Server)
    }

    /// See [`Listener::closer`].
    pub fn closer(&self) -> Closer {
        self.0.closer()
    }

    /// See [`Listener::close`].
    pub fn close(&self) {
        self.0.close();
    }
}

impl AsRawFd for ServerListener {
    /// As that of a [`Listener`].
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What a procedure gives: the reply, or any error, whose text the caller gets.
type Answer = std::result::Result<Vec<u8>, Box<dyn std::error::Error>>;
type Procedure<'f> = Box<dyn FnMut(&Request<'_>) -> Answer + 'f>;

/// Which procedure is for which type_id.
///
/// ```
/// let mut dispatcher = tachyon::Dispatcher::new();
/// dispatcher.on(1, |request| Ok(request.to_ascii_uppercase()));
/// ```
#[derive(Default)]
pub struct Dispatcher<'f>(HashMap<u32, Procedure<'f>>);

impl<'f> Dispatcher<'f> {
    /// Without procedures.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests of this type_id go to this procedure.
    pub fn on(
        &mut self,
        type_id: u32,
        procedure: impl FnMut(&Request<'_>) -> Answer + 'f,
    ) -> &mut Self {
        self.0.insert(type_id, Box::new(procedure));
        self
    }

    /// Answers one request: with the reply, or a failure where there is no such procedure, it
    /// gave an error, or the reply does not fit the ring.
    pub fn answer(&mut self, request: &Request<'_>) -> Result<()> {
        let type_id = request.type_id();
        let Some(procedure) = self.0.get_mut(&type_id) else {
            let text = format!("there is no procedure {type_id}");
            return until_done(|| request.fail(sys::TACHYON_RPC_UNKNOWN_TYPE, &text));
        };
        let (code, text) = match procedure(request) {
            Err(error) => (sys::TACHYON_RPC_EXCEPTION, error.to_string()),
            Ok(reply) => match until_done(|| request.reply(&reply, 0)) {
                Err(Error::TooLarge(text)) => (sys::TACHYON_RPC_TOO_LARGE, text),
                result => return result,
            },
        };
        until_done(|| request.fail(code, &text))
    }
}

/// A signal must not leave a request without an answer.
fn until_done(mut answer: impl FnMut() -> Result<()>) -> Result<()> {
    loop {
        match answer() {
            Err(Error::Interrupted) => {}
            result => return result,
        }
    }
}
