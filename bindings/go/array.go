package tachyon

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"unsafe"
)

// Number is what the elements of an array may be.
type Number interface {
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64 | complex64 | complex128
}

// dtype is NumPy's text for a T, on a little-endian machine.
func dtype[T Number]() string {
	var zero T
	kind := ""
	switch any(zero).(type) {
	case int8:
		return "|i1"
	case uint8:
		return "|u1"
	case int16, int32, int64:
		kind = "i"
	case uint16, uint32, uint64:
		kind = "u"
	case float32, float64:
		kind = "f"
	default:
		kind = "c"
	}
	return fmt.Sprintf("<%s%d", kind, unsafe.Sizeof(zero))
}

// SendArray sends an array with its dtype and shape: what Python's recv_array() reads. data
// are its elements, in C order, as many as the shape says.
func SendArray[T Number](ctx context.Context, b *Bus, data []T, shape []uint64, typeID uint32) error {
	return SendArrayFunc(ctx, b, shape, typeID, func(elements []T) error {
		if len(elements) != len(data) {
			return fmt.Errorf("send an array: %d elements for the shape %v", len(data), shape)
		}
		copy(elements, data)
		return nil
	})
}

// SendArrayFunc lets write compute the elements where they lie in the ring, and sends them. An
// error, or a panic, of write sends nothing. elements must not be kept.
func SendArrayFunc[T Number](ctx context.Context, b *Bus, shape []uint64, typeID uint32, write func(elements []T) error) error {
	var zero T
	if len(shape) > C.TACHYON_ARRAY_MAX_NDIM {
		return fmt.Errorf("an array has at most %d dimensions: %w", C.TACHYON_ARRAY_MAX_NDIM, ErrTooLarge)
	}
	name := C.CString(dtype[T]())
	defer C.free(unsafe.Pointer(name))
	array := C.tachyon_array{itemsize: C.uint64_t(unsafe.Sizeof(zero)), dtype: name, ndim: C.uint32_t(len(shape))}
	count := uint64(1)
	for i, extent := range shape {
		array.shape[i] = C.uint64_t(extent)
		count *= extent // the library has looked at it, below, before it is used
	}
	size := C.tachyon_array_size(&array)
	if size == 0 || size > 1<<62 {
		return fmt.Errorf("there can be no array of %v: %w", shape, ErrTooLarge)
	}
	return b.SendFunc(ctx, int(size), typeID, func(room []byte) (int, error) {
		var data unsafe.Pointer
		at := unsafe.Pointer(unsafe.SliceData(room))
		if _, err := result(C.int64_t(C.tachyon_array_write(&array, at, size, &data)), nil, "write an array"); err != nil {
			return 0, err
		}
		return len(room), write(unsafe.Slice((*T)(data), count))
	})
}

// parse looks at bytes in C's memory as an array of T.
func parse[T Number](at unsafe.Pointer, size int) (elements []T, shape []uint64, err error) {
	var zero T
	var array C.tachyon_array
	if C.tachyon_array_read(&array, at, C.uint64_t(size)) < 0 {
		return nil, nil, fmt.Errorf("it is no array: %w", ErrFormat)
	}
	is := C.GoStringN(array.dtype, C.int(array.dtype_size))
	if is != dtype[T]() || uintptr(array.itemsize) != unsafe.Sizeof(zero) {
		return nil, nil, fmt.Errorf("the elements are %s, not %s: %w", is, dtype[T](), ErrFormat)
	}
	shape = make([]uint64, array.ndim)
	for i := range shape {
		shape[i] = uint64(array.shape[i])
	}
	return unsafe.Slice((*T)(array.data), uint64(array.data_size)/uint64(array.itemsize)), shape, nil
}

// ReadArray gives shape and elements, as copies, of a message that is an array of T. ErrFormat
// where it is none.
func ReadArray[T Number](message []byte) (elements []T, shape []uint64, err error) {
	copied := C.CBytes(message) // aligned, and what C points to is C's
	defer C.free(copied)
	elements, shape, err = parse[T](copied, len(message))
	return append([]T(nil), elements...), shape, err
}

// ViewArray shows shape and elements of a lease that is an array of T to f, where they lie; f
// must neither keep nor change them. ErrFormat where it is no such array.
func ViewArray[T Number](l *Lease, f func(elements []T, shape []uint64)) (err error) {
	l.look(func() {
		var elements []T
		var shape []uint64
		if elements, shape, err = parse[T](unsafe.Pointer(unsafe.SliceData(l.data)), len(l.data)); err == nil {
			f(elements, shape)
		}
	})
	return err
}
