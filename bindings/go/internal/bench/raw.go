package main

// #cgo pkg-config: tachyon
// #cgo noescape tachyon_bus_send
// #cgo nocallback tachyon_bus_send
// #cgo noescape tachyon_bus_recv_copy
// #cgo nocallback tachyon_bus_recv_copy
// #include <stdlib.h>
// #include <tachyon.h>
import "C"

import (
	"log"
	"time"
	"unsafe"
)

// ends of a bus, as C has them: what a call costs that does nothing else.
type ends struct {
	from, to *C.tachyon_bus
	data     unsafe.Pointer // of C's memory
}

func connectRaw(path string) *ends {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	raw := &ends{data: C.calloc(1, size)}
	done := make(chan C.int)
	go func() { done <- C.tachyon_bus_listen(&raw.to, name, nil, -1) }()
	if C.tachyon_bus_connect(&raw.from, name, nil, -1) != 0 || <-done != 0 {
		log.Fatal("no bus")
	}
	return raw
}

// pairs sends and receives, and turns round.
func (e *ends) pairs(count int) time.Duration {
	begin := time.Now()
	for range count {
		if C.tachyon_bus_send(e.from, e.data, size, 0, -1) != 0 ||
			C.tachyon_bus_recv_copy(e.to, e.data, size, nil, 0) != size {
			log.Fatal("the C functions fail")
		}
	}
	elapsed := time.Since(begin)
	e.from, e.to = e.to, e.from
	return elapsed
}
