//! Request and reply: the end that connected calls, the listener's end serves.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::Deref;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use crate::array::{ArrayView, Element};
use crate::bus::{connect_raw, within, Listener, CONNECT_NS};
use crate::error::{check, Error, Result};
use crate::message::{bytes, record, Record};
use crate::options::{timeout_ns, Options, FOREVER};
use tachyon_sys as sys;

/// The library's handle; freed with its end.
struct Handle(*mut sys::tachyon_rpc);

// SAFETY: it may move with its end; the pointer makes that not Sync.
unsafe impl Send for Handle {}

impl Handle {
    fn new(bus: *mut sys::tachyon_bus) -> Result<Self> {
        let mut raw = ptr::null_mut();
        // SAFETY: the bus is new; it belongs to the handle from here on.
        let result = check(unsafe { sys::tachyon_rpc_create(&mut raw, bus) });
        if let Err(error) = result {
            // SAFETY: it is still ours.
            unsafe { sys::tachyon_bus_free(bus) };
            return Err(error);
        }
        Ok(Self(raw))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: replies and requests borrow their end, so none is left.
        unsafe { sys::tachyon_rpc_free(self.0) };
    }
}

/// A reply; dereferences to its bytes. Dropping it gives its place back.
pub struct Reply<'a> {
    rpc: *mut sys::tachyon_rpc,
    raw: sys::tachyon_message,
    end: PhantomData<&'a Handle>,
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
pub struct Caller(Handle);

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
        Handle::new(connect_raw(path, options, sys::TACHYON_KIND_RPC, ns)?).map(Self)
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

    /// Calls, and does not wait for the reply.
    pub fn submit(&self, data: &[u8], type_id: u32) -> Result<PendingCall<'_>> {
        let mut id = 0;
        // SAFETY: the bytes are there, and `id` is.
        check(unsafe {
            let (at, size) = (data.as_ptr().cast(), data.len());
            sys::tachyon_rpc_submit(self.0 .0, at, size, type_id, &mut id, FOREVER)
        })?;
        Ok(PendingCall { caller: self, id })
    }

    fn reply(
        &self,
        get: impl FnOnce(*mut sys::tachyon_rpc, *mut sys::tachyon_message) -> i32,
    ) -> Result<Reply<'_>> {
        let mut raw = std::mem::MaybeUninit::uninit();
        let failed = check(get(self.0 .0, raw.as_mut_ptr()))? == 1;
        // SAFETY: it was filled in.
        let reply = Reply { rpc: self.0 .0, raw: unsafe { raw.assume_init() }, end: PhantomData };
        if failed {
            let text = String::from_utf8_lossy(&reply).into_owned();
            return Err(Error::Rpc { code: reply.type_id(), text });
        }
        Ok(reply)
    }

    /// Counters of the calls.
    pub fn counters(&self) -> Result<sys::tachyon_rpc_counters> {
        let mut counters = sys::tachyon_rpc_counters {
            struct_size: std::mem::size_of::<sys::tachyon_rpc_counters>() as u64,
            ..Default::default()
        };
        // SAFETY: struct_size is the truth.
        check(unsafe { sys::tachyon_rpc_stats(self.0 .0, &mut counters) })?;
        Ok(counters)
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
        unsafe { sys::tachyon_rpc_forget(self.caller.0 .0, self.id) };
    }
}

/// The serving end; for one thread at a time.
pub struct Server(Handle);

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
        let listener = Listener::bind_kind(path.as_ref(), options, sys::TACHYON_KIND_RPC)?;
        Handle::new(listener.accept_ns(within(timeout))?).map(Self)
    }

    /// Waits for a request.
    pub fn serve(&self) -> Result<Request<'_>> {
        self.serve_ns(FOREVER)
    }

    /// [`Server::serve`] that gives up with [`Error::TimedOut`].
    pub fn serve_timeout(&self, timeout: Duration) -> Result<Request<'_>> {
        self.serve_ns(timeout_ns(timeout))
    }

    fn serve_ns(&self, ns: i64) -> Result<Request<'_>> {
        let mut raw = std::mem::MaybeUninit::uninit();
        // SAFETY: `raw` is there, and was filled in after success.
        let raw = unsafe {
            check(sys::tachyon_rpc_serve(self.0 .0, raw.as_mut_ptr(), ns))?;
            raw.assume_init()
        };
        Ok(Request(Reply { rpc: self.0 .0, raw, end: PhantomData }))
    }

    /// Serves until the client closes or dies.
    pub fn serve_forever(&self, dispatcher: &mut Dispatcher<'_>) -> Result<()> {
        loop {
            match self.serve().and_then(|request| dispatcher.answer(&request)) {
                Ok(()) | Err(Error::Interrupted) => {}
                Err(Error::Closed | Error::PeerDead) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
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
