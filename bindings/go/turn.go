package tachyon

import (
	"context"
	"fmt"
	"sync/atomic"
)

// turn is a mutex whose wait a context ends: a goroutine that waits for another's wait must not
// outlast its own context. Where nobody waits, it costs two atomic instructions; a channel, 60 ns.
type turn struct {
	taken   atomic.Bool
	waiting atomic.Int32
	bell    chan struct{} // rung for those who wait; one ring too many makes one look again
}

func newTurn() *turn { return &turn{bell: make(chan struct{}, 1)} }

func (t *turn) try() bool { return t.taken.CompareAndSwap(false, true) }

func (t *turn) take(ctx context.Context, attempt string) error {
	if t.try() {
		return nil
	}
	t.waiting.Add(1) // before the next look: who gives the turn after it sees us
	defer t.waiting.Add(-1)
	for !t.try() {
		select {
		case <-t.bell:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", attempt, ctx.Err())
		}
	}
	return nil
}

func (t *turn) give() {
	t.taken.Store(false)
	if t.waiting.Load() > 0 {
		select {
		case t.bell <- struct{}{}:
		default: // it is ringing
		}
	}
}
