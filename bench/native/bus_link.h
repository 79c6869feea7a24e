/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_BENCH_BUS_LINK_H
#define TACHYON_BENCH_BUS_LINK_H
/* A bus as one end of a measurement, used through the public interface alone. */
#include "bench.h"
#include "payload.h"
#include <tachyon.h>

#define BUS_TYPE_ID 7

/* Ends the process with what the library says. */
_Noreturn void bus_die(const char *what, int error);
/* The plan's capacity, and all pages there from the start, as the limit's are. */
tachyon_options bus_options(const struct round *round);

static always_inline void bus_send(void *link, const void *data, size_t size) {
        int r = tachyon_bus_send(link, data, size, BUS_TYPE_ID, -1);

        if (unlikely(r < 0))
                bus_die("send", r);
}

static always_inline void bus_await(void *link, tachyon_message *message, size_t size) {
        int r = tachyon_bus_recv(link, message, -1);

        if (unlikely(r < 0))
                bus_die("receive", r);
        if (unlikely(message->size != size))
                die("a message has %llu bytes, not %zu", (unsigned long long)message->size, size);
}

static always_inline void bus_release(void *link, uint64_t lease) {
        int r = tachyon_bus_release(link, lease);

        if (unlikely(r < 0))
                bus_die("release", r);
}

/* A copy, as the limit takes one. */
static always_inline void bus_recv(void *link, void *data, size_t size) {
        int64_t n = tachyon_bus_recv_copy(link, data, size, NULL, -1);

        if (unlikely(n < 0))
                bus_die("receive", (int)n);
        if (unlikely((uint64_t)n != size))
                die("a message has %lld bytes, not %zu", (long long)n, size);
}

static always_inline uint64_t bus_recv_sum(void *link, size_t size) {
        tachyon_message message;
        uint64_t sum;

        bus_await(link, &message, size);
        sum = payload_sum(message.data, size);
        bus_release(link, message.lease);
        return sum;
}

#endif
