/* SPDX-License-Identifier: MIT */
/* One bus between two processes: round trips awake and asleep, a stream, and bandwidth. */
#include "bus_link.h"
#include "loops.h"
#include <stdlib.h>

#define CONNECT_TIMEOUT_NS INT64_C(10000000000)
#define BATCH 256

_Noreturn void bus_die(const char *what, int error) {
        die("cannot %s: %s (%s)", what, tachyon_strerror(error), tachyon_error_detail());
}

tachyon_options bus_options(const struct round *round) {
        tachyon_options options = TACHYON_OPTIONS_INIT;

        options.capacity = round->plan->capacity;
        options.flags = TACHYON_PREFAULT;
        return options;
}

static tachyon_bus *bus_open_with(struct round *round, const tachyon_options *options) {
        tachyon_bus *bus;
        int r;

        if (round->side == 0)
                r = tachyon_bus_connect(&bus, round->path, options, CONNECT_TIMEOUT_NS);
        else
                r = tachyon_bus_listen(&bus, round->path, options, CONNECT_TIMEOUT_NS);
        if (r < 0)
                bus_die(round->side == 0 ? "connect" : "listen", r);
        round_meet(round);
        return bus;
}

static tachyon_bus *bus_open_one_way(struct round *round) {
        tachyon_options options = bus_options(round);

        options.reply_capacity = SMALLEST_RING;
        return bus_open_with(round, &options);
}

/* A side that ends too soon would be seen by the other as a closed bus. */
static void bus_end(struct round *round, tachyon_bus *bus) {
        tachyon_stats stats = { .struct_size = sizeof(stats) };

        tachyon_bus_stats(bus, &stats);
        figure_set(round, round->side == 0 ? "space_sleeps" : "data_sleeps",
                   (double)(round->side == 0 ? stats.space_sleeps : stats.data_sleeps));
        round_meet(round);
        tachyon_bus_free(bus);
}

/* ---- round trips ---- */

TRIPS(bus, bus_send, bus_recv)

static void rtt_run(struct round *round) {
        tachyon_options options = bus_options(round);
        tachyon_bus *bus = bus_open_with(round, &options);

        (round->side == 0 ? bus_drive : bus_echo)(round, bus);
        bus_end(round, bus);
}

/* Neither side ever polls. */
static void wake_run(struct round *round) {
        tachyon_options options = bus_options(round);
        tachyon_bus *bus;

        options.spin_ns = -1;
        bus = bus_open_with(round, &options);
        (round->side == 0 ? bus_drive_rested : bus_echo_rested)(round, bus);
        bus_end(round, bus);
}

/* ---- stream ---- */

static void stream_send(struct round *round) {
        tachyon_bus *bus = bus_open_one_way(round);

        stream_produce(round, bus, bus_send);
        bus_end(round, bus);
}

static int batch_recv(tachyon_bus *bus, tachyon_message *messages, uint64_t most) {
        int n = tachyon_bus_recv_batch(bus, messages, most < BATCH ? most : BATCH, -1);

        if (unlikely(n < 0))
                bus_die("receive", n);
        return n;
}

/* Receives messages first to end - 1, checking each; the batch is released whole. */
static void batch_consume(tachyon_bus *bus, unsigned char *payload, size_t size, uint64_t first, uint64_t end) {
        tachyon_message messages[BATCH];

        while (first < end) {
                int n = batch_recv(bus, messages, end - first), r;

                for (int i = 0; i < n; i++, first++) {
                        if (unlikely(messages[i].size != size))
                                die_of_wrong_data(first);
                        payload_copy(payload, messages[i].data, size);
                        payload_check(payload, size, first);
                }
                r = tachyon_bus_release_batch(bus, messages, (size_t)n);
                if (unlikely(r < 0))
                        bus_die("release", r);
        }
}

static void batch_consume_timed(struct round *round, tachyon_bus *bus) {
        uint64_t warmup = round->plan->warmup, end = warmup + round->plan->count, start;
        unsigned char *payload = payload_create(round->plan->size);

        batch_consume(bus, payload, round->plan->size, 0, warmup);
        start = ticks();
        batch_consume(bus, payload, round->plan->size, warmup, end);
        stream_report(round, start, ticks());
}

static void stream_recv(struct round *round) {
        tachyon_bus *bus = bus_open_one_way(round);

        if (how_is(round, "batch"))
                batch_consume_timed(round, bus);
        else
                stream_consume(round, bus, bus_recv);
        bus_end(round, bus);
}

/* ---- bandwidth ---- */

/* The same copy as in bus_send(), but by the caller, into room that it reserved. */
static always_inline void bus_send_in_place(void *link, const void *data, size_t size) {
        void *place;
        int r = tachyon_bus_reserve(link, &place, size, -1);

        if (unlikely(r < 0))
                bus_die("reserve", r);
        payload_copy(place, data, size);
        r = tachyon_bus_commit(link, size, BUS_TYPE_ID);
        if (unlikely(r < 0))
                bus_die("commit", r);
}

static void bandwidth_send(struct round *round) {
        tachyon_bus *bus = bus_open_one_way(round);

        if (how_is(round, "reserve"))
                stream_produce(round, bus, bus_send_in_place);
        else
                stream_produce(round, bus, bus_send);
        bus_end(round, bus);
}

static void bandwidth_recv(struct round *round) {
        tachyon_bus *bus = bus_open_one_way(round);

        bandwidth_consume(round, bus, bus_recv_sum);
        bus_end(round, bus);
}

const struct measurement bus_rtt = { "bus-rtt", "", NULL, { rtt_run, rtt_run } };
const struct measurement bus_wake = { "bus-wake", "", NULL, { wake_run, wake_run } };
const struct measurement bus_stream = { "bus-stream", "single,batch", NULL, { stream_send, stream_recv } };
const struct measurement bus_bandwidth = { "bus-bandwidth", "send,reserve", NULL, { bandwidth_send, bandwidth_recv } };
