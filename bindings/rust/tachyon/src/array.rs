//! Arrays that describe themselves: what NumPy's `recv_array()` reads, and `send_array()` sends.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::mem::{align_of, size_of};
use std::ops::{Deref, DerefMut};
use std::ptr;

use crate::bus::{Sender, Slot};
use crate::error::{check, Error, Result};
use crate::message::{Message, Record};
use tachyon_sys as sys;

/// A record that an array can be made of.
///
/// # Safety
///
/// [`Element::DTYPE`] must be what NumPy calls it; see docs/protocol.md, Arrays.
pub unsafe trait Element: Record {
    /// `"<f4"` and its like.
    const DTYPE: &'static CStr;
}

macro_rules! elements {
    ($($t:ty: $dtype:literal),*) => {$(
        // SAFETY: it is.
        unsafe impl Element for $t {
            const DTYPE: &'static CStr = $dtype;
        }
    )*};
}
#[cfg(target_endian = "little")]
elements!(u8: c"|u1", i8: c"|i1", u16: c"<u2", i16: c"<i2", u32: c"<u4", i32: c"<i4",
          u64: c"<u8", i64: c"<i8", f32: c"<f4", f64: c"<f8");

fn describe<T: Element>(shape: &[u64]) -> Result<sys::tachyon_array> {
    let mut array = sys::tachyon_array {
        data: ptr::null(),
        data_size: 0,
        itemsize: size_of::<T>() as u64,
        dtype: T::DTYPE.as_ptr(),
        dtype_size: 0,
        ndim: shape.len() as u32,
        shape: [0; sys::TACHYON_ARRAY_MAX_NDIM],
    };
    let Some(place) = array.shape.get_mut(..shape.len()) else {
        return Err(Error::TooLarge("an array has at most 64 dimensions".into()));
    };
    place.copy_from_slice(shape);
    Ok(array)
}

/// A received array, in its message; dereferences to its elements, in C order.
pub struct ArrayView<'m, T> {
    elements: &'m [T],
    shape: Vec<u64>,
}

impl<'m, T: Element> ArrayView<'m, T> {
    /// Any bytes will do, 64-byte aligned ones without a copy. [`Error::Format`] where they are
    /// no array of `T`.
    pub fn new(bytes: &'m [u8]) -> Result<Self> {
        let mut array = describe::<T>(&[])?;
        // SAFETY: the bytes are there.
        check(unsafe {
            sys::tachyon_array_read(&mut array, bytes.as_ptr().cast(), bytes.len() as u64)
        })
        .map_err(|_| Error::Format("the message is no array".into()))?;
        // SAFETY: it was just filled in.
        let same = unsafe { sys::tachyon_array_is(&array, T::DTYPE.as_ptr()) } == 1;
        if !same || array.itemsize != size_of::<T>() as u64 {
            // SAFETY: dtype points into the bytes, and has this length.
            let dtype = unsafe {
                std::slice::from_raw_parts(array.dtype.cast::<u8>(), array.dtype_size as usize)
            };
            return Err(Error::Format(format!(
                "the elements are {}, not {}",
                String::from_utf8_lossy(dtype),
                T::DTYPE.to_string_lossy()
            )));
        }
        if array.data as usize % align_of::<T>() != 0 {
            return Err(Error::Format("the elements are not aligned".into()));
        }
        let count = array.data_size as usize / size_of::<T>();
        Ok(Self {
            // SAFETY: within the bytes, aligned, and any bits are an element.
            elements: unsafe { std::slice::from_raw_parts(array.data.cast::<T>(), count) },
            shape: array.shape[..array.ndim as usize].to_vec(),
        })
    }

    /// Extents; empty for a single element.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }
}

impl<T> Deref for ArrayView<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.elements
    }
}

impl Message<'_> {
    /// The message as the array that it is. [`Error::Format`] where it is no array of `T`.
    pub fn array<T: Element>(&self) -> Result<ArrayView<'_, T>> {
        ArrayView::new(self)
    }
}

/// An array that is being computed in the ring; dereferences to its elements, undefined at first.
pub struct ArraySlot<'a, T> {
    slot: Slot<'a>,
    data: *mut T,
    count: usize,
    elements: PhantomData<&'a mut [T]>,
}

impl<'a, T: Element> ArraySlot<'a, T> {
    pub(crate) fn reserve(sender: &'a mut Sender, shape: &[u64]) -> Result<Self> {
        let array = describe::<T>(shape)?;
        // SAFETY: it is filled in.
        let size = unsafe { sys::tachyon_array_size(&array) };
        if size == 0 {
            return Err(Error::TooLarge(format!("there can be no array of {shape:?}")));
        }
        let mut slot = sender.reserve(usize::try_from(size).unwrap_or(usize::MAX))?;
        let mut data = ptr::null_mut();
        // SAFETY: the slot has room for it.
        check(unsafe {
            sys::tachyon_array_write(&array, slot.as_mut_ptr().cast(), size, &mut data)
        })?;
        let count = shape.iter().product::<u64>() as usize;
        Ok(Self { slot, data: data.cast(), count, elements: PhantomData })
    }

    /// Sends it.
    pub fn commit(self, type_id: u32) -> Result<()> {
        self.slot.commit(type_id)
    }
}

impl<T> Deref for ArraySlot<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: behind the header, 64-byte aligned; any bits are an element.
        unsafe { std::slice::from_raw_parts(self.data, self.count) }
    }
}

impl<T> DerefMut for ArraySlot<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.count) }
    }
}
