package tachyon

// #include <stdlib.h>
// #include "shim.h"
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
	turn *turn
	raw  *C.tachyon_rpc
}

func (e *rpcEnd) init(bus *C.tachyon_bus) error {
	if _, err := result(C.int64_t(C.tachyon_rpc_create(&e.raw, bus)), "make an end of calls"); err != nil {
		C.tachyon_bus_free(bus)
		return err
	}
	e.turn = newTurn()
	runtime.AddCleanup(e, func(raw *C.tachyon_rpc) { C.tachyon_rpc_free(raw) }, e.raw)
	return nil
}

// Close ends the bus: the peer gets what was sent, then the end. By any goroutine.
func (e *rpcEnd) Close() error {
	C.tachyon_rpc_close(e.raw)
	runtime.KeepAlive(e)
	return nil
}

// take copies a reply or a request, and gives it back.
func (e *rpcEnd) take(raw *C.tachyon_message) []byte {
	data := append([]byte{}, unsafe.Slice((*byte)(raw.data), raw.size)...)
	C.tachyon_rpc_release(e.raw, raw)
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
	call, err := c.Submit(ctx, data, typeID)
	if err != nil {
		return nil, err
	}
	reply, err := call.Wait(ctx)
	call.Forget()
	return reply, err
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
	at := unsafe.Pointer(unsafe.SliceData(data))
	var id C.uint64_t
	_, err := waiting(ctx, "submit", func(timeout C.int64_t, fd C.int) C.int64_t {
		return C.int64_t(C.shim_call(c.raw, at, C.size_t(len(data)), C.uint32_t(typeID), &id, timeout, fd))
	})
	runtime.KeepAlive(c)
	call.id = id
	return call, err
}

// Wait waits for the reply. After the context's error the call is still outstanding.
func (p *PendingCall) Wait(ctx context.Context) ([]byte, error) {
	c := p.caller
	if err := c.turn.take(ctx, "wait for a reply"); err != nil {
		return nil, err
	}
	defer c.leave()
	var raw C.tachyon_message
	failed, err := waiting(ctx, "wait for a reply", func(timeout C.int64_t, fd C.int) C.int64_t {
		return C.int64_t(C.shim_wait(c.raw, p.id, &raw, timeout, fd))
	})
	if err != nil {
		return nil, err
	}
	reply := c.take(&raw)
	runtime.KeepAlive(c)
	if failed == 1 {
		return nil, &RPCError{Code: uint32(raw.type_id), Text: string(reply)}
	}
	return reply, nil
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
			C.tachyon_rpc_forget(c.raw, id)
		}
		c.turn.give()
		runtime.KeepAlive(c)
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

// Request is what a client asks: a copy. To be answered once, by any goroutine, in any order.
type Request struct {
	Data   []byte
	TypeID uint32
	server *Server
	id     C.uint64_t
}

// Serve waits for a request.
func (s *Server) Serve(ctx context.Context) (*Request, error) {
	if err := s.turn.take(ctx, "serve"); err != nil {
		return nil, err
	}
	defer s.turn.give()
	var raw C.tachyon_message
	_, err := waiting(ctx, "serve", func(timeout C.int64_t, fd C.int) C.int64_t {
		return C.int64_t(C.shim_serve(s.raw, &raw, timeout, fd))
	})
	if err != nil {
		return nil, err
	}
	request := &Request{TypeID: uint32(raw.type_id), server: s, id: raw.correlation_id}
	request.Data = s.take(&raw)
	runtime.KeepAlive(s)
	return request, nil
}

// Reply answers the request. After ErrTooLarge it can still be failed.
func (r *Request) Reply(ctx context.Context, data []byte, typeID uint32) error {
	s := r.server
	if err := s.replying.take(ctx, "reply"); err != nil {
		return err
	}
	defer s.replying.give()
	at := unsafe.Pointer(unsafe.SliceData(data))
	_, err := waiting(ctx, "reply", func(timeout C.int64_t, fd C.int) C.int64_t {
		return C.int64_t(C.shim_reply(s.raw, r.id, at, C.size_t(len(data)), C.uint32_t(typeID), timeout, fd))
	})
	runtime.KeepAlive(s)
	return err
}

// Fail makes the call an *RPCError at the caller.
func (r *Request) Fail(ctx context.Context, code uint32, text string) error {
	s := r.server
	if err := s.replying.take(ctx, "fail a call"); err != nil {
		return err
	}
	defer s.replying.give()
	words := C.CString(text)
	defer C.free(unsafe.Pointer(words))
	_, err := waiting(ctx, "fail a call", func(timeout C.int64_t, fd C.int) C.int64_t {
		return C.int64_t(C.shim_fail(s.raw, r.id, C.uint32_t(code), words, C.size_t(len(text)), timeout, fd))
	})
	runtime.KeepAlive(s)
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
