/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_BENCH_LANE_H
#define TACHYON_BENCH_LANE_H
/*
 * The limit: one direction of shared memory with nothing on it that physics
 * does not ask for. A message is a stamp (its position, stored last, polled by
 * the receiver) and its payload in the same line, or on the lines after it. The
 * receiver tells how far it is every eighth of the ring. No wake-ups, no checks
 * of a hostile peer, no end: this is no library, it is what one could at most
 * reach. The lines used are those that a bus uses.
 */
#include "bench.h"
#include "payload.h"

#define STAMP_SIZE 16
#define ONE_LINE_PAYLOAD (LINE - STAMP_SIZE)

/* In shared memory. */
struct lane {
        _Alignas(APART) _Atomic uint64_t progress;
        _Alignas(APART) unsigned char *ring; /* mapped twice, at the same address on both sides */
        uint64_t capacity;
};

/* One side's private part. */
struct lane_end {
        struct lane *lane;
        unsigned char *ring;
        uint64_t mask;
        uint64_t position;
        uint64_t limit; /* sender: up to where there is room; receiver: when to tell progress */
        bool yield;
};

/* Both directions. */
struct lanes {
        struct lane lane[2];
};

struct lane_link {
        struct lane_end out;
        struct lane_end in;
};

static always_inline _Atomic uint64_t *lane_stamp(const struct lane_end *end) {
        return (_Atomic uint64_t *)(void *)(end->ring + (end->position & end->mask));
}

static always_inline uint64_t lane_length(size_t size) {
        return size <= ONE_LINE_PAYLOAD ? LINE : LINE + ((size + LINE - 1) & ~(uint64_t)(LINE - 1));
}

static always_inline size_t lane_payload_offset(size_t size) {
        return size <= ONE_LINE_PAYLOAD ? STAMP_SIZE : LINE;
}

static always_inline void lane_await_room(struct lane_end *end, uint64_t length) {
        while (unlikely(end->limit - end->position < length)) {
                /* Acquire: what the receiver has read below it, it has read. */
                end->limit = atomic_load_explicit(&end->lane->progress, memory_order_acquire) + end->mask + 1;
                if (end->limit - end->position < length)
                        poll_again(end->yield);
        }
}

static always_inline void lane_send(void *link, const void *data, size_t size) {
        struct lane_end *end = &((struct lane_link *)link)->out;
        _Atomic uint64_t *stamp = lane_stamp(end);

        lane_await_room(end, lane_length(size));
        payload_copy((unsigned char *)stamp + lane_payload_offset(size), data, size);
        /* Release: the payload before the stamp. Pairs with the acquire in lane_await(). */
        atomic_store_explicit(stamp, end->position | 1, memory_order_release);
        end->position += lane_length(size);
}

static always_inline const unsigned char *lane_await(struct lane_end *end, size_t size) {
        _Atomic uint64_t *stamp = lane_stamp(end);

        while (atomic_load_explicit(stamp, memory_order_acquire) != (end->position | 1))
                poll_again(end->yield);
        return (unsigned char *)stamp + lane_payload_offset(size);
}

static always_inline void lane_done(struct lane_end *end, size_t size) {
        end->position += lane_length(size);
        if (unlikely(end->position >= end->limit)) {
                /* Release: we have read what lies below. Pairs with lane_await_room(). */
                atomic_store_explicit(&end->lane->progress, end->position, memory_order_release);
                end->limit = end->position + (end->mask + 1) / 8;
        }
}

static always_inline void lane_recv(void *link, void *data, size_t size) {
        struct lane_end *end = &((struct lane_link *)link)->in;

        payload_copy(data, lane_await(end, size), size);
        lane_done(end, size);
}

static always_inline uint64_t lane_recv_sum(void *link, size_t size) {
        struct lane_end *end = &((struct lane_link *)link)->in;
        uint64_t sum = payload_sum(lane_await(end, size), size);

        lane_done(end, size);
        return sum;
}

#endif
