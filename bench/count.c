/* SPDX-License-Identifier: MIT */
/*
 * Sends and receives 32-byte messages between two ends in one process, in turns,
 * so that nothing is ever waited for: what bench/count counts instructions of.
 *
 * count stream N: 64 messages are sent, then 64 are received and released, until
 * N have been. count single N: one at a time, so that each release empties the
 * ring. Prints 1 where membarrier(2) spares the sender its fence, else 0.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tachyon.h>

#define MESSAGE_SIZE 32
#define STREAM_BATCH 64
#define TIMEOUT_NS INT64_C(10000000000)

struct ends {
        const char *path;
        tachyon_bus *listener, *connector;
};

static void must(int r, const char *what) {
        if (r >= 0)
                return;
        fprintf(stderr, "count: %s: %s (%s)\n", what, tachyon_strerror(r), tachyon_error_detail());
        exit(1);
}

static void *connect_end(void *context) {
        struct ends *ends = context;

        must(tachyon_bus_connect(&ends->connector, ends->path, NULL, TIMEOUT_NS), "connect");
        return NULL;
}

static void open_ends(struct ends *ends) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, connect_end, ends) != 0)
                must(-1, "pthread_create");
        must(tachyon_bus_listen(&ends->listener, ends->path, NULL, TIMEOUT_NS), "listen");
        pthread_join(thread, NULL);
}

static void send_messages(tachyon_bus *bus, long count) {
        static const unsigned char data[MESSAGE_SIZE] = "an order, a tick, a heartbeat";

        for (long i = 0; i < count; i++)
                must(tachyon_bus_send(bus, data, sizeof(data), 7, 0), "send");
}

static void receive_messages(tachyon_bus *bus, long count) {
        tachyon_message message;

        for (long i = 0; i < count; i++) {
                must(tachyon_bus_recv(bus, &message, 0), "recv");
                must(tachyon_bus_release(bus, message.lease), "release");
        }
}

static void copy_messages(tachyon_bus *bus, long count) {
        unsigned char buffer[MESSAGE_SIZE];
        uint32_t type_id;

        for (long i = 0; i < count; i++)
                must((int)tachyon_bus_recv_copy(bus, buffer, sizeof(buffer), &type_id, 0), "receive");
}

int main(int argc, char **argv) {
        tachyon_properties properties = { .struct_size = sizeof(properties) };
        struct ends ends = { .path = NULL };
        long batch, count;

        if (argc != 4) {
                fprintf(stderr, "usage: count PATH stream|single|copy N\n");
                return 2;
        }
        ends.path = argv[1];
        batch = strcmp(argv[2], "single") == 0 ? 1 : STREAM_BATCH;
        count = strtol(argv[3], NULL, 10);
        open_ends(&ends);
        for (long sent = 0; sent < count; sent += batch) {
                send_messages(ends.listener, batch);
                if (strcmp(argv[2], "copy") == 0)
                        copy_messages(ends.connector, batch);
                else
                        receive_messages(ends.connector, batch);
        }
        must(tachyon_bus_properties(ends.listener, &properties), "properties");
        printf("%u\n", properties.barrier);
        tachyon_bus_free(ends.connector);
        tachyon_bus_free(ends.listener);
        return 0;
}
