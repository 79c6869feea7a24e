/* SPDX-License-Identifier: MIT */
/*
 * Blocks in one call until something ends it, and says when it returned and
 * with what. blocked.py is the same program in Python.
 *
 * blocked ACTION PATH END COUNT SPIN
 *
 * ACTION: recv, iterate (here: recv_batch), send (until the ring is full, and
 * beyond), park (send COUNT messages, then wait for the end of standard input
 * and close), accept (of a listener that takes one introduction at a time),
 * connect. END: listen or connect. SPIN: default, or how long to poll, in
 * seconds.
 *
 * Prints "ready" when the bus is there (for accept: the listener; for connect:
 * nothing is), and at the end one line of JSON: returned_ns (CLOCK_MONOTONIC),
 * end (errno), received (messages, each of which must be its own number).
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <tachyon.h>

#define NSEC_PER_SEC INT64_C(1000000000)
#define FOR_EVER INT64_C(-1)
#define MAX_BATCH 16
#define CAPACITY 65536

struct program {
        const char *action, *path, *end;
        uint64_t count;
        tachyon_options options;
        tachyon_bus *bus;
        uint64_t received;
};

static int64_t now_ns(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static void must(int r, const char *what) {
        if (r >= 0)
                return;
        fprintf(stderr, "blocked.c: %s: %s (%s)\n", what, tachyon_strerror(r), tachyon_error_detail());
        exit(1);
}

static void say_ready(void) {
        printf("ready\n");
        fflush(stdout);
}

static void take(struct program *program, const tachyon_message *message) {
        uint64_t number;

        if (message->size != sizeof(number) || (memcpy(&number, message->data, sizeof(number)), number) !=
                                                       program->received) {
                fprintf(stderr, "blocked.c: message %" PRIu64 " is another one\n", program->received);
                exit(1);
        }
        must(tachyon_bus_release(program->bus, message->lease), "release");
        program->received++;
}

static int receive_all(struct program *program, size_t max, int64_t timeout_ns) {
        tachyon_message messages[MAX_BATCH];
        int n;

        while ((n = tachyon_bus_recv_batch(program->bus, messages, max, timeout_ns)) > 0)
                for (int i = 0; i < n; i++)
                        take(program, &messages[i]);
        return n;
}

static int send_for_ever(struct program *program) {
        int r;

        do
                r = tachyon_bus_send(program->bus, "no room for this one", 20, 0, FOR_EVER);
        while (r == 0);
        return r;
}

static int park(struct program *program) {
        char byte;

        for (uint64_t i = 0; i < program->count; i++)
                must(tachyon_bus_send(program->bus, &i, sizeof(i), 0, 0), "send");
        say_ready();
        while (read(STDIN_FILENO, &byte, 1) > 0)
                ;
        return 0;
}

static int accept_one(struct program *program) {
        tachyon_listener *listener;
        int r;

        program->options.max_pending = 1;
        program->options.handshake_timeout_ns = 3600 * NSEC_PER_SEC;
        must(tachyon_listener_create(&listener, program->path, &program->options), "listen");
        say_ready();
        r = tachyon_listener_accept(listener, &program->bus, FOR_EVER);
        tachyon_listener_free(listener);
        return r;
}

static int block(struct program *program) {
        bool listens = strcmp(program->end, "listen") == 0;

        if (strcmp(program->action, "accept") == 0)
                return accept_one(program);
        if (strcmp(program->action, "connect") == 0)
                return tachyon_bus_connect(&program->bus, program->path, &program->options, FOR_EVER);

        must(listens ? tachyon_bus_listen(&program->bus, program->path, &program->options, FOR_EVER)
                     : tachyon_bus_connect(&program->bus, program->path, &program->options, FOR_EVER),
             program->end);
        if (strcmp(program->action, "park") == 0)
                return park(program);
        say_ready();
        if (strcmp(program->action, "send") == 0)
                return send_for_ever(program);
        return receive_all(program, strcmp(program->action, "iterate") == 0 ? MAX_BATCH : 1, FOR_EVER);
}

int main(int argc, char **argv) {
        struct program program = { .options = TACHYON_OPTIONS_INIT };
        int64_t returned_ns;
        int r;

        if (argc != 6)
                return 2;
        program.action = argv[1];
        program.path = argv[2];
        program.end = argv[3];
        program.count = strtoull(argv[4], NULL, 10);
        program.options.capacity = CAPACITY;
        if (strcmp(argv[5], "default") != 0)
                program.options.spin_ns = strtoll(argv[5], NULL, 10) * NSEC_PER_SEC;
        r = block(&program);
        returned_ns = now_ns();
        if (strcmp(program.action, "send") == 0) /* what came meanwhile is still ours */
                receive_all(&program, 1, 0);
        printf("{\"returned_ns\": %" PRId64 ", \"end\": %d, \"received\": %" PRIu64 "}\n", returned_ns, -r,
               program.received);
        tachyon_bus_free(program.bus);
        return 0;
}
