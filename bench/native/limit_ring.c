/* SPDX-License-Identifier: MIT */
/*
 * Limits of two cores that poll: a line that rotates over a ring (round trips),
 * stamped lines one way (stream), and memcpy into and out of shared memory
 * (bandwidth). See lane.h.
 */
#include "lane.h"
#include "loops.h"

static void lane_create(struct lane *lane, uint64_t capacity) {
        lane->capacity = capacity;
        lane->ring = memory_share_twice(capacity);
}

static void lanes_create(struct round *round, uint64_t capacity_back) {
        struct lanes *lanes = memory_share(sizeof(*lanes));

        lane_create(&lanes->lane[0], round->plan->capacity);
        lane_create(&lanes->lane[1], capacity_back);
        round->resource = lanes;
}

static void lanes_prepare(struct round *round) {
        lanes_create(round, round->plan->capacity);
}

static void lanes_prepare_one_way(struct round *round) {
        lanes_create(round, SMALLEST_RING);
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

static void lane_link_open(struct round *round, struct lane_link *link) {
        struct lanes *lanes = round->resource;
        struct lane *out = &lanes->lane[round->side], *in = &lanes->lane[!round->side];

        lane_end_open(round, &link->out, out, out->capacity);
        lane_end_open(round, &link->in, in, in->capacity / 8);
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
const struct measurement limit_stream = { "limit-stream", "", lanes_prepare_one_way, { stream_send, stream_recv } };
const struct measurement limit_copy = { "limit-copy", "", lanes_prepare_one_way, { stream_send, copy_recv } };
