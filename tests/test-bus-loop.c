/* SPDX-License-Identifier: MIT */
/* Waiting for more than one thing: descriptors in an event loop, and several buses at once. */
#include "test-bus.h"

#include <sys/epoll.h>

#define PAGE 4096u
#define LARGEST (PAGE - 128)

/* ---- descriptors -------------------------------------------------------- */

struct loop {
        int epoll, data_fd, room_fd, death_fd;
};

static void loop_add(const struct loop *loop, int fd) {
        struct epoll_event event = { .events = EPOLLIN };

        CHECK_EQ(epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event), 0);
}

static struct loop loop_open(tachyon_bus *bus, bool room) {
        struct loop loop = { .epoll = epoll_create1(EPOLL_CLOEXEC) };

        CHECK_EQ(tachyon_bus_fds(bus, &loop.data_fd, &loop.room_fd, &loop.death_fd), 0);
        loop_add(&loop, room ? loop.room_fd : loop.data_fd);
        if (loop.death_fd >= 0)
                loop_add(&loop, loop.death_fd);
        return loop;
}

static bool loop_readable(const struct loop *loop, int timeout_ms) {
        struct epoll_event event;

        return epoll_wait(loop->epoll, &event, 1, timeout_ms) > 0;
}

static void produce(tachyon_bus *bus) {
        for (uint64_t i = 0; i < 3000; i++)
                send_pattern(bus, i % 100, i);
}

static void test_event_loop_receives_all_then_the_end(void) {
        tachyon_message message;
        tachyon_bus *bus;
        pid_t pid = peer_of_capacity(&bus, produce, PAGE);
        struct loop loop = loop_open(bus, false);
        uint64_t next = 0;
        int r = 0;

        while (r != -TACHYON_ECLOSED) {
                r = tachyon_bus_arm(bus);
                CHECK(r >= 0);
                if (r == 0)
                        CHECK(loop_readable(&loop, -1));
                while ((r = tachyon_bus_recv(bus, &message, 0)) == 0) {
                        CHECK_EQ(message.type_id, next);
                        CHECK(matches(message.data, next % 100, next));
                        CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
                        next++;
                }
                CHECK(r == -EAGAIN || r == -TACHYON_ECLOSED);
        }
        CHECK_EQ(next, 3000);
        JOIN(pid);
        close(loop.epoll);
        tachyon_bus_free(bus);
}

static void consume(tachyon_bus *bus) {
        for (uint64_t i = 0; i < 3000; i++)
                expect(bus, i % 500, i);
}

static void test_event_loop_sends_all(void) {
        tachyon_bus *bus;
        pid_t pid = peer_of_capacity(&bus, consume, PAGE);
        struct loop loop = loop_open(bus, true);
        unsigned char data[500];

        for (uint64_t i = 0; i < 3000; i++) {
                int r;

                fill(data, i % 500, i);
                while ((r = tachyon_bus_send(bus, data, i % 500, (uint32_t)i, 0)) == -EAGAIN) {
                        if (tachyon_bus_arm_space(bus, i % 500) == 0)
                                CHECK(loop_readable(&loop, -1));
                        CHECK_EQ(tachyon_bus_disarm_space(bus), 0);
                }
                CHECK_EQ(r, 0);
        }
        JOIN(pid);
        close(loop.epoll);
        tachyon_bus_free(bus);
}

static void test_arm_rings_once(void) {
        struct pair pair = pair_of_capacity(PAGE);
        struct loop loop = loop_open(pair.ours, false);

        send_pattern(pair.theirs, 1, 1);
        CHECK(!loop_readable(&loop, 0)); /* nobody asked */
        CHECK_EQ(tachyon_bus_arm(pair.ours), 1);
        expect(pair.ours, 1, 1);
        CHECK_EQ(tachyon_bus_arm(pair.ours), 0);
        CHECK(!loop_readable(&loop, 0));
        for (int i = 0; i < 5; i++)
                send_pattern(pair.theirs, 1, 2);
        CHECK(loop_readable(&loop, 0));
        CHECK_EQ(stats_of(pair.theirs).doorbells, 1);
        for (int i = 0; i < 5; i++)
                expect(pair.ours, 1, 2);
        CHECK_EQ(tachyon_bus_arm(pair.ours), 0);
        CHECK(!loop_readable(&loop, 0)); /* arm took the byte */
        tachyon_bus_close(pair.theirs);
        CHECK(loop_readable(&loop, 0));
        CHECK_EQ(tachyon_bus_arm(pair.ours), 1);
        close(loop.epoll);
        pair_free(&pair);
}

static void test_arm_space_rings_when_there_is_room(void) {
        struct pair pair = pair_of_capacity(PAGE);
        struct loop loop = loop_open(pair.ours, true);
        void *data;

        CHECK_EQ(tachyon_bus_arm_space(pair.ours, LARGEST + 1), -EMSGSIZE);
        CHECK_EQ(tachyon_bus_arm_space(pair.ours, LARGEST), 1);
        send_pattern(pair.ours, 1000, 1);
        send_pattern(pair.ours, 1000, 2);
        CHECK_EQ(tachyon_bus_arm_space(pair.ours, 1000), 1);
        CHECK_EQ(tachyon_bus_arm_space(pair.ours, LARGEST), 0);
        CHECK(!loop_readable(&loop, 0));
        expect(pair.theirs, 1000, 1);
        expect(pair.theirs, 1000, 2);
        CHECK(loop_readable(&loop, 0));
        CHECK_EQ(tachyon_bus_arm_space(pair.ours, LARGEST), 1);
        CHECK(!loop_readable(&loop, 0));
        CHECK_EQ(tachyon_bus_disarm_space(pair.ours), 0);
        CHECK_EQ(tachyon_bus_reserve(pair.ours, &data, 1, 0), 0);
        CHECK_EQ(tachyon_bus_arm_space(pair.ours, 1), -EBUSY);
        CHECK_EQ(tachyon_bus_cancel(pair.ours), 0);
        close(loop.epoll);
        pair_free(&pair);
}

/* Who has leases is told of a peer that waits for their room, and of one that does no longer, is not. */
static void test_an_armed_sender_and_leases(void) {
        struct pair pair = pair_of_capacity(PAGE);
        tachyon_message leased, message;

        send_pattern(pair.ours, 1000, 1);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &leased, 0), 0);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, 0), -EAGAIN);
        CHECK_EQ(tachyon_bus_arm_space(pair.ours, LARGEST), 0);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, -1), -TACHYON_ELEASES);
        CHECK_EQ(tachyon_bus_disarm_space(pair.ours), 0);
        CHECK_EQ(tachyon_bus_recv(pair.theirs, &message, 0), -EAGAIN);
        CHECK_EQ(tachyon_bus_release(pair.theirs, leased.lease), 0);
        pair_free(&pair);
}

static void test_descriptors_after_the_end(void) {
        struct pair pair = pair_of_capacity(PAGE);
        int fds[3] = { -7, -7, -7 };

        tachyon_bus_close(pair.ours);
        CHECK_EQ(tachyon_bus_fds(pair.ours, &fds[0], &fds[1], &fds[2]), -ECANCELED);
        CHECK(fds[0] == -7 && fds[1] == -7 && fds[2] == -7);
        CHECK_EQ(tachyon_bus_arm(pair.ours), -ECANCELED);
        CHECK_EQ(tachyon_bus_arm_space(pair.ours, 1), -ECANCELED);
        CHECK_EQ(tachyon_bus_disarm_space(pair.ours), -ECANCELED);
        CHECK_EQ(tachyon_bus_arm(pair.theirs), 1); /* the news of the end */
        CHECK_EQ(tachyon_bus_arm_space(pair.theirs, 1), 1);
        pair_free(&pair);
}

/* ---- several buses ------------------------------------------------------ */

#define CROWD 5

static void crowd_make(struct pair *pairs, tachyon_bus **buses) {
        for (int i = 0; i < CROWD; i++) {
                pairs[i] = pair_of_capacity(PAGE);
                buses[i] = pairs[i].ours;
        }
}

static void crowd_free(struct pair *pairs) {
        for (int i = 0; i < CROWD; i++)
                pair_free(&pairs[i]);
}

static void test_wait_any_names_those_that_are_ready(void) {
        struct pair pairs[CROWD];
        tachyon_bus *buses[CROWD];
        unsigned char ready[CROWD];

        crowd_make(pairs, buses);
        memset(ready, 7, sizeof(ready));
        CHECK_EQ(tachyon_bus_wait_any(buses, 0, ready, 0), -EINVAL);
        CHECK_EQ(tachyon_bus_wait_any(buses, CROWD, ready, 0), -EAGAIN);
        CHECK_EQ(tachyon_bus_wait_any(buses, CROWD, ready, 5 * MS), -ETIMEDOUT);
        CHECK_EQ(ready[0], 7);
        send_pattern(pairs[1].theirs, 1, 1);
        tachyon_bus_close(pairs[3].theirs);
        tachyon_bus_close(pairs[4].ours);
        CHECK_EQ(tachyon_bus_wait_any(buses, CROWD, ready, -1), 3);
        CHECK(memcmp(ready, (const unsigned char[]){ 0, 1, 0, 1, 1 }, CROWD) == 0);
        buses[2] = buses[0];
        CHECK_EQ(tachyon_bus_wait_any(buses, 3, ready, 0), -EBUSY); /* there twice */
        expect(pairs[1].ours, 1, 1); /* nobody is left occupied */
        crowd_free(pairs);
}

static void send_one(void *bus) {
        CHECK_EQ(tachyon_bus_send(bus, "hello", 5, 5, -1), 0);
}

static void close_bus(void *bus) {
        tachyon_bus_close(bus);
}

static void test_wait_any_is_woken(void) {
        struct pair pairs[CROWD];
        tachyon_bus *buses[CROWD];
        unsigned char ready[CROWD];
        struct interrupter interrupter;
        struct later later;

        crowd_make(pairs, buses);
        for (int i = 0; i < 3 * CROWD; i++) {
                tachyon_message message;

                when_asleep(&later, send_one, pairs[i % CROWD].theirs);
                CHECK_EQ(tachyon_bus_wait_any(buses, CROWD, ready, -1), 1);
                thread_join(later.thread);
                CHECK_EQ(ready[i % CROWD], 1);
                CHECK_EQ(tachyon_bus_recv(buses[i % CROWD], &message, 0), 0);
                CHECK_EQ(tachyon_bus_release(buses[i % CROWD], message.lease), 0);
        }
        interrupter_start(&interrupter);
        CHECK_EQ(tachyon_bus_wait_any(buses, CROWD, ready, -1), -EINTR);
        interrupter_stop(&interrupter);
        when_asleep(&later, close_bus, pairs[2].ours); /* our own end */
        CHECK_EQ(tachyon_bus_wait_any(buses, CROWD, ready, -1), 1);
        thread_join(later.thread);
        CHECK_EQ(ready[2], 1);
        when_asleep(&later, close_bus, pairs[0].theirs);
        CHECK_EQ(tachyon_bus_wait_any(buses, 2, ready, -1), 1);
        thread_join(later.thread);
        CHECK_EQ(ready[0], 1);
        crowd_free(pairs);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_event_loop_receives_all_then_the_end);
        RUN(test_event_loop_sends_all);
        RUN(test_arm_rings_once);
        RUN(test_arm_space_rings_when_there_is_room);
        RUN(test_an_armed_sender_and_leases);
        RUN(test_descriptors_after_the_end);
        RUN(test_wait_any_names_those_that_are_ready);
        RUN(test_wait_any_is_woken);
        return tests_end();
}
