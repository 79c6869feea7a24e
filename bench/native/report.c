/* SPDX-License-Identifier: MIT */
/* The result of a round: one JSON object on standard output, and the raw samples in a file if asked for. */
#include "bench.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CLOCK_SAMPLES 2000
#define LONG_TRIP_NS 10000

struct rank {
        const char *name;
        double percent;
};

static const struct rank ranks[] = {
        { "min", 0 },      { "p50", 50 },       { "p90", 90 },   { "p99", 99 },
        { "p99.9", 99.9 }, { "p99.99", 99.99 }, { "max", 100 },
};

static int compare_samples(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return (x > y) - (x < y);
}

/* Nearest rank: the smallest sample that so many percent are not above. */
static uint64_t sample_at(const uint64_t *sorted, uint64_t count, double percent) {
        uint64_t rank = (uint64_t)(percent / 100 * (double)count);

        if ((double)rank * 100 < percent * (double)count)
                rank++;
        return sorted[rank ? rank - 1 : 0];
}

static void print_percentiles(const char *name, const uint64_t *samples, uint64_t count) {
        uint64_t *sorted = memory_private(count * sizeof(*sorted));

        memcpy(sorted, samples, count * sizeof(*sorted));
        qsort(sorted, count, sizeof(*sorted), compare_samples);
        printf(", \"%s\": {", name);
        for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++)
                printf("%s\"%s\": %.3f", i ? ", " : "", ranks[i].name,
                       (double)sample_at(sorted, count, ranks[i].percent) * clock_facts()->ns_per_tick);
        printf("}");
        free(sorted);
}

static double median_ns(const uint64_t *samples, uint64_t count) {
        uint64_t *sorted = memory_private(count * sizeof(*sorted)), median;

        memcpy(sorted, samples, count * sizeof(*sorted));
        qsort(sorted, count, sizeof(*sorted), compare_samples);
        median = sample_at(sorted, count, 50);
        free(sorted);
        return (double)median * clock_facts()->ns_per_tick;
}

/*
 * Of each batch of round trips, the mean; of these, the median: neither a slow
 * clock nor a rare disturbance moves it. A round trip that takes long is timed
 * well alone, while a batch of them would hardly ever be undisturbed.
 */
static void print_typical(const struct shared *shared) {
        double typical = median_ns(shared->samples, shared->sample_count);

        if (shared->batch_count && typical < LONG_TRIP_NS)
                typical = median_ns(shared->batches, shared->batch_count) / BATCH_TRIPS;
        printf(", \"typical_ns\": %.3f", typical);
}

static void print_own_cost(void) {
        uint64_t samples[CLOCK_SAMPLES];

        clock_sample_own_cost(samples, CLOCK_SAMPLES);
        print_percentiles("timer_ns", samples, CLOCK_SAMPLES);
}

static void print_plan(const struct plan *plan) {
        printf("\"mode\": \"%s\", \"how\": \"%s\", \"size\": %llu, \"count\": %llu, \"warmup\": %llu, "
               "\"capacity\": %llu, \"buses\": %llu, \"cores\": ",
               plan->mode, plan->how, (unsigned long long)plan->size, (unsigned long long)plan->count,
               (unsigned long long)plan->warmup, (unsigned long long)plan->capacity,
               (unsigned long long)plan->buses);
        if (plan->cores[0] < 0)
                printf("null");
        else
                printf("[%d, %d]", plan->cores[0], plan->cores[1]);
}

static void print_figures(const struct shared *shared) {
        printf(", \"figures\": {");
        for (uint32_t i = 0; i < shared->figure_count; i++)
                printf("%s\"%s\": %.17g", i ? ", " : "", shared->figures[i].name, shared->figures[i].value);
        printf("}");
}

void report_print(const struct round *round) {
        const struct shared *shared = round->shared;

        printf("{");
        print_plan(round->plan);
        printf(", \"clock\": \"%s\", \"ns_per_tick\": %.9f", clock_facts()->name, clock_facts()->ns_per_tick);
        print_figures(shared);
        print_own_cost();
        if (shared->sample_count) {
                print_typical(shared);
                print_percentiles("ns", shared->samples, shared->sample_count);
        }
        printf("}\n");
        if (fflush(stdout) == EOF)
                die("cannot write the result: %s", strerror(errno));
}

void report_save_samples(const struct round *round) {
        const struct shared *shared = round->shared;
        FILE *file;

        if (!round->plan->samples_path)
                return;
        file = fopen(round->plan->samples_path, "we");
        if (!file || fwrite(shared->samples, sizeof(uint64_t), shared->sample_count, file) != shared->sample_count ||
            fclose(file) == EOF)
                die("cannot write samples to %s: %s", round->plan->samples_path, strerror(errno));
}
