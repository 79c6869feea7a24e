/* SPDX-License-Identifier: MIT */
/* Paths and who owns them, and accepting: good connectors get in, whatever the others do. */
#include "test-bus.h"

static tachyon_listener *listener_at(const char *path, const tachyon_options *options) {
        tachyon_listener *listener = NULL;

        CHECK_EQ(tachyon_listener_create(&listener, path, options), 0);
        return listener;
}

static tachyon_bus *accept_one(tachyon_listener *listener) {
        tachyon_bus *bus = NULL;

        CHECK_EQ(tachyon_listener_accept(listener, &bus, LONG), 0);
        return bus;
}

/* What cannot be created leaves everything as it was. */
static void create_fails(const char *path, int error) {
        tachyon_listener *listener = NULL;

        CHECK_EQ(tachyon_listener_create(&listener, path, NULL), -error);
        CHECK(*tachyon_error_detail());
        CHECK(!listener);
}

/* A connector gets in, and a message through. */
static void serves(tachyon_listener *listener, const char *path) {
        struct connecting connecting;
        struct pair pair;

        connecting_start(&connecting, path, NULL);
        pair.ours = accept_one(listener);
        pair.theirs = connecting_finish(&connecting);
        send_pattern(pair.theirs, 1000, 1);
        expect(pair.ours, 1000, 1);
        pair_free(&pair);
}

/* ---- the path ----------------------------------------------------------- */

static void check_mode(mode_t mask, uint32_t mode, mode_t expected) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        const char *path = path_of("mode");
        tachyon_listener *listener;
        struct stat st;

        options.socket_mode = mode;
        umask(mask);
        listener = listener_at(path, &options);
        CHECK_EQ(lstat(path, &st), 0);
        CHECK(S_ISSOCK(st.st_mode));
        CHECK_EQ(st.st_mode & 0777, expected);
        CHECK_EQ(umask(mask), mask);
        tachyon_listener_free(listener);
        CHECK_EQ(folder_entries(test_folder), 0);
}

static void test_socket_mode_is_independent_of_the_umask(void) {
        const mode_t masks[] = { 0, 022, 077, 0777 };

        for (size_t i = 0; i < 4; i++) {
                check_mode(masks[i], 0, 0600);
                check_mode(masks[i], 0666, 0666);
                check_mode(masks[i], 0660, 0660);
        }
}

static void test_live_path_is_refused(void) {
        const char *path = path_of("bus");
        tachyon_listener *listener = listener_at(path, NULL);

        create_fails(path, EADDRINUSE);
        CHECK_DETAIL(path);
        serves(listener, path);
        tachyon_listener_close(listener);
        CHECK_EQ(folder_entries(test_folder), 0);
        tachyon_listener_close(listener);
        tachyon_listener_free(listener);
        listener = listener_at(path, NULL);
        tachyon_listener_free(listener);
        CHECK_EQ(folder_entries(test_folder), 0);
}

static void test_live_foreign_socket_is_refused(void) {
        const char *path = path_of("bus");
        int fd = bind_plain(path, SOCK_STREAM);

        CHECK_EQ(listen(fd, 1), 0);
        create_fails(path, EADDRINUSE);
        CHECK(exists(path));
        close(fd);
        /* Now it is a dead one. */
        tachyon_listener_free(listener_at(path, NULL));
        CHECK_EQ(folder_entries(test_folder), 0);
}

static void write_file(const char *path, const char *text) {
        FILE *file = fopen(path, "we");

        CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static bool file_holds(const char *path, const char *text) {
        char content[64] = "";
        FILE *file = fopen(path, "re");
        bool same;

        if (!file)
                return false;
        same = fgets(content, sizeof(content), file) && strcmp(content, text) == 0;
        fclose(file);
        return same;
}

static void test_what_is_no_socket_is_kept(void) {
        const char *path = path_of("bus");

        write_file(path, "precious");
        create_fails(path, EEXIST);
        CHECK(file_holds(path, "precious"));
        CHECK_EQ(folder_entries(test_folder), 1);
        CHECK_EQ(unlink(path), 0);
        CHECK_EQ(mkdir(path, 0700), 0);
        create_fails(path, EEXIST);
        CHECK_EQ(rmdir(path), 0);
        CHECK_EQ(symlink("/dev/null", path), 0);
        create_fails(path, EEXIST);
        CHECK(exists(path));
}

/* "poetry" is a fine name for a bus, and poetry.lock is somebody's file. */
static void test_a_file_of_someone_elses_named_lock_is_kept(void) {
        const char *path = path_of("poetry"), *lock = path_of("poetry.lock");

        write_file(lock, "precious");
        create_fails(path, EEXIST);
        CHECK_DETAIL("poetry.lock");
        CHECK(file_holds(lock, "precious"));
        CHECK(!exists(path));
        CHECK_EQ(unlink(lock), 0);
        CHECK_EQ(mkfifo(lock, 0600), 0);
        create_fails(path, EEXIST);
        CHECK(exists(lock));
}

static void test_dead_listeners_path_is_taken_over(void) {
        const char *path = path_of("bus");
        tachyon_listener *listener;
        int *ready = shared_page();
        pid_t pid = fork_helper();

        if (pid == 0) {
                listener_at(path, NULL);
                *(volatile int *)ready = 1;
                for (;;)
                        pause();
        }
        UNTIL(*(volatile int *)ready);
        create_fails(path, EADDRINUSE);
        kill_and_wait(pid);
        CHECK(exists(path));
        listener = listener_at(path, NULL);
        serves(listener, path);
        tachyon_listener_free(listener);
        CHECK_EQ(folder_entries(test_folder), 0);
        munmap(ready, 4096);
}

static void test_someone_elses_socket_is_not_removed_at_the_end(void) {
        const char *path = path_of("bus");
        tachyon_listener *listener = listener_at(path, NULL);
        int fd;

        CHECK_EQ(unlink(path), 0);
        fd = bind_plain(path, SOCK_STREAM);
        tachyon_listener_free(listener);
        CHECK(exists(path));
        close(fd);
}

static void test_paths_that_cannot_be(void) {
        char path[200];
        size_t length = strlen(test_folder);

        create_fails("", EINVAL);
        create_fails(NULL, EINVAL);
        create_fails(path_of("no/such/folder"), ENOENT);
        write_file(path_of("file"), "x");
        create_fails(path_of("file/bus"), ENOTDIR);
        CHECK_EQ(unlink(path_of("file")), 0);

        memset(path, 'x', sizeof(path));
        memcpy(path, test_folder, length);
        path[length] = '/';
        path[108] = 0;
        create_fails(path, ENAMETOOLONG);
        CHECK_DETAIL("107");
        path[107] = 0;
        tachyon_listener *listener = listener_at(path, NULL);
        serves(listener, path);
        tachyon_listener_free(listener);
        CHECK_EQ(folder_entries(test_folder), 0);
}

static void test_a_folder_without_permission(void) {
        pid_t pid;

        CHECK_EQ(chmod(test_folder, 0500), 0);
        pid = fork_helper();
        if (pid == 0) { /* root is stopped by nothing */
                CHECK(geteuid() != 0 || setuid(65534) == 0);
                create_fails(path_of("bus"), EACCES);
                helper_exit();
        }
        JOIN(pid);
}

/* ---- accepting ---------------------------------------------------------- */

#define MANY 24

static void test_many_connectors_at_once(void) {
        const char *path = path_of("bus");
        tachyon_listener *listener = listener_at(path, NULL);
        struct connecting connecting[MANY];
        tachyon_bus *buses[MANY];
        bool seen[MANY] = { false };

        for (int i = 0; i < MANY; i++)
                connecting_start(&connecting[i], path, NULL);
        for (int i = 0; i < MANY; i++)
                buses[i] = accept_one(listener);
        for (int i = 0; i < MANY; i++)
                send_pattern(connecting_finish(&connecting[i]), 100, (uint64_t)i);
        for (int i = 0; i < MANY; i++) {
                tachyon_message message;

                CHECK_EQ(tachyon_bus_recv(buses[i], &message, LONG), 0);
                CHECK(message.type_id < MANY && !seen[message.type_id]);
                CHECK(matches(message.data, 100, message.type_id));
                seen[message.type_id] = true;
                CHECK_EQ(tachyon_bus_release(buses[i], message.lease), 0);
                tachyon_bus_free(buses[i]);
                tachyon_bus_free(connecting[i].bus);
        }
        tachyon_listener_free(listener);
}

static void test_timeouts_of_accept(void) {
        tachyon_listener *listener = listener_at(path_of("bus"), NULL);
        tachyon_bus *bus = (void *)&listener;
        int64_t begin = clock_ns();

        CHECK_EQ(tachyon_listener_accept(listener, &bus, 0), -EAGAIN);
        CHECK_EQ(tachyon_listener_accept(listener, &bus, 20 * MS), -ETIMEDOUT);
        CHECK(clock_ns() - begin >= 20 * MS);
        CHECK(bus == (void *)&listener);
        tachyon_listener_free(listener);
}

static void test_mute_connector_beside_good_ones(void) {
        const char *path = path_of("bus");
        tachyon_listener *listener = listener_at(path, NULL);
        int mute = connect_mute(path);

        for (int i = 0; i < 5; i++)
                serves(listener, path);
        close(mute);
        tachyon_listener_free(listener);
}

/* More of them than a listener has patience for: a good one comes behind, and still gets in in time. */
static void test_a_crowd_of_mute_connectors_keeps_nobody_out(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        const char *path = path_of("bus");
        tachyon_listener *listener;
        int mute[64];
        int64_t begin;

        options.handshake_timeout_ns = 24 * SECOND; /* a crowd gets an eighth of it */
        listener = listener_at(path, &options);
        for (int i = 0; i < 64; i++)
                mute[i] = connect_mute(path);
        begin = clock_ns();
        serves(listener, path);
        CHECK(clock_ns() - begin < options.handshake_timeout_ns);
        for (int i = 0; i < 64; i++)
                close(mute[i]);
        tachyon_listener_free(listener);
}

/* Without a crowd, whoever is mute has the whole time; then it is told why it is dropped. */
static void test_mute_connector_is_dropped_with_a_reason(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        const char *path = path_of("bus");
        tachyon_listener *listener;
        tachyon_bus *bus = NULL;
        char answer[256] = { 0 };
        int64_t begin = clock_ns();
        int mute;

        options.handshake_timeout_ns = 30 * MS;
        listener = listener_at(path, &options);
        mute = connect_mute(path);
        while (recv(mute, answer, sizeof(answer), MSG_DONTWAIT | MSG_PEEK) < 0)
                CHECK_EQ(tachyon_listener_accept(listener, &bus, 5 * MS), -ETIMEDOUT);
        CHECK(clock_ns() - begin >= options.handshake_timeout_ns);
        CHECK_EQ(recv(mute, answer, sizeof(answer), MSG_WAITALL), 128);
        CHECK(memmem(answer, 128, "introduc", 8));
        close(mute);
        tachyon_listener_free(listener);
}

/* Connectors that come and go without end. */
struct flood {
        const char *path;
        atomic_bool over;
};

static void *flood_main(void *context) {
        struct flood *flood = context;

        while (!atomic_load(&flood->over))
                close(connect_mute(flood->path));
        return NULL;
}

/* However slow we are; what never ends ends by the watchdog. */
static void test_accept_times_out_in_a_flood(void) {
        struct flood flood = { .path = path_of("bus") };
        tachyon_listener *listener = listener_at(flood.path, NULL);
        pthread_t threads[2];
        tachyon_bus *bus;

        for (int i = 0; i < 2; i++)
                threads[i] = thread_start(flood_main, &flood);
        for (int i = 0; i < 20; i++)
                CHECK_EQ(tachyon_listener_accept(listener, &bus, 5 * MS), -ETIMEDOUT);
        atomic_store(&flood.over, true);
        tachyon_listener_accept(listener, &bus, 0); /* nobody is stuck in a full queue */
        for (int i = 0; i < 2; i++)
                thread_join(threads[i]);
        tachyon_listener_free(listener);
}

/* Its time is over after one round, and there are more at the door than it takes in at once. */
static void test_accept_does_not_go_on_after_its_time_while_some_are_at_the_door(void) {
        const int64_t timeouts[] = { 0, 1 };
        const char *path = path_of("bus");
        tachyon_listener *listener = listener_at(path, NULL);
        struct pollfd readable = { .fd = tachyon_listener_fd(listener), .events = POLLIN };
        tachyon_bus *bus;

        for (int i = 0; i < 2; i++) {
                for (int j = 0; j < 100; j++)
                        close(connect_mute(path));
                CHECK_EQ(tachyon_listener_accept(listener, &bus, timeouts[i]), i ? -ETIMEDOUT : -EAGAIN);
                CHECK_EQ(poll(&readable, 1, 0), 1);
                while (poll(&readable, 1, 0) > 0)
                        CHECK_EQ(tachyon_listener_accept(listener, &bus, 0), -EAGAIN);
        }
        tachyon_listener_free(listener);
}

static void test_listener_fd_in_an_event_loop(void) {
        const char *path = path_of("bus");
        tachyon_listener *listener = listener_at(path, NULL);
        struct pollfd readable = { .fd = tachyon_listener_fd(listener), .events = POLLIN };
        struct connecting connecting;
        tachyon_bus *bus = NULL;
        int r;

        CHECK(readable.fd >= 0);
        CHECK_EQ(poll(&readable, 1, 0), 0);
        connecting_start(&connecting, path, NULL);
        do {
                CHECK_EQ(poll(&readable, 1, -1), 1);
                r = tachyon_listener_accept(listener, &bus, 0);
        } while (r == -EAGAIN);
        CHECK_EQ(r, 0);
        tachyon_bus_free(connecting_finish(&connecting));
        tachyon_bus_free(bus);
        CHECK_EQ(poll(&readable, 1, 0), 0);
        tachyon_listener_free(listener);
}

/* ---- out of descriptors ------------------------------------------------- */

static int64_t cpu_ns(void) {
        struct timespec ts;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
        return (int64_t)ts.tv_sec * SECOND + ts.tv_nsec;
}

static void test_no_descriptors_backs_off_and_recovers(void) {
        const char *path = path_of("bus");
        tachyon_listener *listener = listener_at(path, NULL);
        int mute = connect_mute(path), calls = 0;
        rlim_t old = limit_resource(RLIMIT_NOFILE, (rlim_t)fd_lowest());
        int64_t begin = clock_ns(), cpu = cpu_ns();
        tachyon_bus *bus;

        CHECK_EQ(tachyon_listener_accept(listener, &bus, LONG), -EMFILE);
        for (; clock_ns() - begin < 300 * MS; calls++)
                CHECK_EQ(tachyon_listener_accept(listener, &bus, LONG), -EMFILE);
        CHECK(calls < 10);
        CHECK(cpu_ns() - cpu < (clock_ns() - begin) / 2);
        limit_resource(RLIMIT_NOFILE, old);
        serves(listener, path);
        close(mute);
        tachyon_listener_free(listener);
}

/* ---- the end ------------------------------------------------------------ */

static void close_listener(void *listener) {
        tachyon_listener_close(listener);
}

static void test_close_ends_an_accept(void) {
        tachyon_listener *listener = listener_at(path_of("bus"), NULL);
        struct later later;
        tachyon_bus *bus;

        when_asleep(&later, close_listener, listener);
        CHECK_EQ(tachyon_listener_accept(listener, &bus, -1), -ECANCELED);
        thread_join(later.thread);
        CHECK_EQ(tachyon_listener_accept(listener, &bus, -1), -ECANCELED);
        CHECK_EQ(tachyon_listener_fd(listener), -ECANCELED);
        tachyon_listener_free(listener);
}

/* Even one that looks at introductions only, as it has all it may have. */
static void test_close_ends_an_accept_that_is_full(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        const char *path = path_of("bus");
        tachyon_listener *listener;
        struct later later;
        tachyon_bus *bus;
        int mute[2];

        options.max_pending = 1;
        options.handshake_timeout_ns = 10 * LONG;
        listener = listener_at(path, &options);
        for (int i = 0; i < 2; i++)
                mute[i] = connect_mute(path);
        when_asleep(&later, close_listener, listener);
        CHECK_EQ(tachyon_listener_accept(listener, &bus, -1), -ECANCELED);
        thread_join(later.thread);
        for (int i = 0; i < 2; i++)
                close(mute[i]);
        tachyon_listener_free(listener);
}

struct second {
        tachyon_listener *listener;
        int result;
};

static void accept_too(void *context) {
        struct second *second = context;
        tachyon_bus *bus;

        second->result = tachyon_listener_accept(second->listener, &bus, -1);
        tachyon_listener_close(second->listener);
}

static void test_one_accept_at_a_time(void) {
        struct second second = { .listener = listener_at(path_of("bus"), NULL) };
        struct later later;
        tachyon_bus *bus;

        when_asleep(&later, accept_too, &second);
        CHECK_EQ(tachyon_listener_accept(second.listener, &bus, -1), -ECANCELED);
        thread_join(later.thread);
        CHECK_EQ(second.result, -EBUSY);
        tachyon_listener_free(second.listener);
}

static void test_signal_interrupts_accept(void) {
        tachyon_listener *listener = listener_at(path_of("bus"), NULL);
        struct interrupter interrupter;
        tachyon_bus *bus;

        interrupter_start(&interrupter);
        CHECK_EQ(tachyon_listener_accept(listener, &bus, LONG), -EINTR);
        interrupter_stop(&interrupter);
        tachyon_listener_free(listener);
}

/* The child of a listener outlives it: neither lock nor queue may stay with the child. */
static void test_a_forked_child_does_not_keep_a_dead_listeners_path(void) {
        const char *path = path_of("bus");
        tachyon_listener *listener;
        int ready[2], hold[2];
        char byte;
        pid_t pid;

        CHECK_EQ(pipe(ready), 0);
        CHECK_EQ(pipe(hold), 0);
        pid = fork_helper();
        if (pid == 0) {
                listener = listener_at(path, NULL);
                if (fork() == 0) { /* lives until the test lets go of the pipe */
                        close(hold[1]);
                        close(ready[0]);
                        CHECK_EQ(write(ready[1], "r", 1), 1);
                        close(ready[1]);
                        CHECK_EQ(read(hold[0], &byte, 1), 0);
                        close(hold[0]);
                        tachyon_listener_free(listener);
                        helper_exit();
                }
                for (;;)
                        pause();
        }
        CHECK_EQ(read(ready[0], &byte, 1), 1);
        CHECK_EQ(kill(pid, SIGKILL), 0);
        CHECK(WIFSIGNALED(wait_status(pid)));
        listener = listener_at(path, NULL);
        serves(listener, path);
        tachyon_listener_free(listener);
        close(hold[1]);
        close(hold[0]);
        close(ready[0]);
        close(ready[1]);
}

static void test_a_forked_child_has_no_listener(void) {
        const char *path = path_of("bus");
        tachyon_listener *listener = listener_at(path, NULL);
        int fd = tachyon_listener_fd(listener);
        pid_t pid = fork_helper();

        if (pid == 0) {
                tachyon_bus *bus;

                CHECK_EQ(fcntl(fd, F_GETFD), -1); /* the child has no part in it */
                CHECK_EQ(errno, EBADF);
                CHECK_EQ(tachyon_listener_accept(listener, &bus, -1), -TACHYON_EFORK);
                CHECK_EQ(tachyon_listener_fd(listener), -TACHYON_EFORK);
                tachyon_listener_close(listener);
                tachyon_listener_free(listener);
                helper_exit();
        }
        JOIN(pid);
        CHECK(exists(path));
        create_fails(path, EADDRINUSE);
        serves(listener, path);
        tachyon_listener_free(listener);
}

static void test_accepted_buses_outlive_the_listener(void) {
        const char *path = path_of("bus");
        tachyon_listener *listener = listener_at(path, NULL);
        struct connecting connecting;
        struct pair pair;

        connecting_start(&connecting, path, NULL);
        pair.ours = accept_one(listener);
        pair.theirs = connecting_finish(&connecting);
        tachyon_listener_free(listener);
        send_pattern(pair.ours, 100, 1);
        expect(pair.theirs, 100, 1);
        pair_free(&pair);
}

/* ---- users -------------------------------------------------------------- */

/* Another user connects, allowing these listeners; it needs root to play one. */
static void other_user_gets(const char *path, const tachyon_options *options, int expected) {
        tachyon_bus *bus = NULL;

        CHECK_EQ(setuid(65534), 0);
        CHECK_EQ(tachyon_bus_connect(&bus, path, options, LONG), -expected);
        if (!expected)
                expect(bus, 10, 1);
        else
                CHECK(*tachyon_error_detail());
        tachyon_bus_free(bus);
        helper_exit();
}

static void other_user(const uint32_t *allowed_here, const uint32_t *allowed_there, int expected) {
        tachyon_options here = TACHYON_OPTIONS_INIT, there = TACHYON_OPTIONS_INIT;
        const char *path = path_of("bus");
        tachyon_listener *listener;
        tachyon_bus *bus = NULL;
        int status = 0;
        pid_t pid;

        here.socket_mode = expected == EACCES && allowed_there ? 0600 : 0666;
        here.allowed_uids = allowed_here;
        here.allowed_uid_count = allowed_here ? 2 : 0;
        there.allowed_uids = allowed_there;
        there.allowed_uid_count = allowed_there ? 2 : 0;
        CHECK_EQ(chmod(test_folder, 0711), 0);
        pid = fork_helper();
        if (pid == 0)
                other_user_gets(path, &there, expected);
        listener = listener_at(path, &here);
        if (!expected) {
                bus = accept_one(listener);
                CHECK_EQ(properties_of(bus).peer_uid, 65534);
                send_pattern(bus, 10, 1);
                JOIN(pid);
        } else {
                while (waitpid(pid, &status, WNOHANG) == 0)
                        CHECK_EQ(tachyon_listener_accept(listener, &bus, 2 * MS), -ETIMEDOUT);
                CHECK_EQ(status, 0);
        }
        tachyon_bus_free(bus);
        tachyon_listener_free(listener);
}

static void test_users_must_be_allowed_on_both_sides(void) {
        const uint32_t both[] = { 0, 65534 };

        if (geteuid() != 0) {
                printf("      not root: no second user to try\n");
                return;
        }
        other_user(both, both, 0);
        other_user(NULL, both, ECONNREFUSED); /* the listener does not want it, and says so */
        other_user(both, NULL, EACCES);       /* it does not want the listener */
        other_user(NULL, (const uint32_t[]){ 0, 1 }, ECONNREFUSED);
}

static void test_socket_mode_keeps_others_out(void) {
        const char *path = path_of("bus");
        tachyon_listener *listener;
        pid_t pid;

        if (geteuid() != 0) {
                printf("      not root: no second user to try\n");
                return;
        }
        CHECK_EQ(chmod(test_folder, 0711), 0);
        umask(0);
        listener = listener_at(path, NULL);
        pid = fork_helper();
        if (pid == 0)
                other_user_gets(path, NULL, EACCES);
        JOIN(pid);
        tachyon_listener_free(listener);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_socket_mode_is_independent_of_the_umask);
        RUN(test_live_path_is_refused);
        RUN(test_live_foreign_socket_is_refused);
        RUN(test_what_is_no_socket_is_kept);
        RUN(test_a_file_of_someone_elses_named_lock_is_kept);
        RUN(test_dead_listeners_path_is_taken_over);
        RUN(test_someone_elses_socket_is_not_removed_at_the_end);
        RUN(test_paths_that_cannot_be);
        RUN(test_a_folder_without_permission);
        RUN(test_many_connectors_at_once);
        RUN(test_timeouts_of_accept);
        RUN(test_mute_connector_beside_good_ones);
        RUN(test_a_crowd_of_mute_connectors_keeps_nobody_out);
        RUN(test_mute_connector_is_dropped_with_a_reason);
        RUN(test_accept_times_out_in_a_flood);
        RUN(test_accept_does_not_go_on_after_its_time_while_some_are_at_the_door);
        RUN(test_listener_fd_in_an_event_loop);
        RUN_WITH_REAL_LIMITS(test_no_descriptors_backs_off_and_recovers);
        RUN(test_close_ends_an_accept);
        RUN(test_close_ends_an_accept_that_is_full);
        RUN(test_one_accept_at_a_time);
        RUN(test_signal_interrupts_accept);
        RUN(test_a_forked_child_has_no_listener);
        RUN(test_a_forked_child_does_not_keep_a_dead_listeners_path);
        RUN(test_accepted_buses_outlive_the_listener);
        RUN(test_users_must_be_allowed_on_both_sides);
        RUN(test_socket_mode_keeps_others_out);
        return tests_end();
}
