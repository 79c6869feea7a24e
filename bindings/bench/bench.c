/* SPDX-License-Identifier: MIT */
/* bench ROLE PATH: what `tachyon bench languages` measures, in C. See README.md. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tachyon.h>
#include <time.h>

#define TURN 16384u /* records of one call: a quarter of their ring */
#define RING (UINT64_C(4) << 20)
#define PAIRS 1000u

struct message {
        uint64_t words[4];
};

struct record {
        uint64_t time, id;
        double price, size;
};

static const char *path;

static void expect(int good, const char *what) {
        if (!good) {
                fprintf(stderr, "%s: %s\n", what, tachyon_error_detail());
                exit(1);
        }
}

static double now_ns(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static tachyon_bus *open_listener(uint64_t capacity) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        tachyon_bus *bus;

        options.capacity = capacity;
        expect(tachyon_bus_listen(&bus, path, &options, -1) == 0, "listen");
        return bus;
}

static tachyon_bus *open_connector(void) {
        tachyon_bus *bus;

        expect(tachyon_bus_connect(&bus, path, NULL, -1) == 0, "connect");
        return bus;
}

static inline void send_one(tachyon_bus *bus, const struct message *message) {
        expect(tachyon_bus_send(bus, message, sizeof(*message), 0, -1) == 0, "send");
}

static inline void receive_one(tachyon_bus *bus, struct message *message) {
        tachyon_message received;

        expect(tachyon_bus_recv(bus, &received, -1) == 0 && received.size == sizeof(*message), "receive");
        memcpy(message, received.data, sizeof(*message));
        tachyon_bus_release(bus, received.lease);
}

static double ping(tachyon_bus *bus, uint64_t count) {
        struct message message = { { 0 } };
        double begin = now_ns();

        for (uint64_t i = 0; i < count; i++) {
                send_one(bus, &message);
                receive_one(bus, &message);
        }
        return now_ns() - begin;
}

static double echo(tachyon_bus *bus, uint64_t count) {
        struct message message;

        for (uint64_t i = 0; i < count; i++) {
                receive_one(bus, &message);
                send_one(bus, &message);
        }
        return -1;
}

static double produce(tachyon_bus *bus, uint64_t count) {
        struct message message = { { 0 } };

        for (uint64_t i = 0; i < count; i++)
                send_one(bus, &message);
        return -1;
}

static double consume(tachyon_bus *bus, uint64_t count) {
        struct message message;
        double begin;

        receive_one(bus, &message);
        begin = now_ns();
        for (uint64_t i = 1; i < count; i++)
                receive_one(bus, &message);
        return now_ns() - begin;
}

static double produce_records(tachyon_bus *bus, uint64_t count) {
        static struct record records[TURN];

        for (uint64_t i = 0; i < TURN; i++)
                records[i] = (struct record){ .time = i, .id = i, .price = 0.5, .size = 1 };
        for (uint64_t i = 0; i < count; i += TURN) {
                uint64_t n = count - i < TURN ? count - i : TURN;

                expect(tachyon_bus_send_records(bus, records, sizeof(records[0]), n, 0, -1) == (int64_t)n, "send records");
        }
        return -1;
}

static double consume_records(tachyon_bus *bus, uint64_t count) {
        double begin = 0, sum = 0;
        tachyon_records run;

        for (uint64_t i = 0; i < count; i += run.count) {
                uint64_t n = count - i < TURN ? count - i : TURN;

                expect(tachyon_bus_recv_records(bus, &run, sizeof(struct record), n, NULL, -1) > 0, "receive records");
                if (i == 0)
                        begin = now_ns();
                for (uint64_t j = 0; j < run.count; j++)
                        sum += ((const struct record *)((const char *)run.data + j * run.stride))->price;
                tachyon_bus_release(bus, run.lease);
        }
        expect(sum == 0.5 * (double)count, "the prices do not add up");
        return now_ns() - begin;
}

static void *listen_beside(void *unused) {
        (void)unused;
        return open_listener(0);
}

static double pairs(tachyon_bus *from, tachyon_bus *to, uint64_t count) {
        struct message message = { { 0 } };
        double begin = now_ns();

        for (uint64_t i = 0; i < count; i++) {
                send_one(from, &message);
                expect(tachyon_bus_recv_copy(to, &message, sizeof(message), NULL, 0) == sizeof(message), "receive");
        }
        return now_ns() - begin;
}

/* In C the binding is the C functions: what differs here is what any two measurements differ by. */
static void calls(tachyon_bus *a, tachyon_bus *b, uint64_t count) {
        double binding = 0, raw = 0;

        for (uint64_t left = count, n; left > 0; left -= n) {
                tachyon_bus *other = b;

                n = left < PAIRS ? left : PAIRS;
                binding += pairs(a, b, n);
                raw += pairs(a, b, n);
                b = a;
                a = other;
        }
        printf("%.3f %.3f\n", binding / (double)count, raw / (double)count);
}

static const struct {
        const char *name;
        int listens;
        uint64_t capacity;
        double (*round)(tachyon_bus *bus, uint64_t count);
} roles[] = {
        { "ping", 0, 0, ping },
        { "echo", 1, 0, echo },
        { "produce", 0, 0, produce },
        { "consume", 1, 0, consume },
        { "records-produce", 0, 0, produce_records },
        { "records-consume", 1, RING, consume_records },
        { "calls", 0, 0, NULL },
};

static size_t role_of(const char *name) {
        for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
                if (strcmp(roles[i].name, name) == 0)
                        return i;
        fprintf(stderr, "%s is no role\n", name);
        exit(2);
}

int main(int argc, char **argv) {
        tachyon_bus *bus, *other = NULL;
        uint64_t count;
        pthread_t thread;
        size_t role;

        if (argc != 3)
                return 2;
        path = argv[2];
        role = role_of(argv[1]);
        setvbuf(stdout, NULL, _IOLBF, 0);
        if (!roles[role].round)
                expect(pthread_create(&thread, NULL, listen_beside, NULL) == 0, "a thread");
        bus = roles[role].listens ? open_listener(roles[role].capacity) : open_connector();
        if (!roles[role].round) {
                void *result;

                pthread_join(thread, &result);
                other = result;
        }
        puts("ready");
        while (scanf("%" SCNu64, &count) == 1) {
                double elapsed_ns;

                if (!roles[role].round) {
                        calls(bus, other, count);
                        continue;
                }
                elapsed_ns = roles[role].round(bus, count);
                if (elapsed_ns < 0)
                        puts("done");
                else
                        printf("%.0f\n", elapsed_ns);
        }
        tachyon_bus_free(bus);
        tachyon_bus_free(other);
        return 0;
}
