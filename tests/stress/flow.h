/* SPDX-License-Identifier: MIT */
#ifndef STRESS_FLOW_H
#define STRESS_FLOW_H
/*
 * A flow of messages of which both sides know every byte beforehand: message i
 * of a seed has a size, a type_id and a payload that follow from the two
 * numbers. The producer sends by all the ways that there are, 32 messages at a
 * time; the consumer receives by all ways, and checks everything. One of the
 * ways is to send small messages and to wait for an answer to each, so that they
 * go over the exchange line.
 */
#include "../test-util.h"

#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>

#define STRETCH 32
#define MOST_HELD 16

enum way { WAY_SMALL, WAY_MIXED, WAY_IN_PLACE, WAY_RECORDS, WAY_ANSWERED, N_WAYS };

struct flow {
        tachyon_bus *bus;
        uint64_t seed;
        uint64_t index;   /* of the next message */
        uint64_t largest; /* payload */
        uint64_t bytes;
        int64_t timeout_ns;
        uint64_t timeouts, interrupts;
        tachyon_message held[MOST_HELD];
        unsigned int n_held;
        uint64_t unanswered; /* messages before index, whose answer is still to come or to go */
};

static inline uint64_t mix(uint64_t x) {
        x += UINT64_C(0x9e3779b97f4a7c15);
        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        return x ^ (x >> 31);
}

static test_unused void flow_init(struct flow *flow, tachyon_bus *bus, uint64_t seed) {
        tachyon_properties p = { .struct_size = sizeof(p) };

        CHECK_EQ(tachyon_bus_properties(bus, &p), 0);
        *flow = (struct flow){ .bus = bus, .seed = seed, .timeout_ns = -1 };
        /* Of both rings the smaller, so that the two sides agree. */
        flow->largest = p.max_send_size < p.max_recv_size ? p.max_send_size : p.max_recv_size;
        if (flow->largest > 16384)
                flow->largest = 16384;
}

static enum way flow_way(const struct flow *flow, uint64_t i) {
        return (enum way)(mix(flow->seed ^ (i / STRETCH) << 20) % N_WAYS);
}

static uint64_t flow_size(const struct flow *flow, uint64_t i) {
        uint64_t r = mix(flow->seed + i * UINT64_C(0x2545f4914f6cdd1d)), size = 0;

        switch (flow_way(flow, i)) {
        case WAY_SMALL:
                size = r % 49;
                break;
        case WAY_MIXED:
                size = r % 8 ? (r >> 3) % 200 : (r >> 3) % (flow->largest + 1);
                break;
        case WAY_IN_PLACE:
                size = r % 2049;
                break;
        case WAY_ANSWERED: /* most of them small, and some not */
                size = r % 64;
                break;
        default: /* records are of one size */
                size = 1 + mix(flow->seed + i / STRETCH) % 300;
        }
        return size < flow->largest ? size : flow->largest;
}

static inline uint64_t flow_word(uint64_t first, uint64_t k) {
        return (first + k * UINT64_C(0x9e3779b97f4a7c15)) ^ first >> 17;
}

static void flow_fill(const struct flow *flow, uint64_t i, unsigned char *data, uint64_t size) {
        uint64_t first = mix(flow->seed ^ i << 1), word, k = 0;

        for (; size >= 8; size -= 8, data += 8) {
                word = flow_word(first, k++);
                memcpy(data, &word, 8);
        }
        word = flow_word(first, k);
        memcpy(data, &word, size);
}

static void flow_check(const struct flow *flow, uint64_t i, const tachyon_message *message) {
        uint64_t first = mix(flow->seed ^ i << 1), size = message->size, word, expected, k = 0;
        const unsigned char *data = message->data;

        CHECK_EQ(message->type_id, (uint32_t)i);
        CHECK_EQ(size, flow_size(flow, i));
        for (; size >= 8; size -= 8, data += 8) {
                memcpy(&word, data, 8);
                CHECK(word == flow_word(first, k++));
        }
        expected = flow_word(first, k);
        CHECK(memcmp(data, &expected, size) == 0);
}

/* The answer to a message is what a message so far away would be, but for its size. */
#define ANSWER(i) (~(i))

static uint64_t flow_answer_size(const struct flow *flow, uint64_t i) {
        return mix(flow->seed + ANSWER(i)) % 64;
}

static int flow_send_answer(struct flow *flow, uint64_t i) {
        uint64_t size = flow_answer_size(flow, i);
        unsigned char data[64];

        flow_fill(flow, ANSWER(i), data, size);
        return tachyon_bus_send(flow->bus, data, size, (uint32_t)ANSWER(i), flow->timeout_ns);
}

static int flow_recv_answer(struct flow *flow, uint64_t i) {
        uint64_t size = flow_answer_size(flow, i);
        unsigned char expected[64];
        tachyon_message message;
        int r = tachyon_bus_recv(flow->bus, &message, flow->timeout_ns);

        if (r < 0)
                return r;
        flow_fill(flow, ANSWER(i), expected, size);
        CHECK_EQ(message.type_id, (uint32_t)ANSWER(i));
        CHECK_EQ(message.size, size);
        CHECK(memcmp(message.data, expected, size) == 0);
        return tachyon_bus_release(flow->bus, message.lease);
}

/* True where it is to be tried again: what a wait may say without anything being wrong. */
static bool flow_again(struct flow *flow, int64_t r) {
        flow->timeouts += r == -ETIMEDOUT || r == -EAGAIN;
        flow->interrupts += r == -EINTR;
        return r == -ETIMEDOUT || r == -EINTR || r == -EAGAIN;
}

static int64_t flow_send_in_place(struct flow *flow, uint64_t size) {
        uint64_t room = size + flow->index % 100;
        void *data;
        int r;

        r = tachyon_bus_reserve(flow->bus, &data, room < flow->largest ? room : size, flow->timeout_ns);
        if (r < 0)
                return r;
        flow_fill(flow, flow->index, data, size);
        r = tachyon_bus_commit(flow->bus, size, (uint32_t)flow->index);
        return r < 0 ? r : 1;
}

/* One call has one tag for all: 0. */
static int64_t flow_send_records(struct flow *flow, uint64_t size) {
        unsigned char records[STRETCH * 300];
        uint64_t count = STRETCH - flow->index % STRETCH;

        for (uint64_t i = 0; i < count; i++)
                flow_fill(flow, flow->index + i, records + i * size, size);
        return tachyon_bus_send_records(flow->bus, records, size, count, 0, flow->timeout_ns);
}

/* 0, or an error that is for good. */
static int flow_answers(struct flow *flow, int (*one)(struct flow *, uint64_t)) {
        while (flow->unanswered) {
                int r = one(flow, flow->index - flow->unanswered);

                if (r == 0)
                        flow->unanswered--;
                else if (!flow_again(flow, r))
                        return r;
        }
        return 0;
}

/* How many were sent, or an error that is for good. */
static test_unused int64_t flow_send(struct flow *flow) {
        unsigned char data[16384];
        uint64_t size = flow_size(flow, flow->index);
        bool answered = flow_way(flow, flow->index) == WAY_ANSWERED;
        int64_t r;
        int answers;

        do {
                switch (flow_way(flow, flow->index)) {
                case WAY_IN_PLACE:
                        r = flow_send_in_place(flow, size);
                        break;
                case WAY_RECORDS:
                        r = flow_send_records(flow, size);
                        break;
                default:
                        flow_fill(flow, flow->index, data, size);
                        r = tachyon_bus_send(flow->bus, data, size, (uint32_t)flow->index, flow->timeout_ns);
                        r = r < 0 ? r : 1;
                }
        } while (flow_again(flow, r));
        if (r < 0)
                return r;
        flow->index += (uint64_t)r;
        flow->unanswered = answered;
        answers = flow_answers(flow, flow_recv_answer);
        return answers < 0 ? answers : r;
}

static void flow_release_all(struct flow *flow) {
        while (flow->n_held)
                CHECK_EQ(tachyon_bus_release(flow->bus, flow->held[--flow->n_held].lease), 0);
}

static void flow_took(struct flow *flow, const tachyon_message *message) {
        tachyon_message copy = *message;

        if (flow_way(flow, flow->index) == WAY_RECORDS) {
                CHECK_EQ(copy.type_id, 0);
                copy.type_id = (uint32_t)flow->index;
        }
        flow_check(flow, flow->index, &copy);
        flow->unanswered += flow_way(flow, flow->index) == WAY_ANSWERED;
        flow->index++;
        flow->bytes += message->size;
}

static int flow_recv_held(struct flow *flow) {
        tachyon_message *message = &flow->held[flow->n_held];
        int r = tachyon_bus_recv(flow->bus, message, flow->timeout_ns);

        if (r == -TACHYON_ELEASES) {
                flow_release_all(flow);
                message = &flow->held[0];
                r = tachyon_bus_recv(flow->bus, message, flow->timeout_ns);
        }
        if (r < 0)
                return r;
        flow->n_held++;
        flow_took(flow, message);
        if (flow->n_held == MOST_HELD)
                flow_release_all(flow);
        return 1;
}

static int flow_recv_batch(struct flow *flow) {
        tachyon_message messages[MOST_HELD];
        int r;

        flow_release_all(flow);
        r = tachyon_bus_recv_batch(flow->bus, messages, 1 + flow->index % MOST_HELD, flow->timeout_ns);
        for (int i = 0; i < r; i++)
                flow_took(flow, &messages[i]);
        if (r > 0)
                CHECK_EQ(tachyon_bus_release_batch(flow->bus, messages, (size_t)r), 0);
        return r;
}

static int flow_recv_copy(struct flow *flow) {
        unsigned char copy[16384];
        tachyon_message message = { .data = copy };
        int64_t r;

        flow_release_all(flow);
        r = tachyon_bus_recv_copy(flow->bus, copy, sizeof(copy), &message.type_id, flow->timeout_ns);
        if (r < 0)
                return (int)r;
        message.size = (uint64_t)r;
        flow_took(flow, &message);
        return 1;
}

/* How many were received, or an error that is for good. */
static test_unused int64_t flow_recv(struct flow *flow) {
        int r, answers;

        do {
                switch (mix(flow->seed + flow->index / 64) % 4) {
                case 0:
                        r = flow_recv_held(flow);
                        break;
                case 1:
                        r = flow_recv_batch(flow);
                        break;
                case 2:
                        r = flow_recv_copy(flow);
                        break;
                default:
                        flow_release_all(flow);
                        r = tachyon_bus_recv(flow->bus, &flow->held[0], flow->timeout_ns);
                        if (r == 0) {
                                flow_took(flow, &flow->held[0]);
                                CHECK_EQ(tachyon_bus_release(flow->bus, flow->held[0].lease), 0);
                                r = 1;
                        }
                }
        } while (flow_again(flow, r));
        if (r < 0)
                return r;
        answers = flow_answers(flow, flow_send_answer);
        return answers < 0 ? answers : r;
}

#endif
