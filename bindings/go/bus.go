// Package tachyon carries messages between two processes of one machine through shared memory.
//
// A Bus is one end of a connection; messages, bytes with a 32-bit tag, go both ways. The C
// library libtachyon does the work, by cgo. A call into C costs some tens of nanoseconds from
// Go, so where messages are small and many, use SendRecords and RecvRecords: thousands a call.
//
// # Goroutines
//
// Any goroutine may use a bus: of those that send, one at a time does, and of those that
// receive; the others wait for their turn. A call that waits keeps its thread, as every call
// into C does. A context that is done ends any wait; nothing is lost by it.
//
// # Memory
//
// What Recv returns is a copy. A Lease, Records and what SendFunc writes into lie in the
// ring: they are looked at through methods and functions that check that they still do. The
// rules of cgo hold: C keeps no pointer of Go's beyond a call.
package tachyon

// #include <stdlib.h>
// #include "shim.h"
// #cgo noescape shim_recv
// #cgo noescape shim_send
// #cgo nocallback shim_recv
// #cgo nocallback shim_send
import "C"

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// Options of a listener or a connection; what each means stands at tachyon_options in tachyon.h.
// A zero means the default.
type Options struct {
	Capacity         uint64        // listener: the ring from connector to listener, bytes; default 1 MiB
	ReplyCapacity    uint64        // listener: the ring back
	MaxCapacity      uint64        // the largest ring to make or to map
	Spin             time.Duration // how long a wait polls before it sleeps; negative: not at all
	Flags            uint32        // Prefault and its like
	NumaNode         int           // 1 + the node of our ring's memory
	SocketMode       uint32        // listener: permission bits of the socket; default 0600
	AllowedUIDs      []uint32      // user ids that may be the peer; default: our own
	HandshakeTimeout time.Duration // how long a connection may take to introduce itself; default 2 s
	MaxPending       uint64        // listener: unfinished introductions at a time
}

// Options.Flags
const (
	Prefault  uint32 = C.TACHYON_PREFAULT
	Mlock     uint32 = C.TACHYON_MLOCK
	HugePages uint32 = C.TACHYON_HUGE_PAGES
	Trusted   uint32 = C.TACHYON_TRUSTED
)

// raw fills in what C wants; free it.
func (o *Options) raw(kind C.uint32_t) (raw C.tachyon_options, free func()) {
	if o == nil {
		o = &Options{}
	}
	raw = C.tachyon_options{
		struct_size:          C.sizeof_tachyon_options,
		capacity:             C.uint64_t(o.Capacity),
		reply_capacity:       C.uint64_t(o.ReplyCapacity),
		max_capacity:         C.uint64_t(o.MaxCapacity),
		spin_ns:              C.int64_t(o.Spin),
		flags:                C.uint32_t(o.Flags),
		kind:                 kind,
		numa_node:            C.int32_t(o.NumaNode),
		socket_mode:          C.uint32_t(o.SocketMode),
		handshake_timeout_ns: C.int64_t(o.HandshakeTimeout),
		max_pending:          C.uint64_t(o.MaxPending),
	}
	free = func() {}
	if len(o.AllowedUIDs) > 0 {
		// In C's memory: Go's must not hold pointers to Go's while C looks at it.
		uids := C.malloc(C.size_t(4 * len(o.AllowedUIDs)))
		copy(unsafe.Slice((*uint32)(uids), len(o.AllowedUIDs)), o.AllowedUIDs)
		raw.allowed_uids = (*C.uint32_t)(uids)
		raw.allowed_uid_count = C.uint64_t(len(o.AllowedUIDs))
		free = func() { C.free(uids) }
	}
	return raw, free
}

// handle is what the library made; freed when nothing refers to it any more.
type handle struct {
	bus *C.tachyon_bus
	rpc *C.tachyon_rpc // that the bus belongs to, or nil
}

func newHandle(bus *C.tachyon_bus, rpc *C.tachyon_rpc) *handle {
	h := &handle{bus, rpc}
	runtime.AddCleanup(h, handle.free, *h)
	return h
}

func (h handle) free() {
	if h.rpc != nil {
		C.tachyon_rpc_free(h.rpc)
	} else {
		C.tachyon_bus_free(h.bus)
	}
}

// Bus is one end of a connection between two processes. It is closed by Close, or when
// nothing refers to it any more.
type Bus struct {
	handle    *handle
	sending   *turn
	receiving *turn
	small     [256]byte // messages up to this size take one call
}

func newBus(raw *C.tachyon_bus) *Bus {
	return &Bus{handle: newHandle(raw, nil), sending: newTurn(), receiving: newTurn()}
}

// Listen listens on a path until one process connects; the path is free again then.
// options may be nil.
func Listen(ctx context.Context, path string, options *Options) (*Bus, error) {
	raw, err := open(ctx, path, options, C.TACHYON_KIND_STREAM, true)
	if err != nil {
		return nil, err
	}
	return newBus(raw), nil
}

// Connect connects to the listener on a path; waits for one to appear. options may be nil.
func Connect(ctx context.Context, path string, options *Options) (*Bus, error) {
	raw, err := open(ctx, path, options, C.TACHYON_KIND_STREAM, false)
	if err != nil {
		return nil, err
	}
	return newBus(raw), nil
}

func open(ctx context.Context, path string, options *Options, kind C.uint32_t, listen bool) (*C.tachyon_bus, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	raw, free := options.raw(kind)
	defer free()
	var bus *C.tachyon_bus
	attempt := "connect to " + path
	if listen {
		attempt = "listen on " + path
	}
	// Not for a moment first: that would turn away who connects just then.
	_, err := sleeping(ctx, attempt, func(w *C.struct_shim_wait) C.int64_t {
		if listen {
			return C.int64_t(C.shim_listen(&bus, name, &raw, w))
		}
		return C.int64_t(C.shim_connect(&bus, name, &raw, w))
	})
	return bus, err
}

// Close ends the bus: the peer gets all that was sent, then the end. Calls that wait return
// ErrCancelled. It may be called again, and by any goroutine. Leases stay readable.
func (b *Bus) Close() error {
	C.tachyon_bus_close(b.handle.bus)
	runtime.KeepAlive(b.handle)
	return nil
}

// Send sends one message, and waits while the ring is full. When it returns nil, the message
// arrives even if this process is killed, as long as the receiver lives.
//
// Errors: ErrTooLarge, ErrClosed, ErrPeerDead (noticed when the ring is full or the receiver
// sleeps), ErrCancelled, ErrProtocol, and the context's.
func (b *Bus) Send(ctx context.Context, data []byte, typeID uint32) error {
	if err := b.sending.take(ctx, "send"); err != nil {
		return err
	}
	defer b.sending.give()
	w := first(ctx)
	r := b.send(data, typeID, &w)
	if r == 0 { // without a closure
		return nil
	}
	_, err := settle(ctx, "send", r, &w, func(w *C.struct_shim_wait) C.int64_t { return b.send(data, typeID, w) })
	return err
}

// TrySend sends a message if there is room, and no other goroutine is sending; it never waits.
// Errors as for Send.
func (b *Bus) TrySend(data []byte, typeID uint32) (ok bool, err error) {
	if !b.sending.try() {
		return false, nil
	}
	defer b.sending.give()
	w := C.struct_shim_wait{interrupt_fd: -1}
	r := b.send(data, typeID, &w)
	if r == -C.int64_t(syscall.EAGAIN) {
		return false, nil
	}
	_, err = result(r, &w, "send")
	return err == nil, err
}

func (b *Bus) send(data []byte, typeID uint32, w *C.struct_shim_wait) C.int64_t {
	at, size := unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data))
	r := C.shim_send(b.handle.bus, at, size, C.uint32_t(typeID), w)
	runtime.KeepAlive(b.handle)
	return C.int64_t(r)
}

// SendFunc lets write fill in a message of at most size bytes where it lies in the ring, and
// sends the first n of them. An error, or a panic, of write sends nothing. room must not be
// kept: it is another's memory afterwards.
func (b *Bus) SendFunc(ctx context.Context, size int, typeID uint32, write func(room []byte) (n int, err error)) error {
	if err := b.sending.take(ctx, "reserve"); err != nil {
		return err
	}
	defer b.sending.give()
	defer func() {
		C.tachyon_bus_cancel(b.handle.bus) // does nothing after a commit
		runtime.KeepAlive(b.handle)
	}()
	return inPlace(ctx, size, func(data *unsafe.Pointer, w *C.struct_shim_wait) C.int64_t {
		return C.int64_t(C.shim_reserve(b.handle.bus, data, C.size_t(size), w))
	}, write, func(n C.size_t) C.int { return C.tachyon_bus_commit(b.handle.bus, n, C.uint32_t(typeID)) })
}

// Message is a received message, copied out of the ring.
type Message struct {
	Data   []byte
	TypeID uint32
}

// Recv receives one message, as a copy; waits until there is one.
//
// Errors: ErrClosed and ErrPeerDead (both after the last message), ErrLeases, ErrCancelled,
// ErrProtocol, and the context's.
func (b *Bus) Recv(ctx context.Context) (Message, error) {
	if err := b.receiving.take(ctx, "receive"); err != nil {
		return Message{}, err
	}
	defer b.receiving.give()
	w := first(ctx)
	message, r := b.receive(&w)
	if r >= 0 { // without a closure, for which message would be allocated
		return message, nil
	}
	return b.receiveAfter(ctx, r, &w)
}

func (b *Bus) receiveAfter(ctx context.Context, r C.int64_t, w *C.struct_shim_wait) (message Message, err error) {
	_, err = settle(ctx, "receive", r, w, func(w *C.struct_shim_wait) (r C.int64_t) {
		message, r = b.receive(w)
		return r
	})
	return message, err
}

// TryRecv returns a message if there is one, and no other goroutine is receiving; it never
// waits. Errors as for Recv.
func (b *Bus) TryRecv() (message Message, ok bool, err error) {
	if !b.receiving.try() {
		return message, false, nil // another goroutine is receiving: what comes is its
	}
	defer b.receiving.give()
	w := C.struct_shim_wait{interrupt_fd: -1}
	message, r := b.receive(&w)
	if r == -C.int64_t(syscall.EAGAIN) {
		return message, false, nil
	}
	_, err = result(r, &w, "receive")
	return message, err == nil, err
}

// receive gives a message, or the library's error.
func (b *Bus) receive(w *C.struct_shim_wait) (message Message, r C.int64_t) {
	var raw C.tachyon_message
	r = C.shim_recv(b.handle.bus, &raw, unsafe.Pointer(&b.small), C.size_t(len(b.small)), w)
	if r >= 0 {
		message = Message{Data: make([]byte, r), TypeID: uint32(raw.type_id)}
		if raw.data == nil {
			copy(message.Data, b.small[:])
		} else {
			copy(message.Data, unsafe.Slice((*byte)(raw.data), r))
			C.tachyon_bus_release(b.handle.bus, raw.lease)
		}
	}
	runtime.KeepAlive(b.handle)
	return message, r
}

// Messages yields what is received, until either end closes in good order, or ctx is done; the
// error where the bus ends otherwise is the last thing that it yields.
func (b *Bus) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			message, err := b.Recv(ctx)
			if errors.Is(err, ErrClosed) || errors.Is(err, ErrCancelled) {
				return
			}
			if !yield(message, err) || err != nil {
				return
			}
		}
	}
}

// Properties are facts that do not change; tachyon_properties in tachyon.h explains them.
type Properties struct {
	SendCapacity, RecvCapacity, MaxSendSize, MaxRecvSize uint64
	PeerPID                                              int
	PeerUID                                              uint32
	Isolated, Trusted                                    bool
}

// Properties returns facts of the bus.
func (b *Bus) Properties() (Properties, error) {
	raw := C.tachyon_properties{struct_size: C.sizeof_tachyon_properties}
	_, err := result(C.int64_t(C.tachyon_bus_properties(b.handle.bus, &raw)), nil, "read properties")
	runtime.KeepAlive(b.handle)
	return Properties{
		SendCapacity: uint64(raw.send_capacity),
		RecvCapacity: uint64(raw.recv_capacity),
		MaxSendSize:  uint64(raw.max_send_size),
		MaxRecvSize:  uint64(raw.max_recv_size),
		PeerPID:      int(raw.peer_pid),
		PeerUID:      uint32(raw.peer_uid),
		Isolated:     raw.isolation == 1,
		Trusted:      raw.trusted == 1,
	}, err
}

// Stats are counters since the bus was opened; tachyon_stats in tachyon.h explains them.
type Stats struct {
	SentMessages, SentBytes, ReceivedMessages, ReceivedBytes uint64
	SendUsed, RecvUsed                                       uint64
	Leases                                                   int
	Doorbells, DataSleeps, SpaceSleeps                       uint64
}

// Stats returns counters of the bus.
func (b *Bus) Stats() (Stats, error) {
	raw := C.tachyon_stats{struct_size: C.sizeof_tachyon_stats}
	_, err := result(C.int64_t(C.tachyon_bus_stats(b.handle.bus, &raw)), nil, "read counters")
	runtime.KeepAlive(b.handle)
	return Stats{
		SentMessages:     uint64(raw.sent_messages),
		SentBytes:        uint64(raw.sent_bytes),
		ReceivedMessages: uint64(raw.received_messages),
		ReceivedBytes:    uint64(raw.received_bytes),
		SendUsed:         uint64(raw.send_used),
		RecvUsed:         uint64(raw.recv_used),
		Leases:           int(raw.leases),
		Doorbells:        uint64(raw.doorbells),
		DataSleeps:       uint64(raw.data_sleeps),
		SpaceSleeps:      uint64(raw.space_sleeps),
	}, err
}

// LeasesOut tells how many received messages are not released.
func (b *Bus) LeasesOut() (int, error) {
	stats, err := b.Stats()
	return stats.Leases, err
}

// Listener accepts one bus for each process that connects.
type Listener struct {
	raw  *C.tachyon_listener
	kind C.uint32_t
}

// NewListener owns a path and listens on it. options may be nil.
func NewListener(path string, options *Options) (*Listener, error) {
	return newListener(path, options, C.TACHYON_KIND_STREAM)
}

func newListener(path string, options *Options, kind C.uint32_t) (*Listener, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	raw, free := options.raw(kind)
	defer free()
	listener := &Listener{kind: kind}
	w := C.struct_shim_wait{interrupt_fd: -1}
	r := C.shim_listener_create(&listener.raw, name, &raw, &w)
	if _, err := result(C.int64_t(r), &w, "listen on "+path); err != nil {
		return nil, err
	}
	runtime.AddCleanup(listener, func(raw *C.tachyon_listener) { C.tachyon_listener_free(raw) }, listener.raw)
	return listener, nil
}

// Accept waits for a process to connect.
func (l *Listener) Accept(ctx context.Context) (*Bus, error) {
	raw, err := l.accept(ctx)
	if err != nil {
		return nil, err
	}
	return newBus(raw), nil
}

func (l *Listener) accept(ctx context.Context) (*C.tachyon_bus, error) {
	var raw *C.tachyon_bus
	_, err := waiting(ctx, "accept", func(w *C.struct_shim_wait) C.int64_t {
		return C.int64_t(C.shim_accept(l.raw, &raw, w))
	})
	runtime.KeepAlive(l)
	return raw, err
}

// Close stops listening; accepted buses live on, and a waiting Accept returns ErrCancelled.
func (l *Listener) Close() error {
	C.tachyon_listener_close(l.raw)
	runtime.KeepAlive(l)
	return nil
}
