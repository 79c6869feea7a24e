// matrixpeer ROLE MODE PATH COUNT BLOCK: one side of the matrix, in Go. See bindings/run-matrix.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"

	"tachyon"
)

const (
	largest     = 1048448
	recordType  = 7
	failingType = 9
)

var failure = tachyon.RPCError{Code: 42, Text: "not today"}

type rule struct {
	size, start int
	typeID      uint32
	dtype       uint64
	shape       []uint64
}

type record struct {
	Number, Random uint64
	Half           float64
}

func mix(number uint64) uint64 {
	z := (number + 1) * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func ruleOf(number uint64) rule {
	r := mix(number)
	size := int(r>>16) & (1<<(r>>10%13) - 1)
	if r%1024 == 0 {
		size = largest
	}
	return rule{size, int(r >> 40 & 0xfffff), uint32(r >> 20), r % 4, []uint64{r >> 8 % 5, r >> 16 % 7, r >> 24 % 33}}
}

func recordOf(number uint64) record { return record{number, mix(number), float64(number) / 2} }

func elementOf(r rule, i int) uint8 { return uint8((r.start + i) % 120) }

var (
	ctx   = context.Background()
	block []byte
	count uint64
)

func expect(good bool, what string, number uint64) {
	if !good {
		log.Fatalf("message %d: %s", number, what)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func check(err error) { must(0, err) }

func sendStream(bus *tachyon.Bus) {
	for i := range count {
		r := ruleOf(i)
		payload := block[r.start : r.start+r.size]
		if i%2 == 1 {
			check(bus.Send(ctx, payload, r.typeID))
		} else {
			check(bus.SendFunc(ctx, r.size, r.typeID, func(room []byte) (int, error) { return copy(room, payload), nil }))
		}
	}
}

func receiveStream(bus *tachyon.Bus) {
	received := uint64(0)
	for message, err := range bus.Messages(ctx) {
		check(err)
		r := ruleOf(received)
		expect(message.TypeID == r.typeID, "type", received)
		expect(bytes.Equal(message.Data, block[r.start:r.start+r.size]), "bytes", received)
		received++
	}
	expect(received == count, "the end", received)
}

func sendRecords(bus *tachyon.Bus) {
	records := make([]record, count)
	for i := range records {
		records[i] = recordOf(uint64(i))
	}
	must(tachyon.SendRecords(ctx, bus, records, recordType))
}

func receiveRecords(bus *tachyon.Bus) {
	for i := uint64(0); i < count; {
		run := must(tachyon.RecvRecords[record](ctx, bus, 5000, recordType))
		for _, got := range run.All() {
			expect(got == recordOf(i), "record", i)
			i++
		}
		run.Release()
	}
}

func sendArray[T tachyon.Number](bus *tachyon.Bus, r rule) {
	check(tachyon.SendArrayFunc(ctx, bus, r.shape, 0, func(elements []T) error {
		for i := range elements {
			elements[i] = number[T](elementOf(r, i))
		}
		return nil
	}))
}

// number converts to any kind of number, complex ones included.
func number[T tachyon.Number](n uint8) (value T) {
	switch value := any(&value).(type) {
	case *float32:
		*value = float32(n)
	case *float64:
		*value = float64(n)
	case *int16:
		*value = int16(n)
	case *uint8:
		*value = n
	}
	return value
}

func checkArray[T tachyon.Number](message []byte, r rule, i uint64) {
	elements, shape, err := tachyon.ReadArray[T](message)
	check(err)
	expect(slices.Equal(shape, r.shape), "shape", i)
	expect(uint64(len(elements)) == shape[0]*shape[1]*shape[2], "size", i)
	for j, element := range elements {
		expect(element == number[T](elementOf(r, j)), "element", i)
	}
}

func sendArrays(bus *tachyon.Bus) {
	senders := []func(*tachyon.Bus, rule){sendArray[float32], sendArray[float64], sendArray[int16], sendArray[uint8]}
	for i := range count {
		r := ruleOf(i)
		senders[r.dtype](bus, r)
	}
}

func receiveArrays(bus *tachyon.Bus) {
	checks := []func([]byte, rule, uint64){checkArray[float32], checkArray[float64], checkArray[int16], checkArray[uint8]}
	for i := range count {
		r := ruleOf(i)
		checks[r.dtype](must(bus.Recv(ctx)).Data, r, i)
	}
}

func xor(data []byte) []byte {
	changed := slices.Clone(data)
	for i := range changed {
		changed[i] ^= 0x5a
	}
	return changed
}

func call(path string) {
	caller := must(tachyon.ConnectCaller(ctx, path, nil))
	for i := range count {
		r := ruleOf(i)
		request := block[r.start : r.start+r.size%4096]
		if i%97 == 0 {
			_, err := caller.Call(ctx, request, failingType)
			var failed *tachyon.RPCError
			expect(errors.As(err, &failed) && *failed == failure, "failure", i)
		} else {
			expect(bytes.Equal(must(caller.Call(ctx, request, 1)), xor(request)), "reply", i)
		}
	}
	caller.Close()
}

func serve(path string) {
	server := must(tachyon.ListenServer(ctx, path, nil))
	for served := uint64(0); ; served++ {
		request, err := server.Serve(ctx)
		if errors.Is(err, tachyon.ErrClosed) {
			expect(served == count, "the end", served)
			return
		}
		check(err)
		if request.TypeID == failingType {
			check(request.Fail(ctx, failure.Code, failure.Text))
		} else {
			check(request.Reply(ctx, xor(request.Data), 0))
		}
	}
}

// flow goes on until the other one is killed.
func flow(bus *tachyon.Bus, sends bool) {
	for {
		var err error
		if sends {
			err = bus.Send(ctx, block[:1000], 0)
		} else {
			_, err = bus.Recv(ctx)
		}
		if errors.Is(err, tachyon.ErrPeerDead) {
			return
		}
		check(err)
	}
}

func main() {
	log.SetFlags(0)
	role, mode, path := os.Args[1], os.Args[2], os.Args[3]
	count = must(strconv.ParseUint(os.Args[4], 10, 64))
	block = must(os.ReadFile(os.Args[5]))
	modes := map[string]func(*tachyon.Bus){
		"producer stream": sendStream, "consumer stream": receiveStream,
		"producer records": sendRecords, "consumer records": receiveRecords,
		"producer arrays": sendArrays, "consumer arrays": receiveArrays,
		"producer killed": func(bus *tachyon.Bus) { flow(bus, true) },
		"consumer killed": func(bus *tachyon.Bus) { flow(bus, false) },
	}
	open := tachyon.Connect
	if role == "consumer" {
		open = tachyon.Listen
	}
	switch {
	case mode != "rpc":
		bus := must(open(ctx, path, nil))
		modes[role+" "+mode](bus)
		bus.Close()
	case role == "consumer":
		serve(path)
	default:
		call(path)
	}
	fmt.Println("ok")
}
