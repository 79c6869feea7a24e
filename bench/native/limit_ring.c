/* SPDX-License-Identifier: MIT */
/*
 * Limits of two cores that poll: a line that rotates over a ring (round trips),
 * stamped lines one way (stream), and memcpy into and out of shared memory
 * (bandwidth). See lane.h.
 */
#include "lane.h"
#include "loops.h"

void lanes_prepare(struct round *round) {
        struct lanes *lanes = memory_share(sizeof(*lanes));

        for (int i = 0; i < 2; i++) {
                lanes->lane[i].capacity = round->plan->capacity;
                lanes->lane[i].ring = memory_share_twice(round->plan->capacity);
        }
        round->resource = lanes;
}

static void lane_end_open(struct round *round, struct lane_end *end, struct lane *lane, uint64_t limit) {
        *end = (struct lane_end){
                .lane = lane,
                .ring = lane->ring,
                .mask = lane->capacity - 1,
                .limit = limit,
                .yield = round->plan->yield,
        };
        memory_populate(lane->ring, 2 * lane->capacity);
}

void lane_link_open(struct round *round, struct lane_link *link) {
        struct lanes *lanes = round->resource;
        uint64_t capacity = round->plan->capacity;

        lane_end_open(round, &link->out, &lanes->lane[round->side], capacity);
        lane_end_open(round, &link->in, &lanes->lane[!round->side], capacity / 8);
        round_meet(round);
}

TRIPS(ring, lane_send, lane_recv)

static void ring_run(struct round *round) {
        struct lane_link link;

        lane_link_open(round, &link);
        (round->side == 0 ? ring_drive : ring_echo)(round, &link);
}

static void stream_send(struct round *round) {
        struct lane_link link;

        lane_link_open(round, &link);
        stream_produce(round, &link, lane_send);
}

static void stream_recv(struct round *round) {
        struct lane_link link;

        lane_link_open(round, &link);
        stream_consume(round, &link, lane_recv);
}

static void copy_recv(struct round *round) {
        struct lane_link link;

        lane_link_open(round, &link);
        bandwidth_consume(round, &link, lane_recv_sum);
}

const struct measurement limit_ring = { "limit-ring", "", lanes_prepare, { ring_run, ring_run } };
const struct measurement limit_stream = { "limit-stream", "", lanes_prepare, { stream_send, stream_recv } };
const struct measurement limit_copy = { "limit-copy", "", lanes_prepare, { stream_send, copy_recv } };
