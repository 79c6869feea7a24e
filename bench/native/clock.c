/* SPDX-License-Identifier: MIT */
/*
 * The clock of the samples: the processor's own counter where it runs at one
 * rate in all states of the processor, else CLOCK_MONOTONIC. The counter is
 * calibrated against CLOCK_MONOTONIC; both ends of a sample are always read on
 * one side, so that counters of two cores never meet.
 */
#include "bench.h"
#include <time.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define CALIBRATION_NS 5000000

bool clock_is_counter;
static struct clock_facts facts = { "clock_gettime", 1.0 };

uint64_t clock_read_slow(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#if defined(__x86_64__)
static bool counter_is_invariant(void) {
        unsigned a, b, c, d;

        return __get_cpuid(0x80000007, &a, &b, &c, &d) && d & 1u << 8;
}

static const char *counter_name(void) {
        return counter_is_invariant() ? "rdtscp" : NULL;
}
#elif defined(__aarch64__)
static const char *counter_name(void) {
        return "cntvct_el0"; /* architecture: one rate, always */
}
#else
static const char *counter_name(void) {
        return NULL;
}
#endif

static double calibrate(void) {
        uint64_t ns0 = clock_read_slow(), ticks0 = ticks(), ns1, ticks1;

        do {
                ns1 = clock_read_slow();
                ticks1 = ticks();
        } while (ns1 - ns0 < CALIBRATION_NS);
        return (double)(ns1 - ns0) / (double)(ticks1 - ticks0);
}

void clock_init(void) {
        const char *name = counter_name();

        if (!name)
                return;
        clock_is_counter = true;
        facts = (struct clock_facts){ name, calibrate() };
}

const struct clock_facts *clock_facts(void) {
        return &facts;
}

void clock_sample_own_cost(uint64_t *samples, uint64_t count) {
        uint64_t last = ticks(), now;

        for (uint64_t i = 0; i < count; i++) {
                now = ticks();
                samples[i] = now - last;
                last = now;
        }
}
