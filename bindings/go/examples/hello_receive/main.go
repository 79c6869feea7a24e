// bindings/go/examples/hello_receive/main.go
package main

import (
	"context"
	"fmt"
	"log"

	"tachyon"
)

func main() {
	ctx := context.Background() // done: the wait ends
	bus, err := tachyon.Listen(ctx, "/tmp/hello", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()
	for message, err := range bus.Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(message.TypeID, string(message.Data))
	}
}
