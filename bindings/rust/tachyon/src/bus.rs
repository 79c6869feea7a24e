//! One end of a connection, and who accepts them.

use std::ffi::{c_int, CString};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::array::{ArraySlot, Element};
use crate::error::{check, unless_timed_out, Error, Result};
use crate::message::{Batch, Message, Messages, Record, Records};
use crate::options::{timeout_ns, Options, FOREVER, NOW};
use tachyon_sys as sys;

/// How long a connector waits for a listener unless told otherwise.
pub(crate) const CONNECT_NS: i64 = 10_000_000_000;

/// The library's handle; freed with the last half that has it.
struct Handle(*mut sys::tachyon_bus);

// SAFETY: which calls may be made at the same time is seen to by Sender, Receiver and Closer.
unsafe impl Send for Handle {}
unsafe impl Sync for Handle {}

impl Closes for Handle {
    fn close(&self) {
        // SAFETY: allowed in any thread.
        unsafe { sys::tachyon_bus_close(self.0) };
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: nobody has it any more; messages borrow their Receiver, which has it.
        unsafe { sys::tachyon_bus_free(self.0) };
    }
}

/// One end of a connection between two processes: a [`Sender`] and a [`Receiver`].
///
/// Take them apart (`let Bus { sender, receiver } = bus`) to give each a thread.
/// The bus is closed when both are dropped.
pub struct Bus {
    /// Sends to the peer.
    pub sender: Sender,
    /// Receives what the peer sends.
    pub receiver: Receiver,
}

impl Bus {
    /// Takes over what a C function gave.
    ///
    /// # Safety
    ///
    /// `raw` is a bus of kind stream that nobody else uses or frees.
    pub unsafe fn from_raw(raw: *mut sys::tachyon_bus) -> Self {
        let handle = Arc::new(Handle(raw));
        Self { sender: Sender { raw, handle: handle.clone() }, receiver: Receiver { raw, handle } }
    }

    /// Listens on a path until one process has connected; the path is free again then.
    pub fn listen(path: impl AsRef<Path>) -> Result<Self> {
        Self::listen_with(path, &Options::default(), None)
    }

    /// [`Bus::listen`] with options, and for some time only.
    pub fn listen_with(
        path: impl AsRef<Path>,
        options: &Options,
        timeout: Option<Duration>,
    ) -> Result<Self> {
        let path = c_path(path.as_ref())?;
        let mut raw = ptr::null_mut();
        let options = options.raw(sys::TACHYON_KIND_STREAM);
        // SAFETY: all pointers are valid during the call.
        check(unsafe {
            sys::tachyon_bus_listen(&mut raw, path.as_ptr(), &options, within(timeout))
        })?;
        // SAFETY: it is new.
        Ok(unsafe { Self::from_raw(raw) })
    }

    /// Connects to the listener on a path; waits for one to appear, for 10 seconds.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self> {
        Self::connect_with(path, &Options::default(), Some(Duration::from_nanos(CONNECT_NS as u64)))
    }

    /// [`Bus::connect`] with options, and for some time or without end.
    pub fn connect_with(
        path: impl AsRef<Path>,
        options: &Options,
        timeout: Option<Duration>,
    ) -> Result<Self> {
        let raw = connect_raw(path.as_ref(), options, sys::TACHYON_KIND_STREAM, within(timeout))?;
        // SAFETY: it is new.
        Ok(unsafe { Self::from_raw(raw) })
    }

    /// See [`Sender::send`].
    #[inline]
    pub fn send(&self, data: &[u8], type_id: u32) -> Result<()> {
        self.sender.send(data, type_id)
    }

    /// See [`Receiver::recv`].
    #[inline]
    pub fn recv(&self) -> Result<Message<'_>> {
        self.receiver.recv()
    }

    /// See [`Receiver::iter`].
    pub fn iter(&self) -> Messages<'_> {
        self.receiver.iter()
    }

    /// For another thread, to end this bus and what waits on it.
    pub fn closer(&self) -> Closer {
        Closer::new(&self.receiver.handle)
    }

    /// Ends the bus: the peer gets all that was sent, then the end.
    pub fn close(&self) {
        self.receiver.handle.close();
    }

    /// Facts that do not change.
    pub fn properties(&self) -> Result<sys::tachyon_properties> {
        let mut properties = sys::tachyon_properties {
            struct_size: std::mem::size_of::<sys::tachyon_properties>() as u64,
            ..Default::default()
        };
        // SAFETY: struct_size is the truth.
        check(unsafe { sys::tachyon_bus_properties(self.receiver.raw, &mut properties) })?;
        Ok(properties)
    }

    /// Counters since the bus was opened.
    pub fn stats(&self) -> Result<sys::tachyon_stats> {
        let mut stats = sys::tachyon_stats {
            struct_size: std::mem::size_of::<sys::tachyon_stats>() as u64,
            ..Default::default()
        };
        // SAFETY: struct_size is the truth.
        check(unsafe { sys::tachyon_bus_stats(self.receiver.raw, &mut stats) })?;
        Ok(stats)
    }
}

/// What any thread may close.
pub(crate) trait Closes: Send + Sync {
    fn close(&self);
}

/// Ends a bus, an end of calls or a listener from any thread. Keeps none of them open.
#[derive(Clone)]
pub struct Closer(Weak<dyn Closes>);

impl Closer {
    pub(crate) fn new<T: Closes + 'static>(handle: &Arc<T>) -> Self {
        let handle: Weak<T> = Arc::downgrade(handle);
        Self(handle)
    }

    /// The peer gets all that was sent, then the end; waits of other threads give
    /// [`Error::Cancelled`]. Messages that are out stay readable, and what a listener accepted
    /// lives on. May be called again.
    pub fn close(&self) {
        if let Some(handle) = self.0.upgrade() {
            handle.close();
        }
    }
}

/// The sending half of a bus; for one thread at a time.
pub struct Sender {
    raw: *mut sys::tachyon_bus, // as in the handle: one look less on the hot path
    #[allow(dead_code)] // keeps `raw` alive
    handle: Arc<Handle>,
}

// SAFETY: it may move; the pointer makes it not Sync, so only one thread is in it.
unsafe impl Send for Sender {}

impl Sender {
    /// Copies a message into the ring; blocks while that is full. When this returns, the
    /// message arrives even if this process is killed, as long as the receiver lives.
    ///
    /// Errors: [`Error::TooLarge`], [`Error::Closed`], [`Error::PeerDead`] (noticed when the
    /// ring is full or the receiver sleeps), [`Error::Interrupted`], [`Error::Cancelled`],
    /// [`Error::Protocol`], [`Error::Fork`].
    #[inline]
    pub fn send(&self, data: &[u8], type_id: u32) -> Result<()> {
        self.send_ns(data, type_id, FOREVER)
    }

    /// [`Sender::send`] that gives up with [`Error::TimedOut`].
    pub fn send_timeout(&self, data: &[u8], type_id: u32, timeout: Duration) -> Result<()> {
        self.send_ns(data, type_id, timeout_ns(timeout))
    }

    /// False: the ring is full.
    #[inline]
    pub fn try_send(&self, data: &[u8], type_id: u32) -> Result<bool> {
        unless_timed_out(self.send_ns(data, type_id, NOW)).map(|sent| sent.is_some())
    }

    #[inline]
    fn send_ns(&self, data: &[u8], type_id: u32, timeout_ns: i64) -> Result<()> {
        // SAFETY: the bytes are there.
        let r = unsafe {
            sys::tachyon_bus_send(self.raw, data.as_ptr().cast(), data.len(), type_id, timeout_ns)
        };
        check(r).map(drop)
    }

    /// Room for a message, to be written in place; [`Slot::commit`] sends it.
    /// Errors: as for [`Sender::send`].
    pub fn reserve(&mut self, size: usize) -> Result<Slot<'_>> {
        self.reserve_ns(size, FOREVER)
    }

    /// [`Sender::reserve`] that gives up with [`Error::TimedOut`].
    pub fn reserve_timeout(&mut self, size: usize, timeout: Duration) -> Result<Slot<'_>> {
        self.reserve_ns(size, timeout_ns(timeout))
    }

    fn reserve_ns(&mut self, size: usize, timeout_ns: i64) -> Result<Slot<'_>> {
        let mut data = ptr::null_mut();
        // SAFETY: `data` is there.
        check(unsafe { sys::tachyon_bus_reserve(self.raw, &mut data, size, timeout_ns) })?;
        Ok(Slot { bus: self.raw, data: data.cast(), size, sender: PhantomData })
    }

    /// Sends each record as a message; returns how many: fewer than all only where a signal or
    /// the end came in between, which the next call reports.
    pub fn send_records<T: Record>(&self, records: &[T], type_id: u32) -> Result<usize> {
        self.send_records_ns(records, type_id, FOREVER)
    }

    /// [`Sender::send_records`] for some time: returns how many were sent in it.
    pub fn send_records_timeout<T: Record>(
        &self,
        records: &[T],
        type_id: u32,
        timeout: Duration,
    ) -> Result<usize> {
        self.send_records_ns(records, type_id, timeout_ns(timeout))
    }

    fn send_records_ns<T: Record>(&self, records: &[T], type_id: u32, ns: i64) -> Result<usize> {
        let size = std::mem::size_of::<T>();
        // SAFETY: the records are there, one after the other.
        check(unsafe {
            sys::tachyon_bus_send_records(
                self.raw,
                records.as_ptr().cast(),
                size,
                records.len(),
                type_id,
                ns,
            )
        })
    }

    /// Sends an array with its dtype and shape. Panics where `data` is not as long as the shape says.
    pub fn send_array<T: Element>(
        &mut self,
        data: &[T],
        shape: &[u64],
        type_id: u32,
    ) -> Result<()> {
        let mut array = self.reserve_array(shape)?;
        array.copy_from_slice(data);
        array.commit(type_id)
    }

    /// Room for an array, to be computed in place; [`ArraySlot::commit`] sends it.
    /// [`Error::TooLarge`] also where there can be no array of this shape.
    pub fn reserve_array<T: Element>(&mut self, shape: &[u64]) -> Result<ArraySlot<'_, T>> {
        ArraySlot::reserve(self, shape)
    }

    /// True: sleep on the room and the death descriptor of [`Receiver::fds`], then try to send, and
    /// arm again where there is still no room; [`Sender::disarm_space`] after the last. False: send first.
    pub fn arm_space(&self, size: usize) -> Result<bool> {
        // SAFETY: the bus is there.
        check(unsafe { sys::tachyon_bus_arm_space(self.raw, size) }).map(|r| r == 0)
    }

    /// We wait for room no longer.
    pub fn disarm_space(&self) -> Result<()> {
        // SAFETY: the bus is there.
        check(unsafe { sys::tachyon_bus_disarm_space(self.raw) }).map(drop)
    }

    /// Waits until a message of this size could be sent. False: the time was over.
    pub fn wait_space(&self, size: usize, timeout: Duration) -> Result<bool> {
        // SAFETY: the bus is there.
        let r = unsafe { sys::tachyon_bus_wait_space(self.raw, size, timeout_ns(timeout)) };
        unless_timed_out(check(r)).map(|room| room.is_some())
    }
}

/// Room in the ring for one message: bytes to write. Dropped without a commit, nothing is sent.
pub struct Slot<'a> {
    bus: *mut sys::tachyon_bus,
    data: *mut u8,
    size: usize,
    sender: PhantomData<&'a mut Sender>,
}

impl Slot<'_> {
    /// Sends all of it.
    pub fn commit(self, type_id: u32) -> Result<()> {
        let size = self.size;
        self.commit_size(size, type_id)
    }

    /// Sends the first `size` bytes of it. Panics where there are not so many.
    pub fn commit_size(self, size: usize, type_id: u32) -> Result<()> {
        assert!(size <= self.size, "{size} bytes of a slot of {}", self.size);
        let bus = self.bus;
        std::mem::forget(self);
        // SAFETY: it is reserved; nobody can write into it any more.
        check(unsafe { sys::tachyon_bus_commit(bus, size, type_id) }).map(drop)
    }
}

impl Deref for Slot<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: reserved for us alone; the ring's memory is never uninitialised.
        unsafe { std::slice::from_raw_parts(self.data, self.size) }
    }
}

impl DerefMut for Slot<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.size) }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        // SAFETY: it is reserved.
        unsafe { sys::tachyon_bus_cancel(self.bus) };
    }
}

/// The receiving half of a bus; for one thread at a time.
///
/// Its descriptor ([`AsRawFd`]) is for event loops, see [`Receiver::arm`].
pub struct Receiver {
    raw: *mut sys::tachyon_bus,
    handle: Arc<Handle>,
}

// SAFETY: it may move; the pointer makes it not Sync, so only one thread is in it.
unsafe impl Send for Receiver {}

/// The descriptors of [`Receiver::fds`].
#[derive(Clone, Copy, Debug)]
pub struct Fds {
    /// Readable after a doorbell for data, or the peer's end.
    pub data: RawFd,
    /// Readable after a doorbell for room, or the peer's end.
    pub room: RawFd,
    /// Readable when the peer's process is dead, where there is such a one.
    pub death: Option<RawFd>,
}

impl Receiver {
    /// Receives one message; blocks until there is one.
    ///
    /// Errors: [`Error::Closed`], [`Error::PeerDead`] (both after the last message),
    /// [`Error::Leases`] (the peer cannot send before some messages are dropped),
    /// [`Error::Interrupted`], [`Error::Cancelled`], [`Error::Protocol`], [`Error::Fork`].
    #[inline]
    pub fn recv(&self) -> Result<Message<'_>> {
        self.recv_ns(FOREVER)
    }

    /// [`Receiver::recv`] that gives up with [`Error::TimedOut`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message<'_>> {
        self.recv_ns(timeout_ns(timeout))
    }

    /// A message, if there is one.
    #[inline]
    pub fn try_recv(&self) -> Result<Option<Message<'_>>> {
        unless_timed_out(self.recv_ns(NOW))
    }

    #[inline]
    fn recv_ns(&self, timeout_ns: i64) -> Result<Message<'_>> {
        let mut raw = std::mem::MaybeUninit::uninit();
        // SAFETY: `raw` is there.
        check(unsafe { sys::tachyon_bus_recv(self.raw, raw.as_mut_ptr(), timeout_ns) })?;
        // SAFETY: it was filled in, by this bus, which lives as long as we are borrowed.
        Ok(unsafe { Message::new(self.raw, raw.assume_init()) })
    }

    /// Copies the next message into `buffer`: its size and tag. There is no lease, and for small
    /// messages this is less work. [`Error::TooLarge`] where it does not fit; it stays the next one.
    #[inline]
    pub fn recv_into(&self, buffer: &mut [u8]) -> Result<(usize, u32)> {
        self.recv_into_ns(buffer, FOREVER)
    }

    /// [`Receiver::recv_into`] that gives up with [`Error::TimedOut`].
    pub fn recv_into_timeout(&self, buffer: &mut [u8], timeout: Duration) -> Result<(usize, u32)> {
        self.recv_into_ns(buffer, timeout_ns(timeout))
    }

    /// [`Receiver::recv_into`], if there is a message.
    #[inline]
    pub fn try_recv_into(&self, buffer: &mut [u8]) -> Result<Option<(usize, u32)>> {
        unless_timed_out(self.recv_into_ns(buffer, NOW))
    }

    #[inline]
    fn recv_into_ns(&self, buffer: &mut [u8], timeout_ns: i64) -> Result<(usize, u32)> {
        let (at, room, mut type_id) = (buffer.as_mut_ptr().cast(), buffer.len(), 0);
        // SAFETY: the buffer and the tag are there.
        let size = check(unsafe {
            sys::tachyon_bus_recv_copy(self.raw, at, room, &mut type_id, timeout_ns)
        })?;
        Ok((size, type_id))
    }

    /// What is there, at most `max` messages; waits for the first.
    pub fn recv_batch(&self, max: usize) -> Result<Batch<'_>> {
        let mut raw = Vec::with_capacity(max);
        // SAFETY: there is room for `max`, and as many are filled in as it says.
        unsafe {
            let count =
                check(sys::tachyon_bus_recv_batch(self.raw, raw.as_mut_ptr(), max, FOREVER))?;
            raw.set_len(count);
            Ok(Batch::new(self.raw, raw))
        }
    }

    /// A run of at most `max` messages that are each a `T`, with this tag or any; waits for the first.
    ///
    /// [`Error::TooLarge`] where the next message has another size, [`Error::Format`] where it
    /// has another tag; it stays the next one.
    pub fn recv_records<T: Record>(
        &self,
        max: usize,
        type_id: Option<u32>,
    ) -> Result<Records<'_, T>> {
        let mut raw = std::mem::MaybeUninit::uninit();
        let tag = type_id.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: all pointers are valid during the call; it is filled in, by this bus.
        unsafe {
            check(sys::tachyon_bus_recv_records(
                self.raw,
                raw.as_mut_ptr(),
                std::mem::size_of::<T>(),
                max,
                tag,
                FOREVER,
            ))?;
            Ok(Records::new(self.raw, raw.assume_init()))
        }
    }

    /// Messages until either end is closed in good order; the last item is the error where the
    /// bus ended otherwise.
    pub fn iter(&self) -> Messages<'_> {
        Messages { receiver: self, over: false }
    }

    /// Waits until there is a message. False: the time was over.
    pub fn wait_data(&self, timeout: Duration) -> Result<bool> {
        // SAFETY: the bus is there.
        let r = unsafe { sys::tachyon_bus_wait_data(self.raw, timeout_ns(timeout)) };
        unless_timed_out(check(r)).map(|data| data.is_some())
    }

    /// True: sleep on [`Receiver::fds`], then receive until there is nothing, and arm again.
    /// False: receive first.
    pub fn arm(&self) -> Result<bool> {
        // SAFETY: the bus is there.
        unsafe { arm(self.raw) }
    }

    /// The descriptors to sleep on after [`Receiver::arm`]; valid until the bus is closed.
    pub fn fds(&self) -> Result<Fds> {
        // SAFETY: the bus is there.
        unsafe { fds(self.raw) }
    }
}

impl AsRawFd for Receiver {
    /// The data descriptor of [`Receiver::fds`]; -1 once the bus is closed.
    fn as_raw_fd(&self) -> RawFd {
        self.fds().map_or(-1, |fds| fds.data)
    }
}

/// `bus` must be there.
pub(crate) unsafe fn arm(bus: *mut sys::tachyon_bus) -> Result<bool> {
    check(unsafe { sys::tachyon_bus_arm(bus) }).map(|r| r == 0)
}

/// `bus` must be there.
pub(crate) unsafe fn fds(bus: *mut sys::tachyon_bus) -> Result<Fds> {
    let (mut data, mut room, mut death) = (0, 0, 0);
    check(unsafe { sys::tachyon_bus_fds(bus, &mut data, &mut room, &mut death) })?;
    Ok(Fds { data, room, death: (death >= 0).then_some(death) })
}

impl<'a> IntoIterator for &'a Receiver {
    type Item = Result<Message<'a>>;
    type IntoIter = Messages<'a>;

    fn into_iter(self) -> Messages<'a> {
        self.iter()
    }
}

/// Sleeps until some of the receivers have a message or news of their end, and returns which:
/// indices. Empty: the time was over.
pub fn wait(receivers: &[&Receiver], timeout: Option<Duration>) -> Result<Vec<usize>> {
    let raw: Vec<_> = receivers.iter().map(|receiver| receiver.raw).collect();
    let mut ready = vec![0u8; raw.len()];
    // SAFETY: both have this length.
    let r = unsafe {
        sys::tachyon_bus_wait_any(raw.as_ptr(), raw.len(), ready.as_mut_ptr(), within(timeout))
    };
    unless_timed_out(check(r))?;
    Ok((0..ready.len()).filter(|&i| ready[i] != 0).collect())
}

/// The library's listener; freed with the [`Listener`], or with a [`Closer`] that is at it.
struct ListenerHandle(*mut sys::tachyon_listener);

// SAFETY: one thread accepts, as Listener is not Sync; any may close.
unsafe impl Send for ListenerHandle {}
unsafe impl Sync for ListenerHandle {}

impl Closes for ListenerHandle {
    fn close(&self) {
        // SAFETY: allowed in any thread.
        unsafe { sys::tachyon_listener_close(self.0) };
    }
}

impl Drop for ListenerHandle {
    fn drop(&mut self) {
        // SAFETY: nobody has it any more.
        unsafe { sys::tachyon_listener_free(self.0) };
    }
}

/// Accepts one bus for each process that connects.
pub struct Listener {
    raw: *mut sys::tachyon_listener,
    handle: Arc<ListenerHandle>,
}

// SAFETY: it may move; the pointer makes it not Sync, so only one thread accepts.
unsafe impl Send for Listener {}

impl Listener {
    /// Owns a path and listens on it.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self> {
        Self::bind_with(path, &Options::default())
    }

    /// [`Listener::bind`] with options.
    pub fn bind_with(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        Self::bind_kind(path.as_ref(), options, sys::TACHYON_KIND_STREAM)
    }

    pub(crate) fn bind_kind(path: &Path, options: &Options, kind: u32) -> Result<Self> {
        let path = c_path(path)?;
        let mut raw = ptr::null_mut();
        let options = options.raw(kind);
        // SAFETY: all pointers are valid during the call.
        check(unsafe { sys::tachyon_listener_create(&mut raw, path.as_ptr(), &options) })?;
        Ok(Self { raw, handle: Arc::new(ListenerHandle(raw)) })
    }

    /// Waits for a process to connect.
    pub fn accept(&self) -> Result<Bus> {
        // SAFETY: it is new.
        self.accept_ns(FOREVER).map(|raw| unsafe { Bus::from_raw(raw) })
    }

    /// [`Listener::accept`] that gives up with [`Error::TimedOut`].
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Bus> {
        // SAFETY: it is new.
        self.accept_ns(timeout_ns(timeout)).map(|raw| unsafe { Bus::from_raw(raw) })
    }

    pub(crate) fn accept_ns(&self, timeout_ns: i64) -> Result<*mut sys::tachyon_bus> {
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is there.
        check(unsafe { sys::tachyon_listener_accept(self.raw, &mut raw, timeout_ns) })?;
        Ok(raw)
    }

    /// For another thread, to stop listening and end what waits in [`Listener::accept`].
    pub fn closer(&self) -> Closer {
        Closer::new(&self.handle)
    }

    /// Stops listening; the path is free again. Accepted buses live on.
    pub fn close(&self) {
        self.handle.close();
    }
}

impl AsRawFd for Listener {
    /// Readable when [`Listener::accept_timeout`] has something to do; -1 once it is closed.
    fn as_raw_fd(&self) -> RawFd {
        // SAFETY: the listener is there.
        unsafe { sys::tachyon_listener_fd(self.raw) }.max(-1)
    }
}

/// None: without end.
pub(crate) fn within(timeout: Option<Duration>) -> i64 {
    timeout.map_or(FOREVER, timeout_ns)
}

pub(crate) fn connect_raw(
    path: &Path,
    options: &Options,
    kind: u32,
    timeout_ns: i64,
) -> Result<*mut sys::tachyon_bus> {
    let path = c_path(path)?;
    let mut raw = ptr::null_mut();
    let options = options.raw(kind);
    // SAFETY: all pointers are valid during the call.
    let r: c_int =
        unsafe { sys::tachyon_bus_connect(&mut raw, path.as_ptr(), &options, timeout_ns) };
    check(r)?;
    Ok(raw)
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::Os(22, format!("{}: a path has no NUL", path.display())))
}
