/* SPDX-License-Identifier: MIT */
/*
 * Both ends of a bus in one process, on memory that is mapped once, for
 * ThreadSanitizer: it knows memory by its addresses, and would take the two
 * mappings of a real bus for two memories, so that it saw no race at all. A
 * ring is mapped twice so that frames may run over its end; here there is plain
 * memory of twice the size, in which both ends use the same addresses anyway.
 *
 * One thread sends, one receives, a third releases what the second hands on, and
 * the way back is used by the first two. TACHYON_TEST_MESSAGES is how many.
 */
#include "test-pingpong.h"

#include <sys/socket.h>

#include "../libtachyon/bus.h"
#include "../libtachyon/os.h"

#define CAPACITY 16384u
#define HANDED 64u
/* One message back for so many. */
#define BACK 64u

struct end {
        struct half half;
        tachyon_bus *bus;
};

static struct end ends[2];
static uint64_t messages;
static struct frame exchange;

static void half_plain(struct half *half) {
        *half = (struct half){ .capacity = CAPACITY };
        half->control = aligned_alloc(TACHYON_SEPARATION, sizeof(*half->control));
        half->ring = aligned_alloc(4096, 2 * CAPACITY);
        CHECK(half->control && half->ring);
        memset((void *)half->control, 0, sizeof(*half->control));
        memset(half->ring, 0, 2 * CAPACITY);
        atomic_store(&half->control->state, HALF_OPEN);
}

static void ends_make_with(int64_t spin_ns, bool membarrier) {
        int data[2], room[2];

        half_plain(&ends[0].half);
        half_plain(&ends[1].half);
        memset((void *)&exchange, 0, sizeof(exchange));
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, data), 0);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, room), 0);
        for (int i = 0; i < 2; i++) {
                struct settings settings = { .kind = TACHYON_KIND_STREAM, .spin_ns = spin_ns };
                struct connection connection = CONNECTION_INIT;

                connection.socket = data[i];
                connection.room = room[i];
                connection.ours = ends[i].half;
                connection.theirs = ends[!i].half;
                connection.exchange = &exchange;
                connection.is_listener = i;
                /* Where halves are read, a peer may write: no flag tells TSan of the kernel's barriers. */
                connection.membarrier = membarrier;
                CHECK_EQ(bus_new(&ends[i].bus, &connection, &settings), 0);
                ends[i].bus->connection.exchange = NULL; /* it is no mapping of theirs */
        }
}

static void ends_make(int64_t spin_ns) {
        ends_make_with(spin_ns, false);
}

static void ends_free(void) {
        for (int i = 0; i < 2; i++)
                tachyon_bus_free(ends[i].bus);
        for (int i = 0; i < 2; i++) {
                free((void *)ends[i].half.control);
                free(ends[i].half.ring);
        }
}

/* Sizes of all kinds, most of them small; and now and then one that takes many lines. */
static uint64_t size_of(uint64_t i) {
        return i % 97 == 96 ? 1 + i % 3000 : i % 61;
}

static void is_message(const void *data, uint64_t size, uint32_t type_id, uint64_t i) {
        const unsigned char *bytes = data;

        CHECK_EQ(type_id, (uint32_t)i);
        CHECK_EQ(size, size_of(i));
        for (uint64_t k = 0; k < size; k++)
                CHECK(bytes[k] == (unsigned char)(i + k));
}

static void take_answers(tachyon_bus *bus, uint64_t *answers) {
        unsigned char bytes[64];
        uint32_t type_id;
        int64_t n;

        while ((n = tachyon_bus_recv_copy(bus, bytes, sizeof(bytes), &type_id, 0)) >= 0) {
                CHECK_EQ(n, 8);
                CHECK_EQ(type_id, (uint32_t)*answers);
                ++*answers;
        }
        CHECK_EQ(n, -EAGAIN);
}

static void *sender_main(void *unused) {
        tachyon_bus *bus = ends[0].bus;
        unsigned char data[4096];
        uint64_t answers = 0;
        void *place;

        for (uint64_t i = 0; i < messages; i++) {
                uint64_t size = size_of(i);

                for (uint64_t k = 0; k < size; k++)
                        data[k] = (unsigned char)(i + k);
                if (i % 5 == 0) {
                        CHECK_EQ(tachyon_bus_reserve(bus, &place, size, LONG), 0);
                        memcpy(place, data, size);
                        CHECK_EQ(tachyon_bus_commit(bus, size, (uint32_t)i), 0);
                } else {
                        CHECK_EQ(tachyon_bus_send(bus, data, size, (uint32_t)i, LONG), 0);
                }
                if (i % BACK == 0)
                        take_answers(bus, &answers);
        }
        while (answers < messages / BACK) {
                CHECK_EQ(tachyon_bus_wait_data(bus, LONG), 0);
                take_answers(bus, &answers);
        }
        tachyon_bus_close(bus);
        return unused;
}

/* What the receiver hands on; 1 + lease, or 0. */
struct handed {
        _Atomic uint64_t place;
        tachyon_message message;
        uint64_t i;
};

static struct handed handed[HANDED];
static atomic_bool receiver_done;

static void *releaser_main(void *unused) {
        bool over = false;

        for (uint64_t n = 0; !over; n++) {
                struct handed *one = &handed[n % HANDED];

                while (atomic_load_explicit(&one->place, memory_order_acquire) != n + 1 && !over) {
                        over = atomic_load_explicit(&receiver_done, memory_order_acquire) &&
                               atomic_load_explicit(&one->place, memory_order_acquire) != n + 1;
                        sched_yield();
                }
                if (over)
                        break;
                is_message(one->message.data, one->message.size, one->message.type_id, one->i);
                CHECK_EQ(tachyon_bus_release(ends[1].bus, one->message.lease), 0);
                atomic_store_explicit(&one->place, 0, memory_order_release);
        }
        return unused;
}

/* True where it was handed on: not where all places are taken. */
static bool hand_on(const tachyon_message *message, uint64_t i, uint64_t *n) {
        struct handed *one = &handed[*n % HANDED];

        if (atomic_load_explicit(&one->place, memory_order_acquire))
                return false;
        one->message = *message;
        one->i = i;
        atomic_store_explicit(&one->place, ++*n, memory_order_release);
        return true;
}

static int receive(tachyon_bus *bus, uint64_t i, uint64_t *n_handed) {
        unsigned char bytes[4096];
        tachyon_message message;
        uint32_t type_id;
        int64_t n;
        int r;

        if (i % 3 == 0) {
                n = tachyon_bus_recv_copy(bus, bytes, sizeof(bytes), &type_id, LONG);
                if (n >= 0)
                        is_message(bytes, (uint64_t)n, type_id, i);
                return n < 0 ? (int)n : 0;
        }
        r = tachyon_bus_recv(bus, &message, LONG);
        if (r < 0)
                return r;
        if (i % 3 == 1 && hand_on(&message, i, n_handed))
                return 0;
        is_message(message.data, message.size, message.type_id, i);
        CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
        return 0;
}

static void *receiver_main(void *unused) {
        tachyon_bus *bus = ends[1].bus;
        uint64_t n_handed = 0, i = 0;
        int r;

        for (;;) {
                r = receive(bus, i, &n_handed);
                if (r == -TACHYON_ELEASES) { /* the releaser is behind */
                        sched_yield();
                        continue;
                }
                if (r < 0)
                        break;
                i++;
                if (i % BACK == 0)
                        CHECK_EQ(tachyon_bus_send(bus, &i, sizeof(i), (uint32_t)(i / BACK - 1), LONG), 0);
        }
        CHECK_EQ(r, -TACHYON_ECLOSED);
        CHECK_EQ(i, messages);
        atomic_store_explicit(&receiver_done, true, memory_order_release);
        return unused;
}

/* ---- in the middle of another thread's work ----------------------------- */

/* Where ring_pass() has moved read_position, and not yet the cursor. */
static void test_stats_while_another_thread_receives(void) {
        tachyon_stats stats = { .struct_size = sizeof(stats) };
        struct ring_consumer *in;

        ends_make(0);
        in = &ends[1].bus->in;
        CHECK_EQ(tachyon_bus_send(ends[0].bus, "x", 1, 1, 0), 0);
        atomic_store(in->read_position, atomic_load(&in->cursor) + FRAME_ALIGNMENT);
        CHECK_EQ(tachyon_bus_stats(ends[1].bus, &stats), 0);
        CHECK_EQ(stats.recv_used, 0);
        ends_free();
}

/* Else a forked child would wait for its release, and keep the ring. */
static void test_what_was_put_back_leaves_no_lease(void) {
        struct ring_consumer *in;
        tachyon_message message;
        char byte;

        ends_make(0);
        in = &ends[1].bus->in;
        CHECK_EQ(tachyon_bus_send(ends[0].bus, "x", 1, 1, 0), 0);
        CHECK_EQ(tachyon_bus_recv(ends[1].bus, &message, 0), 0);
        CHECK_EQ(tachyon_bus_put_back(ends[1].bus, &message), 0);
        atomic_store(&ends[1].bus->handle.attention, 0); /* it says fences: the copy takes its quick way without */
        CHECK_EQ(tachyon_bus_recv_copy(ends[1].bus, &byte, 1, NULL, 0), 1);
        for (uint64_t line = 0; line < CAPACITY / FRAME_ALIGNMENT; line++)
                CHECK(!(atomic_load(&in->leases[line]) & LEASE_OUT));
        ends_free();
}

static void *watcher_main(void *bus) {
        CHECK_EQ(bus_watch_room(bus, CAPACITY / 2, LONG), 0);
        return bus;
}

/* Who waits while others send changes nothing that is theirs. */
static void test_watching_for_room_leaves_it_to_those_who_send(void) {
        struct ring_producer *out, before;
        unsigned char bytes[64];
        pthread_t watcher;

        ends_make(0);
        out = &ends[0].bus->out;
        while (tachyon_bus_send(ends[0].bus, "full", 4, 1, 0) == 0)
                continue;
        before = *out;
        watcher = thread_start(watcher_main, ends[0].bus);
        while (tachyon_bus_recv_copy(ends[1].bus, bytes, sizeof(bytes), NULL, 0) == 4)
                continue;
        thread_join(watcher);
        CHECK_EQ(out->limit, before.limit);
        CHECK_EQ(out->read_position, before.read_position);
        CHECK_EQ(tachyon_bus_send(ends[0].bus, "again", 5, 1, 0), 0);
        CHECK(out->limit != before.limit);
        ends_free();
}

/* ---- all at once -------------------------------------------------------- */

static void run_threads(int64_t spin_ns) {
        const char *wanted = getenv("TACHYON_TEST_MESSAGES");
        pthread_t threads[3];

        messages = (wanted ? strtoull(wanted, NULL, 10) : 20000) / 2;
        alarm(wanted ? 0 : WATCHDOG_SECONDS);
        ends_make(spin_ns);
        threads[0] = thread_start(receiver_main, NULL);
        threads[1] = thread_start(releaser_main, NULL);
        threads[2] = thread_start(sender_main, NULL);
        for (int i = 0; i < 3; i++)
                thread_join(threads[i]);
        ends_free();
        printf("%llu messages in two directions\n", (unsigned long long)(messages + messages / BACK));
}

static void test_threads_that_spin(void) {
        run_threads(50000);
}

static void test_threads_that_sleep(void) {
        run_threads(0);
}

/* Each answers the other, so that the exchange line is used all the time, in turn. */
static void run_pingpong(int64_t spin_ns, bool membarrier) {
        uint64_t n = pingpong_messages(20000) / 4;
        struct pingpong *sides = calloc(2, sizeof(*sides));
        pthread_t threads[2][3];

        CHECK(sides);
        ends_make_with(spin_ns, membarrier);
        for (int i = 0; i < 2; i++) {
                sides[i].bus = ends[i].bus;
                sides[i].messages = n;
                sides[i].begins = i == 0;
                sides[i].records = 1;
                pingpong_start(&sides[i], threads[i]);
        }
        for (int i = 0; i < 2; i++)
                pingpong_finish(threads[i]);
        ends_free();
        free(sides);
        printf("%llu messages to and fro\n", (unsigned long long)(2 * n));
}

static void test_threads_that_answer_spinning(void) {
        run_pingpong(50000, false);
}

static void test_threads_that_answer_sleeping(void) {
        run_pingpong(0, false);
}

/* With fences, all goes by the slow ways. */
static void test_threads_that_answer_by_the_quick_ways(void) {
        if (!os_barrier_register()) {
                printf("no barriers of the kernel's here\n");
                return;
        }
        run_pingpong(50000, true);
        run_pingpong(0, true);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_stats_while_another_thread_receives);
        RUN(test_what_was_put_back_leaves_no_lease);
        RUN(test_watching_for_room_leaves_it_to_those_who_send);
        RUN(test_threads_that_spin);
        RUN(test_threads_that_sleep);
        RUN(test_threads_that_answer_spinning);
        RUN(test_threads_that_answer_sleeping);
        RUN(test_threads_that_answer_by_the_quick_ways);
        return tests_end();
}
