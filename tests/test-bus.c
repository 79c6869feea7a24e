/* SPDX-License-Identifier: MIT */
/* Messages over a whole bus: sending, receiving, waiting, facts. How buses end is in test-bus-end.c. */
#include "test-bus.h"

#define PAGE 4096u
#define LARGEST (PAGE - 128)

/* ---- messages ----------------------------------------------------------- */

static void echo(tachyon_bus *bus) {
        tachyon_message message;
        int r;

        while ((r = tachyon_bus_recv(bus, &message, LONG)) == 0) {
                CHECK_EQ(tachyon_bus_send(bus, message.data, message.size, message.type_id, LONG), 0);
                CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
        }
        CHECK_EQ(r, -TACHYON_ECLOSED);
}

static void test_every_size_there_and_back(void) {
        tachyon_bus *bus;
        pid_t pid = peer_of_capacity(&bus, echo, PAGE);

        for (uint64_t size = 0; size <= LARGEST; size++) {
                send_pattern(bus, size, size + 1);
                expect(bus, size, size + 1);
        }
        tachyon_bus_free(bus);
        JOIN(pid);
}

static void produce(tachyon_bus *bus) {
        uint64_t random = 42;

        for (uint64_t i = 0; i < 20000; i++)
                send_pattern(bus, next_random(&random) % (i % 100 ? 200 : LARGEST + 1), i);
}

static void test_a_stream_arrives_in_order_then_ends(void) {
        uint64_t random = 42;
        tachyon_message message;
        tachyon_bus *bus;
        pid_t pid = peer_of_capacity(&bus, produce, PAGE);

        for (uint64_t i = 0; i < 20000; i++)
                expect(bus, next_random(&random) % (i % 100 ? 200 : LARGEST + 1), i);
        CHECK_EQ(tachyon_bus_recv(bus, &message, LONG), -TACHYON_ECLOSED);
        tachyon_bus_free(bus);
        JOIN(pid);
}

struct half_duplex {
        tachyon_bus *bus;
        uint64_t seed;
};

#define BOTH_WAYS 10000u

static void *send_many(void *context) {
        struct half_duplex *half = context;

        for (uint64_t i = 0; i < BOTH_WAYS; i++)
                send_pattern(half->bus, i % 500, half->seed + i);
        return NULL;
}

/* One thread sends and one receives, at both ends. */
static void both_ways(tachyon_bus *bus, uint64_t ours, uint64_t theirs) {
        struct half_duplex half = { .bus = bus, .seed = ours };
        pthread_t sender = thread_start(send_many, &half);

        for (uint64_t i = 0; i < BOTH_WAYS; i++)
                expect(bus, i % 500, theirs + i);
        thread_join(sender);
}

static void both_ways_peer(tachyon_bus *bus) {
        both_ways(bus, 1000000, 0);
}

static void test_both_ways_at_once_with_two_threads_a_side(void) {
        tachyon_bus *bus;
        pid_t pid = peer_of_capacity(&bus, both_ways_peer, PAGE);

        both_ways(bus, 0, 1000000);
        JOIN(pid);
        tachyon_bus_free(bus);
}

static void test_sleeping_and_spinning_waits_lose_nothing(void) {
        const int64_t spins[] = { -1, 0, 1000 * MS };
        tachyon_options options = TACHYON_OPTIONS_INIT;

        for (size_t i = 0; i < 3; i++) {
                tachyon_bus *bus;
                pid_t pid;

                options.capacity = PAGE;
                options.spin_ns = spins[i];
                pid = peer_start(&bus, echo, &options);
                /* Where both share one core, polling takes the other's time: a time slice for each message. */
                for (uint64_t round = 0; round < (spins[i] > 0 ? 300 : 2000); round++) {
                        send_pattern(bus, round % 100, round);
                        expect(bus, round % 100, round);
                }
                CHECK(spins[i] < 0 ? properties_of(bus).spin_ns == 0 : properties_of(bus).spin_ns >= 0);
                tachyon_bus_free(bus);
                JOIN(pid);
        }
}

/* ---- room --------------------------------------------------------------- */

static void test_too_large_is_refused(void) {
        struct pair pair = pair_of_capacity(PAGE);
        void *data = &pair;
        char *large = calloc(1, PAGE);

        CHECK_EQ(tachyon_bus_send(pair.ours, large, LARGEST + 1, 0, -1), -EMSGSIZE);
        CHECK_DETAIL("3968");
        CHECK_EQ(tachyon_bus_try_send(pair.ours, large, LARGEST + 1, 0), -EMSGSIZE);
        CHECK_EQ(tachyon_bus_reserve(pair.ours, &data, LARGEST + 1, -1), -EMSGSIZE);
        CHECK_EQ(tachyon_bus_reserve(pair.ours, &data, SIZE_MAX, -1), -EMSGSIZE);
        CHECK_EQ(tachyon_bus_send(pair.ours, large, SIZE_MAX, 0, -1), -EMSGSIZE);
        CHECK_EQ(tachyon_bus_wait_space(pair.ours, LARGEST + 1, -1), -EMSGSIZE);
        CHECK(data == &pair);
        CHECK_EQ(tachyon_bus_send(pair.ours, large, LARGEST, 7, -1), 0);
        CHECK_EQ(stats_of(pair.ours).sent_messages, 1);
        free(large);
        pair_free(&pair);
}

static uint64_t fill_up(tachyon_bus *bus) {
        uint64_t n = 0;
        int r;

        while ((r = tachyon_bus_try_send(bus, "12345678", 8, (uint32_t)n)) == 0)
                n++;
        CHECK_EQ(r, -EAGAIN);
        return n;
}

static void test_timeouts_on_a_full_and_an_empty_ring(void) {
        struct pair pair = pair_of_capacity(PAGE);
        tachyon_message message = { .size = 77 };
        void *data = &pair;
        int64_t begin;

        CHECK_EQ(fill_up(pair.ours), PAGE / 64 - 1);
        begin = clock_ns();
        CHECK_EQ(tachyon_bus_send(pair.ours, "x", 1, 0, 0), -EAGAIN);
        CHECK_EQ(tachyon_bus_reserve(pair.ours, &data, 1, 0), -EAGAIN);
        CHECK_EQ(tachyon_bus_wait_space(pair.ours, 1, 0), -EAGAIN);
        CHECK_EQ(tachyon_bus_send(pair.ours, "x", 1, 0, 10 * MS), -ETIMEDOUT);
        CHECK_EQ(tachyon_bus_reserve(pair.ours, &data, 1, 10 * MS), -ETIMEDOUT);
        CHECK_EQ(tachyon_bus_wait_space(pair.ours, 1, 10 * MS), -ETIMEDOUT);
        CHECK(clock_ns() - begin >= 30 * MS);
        CHECK(data == &pair);
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, 0), -EAGAIN);
        CHECK_EQ(tachyon_bus_wait_data(pair.ours, 0), -EAGAIN);
        begin = clock_ns();
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, 10 * MS), -ETIMEDOUT);
        CHECK_EQ(tachyon_bus_recv_batch(pair.ours, &message, 1, 10 * MS), -ETIMEDOUT);
        CHECK_EQ(tachyon_bus_wait_data(pair.ours, 10 * MS), -ETIMEDOUT);
        CHECK(clock_ns() - begin >= 30 * MS);
        CHECK_EQ(message.size, 77);
        CHECK_EQ(tachyon_bus_wait_data(pair.theirs, -1), 0);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, -1), 0);
        CHECK_EQ(tachyon_bus_release(pair.theirs, message.lease), 0);
        pair_free(&pair);
}

static void receive_one(void *bus) {
        tachyon_message message;

        CHECK_EQ(tachyon_bus_recv(bus, &message, -1), 0);
        CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
}

static void receive_all(void *bus) {
        tachyon_message message;

        while (tachyon_bus_recv(bus, &message, 0) == 0)
                CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
}

static void send_one(void *bus) {
        CHECK_EQ(tachyon_bus_send(bus, "hello", 5, 5, -1), 0);
}

static void test_sleepers_are_woken(void) {
        struct pair pair = pair_of_capacity(PAGE);
        struct later later;

        for (int i = 0; i < 20; i++) {
                tachyon_message message;

                when_asleep(&later, send_one, pair.theirs);
                CHECK_EQ(tachyon_bus_recv(pair.ours, &message, -1), 0);
                CHECK_EQ(message.size, 5);
                CHECK_EQ(tachyon_bus_release(pair.ours, message.lease), 0);
                thread_join(later.thread);

                fill_up(pair.ours);
                when_asleep(&later, receive_all, pair.theirs);
                CHECK_EQ(tachyon_bus_wait_space(pair.ours, LARGEST, -1), 0);
                thread_join(later.thread);
                receive_all(pair.theirs);

                fill_up(pair.ours);
                when_asleep(&later, receive_one, pair.theirs);
                CHECK_EQ(tachyon_bus_send(pair.ours, "x", 1, 0, -1), 0);
                thread_join(later.thread);
                receive_all(pair.theirs);
        }
        CHECK(stats_of(pair.ours).data_sleeps > 0 && stats_of(pair.ours).space_sleeps > 0);
        CHECK(stats_of(pair.theirs).doorbells > 0);
        pair_free(&pair);
}

/* ---- in place ----------------------------------------------------------- */

static void test_reserve_commit_cancel(void) {
        struct pair pair = pair_of_capacity(PAGE);
        tachyon_message message;
        void *data, *other = &pair;

        CHECK_EQ(tachyon_bus_commit(pair.ours, 0, 0), -EINVAL);
        CHECK_EQ(tachyon_bus_cancel(pair.ours), 0);
        CHECK_EQ(tachyon_bus_reserve(pair.ours, &data, 1000, 0), 0);
        CHECK_EQ((uintptr_t)data % 64, 0);
        fill(data, 1000, 5);
        CHECK_EQ(tachyon_bus_send(pair.ours, "x", 1, 0, -1), -EBUSY);
        CHECK_EQ(tachyon_bus_try_send(pair.ours, "x", 1, 0), -EBUSY);
        CHECK_EQ(tachyon_bus_reserve(pair.ours, &other, 1, -1), -EBUSY);
        CHECK_EQ(tachyon_bus_wait_space(pair.ours, 1, -1), -EBUSY);
        CHECK(other == &pair);
        CHECK_EQ(tachyon_bus_commit(pair.ours, 1001, 0), -EINVAL);
        CHECK_DETAIL("1000");
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, 0), -EAGAIN);
        CHECK_EQ(tachyon_bus_commit(pair.ours, 999, 5), 0);
        CHECK_EQ(tachyon_bus_commit(pair.ours, 0, 5), -EINVAL);
        expect(pair.theirs, 999, 5);
        CHECK_EQ(tachyon_bus_reserve(pair.ours, &data, LARGEST, 0), 0);
        fill(data, LARGEST, 6);
        CHECK_EQ(tachyon_bus_cancel(pair.ours), 0);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, 0), -EAGAIN);
        send_pattern(pair.ours, 3, 7);
        expect(pair.theirs, 3, 7);
        CHECK_EQ(tachyon_bus_send(pair.ours, NULL, 0, 8, 0), 0);
        expect(pair.theirs, 0, 8);
        pair_free(&pair);
}

/* ---- many at a time ----------------------------------------------------- */

static void test_batches(void) {
        struct pair pair = pair_of_capacity(PAGE);
        tachyon_message messages[64];
        uint64_t n;

        CHECK_EQ(tachyon_bus_recv_batch(pair.theirs, messages, 0, 0), -EINVAL);
        CHECK_EQ(tachyon_bus_recv_batch(pair.theirs, messages, 64, 0), -EAGAIN);
        n = fill_up(pair.ours);
        CHECK_EQ(tachyon_bus_recv_batch(pair.theirs, messages, 10, -1), 10);
        CHECK_EQ(tachyon_bus_recv_batch(pair.theirs, messages + 10, 54, -1), (int)n - 10);
        for (uint64_t i = 0; i < n; i++) {
                CHECK_EQ(messages[i].type_id, i);
                CHECK(memcmp(messages[i].data, "12345678", 8) == 0);
        }
        CHECK_EQ(stats_of(pair.theirs).leases, n);
        CHECK_EQ(tachyon_bus_release(pair.theirs, messages[3].lease), 0);
        CHECK_EQ(tachyon_bus_release_batch(pair.theirs, messages, n), -EINVAL); /* but for the one, all are */
        CHECK_EQ(stats_of(pair.theirs).leases, 0);
        CHECK_EQ(stats_of(pair.theirs).recv_used, 0);
        CHECK_EQ(tachyon_bus_release_batch(pair.theirs, messages, 0), 0);
        CHECK_EQ(fill_up(pair.ours), n);
        pair_free(&pair);
}

struct records {
        tachyon_bus *bus;
        unsigned char bytes[1000 * 24];
};

static void *send_records(void *context) {
        struct records *records = context;

        CHECK_EQ(tachyon_bus_send_records(records->bus, records->bytes, 24, 1000, 9, LONG), 1000);
        return NULL;
}

static void test_records(void) {
        static struct records sent;
        struct pair pair = pair_of_capacity(PAGE);
        const uint32_t nine = 9, ten = 10;
        tachyon_records run = { .count = 77 };
        pthread_t thread;
        uint64_t received = 0;

        sent.bus = pair.ours;
        fill(sent.bytes, sizeof(sent.bytes), 1);
        CHECK_EQ(tachyon_bus_send_records(pair.ours, sent.bytes, 0, 1, 9, 0), -EINVAL);
        CHECK_EQ(tachyon_bus_send_records(pair.ours, sent.bytes, LARGEST + 1, 1, 9, 0), -EMSGSIZE);
        CHECK_EQ(tachyon_bus_recv_records(pair.theirs, &run, 24, 10, &nine, 0), -EAGAIN);
        CHECK_EQ(tachyon_bus_recv_records(pair.theirs, &run, 24, 10, &nine, 5 * MS), -ETIMEDOUT);
        CHECK_EQ(tachyon_bus_recv_records(pair.theirs, &run, 24, 0, &nine, 0), -EINVAL);
        thread = thread_start(send_records, &sent);
        CHECK_EQ(tachyon_bus_wait_data(pair.theirs, -1), 0);
        CHECK_EQ(tachyon_bus_recv_records(pair.theirs, &run, 25, 10, &nine, -1), -EMSGSIZE);
        CHECK_EQ(tachyon_bus_recv_records(pair.theirs, &run, 24, 10, &ten, -1), -EBADMSG);
        CHECK_EQ(run.count, 77);
        while (received < 1000) {
                CHECK(tachyon_bus_recv_records(pair.theirs, &run, 24, 7, received % 2 ? &nine : NULL, -1) > 0);
                CHECK(run.count >= 1 && run.count <= 7);
                for (uint64_t i = 0; i < run.count; i++)
                        CHECK(memcmp((const char *)run.data + i * run.stride,
                                     sent.bytes + (received + i) * 24, 24) == 0);
                received += run.count;
                CHECK_EQ(tachyon_bus_release(pair.theirs, run.lease), 0);
        }
        thread_join(thread);
        CHECK_EQ(stats_of(pair.theirs).received_bytes, sizeof(sent.bytes));
        pair_free(&pair);
}

static void test_put_back(void) {
        struct pair pair = pair_of_capacity(PAGE);
        tachyon_message first, second;

        send_pattern(pair.ours, 100, 1);
        send_pattern(pair.ours, 10, 2);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &first, 0), 0);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &second, 0), 0);
        CHECK_EQ(tachyon_bus_put_back(pair.theirs, &first), -EINVAL);
        CHECK_EQ(tachyon_bus_put_back(pair.theirs, &second), 0);
        CHECK_EQ(tachyon_bus_release(pair.theirs, second.lease), -EINVAL);
        CHECK_EQ(tachyon_bus_put_back(pair.theirs, &second), -EINVAL);
        CHECK_EQ(stats_of(pair.theirs).leases, 1);
        CHECK_EQ(tachyon_bus_put_back(pair.theirs, &first), 0);
        CHECK_EQ(stats_of(pair.theirs).received_messages, 0);
        expect(pair.theirs, 100, 1);
        expect(pair.theirs, 10, 2);
        pair_free(&pair);
}

static void test_copies(void) {
        struct pair pair = pair_of_capacity(PAGE);
        unsigned char copy[300];
        uint32_t type_id = 0;
        tachyon_message leased;

        CHECK_EQ(tachyon_bus_recv_copy(pair.theirs, copy, sizeof(copy), &type_id, 0), -EAGAIN);
        for (uint64_t size = 0; size <= sizeof(copy); size++) {
                send_pattern(pair.ours, size, size + 1);
                CHECK_EQ(tachyon_bus_recv_copy(pair.theirs, copy, size, size % 2 ? NULL : &type_id, 0), size);
                CHECK(matches(copy, size, size + 1));
                CHECK(size % 2 || type_id == (uint32_t)(size + 1));
                CHECK_EQ(stats_of(pair.theirs).recv_used, 0);
        }
        for (uint64_t size = 10; size <= 100; size += 90) { /* too large: it stays */
                send_pattern(pair.ours, size, 5);
                CHECK_EQ(tachyon_bus_recv_copy(pair.theirs, copy, size - 1, NULL, 0), -EMSGSIZE);
                CHECK_EQ(stats_of(pair.theirs).leases, 0);
                CHECK_EQ(tachyon_bus_recv_copy(pair.theirs, copy, size, NULL, -1), size);
                CHECK(matches(copy, size, 5));
        }
        send_pattern(pair.ours, 10, 6); /* behind a lease */
        send_pattern(pair.ours, 10, 7);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &leased, 0), 0);
        CHECK_EQ(tachyon_bus_recv_copy(pair.theirs, copy, sizeof(copy), NULL, 0), 10);
        CHECK(matches(copy, 10, 7) && matches(leased.data, 10, 6));
        CHECK_EQ(stats_of(pair.theirs).leases, 1);
        CHECK_EQ(tachyon_bus_release(pair.theirs, leased.lease), 0);
        tachyon_bus_close(pair.ours);
        CHECK_EQ(tachyon_bus_recv_copy(pair.theirs, copy, sizeof(copy), NULL, -1), -TACHYON_ECLOSED);
        CHECK_EQ(stats_of(pair.theirs).received_messages, stats_of(pair.ours).sent_messages);
        pair_free(&pair);
}

/* ---- for language runtimes ---------------------------------------------- */

static bool memory_is_short;

static void *make_string(const char *data, ptrdiff_t size) {
        char *string;

        if (memory_is_short && size)
                return NULL;
        string = malloc((size_t)size + 1);
        CHECK(string);
        memcpy(string, data, (size_t)size);
        string[size] = 0;
        return string;
}

static void test_objects(void) {
        struct pair pair = pair_of_capacity(PAGE);
        const uint64_t *slot = tachyon_bus_recv_slot(pair.theirs, make_string);
        char *string = tachyon_bus_try_recv_object(pair.theirs);

        CHECK_EQ(slot[0], EAGAIN);
        CHECK(strcmp(string, "") == 0);
        free(string);
        CHECK_EQ(tachyon_bus_try_send(pair.ours, "hello", 5, UINT32_MAX), 0);
        memory_is_short = true;
        CHECK(!tachyon_bus_try_recv_object(pair.theirs));
        memory_is_short = false;
        CHECK_EQ(stats_of(pair.theirs).received_messages, 0);
        string = tachyon_bus_try_recv_object(pair.theirs); /* nothing was lost */
        CHECK(strcmp(string, "hello") == 0);
        CHECK(slot[0] == 0 && slot[1] == UINT32_MAX && slot[2] == 5 && slot[3] == 0);
        CHECK_EQ(stats_of(pair.theirs).leases, 0);
        CHECK_EQ(stats_of(pair.theirs).received_messages, 1);
        free(string);
        tachyon_bus_close(pair.ours);
        string = tachyon_bus_try_recv_object(pair.theirs);
        CHECK_EQ(slot[0], TACHYON_ECLOSED);
        free(string);
        pair_free(&pair);
}

/* ---- signals ------------------------------------------------------------ */

static void test_signals_interrupt_every_wait(void) {
        struct pair pair = pair_of_capacity(PAGE);
        struct interrupter interrupter;
        tachyon_message message;
        tachyon_bus *bus;
        int mute = bind_plain(path_of("mute"), SOCK_STREAM);

        CHECK_EQ(listen(mute, 5), 0);
        fill_up(pair.ours);
        interrupter_start(&interrupter);
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, -1), -EINTR);
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, LONG), -EINTR);
        CHECK_EQ(tachyon_bus_wait_data(pair.ours, -1), -EINTR);
        CHECK_EQ(tachyon_bus_send(pair.ours, "x", 1, 0, -1), -EINTR);
        CHECK_EQ(tachyon_bus_wait_space(pair.ours, 1, LONG), -EINTR);
        CHECK_EQ(tachyon_bus_connect(&bus, path_of("nobody"), NULL, -1), -EINTR);
        CHECK_EQ(tachyon_bus_connect(&bus, path_of("mute"), NULL, -1), -EINTR);
        CHECK_EQ(tachyon_bus_listen(&bus, path_of("listen"), NULL, -1), -EINTR);
        interrupter_stop(&interrupter);
        CHECK(!exists(path_of("listen")));
        receive_all(pair.theirs);
        send_pattern(pair.ours, 10, 1); /* nothing is lost or stuck */
        expect(pair.theirs, 10, 1);
        send_pattern(pair.theirs, 10, 2);
        expect(pair.ours, 10, 2);
        close(mute);
        pair_free(&pair);
}

/* A signal that came while it was blocked is let in by the sleep, and by nothing before. */
static void test_interrupt_descriptor_ends_sleeps(void) {
        struct pair pair = pair_of_capacity(PAGE);
        tachyon_message message;
        int ends[2];

        CHECK_EQ(pipe(ends), 0);
        tachyon_thread_interrupt_fd(ends[0]);
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, 5 * MS), -ETIMEDOUT);
        CHECK_EQ(write(ends[1], "x", 1), 1);
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, -1), -EINTR);
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, LONG), -EINTR); /* its byte is the caller's to take */
        CHECK_EQ(tachyon_bus_send(pair.theirs, "x", 1, 0, 0), 0);
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, -1), 0); /* data first */
        CHECK_EQ(tachyon_bus_release(pair.ours, message.lease), 0);
        tachyon_thread_interrupt_fd(-1);
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, 5 * MS), -ETIMEDOUT);
        close(ends[0]);
        close(ends[1]);
        pair_free(&pair);
}

/* ---- two threads on one side -------------------------------------------- */

struct rival {
        tachyon_bus *bus;
        int recv, send;
};

static void wait_too(void *context) {
        struct rival *rival = context;
        tachyon_message message;

        rival->recv = tachyon_bus_recv(rival->bus, &message, -1);
        rival->send = tachyon_bus_wait_space(rival->bus, 1, 0);
        tachyon_bus_close(rival->bus);
}

static void test_second_receiver_is_refused(void) {
        struct pair pair = pair_of_capacity(PAGE);
        struct rival rival = { .bus = pair.ours };
        tachyon_message message;
        struct later later;

        when_asleep(&later, wait_too, &rival);
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, -1), -ECANCELED);
        thread_join(later.thread);
        CHECK_EQ(rival.recv, -EBUSY);
        CHECK_EQ(rival.send, 0);
        pair_free(&pair);
}

/* ---- facts -------------------------------------------------------------- */

static void test_properties(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        struct pair pair;
        tachyon_properties ours, theirs;

        options.capacity = 4097;
        options.reply_capacity = 1;
        options.spin_ns = 1234;
        pair = pair_make(&options);
        ours = properties_of(pair.ours);
        theirs = properties_of(pair.theirs);
        CHECK_EQ(theirs.send_capacity, 8192);
        CHECK_EQ(theirs.recv_capacity, PAGE);
        CHECK_EQ(ours.send_capacity, PAGE);
        CHECK_EQ(ours.recv_capacity, 8192);
        CHECK_EQ(ours.max_send_size, LARGEST);
        CHECK_EQ(ours.max_recv_size, 8192 - 128);
        CHECK_EQ(ours.spin_ns, 1234);
        CHECK_EQ(ours.peer_pid, getpid());
        CHECK_EQ(ours.peer_uid, geteuid());
        CHECK_EQ(ours.kind, TACHYON_KIND_STREAM);
        CHECK_EQ(ours.layout_version, 1);
        CHECK(ours.is_listener && !theirs.is_listener);
        CHECK_EQ(ours.isolation, !PORTABLE);
        CHECK_EQ(theirs.isolation, !PORTABLE);
        CHECK_EQ(ours.watches_pid, !PORTABLE);
        CHECK_EQ(theirs.watches_pid, !PORTABLE);
        CHECK_EQ(ours.barrier, theirs.barrier);
        CHECK(!ours.trusted);
        pair_free(&pair);
}

static void test_structs_of_other_versions(void) {
        struct pair pair = pair_of_capacity(PAGE);
        unsigned char bytes[2 * sizeof(tachyon_properties)];
        tachyon_properties *p = (void *)bytes;

        send_pattern(pair.ours, 10, 1);
        memset(bytes, 0xaa, sizeof(bytes));
        p->struct_size = offsetof(tachyon_properties, max_send_size); /* a program of long ago */
        CHECK_EQ(tachyon_bus_properties(pair.ours, p), 0);
        CHECK_EQ(p->recv_capacity, PAGE);
        CHECK_EQ(p->struct_size, offsetof(tachyon_properties, max_send_size));
        for (size_t i = offsetof(tachyon_properties, max_send_size); i < sizeof(bytes); i++)
                CHECK_EQ(bytes[i], 0xaa);
        p->struct_size = sizeof(bytes); /* and one of times to come */
        CHECK_EQ(tachyon_bus_properties(pair.ours, p), 0);
        CHECK_EQ(p->max_send_size, LARGEST);
        CHECK_EQ(bytes[sizeof(*p)], 0xaa);
        for (uint64_t size = 0; size < 8; size++) {
                p->struct_size = size;
                CHECK_EQ(tachyon_bus_properties(pair.ours, p), -EINVAL);
                CHECK_EQ(tachyon_bus_stats(pair.ours, (void *)p), -EINVAL);
        }
        memset(bytes, 0xaa, sizeof(bytes));
        p->struct_size = offsetof(tachyon_stats, sent_bytes);
        CHECK_EQ(tachyon_bus_stats(pair.ours, (void *)p), 0);
        CHECK_EQ(((tachyon_stats *)(void *)p)->sent_messages, 1);
        CHECK_EQ(bytes[offsetof(tachyon_stats, sent_bytes)], 0xaa);
        pair_free(&pair);
}

static void test_stats(void) {
        struct pair pair = pair_of_capacity(PAGE);
        tachyon_message message;
        tachyon_stats s;

        send_pattern(pair.ours, 40, 1);
        send_pattern(pair.ours, 100, 2);
        s = stats_of(pair.ours);
        CHECK_EQ(s.sent_messages, 2);
        CHECK_EQ(s.sent_bytes, 140);
        CHECK_EQ(s.send_used, 64 + 64 + 128);
        CHECK_EQ(s.received_messages, 0);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, 0), 0);
        s = stats_of(pair.theirs);
        CHECK_EQ(s.received_messages, 1);
        CHECK_EQ(s.received_bytes, 40);
        CHECK_EQ(s.recv_used, 64);
        CHECK_EQ(s.leases, 1);
        CHECK_EQ(tachyon_bus_release(pair.theirs, message.lease), 0);
        expect(pair.theirs, 100, 2);
        CHECK_EQ(stats_of(pair.theirs).recv_used, 0);
        CHECK_EQ(stats_of(pair.ours).send_used, 0);
        pair_free(&pair);
}

static void test_trusted_messages_may_be_changed_in_place(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        tachyon_message message;
        struct pair pair;

        options.flags = TACHYON_TRUSTED;
        pair = pair_make(&options);
        CHECK(properties_of(pair.ours).trusted && !properties_of(pair.ours).isolation);
        send_pattern(pair.ours, 1000, 1);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, 0), 0);
        fill((void *)(uintptr_t)message.data, 1000, 2);
        CHECK(matches(message.data, 1000, 2));
        CHECK_EQ(tachyon_bus_release(pair.theirs, message.lease), 0);
        pair_free(&pair);
}

static void test_both_sides_must_want_the_same(void) {
        tachyon_options rpc = TACHYON_OPTIONS_INIT, trusted = TACHYON_OPTIONS_INIT;
        const tachyon_options *others[] = { &rpc, &trusted };
        const char *words[] = { "rpc", "trusted" };
        tachyon_listener *listener;
        const char *path = path_of("bus");

        rpc.kind = TACHYON_KIND_RPC;
        trusted.flags = TACHYON_TRUSTED;
        CHECK_EQ(tachyon_listener_create(&listener, path, NULL), 0);
        for (int i = 0; i < 2; i++) {
                struct connecting connecting;
                tachyon_bus *bus;

                connecting_start(&connecting, path, others[i]);
                while (pthread_tryjoin_np(connecting.thread, NULL) != 0)
                        CHECK_EQ(tachyon_listener_accept(listener, &bus, 2 * MS), -ETIMEDOUT);
                CHECK_EQ(connecting.result, -EPROTONOSUPPORT);
                CHECK(strstr(connecting.detail, words[i]));
        }
        tachyon_listener_free(listener);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_every_size_there_and_back);
        RUN(test_a_stream_arrives_in_order_then_ends);
        RUN(test_both_ways_at_once_with_two_threads_a_side);
        RUN(test_sleeping_and_spinning_waits_lose_nothing);
        RUN(test_too_large_is_refused);
        RUN(test_timeouts_on_a_full_and_an_empty_ring);
        RUN(test_sleepers_are_woken);
        RUN(test_reserve_commit_cancel);
        RUN(test_batches);
        RUN(test_records);
        RUN(test_put_back);
        RUN(test_copies);
        RUN(test_objects);
        RUN(test_signals_interrupt_every_wait);
        RUN(test_interrupt_descriptor_ends_sleeps);
        RUN(test_second_receiver_is_refused);
        RUN(test_properties);
        RUN(test_structs_of_other_versions);
        RUN(test_stats);
        RUN(test_trusted_messages_may_be_changed_in_place);
        RUN(test_both_sides_must_want_the_same);
        return tests_end();
}
