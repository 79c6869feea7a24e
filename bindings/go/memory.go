package tachyon

// #include "shim.h"
// #cgo noescape shim_recv_lease
// #cgo noescape shim_recv_batch
// #cgo noescape shim_send_records
// #cgo noescape shim_recv_records
// #cgo nocallback shim_recv_lease
// #cgo nocallback shim_recv_batch
// #cgo nocallback shim_send_records
// #cgo nocallback shim_recv_records
import "C"

import (
	"context"
	"fmt"
	"io"
	"iter"
	"reflect"
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

// lease is a place in the ring. A place that nobody released is given back when the collector
// finds that nothing refers to it.
type lease struct {
	mutex   sync.Mutex
	place   place
	over    bool // it was released
	lookers int  // functions that are looking at it; the last gives back what was released meanwhile
	cleanup runtime.Cleanup
}

type place struct {
	handle *handle
	ticket C.uint64_t
	batch  []C.tachyon_message // of a Batch, in place of the ticket
}

func (p place) release() {
	if p.batch != nil {
		C.tachyon_bus_release_batch(p.handle.bus, unsafe.SliceData(p.batch), C.size_t(len(p.batch)))
	} else {
		C.tachyon_bus_release(p.handle.bus, p.ticket)
	}
	runtime.KeepAlive(p.handle)
}

func (l *lease) take(p place) {
	l.place = p
	l.cleanup = runtime.AddCleanup(l, place.release, p)
}

// Release gives the place in the ring back: in any order, by any goroutine, more than once. While
// functions look at it, which may call Release themselves, it is given back after the last one.
func (l *lease) Release() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if !l.over {
		l.over = true
		l.giveBack()
	}
}

// giveBack is for who holds the mutex.
func (l *lease) giveBack() {
	if l.over && l.lookers == 0 {
		l.cleanup.Stop()
		l.place.release()
	}
}

// look runs f while the place is not given back. Panics where it was released.
func (l *lease) look(f func()) {
	l.mutex.Lock()
	if l.over {
		l.mutex.Unlock()
		panic("tachyon: used after Release")
	}
	l.lookers++
	l.mutex.Unlock()
	defer func() {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		l.lookers--
		l.giveBack()
	}()
	f()
}

// Lease is a received message where it lies in the ring, until Release.
type Lease struct {
	lease
	data   []byte
	TypeID uint32
}

// RecvLease receives one message without copying it. Errors as for Recv.
func (b *Bus) RecvLease(ctx context.Context) (*Lease, error) {
	if err := b.receiving.take(ctx, "receive"); err != nil {
		return nil, err
	}
	defer b.receiving.give()
	var raw C.tachyon_message
	_, err := waiting(ctx, "receive", func(w *C.struct_shim_wait) C.int64_t {
		return C.int64_t(C.shim_recv_lease(b.handle.bus, &raw, w))
	})
	if err != nil {
		return nil, err
	}
	lease := &Lease{}
	lease.fill(b.handle, &raw)
	return lease, nil
}

func (l *Lease) fill(h *handle, raw *C.tachyon_message) {
	l.data, l.TypeID = unsafe.Slice((*byte)(raw.data), raw.size), uint32(raw.type_id)
	l.take(place{handle: h, ticket: raw.lease})
}

// Len is the size of the message in bytes.
func (l *Lease) Len() int { return len(l.data) }

// View shows the bytes to f, which must neither keep nor change them. Panics after
// Release.
func (l *Lease) View(f func(data []byte)) { l.look(func() { f(l.data) }) }

// ReadAt is io.ReaderAt over the message. Panics after Release.
func (l *Lease) ReadAt(p []byte, offset int64) (n int, err error) {
	l.look(func() {
		if offset < 0 || offset > int64(len(l.data)) {
			err = fmt.Errorf("offset %d of %d bytes", offset, len(l.data))
			return
		}
		if n = copy(p, l.data[offset:]); n < len(p) {
			err = io.EOF
		}
	})
	return n, err
}

// Batch are messages where they lie in the ring, until Release.
type Batch struct{ lease }

// RecvBatch receives what is there, at most max messages, without copying it; waits for the
// first. Errors as for Recv.
func (b *Bus) RecvBatch(ctx context.Context, max int) (*Batch, error) {
	if max < 1 {
		return nil, fmt.Errorf("receive: a batch of %d: %w", max, syscall.EINVAL)
	}
	if err := b.receiving.take(ctx, "receive"); err != nil {
		return nil, err
	}
	defer b.receiving.give()
	raw := make([]C.tachyon_message, max)
	n, err := waiting(ctx, "receive", func(w *C.struct_shim_wait) C.int64_t {
		return C.int64_t(C.shim_recv_batch(b.handle.bus, unsafe.SliceData(raw), C.size_t(max), w))
	})
	if err != nil {
		return nil, err
	}
	batch := &Batch{}
	batch.take(place{handle: b.handle, batch: raw[:n]})
	return batch, nil
}

// Len is the number of messages.
func (b *Batch) Len() int { return len(b.place.batch) }

// All yields tags and bytes of the messages, which must be neither kept nor changed. Panics after Release.
func (b *Batch) All() iter.Seq2[uint32, []byte] {
	return func(yield func(uint32, []byte) bool) {
		b.look(func() {
			for i := range b.place.batch {
				raw := &b.place.batch[i]
				if !yield(uint32(raw.type_id), unsafe.Slice((*byte)(raw.data), raw.size)) {
					return
				}
			}
		})
	}
}

var plain sync.Map // reflect.Type -> bool: without pointers

// size of a T, which must have no pointers in it.
func sizeOf[T any]() (C.size_t, error) {
	t := reflect.TypeFor[T]()
	known, ok := plain.Load(t)
	if !ok {
		known = pointerFree(t) && t.Size() > 0
		plain.Store(t, known)
	}
	if !known.(bool) {
		return 0, fmt.Errorf("%v: %w", t, ErrUnsupported)
	}
	return C.size_t(t.Size()), nil
}

func pointerFree(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8,
		reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64, reflect.Complex64,
		reflect.Complex128:
		return true
	case reflect.Array:
		return pointerFree(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !pointerFree(t.Field(i).Type) {
				return false
			}
		}
		return true
	}
	return false // bool, too: what is received may be neither
}

// SendRecords sends each record as a message of its own, and returns how many: fewer than all
// only with an error. T may be numbers, arrays and structs of them.
func SendRecords[T any](ctx context.Context, b *Bus, records []T, typeID uint32) (int, error) {
	size, err := sizeOf[T]()
	if err != nil {
		return 0, err
	}
	if err := b.sending.take(ctx, "send records"); err != nil {
		return 0, err
	}
	defer b.sending.give()
	sent := 0
	for sent < len(records) {
		rest := records[sent:]
		n, err := waiting(ctx, "send records", func(w *C.struct_shim_wait) C.int64_t {
			return C.shim_send_records(b.handle.bus, unsafe.Pointer(unsafe.SliceData(rest)), size,
				C.size_t(len(rest)), C.uint32_t(typeID), w)
		})
		runtime.KeepAlive(b.handle)
		if err != nil {
			return sent, err
		}
		sent += int(n)
	}
	return sent, nil
}

// Records are a run of messages that are each a T, where they lie in the ring, until Release.
type Records[T any] struct {
	lease
	data   unsafe.Pointer
	count  int
	stride uintptr
}

// AnyType lets RecvRecords take messages of any tag.
const AnyType int64 = -1

// RecvRecords receives a run of at most max messages that are each a T and have the tag typeID,
// or any (AnyType); waits for the first. ErrTooLarge where the next message has another size,
// ErrFormat where it has another tag: it stays the next one.
func RecvRecords[T any](ctx context.Context, b *Bus, max int, typeID int64) (*Records[T], error) {
	size, err := sizeOf[T]()
	if err != nil {
		return nil, err
	}
	if err := b.receiving.take(ctx, "receive records"); err != nil {
		return nil, err
	}
	defer b.receiving.give()
	var raw C.tachyon_records
	var tag *C.uint32_t
	if typeID != AnyType {
		wanted := C.uint32_t(typeID)
		tag = &wanted
	}
	_, err = waiting(ctx, "receive records", func(w *C.struct_shim_wait) C.int64_t {
		return C.shim_recv_records(b.handle.bus, &raw, size, C.size_t(max), tag, w)
	})
	if err != nil {
		return nil, err
	}
	records := &Records[T]{data: unsafe.Pointer(raw.data), count: int(raw.count), stride: uintptr(raw.stride)}
	records.take(place{handle: b.handle, ticket: raw.lease})
	return records, nil
}

// Len is the number of records.
func (r *Records[T]) Len() int { return r.count }

// At returns a copy of record i. Panics after Release, and where there is no such record.
func (r *Records[T]) At(i int) (value T) {
	r.look(func() { value = *r.at(i) })
	return value
}

func (r *Records[T]) at(i int) *T {
	if i < 0 || i >= r.count {
		panic(fmt.Sprintf("tachyon: record %d of %d", i, r.count))
	}
	return (*T)(unsafe.Add(r.data, uintptr(i)*r.stride))
}

// All yields copies of the records. Panics after Release.
func (r *Records[T]) All() iter.Seq2[int, T] {
	return func(yield func(int, T) bool) {
		r.look(func() {
			at := r.data
			for i := range r.count {
				if !yield(i, *(*T)(at)) {
					return
				}
				at = unsafe.Add(at, r.stride)
			}
		})
	}
}
