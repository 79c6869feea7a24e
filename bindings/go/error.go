package tachyon

// #cgo pkg-config: tachyon
// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
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

// failure makes the error for a negative result. The library's words are those of the thread
// that failed: the goroutine may be in another one by now, and then they say less.
func failure(result int64, attempt string) error {
	errno := syscall.Errno(-result)
	var err error = errno
	if sentinel, ok := sentinels[errno]; ok {
		err = sentinel
	}
	return fmt.Errorf("%s: %w", attempt, err)
}

// waiting runs a C call that may sleep, until it is over, ctx is, or its time.
//
// A first try without sleeping costs nothing but itself. Else a pipe ends the sleep when ctx
// is done. The Go runtime sends signals to its threads as it likes: those that cut a sleep
// short do not count.
func waiting(ctx context.Context, attempt string, call func(timeout C.int64_t, fd C.int) C.int64_t) (int64, error) {
	if r := call(0, -1); r != -C.int64_t(syscall.EAGAIN) {
		return result(r, attempt)
	}
	return sleeping(ctx, attempt, call)
}

// sleeping is waiting without the first try, which would listen for no time at all, and turn away
// who connects just then.
func sleeping(ctx context.Context, attempt string, call func(timeout C.int64_t, fd C.int) C.int64_t) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%s: %w", attempt, err)
	}
	fd := C.int(-1)
	if ctx.Done() != nil {
		var pipe [2]int
		if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
			return 0, fmt.Errorf("%s: %w", attempt, err)
		}
		fd = C.int(pipe[0])
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
		r := call(-1, fd)
		if r != -C.int64_t(syscall.EINTR) {
			return result(r, attempt)
		}
		if err := ctx.Err(); err != nil {
			return 0, fmt.Errorf("%s: %w", attempt, err)
		}
	}
}

func result(r C.int64_t, attempt string) (int64, error) {
	if r < 0 {
		return 0, failure(int64(r), attempt)
	}
	return int64(r), nil
}

// in gives a context for a time; 0: one that is over, so that there is one try.
func in(timeout time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), timeout)
}
