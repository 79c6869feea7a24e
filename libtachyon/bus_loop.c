/* SPDX-License-Identifier: MIT */
/*
 * Waiting for more than one thing: doorbells for event loops, and several buses
 * at once. The same protocol as in bus_wait.c (see wait.h), but for the sleep,
 * which is the caller's.
 */
#include "bus.h"
#include "os.h"
#include <limits.h>

/*
 * Takes down what the descriptors say of the peer, and takes old doorbells off:
 * 0, or -EPROTO. The connection's socket is watched for hang-up even where data
 * bytes on it are another thread's business.
 */
static int bus_look_around(struct tachyon_bus *bus, struct sleeper *sleeper) {
        struct pollfd fds[] = {
                { .fd = sleeper->doorbell, .events = POLLIN },
                { .fd = bus->connection.process, .events = POLLIN },
                { .fd = bus->connection.socket, .events = POLLHUP },
        };
        int r;

        if (poll(fds, 3, 0) <= 0)
                return 0;
        if (fds[1].revents || fds[2].revents)
                bus_note_gone(bus);
        r = sleeper_take_rings(sleeper);
        if (r == -ECONNRESET)
                bus_note_gone(bus);
        return r == -EPROTO ? bus_break(bus) : 0;
}

/* ---- for data ----------------------------------------------------------- */

static int bus_arm_busy(struct tachyon_bus *bus) {
        int r;

        r = bus_look_around(bus, &bus->data_sleeper);
        if (r < 0)
                return r;
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

/* ---- for room ----------------------------------------------------------- */

static int bus_arm_space_busy(struct tachyon_bus *bus, uint64_t length) {
        int r;

        r = bus_look_around(bus, &bus->space_sleeper);
        if (r < 0)
                return r;
        bus_want_room(bus, length);
        sleeper_announce(&bus->space_sleeper);
        bus_barrier(bus);
        if (bus_look_for_room(bus, length) == 0)
                return 0;
        sleeper_retire(&bus->space_sleeper);
        return 1;
}

TACHYON_API int tachyon_bus_arm_space(tachyon_bus *bus, size_t size) {
        int r = bus_check_size(bus, size);

        if (r < 0)
                return r;
        r = bus_enter(bus);
        if (r < 0)
                return r;
        if (bus->out.reserved)
                return bus_leave(bus, fail(EBUSY, "a reservation is open: commit or cancel it first"));
        r = sleeper_occupy(&bus->space_sleeper);
        if (r == 0) {
                r = bus_arm_space_busy(bus, frame_length(bus_room_size(bus, size), FRAME_INLINE_SIZE));
                sleeper_vacate(&bus->space_sleeper);
        }
        return bus_leave(bus, r);
}

TACHYON_API int tachyon_bus_disarm_space(tachyon_bus *bus) {
        int r = bus_enter(bus); /* not after close(), which has left a last word there */

        if (r < 0)
                return r;
        sleeper_retire(&bus->space_sleeper);
        bus_want_nothing(bus);
        return bus_leave(bus, 0);
}

/* ---- for room and for data at once: a caller of rpc.c ------------------- */

static bool either_is_there(void *context) {
        struct tachyon_bus *bus = context;

        return ring_has_message(&bus->in) ||
               atomic_load_explicit(bus->out.peer_read_position, memory_order_relaxed) != bus->out.read_position;
}

static bool either_is_over(void *context) {
        struct tachyon_bus *bus = context;

        return bus_dead(bus) || bus_peer_end(bus);
}

static int either_poll(struct tachyon_bus *bus, int64_t deadline) {
        struct pollfd fds[] = {
                { .fd = bus->data_sleeper.doorbell, .events = POLLIN },
                { .fd = bus->space_sleeper.doorbell, .events = POLLIN },
                { .fd = bus->connection.process, .events = POLLIN },
        };
        int64_t until = bus_bounded(bus, deadline);
        int r = os_poll(fds, 3, until);

        if (r > 0)
                return 0;
        return r < 0 ? r : until < deadline ? 0 : -ETIMEDOUT;
}

static int either_sleep(struct tachyon_bus *bus, uint64_t length, int64_t deadline) {
        int r;

        bus_want_room(bus, length);
        sleeper_announce(&bus->space_sleeper);
        sleeper_announce(&bus->data_sleeper);
        bus_barrier(bus);
        r = bus_look_for_data(bus);
        if (r == 0)
                r = bus_look_for_room(bus, length);
        if (r == 0)
                r = either_poll(bus, deadline);
        sleeper_retire(&bus->space_sleeper);
        sleeper_retire(&bus->data_sleeper);
        if (r >= 0) /* takes the doorbells off, and looks who is gone */
                r = bus_look_around(bus, &bus->space_sleeper);
        if (r >= 0)
                r = bus_look_around(bus, &bus->data_sleeper);
        return r;
}

static int either_occupied(struct tachyon_bus *bus, uint64_t length, int64_t deadline) {
        int r = sleeper_occupy(&bus->space_sleeper);

        if (r < 0)
                return r;
        if (!sleeper_spin(&bus->space_sleeper, deadline, either_is_there, either_is_over, bus))
                r = either_sleep(bus, length, deadline);
        sleeper_vacate(&bus->space_sleeper);
        return r;
}

int bus_await_either(struct tachyon_bus *bus, uint64_t size, int64_t deadline) {
        int r = bus_enter(bus);

        if (r < 0)
                return r;
        r = sleeper_occupy(&bus->data_sleeper);
        if (r == 0) {
                r = either_occupied(bus, frame_length(size, FRAME_INLINE_SIZE), deadline);
                sleeper_vacate(&bus->data_sleeper);
        }
        return bus_leave(bus, r);
}

TACHYON_API int tachyon_bus_fds(tachyon_bus *bus, int *data_fdp, int *room_fdp, int *death_fdp) {
        int dead = bus_dead(bus);

        if (dead)
                return bus_explain_death(dead);
        *data_fdp = bus->connection.socket;
        *room_fdp = bus->connection.room;
        *death_fdp = bus->connection.process;
        return 0;
}

/* ---- several buses ------------------------------------------------------ */

/* What tachyon_bus_wait_any() has of each bus. */
enum held {
        HELD_NOT = 0, /* it is dead, so that there is nothing to wait for */
        HELD_ENTERED,
        HELD_OCCUPIED,
};

struct crowd {
        struct pollfd *fds;   /* two for each bus */
        unsigned char *held;  /* enum held */
        unsigned char *ready; /* the answer, in the making */
};

/* Keeps the descriptors open, and other receivers out, until crowd_leave(): 0 or -EBUSY. */
static int crowd_enter(tachyon_bus *const *buses, size_t count, unsigned char *held) {
        for (size_t i = 0; i < count; i++) {
                int r;

                if (bus_enter(buses[i]) < 0)
                        continue;
                held[i] = HELD_ENTERED;
                r = sleeper_occupy(&buses[i]->data_sleeper);
                if (r < 0)
                        return r;
                held[i] = HELD_OCCUPIED;
        }
        return 0;
}

static void crowd_leave(tachyon_bus *const *buses, size_t count, const unsigned char *held) {
        for (size_t i = 0; i < count; i++) {
                if (held[i] == HELD_OCCUPIED) {
                        sleeper_retire(&buses[i]->data_sleeper);
                        sleeper_vacate(&buses[i]->data_sleeper);
                }
                if (held[i] != HELD_NOT)
                        bus_leave(buses[i], 0);
        }
}

/* How many are ready; where none is, all are armed. */
static int crowd_arm(tachyon_bus *const *buses, size_t count, const unsigned char *held, unsigned char *ready) {
        int n = 0;

        for (size_t i = 0; i < count; i++) {
                ready[i] = held[i] != HELD_OCCUPIED || bus_arm_busy(buses[i]) != 0;
                n += ready[i];
        }
        return n;
}

static int crowd_sleep(tachyon_bus *const *buses, size_t count, struct pollfd *fds, int64_t deadline) {
        int64_t until = deadline;
        int r;

        for (size_t i = 0; i < count; i++) {
                fds[2 * i] = (struct pollfd){ .fd = buses[i]->connection.socket, .events = POLLIN };
                fds[2 * i + 1] = (struct pollfd){ .fd = buses[i]->connection.process, .events = POLLIN };
                until = bus_bounded(buses[i], until);
        }
        r = os_poll(fds, 2 * count, until);
        if (r < 0)
                return r;
        return r == 0 && until == deadline ? -ETIMEDOUT : 0;
}

static int crowd_wait(tachyon_bus *const *buses, size_t count, struct crowd *crowd, int64_t timeout_ns) {
        int64_t deadline = deadline_after(timeout_ns);
        int n, r = 0;

        /* Data first: even at the deadline or after a signal there is a last look. */
        while ((n = crowd_arm(buses, count, crowd->held, crowd->ready)) == 0 && r == 0)
                r = timeout_ns == 0 ? -EAGAIN : crowd_sleep(buses, count, crowd->fds, deadline);
        return n ? n : r;
}

static int crowd_run(tachyon_bus *const *buses, size_t count, unsigned char *ready, struct crowd *crowd,
                     int64_t timeout_ns) {
        int r = crowd_enter(buses, count, crowd->held);

        if (r == 0)
                r = crowd_wait(buses, count, crowd, timeout_ns);
        crowd_leave(buses, count, crowd->held);
        if (r > 0)
                memcpy(ready, crowd->ready, count);
        return r;
}

TACHYON_API int tachyon_bus_wait_any(tachyon_bus *const *buses, size_t count, unsigned char *ready,
                                     int64_t timeout_ns) {
        struct crowd crowd;
        int r;

        if (!count || count > INT_MAX / 2)
                return fail(EINVAL, "a wait needs at least one bus");
        crowd = (struct crowd){
                .fds = calloc(count, 2 * sizeof(*crowd.fds)),
                .held = calloc(count, sizeof(*crowd.held)),
                .ready = calloc(count, sizeof(*crowd.ready)),
        };
        r = crowd.fds && crowd.held && crowd.ready ? crowd_run(buses, count, ready, &crowd, timeout_ns)
                                                   : fail(ENOMEM, "no memory to wait on %zu buses", count);
        free(crowd.fds);
        free(crowd.held);
        free(crowd.ready);
        return r;
}
