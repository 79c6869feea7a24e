// bindings/go/examples/pipeline_send/main.go
package main

import (
	"context"
	"encoding/binary"
	"log"
	"os"
	"os/signal"

	"tachyon"
)

func send(ctx context.Context) error {
	bus, err := tachyon.Connect(ctx, "/tmp/pipeline", nil)
	if err != nil {
		return err
	}
	defer bus.Close() // what was sent still arrives
	for number := range uint64(100_000) {
		// Written in the ring. Where that is full, it waits for the receiver, or until ctx is done.
		err := bus.SendFunc(ctx, 8, 1, func(room []byte) (int, error) {
			binary.LittleEndian.PutUint64(room, number)
			return 8, nil
		})
		if err != nil {
			return err
		}
	}
	return bus.Send(ctx, nil, 2) // no more numbers
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt) // Ctrl-C ends any wait
	defer stop()
	if err := send(ctx); err != nil {
		log.Fatal(err)
	}
}
