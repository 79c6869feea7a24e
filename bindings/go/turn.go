package tachyon

import (
	"context"
	"fmt"
)

// turn is a mutex whose wait a context ends: a goroutine that waits for another's wait must not
// outlast its own context.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context, attempt string) error {
	select {
	case t <- struct{}{}:
		return nil
	default:
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", attempt, ctx.Err())
	}
}

func (t turn) give() { <-t }
