/* SPDX-License-Identifier: MIT */
/*
 * What one call into the library costs where nobody waits: the C part of a
 * Python send() or step of iteration. One process holds both ends; it sends
 * some and receives them again, and times the two apart.
 */
#include "bus_link.h"
#include <pthread.h>

/* As many as _where.py sends at a time: their lines stay in the first caches. */
#define MOST_AT_A_TIME 500
#define CONNECT_TIMEOUT_NS INT64_C(10000000000)

struct both_ends {
        struct round *round;
        tachyon_options options;
        tachyon_bus *sender;
        tachyon_bus *receiver;
};

static void *listen_for_one(void *context) {
        struct both_ends *ends = context;
        int r;

        r = tachyon_bus_listen(&ends->receiver, ends->round->path, &ends->options, CONNECT_TIMEOUT_NS);

        if (r < 0)
                bus_die("listen", r);
        return NULL;
}

static void both_ends_open(struct both_ends *ends) {
        pthread_t thread;
        int r;

        if (pthread_create(&thread, NULL, listen_for_one, ends))
                die("no thread");
        r = tachyon_bus_connect(&ends->sender, ends->round->path, &ends->options, CONNECT_TIMEOUT_NS);
        if (r < 0)
                bus_die("connect", r);
        pthread_join(thread, NULL);
}

/* Stands for PyBytes_FromStringAndSize: looks at what it is given, makes nothing. */
static void *make_nothing(const char *data, ptrdiff_t size) {
        static unsigned char seen;

        if (size)
                seen = (unsigned char)(seen + data[size - 1]);
        return &seen;
}

static uint64_t send_many(struct both_ends *ends, unsigned char *payload, uint64_t number, uint64_t count) {
        size_t size = ends->round->plan->size;
        uint64_t start = ticks();

        for (uint64_t i = number; i < number + count; i++) {
                payload_number(payload, size, i);
                if (unlikely(tachyon_bus_try_send(ends->sender, payload, (uint32_t)size, BUS_TYPE_ID)))
                        die("the ring is full");
        }
        return ticks() - start;
}

static uint64_t recv_many(struct both_ends *ends, const uint64_t *slot, uint64_t count) {
        uint64_t start = ticks();

        for (uint64_t i = 0; i < count; i++) {
                tachyon_bus_try_recv_object(ends->receiver);
                if (unlikely(slot[0] || slot[2] != ends->round->plan->size))
                        die_of_wrong_data(i);
        }
        return ticks() - start;
}

/* Runs `count` messages through; adds to `spent` what sending and receiving took, in ticks. */
static void call_many(struct both_ends *ends, const uint64_t *slot, uint64_t count, uint64_t spent[2]) {
        uint64_t fit = ends->options.capacity / (2 * (ends->round->plan->size + 2 * LINE));
        uint64_t most = fit < MOST_AT_A_TIME ? fit : MOST_AT_A_TIME;
        unsigned char *payload = payload_create(ends->round->plan->size);

        for (uint64_t number = 0, n; number < count; number += n) {
                n = count - number < most ? count - number : most;
                spent[0] += send_many(ends, payload, number, n);
                spent[1] += recv_many(ends, slot, n);
        }
}

static void call_run(struct round *round) {
        struct both_ends ends = { .round = round, .options = bus_options(round) };
        uint64_t unmeasured[2] = { 0, 0 }, spent[2] = { 0, 0 };
        double ns_per_call = clock_facts()->ns_per_tick / (double)round->plan->count;
        const uint64_t *slot;

        both_ends_open(&ends);
        slot = tachyon_bus_recv_slot(ends.receiver, make_nothing);
        call_many(&ends, slot, round->plan->warmup, unmeasured);
        call_many(&ends, slot, round->plan->count, spent);
        figure_set(round, "send_ns", (double)spent[0] * ns_per_call);
        figure_set(round, "recv_ns", (double)spent[1] * ns_per_call);
        tachyon_bus_free(ends.sender);
        tachyon_bus_free(ends.receiver);
}

static void call_nothing(struct round *round) {
        (void)round;
}

const struct measurement bus_call = { "bus-call", "", NULL, { call_run, call_nothing } };
