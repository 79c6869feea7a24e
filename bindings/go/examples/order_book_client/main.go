// bindings/go/examples/order_book_client/main.go
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"math"
	"time"

	"tachyon"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	caller, err := tachyon.ConnectCaller(ctx, "/tmp/books", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer caller.Close()
	snapshot, err := caller.Call(ctx, binary.LittleEndian.AppendUint64(nil, 2330), 1)
	if err != nil { // a *tachyon.RPCError where the server failed it
		log.Fatal(err)
	}
	bid := math.Float64frombits(binary.LittleEndian.Uint64(snapshot[16:]))
	fmt.Printf("best bid %.1f\n", bid)
	caller.Call(ctx, nil, 2) // stop
}
