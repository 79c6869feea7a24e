/* SPDX-License-Identifier: MIT */
/* Sleeping and waking: each epoch rung once, a full doorbell never blocks, and no wake-up is lost. */
#include "test-util.h"

#include "../libtachyon/os.h"
#include "../libtachyon/wait.h"
#include <sys/socket.h>

/* A sleeper, the waker of its peer, and the word between them. */
struct bell {
        _Atomic uint32_t waiting;
        int sockets[2]; /* sleeper's, waker's */
        struct sleeper sleeper;
        struct waker waker;
};

static void bell_open(struct bell *bell) {
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, bell->sockets), 0);
        atomic_init(&bell->waiting, 0);
        sleeper_init(&bell->sleeper, bell->sockets[0], &bell->waiting, 0, false);
        waker_init(&bell->waker, bell->sockets[1], &bell->waiting);
}

static void bell_close(struct bell *bell) {
        close_fd(bell->sockets[0]);
        close_fd(bell->sockets[1]);
}

static int bytes_waiting(const struct bell *bell) {
        char bytes[64];
        ssize_t n = recv(bell->sockets[0], bytes, sizeof(bytes), MSG_DONTWAIT | MSG_PEEK);

        return n < 0 ? 0 : (int)n;
}

static void ring_byte(const struct bell *bell, int byte) {
        unsigned char b = (unsigned char)byte;

        CHECK_EQ(send(bell->sockets[1], &b, 1, MSG_DONTWAIT | MSG_NOSIGNAL), 1);
}

/* ---- epochs ------------------------------------------------------------- */

static void test_each_epoch_is_rung_once(void) {
        struct bell bell;

        bell_open(&bell);
        CHECK_EQ(waker_look(&bell.waker, true), 0);
        for (int i = 1; i <= 3; i++) {
                sleeper_announce(&bell.sleeper);
                uint32_t epoch = waker_look(&bell.waker, true);

                CHECK(epoch != 0);
                for (int again = 0; again < 3; again++)
                        CHECK_EQ(waker_ring(&bell.waker, epoch), 0);
                CHECK_EQ(bytes_waiting(&bell), 1);
                CHECK_EQ(sleeper_take_rings(&bell.sleeper), 0);
                CHECK_EQ(bytes_waiting(&bell), 0);
                sleeper_retire(&bell.sleeper);
                CHECK_EQ(waker_look(&bell.waker, false), 0);
        }
        CHECK_EQ(atomic_load(&bell.waker.rings), 3);
        CHECK_EQ(bell.sleeper.rings, 3);
        bell_close(&bell);
}

/*
 * Releases come from any thread. One that looked at the epoch long ago must not
 * ring it a second time after another thread has rung the next one: the peer
 * would count more rings than epochs, and end the bus.
 */
static void test_a_late_thread_does_not_ring_an_old_epoch_again(void) {
        struct bell bell;
        uint32_t old, new;

        bell_open(&bell);
        sleeper_announce(&bell.sleeper);
        old = waker_look(&bell.waker, true);
        CHECK_EQ(waker_ring(&bell.waker, old), 0);
        CHECK_EQ(sleeper_take_rings(&bell.sleeper), 0);
        sleeper_announce(&bell.sleeper);
        new = waker_look(&bell.waker, true);
        CHECK_EQ(waker_ring(&bell.waker, new), 0);
        CHECK_EQ(waker_ring(&bell.waker, old), 0);
        CHECK_EQ(waker_ring(&bell.waker, new), 0);
        CHECK_EQ(bytes_waiting(&bell), 1);
        CHECK_EQ(sleeper_take_rings(&bell.sleeper), 0);
        bell_close(&bell);
}

/*
 * An idle bus with short time-outs sleeps billions of times without a ring. Did
 * the epoch count them, it would be 2^31 ahead of the last one rung one day,
 * look like an old one, and never be rung again.
 */
static void test_an_epoch_lasts_until_it_is_rung(void) {
        struct bell bell;
        uint32_t epoch;

        bell_open(&bell);
        sleeper_announce(&bell.sleeper);
        epoch = waker_look(&bell.waker, true);
        for (int i = 0; i < 1000; i++) {
                sleeper_retire(&bell.sleeper);
                sleeper_announce(&bell.sleeper);
                CHECK_EQ(waker_look(&bell.waker, true), epoch);
        }
        CHECK_EQ(bell.sleeper.sleeps, 1001);
        CHECK_EQ(waker_ring(&bell.waker, epoch), 0);
        sleeper_announce(&bell.sleeper); /* the byte is on its way, and will end this sleep */
        CHECK_EQ(waker_look(&bell.waker, true), epoch);
        CHECK_EQ(sleeper_take_rings(&bell.sleeper), 0);
        sleeper_announce(&bell.sleeper);
        CHECK(waker_look(&bell.waker, true) != epoch);
        bell_close(&bell);
}

static void test_epochs_wrap_past_the_special_values(void) {
        struct bell bell;
        uint32_t epoch, last = UINT32_MAX - 3;

        bell_open(&bell);
        bell.sleeper.epoch = last;
        atomic_store(&bell.waker.rung, last);
        for (int i = 0; i < 8; i++) {
                sleeper_announce(&bell.sleeper);
                epoch = waker_look(&bell.waker, true);
                CHECK(epoch != 0 && epoch != WAITING_CLOSED && epoch != last);
                last = epoch;
                CHECK_EQ(waker_ring(&bell.waker, epoch), 0);
                CHECK_EQ(bytes_waiting(&bell), 1);
                CHECK_EQ(sleeper_take_rings(&bell.sleeper), 0);
        }
        CHECK(last < 100);
        bell_close(&bell);
}

/* ---- hostile and dead peers --------------------------------------------- */

static void test_more_rings_than_sleeps_break_the_protocol(void) {
        struct bell bell;

        bell_open(&bell);
        ring_byte(&bell, DOORBELL_RING);
        CHECK_EQ(sleeper_take_rings(&bell.sleeper), -EPROTO);
        CHECK_DETAIL("more often");
        bell_close(&bell);

        bell_open(&bell);
        for (int i = 0; i < 5; i++) /* five sleeps, but nothing that would need more than one ring */
                sleeper_announce(&bell.sleeper);
        ring_byte(&bell, DOORBELL_RING);
        CHECK_EQ(sleeper_take_rings(&bell.sleeper), 0);
        ring_byte(&bell, DOORBELL_RING);
        CHECK_EQ(sleeper_take_rings(&bell.sleeper), -EPROTO);
        bell_close(&bell);
}

static void test_flood_is_noticed_at_once(void) {
        unsigned char flood[4096];
        struct bell bell;
        ssize_t n;

        bell_open(&bell);
        memset(flood, DOORBELL_RING, sizeof(flood));
        do
                n = send(bell.sockets[1], flood, sizeof(flood), MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n > 0);
        sleeper_announce(&bell.sleeper);
        CHECK_EQ(sleeper_take_rings(&bell.sleeper), -EPROTO);
        CHECK(bell.sleeper.rings < 1000); /* it did not read all of it first */
        bell_close(&bell);
}

static void test_what_is_no_doorbell_breaks_the_protocol(void) {
        for (int byte = 0; byte < 256; byte++) {
                struct bell bell;

                bell_open(&bell);
                sleeper_announce(&bell.sleeper);
                ring_byte(&bell, byte);
                CHECK_EQ(sleeper_take_rings(&bell.sleeper), byte == DOORBELL_RING ? 0 : -EPROTO);
                bell_close(&bell);
        }
}

/* The peer neither reads nor lets go: a blocking descriptor, filled to the brim. */
static void test_full_doorbell_does_not_block(void) {
        unsigned char byte = DOORBELL_RING;
        struct bell bell;

        bell_open(&bell);
        CHECK_EQ(fcntl(bell.sockets[1], F_GETFL) & O_NONBLOCK, 0);
        while (send(bell.sockets[1], &byte, 1, MSG_DONTWAIT) == 1)
                ;
        CHECK_EQ(errno, EAGAIN);
        for (uint32_t epoch = 1; epoch < 100; epoch++)
                CHECK_EQ(waker_ring(&bell.waker, epoch), 0);
        bell_close(&bell);
}

static void test_dead_peer_is_an_error_not_a_signal(void) {
        struct bell bell;

        bell_open(&bell);
        sleeper_announce(&bell.sleeper);
        CHECK_EQ(waker_ring(&bell.waker, waker_look(&bell.waker, true)), 0);
        bell.sockets[1] = close_fd(bell.sockets[1]);
        CHECK_EQ(sleeper_take_rings(&bell.sleeper), 0); /* what it said before */
        CHECK_EQ(sleeper_take_rings(&bell.sleeper), -ECONNRESET);
        bell_close(&bell);

        bell_open(&bell);
        bell.sockets[0] = close_fd(bell.sockets[0]);
        CHECK_EQ(waker_ring(&bell.waker, 1), -ECONNRESET); /* SIGPIPE would kill us here */
        bell_close(&bell);
}

static void test_nothing_to_take_is_no_error(void) {
        struct bell bell;

        bell_open(&bell);
        CHECK_EQ(sleeper_take_rings(&bell.sleeper), 0);
        bell_close(&bell);
}

/* ---- spinning ----------------------------------------------------------- */

static bool never(void *context) {
        (void)context;
        return false;
}

static bool at_third_look(void *context) {
        return ++*(int *)context == 3;
}

static void test_spin_budget_adapts_within_bounds(void) {
        struct sleeper sleeper;
        int looks;

        sleeper_init(&sleeper, -1, NULL, 32000, false);
        for (int i = 0; i < 20; i++)
                CHECK(!sleeper_spin(&sleeper, DEADLINE_NEVER, never, never, NULL));
        CHECK_EQ(sleeper.spin_ns, 1000);
        for (int i = 0; i < 20; i++) {
                looks = 0;
                CHECK(sleeper_spin(&sleeper, DEADLINE_NEVER, at_third_look, never, &looks));
        }
        CHECK_EQ(sleeper.spin_ns, 32000);
        sleeper_init(&sleeper, -1, NULL, 32000, true);
        CHECK(!sleeper_spin(&sleeper, DEADLINE_NEVER, never, never, NULL));
        CHECK_EQ(sleeper.spin_ns, 32000);
        sleeper_init(&sleeper, -1, NULL, 0, false); /* one CPU, or asked not to */
        looks = 0;
        CHECK(!sleeper_spin(&sleeper, DEADLINE_NEVER, at_third_look, never, &looks));
        CHECK_EQ(looks, 0);
}

/* White box: the wait's beginning is set, so that how long it took does not depend on the machine. */
static void test_short_sleeps_teach_to_poll_again(void) {
        struct sleeper sleeper;

        sleeper_init(&sleeper, -1, NULL, 32000, false);
        for (int i = 0; i < 20; i++)
                CHECK(!sleeper_spin(&sleeper, DEADLINE_NEVER, never, never, NULL));
        sleeper.began_ns = clock_ns() - 3600 * INT64_C(1000000000);
        sleeper_learn_from_sleep(&sleeper);
        CHECK_EQ(sleeper.spin_ns, 1000);
        for (int i = 0; i < 20; i++) {
                CHECK(!sleeper_spin(&sleeper, DEADLINE_NEVER, never, never, NULL));
                sleeper.began_ns = clock_ns() + 3600 * INT64_C(1000000000);
                sleeper_learn_from_sleep(&sleeper);
        }
        CHECK_EQ(sleeper.spin_ns, 32000);
}

static void test_spinning_ends_at_the_deadline(void) {
        struct sleeper sleeper;

        sleeper_init(&sleeper, -1, NULL, INT64_MAX / 4, true);
        CHECK(!sleeper_spin(&sleeper, clock_ns() + MS, never, never, NULL));
}

/* ---- no wake-up is lost ------------------------------------------------- */

#define ROUNDS 20000u

/* Two parties who wake each other through the protocol of wait.h, each with its own word. */
struct table {
        _Atomic uint64_t counters[2]; /* what is published */
        _Atomic uint32_t waiting[2];
        int sockets[2];
        bool fences;
};

/* Waits until the other's counter has reached a value: S1 to S4. */
static void await_counter(struct table *table, struct sleeper *sleeper, int other, uint64_t value) {
        while (atomic_load_explicit(&table->counters[other], memory_order_acquire) < value) {
                struct pollfd readable = { .fd = sleeper->doorbell, .events = POLLIN };

                sleeper_announce(sleeper);
                if (!table->fences)
                        CHECK_EQ(os_barrier(), 0);
                atomic_thread_fence(memory_order_seq_cst);
                if (atomic_load_explicit(&table->counters[other], memory_order_acquire) < value) {
                        CHECK_EQ(os_poll(&readable, 1, DEADLINE_NEVER), 1);
                        CHECK_EQ(sleeper_take_rings(sleeper), 0);
                }
                sleeper_retire(sleeper);
        }
}

/* P1 to P4. */
static void publish_counter(struct table *table, struct waker *waker, int ours, uint64_t value) {
        uint32_t epoch;

        atomic_store_explicit(&table->counters[ours], value, memory_order_release);
        epoch = waker_look(waker, table->fences);
        if (epoch)
                CHECK_EQ(waker_ring(waker, epoch), 0);
}

static void play(struct table *table, int ours) {
        struct sleeper sleeper;
        struct waker waker;

        CHECK(table->fences || os_barrier_register());
        sleeper_init(&sleeper, table->sockets[ours], &table->waiting[ours], 0, false);
        waker_init(&waker, table->sockets[ours], &table->waiting[!ours]);
        for (uint64_t round = 1; round <= ROUNDS; round++) {
                if (ours == 0)
                        publish_counter(table, &waker, ours, round);
                await_counter(table, &sleeper, !ours, round);
                if (ours == 1)
                        publish_counter(table, &waker, ours, round);
        }
}

/* A lost wake-up leaves both asleep, and the watchdog says so. */
static void play_with_a_child(bool fences) {
        struct table *table = shared_page();
        pid_t pid;

        table->fences = fences;
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, table->sockets), 0);
        pid = fork_helper();
        if (pid == 0) {
                play(table, 1);
                helper_exit();
        }
        play(table, 0);
        JOIN(pid);
        close(table->sockets[0]);
        close(table->sockets[1]);
        munmap(table, 4096);
}

static void test_no_wake_up_is_lost_with_fences(void) {
        play_with_a_child(true);
}

static void test_no_wake_up_is_lost_with_membarrier(void) {
        if (!os_barrier_register()) {
                printf("      the kernel offers no fast membarrier: only fences are in use here\n");
                return;
        }
        play_with_a_child(false);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_each_epoch_is_rung_once);
        RUN(test_a_late_thread_does_not_ring_an_old_epoch_again);
        RUN(test_an_epoch_lasts_until_it_is_rung);
        RUN(test_epochs_wrap_past_the_special_values);
        RUN(test_more_rings_than_sleeps_break_the_protocol);
        RUN(test_flood_is_noticed_at_once);
        RUN(test_what_is_no_doorbell_breaks_the_protocol);
        RUN(test_full_doorbell_does_not_block);
        RUN(test_dead_peer_is_an_error_not_a_signal);
        RUN(test_nothing_to_take_is_no_error);
        RUN(test_spin_budget_adapts_within_bounds);
        RUN(test_short_sleeps_teach_to_poll_again);
        RUN(test_spinning_ends_at_the_deadline);
        RUN(test_no_wake_up_is_lost_with_fences);
        RUN(test_no_wake_up_is_lost_with_membarrier);
        return tests_end();
}
