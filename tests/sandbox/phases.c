/* SPDX-License-Identifier: MIT */
/*
 * Goes through the life of a bus, for strace: before each phase, the thread's
 * name says which one it is, and strace shows that. See tests/sandbox/run.
 */
#include "../test-bus.h"

static void phase(const char *name) {
        CHECK_EQ(prctl(PR_SET_NAME, name), 0);
}

static void exchange(tachyon_bus *bus, bool first) {
        tachyon_message message;

        for (int i = 0; i < 300; i++) {
                if (first || i)
                        CHECK_EQ(tachyon_bus_send(bus, "ping", 4, 1, LONG), 0);
                CHECK_EQ(tachyon_bus_recv(bus, &message, LONG), 0);
                CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
        }
        if (!first)
                CHECK_EQ(tachyon_bus_send(bus, "pong", 4, 1, LONG), 0);
}

static void child(const char *path, const tachyon_options *options) {
        tachyon_bus *bus;

        phase("phase:connect");
        CHECK_EQ(tachyon_bus_connect(&bus, path, options, LONG), 0);
        phase("phase:data");
        exchange(bus, false);
        phase("phase:close");
        tachyon_bus_free(bus);
        phase("over");
        _exit(0);
}

static void life(int64_t spin_ns, uint32_t flags) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        tachyon_listener *listener;
        const char *path = path_of("phases");
        tachyon_message message;
        tachyon_bus *bus;
        pid_t pid;

        options.capacity = 4096;
        options.spin_ns = spin_ns;
        options.flags = flags;
        phase("phase:listen");
        CHECK_EQ(tachyon_listener_create(&listener, path, &options), 0);
        phase("over");
        pid = fork_helper();
        if (pid == 0)
                child(path, &options);
        phase("phase:accept");
        CHECK_EQ(tachyon_listener_accept(listener, &bus, LONG), 0);
        phase("phase:data");
        exchange(bus, true);
        CHECK_EQ(tachyon_bus_recv(bus, &message, LONG), -TACHYON_ECLOSED);
        phase("phase:close");
        tachyon_bus_free(bus);
        phase("phase:unlisten");
        tachyon_listener_free(listener);
        phase("over");
        JOIN(pid);
}

static void test_life_asleep(void) {
        life(-1, 0);
}

static void test_life_awake(void) {
        life(50000, TACHYON_PREFAULT);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_life_asleep);
        RUN(test_life_awake);
        return tests_end();
}
