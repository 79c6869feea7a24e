// bindings/go/examples/pipeline_receive/main.go
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"

	"tachyon"
)

// receive hands the numbers to the workers, until the sender says that there are no more.
func receive(ctx context.Context, numbers chan<- uint64) error {
	defer close(numbers)
	bus, err := tachyon.Listen(ctx, "/tmp/pipeline", nil)
	if err != nil {
		return err
	}
	defer bus.Close()
	for message, err := range bus.Messages(ctx) {
		switch {
		case err != nil: // ErrPeerDead where the sender was killed, ctx.Err() where we were stopped
			return err
		case message.TypeID == 2:
			return nil
		case len(message.Data) != 8:
			return fmt.Errorf("a number has 8 bytes, not %d", len(message.Data))
		}
		select {
		case numbers <- binary.LittleEndian.Uint64(message.Data): // Data is a copy: it may be kept
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("the sender closed before it had finished")
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt) // Ctrl-C ends any wait
	defer stop()
	numbers, squares := make(chan uint64, 64), make(chan uint64, 64)
	var workers sync.WaitGroup
	for range 4 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for number := range numbers {
				squares <- number * number
			}
		}()
	}
	var failed error
	go func() {
		failed = receive(ctx, numbers)
		workers.Wait()
		close(squares) // the main goroutine reads failed after it
	}()
	count, sum := 0, uint64(0)
	for square := range squares {
		count, sum = count+1, sum+square
	}
	if failed != nil {
		log.Fatal(failed)
	}
	fmt.Println(count, "squares, sum", sum)
}
