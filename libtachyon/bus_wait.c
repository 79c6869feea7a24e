/* SPDX-License-Identifier: MIT */
/* Waiting for data and for room, waking the peer, and noticing its end. */
#include "bus.h"
#include "os.h"
#include <sys/socket.h>

/* Where membarrier() is refused all of a sudden, sleep in slices: the peer may leave its fence out. */
#define BOUNDED_SLEEP_NS 1000000
/* A caller that only ever tries hears of the peer's death at most this late. */
#define PROBE_INTERVAL_NS 10000000

/* ---- waking the peer ---------------------------------------------------- */

static bool bus_all_was_read(const struct tachyon_bus *bus) {
        return atomic_load_explicit(bus->out.peer_read_position, memory_order_relaxed) == bus->out.position &&
               !ring_exchange_is_unread(&bus->out);
}

/* There is nobody to wake: 0, or the peer's end, if it has not taken all that we sent before. */
static int bus_ring_end(struct tachyon_bus *bus, const struct waker *waker) {
        int end = bus_peer_end(bus);

        if (!end || (waker == &bus->data_waker && bus_all_was_read(bus)))
                return 0;
        return bus_explain_end(end);
}

int bus_ring(struct tachyon_bus *bus, struct waker *waker, uint32_t epoch) {
        int r;

        if (epoch == WAITING_CLOSED || bus_peer_end(bus))
                return bus_ring_end(bus, waker);
        if (atomic_load_explicit(&waker->rung, memory_order_relaxed) == epoch)
                return 0;
        r = bus_enter(bus);
        if (r < 0)
                return r;
        r = waker_ring(waker, epoch);
        if (r == -ECONNRESET) {
                bus_note_gone(bus);
                r = bus_ring_end(bus, waker); /* it may have polled, and ended between our two looks */
        }
        return bus_leave(bus, r);
}

void bus_use_fences(struct tachyon_bus *bus) {
        atomic_store_explicit(&bus->fences, true, memory_order_relaxed);
        atomic_store_explicit(&bus->handle.attention, 1, memory_order_relaxed);
}

/* ---- sleeping ----------------------------------------------------------- */

/* S2 of wait.h. Where the barrier fails, the peer is asked for fences, and sleeps are bounded. */
void bus_barrier(struct tachyon_bus *bus) {
        if (!bus_uses_fences(bus) && os_barrier() < 0) {
                atomic_store_explicit(&bus->barrier_lost, true, memory_order_relaxed);
                atomic_fetch_or_explicit(&bus->control->requests, REQUEST_FENCES, memory_order_relaxed);
        }
        atomic_thread_fence(memory_order_seq_cst);
        LABEL("sleep:barrier");
        if (atomic_load_explicit(&bus->peer->requests, memory_order_relaxed) & REQUEST_FENCES)
                bus_use_fences(bus);
}

int64_t bus_bounded(struct tachyon_bus *bus, int64_t deadline) {
        int64_t soon;

        if (likely(!atomic_load_explicit(&bus->barrier_lost, memory_order_relaxed)))
                return deadline;
        soon = now_ns() + BOUNDED_SLEEP_NS;
        return soon < deadline ? soon : deadline;
}

/*
 * Sleeps until the doorbell, the peer's end or the deadline: 0 (look again), or
 * an error. The connection's socket is watched for hang-up even where data
 * bytes on it are another thread's business. Where the system cannot do that
 * (os_sleep()), the room socket's own hang-up says the same: it is between the
 * same two processes, and bus_tell_end() and bus_break() shut both.
 */
static int bus_sleep(struct tachyon_bus *bus, struct sleeper *sleeper, int64_t deadline) {
        struct pollfd fds[] = {
                { .fd = bus->connection.socket, .events = POLLHUP },
                { .fd = bus->connection.process, .events = POLLIN },
                { .fd = -1, .events = POLLIN },
        };
        int64_t until = bus_bounded(bus, deadline);
        int r;

        if (sleeper->doorbell == bus->connection.socket)
                fds[0].events = POLLIN;
        else
                fds[2].fd = sleeper->doorbell;
        LABEL("sleep:to-poll");
        r = os_poll(fds, 3, until);
        LABEL("sleep:awake");
        if (r < 0)
                return r;
        if (r == 0)
                return until < deadline ? 0 : -ETIMEDOUT;
        if (fds[1].revents || fds[0].revents & (POLLHUP | POLLERR))
                bus_note_gone(bus);
        r = sleeper_take_rings(sleeper);
        if (r == -ECONNRESET)
                bus_note_gone(bus);
        if (r == -EPROTO)
                return bus_break(bus);
        /* Woken, but too late: a peer that rings all the time shall not keep us past the deadline. */
        return deadline != DEADLINE_NEVER && now_ns() >= deadline ? -ETIMEDOUT : 0;
}

/* A look at the peer's life, for callers that never sleep. */
static void bus_probe(struct tachyon_bus *bus) {
        struct pollfd fds[] = {
                { .fd = bus->connection.socket, .events = POLLHUP },
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

/* True where the thread is wanted elsewhere, see tachyon_thread_interrupt_fd(). */
static bool bus_probe_sometimes(struct tachyon_bus *bus) {
        int64_t now = coarse_ns();

        if (now < atomic_load_explicit(&bus->next_probe, memory_order_relaxed))
                return false;
        atomic_store_explicit(&bus->next_probe, now + PROBE_INTERVAL_NS, memory_order_relaxed);
        bus_probe(bus);
        return os_interrupted();
}

/* One thread at a time in each direction's slow path. */
int sleeper_occupy(struct sleeper *sleeper) {
        if (atomic_exchange_explicit(&sleeper->busy, true, memory_order_acquire))
                return fail(EBUSY, "another thread is waiting on this bus already");
        return 0;
}

void sleeper_vacate(struct sleeper *sleeper) {
        atomic_store_explicit(&sleeper->busy, false, memory_order_release);
}

/* ---- waiting for data --------------------------------------------------- */

static bool data_is_there(void *bus) {
        return ring_has_message(&((struct tachyon_bus *)bus)->in);
}

/*
 * True where the peer cannot go on before we release some leases: not one more
 * frame fits, or it waits for more room than is left with all else released.
 */
static bool bus_leases_block(struct tachyon_bus *bus) {
        uint64_t position = atomic_load_explicit(&bus->control->read_position, memory_order_relaxed);
        uint64_t cursor = atomic_load_explicit(&bus->in.cursor, memory_order_relaxed), target;

        if (position == cursor)
                return false;
        /* T2: what the peer had sent when it stated this target, we see below. Pairs with T1 in bus_want_room(). */
        target = atomic_load_explicit(&bus->peer->space_target, memory_order_acquire);
        if ((int64_t)(target - position) <= 0 &&
            cursor - position < ring_capacity(bus->in.mask) - FRAME_ALIGNMENT)
                return false;
        /* Sent after the caller's look, and all the peer's next frame waits for may be that we read it. */
        return !data_is_there(bus);
}

static int bus_explain_leases(struct tachyon_bus *bus) {
        uint64_t n = ring_leases_out(&bus->in);

        return fail(TACHYON_ELEASES, "%llu message%s still leased: the peer has no room to send; release some",
                    (unsigned long long)n, n == 1 ? "" : "s");
}

static bool waiting_is_over(void *context) {
        struct tachyon_bus *bus = context;

        /* Nobody tells one who polls that the peer was killed. Short polls end in a sleep, which sees it. */
        if (unlikely(bus->settings.spin_ns > PROBE_INTERVAL_NS) && bus_probe_sometimes(bus))
                return true; /* the sleep that comes next says -EINTR */
        return bus_dead(bus) || bus_peer_end(bus);
}

static bool data_wait_is_over(void *bus) {
        return waiting_is_over(bus) || bus_leases_block(bus);
}

int bus_look_for_data(struct tachyon_bus *bus) {
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
        if (r >= 0)
                sleeper_learn_from_sleep(&bus->data_sleeper);
        return r;
}

static int bus_await_data_busy(struct tachyon_bus *bus, int64_t deadline) {
        int r = 0;

        while ((r = bus_look_for_data(bus)) == 0) {
                if (sleeper_spin(&bus->data_sleeper, deadline, data_is_there, data_wait_is_over, bus))
                        return 0;
                r = bus_sleep_for_data(bus, deadline);
                if (r < 0) /* data first, even at the deadline or after a signal */
                        return data_is_there(bus) && !bus_dead(bus) ? 0 : r;
        }
        return r < 0 ? r : 0;
}

/* 0: there is a message; or an error, -EAGAIN for an immediate deadline. */
int bus_await_data(struct tachyon_bus *bus, int64_t timeout_ns) {
        int r = bus_dead(bus);

        if (r) /* first: in a forked child, nothing of the rings is mapped */
                return bus_explain_death(r);
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

TACHYON_API int tachyon_bus_wait_data(tachyon_bus *bus, int64_t timeout_ns) {
        return bus_await_data(bus, timeout_ns);
}

/* ---- waiting for room --------------------------------------------------- */

struct room_wait {
        struct tachyon_bus *bus;
        uint64_t length;
        uint64_t seen;    /* the peer's read_position, at the last look */
        bool others_send; /* meanwhile: `out` is theirs, and is only looked at */
};

static bool room_moved(void *context) {
        struct room_wait *wait = context;

        return atomic_load_explicit(wait->bus->out.peer_read_position, memory_order_relaxed) != wait->seen;
}

/* 0, or an error: it is over. */
static int bus_check_end(struct tachyon_bus *bus) {
        int dead = bus_dead(bus), end;

        if (dead)
                return bus_explain_death(dead);
        end = bus_peer_end(bus);
        return end ? bus_explain_end(end) : 0;
}

int bus_look_for_room(struct tachyon_bus *bus, uint64_t length) {
        int r = bus_check_end(bus);

        if (r < 0)
                return r;
        if (ring_refresh(&bus->out) < 0) {
                fail(EPROTO, "the peer claims to have read what was not sent");
                return bus_break(bus);
        }
        return length <= bus->out.limit - bus->out.position;
}

/*
 * As bus_look_for_room(). Where others send, it only says whether another try is
 * worth it: their position may be old here, and what the peer claims is checked
 * by those who send.
 */
static int bus_look_again(struct room_wait *wait) {
        struct tachyon_bus *bus = wait->bus;
        uint64_t position = bus->out.position;
        int r = bus_check_end(bus);

        if (r < 0) /* first: in a forked child, nothing of the rings is mapped */
                return r;
        wait->seen = atomic_load_explicit(bus->out.peer_read_position, memory_order_relaxed);
        if (!wait->others_send)
                return bus_look_for_room(bus, wait->length);
        return (int64_t)(wait->seen + ring_capacity(bus->out.mask) - FRAME_ALIGNMENT - position) >=
               (int64_t)wait->length;
}

void bus_want_room(struct tachyon_bus *bus, uint64_t length) {
        uint32_t epoch;

        /*
         * Enough is when limit >= position + length. T1: all that we sent, we
         * sent before. Pairs with T2 in bus_leases_block().
         */
        atomic_store_explicit(&bus->control->space_target,
                              bus->out.position + length + FRAME_ALIGNMENT - ring_capacity(bus->out.mask),
                              memory_order_release);
        LABEL("room:wanted");
        /* A peer that sleeps for data already has to be told. */
        epoch = waker_look(&bus->data_waker, true);
        if (epoch)
                bus_ring(bus, &bus->data_waker, epoch);
}

void bus_want_nothing(struct tachyon_bus *bus) {
        atomic_store_explicit(&bus->control->space_target, bus->out.read_position, memory_order_relaxed);
}

static int bus_sleep_for_room(struct room_wait *wait, int64_t deadline) {
        struct tachyon_bus *bus = wait->bus;
        int r;

        sleeper_announce(&bus->space_sleeper);
        bus_barrier(bus);
        r = bus_look_again(wait);
        if (r == 0)
                r = bus_sleep(bus, &bus->space_sleeper, deadline);
        sleeper_retire(&bus->space_sleeper);
        if (r >= 0)
                sleeper_learn_from_sleep(&bus->space_sleeper);
        return r;
}

static bool room_wait_is_over(void *wait) {
        return waiting_is_over(((struct room_wait *)wait)->bus);
}

static int bus_await_room_busy(struct room_wait *wait, int64_t deadline) {
        int r, again;

        bus_want_room(wait->bus, wait->length);
        while ((r = bus_look_again(wait)) == 0) {
                if (sleeper_spin(&wait->bus->space_sleeper, deadline, room_moved, room_wait_is_over, wait))
                        continue;
                r = bus_sleep_for_room(wait, deadline);
                if (r < 0) {
                        again = bus_look_again(wait);
                        return again > 0 ? 0 : again < 0 ? again : r;
                }
        }
        return r < 0 ? r : 0;
}

int bus_check_size(const struct tachyon_bus *bus, uint64_t size) {
        uint64_t max = ring_max_size(bus->out.mask);

        if (size > max)
                return fail(EMSGSIZE, "a message of %llu bytes is over the largest, %llu (capacity %llu)",
                            (unsigned long long)size, (unsigned long long)max,
                            (unsigned long long)ring_capacity(bus->out.mask));
        return 0;
}

/*
 * There is room, but little, in a ring that was full: while the consumer goes on
 * reading, wait for an eighth; when it pauses, go on. Otherwise a faster
 * producer would take each line as it is freed, and read_position's line would
 * travel for every message, to the cost of both.
 */
#define GATHER_LOOKS 64
#define GATHER_PAUSES 16

static void bus_let_room_gather(struct tachyon_bus *bus) {
        struct ring_producer *out = &bus->out;
        uint64_t seen;

        for (int i = 0; i < GATHER_LOOKS && out->limit - out->position < ring_capacity(out->mask) / 8; i++) {
                seen = out->read_position;
                for (int k = 0; k < GATHER_PAUSES; k++)
                        cpu_relax();
                if (ring_refresh(out) < 0 || out->read_position == seen)
                        return;
        }
}

/* 0: a message of this size fits; or an error, -EAGAIN for an immediate deadline. */
static int bus_find_room(struct tachyon_bus *bus, uint64_t size, int64_t timeout_ns, bool others_send) {
        struct room_wait wait = { bus, frame_length(size, FRAME_INLINE_SIZE), 0, others_send };
        int r;

        r = bus_check_size(bus, size);
        if (r == 0)
                r = bus_look_again(&wait);
        if (r < 0)
                return r;
        if (bus->out.reserved)
                return fail(EBUSY, "a reservation is open: commit or cancel it first");
        if (r > 0)
                return 0;
        if (timeout_ns == 0) {
                bus_probe_sometimes(bus);
                r = bus_look_again(&wait);
                return r ? (r < 0 ? r : 0) : -EAGAIN;
        }
        r = bus_enter(bus);
        if (r < 0)
                return r;
        r = sleeper_occupy(&bus->space_sleeper);
        if (r == 0) {
                r = bus_await_room_busy(&wait, deadline_after(timeout_ns));
                if (r < 0)
                        bus_want_nothing(bus);
                sleeper_vacate(&bus->space_sleeper);
        }
        return bus_leave(bus, r);
}

int bus_await_room(struct tachyon_bus *bus, uint64_t size, int64_t timeout_ns) {
        int r = bus_find_room(bus, size, timeout_ns, false);

        if (r == 0 && timeout_ns != 0 && bus->settings.spin_ns)
                bus_let_room_gather(bus);
        return r;
}

int bus_watch_room(struct tachyon_bus *bus, uint64_t size, int64_t timeout_ns) {
        return bus_find_room(bus, size, timeout_ns, true);
}

TACHYON_API int tachyon_bus_wait_space(tachyon_bus *bus, size_t size, int64_t timeout_ns) {
        return bus_await_room(bus, bus_room_size(bus, size), timeout_ns);
}
