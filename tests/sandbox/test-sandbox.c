/* SPDX-License-Identifier: MIT */
/*
 * Buses in a sandbox: data flows with the few system calls of DATA_PATH and no
 * others (whatever else is called kills the process), and where the kernel or a
 * filter refuses what is better but not needed, the fallback is taken.
 */
#include "../test-bus.h"

#include <sys/un.h>

#include "filter.h"

#define COUNT 3000
#define DENY(...) \
        do { \
                const struct filter_rule rules[] = { __VA_ARGS__ }; \
                CHECK_EQ(filter_install(rules, sizeof(rules) / sizeof(*rules), SECCOMP_RET_ALLOW), 0); \
        } while (0)
#define ONLY(...) \
        do { \
                const struct filter_rule rules[] = { __VA_ARGS__ }; \
                CHECK_EQ(filter_install(rules, sizeof(rules) / sizeof(*rules), SECCOMP_RET_KILL_PROCESS), 0); \
        } while (0)

static const tachyon_options *sleeping(int64_t spin_ns) {
        static tachyon_options options;

        options = (tachyon_options)TACHYON_OPTIONS_INIT;
        options.capacity = 4096;
        options.spin_ns = spin_ns;
        return &options;
}

/* Every call that moves data, and every kind of wait: the peer does the same in another order. */
static void talk(tachyon_bus *bus, bool first) {
        unsigned char data[2000];
        tachyon_message message;
        uint32_t type_id;
        void *place;

        for (uint32_t i = 0; i < COUNT; i++) {
                uint64_t size = 1 + i % sizeof(data);

                if (first || i) { /* one of us begins */
                        fill(data, size, i);
                        if (i % 2) {
                                CHECK_EQ(tachyon_bus_send(bus, data, size, i, LONG), 0);
                        } else {
                                CHECK_EQ(tachyon_bus_reserve(bus, &place, size, LONG), 0);
                                memcpy(place, data, size);
                                CHECK_EQ(tachyon_bus_commit(bus, size, i), 0);
                        }
                }
                if (i % 3) {
                        CHECK_EQ(tachyon_bus_recv(bus, &message, LONG), 0);
                        CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
                } else {
                        CHECK(tachyon_bus_recv_copy(bus, data, sizeof(data), &type_id, LONG) > 0);
                }
        }
        if (!first) {
                fill(data, 1, 0);
                CHECK_EQ(tachyon_bus_send(bus, data, 1, COUNT, LONG), 0);
        }
}

/* More than fits, to a peer that takes its time: waits for room. */
static void flood(tachyon_bus *bus, bool first) {
        unsigned char data[1000] = { 0 };
        tachyon_message message;

        for (int i = 0; i < COUNT; i++) {
                if (first) {
                        CHECK_EQ(tachyon_bus_send(bus, data, sizeof(data), 1, LONG), 0);
                } else {
                        CHECK_EQ(tachyon_bus_recv(bus, &message, LONG), 0);
                        CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
                }
        }
}

/* ---- only the data path -------------------------------------------------- */

static void only_data(tachyon_bus *bus) {
        tachyon_message message;

        ONLY(DATA_PATH);
        talk(bus, false);
        flood(bus, false);
        flood(bus, true);
        CHECK_EQ(tachyon_bus_recv(bus, &message, 1000), -ETIMEDOUT);
        CHECK_EQ(tachyon_bus_recv(bus, &message, 0), -EAGAIN);
        _exit(0);
}

static void flows_with_data_path_only(int64_t spin_ns) {
        tachyon_bus *bus;
        pid_t pid = peer_start(&bus, only_data, sleeping(spin_ns));

        /* The case's process has descriptors to count at its end: one side is confined, the other is not. */
        talk(bus, true);
        flood(bus, true);
        flood(bus, false);
        JOIN(pid);
        tachyon_bus_free(bus);
}

static void test_data_flows_where_all_else_kills(void) {
        flows_with_data_path_only(-1);
}

static void test_data_flows_while_spinning(void) {
        flows_with_data_path_only(20000);
}

static void data_and_close(tachyon_bus *bus) {
        ONLY(DATA_PATH, CLOSE_PATH);
        talk(bus, false);
        tachyon_bus_close(bus);
        _exit(0);
}

static void test_closing_needs_four_more(void) {
        tachyon_message message;
        tachyon_bus *bus;
        pid_t pid = peer_start(&bus, data_and_close, sleeping(-1));

        talk(bus, true);
        CHECK_EQ(tachyon_bus_recv(bus, &message, LONG), -TACHYON_ECLOSED);
        JOIN(pid);
        tachyon_bus_free(bus);
}

static void forbidden(tachyon_bus *bus) {
        ONLY(DATA_PATH);
        tachyon_bus_close(bus); /* needs shutdown() */
        _exit(0);
}

/* That the filter filters at all. */
static void test_all_else_kills(void) {
        tachyon_bus *bus;
        pid_t pid = peer_start(&bus, forbidden, sleeping(-1));
        int status = wait_status(pid);

        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
        tachyon_bus_free(bus);
}

/* ---- what is better, but not needed -------------------------------------- */

static void talks(tachyon_bus *bus) {
        talk(bus, false);
}

static void test_without_membarrier_there_are_fences(void) {
        tachyon_bus *bus;
        pid_t pid;

        DENY(FAILS(membarrier, EPERM));
        pid = peer_start(&bus, talks, sleeping(-1));
        CHECK_EQ(properties_of(bus).barrier, 0);
        talk(bus, true);
        JOIN(pid);
        tachyon_bus_free(bus);
}

/* Registered, and refused later: sleeps are bounded, and the peer is asked for fences. */
static void loses_membarrier(tachyon_bus *bus) {
        if (!properties_of(bus).barrier)
                printf("there is no membarrier here to lose\n");
        DENY(FAILS(membarrier, EPERM));
        talk(bus, false);
}

static void test_membarrier_lost_on_the_way(void) {
        tachyon_bus *bus;
        pid_t pid = peer_start(&bus, loses_membarrier, sleeping(-1));

        talk(bus, true);
        CHECK_EQ(properties_of(bus).barrier, 0); /* it was asked to */
        JOIN(pid);
        tachyon_bus_free(bus);
}

static void test_without_pidfds_the_socket_tells(void) {
        tachyon_message message;
        tachyon_bus *bus;
        pid_t pid;

        DENY(FAILS(pidfd_open, EPERM), FAILS_WITH(getsockopt, ENOPROTOOPT, 2, UINT32_MAX, 77 /* SO_PEERPIDFD */));
        pid = peer_start(&bus, peer_waits, sleeping(-1));
        CHECK_EQ(properties_of(bus).watches_pid, 0);
        kill_and_wait(pid);
        CHECK_EQ(tachyon_bus_recv(bus, &message, LONG), -TACHYON_EPEERDEAD);
        tachyon_bus_free(bus);
}

static void test_without_peerpidfd_there_is_pidfd_open(void) {
        tachyon_bus *bus;
        pid_t pid;

        DENY(FAILS_WITH(getsockopt, ENOPROTOOPT, 2, UINT32_MAX, 77 /* SO_PEERPIDFD */));
        pid = peer_start(&bus, talks, sleeping(-1));
        CHECK_EQ(properties_of(bus).watches_pid, 1);
        talk(bus, true);
        JOIN(pid);
        tachyon_bus_free(bus);
}

static void test_memfd_without_the_noexec_seal(void) {
        tachyon_bus *bus;
        pid_t pid;

        DENY(FAILS_WITH(memfd_create, EINVAL, 1, 8 /* MFD_NOEXEC_SEAL */, 8));
        pid = peer_start(&bus, talks, sleeping(-1));
        CHECK_EQ(properties_of(bus).isolation, 1);
        talk(bus, true);
        JOIN(pid);
        tachyon_bus_free(bus);
}

static void test_memfd_without_huge_pages(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        tachyon_bus *bus;
        pid_t pid;

        options.capacity = 2 << 20;
        options.flags = TACHYON_HUGE_PAGES;
        DENY(FAILS_WITH(memfd_create, EPERM, 1, 4 /* MFD_HUGETLB */, 4));
        pid = peer_start(&bus, talks, &options);
        CHECK_EQ(properties_of(bus).huge_pages, 0);
        talk(bus, true);
        JOIN(pid);
        tachyon_bus_free(bus);
}

static void test_without_any_memfd_there_is_an_error(void) {
        tachyon_bus *bus;
        struct connecting connecting;

        DENY(FAILS(memfd_create, EPERM));
        connecting_start(&connecting, path_of("peer"), sleeping(-1));
        CHECK_EQ(tachyon_bus_listen(&bus, path_of("peer"), sleeping(-1), SECOND), -EPERM);
        CHECK_DETAIL("shared memory");
        thread_join(connecting.thread);
        CHECK(connecting.result < 0);
}

static void test_madvise_and_setsockopt_are_not_needed(void) {
        tachyon_options options = *sleeping(-1);
        tachyon_bus *bus;
        pid_t pid;

        options.flags = TACHYON_PREFAULT;
        DENY(FAILS(madvise, EPERM), FAILS(setsockopt, EPERM));
        pid = peer_start(&bus, talks, &options);
        talk(bus, true);
        JOIN(pid);
        tachyon_bus_free(bus);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_data_flows_where_all_else_kills);
        RUN(test_data_flows_while_spinning);
        RUN(test_closing_needs_four_more);
        RUN(test_all_else_kills);
        RUN(test_without_membarrier_there_are_fences);
        RUN(test_membarrier_lost_on_the_way);
        RUN(test_without_pidfds_the_socket_tells);
        RUN(test_without_peerpidfd_there_is_pidfd_open);
        RUN(test_memfd_without_the_noexec_seal);
        RUN(test_memfd_without_huge_pages);
        RUN(test_without_any_memfd_there_is_an_error);
        RUN(test_madvise_and_setsockopt_are_not_needed);
        return tests_end();
}
