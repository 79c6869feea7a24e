// bench ROLE PATH: what `tachyon bench languages` measures, in Go. See bindings/bench/README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"tachyon"
)

const (
	size = 32
	turn = 16384 // records of one call: a quarter of their ring
	ring = 4 << 20
	most = 1000 // pairs of a turn
)

type record struct {
	Time, ID    uint64
	Price, Size float64
}

var ctx = context.Background()

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func check(err error) { must(0, err) }

func ping(bus *tachyon.Bus, count int) (elapsed time.Duration) {
	data := make([]byte, size)
	begin := time.Now()
	for range count {
		check(bus.Send(ctx, data, 0))
		data = must(bus.Recv(ctx)).Data
	}
	return time.Since(begin)
}

func echo(bus *tachyon.Bus, count int) (elapsed time.Duration) {
	for range count {
		check(bus.Send(ctx, must(bus.Recv(ctx)).Data, 0))
	}
	return 0
}

func produce(bus *tachyon.Bus, count int) (elapsed time.Duration) {
	data := make([]byte, size)
	for range count {
		check(bus.Send(ctx, data, 0))
	}
	return 0
}

func consume(bus *tachyon.Bus, count int) (elapsed time.Duration) {
	must(bus.Recv(ctx))
	begin := time.Now()
	for range count - 1 {
		must(bus.Recv(ctx))
	}
	return time.Since(begin)
}

func produceRecords(bus *tachyon.Bus, count int) (elapsed time.Duration) {
	records := make([]record, turn)
	for i := range records {
		records[i] = record{1, 1, 0.5, 1}
	}
	for count > 0 {
		count -= must(tachyon.SendRecords(ctx, bus, records[:min(count, turn)], 0))
	}
	return 0
}

func consumeRecords(bus *tachyon.Bus, count int) (elapsed time.Duration) {
	var begin time.Time
	sum := 0.0
	for left := count; left > 0; {
		run := must(tachyon.RecvRecords[record](ctx, bus, min(left, turn), tachyon.AnyType))
		if left == count {
			begin = time.Now()
		}
		for _, record := range run.All() {
			sum += record.Price
		}
		left -= run.Len()
		run.Release()
	}
	if sum != 0.5*float64(count) {
		log.Fatal("the prices do not add up")
	}
	return time.Since(begin)
}

func pairs(from, to *tachyon.Bus, count int) time.Duration {
	data := make([]byte, size)
	begin := time.Now()
	for range count {
		check(from.Send(ctx, data, 0))
		message, ok, err := to.TryRecv()
		if err != nil || !ok {
			log.Fatal("it did not arrive: ", err)
		}
		data = message.Data
	}
	return time.Since(begin)
}

func calls(path string) func(count int) string {
	buses := make(chan *tachyon.Bus)
	go func() { buses <- must(tachyon.Listen(ctx, path, nil)) }()
	from := must(tachyon.Connect(ctx, path, nil))
	to := <-buses
	raw := connectRaw(path)
	return func(count int) string {
		var binding, cheapest time.Duration
		for left := count; left > 0; left -= most {
			n := min(left, most)
			binding += pairs(from, to, n)
			cheapest += raw.pairs(n)
			from, to = to, from
		}
		of := func(all time.Duration) float64 { return float64(all.Nanoseconds()) / float64(count) }
		return fmt.Sprintf("%.3f %.3f", of(binding), of(cheapest))
	}
}

func connect(path string) *tachyon.Bus { return must(tachyon.Connect(ctx, path, nil)) }

func listen(path string) *tachyon.Bus { return must(tachyon.Listen(ctx, path, nil)) }

func listenLarge(path string) *tachyon.Bus {
	return must(tachyon.Listen(ctx, path, &tachyon.Options{Capacity: ring}))
}

var roles = map[string]struct {
	open  func(path string) *tachyon.Bus
	round func(bus *tachyon.Bus, count int) time.Duration
}{
	"ping":            {connect, ping},
	"echo":            {listen, echo},
	"produce":         {connect, produce},
	"consume":         {listen, consume},
	"records-produce": {connect, produceRecords},
	"records-consume": {listenLarge, consumeRecords},
}

func start(name, path string) func(count int) string {
	if name == "calls" {
		return calls(path)
	}
	role, ok := roles[name]
	if !ok {
		log.Fatalf("%s is no role", name)
	}
	bus := role.open(path)
	return func(count int) string {
		if elapsed := role.round(bus, count); elapsed > 0 {
			return fmt.Sprint(elapsed.Nanoseconds())
		}
		return "done"
	}
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("ROLE PATH")
	}
	round := start(os.Args[1], os.Args[2])
	fmt.Println("ready")
	for {
		var count int
		if _, err := fmt.Fscanln(os.Stdin, &count); err != nil {
			if errors.Is(err, io.EOF) {
				return
			}
			log.Fatal(err)
		}
		fmt.Println(round(count))
	}
}
