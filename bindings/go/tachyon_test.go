package tachyon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var forever = context.Background()

const patience = 30 * time.Second

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(forever, patience)
	t.Cleanup(cancel)
	return ctx
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, not %v", err, want)
	}
}

// path is short enough for a socket, which t.TempDir() may not be.
func path(t *testing.T) string {
	folder := must(os.MkdirTemp("", "tachyon-go-"))
	t.Cleanup(func() { os.RemoveAll(folder) })
	return filepath.Join(folder, "bus")
}

// pair makes two ends in one process.
func pair(t *testing.T, options *Options) (consumer, producer *Bus) {
	at, ctx := path(t), soon(t)
	listened := make(chan *Bus)
	go func() { listened <- must(Listen(ctx, at, options)) }()
	consumer = must(Connect(ctx, at, options))
	producer = <-listened
	t.Cleanup(func() { consumer.Close(); producer.Close() })
	return consumer, producer
}

func rpcPair(t *testing.T) (*Caller, *Server) {
	at, ctx := path(t), soon(t)
	listened := make(chan *Server)
	go func() { listened <- must(ListenServer(ctx, at, nil)) }()
	caller := must(ConnectCaller(ctx, at, nil))
	return caller, <-listened
}

func TestWhatIsSentIsReceived(t *testing.T) {
	consumer, producer := pair(t, nil)
	sizes := []int{0, 1, 48, 49, 255, 256, 257, 100000}
	for i, size := range sizes {
		data := make([]byte, size)
		for j := range data {
			data[j] = byte(i + j)
		}
		check(t, producer.Send(soon(t), data, uint32(i)), nil)
	}
	for i, size := range sizes {
		message := must(consumer.Recv(soon(t)))
		if len(message.Data) != size || message.TypeID != uint32(i) {
			t.Fatalf("%d bytes of type %d", len(message.Data), message.TypeID)
		}
		for j, b := range message.Data {
			if b != byte(i+j) {
				t.Fatalf("message %d, byte %d", i, j)
			}
		}
	}
	_, ok, err := consumer.TryRecv()
	if ok || err != nil {
		t.Fatal(ok, err)
	}
	check(t, producer.Send(soon(t), make([]byte, 1000), 7), nil)
	message, ok, err := consumer.TryRecv()
	if !ok || err != nil || len(message.Data) != 1000 || message.TypeID != 7 {
		t.Fatal(message, ok, err)
	}
	if leases := must(consumer.LeasesOut()); leases != 0 {
		t.Fatal(leases, "leases are out")
	}
	check(t, producer.Close(), nil)
	_, ok, err = consumer.TryRecv()
	check(t, err, ErrClosed)
	if ok {
		t.Fatal("a message after the end")
	}
}

func TestContextsEndWaits(t *testing.T) {
	consumer, producer := pair(t, &Options{Capacity: 4096})
	ctx, cancel := context.WithTimeout(forever, time.Millisecond)
	defer cancel()
	_, err := consumer.Recv(ctx)
	check(t, err, context.DeadlineExceeded)

	ctx, cancel = context.WithCancel(forever)
	go cancel()
	_, err = consumer.Recv(ctx)
	check(t, err, context.Canceled)
	_, err = consumer.Recv(ctx) // over already
	check(t, err, context.Canceled)

	for err = nil; err == nil; err = producer.Send(ctx, make([]byte, 1000), 0) {
	}
	check(t, err, context.Canceled)
	check(t, producer.Send(forever, make([]byte, 5000), 0), ErrTooLarge)
	check(t, producer.SendFunc(forever, 5000, 0, nil), ErrTooLarge)
	// Nothing was lost by it.
	if len(must(consumer.Recv(soon(t))).Data) != 1000 {
		t.Fatal("lost")
	}
}

func TestAContextEndsTheWaitForATurn(t *testing.T) {
	consumer, producer := pair(t, nil)
	caller, server := rpcPair(t)
	slow := must(caller.Submit(soon(t), nil, 1))
	request := must(server.Serve(soon(t)))
	var group sync.WaitGroup
	group.Add(2)
	go func() { defer group.Done(); consumer.Recv(forever) }() // each keeps its turn
	go func() { defer group.Done(); slow.Wait(forever) }()
	for !consumer.receiving.taken.Load() || !caller.turn.taken.Load() {
		runtime.Gosched()
	}
	ctx, cancel := context.WithTimeout(forever, time.Millisecond)
	defer cancel()
	_, err := consumer.Recv(ctx)
	check(t, err, context.DeadlineExceeded)
	_, err = caller.Call(ctx, nil, 1)
	check(t, err, context.DeadlineExceeded)
	if _, ok, err := consumer.TryRecv(); ok || err != nil {
		t.Fatal(ok, err)
	}
	(&PendingCall{caller: caller, id: 12345}).Forget() // does not wait either
	check(t, request.Reply(forever, nil, 0), nil)
	check(t, producer.Send(forever, nil, 0), nil)
	group.Wait()
	if caller.listing.Lock(); len(caller.forgotten) > 0 {
		t.Fatal("not forgotten")
	}
	caller.listing.Unlock()
}

func TestReleaseOfWhatIsLookedAt(t *testing.T) {
	consumer, producer := pair(t, nil)
	check(t, producer.Send(forever, []byte("still here"), 0), nil)
	lease := must(consumer.RecvLease(soon(t)))
	lease.View(func(data []byte) {
		lease.Release()
		if string(data) != "still here" || must(consumer.LeasesOut()) != 1 {
			t.Error("given back under a function that looks at it")
		}
		if !panics(func() { lease.View(func([]byte) {}) }) {
			t.Error("a lease was used after its end")
		}
	})
	if out := must(consumer.LeasesOut()); out != 0 {
		t.Fatal(out)
	}
}

// deep makes a stack grow, which moves it.
func deep(n int) byte {
	var room [512]byte
	if n > 0 {
		room[n%512] = deep(n - 1)
	}
	return room[n%512]
}

func TestStacksMoveAndTheCollectorRunsWhileCallsWait(t *testing.T) {
	consumer, producer := pair(t, &Options{Capacity: 4096})
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Add(2)
	go func() {
		defer group.Done()
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	}()
	go func() {
		defer group.Done()
		for i := range 300 {
			deep(i % 100)
			check(t, producer.Send(forever, fmt.Appendf(nil, "%0*d", i, i), uint32(i)), nil)
		}
	}()
	for i := range 300 {
		deep(i % 100)
		message := must(consumer.Recv(soon(t)))
		if want := fmt.Sprintf("%0*d", i, i); string(message.Data) != want || message.TypeID != uint32(i) {
			t.Fatal(i, string(message.Data))
		}
	}
	close(stop)
	group.Wait()
}

func TestIterationEndsWhereThePeerClosed(t *testing.T) {
	consumer, producer := pair(t, nil)
	for i := range 5 {
		check(t, producer.Send(forever, []byte{byte(i)}, 0), nil)
	}
	producer.Close()
	sum := 0
	for message, err := range consumer.Messages(soon(t)) {
		check(t, err, nil)
		sum += int(message.Data[0])
	}
	if sum != 10 {
		t.Fatal(sum)
	}
	_, err := consumer.Recv(forever)
	check(t, err, ErrClosed)
	consumer.Close()
	_, err = consumer.Recv(forever)
	check(t, err, ErrCancelled)
	check(t, producer.Send(forever, nil, 0), ErrCancelled)
}

func TestKilledPeer(t *testing.T) {
	const variable = "TACHYON_TEST_PEER"
	if at := os.Getenv(variable); at != "" {
		bus := must(Connect(forever, at, nil))
		bus.Send(forever, []byte("last words"), 0)
		bus.Recv(forever) // until it is killed
		return
	}
	at := path(t)
	child := exec.Command(os.Args[0], "-test.run=^TestKilledPeer$")
	child.Env = append(os.Environ(), variable+"="+at)
	check(t, child.Start(), nil)
	bus := must(Listen(soon(t), at, nil))
	if words := must(bus.Recv(soon(t))).Data; string(words) != "last words" {
		t.Fatal(words)
	}
	child.Process.Kill()
	for _, err := range bus.Messages(soon(t)) {
		check(t, err, ErrPeerDead)
	}
	_, err := bus.Recv(forever)
	check(t, err, ErrPeerDead)
	child.Wait()
}

func TestCloseEndsAWait(t *testing.T) {
	consumer, _ := pair(t, nil)
	go consumer.Close()
	_, err := consumer.Recv(soon(t))
	check(t, err, ErrCancelled)
}

func TestSendFunc(t *testing.T) {
	consumer, producer := pair(t, nil)
	no := errors.New("no")
	check(t, producer.SendFunc(forever, 100, 0, func([]byte) (int, error) { return 5, no }), no)
	func() {
		defer func() { recover() }()
		producer.SendFunc(forever, 100, 0, func([]byte) (int, error) { panic("no") })
	}()
	if producer.SendFunc(forever, 100, 0, func([]byte) (int, error) { return 101, nil }) == nil {
		t.Fatal("more than there was room for")
	}
	check(t, producer.SendFunc(forever, 100, 5, func(room []byte) (int, error) {
		return copy(room, "in place"), nil
	}), nil)
	message := must(consumer.Recv(soon(t)))
	if string(message.Data) != "in place" || message.TypeID != 5 {
		t.Fatal(message)
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

func TestLeases(t *testing.T) {
	consumer, producer := pair(t, nil)
	for i := range 3 {
		check(t, producer.Send(forever, []byte{byte(i), 7}, 0), nil)
	}
	leases := []*Lease{}
	for range 3 {
		leases = append(leases, must(consumer.RecvLease(soon(t))))
	}
	leases[1].View(func(data []byte) {
		if !slices.Equal(data, []byte{1, 7}) {
			t.Error(data)
		}
	})
	leases[1].Release()
	leases[1].Release()
	if !panics(func() { leases[1].View(func([]byte) {}) }) || !panics(func() { leases[1].ReadAt(nil, 0) }) {
		t.Fatal("a lease was used after its end")
	}
	if out := must(consumer.LeasesOut()); out != 2 {
		t.Fatal(out)
	}
	got := make([]byte, 1)
	if n, err := leases[2].ReadAt(got, 1); n != 1 || err != nil || got[0] != 7 {
		t.Fatal(n, err, got)
	}
	consumer.Close() // a lease outlives the bus
	leases[0].View(func(data []byte) {
		if data[0] != 0 {
			t.Error(data)
		}
	})
	leases[0].Release()
	leases[2].Release()
}

func TestForgottenLeasesAreCollected(t *testing.T) {
	consumer, producer := pair(t, nil)
	check(t, producer.Send(forever, []byte("x"), 0), nil)
	must(consumer.RecvLease(soon(t)))
	for end := time.Now().Add(patience); must(consumer.LeasesOut()) != 0; runtime.GC() {
		if time.Now().After(end) {
			t.Fatal("never given back")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestLeasesThatFillTheRing(t *testing.T) {
	consumer, producer := pair(t, &Options{Capacity: 4096})
	go func() {
		for producer.Send(forever, make([]byte, 1000), 0) == nil {
		}
	}()
	kept := []*Lease{}
	for {
		lease, err := consumer.RecvLease(soon(t))
		if err != nil {
			check(t, err, ErrLeases)
			break
		}
		kept = append(kept, lease)
	}
	for _, lease := range kept {
		lease.Release()
	}
	must(consumer.Recv(soon(t)))
}

type tick struct {
	Time  uint64
	Price float64
}

func TestRecords(t *testing.T) {
	consumer, producer := pair(t, &Options{Capacity: 1 << 16})
	ticks := make([]tick, 10000)
	for i := range ticks {
		ticks[i] = tick{uint64(i), 0.5}
	}
	go func() {
		if n := must(SendRecords(forever, producer, ticks, 9)); n != len(ticks) {
			t.Error(n)
		}
	}()
	_, err := RecvRecords[tick](soon(t), consumer, 100, 10)
	check(t, err, ErrFormat)
	_, err = RecvRecords[uint32](soon(t), consumer, 100, AnyType)
	check(t, err, ErrTooLarge)
	_, err = RecvRecords[string](soon(t), consumer, 100, AnyType)
	check(t, err, ErrUnsupported)
	for next := 0; next < len(ticks); {
		run := must(RecvRecords[tick](soon(t), consumer, 1000, 9))
		if run.At(0).Time != uint64(next) || !panics(func() { run.At(run.Len()) }) {
			t.Fatal(run.At(0))
		}
		for _, tick := range run.All() {
			if tick.Time != uint64(next) {
				t.Fatal(tick, next)
			}
			next++
		}
		run.Release()
		if !panics(func() { run.At(0) }) {
			t.Fatal("records were used after their end")
		}
	}
}

func TestArrays(t *testing.T) {
	consumer, producer := pair(t, nil)
	check(t, SendArray(forever, producer, []float32{0, 1, 2, 3, 4, 5}, []uint64{2, 3}, 4), nil)
	check(t, SendArray(forever, producer, []int16{}, []uint64{0, 3}, 0), nil)
	check(t, SendArray(forever, producer, []complex128{1i}, nil, 0), nil)
	if SendArray(forever, producer, []int8{1}, []uint64{2}, 0) == nil {
		t.Fatal("too few elements")
	}
	check(t, SendArray(forever, producer, []int8{}, make([]uint64, 65), 0), ErrTooLarge)
	check(t, SendArray(forever, producer, []int8{}, []uint64{1 << 40, 1 << 40}, 0), ErrTooLarge)

	lease := must(consumer.RecvLease(soon(t)))
	check(t, ViewArray(lease, func(elements []float32, shape []uint64) {
		if !slices.Equal(shape, []uint64{2, 3}) || elements[5] != 5 {
			t.Error(shape, elements)
		}
	}), nil)
	check(t, ViewArray(lease, func([]int32, []uint64) {}), ErrFormat)
	lease.Release()
	message := must(consumer.Recv(soon(t)))
	elements, shape, err := ReadArray[int16](message.Data)
	if err != nil || len(elements) != 0 || !slices.Equal(shape, []uint64{0, 3}) {
		t.Fatal(elements, shape, err)
	}
	_, _, err = ReadArray[uint16](message.Data)
	check(t, err, ErrFormat)
	single, shape, err := ReadArray[complex128](must(consumer.Recv(soon(t))).Data)
	if err != nil || single[0] != 1i || len(shape) != 0 {
		t.Fatal(single, shape, err)
	}
	_, _, err = ReadArray[int8]([]byte("no array"))
	check(t, err, ErrFormat)
}

func TestManyGoroutines(t *testing.T) {
	consumer, producer := pair(t, &Options{Capacity: 4096})
	const each, goroutines = 2000, 4
	var group sync.WaitGroup
	var mutex sync.Mutex
	seen := map[string]bool{}
	for g := range goroutines {
		group.Add(2)
		go func() {
			defer group.Done()
			for i := range each {
				if err := producer.Send(forever, fmt.Appendf(nil, "%d %d", g, i), 0); err != nil {
					t.Error(err)
				}
			}
		}()
		go func() {
			defer group.Done()
			for range each {
				message := must(consumer.Recv(forever))
				mutex.Lock()
				seen[string(message.Data)] = true
				mutex.Unlock()
			}
		}()
	}
	group.Wait()
	if len(seen) != each*goroutines {
		t.Fatal(len(seen))
	}
}

func TestCalls(t *testing.T) {
	caller, server := rpcPair(t)
	done := make(chan error)
	go func() {
		done <- server.ServeAll(forever, map[uint32]Procedure{
			1: func(request []byte) ([]byte, error) { return append([]byte("re: "), request...), nil },
			2: func([]byte) ([]byte, error) { return nil, errors.New("no way") },
			3: func([]byte) ([]byte, error) { return make([]byte, 2<<20), nil },
		})
	}()
	if reply := must(caller.Call(soon(t), []byte("hello"), 1)); string(reply) != "re: hello" {
		t.Fatal(reply)
	}
	first := must(caller.Submit(soon(t), []byte("a"), 1))
	second := must(caller.Submit(soon(t), []byte("b"), 1))
	if reply := must(second.Wait(soon(t))); string(reply) != "re: b" {
		t.Fatal(reply)
	}
	if reply := must(first.Wait(soon(t))); string(reply) != "re: a" {
		t.Fatal(reply)
	}
	if _, err := first.Wait(soon(t)); !errors.Is(err, syscall.EINVAL) {
		t.Fatal(err)
	}
	for typeID, code := range map[uint32]uint32{2: CodeException, 3: CodeTooLarge, 4: CodeUnknownType} {
		_, err := caller.Call(soon(t), nil, typeID)
		var failed *RPCError
		if !errors.As(err, &failed) || failed.Code != code {
			t.Fatal(typeID, err)
		}
	}
	caller.Close()
	check(t, <-done, nil)
}

func TestRequestsInAnyOrder(t *testing.T) {
	caller, server := rpcPair(t)
	first := must(caller.Submit(soon(t), []byte("1"), 7))
	second := must(caller.Submit(soon(t), []byte("2"), 7))
	one, two := must(server.Serve(soon(t))), must(server.Serve(soon(t)))
	check(t, two.Fail(forever, 42, "not today"), nil)
	check(t, one.Reply(forever, []byte("one"), 0), nil)
	_, err := second.Wait(soon(t))
	var failed *RPCError
	if !errors.As(err, &failed) || *failed != (RPCError{42, "not today"}) {
		t.Fatal(err)
	}
	if reply := must(first.Wait(soon(t))); string(reply) != "one" {
		t.Fatal(reply)
	}
	ctx, cancel := context.WithTimeout(forever, time.Millisecond)
	defer cancel()
	_, err = caller.Call(ctx, nil, 7)
	check(t, err, context.DeadlineExceeded)
	server.Close()
	_, err = caller.Call(soon(t), nil, 7)
	check(t, err, ErrClosed)
}

func TestListener(t *testing.T) {
	at := path(t)
	listener := must(NewListener(at, nil))
	go func() {
		for range 3 {
			must(Connect(forever, at, nil)).Send(forever, []byte("hello"), 0)
		}
	}()
	_, err := ConnectCaller(soon(t), at+"-other", &Options{SocketMode: 1 << 20})
	if err == nil {
		t.Fatal("a mode that is none")
	}
	for range 3 {
		bus := must(listener.Accept(soon(t)))
		must(bus.Recv(soon(t)))
	}
	_, err = NewListener(at, nil)
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatal(err)
	}
	go listener.Close()
	_, err = listener.Accept(soon(t))
	check(t, err, ErrCancelled)
}

func TestErrorsSayWhy(t *testing.T) {
	consumer, producer := pair(t, nil)
	check(t, producer.Send(forever, []byte("xyz"), 0), nil)
	says := func(err error, kind error, words string) {
		t.Helper()
		if check(t, err, kind); !strings.Contains(err.Error(), words) {
			t.Error(err)
		}
	}
	_, err := RecvRecords[tick](soon(t), consumer, 10, AnyType)
	says(err, ErrTooLarge, "3 bytes")
	says(producer.Send(forever, make([]byte, 2<<20), 0), ErrTooLarge, "2097152")
	at := path(t)
	listener := must(NewListener(at, nil))
	_, err = NewListener(at, nil)
	says(err, syscall.EADDRINUSE, at)
	refused := make(chan error)
	go func() {
		_, err := ConnectCaller(forever, at, nil)
		refused <- err
	}()
	ctx, cancel := context.WithCancel(forever)
	go func() { says(<-refused, ErrProtocol, "kind"); cancel() }()
	_, err = listener.Accept(ctx)
	check(t, err, context.Canceled)
}

func TestTrySend(t *testing.T) {
	consumer, producer := pair(t, &Options{Capacity: 4096})
	sent := uint64(0)
	for must(producer.TrySend(make([]byte, 1000), 7)) {
		sent++
	}
	stats := must(producer.Stats())
	if sent == 0 || stats.SentMessages != sent || stats.SentBytes != 1000*sent {
		t.Fatal(sent, stats)
	}
	if must(consumer.Recv(soon(t))).TypeID != 7 {
		t.Fatal("another tag")
	}
	consumer.Close()
	_, err := producer.TrySend(nil, 0)
	check(t, err, ErrClosed)
}

func TestBatches(t *testing.T) {
	consumer, producer := pair(t, nil)
	for i := range 5 {
		check(t, producer.Send(forever, make([]byte, 100*i), uint32(i)), nil)
	}
	batch := must(consumer.RecvBatch(soon(t), 4))
	if batch.Len() != 4 || must(consumer.LeasesOut()) != 4 {
		t.Fatal(batch.Len())
	}
	next := uint32(0)
	for typeID, data := range batch.All() {
		if typeID != next || len(data) != int(100*next) {
			t.Fatal(typeID, len(data))
		}
		next++
	}
	batch.Release()
	batch.Release()
	if out := must(consumer.LeasesOut()); next != 4 || out != 0 {
		t.Fatal(next, out)
	}
	if !panics(func() { batch.All()(func(uint32, []byte) bool { return true }) }) {
		t.Fatal("a batch was used after its end")
	}
	must(consumer.RecvBatch(soon(t), 100)) // nobody releases it
	for end := time.Now().Add(patience); must(consumer.LeasesOut()) != 0; runtime.GC() {
		if time.Now().After(end) {
			t.Fatal("never given back")
		}
		time.Sleep(time.Millisecond)
	}
	_, err := consumer.RecvBatch(soon(t), 0)
	check(t, err, syscall.EINVAL)
}

func TestCallsInPlace(t *testing.T) {
	caller, server := rpcPair(t)
	no := errors.New("no")
	write := func(text string, err error) func([]byte) (int, error) {
		return func(room []byte) (int, error) { return copy(room, text), err }
	}
	_, err := caller.SubmitFunc(forever, 100, 1, write("never", no))
	check(t, err, no)
	call := must(caller.SubmitFunc(forever, 1000, 7, write("in place", nil)))
	other := must(caller.Submit(forever, make([]byte, 1000), 8))
	request := must(server.ServeLease(soon(t)))
	second := must(server.Serve(soon(t)))
	if len(second.Data) != 1000 || second.TypeID != 8 || request.TypeID != 7 {
		t.Fatal(len(second.Data), second.TypeID, request.TypeID)
	}
	request.View(func(data []byte) {
		if string(data) != "in place" {
			t.Error(string(data))
		}
	})
	request.Release()
	if !panics(func() { request.View(func([]byte) {}) }) {
		t.Fatal("a request was used after its end")
	}
	check(t, request.ReplyFunc(forever, 100, 0, write("", no)), no)
	if request.ReplyFunc(forever, 1, 0, func([]byte) (int, error) { return 2, nil }) == nil {
		t.Fatal("more than there was room for")
	}
	check(t, request.ReplyFunc(forever, 2000, 0, func(room []byte) (int, error) { return copy(room, "re: "), nil }), nil)
	check(t, second.Fail(forever, 42, "not today"), nil)
	check(t, call.WaitFunc(soon(t), func(reply []byte) error {
		if string(reply) != "re: " {
			t.Error(string(reply))
		}
		return no
	}), no)
	var failed *RPCError
	if err := other.WaitFunc(soon(t), nil); !errors.As(err, &failed) || failed.Code != 42 {
		t.Fatal(err)
	}
	if counters := must(caller.Counters(soon(t))); counters.Outstanding != 0 || counters.Failures != 1 {
		t.Fatal(counters)
	}
}

func TestLargeCalls(t *testing.T) {
	caller, server := rpcPair(t)
	go server.ServeAll(forever, map[uint32]Procedure{1: func(request []byte) ([]byte, error) { return request, nil }})
	for _, size := range []int{0, 1, 40, 41, 255, 256, 257, 100_000} {
		data := bytes.Repeat([]byte{byte(size)}, size)
		if reply := must(caller.Call(soon(t), data, 1)); !bytes.Equal(reply, data) {
			t.Fatal(size, len(reply))
		}
	}
	for range 4 { // more than the ring has room for at a time: each is given back
		call := must(caller.Submit(soon(t), make([]byte, 400_000), 1))
		check(t, call.WaitFunc(soon(t), func(reply []byte) error {
			if len(reply) != 400_000 {
				t.Error(len(reply))
			}
			return nil
		}), nil)
	}
	caller.Close()
	_, err := caller.Call(forever, nil, 1)
	check(t, err, ErrCancelled)
}

func TestCallsThatAreGivenUpAreOver(t *testing.T) {
	caller, server := rpcPair(t)
	for range 10 {
		ctx, cancel := context.WithTimeout(forever, time.Millisecond)
		_, err := caller.Call(ctx, nil, 1)
		check(t, err, context.DeadlineExceeded)
		cancel()
	}
	for range 10 {
		check(t, must(server.Serve(soon(t))).Reply(forever, []byte("late"), 0), nil)
	}
	answered := make(chan error)
	go func() { answered <- must(server.Serve(forever)).Reply(forever, []byte("in time"), 0) }()
	if reply := must(caller.Call(soon(t), nil, 2)); string(reply) != "in time" {
		t.Fatal(string(reply))
	}
	check(t, <-answered, nil)
	counters := must(caller.Counters(soon(t)))
	if counters.Outstanding != 0 || counters.Dropped != 10 {
		t.Fatal(counters)
	}
}

func TestWhatNobodyKeepsIsGivenUpAndClosed(t *testing.T) {
	caller, server := rpcPair(t)
	ctx, cancel := context.WithTimeout(forever, time.Millisecond)
	defer cancel()
	_, err := caller.Call(ctx, nil, 1)
	check(t, err, context.DeadlineExceeded)
	if counters := must(caller.Counters(forever)); counters.Outstanding != 0 {
		t.Fatal(counters)
	}
	runtime.KeepAlive(server)

	at := path(t)
	ctx = soon(t)
	go func() { must(Connect(ctx, at, nil)).Send(forever, nil, 0) }() // and keeps no bus
	bus := must(Listen(soon(t), at, nil))
	must(bus.Recv(soon(t)))
	for err = nil; !errors.Is(err, ErrClosed); {
		runtime.GC()
		if err = ctx.Err(); err != nil {
			t.Fatal("never closed")
		}
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		_, err = bus.Recv(short)
		cancel()
	}
}
