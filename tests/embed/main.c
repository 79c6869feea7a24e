/* SPDX-License-Identifier: MIT */
/*
 * A program of somebody else's that has found tachyon by pkg-config, CMake or
 * meson: two processes, one message, and the version that it runs with.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tachyon.h>

#define SECOND INT64_C(1000000000)

static int fail_with(const char *what, int error) {
        fprintf(stderr, "%s: %s: %s\n", what, tachyon_strerror(error), tachyon_error_detail());
        return 1;
}

static int send_hello(const char *path) {
        tachyon_bus *bus;
        int r;

        r = tachyon_bus_connect(&bus, path, NULL, 30 * SECOND);
        if (r < 0)
                return fail_with("connect", r);
        r = tachyon_bus_send(bus, "hello", 5, 7, 30 * SECOND);
        tachyon_bus_free(bus);
        return r < 0 ? fail_with("send", r) : 0;
}

static int receive_hello(const char *path) {
        tachyon_message message;
        tachyon_bus *bus;
        int r, wrong;

        r = tachyon_bus_listen(&bus, path, NULL, 30 * SECOND);
        if (r < 0)
                return fail_with("listen", r);
        r = tachyon_bus_recv(bus, &message, 30 * SECOND);
        if (r < 0)
                return fail_with("recv", r);
        wrong = message.size != 5 || message.type_id != 7 || memcmp(message.data, "hello", 5) != 0;
        tachyon_bus_release(bus, message.lease);
        tachyon_bus_free(bus);
        return wrong;
}

int main(int argc, char **argv) {
        pid_t child;
        int status;

        if (argc != 2)
                return 2;
        child = fork();
        if (child < 0)
                return 2;
        if (child == 0)
                _exit(send_hello(argv[1]));
        if (receive_hello(argv[1]) || waitpid(child, &status, 0) != child || status)
                return 1;
        printf("tachyon %s: hello\n", tachyon_version());
        return 0;
}
