/* SPDX-License-Identifier: MIT */
#ifndef TEST_PINGPONG_H
#define TEST_PINGPONG_H
/*
 * Two sides that answer each other, each with a thread that sends, one that
 * receives and one that releases: most messages are small and come one by one,
 * as over the exchange line; others come in runs, in place, as records, or are
 * large. Every byte is checked, and the order.
 *
 * The sender hears of what was received by a relaxed word: whatever orders its
 * writes after the reads of the other two threads is the library's doing.
 */
#include "test-util.h"

#include <sched.h>
#include <stdatomic.h>

#define PINGPONG_HANDED 16u
#define PINGPONG_RUN 8u
#define PINGPONG_LARGEST 1024u

/* What the receiver hands on to the releaser. */
struct handed_on {
        _Atomic uint64_t full; /* number + 1, or 0 */
        tachyon_message message;
        uint64_t i;
};

struct pingpong {
        tachyon_bus *bus;
        uint64_t messages;
        bool begins;
        size_t records; /* to receive at once: 1 where the ring is mapped once */
        uint64_t n_handed;
        _Atomic uint64_t received;
        atomic_bool done;
        struct handed_on handed[PINGPONG_HANDED];
};

/* Of eight in a row, all are records now and then, or one is large. */
static bool pingpong_is_record(uint64_t i) {
        return i / PINGPONG_RUN % 16 == 5;
}

static uint64_t pingpong_type(uint64_t i) {
        return pingpong_is_record(i) ? i / PINGPONG_RUN * PINGPONG_RUN : i;
}

static uint64_t pingpong_size(uint64_t i) {
        uint64_t run = i / PINGPONG_RUN;

        if (pingpong_is_record(i))
                return 1 + run % 60;
        if (run % 16 == 9 && i % PINGPONG_RUN == 3)
                return 1 + i * 37 % PINGPONG_LARGEST;
        return i * 7 % 49;
}

static void pingpong_fill(unsigned char *data, uint64_t size, uint64_t i, bool begins) {
        for (uint64_t k = 0; k < size; k++)
                data[k] = (unsigned char)(i * 5 + k + (begins ? 0 : 101));
}

static void pingpong_check(const struct pingpong *side, const void *data, uint64_t size, uint32_t type_id, uint64_t i) {
        const unsigned char *bytes = data;

        CHECK_EQ(type_id, (uint32_t)pingpong_type(i));
        CHECK_EQ(size, pingpong_size(i));
        for (uint64_t k = 0; k < size; k++)
                CHECK(bytes[k] == (unsigned char)(i * 5 + k + (side->begins ? 101 : 0)));
}

/* ---- sending ------------------------------------------------------------ */

/* As many as were received, or one more; in some stretches 40 more, so that the rings are used, too. */
static bool pingpong_may_send(struct pingpong *side, uint64_t i) {
        uint64_t ahead = i / 1000 % 4 == 3 ? 40 : 0;

        return atomic_load_explicit(&side->received, memory_order_relaxed) + ahead >= i + !side->begins;
}

static void pingpong_send_records(struct pingpong *side, uint64_t i) {
        unsigned char data[PINGPONG_RUN * 64];
        uint64_t size = pingpong_size(i);

        for (uint64_t k = 0; k < PINGPONG_RUN; k++)
                pingpong_fill(data + k * size, size, i + k, side->begins);
        CHECK_EQ(tachyon_bus_send_records(side->bus, data, size, PINGPONG_RUN, (uint32_t)i, LONG), PINGPONG_RUN);
}

static void pingpong_send_in_place(struct pingpong *side, const unsigned char *data, uint64_t size, uint64_t i) {
        const uint64_t room = 300;
        void *place;

        CHECK_EQ(tachyon_bus_reserve(side->bus, &place, room, LONG), 0);
        /* What looks like stamps must not be taken for some, whether this becomes a message or not. */
        for (uint64_t k = 0; k + 8 <= room; k += 8)
                memcpy((unsigned char *)place + k, &(uint64_t){ k / 8 * 64 | 1 }, 8);
        if (i % 2 || size > room) {
                CHECK_EQ(tachyon_bus_cancel(side->bus), 0);
                CHECK_EQ(tachyon_bus_send(side->bus, data, size, (uint32_t)i, LONG), 0);
        } else {
                memcpy(place, data, size);
                CHECK_EQ(tachyon_bus_commit(side->bus, size, (uint32_t)i), 0);
        }
}

static void *pingpong_sender(void *context) {
        struct pingpong *side = context;
        unsigned char data[PINGPONG_LARGEST + 1];

        for (uint64_t i = 0; i < side->messages; i++) {
                while (!pingpong_may_send(side, i))
                        sched_yield();
                if (pingpong_is_record(i)) {
                        pingpong_send_records(side, i);
                        i += PINGPONG_RUN - 1;
                        continue;
                }
                pingpong_fill(data, pingpong_size(i), i, side->begins);
                if (i % 23 == 0)
                        pingpong_send_in_place(side, data, pingpong_size(i), i);
                else
                        CHECK_EQ(tachyon_bus_send(side->bus, data, pingpong_size(i), (uint32_t)i, LONG), 0);
        }
        return context;
}

/* ---- receiving ---------------------------------------------------------- */

/* True where it was handed on: not where all places are taken. */
static bool pingpong_hand_on(struct pingpong *side, const tachyon_message *message, uint64_t i) {
        struct handed_on *one = &side->handed[side->n_handed % PINGPONG_HANDED];

        if (atomic_load_explicit(&one->full, memory_order_acquire))
                return false;
        one->message = *message;
        one->i = i;
        atomic_store_explicit(&one->full, ++side->n_handed, memory_order_release);
        return true;
}

static int64_t pingpong_receive_copy(struct pingpong *side, uint64_t i) {
        unsigned char bytes[PINGPONG_LARGEST + 1];
        uint32_t type_id;
        int64_t n = tachyon_bus_recv_copy(side->bus, bytes, sizeof(bytes), &type_id, LONG);

        if (n < 0)
                return n;
        pingpong_check(side, bytes, (uint64_t)n, type_id, i);
        return 1;
}

static int64_t pingpong_receive_records(struct pingpong *side, uint64_t i) {
        const uint32_t type_id = (uint32_t)pingpong_type(i);
        tachyon_records records;
        int64_t n = tachyon_bus_recv_records(side->bus, &records, pingpong_size(i), side->records, &type_id, LONG);

        if (n < 0)
                return n;
        for (int64_t k = 0; k < n; k++)
                pingpong_check(side, (const unsigned char *)records.data + (uint64_t)k * records.stride,
                               pingpong_size(i), type_id, i + (uint64_t)k);
        CHECK_EQ(tachyon_bus_release(side->bus, records.lease), 0);
        return n;
}

static int64_t pingpong_receive_batch(struct pingpong *side, uint64_t i) {
        tachyon_message messages[4];
        int n = tachyon_bus_recv_batch(side->bus, messages, 4, LONG);

        for (int k = 0; k < n; k++)
                pingpong_check(side, messages[k].data, messages[k].size, messages[k].type_id, i + (uint64_t)k);
        if (n > 0)
                CHECK_EQ(tachyon_bus_release_batch(side->bus, messages, (size_t)n), 0);
        return n;
}

static int64_t pingpong_receive_lease(struct pingpong *side, uint64_t i) {
        tachyon_message message;
        int r = tachyon_bus_recv(side->bus, &message, LONG);

        if (r < 0)
                return r;
        if (i % 11 == 0) {
                CHECK_EQ(tachyon_bus_put_back(side->bus, &message), 0);
                CHECK_EQ(tachyon_bus_recv(side->bus, &message, 0), 0);
        }
        if (i % 2 && pingpong_hand_on(side, &message, i))
                return 1;
        pingpong_check(side, message.data, message.size, message.type_id, i);
        CHECK_EQ(tachyon_bus_release(side->bus, message.lease), 0);
        return 1;
}

static int64_t pingpong_receive(struct pingpong *side, uint64_t i) {
        switch (i % 13) {
        case 2:
                return pingpong_size(i) ? pingpong_receive_records(side, i) : pingpong_receive_lease(side, i);
        case 5:
                return pingpong_receive_batch(side, i);
        case 1:
        case 4:
        case 8:
        case 9:
        case 12:
                return pingpong_receive_copy(side, i);
        default:
                return pingpong_receive_lease(side, i);
        }
}

static void *pingpong_receiver(void *context) {
        struct pingpong *side = context;
        uint64_t i = 0;

        while (i < side->messages) {
                int64_t n = pingpong_receive(side, i);

                if (n == -TACHYON_ELEASES) { /* the releaser is behind */
                        sched_yield();
                        continue;
                }
                CHECK(n > 0);
                i += (uint64_t)n;
                atomic_store_explicit(&side->received, i, memory_order_relaxed);
        }
        atomic_store_explicit(&side->done, true, memory_order_release);
        return context;
}

/* ---- releasing ---------------------------------------------------------- */

static void *pingpong_releaser(void *context) {
        struct pingpong *side = context;
        bool done = false;

        for (uint64_t n = 0;;) {
                struct handed_on *one = &side->handed[n % PINGPONG_HANDED];

                if (atomic_load_explicit(&one->full, memory_order_acquire) != n + 1) {
                        if (done)
                                return context;
                        done = atomic_load_explicit(&side->done, memory_order_acquire);
                        sched_yield();
                        continue;
                }
                pingpong_check(side, one->message.data, one->message.size, one->message.type_id, one->i);
                CHECK_EQ(tachyon_bus_release(side->bus, one->message.lease), 0);
                atomic_store_explicit(&one->full, 0, memory_order_release);
                n++;
        }
}

/* ---- all three ---------------------------------------------------------- */

static void pingpong_start(struct pingpong *side, pthread_t threads[3]) {
        threads[0] = thread_start(pingpong_receiver, side);
        threads[1] = thread_start(pingpong_releaser, side);
        threads[2] = thread_start(pingpong_sender, side);
}

static void pingpong_finish(pthread_t threads[3]) {
        for (int i = 0; i < 3; i++)
                thread_join(threads[i]);
}

/* TACHYON_TEST_MESSAGES is how many. */
static uint64_t pingpong_messages(uint64_t usual) {
        const char *wanted = getenv("TACHYON_TEST_MESSAGES");

        if (wanted)
                alarm(0);
        return wanted ? strtoull(wanted, NULL, 10) : usual;
}

#endif
