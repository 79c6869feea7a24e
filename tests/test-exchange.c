/* SPDX-License-Identifier: MIT */
/*
 * The exchange line: what comes over it, when, and that it makes no difference
 * to anything but speed. The line itself is seen by the address of a message.
 */
#include "test-bus.h"
#include "test-pingpong.h"

#include "../libtachyon/bus.h"

#define PAGE 4096u

static bool on_the_line(const tachyon_bus *bus, const void *data) {
        return data == bus->connection.exchange->payload;
}

/* The next message must be this one; it stays leased. */
static tachyon_message take(tachyon_bus *bus, uint64_t size, uint64_t seed) {
        tachyon_message message;

        CHECK_EQ(tachyon_bus_recv(bus, &message, LONG), 0);
        CHECK_EQ(message.size, size);
        CHECK_EQ(message.type_id, (uint32_t)seed);
        CHECK(matches(message.data, size, seed));
        return message;
}

static void take_and_release(tachyon_bus *bus, uint64_t size, uint64_t seed, bool over_the_line) {
        tachyon_message message = take(bus, size, seed);

        CHECK_EQ(on_the_line(bus, message.data), over_the_line);
        CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
}

/* The connector looks for an answer before it has asked: from then on it may begin. */
static void begin(tachyon_bus *connector) {
        tachyon_message message;

        CHECK_EQ(tachyon_bus_recv(connector, &message, 0), -EAGAIN);
}

static struct pair pair_that_begins(uint64_t capacity) {
        struct pair pair = pair_of_capacity(capacity);

        begin(pair.theirs);
        return pair;
}

static void answer(struct pair *pair, uint64_t size, uint64_t seed) {
        send_pattern(pair->theirs, size, seed);
        take_and_release(pair->ours, size, seed, true);
        send_pattern(pair->ours, size, seed + 1);
        take_and_release(pair->theirs, size, seed + 1, true);
}

/* ---- when ---------------------------------------------------------------- */

static void test_questions_and_answers_come_over_the_line(void) {
        struct pair pair = pair_that_begins(PAGE);

        for (uint64_t round = 0; round < 5; round++) /* more than the ring has lines */
                for (uint64_t size = 0; size <= FRAME_INLINE_SIZE; size++)
                        answer(&pair, size, 2 * (round * 100 + size));
        pair_free(&pair);
}

static void test_copies_come_over_the_line(void) {
        struct pair pair = pair_that_begins(PAGE);
        unsigned char copy[FRAME_INLINE_SIZE];
        uint32_t type_id;

        for (uint64_t i = 0; i < 300; i++) {
                tachyon_bus *from = i % 2 ? pair.ours : pair.theirs, *to = i % 2 ? pair.theirs : pair.ours;
                uint64_t size = i % 49;

                send_pattern(from, size, i);
                CHECK_EQ(from->connection.exchange->size, size);
                CHECK_EQ(tachyon_bus_recv_copy(to, copy, sizeof(copy), &type_id, i % 3 ? LONG : 0), (int64_t)size);
                CHECK_EQ(type_id, i);
                CHECK(matches(copy, size, i));
        }
        pair_free(&pair);
}

static void test_a_stream_stays_in_the_ring(void) {
        struct pair pair = pair_of_capacity(PAGE);

        /* Nobody has waited for an answer: nobody begins. The listener does not begin at all. */
        begin(pair.ours);
        for (uint64_t i = 0; i < 10; i++)
                send_pattern(pair.theirs, 8, i);
        for (uint64_t i = 0; i < 10; i++)
                take_and_release(pair.ours, 8, i, false);
        for (uint64_t i = 0; i < 10; i++)
                send_pattern(pair.ours, 8, i);
        for (uint64_t i = 0; i < 10; i++)
                take_and_release(pair.theirs, 8, i, false);
        /* Who waited has one try; without an answer over the line it stays with that. */
        begin(pair.theirs);
        for (uint64_t i = 0; i < 10; i++)
                send_pattern(pair.theirs, 8, i);
        for (uint64_t i = 0; i < 10; i++)
                take_and_release(pair.ours, 8, i, i == 0);
        pair_free(&pair);
}

static void test_the_turn_comes_with_the_release(void) {
        struct pair pair = pair_that_begins(PAGE);
        tachyon_message first, second;

        send_pattern(pair.theirs, 48, 1);
        send_pattern(pair.theirs, 48, 2);
        first = take(pair.ours, 48, 1);
        second = take(pair.ours, 48, 2);
        CHECK(on_the_line(pair.ours, first.data) && !on_the_line(pair.ours, second.data));
        /* It is leased, so our answers stay away from there, and so do the peer's messages. */
        send_pattern(pair.ours, 48, 3);
        take_and_release(pair.theirs, 48, 3, false);
        send_pattern(pair.theirs, 48, 4);
        take_and_release(pair.ours, 48, 4, false);
        CHECK_EQ(tachyon_bus_release(pair.ours, second.lease), 0);
        send_pattern(pair.ours, 48, 5);
        take_and_release(pair.theirs, 48, 5, false);
        CHECK(matches(first.data, 48, 1));
        CHECK_EQ(tachyon_bus_release(pair.ours, first.lease), 0);
        send_pattern(pair.ours, 48, 6);
        take_and_release(pair.theirs, 48, 6, true);
        pair_free(&pair);
}

/* ---- all else as ever ----------------------------------------------------- */

static void test_a_turn_is_kept_while_the_ring_is_used(void) {
        struct pair pair = pair_that_begins(PAGE);
        unsigned char bytes[16] = { 0 };
        void *place;

        send_pattern(pair.theirs, 8, 1);
        take_and_release(pair.ours, 8, 1, true);
        send_pattern(pair.ours, 49, 2); /* too large for the line */
        take_and_release(pair.theirs, 49, 2, false);
        CHECK_EQ(tachyon_bus_reserve(pair.ours, &place, 8, 0), 0);
        fill(place, 8, 3);
        CHECK_EQ(tachyon_bus_send(pair.ours, "x", 1, 0, 0), -EBUSY);
        CHECK_EQ(tachyon_bus_commit(pair.ours, 8, 3), 0);
        take_and_release(pair.theirs, 8, 3, false);
        CHECK_EQ(tachyon_bus_send_records(pair.ours, bytes, 8, 2, 4, 0), 2);
        for (int i = 0; i < 2; i++) {
                tachyon_message message;

                CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, 0), 0);
                CHECK(!on_the_line(pair.theirs, message.data));
                CHECK_EQ(tachyon_bus_release(pair.theirs, message.lease), 0);
        }
        send_pattern(pair.ours, 8, 5);
        take_and_release(pair.theirs, 8, 5, true);
        pair_free(&pair);
}

static void test_messages_of_both_places_keep_their_order(void) {
        struct pair pair = pair_that_begins(2 * PAGE);
        tachyon_message messages[8];

        for (uint64_t round = 0; round < 50; round++) {
                send_pattern(pair.theirs, 3000, 1);
                send_pattern(pair.theirs, 8, 2);
                send_pattern(pair.theirs, 8, 3);
                send_pattern(pair.theirs, 300, 4);
                send_pattern(pair.theirs, 0, 5);
                CHECK_EQ(tachyon_bus_recv_batch(pair.ours, messages, 8, 0), 5);
                for (uint64_t i = 0; i < 5; i++)
                        CHECK_EQ(messages[i].type_id, i + 1);
                CHECK(matches(messages[0].data, 3000, 1));
                CHECK(matches(messages[1].data, 8, 2) && on_the_line(pair.ours, messages[1].data));
                CHECK(matches(messages[2].data, 8, 3) && !on_the_line(pair.ours, messages[2].data));
                CHECK(matches(messages[3].data, 300, 4));
                CHECK_EQ(tachyon_bus_release_batch(pair.ours, messages, 5), 0);
                send_pattern(pair.ours, 8, 6);
                take_and_release(pair.theirs, 8, 6, true);
        }
        pair_free(&pair);
}

static void test_a_message_on_the_line_is_put_back(void) {
        struct pair pair = pair_that_begins(PAGE);
        unsigned char copy[FRAME_INLINE_SIZE];
        tachyon_message message;

        send_pattern(pair.theirs, 40, 1);
        message = take(pair.ours, 40, 1);
        CHECK_EQ(tachyon_bus_put_back(pair.ours, &message), 0);
        CHECK_EQ(tachyon_bus_release(pair.ours, message.lease), -EINVAL);
        send_pattern(pair.ours, 8, 2); /* it has not been released: not our turn */
        take_and_release(pair.theirs, 8, 2, false);
        CHECK_EQ(tachyon_bus_recv_copy(pair.ours, copy, 39, NULL, 0), -EMSGSIZE);
        CHECK_EQ(tachyon_bus_recv_copy(pair.ours, copy, 39, NULL, LONG), -EMSGSIZE);
        message = take(pair.ours, 40, 1);
        CHECK(on_the_line(pair.ours, message.data));
        CHECK_EQ(tachyon_bus_put_back(pair.ours, &message), 0);
        CHECK_EQ(tachyon_bus_recv_copy(pair.ours, copy, 40, NULL, LONG), 40);
        CHECK(matches(copy, 40, 1));
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, 0), -EAGAIN);
        send_pattern(pair.ours, 8, 3);
        take_and_release(pair.theirs, 8, 3, true);
        pair_free(&pair);
}

static bool memory_is_short;

static void *make_string(const char *data, ptrdiff_t size) {
        return memory_is_short && size ? NULL : strndup(data, (size_t)size);
}

/* Where there was no memory for the object, nothing was received. */
static void test_an_object_of_what_is_on_the_line(void) {
        for (int fences = 0; fences < 2; fences++) {
                struct pair pair = pair_that_begins(PAGE);

                for (int i = 0; i < 2; i++) {
                        tachyon_bus *from = i ? pair.ours : pair.theirs, *to = i ? pair.theirs : pair.ours;
                        const uint64_t *slot = tachyon_bus_recv_slot(to, make_string);
                        char *string;

                        if (fences) /* all by the slow ways */
                                bus_use_fences(to);
                        CHECK_EQ(tachyon_bus_send(from, "hello", 5, 7, 0), 0);
                        CHECK(from->out.position == START_POSITION);
                        memory_is_short = true;
                        for (int k = 0; k < 3; k++)
                                CHECK(!tachyon_bus_try_recv_object(to));
                        memory_is_short = false;
                        CHECK_EQ(stats_of(to).leases, 0);
                        CHECK_EQ(stats_of(to).received_messages, 0);
                        string = tachyon_bus_try_recv_object(to);
                        CHECK(string && strcmp(string, "hello") == 0);
                        CHECK(slot[0] == 0 && slot[1] == 7 && slot[2] == 5 && slot[3] == 0);
                        CHECK_EQ(stats_of(to).received_messages, 1);
                        free(string);
                        string = tachyon_bus_try_recv_object(to);
                        CHECK_EQ(slot[0], EAGAIN);
                        free(string);
                }
                pair_free(&pair);
        }
}

static void test_a_record_on_the_line(void) {
        const uint32_t wrong = 2, right = 1;
        struct pair pair = pair_that_begins(PAGE);
        unsigned char bytes[3 * 24];
        tachyon_records records;

        send_pattern(pair.theirs, 24, 1);
        fill(bytes, sizeof(bytes), 2);
        CHECK_EQ(tachyon_bus_send_records(pair.theirs, bytes, 24, 3, 1, 0), 3);
        CHECK_EQ(tachyon_bus_recv_records(pair.ours, &records, 23, 9, NULL, 0), -EMSGSIZE);
        CHECK_EQ(tachyon_bus_recv_records(pair.ours, &records, 24, 9, &wrong, 0), -EBADMSG);
        CHECK_EQ(tachyon_bus_recv_records(pair.ours, &records, 24, 9, &right, LONG), 1);
        CHECK(on_the_line(pair.ours, records.data));
        CHECK(matches(records.data, 24, 1));
        CHECK_EQ(records.count, 1);
        CHECK_EQ(records.stride, FRAME_ALIGNMENT);
        CHECK_EQ(stats_of(pair.ours).received_messages, 1);
        CHECK_EQ(stats_of(pair.ours).received_bytes, 24);
        CHECK_EQ(tachyon_bus_release(pair.ours, records.lease), 0);
        /* The first to follow what is on the line comes by itself, too: it is marked. */
        CHECK_EQ(tachyon_bus_recv_records(pair.ours, &records, 23, 9, NULL, 0), -EMSGSIZE);
        CHECK_EQ(tachyon_bus_recv_records(pair.ours, &records, 24, 9, &wrong, 0), -EBADMSG);
        for (uint64_t i = 0, n; i < 3; i += n) {
                n = i == 0 ? 1 : 2;
                CHECK_EQ(tachyon_bus_recv_records(pair.ours, &records, 24, 9, &right, LONG), (int64_t)n);
                CHECK_EQ(records.count, n);
                for (uint64_t k = 0; k < n; k++)
                        CHECK(memcmp((const unsigned char *)records.data + k * records.stride, bytes + (i + k) * 24, 24) == 0);
                CHECK_EQ(tachyon_bus_release(pair.ours, records.lease), 0);
        }
        CHECK_EQ(stats_of(pair.ours).received_messages, 4);
        CHECK_EQ(tachyon_bus_recv_records(pair.ours, &records, 24, 9, NULL, 0), -EAGAIN);
        send_pattern(pair.ours, 24, 7);
        take_and_release(pair.theirs, 24, 7, true);
        pair_free(&pair);
}

/* It takes up no place in the ring: however many come over it, none is used, and what is leased there leaves all of it. */
static void test_a_message_on_the_line_takes_no_room_in_the_ring(void) {
        struct pair pair = pair_that_begins(PAGE);
        const uint64_t lines = PAGE / FRAME_ALIGNMENT - 1;
        tachyon_message messages[PAGE / FRAME_ALIGNMENT], leased, none;

        send_pattern(pair.theirs, 8, 1);
        take_and_release(pair.ours, 8, 1, true);
        /* The turn is ours, and our ring full: it would not be the next one. */
        for (uint64_t i = 0; i < lines / 3; i++)
                send_pattern(pair.ours, 128, i);
        CHECK_EQ(stats_of(pair.ours).send_used, PAGE - FRAME_ALIGNMENT);
        CHECK_EQ(tachyon_bus_send(pair.ours, "x", 1, 0, 0), -EAGAIN);
        for (uint64_t i = 0; i < lines / 3; i++)
                take_and_release(pair.theirs, 128, i, false);
        send_pattern(pair.ours, 8, 2);
        take_and_release(pair.theirs, 8, 2, true);
        /* One is leased on the line, and then all lines of the ring, until there is no more: an error, and no hang. */
        send_pattern(pair.theirs, 48, 3);
        leased = take(pair.ours, 48, 3);
        CHECK(on_the_line(pair.ours, leased.data));
        for (uint64_t i = 0; i < lines; i++) {
                send_pattern(pair.theirs, 8, 4 + i);
                messages[i] = take(pair.ours, 8, 4 + i);
                CHECK(!on_the_line(pair.ours, messages[i].data));
        }
        CHECK_EQ(tachyon_bus_recv(pair.ours, &none, LONG), -TACHYON_ELEASES);
        CHECK_EQ(stats_of(pair.ours).leases, lines + 1);
        CHECK_EQ(tachyon_bus_send(pair.theirs, "x", 1, 0, 0), -EAGAIN);
        CHECK_EQ(tachyon_bus_release(pair.ours, leased.lease), 0);
        CHECK_EQ(tachyon_bus_send(pair.theirs, "x", 1, 0, 0), -EAGAIN);
        CHECK_EQ(tachyon_bus_release(pair.ours, messages[0].lease), 0);
        CHECK_EQ(tachyon_bus_send(pair.theirs, "x", 1, 0, 0), 0);
        CHECK_EQ(tachyon_bus_release_batch(pair.ours, messages + 1, lines - 1), 0);
        pair_free(&pair);
}

static void test_statistics_count_what_came_over_the_line(void) {
        struct pair pair = pair_that_begins(PAGE);
        tachyon_message message;
        tachyon_stats stats;

        send_pattern(pair.theirs, 40, 1);
        stats = stats_of(pair.theirs);
        CHECK_EQ(stats.sent_messages, 1);
        CHECK_EQ(stats.sent_bytes, 40);
        CHECK_EQ(stats.send_used, 0);
        message = take(pair.ours, 40, 1);
        stats = stats_of(pair.ours);
        CHECK_EQ(stats.received_messages, 1);
        CHECK_EQ(stats.received_bytes, 40);
        CHECK_EQ(stats.recv_used, 0);
        CHECK_EQ(stats.leases, 1);
        CHECK_EQ(tachyon_bus_put_back(pair.ours, &message), 0);
        stats = stats_of(pair.ours);
        CHECK_EQ(stats.received_messages, 0);
        CHECK_EQ(stats.received_bytes, 0);
        CHECK_EQ(stats.leases, 0);
        take_and_release(pair.ours, 40, 1, true);
        CHECK_EQ(stats_of(pair.ours).leases, 0);
        pair_free(&pair);
}

/* ---- leases --------------------------------------------------------------- */

static void test_a_lease_on_the_line_is_released_once(void) {
        struct pair pair = pair_that_begins(PAGE);
        tachyon_message message;
        uint64_t last = 0;

        for (uint64_t i = 0; i < 100; i++) {
                send_pattern(pair.theirs, 8, i);
                message = take(pair.ours, 8, i);
                CHECK(on_the_line(pair.ours, message.data) && message.lease != last);
                CHECK_EQ(tachyon_bus_release(pair.ours, last), -EINVAL); /* the last one's, while this one is out */
                CHECK_EQ(tachyon_bus_release(pair.ours, message.lease + 2), -EINVAL);
                CHECK_EQ(stats_of(pair.ours).leases, 1);
                if (i % 2)
                        CHECK_EQ(tachyon_bus_release(pair.ours, message.lease), 0);
                else
                        CHECK_EQ(tachyon_bus_release_batch(pair.ours, &message, 1), 0);
                CHECK_EQ(tachyon_bus_release(pair.ours, message.lease), -EINVAL);
                CHECK_EQ(tachyon_bus_release_batch(pair.ours, &message, 1), -EINVAL);
                CHECK_EQ(tachyon_bus_put_back(pair.ours, &message), -EINVAL);
                last = message.lease;
                send_pattern(pair.ours, 8, i);
                CHECK_EQ(tachyon_bus_release(pair.ours, last), -EINVAL); /* the turn is theirs now */
                take_and_release(pair.theirs, 8, i, true);
        }
        pair_free(&pair);
}

struct releasing {
        tachyon_bus *bus;
        const tachyon_message *message;
};

static void *release_there(void *context) {
        const struct releasing *releasing = context;

        CHECK_EQ(tachyon_bus_release(releasing->bus, releasing->message->lease), 0);
        return NULL;
}

/* Ring, line, ring, in every order, here or in another thread; of each, its bytes stay until then. */
static void test_leases_of_both_places_in_every_order(void) {
        const int orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
        struct pair pair = pair_that_begins(PAGE);

        for (uint64_t i = 0; i < 2 * 6 * 20; i++) {
                tachyon_message messages[3];
                const int *order = orders[i / 2 % 6];

                send_pattern(pair.theirs, 200, i);
                send_pattern(pair.theirs, 48, i + 1);
                send_pattern(pair.theirs, 48, i + 2);
                for (uint64_t k = 0; k < 3; k++)
                        messages[k] = take(pair.ours, k ? 48 : 200, i + k);
                for (int k = 0; k < 3; k++) {
                        const tachyon_message *message = &messages[order[k]];
                        struct releasing releasing = { pair.ours, message };

                        CHECK_EQ(on_the_line(pair.ours, message->data), order[k] == 1);
                        CHECK(matches(message->data, message->size, i + (uint64_t)order[k]));
                        CHECK_EQ(stats_of(pair.ours).leases, 3 - (uint64_t)k);
                        if (i % 2)
                                thread_join(thread_start(release_there, &releasing));
                        else
                                release_there(&releasing);
                        CHECK_EQ(tachyon_bus_release(pair.ours, message->lease), -EINVAL);
                        /* Over the line as soon as that is released. */
                        send_pattern(pair.ours, 8, 1);
                        take_and_release(pair.theirs, 8, 1, order[k] == 1);
                }
                CHECK_EQ(stats_of(pair.theirs).send_used, 0);
        }
        pair_free(&pair);
}

/* ---- the turn is kept ------------------------------------------------------ */

#define MANY 100000u

static void answer_many(tachyon_bus *bus) {
        begin(bus); /* the connector asks */
        for (uint64_t i = 0; i < MANY; i++) {
                uint64_t number;

                CHECK_EQ(tachyon_bus_send(bus, &i, 8, 1, LONG), 0);
                CHECK_EQ(tachyon_bus_recv_copy(bus, &number, 8, NULL, LONG), 8);
                CHECK_EQ(number, ~i);
        }
        CHECK_EQ(bus->out.position, START_POSITION);
}

/* All of them go over the line: no position moves. */
static void test_questions_and_answers_never_leave_the_line(void) {
        tachyon_bus *bus;
        pid_t pid = peer_of_capacity(&bus, answer_many, PAGE);

        for (uint64_t i = 0; i < MANY; i++) {
                tachyon_message message;
                uint64_t number;

                CHECK_EQ(tachyon_bus_recv(bus, &message, LONG), 0);
                memcpy(&number, message.data, 8);
                CHECK_EQ(number, i);
                CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
                CHECK_EQ(tachyon_bus_send(bus, &(uint64_t){ ~i }, 8, 1, LONG), 0);
        }
        JOIN(pid);
        CHECK_EQ(bus->out.position, START_POSITION);
        CHECK_EQ(stats_of(bus).sent_messages, MANY);
        CHECK_EQ(stats_of(bus).received_messages, MANY);
        tachyon_bus_free(bus);
}

struct answering {
        tachyon_bus *bus;
        uint64_t first; /* how many are received before the first is sent */
        _Atomic uint64_t received;
};

static void *send_answers(void *context) {
        struct answering *answering = context;

        for (uint64_t i = 0; i < MANY / 10; i++) {
                while (atomic_load_explicit(&answering->received, memory_order_acquire) < i + answering->first)
                        sched_yield();
                CHECK_EQ(tachyon_bus_send(answering->bus, &i, 8, 1, LONG), 0);
        }
        return NULL;
}

/* The same where each side sends in one thread and receives in another. */
static void answer_in_threads(tachyon_bus *bus, uint64_t first) {
        struct answering answering = { .bus = bus, .first = first };
        pthread_t sender = thread_start(send_answers, &answering);

        for (uint64_t i = 0; i < MANY / 10; i++) {
                uint64_t number;

                CHECK_EQ(tachyon_bus_recv_copy(bus, &number, 8, NULL, LONG), 8);
                CHECK_EQ(number, i);
                atomic_fetch_add_explicit(&answering.received, 1, memory_order_release);
        }
        thread_join(sender);
        CHECK_EQ(bus->out.position, START_POSITION);
}

static void ask_in_threads(tachyon_bus *bus) {
        begin(bus);
        answer_in_threads(bus, 0);
}

static void test_two_threads_of_each_side_never_leave_the_line(void) {
        tachyon_bus *bus;
        pid_t pid = peer_of_capacity(&bus, ask_in_threads, PAGE);

        answer_in_threads(bus, 1);
        JOIN(pid);
        tachyon_bus_free(bus);
}

/* ---- order, against a queue ------------------------------------------------ */

#define MOST_OUT 24

struct item {
        uint64_t size, seed;
        uint32_t type_id;
};

struct held {
        struct item items[8];
        const unsigned char *data;
        uint64_t count, stride, lease;
};

/* One direction: what was sent and is still to be received, and what of it is leased. */
struct queue {
        tachyon_bus *from, *to;
        struct item items[256]; /* of the last positions */
        uint64_t head, tail;
        struct held held[MOST_OUT];
        unsigned n_held;
        unsigned most; /* of held, before one is released: where few are, the line is used more */
        bool newest; /* the last of held is what was received last */
        uint64_t over_the_line;
};

static uint64_t dice_of(uint64_t *random, uint64_t sides) {
        return (next_random(random) >> 20) % sides;
}

static void queue_sent(struct queue *queue, uint64_t size, uint64_t seed, uint32_t type_id) {
        queue->items[queue->tail++ % 256] = (struct item){ size, seed, type_id };
        CHECK(queue->tail - queue->head < 256);
}

static uint64_t dice_size(uint64_t *random) {
        return dice_of(random, 4) ? dice_of(random, 49) : dice_of(random, 600);
}

static void queue_send(struct queue *queue, uint64_t *random) {
        uint64_t size = dice_size(random), seed = next_random(random) % 100000, room, count, n;
        uint32_t type_id = (uint32_t)dice_of(random, 3);
        unsigned char data[640];
        void *place;
        int64_t r;

        fill(data, size, seed);
        switch (dice_of(random, 6)) {
        case 0: /* in place, and perhaps not at all */
                room = size + dice_of(random, 2) * dice_of(random, 400);
                r = tachyon_bus_reserve(queue->from, &place, room, 0);
                if (r == 0) {
                        CHECK_EQ(tachyon_bus_send(queue->from, data, 1, 0, 0), -EBUSY);
                        memcpy(place, data, size);
                        if (dice_of(random, 4) == 0) {
                                CHECK_EQ(tachyon_bus_cancel(queue->from), 0);
                                return;
                        }
                        CHECK_EQ(tachyon_bus_commit(queue->from, size, type_id), 0);
                }
                break;
        case 1: /* records */
                size = 1 + dice_of(random, 60);
                count = 1 + dice_of(random, 6);
                for (uint64_t i = 0; i < count; i++)
                        fill(data + i * size, size, seed + i);
                r = tachyon_bus_send_records(queue->from, data, size, count, type_id, 0);
                n = r < 0 ? 0 : (uint64_t)r;
                for (uint64_t i = 0; i < n; i++)
                        queue_sent(queue, size, seed + i, type_id);
                CHECK(r > 0 || r == -EAGAIN);
                return;
        case 2:
                r = tachyon_bus_try_send(queue->from, data, (uint32_t)size, type_id);
                break;
        default:
                r = tachyon_bus_send(queue->from, data, size, type_id, 0);
        }
        if (r == -EAGAIN) { /* only where something is in the way */
                CHECK(queue->head != queue->tail || queue->n_held);
                return;
        }
        CHECK_EQ(r, 0);
        queue_sent(queue, size, seed, type_id);
}

static bool holds(const struct held *held) {
        for (uint64_t i = 0; i < held->count; i++)
                if (!matches(held->data + i * held->stride, held->items[i].size, held->items[i].seed))
                        return false;
        return true;
}

static void queue_received(struct queue *queue, const tachyon_message *message) {
        const struct item *item = &queue->items[queue->head % 256];

        CHECK(queue->head != queue->tail);
        CHECK_EQ(message->size, item->size);
        CHECK_EQ(message->type_id, item->type_id);
        CHECK_EQ(message->lease % 2, on_the_line(queue->to, message->data));
        queue->over_the_line += message->lease % 2;
        queue->held[queue->n_held] = (struct held){ .data = message->data, .count = 1, .lease = message->lease };
        queue->held[queue->n_held].items[0] = *item;
        CHECK(holds(&queue->held[queue->n_held++]));
        queue->newest = true;
        queue->head++;
}

static void queue_receive_records(struct queue *queue, uint64_t *random, int64_t timeout_ns) {
        const struct item *item = &queue->items[queue->head % 256];
        uint64_t max = 1 + dice_of(random, 8), size = item->size ? item->size : 1;
        struct held *held = &queue->held[queue->n_held];
        tachyon_records records;
        int64_t n;

        if (dice_of(random, 4) == 0) {
                CHECK_EQ(tachyon_bus_recv_records(queue->to, &records, item->size + 1, max, NULL, timeout_ns), -EMSGSIZE);
                CHECK_EQ(tachyon_bus_recv_records(queue->to, &records, size, max, &(uint32_t){ 9 }, timeout_ns),
                         item->size ? -EBADMSG : -EMSGSIZE);
        }
        if (!item->size)
                return;
        n = tachyon_bus_recv_records(queue->to, &records, size, max, &item->type_id, timeout_ns);
        CHECK(n > 0 && (uint64_t)n <= max && (uint64_t)n == records.count);
        *held = (struct held){ .data = records.data, .count = records.count, .stride = records.stride,
                               .lease = records.lease };
        for (uint64_t i = 0; i < records.count; i++) {
                CHECK(queue->head != queue->tail);
                held->items[i] = queue->items[queue->head++ % 256];
                CHECK_EQ(held->items[i].size, size);
        }
        CHECK(holds(held));
        queue->over_the_line += records.lease % 2;
        queue->n_held++;
        queue->newest = false; /* it is, and could be put back, if it were a message */
}

static void queue_receive_copy(struct queue *queue, uint64_t *random, int64_t timeout_ns) {
        const struct item *item = &queue->items[queue->head % 256];
        unsigned char copy[640];
        uint32_t type_id = 77;
        uint64_t stamp = queue->to->in.exchange_flags;

        if (item->size && dice_of(random, 3) == 0) {
                CHECK_EQ(tachyon_bus_recv_copy(queue->to, copy, dice_of(random, item->size), &type_id, timeout_ns),
                         -EMSGSIZE);
                CHECK_EQ(type_id, 77);
                if (dice_of(random, 2))
                        return;
        }
        CHECK_EQ(tachyon_bus_recv_copy(queue->to, copy, item->size, &type_id, timeout_ns), (int64_t)item->size);
        CHECK_EQ(type_id, item->type_id);
        CHECK(matches(copy, item->size, item->seed));
        queue->over_the_line += queue->to->in.exchange_flags != stamp;
        queue->newest = false;
        queue->head++;
}

static void queue_release(struct queue *queue, uint64_t *random) {
        unsigned i;

        if (!queue->n_held)
                return;
        i = (unsigned)dice_of(random, queue->n_held);
        CHECK(holds(&queue->held[i]));
        CHECK_EQ(tachyon_bus_release(queue->to, queue->held[i].lease), 0);
        CHECK_EQ(tachyon_bus_release(queue->to, queue->held[i].lease), -EINVAL);
        if (i + 1 == queue->n_held)
                queue->newest = false;
        memmove(&queue->held[i], &queue->held[i + 1], (--queue->n_held - i) * sizeof(queue->held[0]));
}

static void queue_receive(struct queue *queue, uint64_t *random) {
        int64_t timeout_ns = dice_of(random, 3) ? 0 : LONG;
        tachyon_message messages[6];
        int r;

        if (queue->head == queue->tail) {
                r = tachyon_bus_recv(queue->to, messages, 0);
                CHECK(r == -EAGAIN || (r == -TACHYON_ELEASES && queue->n_held));
                CHECK_EQ(tachyon_bus_recv_copy(queue->to, messages, 8, NULL, 0), r);
                return;
        }
        while (queue->n_held > queue->most)
                queue_release(queue, random);
        switch (dice_of(random, 5)) {
        case 0:
                queue_receive_copy(queue, random, timeout_ns);
                break;
        case 1:
                queue_receive_records(queue, random, timeout_ns);
                break;
        case 2:
                r = tachyon_bus_recv_batch(queue->to, messages, 1 + dice_of(random, 6), timeout_ns);
                CHECK(r > 0);
                for (int i = 0; i < r; i++)
                        queue_received(queue, &messages[i]);
                break;
        default:
                CHECK_EQ(tachyon_bus_recv(queue->to, messages, timeout_ns), 0);
                queue_received(queue, messages);
        }
}

static tachyon_message message_of(const struct held *held) {
        return (tachyon_message){ .data = held->data, .size = held->items[0].size, .lease = held->lease };
}

static void queue_put_back(struct queue *queue, uint64_t *random) {
        tachyon_message message;
        unsigned i;

        if (!queue->n_held || !queue->newest)
                return;
        i = (unsigned)dice_of(random, queue->n_held);
        message = message_of(&queue->held[i]);
        if (i + 1 != queue->n_held) {
                CHECK_EQ(tachyon_bus_put_back(queue->to, &message), -EINVAL);
                return;
        }
        CHECK_EQ(tachyon_bus_put_back(queue->to, &message), 0);
        CHECK_EQ(tachyon_bus_release(queue->to, message.lease), -EINVAL);
        queue->n_held--;
        queue->newest = false;
        queue->head--;
        CHECK(queue->items[queue->head % 256].seed == queue->held[i].items[0].seed);
}

static void queue_step(struct queue *queue, uint64_t *random) {
        uint64_t dice = dice_of(random, 12);

        if (dice < 4)
                queue_send(queue, random);
        else if (dice < 8)
                queue_receive(queue, random);
        else if (dice < 9)
                queue_put_back(queue, random);
        else
                queue_release(queue, random);
        CHECK_EQ(stats_of(queue->to).leases, queue->n_held);
}

static void queue_drain(struct queue *queue, uint64_t *random) {
        while (queue->head != queue->tail || queue->n_held) {
                queue_receive(queue, random);
                queue_release(queue, random);
        }
        CHECK_EQ(stats_of(queue->from).send_used, 0);
        CHECK_EQ(stats_of(queue->from).sent_messages, queue->tail);
        CHECK_EQ(stats_of(queue->to).received_messages, queue->tail);
}

/* Whatever both do by all ways there are, it is as two queues have it. */
static void test_both_places_are_one_queue(void) {
        uint64_t over_the_line = 0, messages = 0;

        for (uint64_t seed = 1; seed <= 300; seed++) {
                uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15);
                struct pair pair = pair_of_capacity(PAGE);
                struct queue *queues = calloc(2, sizeof(*queues));

                CHECK(queues);
                queues[0].from = queues[1].to = pair.theirs;
                queues[0].to = queues[1].from = pair.ours;
                queues[0].most = queues[1].most = seed % 3 ? (unsigned)(seed % 3) : MOST_OUT - 6;
                for (int step = 0; step < 4000; step++)
                        queue_step(&queues[dice_of(&random, 2)], &random);
                for (int i = 0; i < 2; i++)
                        queue_drain(&queues[i], &random);
                over_the_line += queues[0].over_the_line + queues[1].over_the_line;
                messages += queues[0].tail + queues[1].tail;
                pair_free(&pair);
                free(queues);
        }
        printf("%llu messages, %llu of them over the line\n", (unsigned long long)messages,
               (unsigned long long)over_the_line);
        CHECK(messages > 200000 && over_the_line > 10000);
}

/* ---- stale bytes --------------------------------------------------------- */

/* All that lies in a ring looks like stamps to come; so do all payloads. Only what was sent may arrive. */
struct walk {
        tachyon_bus *from, *to;
        uint64_t position; /* of the next frame */
        uint64_t sent, received;
        tachyon_message leased[3];
        unsigned n_leased;
};

/* The stamps of the next lines, over and over, each with one of the flags. */
static void fill_with_stamps(void *data, uint64_t size, uint64_t position, uint64_t lines, uint64_t dice) {
        for (uint64_t k = 0; k + 8 <= size; k += 8) {
                uint64_t stamp = (position + (k / 8 + dice) % lines * FRAME_ALIGNMENT) | FRAME_VALID | (dice & 16);

                memcpy((unsigned char *)data + k, &stamp, 8);
        }
}

static void walk_send(struct walk *walk, uint64_t *random) {
        uint64_t dice = next_random(random), size = dice % 49, lines = 1 + dice / 64 % 9;
        unsigned char data[640] = { 0 };
        uint32_t number = (uint32_t)walk->sent;
        uint64_t before = walk->from->out.position;
        void *place;
        int r;

        if (dice / 1024 % 4 == 0) /* half of them are cancelled */
                size = 49 + dice / 4096 % 590;
        fill_with_stamps(data, sizeof(data), walk->position, lines, dice >> 32);
        if (dice / 8192 % 4 == 0) {
                if (tachyon_bus_reserve(walk->from, &place, sizeof(data), 0) < 0)
                        return;
                memcpy(place, data, sizeof(data));
                if (dice / 65536 % 2)
                        r = tachyon_bus_cancel(walk->from), size = UINT64_MAX;
                else
                        r = tachyon_bus_commit(walk->from, size, number);
        } else {
                r = tachyon_bus_send(walk->from, data, size, number, 0);
                if (r == -EAGAIN)
                        return;
        }
        CHECK_EQ(r, 0);
        if (size == UINT64_MAX)
                return;
        walk->sent++;
        walk->position = walk->from->out.position;
        if (walk->position != before) /* else it went over the line */
                CHECK_EQ(walk->position, before + frame_length(size, FRAME_INLINE_SIZE));
}

static void walk_receive(struct walk *walk, uint64_t *random) {
        uint64_t dice = next_random(random);
        unsigned char copy[640];
        tachyon_message message;
        uint32_t type_id;
        int64_t r;

        if (dice % 4 == 0 && walk->n_leased) {
                CHECK_EQ(tachyon_bus_release(walk->to, walk->leased[--walk->n_leased].lease), 0);
                return;
        }
        if (dice % 4 == 1 || walk->n_leased == 3) {
                r = tachyon_bus_recv_copy(walk->to, copy, sizeof(copy), &type_id, 0);
        } else {
                r = tachyon_bus_recv(walk->to, &message, 0);
                if (r == 0)
                        walk->leased[walk->n_leased++] = message;
                type_id = message.type_id;
        }
        if (r < 0) {
                CHECK(r == -EAGAIN || r == -TACHYON_ELEASES);
                CHECK_EQ(walk->received, walk->sent);
                return;
        }
        CHECK_EQ(type_id, (uint32_t)walk->received);
        walk->received++;
}

static void test_stale_bytes_never_look_like_a_message(void) {
        struct pair pair = pair_that_begins(PAGE);
        struct walk walks[2] = {
                { .from = pair.theirs, .to = pair.ours },
                { .from = pair.ours, .to = pair.theirs },
        };
        uint64_t random = 88172645463325252u, over_the_line = 0;

        for (int i = 0; i < 2; i++)
                fill_with_stamps(walks[i].from->connection.ours.ring + FRAME_ALIGNMENT, PAGE - FRAME_ALIGNMENT,
                                 FRAME_ALIGNMENT, PAGE / FRAME_ALIGNMENT - 1, 0);
        for (uint64_t i = 0; i < 400000; i++) {
                uint64_t dice = next_random(&random);
                struct walk *walk = &walks[dice / 4 % 2];
                uint64_t stamp = pair.ours->connection.exchange->stamp;

                if (dice % 3 == 0)
                        walk_send(walk, &random);
                else
                        walk_receive(walk, &random);
                over_the_line += pair.ours->connection.exchange->stamp != stamp;
        }
        CHECK(over_the_line > 5000);
        CHECK(walks[0].position > 100 * PAGE && walks[1].position > 100 * PAGE);
        for (int i = 0; i < 2; i++)
                CHECK_EQ(tachyon_bus_release_batch(walks[i].to, walks[i].leased, walks[i].n_leased), 0);
        pair_free(&pair);
}

/* ---- sleeping ------------------------------------------------------------ */

static void answer_from_the_line(tachyon_bus *bus) {
        for (uint64_t i = 0; i < 300; i++) {
                tachyon_message message = take(bus, i % 49, i);

                CHECK(on_the_line(bus, message.data));
                CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
                send_pattern(bus, i % 49, i + 1);
        }
}

/* Both sleep each time: the look before the sleep sees the line, and who writes there rings. */
static void sleepers(bool fences) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        tachyon_bus *bus;
        struct connecting connecting;
        const char *path = path_of("sleepers");
        pid_t pid;

        options.spin_ns = -1;
        pid = fork_helper();
        if (pid == 0) {
                CHECK_EQ(tachyon_bus_listen(&bus, path, &options, LONG), 0);
                if (fences)
                        bus_use_fences(bus);
                answer_from_the_line(bus);
                tachyon_bus_free(bus);
                helper_exit();
        }
        connecting_start(&connecting, path, &options);
        bus = connecting_finish(&connecting);
        if (fences)
                bus_use_fences(bus);
        begin(bus);
        for (uint64_t i = 0; i < 300; i++) {
                send_pattern(bus, i % 49, i);
                take_and_release(bus, i % 49, i + 1, true);
        }
        CHECK(stats_of(bus).data_sleeps > 100);
        JOIN(pid);
        tachyon_bus_free(bus);
}

static void test_sleepers_are_woken_for_the_line(void) {
        sleepers(false);
}

static void test_sleepers_are_woken_for_the_line_with_fences(void) {
        sleepers(true);
}

static void test_every_wait_sees_the_line(void) {
        struct pair pair = pair_that_begins(PAGE);
        tachyon_bus *bus = pair.ours;
        unsigned char ready = 0;

        CHECK_EQ(tachyon_bus_arm(bus), 0);
        send_pattern(pair.theirs, 8, 1);
        CHECK_EQ(tachyon_bus_arm(bus), 1);
        CHECK_EQ(tachyon_bus_wait_data(bus, 0), 0);
        CHECK_EQ(tachyon_bus_wait_data(bus, LONG), 0);
        CHECK_EQ(tachyon_bus_wait_any(&bus, 1, &ready, LONG), 1);
        CHECK_EQ(ready, 1);
        take_and_release(bus, 8, 1, true);
        CHECK_EQ(tachyon_bus_wait_data(bus, 0), -EAGAIN);
        CHECK_EQ(tachyon_bus_arm(bus), 0);
        pair_free(&pair);
}

/* ---- the end ------------------------------------------------------------- */

static void test_closed_with_a_message_on_the_line(void) {
        struct pair pair = pair_that_begins(PAGE);
        tachyon_message message;

        send_pattern(pair.theirs, 8, 1);
        tachyon_bus_close(pair.theirs);
        CHECK_EQ(tachyon_bus_wait_data(pair.ours, LONG), 0);
        take_and_release(pair.ours, 8, 1, true);
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, LONG), -TACHYON_ECLOSED);
        CHECK_EQ(tachyon_bus_send(pair.ours, "x", 1, 0, 0), -TACHYON_ECLOSED);
        pair_free(&pair);
}

/* Who sends on the line hears of the end just as who sends in the ring; unless all was read before. */
static void test_a_message_on_the_line_of_one_that_has_closed(void) {
        tachyon_stats stats = { .struct_size = sizeof(stats) };
        struct pair pair = pair_that_begins(PAGE);
        tachyon_message question, message;

        tachyon_bus_close(pair.ours);
        CHECK_EQ(tachyon_bus_send(pair.theirs, "x", 1, 0, 0), -TACHYON_ECLOSED);
        CHECK_EQ(tachyon_bus_stats(pair.theirs, &stats), 0);
        CHECK_EQ(stats.sent_messages, 1);
        CHECK_EQ(stats.send_used, FRAME_ALIGNMENT);
        pair_free(&pair);

        for (uint64_t answered = 0; answered < 2; answered++)
                for (int leased = 0; leased < 2; leased++) {
                        pair = pair_that_begins(PAGE);
                        send_pattern(pair.theirs, 8, 1);
                        question = take(pair.ours, 8, 1);
                        if (!leased)
                                CHECK_EQ(tachyon_bus_release(pair.ours, question.lease), 0);
                        if (answered)
                                send_pattern(pair.ours, 8, 2);
                        tachyon_bus_close(pair.ours);
                        CHECK(matches(question.data, 8, leased ? 1 : answered + 1));
                        if (answered)
                                take_and_release(pair.theirs, 8, 2, !leased);
                        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, 0), -TACHYON_ECLOSED);
                        CHECK_EQ(tachyon_bus_stats(pair.theirs, &stats), 0);
                        CHECK_EQ(stats.send_used, leased ? FRAME_ALIGNMENT : 0);
                        if (leased)
                                CHECK_EQ(tachyon_bus_release(pair.ours, question.lease), 0);
                        pair_free(&pair);
                }
}

static void ask_and_sleep(tachyon_bus *bus) {
        tachyon_message message;

        begin(bus);
        send_pattern(bus, 8, 1);
        tachyon_bus_recv(bus, &message, LONG);
}

static void test_a_message_on_the_line_of_one_that_was_killed(void) {
        tachyon_bus *bus;
        pid_t pid = peer_of_capacity(&bus, ask_and_sleep, PAGE);

        take_and_release(bus, 8, 1, true);
        while (!atomic_load(&bus->peer->data_waiting))
                sched_yield();
        kill(pid, SIGKILL);
        CHECK(WIFSIGNALED(wait_status(pid)));
        CHECK_EQ(tachyon_bus_send(bus, "x", 1, 0, 0), -TACHYON_EPEERDEAD);
        tachyon_bus_free(bus);
}

static void ask_and_be_killed(tachyon_bus *bus) {
        tachyon_message message;

        begin(bus);
        send_pattern(bus, 8, 1);
        take_and_release(bus, 8, 2, true);
        send_pattern(bus, 48, 3);
        send_pattern(bus, 8, 4);
        tachyon_bus_recv(bus, &message, LONG);
}

static void test_killed_with_a_message_on_the_line(void) {
        tachyon_message message;
        tachyon_bus *bus;
        pid_t pid = peer_of_capacity(&bus, ask_and_be_killed, PAGE);
        const struct frame *last = (const void *)(bus->in.ring + (bus->in.cursor & bus->in.mask));

        take_and_release(bus, 8, 1, true);
        send_pattern(bus, 8, 2);
        while (!(atomic_load(&last->stamp) & FRAME_FOLLOWS))
                sched_yield();
        kill(pid, SIGKILL);
        CHECK(WIFSIGNALED(wait_status(pid)));
        take_and_release(bus, 48, 3, true);
        take_and_release(bus, 8, 4, false);
        CHECK_EQ(tachyon_bus_recv(bus, &message, LONG), -TACHYON_EPEERDEAD);
        tachyon_bus_free(bus);
}

/* And with one of the ring, in either order; the last takes the page along, see case_main(). */
static void test_a_lease_on_the_line_outlives_the_bus(void) {
        for (int order = 0; order < 2; order++) {
                struct pair pair = pair_that_begins(PAGE);
                int mappings = mapping_count();
                tachyon_message messages[2];

                send_pattern(pair.theirs, 48, 1);
                send_pattern(pair.theirs, 300, 2);
                messages[0] = take(pair.ours, 48, 1);
                messages[1] = take(pair.ours, 300, 2);
                CHECK(on_the_line(pair.ours, messages[0].data));
                tachyon_bus_close(pair.ours);
                CHECK(tachyon_bus_send(pair.theirs, "overwrite", 9, 1, 0) < 0);
                tachyon_bus_free(pair.ours);
                tachyon_bus_free(pair.theirs);
                CHECK(matches(messages[0].data, 48, 1));
                CHECK_EQ(tachyon_bus_release(pair.ours, messages[0].lease + 2), -EINVAL);
                CHECK_EQ(tachyon_bus_release(pair.ours, messages[order].lease), 0);
                CHECK_EQ(tachyon_bus_release(pair.ours, messages[order].lease), -EINVAL);
                CHECK(matches(messages[!order].data, order ? 48 : 300, order ? 1 : 2));
                CHECK(mapping_count() > 0 && mapping_count() < mappings);
                CHECK_EQ(tachyon_bus_release(pair.ours, messages[!order].lease), 0);
                CHECK_EQ(mapping_count(), 0);
        }
}

static void test_a_lease_on_the_line_of_a_bus_that_was_closed(void) {
        struct pair pair = pair_that_begins(PAGE);
        tachyon_message message;

        send_pattern(pair.theirs, 48, 1);
        message = take(pair.ours, 48, 1);
        tachyon_bus_close(pair.ours);
        CHECK(matches(message.data, 48, 1));
        CHECK_EQ(tachyon_bus_put_back(pair.ours, &message), -ECANCELED);
        CHECK_EQ(tachyon_bus_release_batch(pair.ours, &message, 1), 0);
        CHECK_EQ(tachyon_bus_release(pair.ours, message.lease), -EINVAL);
        pair_free(&pair);
}

/* ---- forks ---------------------------------------------------------------- */

static bool faults(const unsigned char *address) {
        pid_t pid = fork_helper();

        if (pid == 0) {
                signal(SIGSEGV, SIG_DFL); /* a sanitizer's would report it */
                signal(SIGBUS, SIG_DFL);
                *(volatile unsigned char *)(uintptr_t)address = 1;
                _exit(0);
        }
        return WIFSIGNALED(wait_status(pid));
}

/* By itself, or with one of the ring. The child's are its own: the last that it releases, or frees, takes all along. */
static void forked_with_leases(bool ring_too, bool freed_first) {
        struct pair pair = pair_that_begins(PAGE);
        tachyon_message message, other = { 0 };
        pid_t pid;

        send_pattern(pair.theirs, 48, 1);
        if (ring_too)
                send_pattern(pair.theirs, 48, 2);
        message = take(pair.ours, 48, 1);
        if (ring_too)
                other = take(pair.ours, 48, 2);
        CHECK(on_the_line(pair.ours, message.data));
        CHECK(faults(message.data));
        pid = fork_helper();
        if (pid == 0) {
                tachyon_bus_free(pair.theirs);
                CHECK(matches(message.data, 48, 1));
                CHECK_EQ(tachyon_bus_send(pair.ours, "x", 1, 0, 0), -TACHYON_EFORK);
                CHECK_EQ(tachyon_bus_recv(pair.ours, &(tachyon_message){ 0 }, 0), -TACHYON_EFORK);
                CHECK_EQ(tachyon_bus_put_back(pair.ours, &message), -TACHYON_EFORK);
                if (freed_first) {
                        tachyon_bus_free(pair.ours);
                        CHECK(mapping_count() > 0);
                        CHECK(matches(message.data, 48, 1));
                }
                if (ring_too)
                        CHECK_EQ(tachyon_bus_release(pair.ours, other.lease), -TACHYON_EFORK);
                CHECK(matches(message.data, 48, 1));
                CHECK_EQ(tachyon_bus_release(pair.ours, message.lease), -TACHYON_EFORK);
                if (!freed_first)
                        tachyon_bus_free(pair.ours);
                CHECK_EQ(mapping_count(), 0);
                _exit(0);
        }
        JOIN(pid);
        CHECK(matches(message.data, 48, 1));
        CHECK_EQ(tachyon_bus_release(pair.ours, message.lease), 0);
        if (ring_too)
                CHECK_EQ(tachyon_bus_release(pair.ours, other.lease), 0);
        CHECK_EQ(stats_of(pair.ours).leases, 0);
        answer(&(struct pair){ .ours = pair.theirs, .theirs = pair.ours }, 8, 2);
        pair_free(&pair);
}

static void test_a_forked_child_reads_what_is_leased_on_the_line(void) {
        for (int i = 0; i < 4; i++)
                forked_with_leases(i & 1, i & 2);
}

static void test_a_forked_child_has_no_line_where_nothing_is_leased(void) {
        struct pair pair = pair_that_begins(PAGE);
        tachyon_message message;
        pid_t pid;

        answer(&pair, 8, 1);
        pid = fork_helper();
        if (pid == 0) {
                CHECK_EQ(mapping_count(), 0);
                CHECK_EQ(tachyon_bus_send(pair.theirs, "x", 1, 0, LONG), -TACHYON_EFORK);
                CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, LONG), -TACHYON_EFORK);
                tachyon_bus_free(pair.ours);
                tachyon_bus_free(pair.theirs);
                _exit(0);
        }
        JOIN(pid);
        answer(&pair, 8, 3);
        pair_free(&pair);
}

/* ---- whose it is ---------------------------------------------------------- */

static void test_every_kind_of_stream_has_a_line(void) {
        const uint32_t flags[] = { 0, TACHYON_TRUSTED, TACHYON_PREFAULT, TACHYON_MLOCK };
        tachyon_options options = TACHYON_OPTIONS_INIT;

        for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
                struct pair pair;

                options.flags = flags[i];
                pair = pair_make(&options);
                begin(pair.theirs);
                answer(&pair, 48, i);
                pair_free(&pair);
        }
}

static void test_calls_have_no_line(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        struct pair pair;

        options.kind = TACHYON_KIND_RPC;
        pair = pair_make(&options);
        CHECK(!pair.ours->connection.exchange && !pair.theirs->connection.exchange);
        pair_free(&pair);
}

/* ---- threads, in two processes -------------------------------------------- */

static void pingpong(tachyon_bus *bus, bool begins) {
        struct pingpong *side = calloc(1, sizeof(*side));
        pthread_t threads[3];

        CHECK(side);
        side->bus = bus;
        side->begins = begins;
        side->records = 4;
        side->messages = pingpong_messages(20000) / 2;
        pingpong_start(side, threads);
        pingpong_finish(threads);
        free(side);
}

static void pingpong_connector(tachyon_bus *bus) {
        pingpong(bus, true);
}

static void threads_in_two_processes(int64_t spin_ns) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        tachyon_bus *bus;
        pid_t pid;

        options.capacity = 16384;
        options.spin_ns = spin_ns;
        pid = peer_start(&bus, pingpong_connector, &options);
        pingpong(bus, false);
        JOIN(pid);
        tachyon_bus_free(bus);
}

static void test_threads_that_spin_in_two_processes(void) {
        threads_in_two_processes(50000);
}

static void test_threads_that_sleep_in_two_processes(void) {
        threads_in_two_processes(-1);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_questions_and_answers_come_over_the_line);
        RUN(test_copies_come_over_the_line);
        RUN(test_a_stream_stays_in_the_ring);
        RUN(test_the_turn_comes_with_the_release);
        RUN(test_a_turn_is_kept_while_the_ring_is_used);
        RUN(test_messages_of_both_places_keep_their_order);
        RUN(test_a_message_on_the_line_is_put_back);
        RUN(test_an_object_of_what_is_on_the_line);
        RUN(test_a_record_on_the_line);
        RUN(test_a_message_on_the_line_takes_no_room_in_the_ring);
        RUN(test_statistics_count_what_came_over_the_line);
        RUN(test_a_lease_on_the_line_is_released_once);
        RUN(test_leases_of_both_places_in_every_order);
        RUN(test_questions_and_answers_never_leave_the_line);
        RUN(test_two_threads_of_each_side_never_leave_the_line);
        RUN(test_both_places_are_one_queue);
        RUN(test_stale_bytes_never_look_like_a_message);
        RUN(test_sleepers_are_woken_for_the_line);
        RUN(test_sleepers_are_woken_for_the_line_with_fences);
        RUN(test_every_wait_sees_the_line);
        RUN(test_closed_with_a_message_on_the_line);
        RUN(test_a_message_on_the_line_of_one_that_has_closed);
        RUN(test_a_message_on_the_line_of_one_that_was_killed);
        RUN(test_killed_with_a_message_on_the_line);
        RUN(test_a_lease_on_the_line_outlives_the_bus);
        RUN(test_a_lease_on_the_line_of_a_bus_that_was_closed);
        RUN_WITH_REAL_KERNEL(test_a_forked_child_reads_what_is_leased_on_the_line);
        RUN_WITH_REAL_KERNEL(test_a_forked_child_has_no_line_where_nothing_is_leased);
        RUN(test_every_kind_of_stream_has_a_line);
        RUN(test_calls_have_no_line);
        RUN(test_threads_that_spin_in_two_processes);
        RUN(test_threads_that_sleep_in_two_processes);
        return tests_end();
}
