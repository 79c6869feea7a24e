package tachyon

// #cgo pkg-config: tachyon
// #include <stdlib.h>
// #include "shim.h"
// #cgo noescape shim_words
// #cgo nocallback shim_words
import "C"

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"
)

// What a program may want to tell from other errors, with errors.Is. What else there is, is a
// syscall.Errno, with the library's words around it.
var (
	ErrClosed      = errors.New("the peer closed the bus")             // and all that it sent was received
	ErrPeerDead    = errors.New("the peer died")                       // and all that it had sent was received
	ErrCancelled   = errors.New("this end was closed")                 // by Close
	ErrLeases      = errors.New("leases fill the ring")                // release some
	ErrBusy        = errors.New("another goroutine is at it")          // or too many calls are outstanding
	ErrTooLarge    = errors.New("the message is too large")            // for the ring; or a record has another size
	ErrProtocol    = errors.New("the peer broke the protocol")         // or speaks another version of it
	ErrRefused     = errors.New("the listener refused the connection") // and says why
	ErrFormat      = errors.New("the message is not what was asked for")
	ErrUnsupported = errors.New("the type has pointers in it") // so it cannot be sent
)

var sentinels = map[syscall.Errno]error{
	C.TACHYON_ECLOSED:       ErrClosed,
	C.TACHYON_EPEERDEAD:     ErrPeerDead,
	C.TACHYON_ELEASES:       ErrLeases,
	syscall.ECANCELED:       ErrCancelled,
	syscall.EBUSY:           ErrBusy,
	syscall.EMSGSIZE:        ErrTooLarge,
	syscall.EPROTO:          ErrProtocol,
	syscall.EPROTONOSUPPORT: ErrProtocol,
	syscall.ECONNREFUSED:    ErrRefused,
	syscall.EBADMSG:         ErrFormat,
	syscall.ETIMEDOUT:       context.DeadlineExceeded,
	syscall.EAGAIN:          context.DeadlineExceeded,
}

// RPCError is a call that the server failed.
type RPCError struct {
	Code uint32 // CodeUnknownType and its like, or the server's own
	Text string
}

func (e *RPCError) Error() string { return "the call failed: " + e.Text }

// Codes of an RPCError that mean the same everywhere.
const (
	CodeUnknownType uint32 = C.TACHYON_RPC_UNKNOWN_TYPE
	CodeException   uint32 = C.TACHYON_RPC_EXCEPTION
	CodeTooLarge    uint32 = C.TACHYON_RPC_TOO_LARGE
)

// failed has the library's words, which name the path, the limit or the value, for one of the errors above.
type failed struct {
	text string
	err  error
}

func (f *failed) Error() string { return f.text }
func (f *failed) Unwrap() error { return f.err }

// failure makes the error for a negative result; w may be nil.
func failure(result int64, w *C.struct_shim_wait, attempt string) error {
	errno := syscall.Errno(-result)
	var err error = errno
	if sentinel, ok := sentinels[errno]; ok {
		err = sentinel
	}
	if w == nil || w.words == 0 {
		return fmt.Errorf("%s: %w", attempt, err)
	}
	words := C.shim_words(w)
	defer C.free(unsafe.Pointer(words))
	return &failed{attempt + ": " + C.GoString(words), err}
}

// unasked is how long a wait goes on before it arranges to be ended by its context: that costs
// several microseconds and a pipe, and most waits are over by then.
const unasked = time.Millisecond

// first is for a call that is not expected to wait long.
func first(ctx context.Context) C.struct_shim_wait {
	timeout := C.int64_t(-1)
	if done := ctx.Done(); done != nil {
		timeout = C.int64_t(unasked)
		select {
		case <-done:
			timeout = 0 // what is there all the same is given
		default:
		}
	}
	return C.struct_shim_wait{timeout_ns: timeout, interrupt_fd: -1}
}

// waiting runs a C call that may sleep, until it is over, ctx is, or its time.
func waiting(ctx context.Context, attempt string, call func(w *C.struct_shim_wait) C.int64_t) (int64, error) {
	w := first(ctx)
	return settle(ctx, attempt, call(&w), &w, call)
}

// settle goes on after a first call, with w, had the result r: waits for as long as it takes,
// where that one did not suffice. The Go runtime sends signals to its threads as it likes: those
// that cut a sleep short do not count.
func settle(ctx context.Context, attempt string, r C.int64_t, w *C.struct_shim_wait,
	call func(w *C.struct_shim_wait) C.int64_t) (int64, error) {
	if r < 0 && C.shim_again(r) != 0 {
		return sleeping(ctx, attempt, call)
	}
	return result(r, w, attempt)
}

// sleeping runs a C call with a pipe that ends its sleep when ctx is done.
func sleeping(ctx context.Context, attempt string, call func(w *C.struct_shim_wait) C.int64_t) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%s: %w", attempt, err)
	}
	w := C.struct_shim_wait{timeout_ns: -1, interrupt_fd: -1}
	if ctx.Done() != nil {
		var pipe [2]int
		if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
			return 0, fmt.Errorf("%s: %w", attempt, err)
		}
		w.interrupt_fd = C.int(pipe[0])
		rung := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			syscall.Write(pipe[1], []byte{1})
			close(rung)
		})
		defer func() {
			if !stop() {
				<-rung // it is writing: not into a descriptor that is another's by then
			}
			syscall.Close(pipe[0])
			syscall.Close(pipe[1])
		}()
	}
	for {
		r := call(&w)
		if r != -C.int64_t(syscall.EINTR) {
			return result(r, &w, attempt)
		}
		if err := ctx.Err(); err != nil {
			return 0, fmt.Errorf("%s: %w", attempt, err)
		}
	}
}

func result(r C.int64_t, w *C.struct_shim_wait, attempt string) (int64, error) {
	if r < 0 {
		return 0, failure(int64(r), w, attempt)
	}
	return int64(r), nil
}

// inPlace lets write fill in what reserve finds room for, and commits the first n bytes of it.
func inPlace(ctx context.Context, size int, reserve func(data *unsafe.Pointer, w *C.struct_shim_wait) C.int64_t,
	write func(room []byte) (n int, err error), commit func(n C.size_t) C.int) error {
	var data unsafe.Pointer
	_, err := waiting(ctx, "reserve", func(w *C.struct_shim_wait) C.int64_t { return reserve(&data, w) })
	if err != nil {
		return err
	}
	n, err := write(unsafe.Slice((*byte)(data), size))
	if err != nil {
		return err
	}
	if n < 0 || n > size {
		return fmt.Errorf("commit: %d bytes of a room of %d", n, size)
	}
	_, err = result(C.int64_t(commit(C.size_t(n))), nil, "commit")
	return err
}
