/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_BENCH_LOOPS_H
#define TACHYON_BENCH_LOOPS_H
/*
 * The loops that are timed: round trips, a stream, and bandwidth. Limit, bus
 * and peers run the very same ones, inlined around their own send and receive,
 * so that copies, checks, warm-up and sampling cannot differ.
 */
#include "bench.h"
#include "payload.h"

typedef void link_send(void *link, const void *data, size_t size);
/* Receives one message and copies it to `data`. */
typedef void link_recv(void *link, void *data, size_t size);
/* Receives one message and returns payload_sum() of it, in place where it can. */
typedef uint64_t link_recv_sum(void *link, size_t size);

/* One round trip, the number-th. */
typedef void make_trip(void *context, uint64_t number);

/* Warms up, then times round trips in batches, for the typical one, then one by one, for the percentiles. */
static always_inline void trips_measure(struct round *round, void *context, make_trip *warm, make_trip *trip) {
        uint64_t number = 0, batches = plan_batches(round->plan), count = round->plan->count, last, now;

        while (number < round->plan->warmup)
                warm(context, number++);
        last = ticks();
        for (uint64_t i = 0; i < batches; i++) {
                for (int k = 0; k < BATCH_TRIPS; k++)
                        trip(context, number++);
                now = ticks();
                round->shared->batches[i] = now - last;
                last = now;
        }
        for (uint64_t i = 0; i < count; i++) {
                trip(context, number++);
                now = ticks();
                round->shared->samples[i] = now - last;
                last = now;
        }
        round->shared->batch_count = batches;
        round->shared->sample_count = count;
        figure_set(round, "messages", (double)number);
}

static inline void rest(void) {
        uint64_t until = ticks() + (uint64_t)(REST_NS / clock_facts()->ns_per_tick);

        while (ticks() < until)
                ;
}

static always_inline uint64_t rested_trip(void *context, uint64_t number, make_trip *trip) {
        uint64_t start;

        rest();
        start = ticks();
        trip(context, number);
        return ticks() - start;
}

/*
 * The same for sleepers: the other side is asleep when a round trip begins, and
 * that takes long enough for a single one to be timed well.
 */
static inline void rested_trips_measure(struct round *round, void *context, make_trip *trip) {
        uint64_t number = 0;

        while (number < round->plan->warmup)
                rested_trip(context, number++, trip);
        for (uint64_t i = 0; i < round->plan->count; i++)
                round->shared->samples[i] = rested_trip(context, number++, trip);
        round->shared->sample_count = round->plan->count;
        figure_set(round, "messages", (double)number);
}

struct trip_context {
        void *link;
        unsigned char *out;
        unsigned char *in;
        size_t size;
        uint64_t shift;
};

static always_inline void trip_exchange(struct trip_context *c, uint64_t number, link_send *send, link_recv *recv) {
        payload_number(c->out, c->size, number + c->shift);
        send(c->link, c->out, c->size);
        recv(c->link, c->in, c->size);
}

/* Defines NAME_drive(round, link) and NAME_echo(round, link) for a way to send and to receive. */
#define TRIPS(name, send, recv)                                                              \
        static always_inline void name##_warm(void *context, uint64_t number) {              \
                struct trip_context *c = context;                                            \
                                                                                             \
                trip_exchange(c, number, send, recv);                                        \
                payload_check_all(c->in, c->size, number + c->shift);                        \
        }                                                                                    \
                                                                                             \
        static always_inline void name##_trip(void *context, uint64_t number) {              \
                struct trip_context *c = context;                                            \
                                                                                             \
                trip_exchange(c, number, send, recv);                                        \
                payload_check(c->in, c->size, number + c->shift);                            \
        }                                                                                    \
                                                                                             \
        static void name##_drive(struct round *round, void *link) {                          \
                size_t size = round->plan->size;                                             \
                struct trip_context context = {                                              \
                        link, payload_create(size), payload_create(size), size, first_number(round) \
                };                                                                           \
                                                                                             \
                trips_measure(round, &context, name##_warm, name##_trip);                    \
        }                                                                                    \
                                                                                             \
        static may_stay_unused void name##_drive_rested(struct round *round, void *link) {   \
                size_t size = round->plan->size;                                             \
                struct trip_context context = {                                              \
                        link, payload_create(size), payload_create(size), size, first_number(round) \
                };                                                                           \
                                                                                             \
                rested_trips_measure(round, &context, name##_warm);                          \
        }                                                                                    \
                                                                                             \
        static void name##_echo(struct round *round, void *link) {                           \
                trip_echo(round, link, plan_trips(round->plan), send, recv);                 \
        }                                                                                    \
                                                                                             \
        static may_stay_unused void name##_echo_rested(struct round *round, void *link) {    \
                trip_echo(round, link, plan_rested_trips(round->plan), send, recv);          \
        }

static always_inline void trip_echo(struct round *round, void *link, uint64_t trips, link_send *send,
                                    link_recv *recv) {
        size_t size = round->plan->size;
        unsigned char *payload = payload_create(size);

        for (uint64_t i = 0; i < trips; i++) {
                recv(link, payload, size);
                payload_check(payload, size, i);
                send(link, payload, size);
        }
}

static always_inline void stream_produce(struct round *round, void *link, link_send *send) {
        size_t size = round->plan->size;
        uint64_t shift = first_number(round);
        unsigned char *payload = payload_create(size);

        for (uint64_t i = 0; i < round->plan->warmup + round->plan->count; i++) {
                payload_number(payload, size, i + shift);
                send(link, payload, size);
        }
}

/* The receiver's clock alone counts: from the last message of the warm-up to the last of all. */
static inline void stream_report(struct round *round, uint64_t start, uint64_t end) {
        double ns = (double)(end - start) * clock_facts()->ns_per_tick;
        double count = (double)round->plan->count;

        figure_set(round, "messages", count);
        figure_set(round, "elapsed_ns", ns);
        figure_set(round, "messages_per_second", count * 1e9 / ns);
        figure_set(round, "bytes_per_second", count * (double)round->plan->size * 1e9 / ns);
}

static always_inline void stream_consume(struct round *round, void *link, link_recv *recv) {
        size_t size = round->plan->size;
        uint64_t warmup = round->plan->warmup, end = warmup + round->plan->count, start;
        unsigned char *payload = payload_create(size);

        for (uint64_t i = 0; i < warmup; i++) {
                recv(link, payload, size);
                payload_check_all(payload, size, i);
        }
        start = ticks();
        for (uint64_t i = warmup; i < end; i++) {
                recv(link, payload, size);
                payload_check(payload, size, i);
        }
        stream_report(round, start, ticks());
}

static always_inline void bandwidth_consume(struct round *round, void *link, link_recv_sum *recv_sum) {
        size_t size = round->plan->size;
        uint64_t warmup = round->plan->warmup, end = warmup + round->plan->count, start = ticks();

        for (uint64_t i = 0; i < end; i++) {
                if (i == warmup)
                        start = ticks();
                if (unlikely(recv_sum(link, size) != payload_expected_sum(size, i)))
                        die_of_wrong_data(i);
        }
        stream_report(round, start, ticks());
}

#endif
