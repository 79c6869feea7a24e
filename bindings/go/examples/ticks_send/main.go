// bindings/go/examples/ticks_send/main.go
package main

import (
	"context"
	"log"
	"time"

	"tachyon"
)

type tick struct {
	Time  uint64
	Price float64
}

func send(ctx context.Context) error {
	bus, err := tachyon.Connect(ctx, "/tmp/arrays", nil)
	if err != nil {
		return err
	}
	defer bus.Close()
	// Copied once, into the ring.
	if err := tachyon.SendArray(ctx, bus, []float64{1, 0, 0, 1}, []uint64{2, 2}, 0); err != nil {
		return err
	}
	// Computed in the ring, never copied.
	err = tachyon.SendArrayFunc(ctx, bus, []uint64{480, 640}, 0, func(image []float32) error {
		for i := range image {
			image[i] = 0.5
		}
		return nil
	})
	if err != nil {
		return err
	}
	ticks := make([]tick, 100_000)
	for i := range ticks {
		ticks[i] = tick{uint64(i), 100 + float64(i)/100_000}
	}
	_, err = tachyon.SendRecords(ctx, bus, ticks, 0) // 100,000 messages of 16 bytes
	return err
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := send(ctx); err != nil {
		log.Fatal(err)
	}
}
