/* SPDX-License-Identifier: MIT */
/* Leases over a whole bus: how long their bytes live, and that holding too many is an error, never a hang. */
#include "test-bus.h"

#define PAGE 4096u
#define LARGEST (PAGE - 128)
#define LINES (PAGE / 64 - 1)

static void lease(tachyon_bus *bus, tachyon_message *message, uint64_t size, uint64_t seed) {
        CHECK_EQ(tachyon_bus_recv(bus, message, LONG), 0);
        CHECK_EQ(message->size, size);
        CHECK(matches(message->data, size, seed));
}

static void test_released_in_any_order(void) {
        struct pair pair = pair_of_capacity(PAGE);
        uint64_t random = 1234567;

        for (int round = 0; round < 200; round++) {
                tachyon_message messages[10];

                for (uint64_t i = 0; i < 10; i++)
                        send_pattern(pair.ours, i * 30, i);
                for (uint64_t i = 0; i < 10; i++)
                        lease(pair.theirs, &messages[i], i * 30, i);
                for (int left = 10; left; left--) {
                        uint64_t pick = next_random(&random) % (uint64_t)left;

                        CHECK(matches(messages[pick].data, messages[pick].size, messages[pick].type_id));
                        CHECK_EQ(tachyon_bus_release(pair.theirs, messages[pick].lease), 0);
                        CHECK_EQ(tachyon_bus_release(pair.theirs, messages[pick].lease), -EINVAL);
                        messages[pick] = messages[left - 1];
                        CHECK_EQ(stats_of(pair.theirs).leases, left - 1);
                }
                CHECK_EQ(stats_of(pair.ours).send_used, 0);
        }
        pair_free(&pair);
}

/* ---- outliving the bus -------------------------------------------------- */

static void test_leases_outlive_close_and_free(void) {
        struct pair pair = pair_of_capacity(PAGE);
        tachyon_message messages[3];

        for (uint64_t i = 0; i < 3; i++)
                send_pattern(pair.ours, 1000, i);
        for (uint64_t i = 0; i < 3; i++)
                lease(pair.theirs, &messages[i], 1000, i);
        tachyon_bus_close(pair.theirs);
        CHECK_EQ(tachyon_bus_release(pair.theirs, messages[1].lease), 0);
        CHECK_EQ(tachyon_bus_release(pair.theirs, messages[1].lease), -EINVAL);
        CHECK(matches(messages[0].data, 1000, 0));
        CHECK_EQ(stats_of(pair.theirs).leases, 2);
        tachyon_bus_free(pair.theirs);
        tachyon_bus_free(pair.ours);
        CHECK(matches(messages[0].data, 1000, 0) && matches(messages[2].data, 1000, 2));
        CHECK_EQ(tachyon_bus_release(pair.theirs, messages[2].lease), 0);
        CHECK_EQ(tachyon_bus_release(pair.theirs, messages[2].lease), -EINVAL);
        CHECK(matches(messages[0].data, 1000, 0));
        CHECK(mapping_count() > 0);
        CHECK_EQ(tachyon_bus_release(pair.theirs, messages[0].lease), 0);
        CHECK_EQ(mapping_count(), 0); /* the last one cleared up */
}

static void test_a_batch_released_after_free(void) {
        struct pair pair = pair_of_capacity(PAGE);
        tachyon_message messages[20];

        for (uint64_t i = 0; i < 20; i++)
                send_pattern(pair.ours, 10, i);
        CHECK_EQ(tachyon_bus_recv_batch(pair.theirs, messages, 20, 0), 20);
        pair_free(&pair);
        CHECK_EQ(tachyon_bus_release_batch(pair.theirs, messages, 20), 0);
        CHECK_EQ(mapping_count(), 0);
}

struct orphan {
        tachyon_bus *bus;
        uint64_t lease;
        pthread_barrier_t *start;
};

static void *release_orphan(void *context) {
        struct orphan *orphan = context;

        pthread_barrier_wait(orphan->start);
        CHECK_EQ(tachyon_bus_release(orphan->bus, orphan->lease), 0);
        return NULL;
}

/* The last two at the same time: who is not the last must not touch what the other frees. */
static void test_last_leases_released_by_threads_at_once(void) {
        for (int round = 0; round < 100; round++) {
                struct pair pair = pair_of_capacity(PAGE);
                struct orphan orphans[2];
                pthread_barrier_t start;
                pthread_t threads[2];

                CHECK_EQ(pthread_barrier_init(&start, NULL, 2), 0);
                for (uint64_t i = 0; i < 2; i++)
                        send_pattern(pair.ours, 10, i);
                for (uint64_t i = 0; i < 2; i++) {
                        tachyon_message message;

                        lease(pair.theirs, &message, 10, i);
                        orphans[i] = (struct orphan){ pair.theirs, message.lease, &start };
                }
                pair_free(&pair);
                for (int i = 0; i < 2; i++)
                        threads[i] = thread_start(release_orphan, &orphans[i]);
                for (int i = 0; i < 2; i++)
                        thread_join(threads[i]);
                CHECK_EQ(mapping_count(), 0);
                pthread_barrier_destroy(&start);
        }
}

/* ---- too many ----------------------------------------------------------- */

static uint64_t fill_up(tachyon_bus *bus) {
        uint64_t n = 0;

        while (tachyon_bus_send(bus, "12345678", 8, (uint32_t)n, 0) == 0)
                n++;
        return n;
}

static void test_a_ring_full_of_leases_is_an_error(void) {
        struct pair pair = pair_of_capacity(PAGE);
        tachyon_message messages[LINES], message = { .size = 77 };

        CHECK_EQ(fill_up(pair.ours), LINES);
        CHECK_EQ(tachyon_bus_recv_batch(pair.theirs, messages, LINES, 0), LINES);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, -1), -TACHYON_ELEASES);
        CHECK_DETAIL("63 messages");
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, 0), -TACHYON_ELEASES);
        CHECK_EQ(tachyon_bus_recv_batch(pair.theirs, &message, 1, LONG), -TACHYON_ELEASES);
        CHECK_EQ(tachyon_bus_wait_data(pair.theirs, -1), -TACHYON_ELEASES);
        CHECK_EQ(tachyon_bus_arm(pair.theirs), 1); /* look: there is news */
        CHECK_EQ(message.size, 77);
        CHECK_EQ(tachyon_bus_release(pair.theirs, messages[7].lease), 0); /* in the middle: no room yet */
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, -1), -TACHYON_ELEASES);
        CHECK_DETAIL("62 messages");
        CHECK_EQ(tachyon_bus_release(pair.theirs, messages[0].lease), 0);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, 0), -EAGAIN);
        CHECK_EQ(fill_up(pair.ours), 1);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, -1), 0);
        pair_free(&pair);
        tachyon_bus_release(pair.theirs, message.lease);
        for (uint64_t i = 1; i < LINES; i++)
                CHECK_EQ(tachyon_bus_release(pair.theirs, messages[i].lease), i == 7 ? -EINVAL : 0);
}

static void *send_largest(void *bus) {
        send_pattern(bus, LARGEST, 9);
        return NULL;
}

/* The peer waits for more room than our leases leave: it already sleeps when we come. */
static void test_a_peer_that_waits_for_leased_room(void) {
        struct pair pair = pair_of_capacity(PAGE);
        tachyon_message held, message;
        pthread_t sender;

        send_pattern(pair.ours, 100, 1);
        lease(pair.theirs, &held, 100, 1);
        sender = thread_start(send_largest, pair.ours);
        UNTIL(stats_of(pair.ours).space_sleeps);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, -1), -TACHYON_ELEASES);
        CHECK(matches(held.data, 100, 1));
        CHECK_EQ(tachyon_bus_release(pair.theirs, held.lease), 0);
        expect(pair.theirs, LARGEST, 9);
        thread_join(sender);
        pair_free(&pair);
}

static void start_largest(void *context) {
        struct orphan *sender = context;

        CHECK_EQ(tachyon_bus_wait_space(sender->bus, LARGEST, -1), 0);
}

/* The same, but we sleep first, and are told. */
static void test_a_peer_that_starts_to_wait_while_we_sleep(void) {
        for (int round = 0; round < 50; round++) {
                struct pair pair = pair_of_capacity(PAGE);
                struct orphan sender = { .bus = pair.ours };
                tachyon_message held, message;
                struct later later;

                send_pattern(pair.ours, 100, 1);
                lease(pair.theirs, &held, 100, 1);
                when_asleep(&later, start_largest, &sender);
                CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, -1), -TACHYON_ELEASES);
                CHECK_EQ(tachyon_bus_release(pair.theirs, held.lease), 0);
                thread_join(later.thread);
                pair_free(&pair);
        }
}

/* A wait that was given up is nobody's reason to complain. */
static void test_a_peer_that_waits_no_longer(void) {
        struct pair pair = pair_of_capacity(PAGE);
        tachyon_message held, message;

        send_pattern(pair.ours, 100, 1);
        lease(pair.theirs, &held, 100, 1);
        CHECK_EQ(tachyon_bus_wait_space(pair.ours, LARGEST, 5 * MS), -ETIMEDOUT);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, 5 * MS), -ETIMEDOUT);
        send_pattern(pair.ours, 200, 2);
        expect(pair.theirs, 200, 2);
        CHECK_EQ(tachyon_bus_release(pair.theirs, held.lease), 0);
        pair_free(&pair);
}

/*
 * Both sides of the classic deadlock: a read position held back by the
 * consumer, who then waits, and a producer that waits for exactly that room.
 */
static void test_no_room_is_held_back_while_both_wait(void) {
        struct pair pair = pair_of_capacity(PAGE);

        for (uint64_t round = 0; round < 300; round++) {
                pthread_t sender;

                for (uint64_t i = 0; i <= round % 5; i++)
                        send_pattern(pair.ours, 10, i);
                sender = thread_start(send_largest, pair.ours);
                for (uint64_t i = 0; i <= round % 5; i++)
                        expect(pair.theirs, 10, i);
                expect(pair.theirs, LARGEST, 9);
                thread_join(sender);
        }
        pair_free(&pair);
}

/*
 * The consumer takes one message, leaves another one waiting, and goes to wait
 * elsewhere, where only the producer can help, once it has room: room must not
 * be kept for the case that the consumer comes back.
 */
static void test_no_room_is_held_back_from_a_consumer_that_stays_away(void) {
        struct pair pair = pair_of_capacity(PAGE);

        for (uint64_t size = 10; size < 1800; size += 850) {
                uint64_t sent = 0, length = size <= 48 ? 64 : 64 + (size + 63) / 64 * 64;

                while (tachyon_bus_wait_space(pair.ours, size, 0) == 0)
                        send_pattern(pair.ours, size, sent++);
                CHECK(sent >= 2);
                expect(pair.theirs, size, 0);
                CHECK_EQ(tachyon_bus_wait_space(pair.ours, size, 0), 0);
                CHECK_EQ(stats_of(pair.ours).send_used, (sent - 1) * length);
                for (uint64_t i = 1; i < sent; i++)
                        expect(pair.theirs, size, i);
        }
        pair_free(&pair);
}

/* ---- released by others ------------------------------------------------- */

#define HANDED 20000u

struct hand_over {
        tachyon_bus *bus;
        int pipe[2];
};

static void *release_handed(void *context) {
        struct hand_over *hand = context;
        tachyon_message message;

        while (read(hand->pipe[0], &message, sizeof(message)) == sizeof(message)) {
                CHECK(matches(message.data, message.size, message.type_id));
                CHECK_EQ(tachyon_bus_release(hand->bus, message.lease), 0);
        }
        return NULL;
}

static void send_handed(tachyon_bus *bus) {
        for (uint64_t i = 0; i < HANDED; i++)
                send_pattern(bus, i % 300, i);
}

/* Garbage collectors release from any thread; the sender sleeps and is woken by whichever makes room. */
static void test_releases_from_many_threads_wake_the_sender(void) {
        struct hand_over hand;
        pthread_t threads[3];
        pid_t pid = peer_of_capacity(&hand.bus, send_handed, PAGE);

        CHECK_EQ(pipe2(hand.pipe, O_CLOEXEC), 0);
        for (int i = 0; i < 3; i++)
                threads[i] = thread_start(release_handed, &hand);
        for (uint64_t i = 0; i < HANDED; i++) {
                tachyon_message message;
                int r;

                while ((r = tachyon_bus_recv(hand.bus, &message, LONG)) == -TACHYON_ELEASES)
                        sched_yield(); /* on their way */
                CHECK_EQ(r, 0);
                CHECK_EQ(message.type_id, i);
                CHECK_EQ(write(hand.pipe[1], &message, sizeof(message)), sizeof(message));
        }
        close(hand.pipe[1]);
        for (int i = 0; i < 3; i++)
                thread_join(threads[i]);
        CHECK_EQ(stats_of(hand.bus).leases, 0);
        CHECK_EQ(stats_of(hand.bus).recv_used, 0);
        JOIN(pid);
        close(hand.pipe[0]);
        tachyon_bus_free(hand.bus);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_released_in_any_order);
        RUN(test_leases_outlive_close_and_free);
        RUN(test_a_batch_released_after_free);
        RUN(test_last_leases_released_by_threads_at_once);
        RUN(test_a_ring_full_of_leases_is_an_error);
        RUN(test_a_peer_that_waits_for_leased_room);
        RUN(test_a_peer_that_starts_to_wait_while_we_sleep);
        RUN(test_a_peer_that_waits_no_longer);
        RUN(test_no_room_is_held_back_while_both_wait);
        RUN(test_no_room_is_held_back_from_a_consumer_that_stays_away);
        RUN(test_releases_from_many_threads_wake_the_sender);
        return tests_end();
}
