/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_BUS_H
#define TACHYON_BUS_H
/*
 * A bus: the one place where ring, halves and waiting meet. bus.c has the trip
 * of a message, bus_wait.c all that happens when there is nothing to receive or
 * no room to send, bus_loop.c the same for those who sleep on more than one bus,
 * bus_life.c the beginning, the end, and facts.
 *
 * Who touches what: `out` belongs to the sending thread, `in` to the receiving
 * thread but for its atomics, which releasing threads use. `users` counts
 * threads that may be using descriptors, so that close() can wait for them.
 */
#include "handle.h"
#include "handshake.h"
#include "ring_rpc.h"
#include "wait.h"

#include "../include/tachyon.h"

struct tachyon_bus {
        /* Read by every call, written at the end only. */
        alignas(TACHYON_SEPARATION) struct handle handle;
        _Atomic int peer_end; /* 0, TACHYON_ECLOSED or TACHYON_EPEERDEAD */
        _Atomic bool fences;  /* senders must use them */
        bool correlated;      /* kind rpc: all frames have ids, and rpc.c sends them */
        struct half_control *control;
        const struct half_control *peer;

        alignas(TACHYON_SEPARATION) struct ring_producer out;
        struct waker data_waker;
        struct sleeper space_sleeper;

        alignas(TACHYON_SEPARATION) struct ring_consumer in;
        struct waker space_waker;
        struct sleeper data_sleeper;
        _Atomic int64_t next_probe;
        uint64_t slot[4];
        tachyon_make_bytes make;

        alignas(TACHYON_SEPARATION) _Atomic int users;
        _Atomic bool closed;
        _Atomic bool barrier_lost;
        _Atomic uint64_t orphans; /* leases that outlived tachyon_bus_free() */
        bool leased_at_fork;      /* when the process last forked, leases were out */
        bool reserved_at_fork;    /* and a reservation was open */
        struct connection connection;
        struct settings settings;
};

/* Only rpc.c may send on a bus of kind rpc: -EOPNOTSUPP. */
int bus_explain_correlated(void);

/* What to ask room for, so that a payload of this size fits into a frame of this bus's. */
static inline uint64_t bus_room_size(const struct tachyon_bus *bus, uint64_t size) {
        return bus->correlated ? ring_uncorrelated_size(size) : size;
}

/* bus_life.c. bus_new() takes over the connection where it returns 0. */
int bus_new(struct tachyon_bus **busp, struct connection *connection, const struct settings *settings);
void bus_destroy(struct tachyon_bus *bus);

/* In a forked child: how many leases are out; their words are all that it has. */
uint64_t bus_leases_in_child(const struct tachyon_bus *bus);

/* Set a detail, and give the negative errno back. */
int bus_explain_death(int error);
int bus_explain_end(int end);
/* The peer broke the protocol: over, for every thread. -EPROTO. */
int bus_break(struct tachyon_bus *bus);
/* The socket is at its end, or the process is dead: takes down which end it was. */
void bus_note_gone(struct tachyon_bus *bus);
/* 0, TACHYON_ECLOSED or TACHYON_EPEERDEAD. To be asked BEFORE the last look at the ring. */
int bus_peer_end(struct tachyon_bus *bus);
/* Between enter (0, or why not) and leave (gives result back), descriptors stay open. */
int bus_enter(struct tachyon_bus *bus);
int bus_leave(struct tachyon_bus *bus, int result);
/* bus_wait.c. Wakes the peer, once for each epoch: 0, or the peer's end. */
int bus_ring(struct tachyon_bus *bus, struct waker *waker, uint32_t epoch);
void bus_use_fences(struct tachyon_bus *bus);
/* 0: there is a message; or an error, -EAGAIN where timeout_ns is 0. */
int bus_await_data(struct tachyon_bus *bus, int64_t timeout_ns);
/* 0: a message of this size fits; or an error, -EMSGSIZE and -EAGAIN among them. */
int bus_await_room(struct tachyon_bus *bus, uint64_t size, int64_t timeout_ns);
/* The same while other threads send, one at a time: it leaves `out` alone. 0: another try to send is worth it. */
int bus_watch_room(struct tachyon_bus *bus, uint64_t size, int64_t timeout_ns);

/* The parts of a wait, for bus_loop.c. One thread at a time in each direction's slow path: 0 or -EBUSY. */
int sleeper_occupy(struct sleeper *sleeper);
void sleeper_vacate(struct sleeper *sleeper);
/* S2 of wait.h. Where the barrier fails, the peer is asked for fences, and sleeps are bounded. */
void bus_barrier(struct tachyon_bus *bus);
int64_t bus_bounded(struct tachyon_bus *bus, int64_t deadline);
/* 1: there is a message; 0: there is none, nothing is wrong; or an error. */
int bus_look_for_data(struct tachyon_bus *bus);
/* -EMSGSIZE where a message of this size can never be sent. */
int bus_check_size(const struct tachyon_bus *bus, uint64_t size);
/* 1: a frame of this length fits; 0: not now; or an error. */
int bus_look_for_room(struct tachyon_bus *bus, uint64_t length);
/*
 * Tells the peer what it must have read for a frame of this length to fit: even
 * before polling, for where its leases make that impossible, it is to get an
 * error, and not to wait for us while we wait for it.
 */
void bus_want_room(struct tachyon_bus *bus, uint64_t length);
/* Giving up: what the peer has read is enough. After a success, it is by itself. */
void bus_want_nothing(struct tachyon_bus *bus);

/* bus_loop.c. Sleeps until there is room, or data, or an end: 0 (look again) or an error. */
int bus_await_either(struct tachyon_bus *bus, uint64_t size, int64_t deadline);

/* bus.c. The peer wrote a frame that cannot be: -EPROTO. */
int bus_break_frame(struct tachyon_bus *bus);
/* After a receive: is it time to find out how far one-line frames may reach? */
void bus_check_in(struct tachyon_bus *bus);

/* Polls for some microseconds for what bus_look() or bus_look_exchange() finds. NULL: see tachyon_bus_recv(). */
const struct frame *bus_look_soon(struct tachyon_bus *bus, uint64_t *sizep);

static inline int bus_dead(const struct tachyon_bus *bus) {
        return atomic_load_explicit(&bus->handle.dead, memory_order_acquire);
}

static inline bool bus_may_recv(const struct tachyon_bus *bus) {
        return likely(!atomic_load_explicit(&bus->handle.dead, memory_order_relaxed));
}

static inline bool bus_uses_fences(const struct tachyon_bus *bus) {
        return atomic_load_explicit(&bus->fences, memory_order_relaxed);
}

/* After a publication: is the peer to be told? */
static inline int bus_wake_data(struct tachyon_bus *bus, bool fence) {
        uint32_t epoch = waker_look(&bus->data_waker, fence);

        return likely(!epoch) ? 0 : bus_ring(bus, &bus->data_waker, epoch);
}

/* After read_position moved: is the peer to be told? */
static inline void bus_wake_space(struct tachyon_bus *bus, bool fence) {
        uint32_t epoch = waker_look(&bus->space_waker, fence);

        if (unlikely(epoch))
                bus_ring(bus, &bus->space_waker, epoch);
}

/* Receiving by copying, see ring_look(): NULL where it is not as simple as that. */
static inline const struct frame *bus_look(const struct tachyon_bus *bus, uint64_t *sizep) {
        if (unlikely(atomic_load_explicit(&bus->handle.attention, memory_order_relaxed)))
                return NULL;
        return ring_look(&bus->in, sizep);
}

/* The same on the exchange line. */
static inline const struct frame *bus_look_exchange(const struct tachyon_bus *bus, uint64_t *sizep) {
        const struct frame *line;

        if (unlikely(atomic_load_explicit(&bus->handle.attention, memory_order_relaxed)))
                return NULL;
        line = ring_look_exchange(&bus->in, sizep);
        return line && ring_exchange_is_fair(&bus->in, *sizep) ? line : NULL;
}

static inline void bus_pass(struct tachyon_bus *bus, uint64_t size) {
        ring_pass(&bus->in, FRAME_ALIGNMENT, size);
        bus_wake_space(bus, false); /* with fences, `attention` is set */
}

/* The same for what either of them found. */
static inline void bus_pass_soon(struct tachyon_bus *bus, const struct frame *frame, uint64_t size) {
        if (frame == bus->in.exchange)
                ring_take_exchange(&bus->in, size, TURN_OURS);
        else
                bus_pass(bus, size);
}

#endif
