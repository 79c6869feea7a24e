/* SPDX-License-Identifier: MIT */
/* Doorbells for event loops, for data and for room, and waiting for several buses. */
#include "test-bus.h"

#define CAPACITY 4096
#define LARGE 3000 /* two of these never fit */

struct doorbells {
        int data, room, death;
};

static struct doorbells doorbells_of(tachyon_bus *bus) {
        struct doorbells doorbells = { -1, -1, -1 };

        CHECK_EQ(tachyon_bus_fds(bus, &doorbells.data, &doorbells.room, &doorbells.death), 0);
        return doorbells;
}

static short readable(int fd) {
        struct pollfd look = { .fd = fd, .events = POLLIN };

        CHECK(poll(&look, 1, 0) >= 0);
        return look.revents;
}

/* As an event loop does: until one of the two is readable. */
static void sleep_on(int doorbell, int death) {
        struct pollfd fds[] = { { .fd = doorbell, .events = POLLIN }, { .fd = death, .events = POLLIN } };

        while (poll(fds, 2, -1) < 0)
                CHECK_EQ(errno, EINTR);
}

static int try_send(tachyon_bus *bus, uint64_t size, uint64_t seed) {
        unsigned char data[LARGE];

        CHECK(size <= sizeof(data));
        fill(data, size, seed);
        return tachyon_bus_send(bus, data, size, (uint32_t)seed, 0);
}

/* ---- for data ----------------------------------------------------------- */

static void test_armed_receiver_hears_of_a_message_once(void) {
        struct pair pair = pair_of_capacity(CAPACITY);
        int data = doorbells_of(pair.ours).data;

        CHECK_EQ(tachyon_bus_arm(pair.ours), 0);
        CHECK_EQ(readable(data), 0);
        CHECK_EQ(try_send(pair.theirs, 10, 1), 0);
        CHECK_EQ(try_send(pair.theirs, 10, 2), 0);
        CHECK_EQ(readable(data), POLLIN);
        CHECK_EQ(stats_of(pair.theirs).doorbells, 1);
        CHECK_EQ(tachyon_bus_arm(pair.ours), 1);
        expect(pair.ours, 10, 1);
        CHECK_EQ(tachyon_bus_arm(pair.ours), 1);
        expect(pair.ours, 10, 2);
        CHECK_EQ(tachyon_bus_arm(pair.ours), 0);
        CHECK_EQ(readable(data), 0);
        pair_free(&pair);
}

static void test_doorbell_for_data_is_left_to_the_receiver(void) {
        struct pair pair = pair_of_capacity(CAPACITY);
        struct doorbells doorbells = doorbells_of(pair.theirs);

        CHECK_EQ(try_send(pair.theirs, LARGE, 1), 0);
        CHECK_EQ(tachyon_bus_arm(pair.theirs), 0);
        CHECK_EQ(try_send(pair.ours, 10, 2), 0);
        CHECK_EQ(tachyon_bus_arm_space(pair.theirs, LARGE), 0);
        CHECK_EQ(readable(doorbells.data), POLLIN);
        CHECK_EQ(readable(doorbells.room), 0);
        expect(pair.ours, LARGE, 1);
        CHECK_EQ(tachyon_bus_arm(pair.ours), 0); /* publishes what was released */
        CHECK_EQ(readable(doorbells.room), POLLIN);
        CHECK_EQ(tachyon_bus_arm(pair.theirs), 1);
        CHECK_EQ(readable(doorbells.room), POLLIN);
        expect(pair.theirs, 10, 2);
        pair_free(&pair);
}

/* ---- for room ----------------------------------------------------------- */

static void test_armed_sender_hears_of_room(void) {
        struct pair pair = pair_of_capacity(CAPACITY);
        int room = doorbells_of(pair.theirs).room;

        CHECK_EQ(tachyon_bus_arm_space(pair.theirs, LARGE), 1);
        CHECK_EQ(try_send(pair.theirs, LARGE, 1), 0);
        CHECK_EQ(try_send(pair.theirs, LARGE, 2), -EAGAIN);
        CHECK_EQ(tachyon_bus_arm_space(pair.theirs, LARGE), 0);
        CHECK_EQ(readable(room), 0);
        expect(pair.ours, LARGE, 1);
        CHECK_EQ(readable(room), POLLIN);
        CHECK_EQ(stats_of(pair.ours).doorbells, 1);
        CHECK_EQ(tachyon_bus_arm_space(pair.theirs, LARGE), 1);
        CHECK_EQ(readable(room), 0);
        CHECK_EQ(try_send(pair.theirs, LARGE, 2), 0);
        expect(pair.ours, LARGE, 2);
        pair_free(&pair);
}

static void test_disarmed_sender_is_not_woken(void) {
        struct pair pair = pair_of_capacity(CAPACITY);
        int room = doorbells_of(pair.theirs).room;

        CHECK_EQ(try_send(pair.theirs, LARGE, 1), 0);
        CHECK_EQ(tachyon_bus_arm_space(pair.theirs, LARGE), 0);
        CHECK_EQ(tachyon_bus_disarm_space(pair.theirs), 0);
        expect(pair.ours, LARGE, 1);
        CHECK_EQ(tachyon_bus_arm(pair.ours), 0);
        CHECK_EQ(readable(room), 0);
        CHECK_EQ(stats_of(pair.ours).doorbells, 0);
        pair_free(&pair);
}

/* What the peer cannot send before a lease is released is our error; what it has given up is not. */
static void test_leases_are_in_the_way_of_armed_senders_only(void) {
        struct pair pair = pair_of_capacity(CAPACITY);
        tachyon_message leased, message;

        CHECK_EQ(try_send(pair.theirs, LARGE, 1), 0);
        CHECK_EQ(tachyon_bus_recv(pair.ours, &leased, 0), 0);
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, 0), -EAGAIN);
        CHECK_EQ(tachyon_bus_arm(pair.ours), 0);
        CHECK_EQ(tachyon_bus_arm_space(pair.theirs, LARGE), 0);
        CHECK_EQ(readable(doorbells_of(pair.ours).data), POLLIN); /* it sleeps, and has to be told */
        CHECK_EQ(tachyon_bus_arm(pair.ours), 1);
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, 0), -TACHYON_ELEASES);
        CHECK_EQ(tachyon_bus_disarm_space(pair.theirs), 0);
        CHECK_EQ(tachyon_bus_recv(pair.ours, &message, 0), -EAGAIN);
        CHECK_EQ(tachyon_bus_release(pair.ours, leased.lease), 0);
        pair_free(&pair);
}

static void test_arming_for_room_refuses_what_can_never_be_sent(void) {
        struct pair pair = pair_of_capacity(CAPACITY);
        void *data;

        CHECK_EQ(tachyon_bus_arm_space(pair.theirs, properties_of(pair.theirs).max_send_size), 1);
        CHECK_EQ(tachyon_bus_arm_space(pair.theirs, properties_of(pair.theirs).max_send_size + 1), -EMSGSIZE);
        CHECK_EQ(tachyon_bus_arm_space(pair.theirs, SIZE_MAX), -EMSGSIZE);
        CHECK_EQ(tachyon_bus_reserve(pair.theirs, &data, 10, 0), 0);
        CHECK_EQ(tachyon_bus_arm_space(pair.theirs, 10), -EBUSY);
        CHECK_EQ(tachyon_bus_cancel(pair.theirs), 0);
        CHECK_EQ(tachyon_bus_arm_space(pair.theirs, 10), 1);
        pair_free(&pair);
}

/* ---- the end ------------------------------------------------------------ */

static void test_close_leaves_nothing_to_sleep_on(void) {
        struct pair pair = pair_of_capacity(CAPACITY);
        int data = -7, room = -7, death = -7;

        tachyon_bus_close(pair.ours);
        CHECK_EQ(tachyon_bus_arm(pair.ours), -ECANCELED);
        CHECK_EQ(tachyon_bus_arm_space(pair.ours, 1), -ECANCELED);
        CHECK_EQ(tachyon_bus_disarm_space(pair.ours), -ECANCELED);
        CHECK_EQ(tachyon_bus_fds(pair.ours, &data, &room, &death), -ECANCELED);
        CHECK_EQ(data, -7);
        CHECK_EQ(room, -7);
        CHECK_EQ(death, -7);
        pair_free(&pair);
}

static void test_forked_child_may_not_arm(void) {
        struct pair pair = pair_of_capacity(CAPACITY);
        pid_t pid = fork_helper();
        int fd;

        if (pid == 0) {
                CHECK_EQ(tachyon_bus_arm(pair.ours), -TACHYON_EFORK);
                CHECK_EQ(tachyon_bus_arm_space(pair.ours, 1), -TACHYON_EFORK);
                CHECK_EQ(tachyon_bus_disarm_space(pair.ours), -TACHYON_EFORK);
                CHECK_EQ(tachyon_bus_fds(pair.ours, &fd, &fd, &fd), -TACHYON_EFORK);
                helper_exit();
        }
        JOIN(pid);
        pair_free(&pair);
}

struct family {
        _Atomic pid_t child;
        _Atomic bool close;
};

static struct family *family;

static void fork_a_child_that_stays(void) {
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0) {
                alarm(WATCHDOG_SECONDS);
                peer_waits(NULL);
        }
        atomic_store(&family->child, pid);
}

static void has_a_child_and_closes(tachyon_bus *bus) {
        fork_a_child_that_stays();
        UNTIL(atomic_load(&family->close));
        tachyon_bus_close(bus);
        peer_waits(bus);
}

static void has_a_child_and_waits(tachyon_bus *bus) {
        fork_a_child_that_stays();
        peer_waits(bus);
}

static void fill_up(tachyon_bus *bus) {
        while (try_send(bus, 1000, 1) == 0)
                ;
        CHECK_EQ(tachyon_bus_arm_space(bus, 1000), 0);
}

static pid_t peer_with_full_ring(tachyon_bus **busp, void (*fn)(tachyon_bus *)) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        pid_t pid;

        options.capacity = options.reply_capacity = CAPACITY;
        pid = peer_start(busp, fn, &options);
        fill_up(*busp);
        return pid;
}

static void test_armed_sender_hears_of_a_close(void) {
        struct pair pair = pair_of_capacity(CAPACITY);

        fill_up(pair.theirs);
        tachyon_bus_close(pair.ours);
        CHECK(readable(doorbells_of(pair.theirs).room));
        CHECK_EQ(tachyon_bus_arm_space(pair.theirs, 1000), 1);
        CHECK_EQ(try_send(pair.theirs, 1000, 1), -TACHYON_ECLOSED);
        pair_free(&pair);
}

/* The child has the peer's descriptors: they do not come to their end by being closed. */
static void test_armed_sender_hears_of_a_close_though_a_child_has_the_sockets(void) {
        tachyon_bus *bus;
        pid_t pid;

        family = shared_page();
        pid = peer_with_full_ring(&bus, has_a_child_and_closes);
        UNTIL(atomic_load(&family->child));
        CHECK_EQ(readable(doorbells_of(bus).room), 0);
        atomic_store(&family->close, true);
        sleep_on(doorbells_of(bus).room, -1);
        CHECK_EQ(tachyon_bus_arm_space(bus, 1000), 1);
        CHECK_EQ(try_send(bus, 1000, 1), -TACHYON_ECLOSED);
        tachyon_bus_free(bus);
        CHECK_EQ(kill(atomic_load(&family->child), SIGKILL), 0);
        kill_and_wait(pid);
}

static void test_armed_sender_hears_of_a_kill(void) {
        tachyon_bus *bus;
        pid_t pid = peer_with_full_ring(&bus, peer_waits);

        kill_and_wait(pid);
        sleep_on(doorbells_of(bus).room, -1);
        CHECK_EQ(tachyon_bus_arm_space(bus, 1000), 1);
        CHECK_EQ(try_send(bus, 1000, 1), -TACHYON_EPEERDEAD);
        tachyon_bus_free(bus);
}

static void test_armed_sender_hears_of_a_kill_though_a_child_has_the_sockets(void) {
        struct doorbells doorbells;
        tachyon_bus *bus;
        pid_t pid;

        family = shared_page();
        pid = peer_with_full_ring(&bus, has_a_child_and_waits);
        UNTIL(atomic_load(&family->child));
        doorbells = doorbells_of(bus);
        kill_and_wait(pid);
        if (properties_of(bus).watches_pid) {
                sleep_on(doorbells.room, doorbells.death);
                CHECK_EQ(readable(doorbells.room), 0);
                CHECK_EQ(tachyon_bus_arm_space(bus, 1000), 1);
                CHECK_EQ(try_send(bus, 1000, 1), -TACHYON_EPEERDEAD);
        }
        tachyon_bus_free(bus);
        CHECK_EQ(kill(atomic_load(&family->child), SIGKILL), 0);
}

/* ---- no doorbell is lost ------------------------------------------------- */

#define ROUNDS 50000

/* Sends as an event loop would, with a full ring most of the time. */
static void sends_from_a_loop(tachyon_bus *bus) {
        struct doorbells doorbells = doorbells_of(bus);
        uint64_t random = 4711;

        for (uint64_t i = 0; i < ROUNDS; i++) {
                uint64_t size = next_random(&random) % 1500;
                int r;

                while ((r = try_send(bus, size, i)) == -EAGAIN) {
                        r = tachyon_bus_arm_space(bus, size);
                        CHECK(r >= 0);
                        if (r == 0)
                                sleep_on(doorbells.room, doorbells.death);
                }
                CHECK_EQ(r, 0);
        }
        CHECK_EQ(tachyon_bus_disarm_space(bus), 0);
}

static void check_all_arrive(const tachyon_options *options) {
        struct doorbells doorbells;
        uint64_t random = 4711;
        tachyon_bus *bus;
        pid_t pid = peer_start(&bus, sends_from_a_loop, options);

        doorbells = doorbells_of(bus);
        for (uint64_t i = 0; i < ROUNDS; i++) {
                tachyon_message message;
                int r;

                while ((r = tachyon_bus_recv(bus, &message, 0)) == -EAGAIN) {
                        r = tachyon_bus_arm(bus);
                        CHECK(r >= 0);
                        if (r == 0)
                                sleep_on(doorbells.data, doorbells.death);
                }
                CHECK_EQ(r, 0);
                CHECK_EQ(message.size, next_random(&random) % 1500);
                CHECK_EQ(message.type_id, i);
                CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
        }
        JOIN(pid);
        CHECK(stats_of(bus).data_sleeps > 0);
        tachyon_bus_free(bus);
}

static void test_two_event_loops_lose_no_doorbell(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;

        options.capacity = CAPACITY;
        check_all_arrive(&options);
}

/* ---- several buses ------------------------------------------------------ */

#define CROWD 5

struct crowd {
        struct pair pairs[CROWD];
        tachyon_bus *buses[CROWD];
        unsigned char ready[CROWD];
};

static void crowd_make(struct crowd *crowd) {
        for (int i = 0; i < CROWD; i++) {
                crowd->pairs[i] = pair_of_capacity(CAPACITY);
                crowd->buses[i] = crowd->pairs[i].ours;
        }
        memset(crowd->ready, 9, sizeof(crowd->ready));
}

static void crowd_free(struct crowd *crowd) {
        for (int i = 0; i < CROWD; i++)
                pair_free(&crowd->pairs[i]);
}

static int crowd_wait(struct crowd *crowd, int64_t timeout_ns) {
        return tachyon_bus_wait_any(crowd->buses, CROWD, crowd->ready, timeout_ns);
}

/* Ready are exactly those whose bit is set. */
static void check_ready(const struct crowd *crowd, unsigned int bits) {
        for (unsigned int i = 0; i < CROWD; i++)
                CHECK_EQ(crowd->ready[i], bits >> i & 1);
}

static void test_wait_any_finds_those_that_are_ready(void) {
        struct crowd crowd;

        crowd_make(&crowd);
        CHECK_EQ(try_send(crowd.pairs[1].theirs, 10, 1), 0);
        CHECK_EQ(try_send(crowd.pairs[4].theirs, 10, 4), 0);
        tachyon_bus_close(crowd.pairs[2].theirs);
        CHECK_EQ(crowd_wait(&crowd, LONG), 3);
        check_ready(&crowd, 1 << 1 | 1 << 2 | 1 << 4);
        expect(crowd.buses[1], 10, 1);
        tachyon_bus_close(crowd.buses[2]);
        CHECK_EQ(crowd_wait(&crowd, 0), 2);
        check_ready(&crowd, 1 << 2 | 1 << 4);
        crowd_free(&crowd);
}

static void test_wait_any_that_finds_none_changes_nothing(void) {
        struct crowd crowd;

        crowd_make(&crowd);
        CHECK_EQ(crowd_wait(&crowd, 0), -EAGAIN);
        CHECK_EQ(crowd_wait(&crowd, 5 * MS), -ETIMEDOUT);
        CHECK_EQ(tachyon_bus_wait_any(crowd.buses, 0, crowd.ready, LONG), -EINVAL);
        crowd.buses[3] = crowd.buses[0];
        CHECK_EQ(crowd_wait(&crowd, LONG), -EBUSY);
        for (int i = 0; i < CROWD; i++)
                CHECK_EQ(crowd.ready[i], 9);
        /* Nobody is left waiting: a message costs no doorbell, and the next wait may come. */
        CHECK_EQ(try_send(crowd.pairs[0].theirs, 10, 1), 0);
        CHECK_EQ(stats_of(crowd.pairs[0].theirs).doorbells, 0);
        CHECK_EQ(tachyon_bus_wait_data(crowd.buses[0], LONG), 0);
        crowd_free(&crowd);
}

static void send_one(void *bus) {
        CHECK_EQ(try_send(bus, 10, 1), 0);
}

static void close_it(void *bus) {
        tachyon_bus_close(bus);
}

static void check_wakes(void (*fn)(void *), struct crowd *crowd, tachyon_bus *bus, unsigned int bits) {
        struct later later;

        when_asleep(&later, fn, bus);
        CHECK_EQ(crowd_wait(crowd, LONG), 1);
        thread_join(later.thread);
        check_ready(crowd, bits);
}

static void test_wait_any_is_woken_by_any(void) {
        struct crowd crowd;

        crowd_make(&crowd);
        check_wakes(send_one, &crowd, crowd.pairs[3].theirs, 1 << 3);
        expect(crowd.buses[3], 10, 1);
        check_wakes(close_it, &crowd, crowd.pairs[0].theirs, 1 << 0);
        crowd.buses[0] = crowd.pairs[3].theirs; /* its other end is in the crowd, too */
        check_wakes(close_it, &crowd, crowd.pairs[1].ours, 1 << 1);
        crowd_free(&crowd);
}

static void test_wait_any_is_interrupted_by_a_signal(void) {
        struct interrupter interrupter;
        struct crowd crowd;

        crowd_make(&crowd);
        interrupter_start(&interrupter);
        CHECK_EQ(crowd_wait(&crowd, LONG), -EINTR);
        interrupter_stop(&interrupter);
        crowd_free(&crowd);
}

static void test_wait_any_hears_of_a_kill(void) {
        struct crowd crowd;
        tachyon_bus *bus;
        pid_t pid = peer_of_capacity(&bus, peer_waits, CAPACITY);

        crowd_make(&crowd);
        crowd.buses[2] = bus;
        CHECK_EQ(crowd_wait(&crowd, 0), -EAGAIN);
        kill_and_wait(pid);
        CHECK_EQ(crowd_wait(&crowd, LONG), 1);
        check_ready(&crowd, 1 << 2);
        tachyon_bus_free(bus);
        crowd_free(&crowd);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_armed_receiver_hears_of_a_message_once);
        RUN(test_doorbell_for_data_is_left_to_the_receiver);
        RUN(test_armed_sender_hears_of_room);
        RUN(test_disarmed_sender_is_not_woken);
        RUN(test_leases_are_in_the_way_of_armed_senders_only);
        RUN(test_arming_for_room_refuses_what_can_never_be_sent);
        RUN(test_close_leaves_nothing_to_sleep_on);
        RUN(test_forked_child_may_not_arm);
        RUN(test_armed_sender_hears_of_a_close);
        RUN(test_armed_sender_hears_of_a_close_though_a_child_has_the_sockets);
        RUN(test_armed_sender_hears_of_a_kill);
        RUN(test_armed_sender_hears_of_a_kill_though_a_child_has_the_sockets);
        RUN(test_two_event_loops_lose_no_doorbell);
        RUN(test_wait_any_finds_those_that_are_ready);
        RUN(test_wait_any_that_finds_none_changes_nothing);
        RUN(test_wait_any_is_woken_by_any);
        RUN(test_wait_any_is_interrupted_by_a_signal);
        RUN(test_wait_any_hears_of_a_kill);
        return tests_end();
}
