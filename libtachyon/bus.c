/* SPDX-License-Identifier: MIT */
/*
 * tachyon_bus_*: the one place where ring, halves and waiting meet.
 *
 * A message's trip: tachyon_bus_send() -> ring_send() -> bus_wake_data(), which
 * makes a system call only if the peer sleeps; tachyon_bus_recv() ->
 * ring_recv(); tachyon_bus_release() -> ring_release(). Everything below them
 * is the slow path: nothing there, no room, somebody died.
 *
 * Who touches what: `out` belongs to the sending thread, `in` to the receiving
 * thread but for its atomics, which releasing threads use. `users` counts
 * threads that may be using descriptors, so that close() can wait for them.
 */
#include "bus.h"
#include "ring.h"
#include "wait.h"
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "../include/tachyon.h"

/* Where membarrier() is refused all of a sudden, sleep in slices: the peer may leave its fence out. */
#define BOUNDED_SLEEP_NS 1000000
/* A caller that only ever tries hears of the peer's death at most this late. */
#define PROBE_INTERVAL_NS 10000000
/* How often tachyon_bus_try_recv_object() looks: some microseconds, with an interpreter's lock held. */
#define OBJECT_POLLS 64

struct tachyon_bus {
        /* Read by every call, written at the end only. */
        alignas(TACHYON_SEPARATION) struct handle handle;
        _Atomic int peer_end; /* 0, TACHYON_ECLOSED or TACHYON_EPEERDEAD */
        _Atomic bool fences;  /* senders must use them */
        struct half_control *control;
        const struct half_control *peer;

        alignas(TACHYON_SEPARATION) struct ring_producer out;
        struct waker data_waker;
        struct sleeper space_sleeper;

        alignas(TACHYON_SEPARATION) struct ring_consumer in;
        struct waker space_waker;
        struct sleeper data_sleeper;
        int64_t next_probe;
        uint64_t slot[4];
        tachyon_make_bytes make;

        alignas(TACHYON_SEPARATION) _Atomic int users;
        _Atomic bool closed;
        _Atomic bool barrier_lost;
        _Atomic uint64_t orphans; /* leases that outlived tachyon_bus_free() */
        struct connection connection;
        struct settings settings;
};

/* ---- the end ------------------------------------------------------------ */

static int bus_dead(const struct tachyon_bus *bus) {
        return atomic_load_explicit(&bus->handle.dead, memory_order_acquire);
}

static int bus_explain_death(int error) {
        switch (error) {
        case ECANCELED:
                return fail(error, "this bus has been closed");
        case TACHYON_EFORK:
                return fail(error, "this bus belongs to the parent process; make a new one after the fork");
        default:
                return -error; /* EPROTO: the detail was set where it was found */
        }
}


/* The socket is at its end, or the process is dead: was it in good order? */
static void bus_note_gone(struct tachyon_bus *bus) {
        /* E1: pairs with E2 in tachyon_bus_close(): all frames are published before the state is. */
        uint32_t state = atomic_load_explicit(&bus->peer->state, memory_order_acquire);
        int end = state == HALF_CLOSED ? TACHYON_ECLOSED : TACHYON_EPEERDEAD, none = 0;

        atomic_compare_exchange_strong(&bus->peer_end, &none, end);
        atomic_store_explicit(&bus->handle.attention, 1, memory_order_relaxed);
}

/* Has the peer come to its end? To be asked BEFORE the last look at the ring. */
static int bus_peer_end(struct tachyon_bus *bus) {
        int end = atomic_load_explicit(&bus->peer_end, memory_order_acquire);

        /* E1, as above. */
        if (!end && unlikely(atomic_load_explicit(&bus->peer->state, memory_order_acquire) == HALF_CLOSED)) {
                bus_note_gone(bus);
                end = atomic_load_explicit(&bus->peer_end, memory_order_acquire);
        }
        return end;
}

static int bus_explain_end(int end) {
        return end == TACHYON_ECLOSED ? fail(end, "the peer has closed the bus")
                                      : fail(end, "the peer's process died without closing the bus");
}

/* Between enter and leave, descriptors are open. */
static int bus_enter(struct tachyon_bus *bus) {
        int dead;

        /* U1: seq_cst, as is the kill and U2 in tachyon_bus_close(): either we see the end, or it sees us. */
        atomic_fetch_add(&bus->users, 1);
        dead = atomic_load(&bus->handle.dead);
        if (!dead)
                return 0;
        atomic_fetch_sub(&bus->users, 1);
        return bus_explain_death(dead);
}

static int bus_leave(struct tachyon_bus *bus, int result) {
        atomic_fetch_sub(&bus->users, 1);
        return result;
}

/* The peer broke the protocol: over, for every thread; the socket's end wakes those that sleep. */
static int bus_break(struct tachyon_bus *bus) {
        if (bus_enter(bus) < 0)
                return -EPROTO;
        handle_kill(&bus->handle, EPROTO);
        shutdown(bus->connection.socket, SHUT_RDWR);
        return bus_leave(bus, -EPROTO);
}

/* ---- waking the peer ---------------------------------------------------- */

static int bus_ring(struct tachyon_bus *bus, struct waker *waker, uint32_t epoch) {
        int r;

        if (epoch == WAITING_CLOSED || bus_peer_end(bus)) {
                int end = bus_peer_end(bus);

                return end ? bus_explain_end(end) : 0;
        }
        if (atomic_load_explicit(&waker->rung, memory_order_relaxed) == epoch)
                return 0;
        r = bus_enter(bus);
        if (r < 0)
                return r;
        r = waker_ring(waker, epoch);
        if (r == -ECONNRESET) {
                bus_note_gone(bus);
                r = bus_explain_end(bus_peer_end(bus));
        }
        return bus_leave(bus, r);
}

static inline bool bus_uses_fences(const struct tachyon_bus *bus) {
        return atomic_load_explicit(&bus->fences, memory_order_relaxed);
}

static void bus_use_fences(struct tachyon_bus *bus) {
        atomic_store_explicit(&bus->fences, true, memory_order_relaxed);
        atomic_store_explicit(&bus->handle.attention, 1, memory_order_relaxed);
}

/* After a publication: is the peer to be told? */
static inline int bus_wake_data(struct tachyon_bus *bus, bool fence) {
        uint32_t epoch = waker_look(&bus->data_waker, fence);

        return likely(!epoch) ? 0 : bus_ring(bus, &bus->data_waker, epoch);
}

static void bus_wake_space(struct tachyon_bus *bus) {
        uint32_t epoch = waker_look(&bus->space_waker, bus_uses_fences(bus));

        if (unlikely(epoch))
                bus_ring(bus, &bus->space_waker, epoch);
}

/* Moves read_position over what is released, for the peer to use. */
static void bus_publish_released(struct tachyon_bus *bus) {
        if (ring_advance(&bus->in))
                bus_wake_space(bus);
}

/* ---- sleeping ----------------------------------------------------------- */

/* S2 of wait.h. Where the barrier fails, the peer is asked for fences, and sleeps are bounded. */
static void bus_barrier(struct tachyon_bus *bus) {
        if (!bus_uses_fences(bus) && os_barrier() < 0) {
                atomic_store_explicit(&bus->barrier_lost, true, memory_order_relaxed);
                atomic_fetch_or_explicit(&bus->control->requests, REQUEST_FENCES, memory_order_relaxed);
        }
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(&bus->peer->requests, memory_order_relaxed) & REQUEST_FENCES)
                bus_use_fences(bus);
}

static int64_t bus_bounded(struct tachyon_bus *bus, int64_t deadline) {
        int64_t soon;

        if (likely(!atomic_load_explicit(&bus->barrier_lost, memory_order_relaxed)))
                return deadline;
        soon = now_ns() + BOUNDED_SLEEP_NS;
        return soon < deadline ? soon : deadline;
}

/*
 * Sleeps until the doorbell, the peer's end or the deadline: 0 (look again), or
 * an error. The connection's socket is watched for hang-up even where data
 * bytes on it are another thread's business.
 */
static int bus_sleep(struct tachyon_bus *bus, struct sleeper *sleeper, int64_t deadline) {
        struct pollfd fds[] = {
                { .fd = bus->connection.socket },
                { .fd = bus->connection.process, .events = POLLIN },
                { .fd = -1, .events = POLLIN },
        };
        int64_t until = bus_bounded(bus, deadline);
        int r;

        if (sleeper->doorbell == bus->connection.socket)
                fds[0].events = POLLIN;
        else
                fds[2].fd = sleeper->doorbell;
        r = os_poll(fds, 3, until);
        if (r < 0)
                return r;
        if (r == 0)
                return until < deadline ? 0 : -ETIMEDOUT;
        if (fds[1].revents || fds[0].revents & (POLLHUP | POLLERR))
                bus_note_gone(bus);
        r = sleeper_take_rings(sleeper);
        if (r == -ECONNRESET)
                bus_note_gone(bus);
        return r == -EPROTO ? bus_break(bus) : 0;
}

/* A look at the peer's life, for callers that never sleep. */
static void bus_probe(struct tachyon_bus *bus) {
        struct pollfd fds[] = {
                { .fd = bus->connection.socket },
                { .fd = bus->connection.process, .events = POLLIN },
        };

        if (bus_enter(bus) < 0)
                return;
        if (poll(fds, 2, 0) > 0)
                bus_note_gone(bus);
        bus_leave(bus, 0);
}

static int64_t coarse_ns(void) {
        struct timespec ts;

#ifdef CLOCK_MONOTONIC_COARSE
        clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
#else
        clock_gettime(CLOCK_MONOTONIC, &ts);
#endif
        return (int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static void bus_probe_sometimes(struct tachyon_bus *bus) {
        int64_t now = coarse_ns();

        if (now < bus->next_probe)
                return;
        bus->next_probe = now + PROBE_INTERVAL_NS;
        bus_probe(bus);
}

/* One thread at a time in each direction's slow path. */
static int sleeper_occupy(struct sleeper *sleeper) {
        if (atomic_exchange_explicit(&sleeper->busy, true, memory_order_acquire))
                return fail(EBUSY, "another thread is waiting on this bus already");
        return 0;
}

static void sleeper_vacate(struct sleeper *sleeper) {
        atomic_store_explicit(&sleeper->busy, false, memory_order_release);
}

/* ---- waiting for data --------------------------------------------------- */

/*
 * True where the peer cannot go on before we release some leases: not one more
 * frame fits, or it sleeps for more room than is left with all else released.
 */
static bool bus_leases_block(struct tachyon_bus *bus) {
        uint64_t position = atomic_load_explicit(&bus->control->read_position, memory_order_relaxed);
        uint64_t cursor = atomic_load_explicit(&bus->in.cursor, memory_order_relaxed), target;
        /* Pairs with the release in sleeper_announce(): the target is this epoch's or a later one's. */
        uint32_t waiting = atomic_load_explicit(&bus->peer->space_waiting, memory_order_acquire);

        if (position == cursor)
                return false;
        if (cursor - position >= ring_capacity(bus->in.mask) - FRAME_ALIGNMENT)
                return true;
        target = atomic_load_explicit(&bus->peer->space_target, memory_order_relaxed);
        return waiting && waiting != WAITING_CLOSED && (int64_t)(target - position) > 0;
}

static int bus_explain_leases(struct tachyon_bus *bus) {
        return fail(TACHYON_ELEASES,
                    "%llu messages that are still leased leave the peer no room to send: release some",
                    (unsigned long long)ring_leases_out(&bus->in));
}

static bool data_is_there(void *bus) {
        return ring_has_message(&((struct tachyon_bus *)bus)->in);
}

static bool waiting_is_over(void *context) {
        struct tachyon_bus *bus = context;

        return bus_dead(bus) || bus_peer_end(bus);
}

/* 1: there is a message; 0: there is none, nothing is wrong; or an error. */
static int bus_look_for_data(struct tachyon_bus *bus) {
        int dead = bus_dead(bus), end;

        if (dead)
                return bus_explain_death(dead);
        end = bus_peer_end(bus); /* before the look at the ring: what follows is then the last drain */
        if (data_is_there(bus))
                return 1;
        if (end)
                return bus_explain_end(end);
        if (bus_leases_block(bus))
                return bus_explain_leases(bus);
        return 0;
}

static int bus_sleep_for_data(struct tachyon_bus *bus, int64_t deadline) {
        int r;

        sleeper_announce(&bus->data_sleeper);
        bus_barrier(bus);
        r = bus_look_for_data(bus);
        if (r == 0)
                r = bus_sleep(bus, &bus->data_sleeper, deadline);
        sleeper_retire(&bus->data_sleeper);
        return r;
}

static int bus_await_data_busy(struct tachyon_bus *bus, int64_t deadline) {
        int r = 0;

        while ((r = bus_look_for_data(bus)) == 0) {
                if (sleeper_spin(&bus->data_sleeper, deadline, data_is_there, waiting_is_over, bus))
                        return 0;
                r = bus_sleep_for_data(bus, deadline);
                if (r < 0) /* data first, even at the deadline or after a signal */
                        return data_is_there(bus) && !bus_dead(bus) ? 0 : r;
        }
        return r < 0 ? r : 0;
}

/* 0: there is a message; or an error, -EAGAIN for an immediate deadline. */
static int bus_await_data(struct tachyon_bus *bus, int64_t timeout_ns) {
        int r;

        bus_publish_released(bus);
        r = bus_look_for_data(bus);
        if (r == 0 && timeout_ns == 0) {
                bus_probe_sometimes(bus);
                r = bus_look_for_data(bus);
                return r ? (r < 0 ? r : 0) : -EAGAIN;
        }
        if (r != 0)
                return r < 0 ? r : 0;
        r = bus_enter(bus);
        if (r < 0)
                return r;
        r = sleeper_occupy(&bus->data_sleeper);
        if (r == 0) {
                r = bus_await_data_busy(bus, deadline_after(timeout_ns));
                sleeper_vacate(&bus->data_sleeper);
        }
        return bus_leave(bus, r);
}

/* ---- waiting for room --------------------------------------------------- */

static bool room_moved(void *context) {
        struct tachyon_bus *bus = context;

        return atomic_load_explicit(bus->out.peer_read_position, memory_order_relaxed) != bus->out.read_position;
}

/* 1: a frame of this length fits; 0: not now; or an error. */
static int bus_look_for_room(struct tachyon_bus *bus, uint64_t length) {
        int dead = bus_dead(bus), end;

        if (dead)
                return bus_explain_death(dead);
        end = bus_peer_end(bus);
        if (end)
                return bus_explain_end(end);
        if (ring_refresh(&bus->out) < 0) {
                fail(EPROTO, "the peer claims to have read what was not sent");
                return bus_break(bus);
        }
        return length <= bus->out.limit - bus->out.position;
}

static int bus_sleep_for_room(struct tachyon_bus *bus, uint64_t length, int64_t deadline) {
        uint32_t epoch;
        int r;

        /* Enough is when limit >= position + length; published by S1's release. */
        atomic_store_explicit(&bus->control->space_target,
                              bus->out.position + length + FRAME_ALIGNMENT - ring_capacity(bus->out.mask),
                              memory_order_relaxed);
        sleeper_announce(&bus->space_sleeper);
        bus_barrier(bus);
        r = bus_look_for_room(bus, length);
        if (r == 0) {
                /* A peer that sleeps for data, all its room leased away, must learn that we wait too. */
                epoch = waker_look(&bus->data_waker, true);
                if (epoch)
                        bus_ring(bus, &bus->data_waker, epoch);
                r = bus_sleep(bus, &bus->space_sleeper, deadline);
        }
        sleeper_retire(&bus->space_sleeper);
        return r;
}

static int bus_await_room_busy(struct tachyon_bus *bus, uint64_t length, int64_t deadline) {
        int r, again;

        while ((r = bus_look_for_room(bus, length)) == 0) {
                if (sleeper_spin(&bus->space_sleeper, deadline, room_moved, waiting_is_over, bus))
                        continue;
                r = bus_sleep_for_room(bus, length, deadline);
                if (r < 0) {
                        again = bus_look_for_room(bus, length);
                        return again > 0 ? 0 : again < 0 ? again : r;
                }
        }
        return r < 0 ? r : 0;
}

static int bus_check_size(const struct tachyon_bus *bus, uint64_t size) {
        uint64_t max = ring_max_size(bus->out.mask);

        if (size > max)
                return fail(EMSGSIZE, "a message of %llu bytes is over the largest, %llu (capacity %llu)",
                            (unsigned long long)size, (unsigned long long)max,
                            (unsigned long long)ring_capacity(bus->out.mask));
        return 0;
}

/* 0: a message of this size fits; or an error, -EAGAIN for an immediate deadline. */
static int bus_await_room(struct tachyon_bus *bus, uint64_t size, int64_t timeout_ns) {
        uint64_t length = frame_length(size, FRAME_INLINE_SIZE);
        int r;

        r = bus_look_for_room(bus, length);
        if (r < 0)
                return r;
        if (bus->out.reserved)
                return fail(EBUSY, "a reservation is open: commit or cancel it first");
        if (r > 0)
                return 0;
        bus_publish_released(bus);
        if (timeout_ns == 0) {
                bus_probe_sometimes(bus);
                r = bus_look_for_room(bus, length);
                return r ? (r < 0 ? r : 0) : -EAGAIN;
        }
        r = bus_enter(bus);
        if (r < 0)
                return r;
        r = sleeper_occupy(&bus->space_sleeper);
        if (r == 0) {
                r = bus_await_room_busy(bus, length, deadline_after(timeout_ns));
                sleeper_vacate(&bus->space_sleeper);
        }
        return bus_leave(bus, r);
}

/* ---- sending ------------------------------------------------------------ */

/* Alive, as far as we know: what else there is to heed, the slow path does. */
static bool bus_may_send(const struct tachyon_bus *bus) {
        return !bus_dead(bus) && !atomic_load_explicit(&bus->peer_end, memory_order_relaxed);
}

static __attribute__((__noinline__)) int bus_send_slow(struct tachyon_bus *bus, const void *data, size_t size,
                                                       uint32_t type_id, int64_t timeout_ns) {
        int r;

        if (bus_may_send(bus) && ring_send(&bus->out, data, size, type_id) == 0)
                return bus_wake_data(bus, bus_uses_fences(bus));
        r = bus_check_size(bus, size);
        if (r == 0)
                r = bus_await_room(bus, size, timeout_ns);
        if (r == 0)
                r = ring_send(&bus->out, data, size, type_id);
        return r < 0 ? r : bus_wake_data(bus, bus_uses_fences(bus));
}

TACHYON_API int tachyon_bus_send(tachyon_bus *bus, const void *data, size_t size, uint32_t type_id,
                                 int64_t timeout_ns) {
        if (likely(!atomic_load_explicit(&bus->handle.attention, memory_order_relaxed)) &&
            likely(ring_send_small(&bus->out, data, size, type_id)))
                return bus_wake_data(bus, false); /* with fences, `attention` is set */
        return bus_send_slow(bus, data, size, type_id, timeout_ns);
}

TACHYON_API int tachyon_bus_try_send(tachyon_bus *bus, const void *data, uint32_t size, uint32_t type_id) {
        return tachyon_bus_send(bus, data, size, type_id, 0);
}

TACHYON_API int tachyon_bus_reserve(tachyon_bus *bus, void **datap, size_t size, int64_t timeout_ns) {
        int r;

        if (bus_may_send(bus) && ring_reserve(&bus->out, datap, size) == 0)
                return 0;
        r = bus_check_size(bus, size);
        if (r == 0)
                r = bus_await_room(bus, size, timeout_ns);
        return r < 0 ? r : ring_reserve(&bus->out, datap, size);
}

TACHYON_API int tachyon_bus_commit(tachyon_bus *bus, size_t size, uint32_t type_id) {
        int dead = bus_dead(bus);

        if (unlikely(dead))
                return bus_explain_death(dead);
        if (unlikely(ring_commit(&bus->out, size, type_id) < 0))
                return bus->out.reserved ? fail(EINVAL, "%zu bytes is more than was reserved, %llu", size,
                                                (unsigned long long)(bus->out.reserved - 1))
                                         : fail(EINVAL, "nothing is reserved");
        return bus_wake_data(bus, bus_uses_fences(bus));
}

TACHYON_API int tachyon_bus_cancel(tachyon_bus *bus) {
        int dead = bus_dead(bus);

        if (dead)
                return bus_explain_death(dead);
        ring_cancel(&bus->out);
        return 0;
}

TACHYON_API int tachyon_bus_wait_space(tachyon_bus *bus, size_t size, int64_t timeout_ns) {
        int r = bus_check_size(bus, size);

        return r < 0 ? r : bus_await_room(bus, size, timeout_ns);
}

/* ---- receiving ---------------------------------------------------------- */

/* 0, -EAGAIN, or -EPROTO, which ends the bus. */
static __attribute__((__noinline__)) int bus_take(struct tachyon_bus *bus, tachyon_message *message) {
        int r = ring_recv(&bus->in, message);

        if (r > 0) {
                bus_publish_released(bus);
                ring_checkpoint(&bus->in);
                return 0;
        }
        if (r == -EPROTO) {
                fail(EPROTO, "the peer wrote a frame that cannot be");
                return bus_break(bus);
        }
        return r;
}

static inline bool bus_may_recv(const struct tachyon_bus *bus) {
        return likely(!atomic_load_explicit(&bus->handle.dead, memory_order_relaxed));
}

static __attribute__((__noinline__)) int bus_recv_slow(struct tachyon_bus *bus, tachyon_message *message,
                                                       int64_t timeout_ns) {
        int r = bus_may_recv(bus) ? bus_take(bus, message) : -EAGAIN;

        if (r != -EAGAIN)
                return r;
        r = bus_await_data(bus, timeout_ns);
        return r < 0 ? r : bus_take(bus, message);
}

TACHYON_API int tachyon_bus_recv(tachyon_bus *bus, tachyon_message *message, int64_t timeout_ns) {
        if (bus_may_recv(bus) && likely(ring_recv_small(&bus->in, message)))
                return 0;
        return bus_recv_slow(bus, message, timeout_ns);
}

TACHYON_API int tachyon_bus_recv_batch(tachyon_bus *bus, tachyon_message *messages, size_t max,
                                       int64_t timeout_ns) {
        size_t count = 1;
        int r;

        if (!max)
                return fail(EINVAL, "room for at least one message is needed");
        r = tachyon_bus_recv(bus, messages, timeout_ns);
        if (r < 0)
                return r;
        while (count < max && count < INT32_MAX &&
               (ring_recv_small(&bus->in, &messages[count]) || bus_take(bus, &messages[count]) == 0))
                count++;
        return (int)count;
}

TACHYON_API int tachyon_bus_wait_data(tachyon_bus *bus, int64_t timeout_ns) {
        return bus_await_data(bus, timeout_ns);
}

/* ---- releasing ---------------------------------------------------------- */

static void bus_destroy(struct tachyon_bus *bus) {
        bool forked = bus_dead(bus) == TACHYON_EFORK;

        handle_remove(&bus->handle);
        if (forked) /* not mapped here: something else may lie at these addresses by now */
                bus->connection.ours.reservation = bus->connection.theirs.reservation = NULL;
        connection_destroy(&bus->connection);
        free(bus->in.leases);
        free(bus);
}

static int bus_release_error(struct tachyon_bus *bus, uint64_t lease) {
        return bus_dead(bus) == TACHYON_EFORK
                       ? bus_explain_death(TACHYON_EFORK)
                       : fail(EINVAL, "no lease %llu is out: was it released twice?", (unsigned long long)lease);
}

/* After close or free: nobody is to be woken, but somebody may have to clear up. */
static int bus_release_dead(struct tachyon_bus *bus, uint64_t lease) {
        if (bus_dead(bus) == TACHYON_EFORK || ring_release(&bus->in, lease) < 0)
                return bus_release_error(bus, lease);
        /* Acq_rel: the last one comes after all the others' reads of the ring. */
        if (atomic_load_explicit(&bus->orphans, memory_order_acquire) &&
            atomic_fetch_sub_explicit(&bus->orphans, 1, memory_order_acq_rel) == 1)
                bus_destroy(bus);
        else
                ring_advance(&bus->in);
        return 0;
}

static __attribute__((__noinline__)) int bus_release_slow(struct tachyon_bus *bus, uint64_t lease) {
        int r;

        if (bus_dead(bus))
                return bus_release_dead(bus, lease);
        r = ring_release(&bus->in, lease);
        if (r < 0)
                return bus_release_error(bus, lease);
        /* Held back for now (see ring.h), unless the peer is seen to wait for it. */
        if (r > 0 || atomic_load_explicit(&bus->peer->space_waiting, memory_order_relaxed))
                bus_publish_released(bus);
        return 0;
}

TACHYON_API int tachyon_bus_release(tachyon_bus *bus, uint64_t lease) {
        if (bus_may_recv(bus) && likely(!atomic_load_explicit(&bus->peer->space_waiting, memory_order_relaxed)) &&
            likely(ring_release_newest(&bus->in, lease)))
                return 0;
        return bus_release_slow(bus, lease);
}

TACHYON_API int tachyon_bus_release_batch(tachyon_bus *bus, const tachyon_message *messages, size_t count) {
        bool dead = bus_dead(bus);
        int result = 0, r;

        for (size_t i = 0; i < count; i++) {
                r = dead ? bus_release_dead(bus, messages[i].lease) : ring_release(&bus->in, messages[i].lease);
                if (r < 0 && result == 0)
                        result = dead ? r : bus_release_error(bus, messages[i].lease);
        }
        if (!dead)
                bus_publish_released(bus);
        return result;
}

/* ---- event loops -------------------------------------------------------- */

static int bus_arm_busy(struct tachyon_bus *bus) {
        struct pollfd fds[] = {
                { .fd = bus->connection.socket, .events = POLLIN },
                { .fd = bus->connection.process, .events = POLLIN },
        };
        int r;

        bus_publish_released(bus);
        if (poll(fds, 2, 0) > 0) {
                if (fds[1].revents || fds[0].revents & (POLLHUP | POLLERR))
                        bus_note_gone(bus);
                r = sleeper_take_rings(&bus->data_sleeper);
                if (r == -EPROTO)
                        return bus_break(bus);
                if (r < 0)
                        bus_note_gone(bus);
        }
        sleeper_announce(&bus->data_sleeper);
        bus_barrier(bus);
        if (bus_look_for_data(bus) == 0)
                return 0;
        sleeper_retire(&bus->data_sleeper);
        return 1;
}

TACHYON_API int tachyon_bus_arm(tachyon_bus *bus) {
        int r = bus_enter(bus);

        if (r < 0)
                return r;
        r = sleeper_occupy(&bus->data_sleeper);
        if (r == 0) {
                r = bus_arm_busy(bus);
                sleeper_vacate(&bus->data_sleeper);
        }
        return bus_leave(bus, r);
}

TACHYON_API int tachyon_bus_fds(tachyon_bus *bus, int *data_fdp, int *death_fdp) {
        int dead = bus_dead(bus);

        if (dead)
                return bus_explain_death(dead);
        *data_fdp = bus->connection.socket;
        *death_fdp = bus->connection.process;
        return 0;
}

/* ---- for language runtimes ---------------------------------------------- */

TACHYON_API const uint64_t *tachyon_bus_recv_slot(tachyon_bus *bus, tachyon_make_bytes make) {
        bus->make = make;
        return bus->slot;
}

static int bus_recv_soon(struct tachyon_bus *bus, tachyon_message *message) {
        int r, polls = bus->settings.spin_ns ? OBJECT_POLLS : 1;

        for (; bus_may_recv(bus) && polls; polls--) {
                if (likely(ring_recv_small(&bus->in, message)))
                        return 0;
                r = bus_take(bus, message);
                if (r != -EAGAIN)
                        return r;
                cpu_relax();
        }
        return bus_recv_slow(bus, message, 0);
}

/* The object could not be made: the message is the next one again. */
static void bus_unreceive(struct tachyon_bus *bus, const tachyon_message *message) {
        bus->in.messages--;
        bus->in.bytes -= message->size;
        atomic_store_explicit(&bus->in.cursor, message->lease, memory_order_release);
}

TACHYON_API void *tachyon_bus_try_recv_object(tachyon_bus *bus) {
        tachyon_message message;
        void *object;
        int r = bus_recv_soon(bus, &message);

        bus->slot[0] = (uint64_t)(int64_t)-r;
        if (unlikely(r < 0))
                return bus->make("", 0);
        bus->slot[1] = message.type_id;
        bus->slot[2] = message.size;
        bus->slot[3] = message.correlation_id;
        object = bus->make(message.data, (ptrdiff_t)message.size);
        if (likely(object))
                tachyon_bus_release(bus, message.lease);
        else
                bus_unreceive(bus, &message);
        return object;
}

/* ---- facts -------------------------------------------------------------- */

static int copy_struct(void *to, const void *from, uint64_t size, uint64_t wanted) {
        if (wanted < sizeof(uint64_t))
                return fail(EINVAL, "struct_size is not set");
        memcpy(to, from, size < wanted ? size : wanted);
        memcpy(to, &wanted, sizeof(wanted));
        return 0;
}

TACHYON_API int tachyon_bus_properties(tachyon_bus *bus, tachyon_properties *properties) {
        tachyon_properties p = {
                .send_capacity = ring_capacity(bus->out.mask),
                .recv_capacity = ring_capacity(bus->in.mask),
                .max_send_size = ring_max_size(bus->out.mask),
                .max_recv_size = ring_max_size(bus->in.mask),
                .spin_ns = bus->settings.spin_ns,
                .peer_pid = bus->connection.peer.pid,
                .peer_uid = bus->connection.peer.uid,
                .kind = bus->settings.kind,
                .layout_version = TACHYON_LAYOUT_VERSION,
                .is_listener = bus->connection.is_listener,
                .isolation = bus->connection.theirs.isolated,
                .barrier = !bus_uses_fences(bus),
                .huge_pages = bus->connection.ours.huge_pages,
                .watches_pid = bus->connection.process >= 0,
                .trusted = bus->settings.trusted,
        };

        if (bus_dead(bus) == TACHYON_EFORK)
                return bus_explain_death(TACHYON_EFORK);
        return copy_struct(properties, &p, sizeof(p), properties->struct_size);
}

TACHYON_API int tachyon_bus_stats(tachyon_bus *bus, tachyon_stats *stats) {
        tachyon_stats s;
        uint64_t read_position;

        if (bus_dead(bus) == TACHYON_EFORK)
                return bus_explain_death(TACHYON_EFORK);
        read_position = atomic_load_explicit(bus->in.read_position, memory_order_relaxed);
        s = (tachyon_stats){
                .sent_messages = bus->out.messages,
                .sent_bytes = bus->out.bytes,
                .received_messages = bus->in.messages,
                .received_bytes = bus->in.bytes,
                .send_used = bus->out.position -
                             atomic_load_explicit(bus->out.peer_read_position, memory_order_relaxed),
                .recv_used = atomic_load_explicit(&bus->in.cursor, memory_order_relaxed) - read_position,
                .leases = ring_leases_out(&bus->in),
                .doorbells = atomic_load_explicit(&bus->data_waker.rings, memory_order_relaxed) +
                             atomic_load_explicit(&bus->space_waker.rings, memory_order_relaxed),
                .data_sleeps = bus->data_sleeper.sleeps,
                .space_sleeps = bus->space_sleeper.sleeps,
        };
        return copy_struct(stats, &s, sizeof(s), stats->struct_size);
}

/* ---- making and ending -------------------------------------------------- */

static void bus_init(struct tachyon_bus *bus, struct connection *connection, const struct settings *settings) {
        const struct half *ours = &connection->ours, *theirs = &connection->theirs;

        bus->connection = *connection;
        bus->settings = *settings;
        bus->control = ours->control;
        bus->peer = theirs->control;
        if (!connection->membarrier)
                bus_use_fences(bus);
        ring_producer_init(&bus->out, ours->ring, ours->capacity, &bus->peer->read_position, 0);
        ring_consumer_init(&bus->in, theirs->ring, theirs->capacity, &bus->control->read_position,
                           bus->in.leases, FRAME_VALID, 0);
        waker_init(&bus->data_waker, connection->socket, &bus->peer->data_waiting);
        waker_init(&bus->space_waker, connection->room, &bus->peer->space_waiting);
        sleeper_init(&bus->data_sleeper, connection->socket, &bus->control->data_waiting, settings->spin_ns,
                     settings->spin_fixed);
        sleeper_init(&bus->space_sleeper, connection->room, &bus->control->space_waiting, settings->spin_ns,
                     settings->spin_fixed);
}

int bus_new(struct tachyon_bus **busp, struct connection *connection, const struct settings *settings) {
        struct tachyon_bus *bus;

        bus = aligned_alloc(TACHYON_SEPARATION, sizeof(*bus));
        if (!bus)
                return fail(ENOMEM, "no memory for a bus");
        memset(bus, 0, sizeof(*bus));
        bus->in.leases = calloc(connection->theirs.capacity / FRAME_ALIGNMENT, sizeof(*bus->in.leases));
        if (!bus->in.leases) {
                free(bus);
                return fail(ENOMEM, "no memory for the leases of a ring of %llu bytes",
                            (unsigned long long)connection->theirs.capacity);
        }
        bus_init(bus, connection, settings);
        *connection = (struct connection)CONNECTION_INIT;
        handle_add(&bus->handle);
        *busp = bus;
        return 0;
}

static void bus_tell_end(struct tachyon_bus *bus) {
        /* E2: all that will ever be published is. Pairs with E1 in bus_note_gone(). */
        atomic_store_explicit(&bus->control->state, HALF_CLOSED, memory_order_release);
        /* The peer's sleepers see the end of the socket, and so do ours. */
        shutdown(bus->connection.socket, SHUT_RDWR);
        /* U2: those that entered before the kill are on their way out. */
        while (atomic_load(&bus->users))
                sched_yield();
        /* Makes the peer's next send look at our state instead of at an empty doorbell. */
        atomic_store_explicit(&bus->control->data_waiting, WAITING_CLOSED, memory_order_release);
        atomic_store_explicit(&bus->control->space_waiting, WAITING_CLOSED, memory_order_release);
}

TACHYON_API void tachyon_bus_close(tachyon_bus *bus) {
        if (!bus || atomic_exchange(&bus->closed, true))
                return;
        if (bus_dead(bus) != TACHYON_EFORK) {
                handle_kill(&bus->handle, ECANCELED);
                bus_tell_end(bus);
        }
        closep(&bus->connection.socket);
        closep(&bus->connection.room);
        closep(&bus->connection.process);
}

TACHYON_API void tachyon_bus_free(tachyon_bus *bus) {
        uint64_t leases;

        if (!bus)
                return;
        tachyon_bus_close(bus);
        leases = bus_dead(bus) == TACHYON_EFORK ? 0 : ring_leases_out(&bus->in);
        if (leases)
                atomic_store_explicit(&bus->orphans, leases, memory_order_release);
        else
                bus_destroy(bus);
}
