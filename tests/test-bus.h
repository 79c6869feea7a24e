/* SPDX-License-Identifier: MIT */
#ifndef TEST_BUS_H
#define TEST_BUS_H
/* Buses for tests: two ends in one process, or one here and one in a child; and things that happen while we sleep. */
#include "test-util.h"

#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

/* ---- connecting in a thread --------------------------------------------- */

struct connecting {
        const char *path;
        const tachyon_options *options;
        int64_t timeout_ns;
        tachyon_bus *bus;
        int result;
        char detail[256];
        pthread_t thread;
};

static test_unused void *connecting_main(void *context) {
        struct connecting *connecting = context;

        connecting->result = tachyon_bus_connect(&connecting->bus, connecting->path, connecting->options,
                                                 connecting->timeout_ns);
        snprintf(connecting->detail, sizeof(connecting->detail), "%s", tachyon_error_detail());
        return NULL;
}

static test_unused void connecting_start(struct connecting *connecting, const char *path,
                                         const tachyon_options *options) {
        *connecting = (struct connecting){ .path = path, .options = options, .timeout_ns = LONG };
        connecting->thread = thread_start(connecting_main, connecting);
}

static test_unused tachyon_bus *connecting_finish(struct connecting *connecting) {
        thread_join(connecting->thread);
        CHECK_EQ(connecting->result, 0);
        return connecting->bus;
}

/* ---- two ends in this process ------------------------------------------- */

struct pair {
        tachyon_bus *ours;   /* out of the listener */
        tachyon_bus *theirs; /* the connector's */
};

static test_unused struct pair pair_make(const tachyon_options *options) {
        struct connecting connecting;
        struct pair pair = { NULL, NULL };
        const char *path = path_of("pair");

        connecting_start(&connecting, path, options);
        CHECK_EQ(tachyon_bus_listen(&pair.ours, path, options, LONG), 0);
        pair.theirs = connecting_finish(&connecting);
        return pair;
}

static test_unused struct pair pair_of_capacity(uint64_t capacity) {
        tachyon_options options = TACHYON_OPTIONS_INIT;

        options.capacity = capacity;
        return pair_make(&options);
}

static test_unused void pair_free(struct pair *pair) {
        tachyon_bus_free(pair->ours);
        tachyon_bus_free(pair->theirs);
}

/* ---- the other end in a child ------------------------------------------- */

/* The child connects, runs fn(bus), frees the bus and exits; *busp is our end, out of the listener. */
static test_unused pid_t peer_start(tachyon_bus **busp, void (*fn)(tachyon_bus *),
                                    const tachyon_options *options) {
        const char *path = path_of("peer");
        tachyon_bus *bus;
        pid_t pid = fork_helper();

        if (pid == 0) {
                int fds = fd_count();

                alarm(WATCHDOG_SECONDS);
                CHECK_EQ(tachyon_bus_connect(&bus, path, options, LONG), 0);
                fn(bus);
                tachyon_bus_free(bus);
                CHECK_EQ(fd_count(), fds);
                helper_exit();
        }
        CHECK_EQ(tachyon_bus_listen(busp, path, options, LONG), 0);
        return pid;
}

static test_unused pid_t peer_of_capacity(tachyon_bus **busp, void (*fn)(tachyon_bus *), uint64_t capacity) {
        tachyon_options options = TACHYON_OPTIONS_INIT;

        options.capacity = capacity;
        return peer_start(busp, fn, &options);
}

/* For a child that only shall be there until it is killed. */
static test_unused void peer_waits(tachyon_bus *bus) {
        (void)bus;
        for (;;)
                pause();
}

/* ---- something that happens while we sleep ------------------------------ */

struct later {
        void (*fn)(void *);
        void *context;
        pid_t sleeper;
        pthread_t thread;
};

static test_unused void *later_main(void *context) {
        struct later *later = context;

        UNTIL(task_state(getpid(), later->sleeper) == 'S');
        later->fn(later->context);
        return NULL;
}

/* Runs fn(context) in a thread as soon as the calling thread sleeps. */
static test_unused void when_asleep(struct later *later, void (*fn)(void *), void *context) {
        *later = (struct later){ .fn = fn, .context = context, .sleeper = (pid_t)syscall(SYS_gettid) };
        later->thread = thread_start(later_main, later);
}

/* Signals the calling thread, whenever it sleeps, until stopped: a handler without SA_RESTART runs. */
struct interrupter {
        pthread_t target, thread;
        pid_t sleeper;
        atomic_bool over;
};

static _Atomic int signals_handled;

static test_unused void count_signal(int number) {
        (void)number;
        atomic_fetch_add(&signals_handled, 1);
}

static test_unused void *interrupter_main(void *context) {
        struct interrupter *interrupter = context;

        while (!atomic_load(&interrupter->over)) {
                if (task_state(getpid(), interrupter->sleeper) == 'S')
                        pthread_kill(interrupter->target, SIGUSR1);
                poll(NULL, 0, 1);
        }
        return NULL;
}

static test_unused void interrupter_start(struct interrupter *interrupter) {
        struct sigaction action = { .sa_handler = count_signal };

        CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
        interrupter->target = pthread_self();
        interrupter->sleeper = (pid_t)syscall(SYS_gettid);
        atomic_init(&interrupter->over, false);
        interrupter->thread = thread_start(interrupter_main, interrupter);
}

static test_unused void interrupter_stop(struct interrupter *interrupter) {
        atomic_store(&interrupter->over, true);
        while (pthread_join(interrupter->thread, NULL) != 0)
                ;
}

/* ---- a socket that is nobody's bus -------------------------------------- */

static test_unused struct sockaddr_un address_of(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        CHECK(strlen(path) < sizeof(address.sun_path));
        memcpy(address.sun_path, path, strlen(path));
        return address;
}

/* Connects, and never says a word. */
static test_unused int connect_mute(const char *path) {
        struct sockaddr_un address = address_of(path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        CHECK(fd >= 0);
        CHECK_EQ(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

static test_unused int bind_plain(const char *path, int type) {
        struct sockaddr_un address = address_of(path);
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

        CHECK(fd >= 0);
        CHECK_EQ(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

/* ---- short forms -------------------------------------------------------- */

static test_unused void send_pattern(tachyon_bus *bus, uint64_t size, uint64_t seed) {
        unsigned char *data = malloc(size + 1);

        CHECK(data);
        fill(data, size, seed);
        CHECK_EQ(tachyon_bus_send(bus, data, size, (uint32_t)seed, LONG), 0);
        free(data);
}

/* The next message must be this one; it is released. */
static test_unused void expect(tachyon_bus *bus, uint64_t size, uint64_t seed) {
        tachyon_message message;

        CHECK_EQ(tachyon_bus_recv(bus, &message, LONG), 0);
        CHECK_EQ(message.size, size);
        CHECK_EQ(message.type_id, (uint32_t)seed);
        CHECK(matches(message.data, size, seed));
        CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
}

static test_unused tachyon_stats stats_of(tachyon_bus *bus) {
        tachyon_stats stats = { .struct_size = sizeof(stats) };

        CHECK_EQ(tachyon_bus_stats(bus, &stats), 0);
        return stats;
}

static test_unused tachyon_properties properties_of(tachyon_bus *bus) {
        tachyon_properties properties = { .struct_size = sizeof(properties) };

        CHECK_EQ(tachyon_bus_properties(bus, &properties), 0);
        return properties;
}

#endif
