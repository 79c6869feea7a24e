package tachyon

// #include <stdlib.h>
// #include "shim.h"
// #cgo noescape shim_call
// #cgo noescape shim_submit
// #cgo noescape shim_wait
// #cgo noescape shim_wait_lease
// #cgo noescape shim_serve
// #cgo noescape shim_serve_lease
// #cgo noescape shim_reply
// #cgo nocallback shim_call
// #cgo nocallback shim_submit
// #cgo nocallback shim_wait
// #cgo nocallback shim_wait_lease
// #cgo nocallback shim_serve
// #cgo nocallback shim_serve_lease
// #cgo nocallback shim_reply
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"
)

// rpcEnd is what Caller and Server have in common.
type rpcEnd struct {
	turn   *turn
	handle *handle
	small  [256]byte // requests and replies up to this size take one call
}

func (e *rpcEnd) init(bus *C.tachyon_bus) error {
	var raw *C.tachyon_rpc
	if _, err := result(C.int64_t(C.tachyon_rpc_create(&raw, bus)), nil, "make an end of calls"); err != nil {
		C.tachyon_bus_free(bus)
		return err
	}
	e.turn, e.handle = newTurn(), newHandle(bus, raw)
	return nil
}

// Close ends the bus: the peer gets what was sent, then the end. By any goroutine.
func (e *rpcEnd) Close() error {
	C.tachyon_rpc_close(e.handle.rpc)
	runtime.KeepAlive(e.handle)
	return nil
}

// take copies a reply or a request, which may be in small already, and gives it back.
func (e *rpcEnd) take(raw *C.tachyon_message) []byte {
	data := make([]byte, raw.size)
	if raw.data == nil {
		copy(data, e.small[:])
	} else {
		copy(data, unsafe.Slice((*byte)(raw.data), raw.size))
		C.tachyon_rpc_release(e.handle.rpc, raw)
	}
	runtime.KeepAlive(e.handle)
	return data
}

// Caller is the calling end. Any goroutine may call; one at a time is in the library, so give
// goroutines that shall wait side by side a Caller each, or submit first and wait afterwards.
type Caller struct {
	rpcEnd
	listing   sync.Mutex
	forgotten []C.uint64_t // given up while another goroutine had the turn
}

// ConnectCaller connects to a server; waits for one to appear. options may be nil.
func ConnectCaller(ctx context.Context, path string, options *Options) (*Caller, error) {
	bus, err := open(ctx, path, options, C.TACHYON_KIND_RPC, false)
	if err != nil {
		return nil, err
	}
	caller := &Caller{}
	if err := caller.init(bus); err != nil {
		return nil, err
	}
	return caller, nil
}

// Call sends a request and waits for the reply. *RPCError where the server failed the call;
// ErrClosed, ErrPeerDead: no reply will come; the context's: the call is given up.
func (c *Caller) Call(ctx context.Context, data []byte, typeID uint32) ([]byte, error) {
	if err := c.turn.take(ctx, "call"); err != nil {
		return nil, err
	}
	defer c.leave()
	var id C.uint64_t
	var raw C.tachyon_message
	w := first(ctx)
	failed, err := settle(ctx, "call", c.call(data, typeID, &id, &raw, &w), &w, func(w *C.struct_shim_wait) C.int64_t {
		return c.call(data, typeID, &id, &raw, w)
	})
	if err != nil {
		if id != 0 {
			C.tachyon_rpc_forget(c.handle.rpc, id)
			runtime.KeepAlive(c.handle)
		}
		return nil, err
	}
	return c.reply(&raw, failed)
}

func (c *Caller) call(data []byte, typeID uint32, id *C.uint64_t, raw *C.tachyon_message, w *C.struct_shim_wait) C.int64_t {
	at, size := unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data))
	r := C.shim_call(c.handle.rpc, at, size, C.uint32_t(typeID), id, raw, unsafe.Pointer(&c.small), C.size_t(len(c.small)), w)
	runtime.KeepAlive(c.handle)
	return C.int64_t(r)
}

func (c *Caller) reply(raw *C.tachyon_message, failed int64) ([]byte, error) {
	reply := c.take(raw)
	if failed == 1 {
		return nil, &RPCError{Code: uint32(raw.type_id), Text: string(reply)}
	}
	return reply, nil
}

// PendingCall is a call whose reply is still to come. Wait for it, or Forget it.
type PendingCall struct {
	caller *Caller
	id     C.uint64_t
}

// Submit sends a request, and does not wait for the reply.
func (c *Caller) Submit(ctx context.Context, data []byte, typeID uint32) (*PendingCall, error) {
	if err := c.turn.take(ctx, "submit"); err != nil {
		return nil, err
	}
	defer c.leave()
	call := &PendingCall{caller: c}
	at, size := unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data))
	_, err := waiting(ctx, "submit", func(w *C.struct_shim_wait) C.int64_t {
		return C.int64_t(C.shim_submit(c.handle.rpc, at, size, C.uint32_t(typeID), &call.id, w))
	})
	runtime.KeepAlive(c.handle)
	if err != nil {
		return nil, err
	}
	return call, nil
}

// SubmitFunc lets write fill in a request of at most size bytes where it lies in the ring, and
// submits the first n of them; see Bus.SendFunc. write must not use the same Caller.
func (c *Caller) SubmitFunc(ctx context.Context, size int, typeID uint32, write func(room []byte) (n int, err error)) (*PendingCall, error) {
	if err := c.turn.take(ctx, "reserve"); err != nil {
		return nil, err
	}
	defer c.leave()
	defer func() {
		C.tachyon_rpc_cancel(c.handle.rpc) // does nothing after a commit
		runtime.KeepAlive(c.handle)
	}()
	call := &PendingCall{caller: c}
	err := inPlace(ctx, size, func(data *unsafe.Pointer, w *C.struct_shim_wait) C.int64_t {
		return C.int64_t(C.shim_rpc_reserve(c.handle.rpc, data, C.size_t(size), w))
	}, write, func(n C.size_t) C.int { return C.tachyon_rpc_commit(c.handle.rpc, n, C.uint32_t(typeID), &call.id) })
	if err != nil {
		return nil, err
	}
	return call, nil
}

// Wait waits for the reply. After the context's error the call is still outstanding.
func (p *PendingCall) Wait(ctx context.Context) ([]byte, error) {
	c := p.caller
	if err := c.turn.take(ctx, "wait for a reply"); err != nil {
		return nil, err
	}
	defer c.leave()
	var raw C.tachyon_message
	failed, err := waiting(ctx, "wait for a reply", func(w *C.struct_shim_wait) C.int64_t {
		return C.int64_t(C.shim_wait(c.handle.rpc, p.id, &raw, unsafe.Pointer(&c.small), C.size_t(len(c.small)), w))
	})
	if err != nil {
		return nil, err
	}
	return c.reply(&raw, failed)
}

// WaitFunc is Wait that shows the reply to view where it lies, and copies nothing. view must
// neither keep nor change it, and must not use the same Caller; its error is returned.
func (p *PendingCall) WaitFunc(ctx context.Context, view func(reply []byte) error) error {
	c := p.caller
	if err := c.turn.take(ctx, "wait for a reply"); err != nil {
		return err
	}
	defer c.leave()
	var raw C.tachyon_message
	failed, err := waiting(ctx, "wait for a reply", func(w *C.struct_shim_wait) C.int64_t {
		return C.int64_t(C.shim_wait_lease(c.handle.rpc, p.id, &raw, w))
	})
	if err != nil {
		return err
	}
	if failed == 1 {
		_, err := c.reply(&raw, failed)
		return err
	}
	defer func() {
		C.tachyon_rpc_release(c.handle.rpc, &raw)
		runtime.KeepAlive(c.handle)
	}()
	return view(unsafe.Slice((*byte)(raw.data), raw.size))
}

// Forget gives the call up; one that is over is none. It never waits: where another goroutine is
// in the library, that one forgets the call when it leaves.
func (p *PendingCall) Forget() {
	c := p.caller
	c.listing.Lock()
	c.forgotten = append(c.forgotten, p.id)
	c.listing.Unlock()
	c.forget()
}

// forget tells the library of the calls that were given up, unless somebody else will.
func (c *Caller) forget() {
	for {
		if !c.turn.try() {
			return
		}
		c.listing.Lock()
		ids := c.forgotten
		c.forgotten = nil
		c.listing.Unlock()
		for _, id := range ids {
			C.tachyon_rpc_forget(c.handle.rpc, id)
		}
		c.turn.give()
		runtime.KeepAlive(c.handle)
		c.listing.Lock()
		more := len(c.forgotten) > 0 // listed while we had the turn
		c.listing.Unlock()
		if !more {
			return
		}
	}
}

// leave gives the turn, and forgets what was given up meanwhile.
func (c *Caller) leave() {
	c.turn.give()
	c.listing.Lock()
	any := len(c.forgotten) > 0
	c.listing.Unlock()
	if any {
		c.forget()
	}
}

// Counters are those of the calls; tachyon_rpc_counters in tachyon.h explains them.
type Counters struct {
	Outstanding, Stored, Requests, Replies, Failures, Dropped uint64
}

// Counters returns counters of the calls; waits while another goroutine is in the library.
func (c *Caller) Counters(ctx context.Context) (Counters, error) {
	if err := c.turn.take(ctx, "read counters"); err != nil {
		return Counters{}, err
	}
	defer c.leave()
	raw := C.tachyon_rpc_counters{struct_size: C.sizeof_tachyon_rpc_counters}
	_, err := result(C.int64_t(C.tachyon_rpc_stats(c.handle.rpc, &raw)), nil, "read counters")
	runtime.KeepAlive(c.handle)
	return Counters{
		Outstanding: uint64(raw.outstanding),
		Stored:      uint64(raw.stored),
		Requests:    uint64(raw.requests),
		Replies:     uint64(raw.replies),
		Failures:    uint64(raw.failures),
		Dropped:     uint64(raw.dropped),
	}, err
}

// Server is the serving end.
type Server struct {
	rpcEnd
	replying *turn
}

// ListenServer listens on a path until one client connects; the path is free again then.
func ListenServer(ctx context.Context, path string, options *Options) (*Server, error) {
	bus, err := open(ctx, path, options, C.TACHYON_KIND_RPC, true)
	if err != nil {
		return nil, err
	}
	return newServer(bus)
}

func newServer(bus *C.tachyon_bus) (*Server, error) {
	server := &Server{replying: newTurn()}
	if err := server.init(bus); err != nil {
		return nil, err
	}
	return server, nil
}

// ServerListener accepts one Server for each client that connects.
type ServerListener struct{ listener *Listener }

// NewServerListener owns a path and listens on it. options may be nil.
func NewServerListener(path string, options *Options) (*ServerListener, error) {
	listener, err := newListener(path, options, C.TACHYON_KIND_RPC)
	if err != nil {
		return nil, err
	}
	return &ServerListener{listener}, nil
}

// Accept waits for a client to connect.
func (l *ServerListener) Accept(ctx context.Context) (*Server, error) {
	bus, err := l.listener.accept(ctx)
	if err != nil {
		return nil, err
	}
	return newServer(bus)
}

// Close stops listening.
func (l *ServerListener) Close() error { return l.listener.Close() }

// Answer is how a request is answered: once, by any goroutine, in any order.
type Answer struct {
	server *Server
	id     C.uint64_t
}

// Request is what a client asks: a copy.
type Request struct {
	Answer
	Data   []byte
	TypeID uint32
}

// LeasedRequest is what a client asks, where it lies in the ring, until Release. It can be answered after that.
type LeasedRequest struct {
	Answer
	Lease
}

// Serve waits for a request.
func (s *Server) Serve(ctx context.Context) (*Request, error) {
	if err := s.turn.take(ctx, "serve"); err != nil {
		return nil, err
	}
	defer s.turn.give()
	var raw C.tachyon_message
	_, err := waiting(ctx, "serve", func(w *C.struct_shim_wait) C.int64_t {
		return C.int64_t(C.shim_serve(s.handle.rpc, &raw, unsafe.Pointer(&s.small), C.size_t(len(s.small)), w))
	})
	if err != nil {
		return nil, err
	}
	return &Request{Answer{s, raw.correlation_id}, s.take(&raw), uint32(raw.type_id)}, nil
}

// ServeLease waits for a request, and does not copy it.
func (s *Server) ServeLease(ctx context.Context) (*LeasedRequest, error) {
	if err := s.turn.take(ctx, "serve"); err != nil {
		return nil, err
	}
	defer s.turn.give()
	var raw C.tachyon_message
	_, err := waiting(ctx, "serve", func(w *C.struct_shim_wait) C.int64_t {
		return C.int64_t(C.shim_serve_lease(s.handle.rpc, &raw, w))
	})
	if err != nil {
		return nil, err
	}
	request := &LeasedRequest{Answer: Answer{s, raw.correlation_id}}
	request.fill(s.handle, &raw) // requests lie in the ring of the bus, always
	return request, nil
}

// Reply answers the request. After ErrTooLarge it can still be failed.
func (a *Answer) Reply(ctx context.Context, data []byte, typeID uint32) error {
	s := a.server
	if err := s.replying.take(ctx, "reply"); err != nil {
		return err
	}
	defer s.replying.give()
	at, size := unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data))
	_, err := waiting(ctx, "reply", func(w *C.struct_shim_wait) C.int64_t {
		return C.int64_t(C.shim_reply(s.handle.rpc, a.id, at, size, C.uint32_t(typeID), w))
	})
	runtime.KeepAlive(s.handle)
	return err
}

// ReplyFunc lets write fill in a reply of at most size bytes where it lies in the ring, and sends
// the first n of them; see Bus.SendFunc. After an error the request is still to be answered.
// write must not answer another one of the same Server.
func (a *Answer) ReplyFunc(ctx context.Context, size int, typeID uint32, write func(room []byte) (n int, err error)) error {
	s := a.server
	if err := s.replying.take(ctx, "reserve"); err != nil {
		return err
	}
	defer s.replying.give()
	defer func() {
		C.tachyon_rpc_cancel(s.handle.rpc) // does nothing after a commit
		runtime.KeepAlive(s.handle)
	}()
	return inPlace(ctx, size, func(data *unsafe.Pointer, w *C.struct_shim_wait) C.int64_t {
		return C.int64_t(C.shim_reserve_reply(s.handle.rpc, a.id, data, C.size_t(size), w))
	}, write, func(n C.size_t) C.int { return C.tachyon_rpc_commit_reply(s.handle.rpc, n, C.uint32_t(typeID)) })
}

// Fail makes the call an *RPCError at the caller.
func (a *Answer) Fail(ctx context.Context, code uint32, text string) error {
	s := a.server
	if err := s.replying.take(ctx, "fail a call"); err != nil {
		return err
	}
	defer s.replying.give()
	words := C.CString(text)
	defer C.free(unsafe.Pointer(words))
	_, err := waiting(ctx, "fail a call", func(w *C.struct_shim_wait) C.int64_t {
		return C.int64_t(C.shim_fail(s.handle.rpc, a.id, C.uint32_t(code), words, C.size_t(len(text)), w))
	})
	runtime.KeepAlive(s.handle)
	return err
}

// Procedure answers requests of one type. Its error is the caller's RPCError.
type Procedure func(request []byte) (reply []byte, err error)

// ServeAll answers requests until the client closes or dies (nil), or ctx is done.
func (s *Server) ServeAll(ctx context.Context, procedures map[uint32]Procedure) error {
	for {
		request, err := s.Serve(ctx)
		if err == nil {
			err = request.answer(ctx, procedures)
		}
		if errors.Is(err, ErrClosed) || errors.Is(err, ErrPeerDead) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *Request) answer(ctx context.Context, procedures map[uint32]Procedure) error {
	procedure, ok := procedures[r.TypeID]
	if !ok {
		return r.Fail(ctx, CodeUnknownType, fmt.Sprintf("there is no procedure %d", r.TypeID))
	}
	reply, err := procedure(r.Data)
	if err != nil {
		return r.Fail(ctx, CodeException, fmt.Sprintf("%T: %v", err, err))
	}
	err = r.Reply(ctx, reply, 0)
	if errors.Is(err, ErrTooLarge) {
		return r.Fail(ctx, CodeTooLarge, err.Error())
	}
	return err
}
