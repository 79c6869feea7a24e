/* SPDX-License-Identifier: MIT */
/* The limit of limits: one cache line that two cores write in turn, with nothing in it but a number. */
#include "bench.h"
#include "loops.h"

struct bounced {
        _Alignas(APART) _Atomic uint64_t number;
        unsigned char rest[APART - sizeof(uint64_t)];
};

static void line_prepare(struct round *round) {
        round->resource = memory_share(sizeof(struct bounced));
}

/* Waits until the other side has changed the line, and checks to what. */
static always_inline void line_await(struct round *round, struct bounced *line, uint64_t ours, uint64_t wanted) {
        uint64_t seen;

        while ((seen = atomic_load_explicit(&line->number, memory_order_acquire)) == ours)
                poll_again(round->plan->yield);
        if (unlikely(seen != wanted))
                die_of_wrong_data(wanted);
}

struct line_context {
        struct round *round;
        struct bounced *line;
        uint64_t shift;
};

/* We write odd numbers, the other side even ones. */
static always_inline void line_trip(void *context, uint64_t number) {
        struct line_context *c = context;
        uint64_t ours = 2 * (number + c->shift) + 1;

        atomic_store_explicit(&c->line->number, ours, memory_order_release);
        line_await(c->round, c->line, ours, ours + 1);
}

static void line_drive(struct round *round) {
        struct line_context context = { round, round->resource, first_number(round) };

        round_meet(round);
        trips_measure(round, &context, line_trip, line_trip);
}

static void line_echo(struct round *round) {
        struct bounced *line = round->resource;
        uint64_t number = 0, trips = plan_trips(round->plan);

        round_meet(round);
        for (uint64_t i = 0; i < trips; i++) {
                line_await(round, line, number, number + 1);
                number += 2;
                atomic_store_explicit(&line->number, number, memory_order_release);
        }
}

const struct measurement limit_line = { "limit-line", "", line_prepare, { line_drive, line_echo } };
