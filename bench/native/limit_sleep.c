/* SPDX-License-Identifier: MIT */
/*
 * The limit of sleepers: two processes wake each other by the least that the
 * kernel offers. A byte on a Unix socket with ppoll is what a bus sleeps on,
 * for it tells death too; an eventfd with ppoll and a futex stand beside it.
 */
#include "bench.h"
#include "loops.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sleepers {
        _Alignas(APART) _Atomic uint32_t word[2]; /* futexes: how often this side was woken */
        int socket[2];
        int event[2]; /* the one that this side sleeps on */
};

struct sleep_link {
        struct sleepers *sleepers;
        uint64_t shift;
        uint32_t woken;
        int side;
};

static void sleepers_prepare(struct round *round) {
        struct sleepers *sleepers = memory_share(sizeof(*sleepers));

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sleepers->socket) < 0)
                die("no socket pair: %s", strerror(errno));
        for (int i = 0; i < 2; i++)
                if ((sleepers->event[i] = eventfd(0, EFD_CLOEXEC)) < 0)
                        die("no eventfd: %s", strerror(errno));
        round->resource = sleepers;
}

/* ---- a byte on a socket ---- */

static void await_readable(int fd) {
        struct pollfd poll = { .fd = fd, .events = POLLIN };

        while (ppoll(&poll, 1, NULL, NULL) < 0)
                if (errno != EINTR)
                        die("cannot poll: %s", strerror(errno));
}

static void socket_wake(void *link, const void *data, size_t size) {
        struct sleep_link *l = link;

        (void)size;
        if (send(l->sleepers->socket[l->side], data, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
                die("cannot send a byte: %s", strerror(errno));
}

static void socket_sleep(void *link, void *data, size_t size) {
        struct sleep_link *l = link;
        unsigned char byte;

        (void)size;
        await_readable(l->sleepers->socket[l->side]);
        if (recv(l->sleepers->socket[l->side], &byte, 1, MSG_DONTWAIT) != 1)
                die("cannot receive a byte: %s", strerror(errno));
        *(unsigned char *)data = byte;
}

/* ---- eventfd ---- */

static void event_wake(void *link, const void *data, size_t size) {
        struct sleep_link *l = link;
        uint64_t one = 1;

        (void)data;
        (void)size;
        if (write(l->sleepers->event[!l->side], &one, sizeof(one)) != sizeof(one))
                die("cannot write to an eventfd: %s", strerror(errno));
}

static void event_sleep(void *link, void *data, size_t size) {
        struct sleep_link *l = link;
        uint64_t times;

        (void)size;
        await_readable(l->sleepers->event[l->side]);
        if (read(l->sleepers->event[l->side], &times, sizeof(times)) != sizeof(times))
                die("cannot read an eventfd: %s", strerror(errno));
        *(unsigned char *)data = (unsigned char)(l->woken += (uint32_t)times);
}

/* ---- futex ---- */

static void futex_wake(void *link, const void *data, size_t size) {
        struct sleep_link *l = link;
        _Atomic uint32_t *word = &l->sleepers->word[!l->side];

        (void)data;
        (void)size;
        atomic_fetch_add_explicit(word, 1, memory_order_release);
        syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void futex_sleep(void *link, void *data, size_t size) {
        struct sleep_link *l = link;
        _Atomic uint32_t *word = &l->sleepers->word[l->side];

        (void)size;
        while (atomic_load_explicit(word, memory_order_acquire) == l->woken)
                syscall(SYS_futex, word, FUTEX_WAIT, l->woken, NULL, NULL, 0);
        l->woken = atomic_load_explicit(word, memory_order_acquire);
        *(unsigned char *)data = (unsigned char)l->woken;
}

/* ---- the loops ---- */

static always_inline void sleep_check(unsigned char byte, uint64_t number) {
        if (unlikely(byte != (unsigned char)(number + 1)))
                die_of_wrong_data(number);
}

static always_inline void sleep_trip(struct sleep_link *link, uint64_t number, link_send *wake, link_recv *sleep) {
        unsigned char byte = (unsigned char)(number + link->shift + 1);

        wake(link, &byte, 1);
        sleep(link, &byte, 1);
        sleep_check(byte, number + link->shift);
}

static always_inline void sleep_echo(struct round *round, struct sleep_link *link, link_send *wake, link_recv *sleep) {
        uint64_t trips = plan_rested_trips(round->plan);
        unsigned char byte;

        for (uint64_t i = 0; i < trips; i++) {
                sleep(link, &byte, 1);
                sleep_check(byte, i);
                wake(link, &byte, 1);
        }
}

#define SLEEPERS(kind)                                                            \
        static void kind##_trip(void *link, uint64_t number) {                    \
                sleep_trip(link, number, kind##_wake, kind##_sleep);              \
        }                                                                         \
                                                                                  \
        static void kind##_run(struct round *round, struct sleep_link *link) {    \
                if (round->side == 0)                                             \
                        rested_trips_measure(round, link, kind##_trip);           \
                else                                                              \
                        sleep_echo(round, link, kind##_wake, kind##_sleep);       \
        }

SLEEPERS(socket)
SLEEPERS(event)
SLEEPERS(futex)

static void sleeper_run(struct round *round) {
        struct sleep_link link = { .sleepers = round->resource, .side = round->side, .shift = first_number(round) };

        round_meet(round);
        if (how_is(round, "socket"))
                socket_run(round, &link);
        else if (how_is(round, "eventfd"))
                event_run(round, &link);
        else
                futex_run(round, &link);
}

const struct measurement limit_sleep = {
        "limit-sleep", "socket,eventfd,futex", sleepers_prepare, { sleeper_run, sleeper_run }
};
