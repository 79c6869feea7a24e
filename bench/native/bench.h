/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_BENCH_H
#define TACHYON_BENCH_H
/*
 * What all measurements share. One run of tachyon-bench is one short round of
 * one measurement: two processes, side 0 (drives, produces) and side 1 (echoes,
 * consumes), forked from here and pinned to one core each. They meet at a
 * barrier, warm up, measure, check what arrived, and leave their figures in
 * memory that they share with the parent, which prints one JSON object.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define always_inline inline __attribute__((__always_inline__))
/* clang counts what a macro makes and nobody calls as unused, even where it is inline. */
#define may_stay_unused inline __attribute__((__unused__))

#define LINE 64
/* What lies between things that two cores write: hardware fetches lines in pairs. */
#define APART 128
/* For a direction that nothing goes. */
#define SMALLEST_RING 4096

enum exit_code { EXIT_WRONG_USAGE = 2, EXIT_WRONG_DATA = 4 };

/* What the command line asks for. */
struct plan {
        const char *mode;
        const char *how;
        uint64_t size;     /* payload bytes of a message, a multiple of 8 */
        uint64_t count;    /* messages or round trips that are measured */
        uint64_t warmup;   /* and before them, that are not */
        uint64_t capacity; /* bytes of each ring, a power of two */
        uint64_t buses;
        int64_t timeout_s; /* of the whole round */
        int cores[2];      /* -1: not pinned */
        const char *samples_path;
        bool spoil;        /* make the sender send wrong data: the round must fail */
        bool yield;        /* both sides share one CPU: polling must give it away */
};

#define MOST_FIGURES 16

struct figure {
        const char *name; /* a literal: at the same address in every fork */
        double value;
};

/* Shared by the parent and both sides. */
struct shared {
        _Alignas(APART) _Atomic uint32_t arrived;
        _Alignas(APART) _Atomic uint32_t figure_count;
        struct figure figures[MOST_FIGURES];
        uint64_t sample_count;
        uint64_t batch_count;
        uint64_t *samples; /* ticks of one round trip each; room for plan.count */
        uint64_t *batches; /* ticks of BATCH_TRIPS round trips each */
};

/*
 * Some clocks tick only every 10 ns, and each reading costs up to 20, so the
 * typical round trip is measured over so many at a time.
 */
#define BATCH_TRIPS 100

struct round {
        const struct plan *plan;
        struct shared *shared;
        const char *path;   /* where a bus may listen */
        void *resource;     /* what prepare() made before the fork */
        int side;
        uint32_t barriers;  /* passed */
};

/* One kind of measurement. */
struct measurement {
        const char *name;
        const char *hows; /* allowed values of --how, comma separated; the first is the default */
        void (*prepare)(struct round *round); /* before the fork; may be NULL */
        void (*side[2])(struct round *round);
};

extern const struct measurement *const measurements[];

/* Ends this process with a line on standard error. */
_Noreturn void die(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));
/* The same for a message that is not what was sent. */
_Noreturn void die_of_wrong_data(uint64_t number);

/* ---- side.c: two processes ---------------------------------------------- */

/* Runs both sides to their end; the exit code of the round. */
int round_run(struct round *round, const struct measurement *measurement);
/* The signal that ended the round, or 0; SIGALRM: it took longer than --timeout. */
int round_caught_signal(void);
/* Waits until the other side is here too. */
void round_meet(struct round *round);
void figure_set(struct round *round, const char *name, double value);

static inline uint64_t plan_batches(const struct plan *plan) {
        return (plan->count + BATCH_TRIPS - 1) / BATCH_TRIPS;
}

/* All round trips of a round: warm-up, in batches, one by one. */
static inline uint64_t plan_trips(const struct plan *plan) {
        return plan->warmup + plan_batches(plan) * BATCH_TRIPS + plan->count;
}

/* Between round trips of sleepers: time enough for the other side to have fallen asleep. */
#define REST_NS 50000

/* All round trips of a round of sleepers: warm-up, one by one. */
static inline uint64_t plan_rested_trips(const struct plan *plan) {
        return plan->warmup + plan->count;
}

static inline bool how_is(const struct round *round, const char *how) {
        return strcmp(round->plan->how, how) == 0;
}

/* ---- clock.c ------------------------------------------------------------ */

struct clock_facts {
        const char *name;
        double ns_per_tick;
};

/* To be called once, before the fork. */
void clock_init(void);
const struct clock_facts *clock_facts(void);
uint64_t clock_read_slow(void);
extern bool clock_is_counter;

/*
 * The cheapest monotonic clock. rdtscp waits until all earlier instructions are
 * done, so that what is timed cannot slip past the reading.
 */
static always_inline uint64_t ticks(void) {
#if defined(__x86_64__)
        if (likely(clock_is_counter)) {
                unsigned processor;

                return __builtin_ia32_rdtscp(&processor);
        }
#elif defined(__aarch64__)
        uint64_t now;

        __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(now) : : "memory");
        return now;
#endif
        return clock_read_slow();
}

/* Fills in what a reading of the clock itself costs, in ticks. */
void clock_sample_own_cost(uint64_t *samples, uint64_t count);

/* ---- memory.c ----------------------------------------------------------- */

/* Shared anonymous memory, zeroed. */
void *memory_share(size_t size);
/* The same, mapped twice back to back. */
void *memory_share_twice(size_t size);
/* Private memory, touched, on a line boundary. */
void *memory_private(size_t size);
/* Maps all pages now, for writing. */
void memory_populate(void *memory, size_t size);

/* ---- report.c ----------------------------------------------------------- */

void report_print(const struct round *round);
void report_save_samples(const struct round *round);

/* ---- polling ------------------------------------------------------------ */

void yield_processor(void);

/* Between two polls. No pause instruction: a limit polls as hard as it can. */
static always_inline void poll_again(bool yield) {
        if (unlikely(yield))
                yield_processor();
}

#endif
