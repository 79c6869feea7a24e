/* SPDX-License-Identifier: MIT */
/* Request and reply: matching, order, failures, time-outs, ends, and hostile peers. */
#include "test-bus.h"

#include "../libtachyon/bus.h"
#include "../libtachyon/ring_rpc.h"

struct ends {
        tachyon_rpc *caller;
        tachyon_rpc *server;
};

static struct ends ends_make(uint64_t capacity) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        struct ends ends;
        struct pair pair;

        options.kind = TACHYON_KIND_RPC;
        options.capacity = capacity;
        pair = pair_make(&options);
        CHECK_EQ(tachyon_rpc_create(&ends.server, pair.ours), 0);
        CHECK_EQ(tachyon_rpc_create(&ends.caller, pair.theirs), 0);
        return ends;
}

static void ends_free(struct ends *ends) {
        tachyon_rpc_free(ends->caller);
        tachyon_rpc_free(ends->server);
}

static tachyon_rpc_counters counters_of(tachyon_rpc *rpc) {
        tachyon_rpc_counters counters = { .struct_size = sizeof(counters) };

        CHECK_EQ(tachyon_rpc_stats(rpc, &counters), 0);
        return counters;
}

static uint64_t submit(tachyon_rpc *caller, uint64_t size, uint64_t seed) {
        unsigned char *data = malloc(size + 1);
        uint64_t id;

        CHECK(data);
        fill(data, size, seed);
        CHECK_EQ(tachyon_rpc_submit(caller, data, size, (uint32_t)seed, &id, LONG), 0);
        free(data);
        return id;
}

/* Takes one request and replies with its bytes, and its tag plus one. */
static void echo_one(tachyon_rpc *server) {
        tachyon_message request;

        CHECK_EQ(tachyon_rpc_serve(server, &request, LONG), 0);
        CHECK_EQ(request.flags, TACHYON_CORRELATED);
        CHECK_EQ(tachyon_rpc_reply(server, request.correlation_id, request.data, request.size, request.type_id + 1,
                                   LONG), 0);
        CHECK_EQ(tachyon_rpc_release(server, &request), 0);
}

static void expect_reply(tachyon_rpc *caller, uint64_t id, uint64_t size, uint64_t seed) {
        tachyon_message reply;

        CHECK_EQ(tachyon_rpc_wait(caller, id, &reply, LONG), 0);
        CHECK_EQ(reply.correlation_id, id);
        CHECK_EQ(reply.size, size);
        CHECK_EQ(reply.type_id, (uint32_t)seed + 1);
        CHECK(matches(reply.data, size, seed));
        CHECK_EQ(tachyon_rpc_release(caller, &reply), 0);
}

static void *echo_main(void *context) {
        tachyon_message request;
        int r;

        /* Until the caller closes; it may do that before it has all replies. */
        while ((r = tachyon_rpc_serve(context, &request, LONG)) == 0) {
                r = tachyon_rpc_reply(context, request.correlation_id, request.data, request.size,
                                      request.type_id + 1, LONG);
                CHECK(r == 0 || r == -TACHYON_ECLOSED);
                CHECK_EQ(tachyon_rpc_release(context, &request), 0);
        }
        CHECK_EQ(r, -TACHYON_ECLOSED);
        return NULL;
}

/* ---- calling ------------------------------------------------------------ */

static void call_returns_the_reply_at_every_size(void) {
        struct ends ends = ends_make(16384);
        pthread_t echo = thread_start(echo_main, ends.server);
        static const uint64_t sizes[] = { 0, 1, 7, 8, 16, 39, 40, 41, 47, 48, 49, 63, 64, 65, 176, 4000, 16384 - 128 };
        unsigned char data[16384];
        tachyon_message reply;

        for (uint64_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                fill(data, sizes[i], i);
                CHECK_EQ(tachyon_rpc_call(ends.caller, data, sizes[i], (uint32_t)i, &reply, LONG), 0);
                CHECK_EQ(reply.size, sizes[i]);
                CHECK_EQ(reply.type_id, i + 1);
                CHECK_EQ(reply.flags, TACHYON_CORRELATED | TACHYON_REPLY);
                CHECK(matches(reply.data, sizes[i], i));
                CHECK(sizes[i] <= 40 || (uintptr_t)reply.data % 64 == 0);
                CHECK_EQ(tachyon_rpc_release(ends.caller, &reply), 0);
        }
        CHECK_EQ(tachyon_rpc_call(ends.caller, data, sizeof(data), 0, &reply, LONG), -EMSGSIZE);
        CHECK_EQ(counters_of(ends.caller).outstanding, 0);
        tachyon_rpc_close(ends.caller);
        thread_join(echo);
        ends_free(&ends);
}

static void call_copies_the_reply_where_it_fits(void) {
        struct ends ends = ends_make(16384);
        pthread_t echo = thread_start(echo_main, ends.server);
        static const uint64_t sizes[] = { 0, 1, 40, 41, 176, 4000 };
        unsigned char data[4000], copy[4001];
        tachyon_message reply = { .size = 77 };

        for (uint64_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                fill(data, sizes[i], i);
                copy[sizes[i]] = 0xa5;
                CHECK_EQ(tachyon_rpc_call_copy(ends.caller, data, sizes[i], (uint32_t)i, copy, sizes[i], &reply, LONG),
                         0);
                CHECK(reply.data == copy && reply.size == sizes[i] && reply.type_id == i + 1);
                CHECK(matches(copy, sizes[i], i) && copy[sizes[i]] == 0xa5);
        }
        CHECK_EQ(tachyon_rpc_call_copy(ends.caller, data, 40, 1, copy, 39, &reply, LONG), -EMSGSIZE);
        CHECK_DETAIL("40 bytes, the buffer 39");
        CHECK_EQ(reply.size, 4000); /* outputs are untouched */
        CHECK_EQ(tachyon_rpc_call_copy(ends.caller, NULL, 0, 1, NULL, 0, &reply, LONG), 0);
        CHECK_EQ(counters_of(ends.caller).outstanding, 0);
        tachyon_rpc_close(ends.caller);
        thread_join(echo);
        ends_free(&ends);
}

static void *fail_main(void *context) {
        tachyon_message request;

        CHECK_EQ(tachyon_rpc_serve(context, &request, LONG), 0);
        CHECK_EQ(tachyon_rpc_fail(context, request.correlation_id, 77, "no such book", 12, LONG), 0);
        CHECK_EQ(tachyon_rpc_release(context, &request), 0);
        return NULL;
}

static void call_that_copies_has_the_words_that_fit(void) {
        struct ends ends = ends_make(4096);
        pthread_t server = thread_start(fail_main, ends.server);
        tachyon_message reply;
        char words[7];

        CHECK_EQ(tachyon_rpc_call_copy(ends.caller, "x", 1, 1, words, sizeof(words), &reply, LONG), 1);
        CHECK_EQ(reply.type_id, 77);
        CHECK(reply.size == 7 && memcmp(words, "no such", 7) == 0);
        CHECK_EQ(tachyon_rpc_call_copy(ends.caller, "x", 1, 1, words, sizeof(words), &reply, 5 * MS), -ETIMEDOUT);
        thread_join(server);
        ends_free(&ends);
}

static void written_in_place_and_shrunk(void) {
        struct ends ends = ends_make(16384);
        static const uint64_t sizes[] = { 0, 8, 40, 41, 48, 200 };
        tachyon_message request, reply;
        uint64_t id;
        void *data;

        for (uint64_t i = 0; i < 6; i++) {
                CHECK_EQ(tachyon_rpc_reserve(ends.caller, &data, 300, LONG), 0);
                fill(data, sizes[i], i);
                CHECK_EQ(tachyon_rpc_commit(ends.caller, 301, 0, &id), -EINVAL);
                CHECK_EQ(tachyon_rpc_commit(ends.caller, sizes[i], 5, &id), 0);
                CHECK_EQ(tachyon_rpc_serve(ends.server, &request, LONG), 0);
                CHECK_EQ(request.size, sizes[i]);
                CHECK(matches(request.data, sizes[i], i));
                CHECK_EQ(tachyon_rpc_reserve_reply(ends.server, request.correlation_id, &data, sizes[i], LONG), 0);
                fill(data, sizes[i], i + 100);
                CHECK_EQ(tachyon_rpc_commit_reply(ends.server, sizes[i], 6), 0);
                CHECK_EQ(tachyon_rpc_release(ends.server, &request), 0);
                CHECK_EQ(tachyon_rpc_wait(ends.caller, id, &reply, LONG), 0);
                CHECK_EQ(reply.size, sizes[i]);
                CHECK(matches(reply.data, sizes[i], i + 100));
                CHECK_EQ(tachyon_rpc_release(ends.caller, &reply), 0);
        }
        CHECK_EQ(tachyon_rpc_reserve(ends.caller, &data, 10, LONG), 0);
        CHECK_EQ(tachyon_rpc_submit(ends.caller, "x", 1, 0, &id, LONG), -EBUSY);
        CHECK_EQ(tachyon_rpc_cancel(ends.caller), 0);
        CHECK_EQ(tachyon_rpc_commit(ends.caller, 1, 0, &id), -EINVAL);
        CHECK_EQ(counters_of(ends.caller).outstanding, 0);
        ends_free(&ends);
}

static void replies_in_any_order_find_their_calls(void) {
        struct ends ends = ends_make(65536);
        tachyon_message requests[20], reply;
        uint64_t ids[20];

        for (uint64_t i = 0; i < 20; i++)
                ids[i] = submit(ends.caller, i * 10, i);
        for (int i = 0; i < 20; i++)
                CHECK_EQ(tachyon_rpc_serve(ends.server, &requests[i], LONG), 0);
        for (int i = 19; i >= 0; i--) {
                CHECK_EQ(tachyon_rpc_reply(ends.server, requests[i].correlation_id, requests[i].data,
                                           requests[i].size, requests[i].type_id + 1, LONG), 0);
                CHECK_EQ(tachyon_rpc_release(ends.server, &requests[i]), 0);
        }
        CHECK_EQ(tachyon_rpc_poll(ends.caller, &reply, LONG), 0);
        CHECK_EQ(reply.correlation_id, ids[19]);
        CHECK_EQ(tachyon_rpc_release(ends.caller, &reply), 0);
        expect_reply(ends.caller, ids[3], 30, 3);
        CHECK_EQ(counters_of(ends.caller).stored, 15);
        CHECK_EQ(tachyon_rpc_forget(ends.caller, ids[10]), 0);
        for (uint64_t i = 0; i < 19; i++)
                if (i != 3 && i != 10)
                        expect_reply(ends.caller, ids[i], i * 10, i);
        CHECK_EQ(counters_of(ends.caller).outstanding, 0);
        CHECK_EQ(counters_of(ends.caller).dropped, 0);
        CHECK_EQ(tachyon_rpc_wait(ends.caller, ids[3], &reply, 0), -EINVAL);
        ends_free(&ends);
}

static void late_reply_is_dropped_and_counted(void) {
        struct ends ends = ends_make(4096);
        tachyon_message reply;
        uint64_t id;

        CHECK_EQ(tachyon_rpc_call(ends.caller, "slow", 4, 1, &reply, 5 * MS), -ETIMEDOUT);
        CHECK_EQ(counters_of(ends.caller).outstanding, 0);
        echo_one(ends.server);
        id = submit(ends.caller, 30, 2);
        CHECK_EQ(tachyon_rpc_wait(ends.caller, id, &reply, 0), -EAGAIN);
        CHECK_EQ(tachyon_rpc_wait(ends.caller, id, &reply, 5 * MS), -ETIMEDOUT);
        echo_one(ends.server);
        expect_reply(ends.caller, id, 30, 2);
        CHECK_EQ(counters_of(ends.caller).dropped, 1);
        ends_free(&ends);
}

static int compare_times(const void *a, const void *b) {
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

        return (x > y) - (x < y);
}

/* How late a call is that times out after 10 ms: the median of nine. */
static int64_t median_lateness(tachyon_rpc *caller) {
        tachyon_message reply;
        int64_t over[9];

        for (int i = 0; i < 9; i++) {
                int64_t start = clock_ns();

                CHECK_EQ(tachyon_rpc_call(caller, "x", 1, 0, &reply, 10 * MS), -ETIMEDOUT);
                over[i] = clock_ns() - start - 10 * MS;
                CHECK(over[i] >= 0);
        }
        qsort(over, 9, sizeof(over[0]), compare_times);
        return over[4];
}

/* Whatever sleeps is late on a busy machine, so it may try again; what looks every 50 ms never is in time. */
static void deadlines_are_kept(void) {
        struct ends ends = ends_make(4096);
        int rounds = 1;

        while (median_lateness(ends.caller) >= 20 * MS)
                CHECK(rounds++ < 10);
        CHECK_EQ(counters_of(ends.caller).outstanding, 0);
        ends_free(&ends);
}

static void failed_call_has_code_and_text(void) {
        struct ends ends = ends_make(4096);
        static char text[6000];
        tachyon_message request, reply;
        uint64_t id = submit(ends.caller, 10, 1);

        CHECK_EQ(tachyon_rpc_serve(ends.server, &request, LONG), 0);
        CHECK_EQ(tachyon_rpc_reply(ends.server, id, text, sizeof(text), 0, LONG), -EMSGSIZE);
        CHECK_EQ(tachyon_rpc_fail(ends.server, id, 77, "no such book", 12, LONG), 0);
        CHECK_EQ(tachyon_rpc_release(ends.server, &request), 0);
        CHECK_EQ(tachyon_rpc_wait(ends.caller, id, &reply, LONG), 1);
        CHECK_EQ(reply.type_id, 77);
        CHECK_EQ(reply.flags, TACHYON_CORRELATED | TACHYON_REPLY | TACHYON_FAILURE);
        CHECK(reply.size == 12 && memcmp(reply.data, "no such book", 12) == 0);
        CHECK_EQ(tachyon_rpc_release(ends.caller, &reply), 0);

        /* A text that no message can hold: cut, but not within a character. */
        for (unsigned int i = 0; i < sizeof(text); i += 3)
                memcpy(text + i, "\xe2\x82\xac", 3);
        id = submit(ends.caller, 10, 1);
        CHECK_EQ(tachyon_rpc_serve(ends.server, &request, LONG), 0);
        CHECK_EQ(tachyon_rpc_release(ends.server, &request), 0);
        CHECK_EQ(tachyon_rpc_fail(ends.server, id, 1, text, sizeof(text), LONG), 0);
        CHECK_EQ(tachyon_rpc_wait(ends.caller, id, &reply, LONG), 1);
        CHECK_EQ(reply.size, (4096 - 128) / 3 * 3);
        CHECK_EQ(tachyon_rpc_release(ends.caller, &reply), 0);
        CHECK_EQ(counters_of(ends.caller).failures, 2);
        ends_free(&ends);
}

static void outstanding_calls_have_a_limit(void) {
        struct ends ends = ends_make(65536);
        uint64_t ids[100], id;

        CHECK_EQ(tachyon_rpc_set_limit(ends.caller, 0), -EINVAL);
        CHECK_EQ(tachyon_rpc_set_limit(ends.caller, 100), 0);
        for (int i = 0; i < 100; i++)
                ids[i] = submit(ends.caller, 8, 1);
        CHECK_EQ(tachyon_rpc_submit(ends.caller, "x", 1, 0, &id, LONG), -EBUSY);
        CHECK_DETAIL("100 calls");
        CHECK_EQ(tachyon_rpc_forget(ends.caller, ids[50]), 0);
        CHECK_EQ(tachyon_rpc_forget(ends.caller, ids[50]), -EINVAL);
        id = submit(ends.caller, 8, 1);
        for (int i = 0; i < 101; i++)
                echo_one(ends.server);
        expect_reply(ends.caller, id, 8, 1);
        CHECK_EQ(counters_of(ends.caller).stored, 99);
        CHECK_EQ(counters_of(ends.caller).dropped, 1);
        ends_free(&ends);
}

/* Both rings are small and full: the caller must take replies in while it waits for room. */
static void full_rings_do_not_wait_for_each_other(void) {
        struct ends ends = ends_make(4096);
        pthread_t echo = thread_start(echo_main, ends.server);
        static uint64_t ids[2000];

        for (uint64_t i = 0; i < 2000; i++)
                ids[i] = submit(ends.caller, 200, i);
        for (uint64_t i = 2000; i-- > 0;)
                expect_reply(ends.caller, ids[i], 200, i);
        CHECK_EQ(counters_of(ends.caller).outstanding, 0);
        tachyon_rpc_close(ends.caller);
        thread_join(echo);
        ends_free(&ends);
}

static void full_ring_times_out_and_recovers(void) {
        struct ends ends = ends_make(4096);
        pthread_t echo;
        uint64_t id;
        int r, n = 0;

        while ((r = tachyon_rpc_submit(ends.caller, "12345678", 8, 1, &id, 0)) == 0)
                n++;
        CHECK_EQ(r, -EAGAIN);
        CHECK_EQ(tachyon_rpc_submit(ends.caller, "12345678", 8, 1, &id, 5 * MS), -ETIMEDOUT);
        CHECK_EQ(counters_of(ends.caller).outstanding, (uint64_t)n);
        echo = thread_start(echo_main, ends.server);
        CHECK_EQ(tachyon_rpc_submit(ends.caller, "12345678", 8, 1, &id, LONG), 0);
        tachyon_rpc_close(ends.caller);
        thread_join(echo);
        ends_free(&ends);
}

/* With an id in its line, a payload of 41 to 48 bytes needs a second one: who waits for one would look for ever. */
static void room_for_a_request_is_room_for_its_id(void) {
        struct ends ends = ends_make(4096);
        tachyon_bus *bus = tachyon_rpc_bus(ends.caller);
        unsigned char data[48] = { 0 };
        uint64_t id;

        while (tachyon_rpc_submit(ends.caller, data, 48, 1, &id, 0) == 0)
                continue; /* two of 64 lines each, and one stays free: one is left */
        CHECK_EQ(tachyon_bus_arm_space(bus, 40), 1);
        for (size_t size = 41; size <= 48; size++) {
                CHECK_EQ(tachyon_bus_wait_space(bus, size, 0), -EAGAIN);
                CHECK_EQ(tachyon_bus_arm_space(bus, size), 0);
                CHECK_EQ(tachyon_bus_disarm_space(bus), 0);
        }
        ends_free(&ends);
}

/* ---- workers ------------------------------------------------------------ */

#define AT_ONCE 1000
#define WORKERS 3

struct office {
        tachyon_rpc *server;
        pthread_mutex_t lock;
        tachyon_message waiting[AT_ONCE];
        int count;
        bool over;
        uint64_t random;
};

/* Takes a random request, and replies to it: the lock makes "one at a time" of the workers. */
static void *worker_main(void *context) {
        struct office *office = context;
        tachyon_message request;
        int pick;

        for (bool over = false; !over;) {
                pthread_mutex_lock(&office->lock);
                over = office->over;
                if (office->count) {
                        pick = (int)(next_random(&office->random) % (uint64_t)office->count);
                        request = office->waiting[pick];
                        office->waiting[pick] = office->waiting[--office->count];
                        CHECK_EQ(tachyon_rpc_reply(office->server, request.correlation_id, request.data,
                                                   request.size, request.type_id + 1, LONG), 0);
                        CHECK_EQ(tachyon_rpc_release(office->server, &request), 0);
                }
                pthread_mutex_unlock(&office->lock);
        }
        return NULL;
}

static void thousand_outstanding_in_random_order_by_workers(void) {
        struct ends ends = ends_make(1 << 20);
        static struct office office = { .lock = PTHREAD_MUTEX_INITIALIZER, .random = 42 };
        static uint64_t ids[AT_ONCE];
        pthread_t workers[WORKERS];

        office.server = ends.server;
        for (int i = 0; i < WORKERS; i++)
                workers[i] = thread_start(worker_main, &office);
        for (uint64_t round = 0; round < 20; round++) {
                for (uint64_t i = 0; i < AT_ONCE; i++)
                        ids[i] = submit(ends.caller, 8 + i % 90, round * AT_ONCE + i);
                CHECK_EQ(counters_of(ends.caller).outstanding, AT_ONCE);
                pthread_mutex_lock(&office.lock);
                for (; office.count < AT_ONCE; office.count++)
                        CHECK_EQ(tachyon_rpc_serve(ends.server, &office.waiting[office.count], LONG), 0);
                pthread_mutex_unlock(&office.lock);
                for (uint64_t i = 0; i < AT_ONCE; i++)
                        expect_reply(ends.caller, ids[i], 8 + i % 90, round * AT_ONCE + i);
        }
        CHECK_EQ(counters_of(ends.caller).replies, 20 * AT_ONCE);
        CHECK_EQ(counters_of(ends.caller).dropped, 0);
        pthread_mutex_lock(&office.lock);
        office.over = true;
        pthread_mutex_unlock(&office.lock);
        for (int i = 0; i < WORKERS; i++)
                thread_join(workers[i]);
        ends_free(&ends);
}

/* ---- ends --------------------------------------------------------------- */

static void close_fails_outstanding_calls_after_the_replies(void) {
        struct ends ends = ends_make(4096);
        uint64_t answered = submit(ends.caller, 8, 1), open = submit(ends.caller, 8, 2);
        tachyon_message reply;

        echo_one(ends.server);
        tachyon_rpc_close(ends.server);
        CHECK_EQ(tachyon_rpc_wait(ends.caller, open, &reply, LONG), -TACHYON_ECLOSED);
        expect_reply(ends.caller, answered, 8, 1);
        CHECK_EQ(tachyon_rpc_call(ends.caller, "x", 1, 0, &reply, LONG), -TACHYON_ECLOSED);
        tachyon_rpc_close(ends.caller);
        CHECK_EQ(tachyon_rpc_wait(ends.caller, open, &reply, LONG), -ECANCELED);
        ends_free(&ends);
}

static void call_and_die(tachyon_bus *bus) {
        (void)bus;
        for (;;)
                pause();
}

/* From the death on: how long three calls take to fail. */
static int64_t calls_of_the_dead(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        const char *path = path_of("server");
        tachyon_message reply;
        tachyon_bus *bus;
        tachyon_rpc *rpc;
        uint64_t ids[3];
        int64_t start;
        pid_t pid;

        options.kind = TACHYON_KIND_RPC;
        pid = fork_helper();
        if (pid == 0) {
                CHECK_EQ(tachyon_bus_listen(&bus, path, &options, LONG), 0);
                call_and_die(bus);
        }
        CHECK_EQ(tachyon_bus_connect(&bus, path, &options, LONG), 0);
        CHECK_EQ(tachyon_rpc_create(&rpc, bus), 0);
        for (int i = 0; i < 3; i++)
                ids[i] = submit(rpc, 8, 1);
        kill_and_wait(pid);
        start = clock_ns();
        for (int i = 0; i < 3; i++)
                CHECK_EQ(tachyon_rpc_wait(rpc, ids[i], &reply, LONG), -TACHYON_EPEERDEAD);
        start = clock_ns() - start;
        tachyon_rpc_free(rpc);
        return start;
}

/* On a busy machine not each time, but soon. */
static void dead_server_fails_calls_at_once(void) {
        int attempts = 1;

        while (calls_of_the_dead() >= 100 * MS)
                CHECK(attempts++ < 5);
}

static void die_later(void *context) {
        kill(*(pid_t *)context, SIGKILL);
}

static void server_that_dies_while_we_sleep(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        const char *path = path_of("server");
        tachyon_message reply;
        struct later later;
        tachyon_bus *bus;
        tachyon_rpc *rpc;
        pid_t pid;

        options.kind = TACHYON_KIND_RPC;
        pid = fork_helper();
        if (pid == 0) {
                CHECK_EQ(tachyon_bus_listen(&bus, path, &options, LONG), 0);
                call_and_die(bus);
        }
        CHECK_EQ(tachyon_bus_connect(&bus, path, &options, LONG), 0);
        CHECK_EQ(tachyon_rpc_create(&rpc, bus), 0);
        when_asleep(&later, die_later, &pid);
        CHECK_EQ(tachyon_rpc_call(rpc, "x", 1, 0, &reply, LONG), -TACHYON_EPEERDEAD);
        thread_join(later.thread);
        wait_status(pid);
        CHECK_EQ(counters_of(rpc).outstanding, 0);
        tachyon_rpc_free(rpc);
}

/* ---- the wrong kind, the wrong end -------------------------------------- */

static void refuse(uint32_t listeners, uint32_t connectors, const char *reason) {
        tachyon_options here = TACHYON_OPTIONS_INIT, there = TACHYON_OPTIONS_INIT;
        struct connecting connecting;
        tachyon_listener *listener;
        tachyon_bus *bus;

        here.kind = listeners;
        there.kind = connectors;
        CHECK_EQ(tachyon_listener_create(&listener, path_of("kind"), &here), 0);
        connecting_start(&connecting, path_of("kind"), &there);
        UNTIL(tachyon_listener_accept(listener, &bus, 10 * MS) == -ETIMEDOUT &&
              pthread_tryjoin_np(connecting.thread, NULL) == 0);
        CHECK_EQ(connecting.result, -EPROTONOSUPPORT);
        CHECK(strstr(connecting.detail, reason));
        tachyon_listener_free(listener);
}

static void other_kind_is_refused_with_a_reason(void) {
        refuse(TACHYON_KIND_RPC, TACHYON_KIND_STREAM, "kind of bus: peer stream, here rpc");
        refuse(TACHYON_KIND_STREAM, TACHYON_KIND_RPC, "kind of bus: peer rpc, here stream");
}

static void wrong_end_and_stream_functions_say_so(void) {
        struct ends ends = ends_make(4096);
        struct pair stream = pair_make(NULL);
        tachyon_message message;
        tachyon_records records;
        tachyon_rpc *rpc;
        uint64_t id;
        void *data;

        CHECK_EQ(tachyon_rpc_create(&rpc, stream.ours), -EINVAL);
        CHECK_DETAIL("kind rpc");
        CHECK_EQ(tachyon_rpc_serve(ends.caller, &message, 0), -EOPNOTSUPP);
        CHECK_EQ(tachyon_rpc_reply(ends.caller, 1, "x", 1, 0, 0), -EOPNOTSUPP);
        CHECK_EQ(tachyon_rpc_submit(ends.server, "x", 1, 0, &id, 0), -EOPNOTSUPP);
        CHECK_EQ(tachyon_rpc_wait(ends.server, 1, &message, 0), -EOPNOTSUPP);
        CHECK_EQ(tachyon_bus_send(tachyon_rpc_bus(ends.caller), "x", 1, 0, 0), -EOPNOTSUPP);
        CHECK_EQ(tachyon_bus_reserve(tachyon_rpc_bus(ends.caller), &data, 1, 0), -EOPNOTSUPP);
        CHECK_EQ(tachyon_bus_send_records(tachyon_rpc_bus(ends.caller), "x", 1, 1, 0, 0), -EOPNOTSUPP);
        submit(ends.caller, 8, 1); /* a message of that size is there, and is no record */
        CHECK_EQ(tachyon_bus_recv_records(tachyon_rpc_bus(ends.server), &records, 8, 9, NULL, 0), -EOPNOTSUPP);
        pair_free(&stream);
        ends_free(&ends);
}

static void handle_is_dead_in_a_forked_child(void) {
        struct ends ends = ends_make(4096);
        tachyon_message message;
        uint64_t id = submit(ends.caller, 8, 1);
        pid_t pid = fork_helper();

        if (pid == 0) {
                CHECK_EQ(tachyon_rpc_call(ends.caller, "x", 1, 0, &message, LONG), -TACHYON_EFORK);
                CHECK_EQ(tachyon_rpc_wait(ends.caller, id, &message, LONG), -TACHYON_EFORK);
                CHECK_EQ(tachyon_rpc_serve(ends.server, &message, LONG), -TACHYON_EFORK);
                CHECK_EQ(tachyon_rpc_reply(ends.server, id, "x", 1, 0, LONG), -TACHYON_EFORK);
                ends_free(&ends);
                _exit(0);
        }
        JOIN(pid);
        echo_one(ends.server);
        expect_reply(ends.caller, id, 8, 1);
        ends_free(&ends);
}

/* ---- hostile peers ------------------------------------------------------ */

static void write_frame(tachyon_rpc *from, uint64_t id, uint64_t flags) {
        struct ring_label label = { .id = id, .flags = flags, .type_id = 9 };
        tachyon_bus *bus = tachyon_rpc_bus(from);

        CHECK_EQ(ring_send_labelled(&bus->out, "hostile", 7, &label), 0);
}

static void replies_to_nothing_are_dropped(void) {
        struct ends ends = ends_make(4096);
        uint64_t id = submit(ends.caller, 8, 1);
        tachyon_message reply;

        write_frame(ends.server, 0, FRAME_VALID | FRAME_CORRELATED | FRAME_REPLY);
        write_frame(ends.server, UINT64_MAX, FRAME_VALID | FRAME_CORRELATED | FRAME_REPLY);
        write_frame(ends.server, id + 1, FRAME_VALID | FRAME_CORRELATED | FRAME_REPLY | FRAME_FAILURE);
        write_frame(ends.server, id + (1 << 20), FRAME_VALID | FRAME_CORRELATED | FRAME_REPLY);
        echo_one(ends.server);
        CHECK_EQ(tachyon_rpc_reply(ends.server, id, "twice", 5, 0, LONG), 0);
        expect_reply(ends.caller, id, 8, 1);
        CHECK_EQ(tachyon_rpc_poll(ends.caller, &reply, 5 * MS), -ETIMEDOUT);
        CHECK_EQ(counters_of(ends.caller).dropped, 5);
        ends_free(&ends);
}

static void breach(bool of_caller, uint64_t flags) {
        struct ends ends = ends_make(4096);
        tachyon_message message;

        write_frame(of_caller ? ends.caller : ends.server, 1, flags);
        if (of_caller)
                CHECK_EQ(tachyon_rpc_serve(ends.server, &message, LONG), -EPROTO);
        else
                CHECK_EQ(tachyon_rpc_call(ends.caller, "x", 1, 0, &message, LONG), -EPROTO);
        CHECK_EQ(counters_of(ends.caller).outstanding, 0);
        ends_free(&ends);
}

static void frames_of_the_wrong_kind_end_the_bus(void) {
        breach(true, FRAME_VALID);
        breach(true, FRAME_VALID | FRAME_CORRELATED | FRAME_REPLY);
        breach(true, FRAME_VALID | FRAME_CORRELATED | FRAME_FAILURE);
        breach(true, FRAME_VALID | FRAME_CORRELATED | 16);
        breach(false, FRAME_VALID);
        breach(false, FRAME_VALID | FRAME_CORRELATED);
        breach(false, FRAME_VALID | FRAME_REPLY);
        breach(false, FRAME_VALID | FRAME_CORRELATED | FRAME_FAILURE);
        breach(false, FRAME_VALID | FRAME_CORRELATED | FRAME_REPLY | 32);
}

struct flood {
        tachyon_rpc *server;
        atomic_bool full; /* it has begun: the ring was full once */
};

static void *flood_main(void *context) {
        struct ring_label label = { .id = 12345, .flags = FRAME_VALID | FRAME_CORRELATED | FRAME_REPLY };
        struct flood *flood = context;
        tachyon_bus *bus = tachyon_rpc_bus(flood->server);

        while (!bus_dead(bus)) {
                if (ring_send_labelled(&bus->out, "x", 1, &label) == 0)
                        continue;
                atomic_store(&flood->full, true);
                if (ring_refresh(&bus->out) < 0)
                        break;
        }
        return NULL;
}

static int64_t lateness_in_the_flood(tachyon_rpc *caller) {
        tachyon_message reply;
        int64_t start = clock_ns();
        uint64_t id;

        CHECK_EQ(tachyon_rpc_call(caller, "x", 1, 0, &reply, 20 * MS), -ETIMEDOUT);
        id = submit(caller, 1, 1);
        CHECK_EQ(tachyon_rpc_wait(caller, id, &reply, 0), -EAGAIN);
        return clock_ns() - start - 20 * MS;
}

static void flood_of_unknown_replies_does_not_hold_a_deadline_up(void) {
        struct ends ends = ends_make(4096);
        struct flood flood = { .server = ends.server };
        pthread_t thread = thread_start(flood_main, &flood);
        int attempts = 1;

        UNTIL(atomic_load(&flood.full));
        while (lateness_in_the_flood(ends.caller) >= SECOND)
                CHECK(attempts++ < 5);
        CHECK(counters_of(ends.caller).dropped > 0);
        tachyon_rpc_close(ends.server);
        thread_join(thread);
        ends_free(&ends);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(call_returns_the_reply_at_every_size);
        RUN(call_copies_the_reply_where_it_fits);
        RUN(call_that_copies_has_the_words_that_fit);
        RUN(written_in_place_and_shrunk);
        RUN(replies_in_any_order_find_their_calls);
        RUN(late_reply_is_dropped_and_counted);
        RUN(deadlines_are_kept);
        RUN(failed_call_has_code_and_text);
        RUN(outstanding_calls_have_a_limit);
        RUN(full_rings_do_not_wait_for_each_other);
        RUN(full_ring_times_out_and_recovers);
        RUN(room_for_a_request_is_room_for_its_id);
        RUN(thousand_outstanding_in_random_order_by_workers);
        RUN(close_fails_outstanding_calls_after_the_replies);
        RUN(dead_server_fails_calls_at_once);
        RUN(server_that_dies_while_we_sleep);
        RUN(other_kind_is_refused_with_a_reason);
        RUN(wrong_end_and_stream_functions_say_so);
        RUN(handle_is_dead_in_a_forked_child);
        RUN(replies_to_nothing_are_dropped);
        RUN(frames_of_the_wrong_kind_end_the_bus);
        RUN(flood_of_unknown_replies_does_not_hold_a_deadline_up);
        return tests_end();
}
