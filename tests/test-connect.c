/* SPDX-License-Identifier: MIT */
/* Connecting: waiting for a listener, telling apart what is there instead, and running out of descriptors. */
#include "test-bus.h"

static int connect_at(const char *path, int64_t timeout_ns) {
        tachyon_bus *bus = (void *)&path;
        int r = tachyon_bus_connect(&bus, path, NULL, timeout_ns);

        CHECK(r < 0 && bus == (void *)&path);
        CHECK(*tachyon_error_detail());
        return r;
}

static void test_nobody_there(void) {
        const char *path = path_of("nobody");
        int64_t begin = clock_ns();

        CHECK_EQ(connect_at(path, 0), -EAGAIN);
        CHECK_EQ(connect_at(path, 20 * MS), -ETIMEDOUT);
        CHECK_DETAIL(path);
        CHECK(clock_ns() - begin >= 20 * MS);
}

static void test_a_dead_socket_is_nobody(void) {
        const char *path = path_of("dead");

        close(bind_plain(path, SOCK_STREAM));
        CHECK_EQ(connect_at(path, 0), -EAGAIN);
        CHECK_EQ(connect_at(path, 10 * MS), -ETIMEDOUT);
}

static void test_what_is_there_instead(void) {
        char path[200];

        CHECK_EQ(mkdir(path_of("folder"), 0700), 0);
        CHECK_EQ(connect_at(path_of("folder"), LONG), -ENOTSOCK);
        CHECK_DETAIL("folder");
        close(open(path_of("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        CHECK_EQ(connect_at(path_of("file"), LONG), -ENOTSOCK);
        CHECK_EQ(connect_at("", LONG), -EINVAL);
        memset(path, 'x', sizeof(path));
        path[108] = 0;
        CHECK_EQ(connect_at(path, LONG), -ENAMETOOLONG);
}

static void test_a_socket_of_another_kind(void) {
        int fd = bind_plain(path_of("datagrams"), SOCK_DGRAM);

        CHECK_EQ(connect_at(path_of("datagrams"), LONG), -EPROTO);
        close(fd);
}

/* It took the connection, and lets us wait; or speaks another language. */
static void test_a_listener_that_does_not_answer(void) {
        int fd = bind_plain(path_of("mute"), SOCK_STREAM);

        CHECK_EQ(listen(fd, 5), 0);
        CHECK_EQ(connect_at(path_of("mute"), 20 * MS), -ETIMEDOUT);
        CHECK_DETAIL("accept");
        close(fd);
}

static void *speak_http(void *context) {
        char answer[256] = "HTTP/1.1 400 Bad Request\r\n\r\n";
        int fd = accept4(*(int *)context, NULL, NULL, SOCK_CLOEXEC);

        CHECK(fd >= 0);
        CHECK_EQ(send(fd, answer, sizeof(answer), MSG_NOSIGNAL), sizeof(answer));
        CHECK(recv(fd, answer, sizeof(answer), 0) >= 0);
        close(fd);
        return NULL;
}

static void test_a_listener_of_another_language(void) {
        int fd = bind_plain(path_of("http"), SOCK_STREAM);
        pthread_t thread;

        CHECK_EQ(listen(fd, 5), 0);
        thread = thread_start(speak_http, &fd);
        CHECK_EQ(connect_at(path_of("http"), LONG), -EPROTO);
        CHECK_DETAIL("tachyon");
        thread_join(thread);
        close(fd);
}

static void listen_late(void *context) {
        tachyon_bus **busp = context;

        CHECK_EQ(tachyon_bus_listen(busp, path_of("late"), NULL, LONG), 0);
}

static void test_waits_for_a_listener_to_appear(void) {
        struct later later;
        struct pair pair;

        when_asleep(&later, listen_late, &pair.ours);
        CHECK_EQ(tachyon_bus_connect(&pair.theirs, path_of("late"), NULL, -1), 0);
        thread_join(later.thread);
        CHECK_EQ(folder_entries(test_folder), 0); /* the path is free as soon as one has come */
        send_pattern(pair.ours, 10, 1);
        expect(pair.theirs, 10, 1);
        pair_free(&pair);
}

/* ---- a listener that dies ----------------------------------------------- */

static void listen_and_pause(const char *path, const char *sign) {
        tachyon_listener *listener;

        alarm(WATCHDOG_SECONDS);
        CHECK_EQ(tachyon_listener_create(&listener, path, NULL), 0);
        close(open(sign, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        for (;;)
                pause();
}

struct death {
        pid_t pid;
        int64_t at;
};

static void kill_listener(void *context) {
        struct death *death = context;

        death->at = clock_ns();
        CHECK_EQ(kill(death->pid, SIGKILL), 0);
}

static int64_t killed_while_connecting(void) {
        const char *path = path_of("bus"), *sign = path_of("listens");
        struct later later;
        struct death death = { .pid = fork_helper() };

        if (death.pid == 0)
                listen_and_pause(path, sign);
        UNTIL(exists(sign));
        when_asleep(&later, kill_listener, &death);
        CHECK_EQ(connect_at(path, -1), -ECONNREFUSED);
        death.at = clock_ns() - death.at;
        thread_join(later.thread);
        wait_status(death.pid);
        unlink(sign);
        unlink(path);
        return death.at;
}

/* Within 100 ms; on a busy machine not each time, but soon. */
static void test_a_listener_that_is_killed(void) {
        int64_t best = INT64_MAX;

        for (int i = 0; i < 5 && best > 100 * MS; i++) {
                int64_t took = killed_while_connecting();

                best = took < best ? took : best;
        }
        CHECK(best <= 100 * MS);
}

/* ---- one descriptor more at a time -------------------------------------- */

#define ENOUGH 100

/* Ends with 0 where it got a bus, 1 after an error of the list; either way with nothing left open. */
static void connect_with(int descriptors) {
        int fds = fd_count(), r;
        rlim_t old = limit_resource(RLIMIT_NOFILE, (rlim_t)(fd_lowest() + descriptors));
        tachyon_bus *bus = NULL;

        r = tachyon_bus_connect(&bus, path_of("bus"), NULL, 500 * MS);
        limit_resource(RLIMIT_NOFILE, old);
        CHECK(r == 0 || r == -EMFILE || r == -ECONNREFUSED || r == -ETIMEDOUT);
        if (r == 0)
                send_pattern(bus, 10, 1);
        tachyon_bus_free(bus);
        CHECK_EQ(fd_count(), fds);
        CHECK_EQ(mapping_count(), 0);
        if (r == 0)
                helper_exit();
        _exit(7);
}

/* With so many descriptors left to the listener, and to the connector, another process. */
static bool meet_with(int ours, int theirs) {
        tachyon_listener *listener;
        tachyon_bus *bus = NULL;
        int fds = fd_count(), r, status;
        pid_t pid = fork_helper();
        rlim_t old;

        if (pid == 0)
                connect_with(theirs);
        CHECK_EQ(tachyon_listener_create(&listener, path_of("bus"), NULL), 0);
        old = limit_resource(RLIMIT_NOFILE, (rlim_t)(fd_lowest() + ours));
        while ((r = tachyon_listener_accept(listener, &bus, 2 * MS)) < 0 && waitpid(pid, &status, WNOHANG) == 0)
                CHECK(r == -ETIMEDOUT || r == -EMFILE);
        limit_resource(RLIMIT_NOFILE, old);
        if (r == 0) {
                expect(bus, 10, 1);
                status = wait_status(pid);
        }
        tachyon_bus_free(bus);
        tachyon_listener_free(listener);
        CHECK_EQ(fd_count(), fds);
        CHECK_EQ(mapping_count(), 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == (r == 0 ? 0 : 7));
        return r == 0;
}

static void test_every_limit_of_descriptors_of_the_listener(void) {
        int n = 0;

        while (!meet_with(n, ENOUGH))
                n++;
        CHECK(n >= 3 && n < 10); /* socket, process and room at the least */
        CHECK(meet_with(n, ENOUGH));
}

static void test_every_limit_of_descriptors_of_the_connector(void) {
        int n = 0;

        while (!meet_with(ENOUGH, n))
                n++;
        CHECK(n >= 3 && n < 10);
        CHECK(meet_with(ENOUGH, n));
}

static void test_every_limit_of_descriptors_of_creating(void) {
        tachyon_listener *listener = NULL;

        for (rlim_t n = 0; n < 3; n++) { /* lock, socket, epoll */
                int fds = fd_count();
                rlim_t old = limit_resource(RLIMIT_NOFILE, (rlim_t)fd_lowest() + n);

                CHECK_EQ(tachyon_listener_create(&listener, path_of("bus"), NULL), -EMFILE);
                limit_resource(RLIMIT_NOFILE, old);
                CHECK_EQ(fd_count(), fds);
                CHECK_EQ(folder_entries(test_folder), 0);
        }
        CHECK_EQ(tachyon_listener_create(&listener, path_of("bus"), NULL), 0);
        tachyon_listener_free(listener);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_nobody_there);
        RUN(test_a_dead_socket_is_nobody);
        RUN(test_what_is_there_instead);
        RUN(test_a_socket_of_another_kind);
        RUN(test_a_listener_that_does_not_answer);
        RUN(test_a_listener_of_another_language);
        RUN(test_waits_for_a_listener_to_appear);
        RUN(test_a_listener_that_is_killed);
        RUN_WITH_REAL_LIMITS(test_every_limit_of_descriptors_of_the_listener);
        RUN_WITH_REAL_LIMITS(test_every_limit_of_descriptors_of_the_connector);
        RUN_WITH_REAL_LIMITS(test_every_limit_of_descriptors_of_creating);
        return tests_end();
}
