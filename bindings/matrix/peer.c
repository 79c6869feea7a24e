/* SPDX-License-Identifier: MIT */
/* peer ROLE MODE PATH COUNT BLOCK: one side of the matrix, in C. See run-matrix. */
#include "rule.h"
#include <tachyon.h>

static unsigned char *block;
static const char *path;
static uint64_t count;

static void expect(int good, const char *what, uint64_t number) {
        if (!good) {
                fprintf(stderr, "message %llu: %s: %s\n", (unsigned long long)number, what, tachyon_error_detail());
                exit(1);
        }
}

static tachyon_bus *open_bus(int listen, uint32_t kind) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        tachyon_bus *bus;
        int r;

        options.kind = kind;
        r = listen ? tachyon_bus_listen(&bus, path, &options, -1) : tachyon_bus_connect(&bus, path, &options, -1);
        expect(r == 0, "no bus", 0);
        return bus;
}

static void send_stream(tachyon_bus *bus) {
        for (uint64_t i = 0; i < count; i++) {
                struct rule rule = rule_of(i);

                expect(tachyon_bus_send(bus, block + rule.start, rule.size, rule.type_id, -1) == 0, "send", i);
        }
}

static void receive_stream(tachyon_bus *bus) {
        tachyon_message message;

        for (uint64_t i = 0; i < count; i++) {
                struct rule rule = rule_of(i);

                expect(tachyon_bus_recv(bus, &message, -1) == 0, "receive", i);
                expect(message.size == rule.size && message.type_id == rule.type_id, "size and type", i);
                expect(memcmp(message.data, block + rule.start, rule.size) == 0, "bytes", i);
                tachyon_bus_release(bus, message.lease);
        }
        expect(tachyon_bus_recv(bus, &message, -1) == -TACHYON_ECLOSED, "the end", count);
}

static void send_records(tachyon_bus *bus) {
        struct record records[1000];
        uint64_t n;

        for (uint64_t i = 0; i < count; i += n) {
                n = count - i < 1000 ? count - i : 1000;
                for (uint64_t j = 0; j < n; j++)
                        records[j] = record_of(i + j);
                expect(tachyon_bus_send_records(bus, records, sizeof(records[0]), n, RECORD_TYPE, -1) == (int64_t)n,
                       "send records", i);
        }
}

static void receive_records(tachyon_bus *bus) {
        const uint32_t type_id = RECORD_TYPE;
        tachyon_records run;

        for (uint64_t i = 0; i < count;) {
                expect(tachyon_bus_recv_records(bus, &run, sizeof(struct record), 5000, &type_id, -1) > 0,
                       "receive records", i);
                for (uint64_t j = 0; j < run.count; j++, i++) {
                        struct record wanted = record_of(i);

                        expect(memcmp((const char *)run.data + j * run.stride, &wanted, sizeof(wanted)) == 0, "record", i);
                }
                tachyon_bus_release(bus, run.lease);
        }
}

static const struct {
        const char *dtype;
        uint64_t itemsize;
} dtypes[ARRAY_TYPES] = { { "<f4", 4 }, { "<f8", 8 }, { "<i2", 2 }, { "|u1", 1 } };

static void set_element(uint32_t dtype, void *data, uint64_t i, int value) {
        switch (dtype) {
        case 0: ((float *)data)[i] = (float)value; break;
        case 1: ((double *)data)[i] = value; break;
        case 2: ((int16_t *)data)[i] = (int16_t)value; break;
        default: ((uint8_t *)data)[i] = (uint8_t)value;
        }
}

static void send_arrays(tachyon_bus *bus) {
        for (uint64_t i = 0; i < count; i++) {
                struct rule rule = rule_of(i);
                tachyon_array array = { .dtype = dtypes[rule.dtype].dtype, .itemsize = dtypes[rule.dtype].itemsize, .ndim = 3 };
                void *message, *data;
                uint64_t size;

                memcpy(array.shape, rule.shape, sizeof(rule.shape));
                size = tachyon_array_size(&array);
                expect(tachyon_bus_reserve(bus, &message, size, -1) == 0, "reserve", i);
                expect(tachyon_array_write(&array, message, size, &data) == 0, "write", i);
                for (uint64_t j = 0; j < rule.shape[0] * rule.shape[1] * rule.shape[2]; j++)
                        set_element(rule.dtype, data, j, element_of(&rule, j));
                expect(tachyon_bus_commit(bus, size, 0) == 0, "commit", i);
        }
}

static void receive_arrays(tachyon_bus *bus) {
        for (uint64_t i = 0; i < count; i++) {
                struct rule rule = rule_of(i);
                uint64_t items = rule.shape[0] * rule.shape[1] * rule.shape[2];
                tachyon_message message;
                tachyon_array array;

                expect(tachyon_bus_recv(bus, &message, -1) == 0, "receive", i);
                expect(tachyon_array_read(&array, message.data, message.size) == 0, "an array", i);
                expect(tachyon_array_is(&array, dtypes[rule.dtype].dtype), "dtype", i);
                expect(array.ndim == 3 && memcmp(array.shape, rule.shape, sizeof(rule.shape)) == 0, "shape", i);
                expect(array.data_size == items * dtypes[rule.dtype].itemsize, "size", i);
                for (uint64_t j = 0; j < items; j++) {
                        double wanted;

                        set_element(rule.dtype, &wanted, 0, element_of(&rule, j));
                        expect(memcmp((const char *)array.data + j * array.itemsize, &wanted, array.itemsize) == 0, "element", i);
                }
                tachyon_bus_release(bus, message.lease);
        }
}

static tachyon_rpc *open_rpc(int listen) {
        tachyon_rpc *rpc;

        expect(tachyon_rpc_create(&rpc, open_bus(listen, TACHYON_KIND_RPC)) == 0, "rpc", 0);
        return rpc;
}

static void call(void) {
        tachyon_rpc *rpc = open_rpc(0);

        for (uint64_t i = 0; i < count; i++) {
                struct rule rule = rule_of(i);
                uint32_t size = rule.size % 4096;
                tachyon_message reply;
                int r = tachyon_rpc_call(rpc, block + rule.start, size, is_failing(i) ? FAILING_TYPE : 1, &reply, -1);

                if (is_failing(i)) {
                        expect(r == 1 && reply.type_id == FAILING_CODE, "failure", i);
                        expect(reply.size == strlen(FAILING_TEXT) && memcmp(reply.data, FAILING_TEXT, reply.size) == 0, "text", i);
                } else {
                        expect(r == 0 && reply.size == size, "reply", i);
                        for (uint32_t j = 0; j < size; j++)
                                expect(((const unsigned char *)reply.data)[j] == (block[rule.start + j] ^ 0x5a), "bytes", i);
                }
                tachyon_rpc_release(rpc, &reply);
        }
        tachyon_rpc_free(rpc);
}

static void serve(void) {
        tachyon_rpc *rpc = open_rpc(1);
        tachyon_message request;
        unsigned char *reply;
        uint64_t i = 0;
        void *data;
        int r;

        for (; (r = tachyon_rpc_serve(rpc, &request, -1)) == 0; i++) {
                if (request.type_id == FAILING_TYPE) {
                        expect(tachyon_rpc_fail(rpc, request.correlation_id, FAILING_CODE, FAILING_TEXT, strlen(FAILING_TEXT), -1) == 0, "fail", i);
                } else {
                        expect(tachyon_rpc_reserve_reply(rpc, request.correlation_id, &data, request.size, -1) == 0, "reserve", i);
                        reply = data;
                        for (uint64_t j = 0; j < request.size; j++)
                                reply[j] = ((const unsigned char *)request.data)[j] ^ 0x5a;
                        expect(tachyon_rpc_commit_reply(rpc, request.size, 0) == 0, "reply", i);
                }
                tachyon_rpc_release(rpc, &request);
        }
        expect(r == -TACHYON_ECLOSED && i == count, "the end", i);
        tachyon_rpc_free(rpc);
}

/* Until the other one is killed. */
static void flow(tachyon_bus *bus, int sends) {
        tachyon_message message;
        int r;

        for (;;) {
                r = sends ? tachyon_bus_send(bus, block, 1000, 0, -1) : tachyon_bus_recv(bus, &message, -1);
                if (r < 0)
                        break;
                if (!sends)
                        tachyon_bus_release(bus, message.lease);
        }
        expect(r == -TACHYON_EPEERDEAD, "a dead peer", 0);
}

int main(int argc, char **argv) {
        int consumer = argc == 6 && strcmp(argv[1], "consumer") == 0;
        tachyon_bus *bus = NULL;

        if (argc != 6)
                return 2;
        path = argv[3];
        count = strtoull(argv[4], NULL, 10);
        block = read_block(argv[5]);
        if (strcmp(argv[2], "rpc") == 0) {
                consumer ? serve() : call();
        } else {
                bus = open_bus(consumer, TACHYON_KIND_STREAM);
                if (strcmp(argv[2], "stream") == 0)
                        consumer ? receive_stream(bus) : send_stream(bus);
                else if (strcmp(argv[2], "records") == 0)
                        consumer ? receive_records(bus) : send_records(bus);
                else if (strcmp(argv[2], "arrays") == 0)
                        consumer ? receive_arrays(bus) : send_arrays(bus);
                else
                        flow(bus, !consumer);
        }
        tachyon_bus_free(bus);
        puts("ok");
        return 0;
}
