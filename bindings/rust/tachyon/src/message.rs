//! What is received: leases on bytes in the ring.

use std::marker::PhantomData;
use std::ops::{Deref, Index};
use std::slice;

use crate::error::{Error, Result};
use crate::Receiver;
use tachyon_sys as sys;

/// Types that any bytes are a value of: fixed-size messages.
///
/// # Safety
///
/// Every pattern of bits must be a valid value, so no references, `bool`, `char` or enums;
/// the layout must be fixed (`#[repr(C)]`, no padding in what is sent), the alignment at most 16.
pub unsafe trait Record: Copy + 'static {}

macro_rules! records {
    ($($t:ty),*) => {$(
        // SAFETY: numbers.
        unsafe impl Record for $t {}
    )*};
}
records!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, usize, isize);
// SAFETY: numbers in a row.
unsafe impl<T: Record, const N: usize> Record for [T; N] {}

/// A received message; dereferences to its bytes. Dropping it gives its place in the ring back.
pub struct Message<'a> {
    bus: *mut sys::tachyon_bus,
    raw: sys::tachyon_message,
    receiver: PhantomData<&'a Receiver>,
}

// SAFETY: a lease may be released, and its bytes read, in any thread.
unsafe impl Send for Message<'_> {}
unsafe impl Sync for Message<'_> {}

impl<'a> Message<'a> {
    /// `raw` must have come out of `bus`, which must outlive 'a.
    #[inline]
    pub(crate) unsafe fn new(bus: *mut sys::tachyon_bus, raw: sys::tachyon_message) -> Self {
        Self { bus, raw, receiver: PhantomData }
    }

    /// The sender's tag.
    #[inline]
    pub fn type_id(&self) -> u32 {
        self.raw.type_id
    }

    /// The message as a `T`, where it lies. [`Error::Format`] where its size is not that of `T`.
    #[inline]
    pub fn get<T: Record>(&self) -> Result<&T> {
        record(self)
    }

    /// A copy of it, for who does not trust the peer. [`Error::Format`] likewise.
    #[inline]
    pub fn read<T: Record>(&self) -> Result<T> {
        // SAFETY: a reference to it is valid to read from; volatile, as the peer may be writing.
        record::<T>(self).map(|value| unsafe { std::ptr::read_volatile(value) })
    }
}

#[inline]
pub(crate) fn record<T: Record>(bytes: &[u8]) -> Result<&T> {
    const { assert!(std::mem::align_of::<T>() <= 16) };
    if bytes.len() != std::mem::size_of::<T>() {
        return Err(Error::Format(format!(
            "a message of {} bytes is no value of {}",
            bytes.len(),
            std::mem::size_of::<T>()
        )));
    }
    let at = bytes.as_ptr();
    if at as usize % std::mem::align_of::<T>() != 0 {
        return Err(Error::Format("the bytes are not aligned for this type".into()));
    }
    // SAFETY: size and alignment were looked at, and any bytes are a value of a Record.
    Ok(unsafe { &*at.cast::<T>() })
}

#[inline]
pub(crate) fn bytes(raw: &sys::tachyon_message) -> &[u8] {
    // SAFETY: what the library says of a message is true until it is released.
    unsafe { slice::from_raw_parts(raw.data.cast::<u8>(), raw.size as usize) }
}

impl Deref for Message<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        bytes(&self.raw)
    }
}

impl Drop for Message<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it is out, and the bus lives as long as 'a.
        unsafe { sys::tachyon_bus_release(self.bus, self.raw.lease) };
    }
}

/// Several messages, given back together.
pub struct Batch<'a> {
    bus: *mut sys::tachyon_bus,
    raw: Vec<sys::tachyon_message>,
    receiver: PhantomData<&'a Receiver>,
}

// SAFETY: as for Message.
unsafe impl Send for Batch<'_> {}
unsafe impl Sync for Batch<'_> {}

impl Batch<'_> {
    /// As for [`Message`].
    pub(crate) unsafe fn new(bus: *mut sys::tachyon_bus, raw: Vec<sys::tachyon_message>) -> Self {
        Self { bus, raw, receiver: PhantomData }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Never, in what was received.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The tag of message `i`; panics where there is none.
    pub fn type_id(&self, i: usize) -> u32 {
        self.raw[i].type_id
    }

    /// The messages' tags and bytes.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.raw.iter().map(|raw| (raw.type_id, bytes(raw)))
    }
}

impl Index<usize> for Batch<'_> {
    type Output = [u8];

    fn index(&self, i: usize) -> &[u8] {
        bytes(&self.raw[i])
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        // SAFETY: they are out, and the bus lives as long as 'a.
        unsafe { sys::tachyon_bus_release_batch(self.bus, self.raw.as_ptr(), self.raw.len()) };
    }
}

/// A run of messages that are each a `T`; one lease on all of them.
pub struct Records<'a, T> {
    bus: *mut sys::tachyon_bus,
    raw: sys::tachyon_records,
    receiver: PhantomData<(&'a Receiver, T)>,
}

// SAFETY: as for Message; T is Copy and 'static.
unsafe impl<T: Record + Send> Send for Records<'_, T> {}
unsafe impl<T: Record + Sync> Sync for Records<'_, T> {}

impl<T: Record> Records<'_, T> {
    /// As for [`Message`]; the records must have been asked for by the size of `T`.
    pub(crate) unsafe fn new(bus: *mut sys::tachyon_bus, raw: sys::tachyon_records) -> Self {
        const { assert!(std::mem::align_of::<T>() <= 16 && std::mem::size_of::<T>() > 0) };
        Self { bus, raw, receiver: PhantomData }
    }

    /// How many.
    #[inline]
    pub fn len(&self) -> usize {
        self.raw.count as usize
    }

    /// Never, in what was received.
    pub fn is_empty(&self) -> bool {
        self.raw.count == 0
    }

    /// Bytes from one to the next.
    pub fn stride(&self) -> usize {
        self.raw.stride as usize
    }

    /// Record `i`, if there is one.
    #[inline]
    pub fn get(&self, i: usize) -> Option<&T> {
        // SAFETY: within the run; payloads are at least 16-byte aligned.
        (i < self.len())
            .then(|| unsafe { &*self.raw.data.cast::<u8>().add(i * self.stride()).cast::<T>() })
    }

    /// All of them, in order.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        // SAFETY: as in get().
        (0..self.len())
            .map(|i| unsafe { &*self.raw.data.cast::<u8>().add(i * self.stride()).cast::<T>() })
    }
}

impl<T: Record> Index<usize> for Records<'_, T> {
    type Output = T;

    fn index(&self, i: usize) -> &T {
        self.get(i).expect("a record that is there")
    }
}

impl<T> Drop for Records<'_, T> {
    fn drop(&mut self) {
        // SAFETY: it is out, and the bus lives as long as 'a.
        unsafe { sys::tachyon_bus_release(self.bus, self.raw.lease) };
    }
}

/// The messages of a bus, until either end is closed in good order; see [`Receiver::iter`].
pub struct Messages<'a> {
    pub(crate) receiver: &'a Receiver,
    pub(crate) over: bool,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        match self.receiver.recv() {
            Err(Error::Closed | Error::Cancelled) => {
                self.over = true;
                None
            }
            Err(error) => {
                // A signal is no end; all else is.
                self.over = error != Error::Interrupted;
                Some(Err(error))
            }
            message => Some(message),
        }
    }
}
