/* SPDX-License-Identifier: MIT */
/*
 * Who is lied to, in C; victim.py is the same in Python. Reads commands, one a
 * line:
 *
 *      listen|connect PATH ACTION HANDSHAKE_MS FLOW_MS
 *
 * opens a bus that way ("ready" is printed when a listener listens), does
 * ACTION until the bus comes to an end, closes it, and prints one line of JSON:
 * Waits last FLOW_MS, again and again until a line "enough" has come, and once more.
 * how opening and the action ended (0 or an errno), how many messages there
 * were, what CPU time it took, and what this process has open afterwards.
 */
#include "../test-util.h"

#include <inttypes.h>

#define MOST_MESSAGES 100000

static tachyon_bus *bus;
static int64_t flow_ns;
static uint64_t count;

static volatile uint64_t sink;
static bool enough;

/* The time is up: is it to be tried again? */
static bool goes_on(int64_t r) {
        struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
        char line[16];

        if (r != -ETIMEDOUT || enough)
                return false;
        if (poll(&input, 1, 0) > 0)
                enough = fgets(line, sizeof(line), stdin) != NULL;
        return true;
}

static int take(const tachyon_message *message) {
        unsigned char copy[8192];
        uint64_t size = message->size < sizeof(copy) ? message->size : sizeof(copy);

        memcpy(copy, message->data, size);
        sink += size ? copy[size - 1] : 0;
        count++;
        return tachyon_bus_release(bus, message->lease);
}

static int do_recv(void) {
        tachyon_message message;
        int r;

        while (count < MOST_MESSAGES) {
                do
                        r = tachyon_bus_recv(bus, &message, flow_ns);
                while (goes_on(r));
                if (r == 0)
                        r = take(&message);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int do_batch(void) {
        tachyon_message messages[16];
        int n, r = 0;

        while (r == 0 && count < MOST_MESSAGES) {
                do
                        n = tachyon_bus_recv_batch(bus, messages, 16, flow_ns);
                while (goes_on(n));
                if (n < 0)
                        return n;
                for (int i = 0; i < n && r == 0; i++)
                        r = take(&messages[i]);
        }
        return r;
}

static int do_records(void) {
        tachyon_records records;
        int64_t n;
        int r;

        while (count < MOST_MESSAGES) {
                do
                        n = tachyon_bus_recv_records(bus, &records, 32, 1000, NULL, flow_ns);
                while (goes_on(n));
                if (n < 0)
                        return (int)n;
                for (int64_t i = 0; i < n; i++)
                        sink += *((const unsigned char *)records.data + (uint64_t)i * records.stride + 31);
                count += (uint64_t)n;
                r = tachyon_bus_release(bus, records.lease);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int do_send(void) {
        int r;

        for (; count < MOST_MESSAGES; count++) {
                do
                        r = tachyon_bus_send(bus, "0123456789abcdef0123456789abcdef", 32, 1, flow_ns);
                while (goes_on(r));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int do_place(void) {
        void *data;
        int r;

        for (; count < MOST_MESSAGES; count++) {
                do
                        r = tachyon_bus_reserve(bus, &data, 300, flow_ns);
                while (goes_on(r));
                if (r < 0)
                        return r;
                memset(data, 'x', 300);
                r = tachyon_bus_commit(bus, 300, 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* What comes goes back. */
static int do_echo(void) {
        tachyon_message message;
        int r;

        for (;;) {
                r = tachyon_bus_recv(bus, &message, flow_ns);
                if (r < 0)
                        return r;
                count++;
                r = tachyon_bus_send(bus, message.data, message.size, message.type_id, flow_ns);
                tachyon_bus_release(bus, message.lease);
                if (r < 0)
                        return r;
        }
}

static const struct {
        const char *name;
        int (*fn)(void);
} actions[] = {
        { "recv", do_recv }, { "batch", do_batch }, { "records", do_records },
        { "send", do_send }, { "place", do_place }, { "echo", do_echo },
};

static int64_t cpu_us(void) {
        struct rusage usage;

        getrusage(RUSAGE_SELF, &usage);
        return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) + usage.ru_utime.tv_usec +
               usage.ru_stime.tv_usec;
}

static int meet(const char *role, const char *path, int64_t handshake_ns) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        tachyon_listener *listener;
        int r;

        options.capacity = 4096;
        options.max_capacity = 1 << 20;
        options.spin_ns = -1;
        options.handshake_timeout_ns = handshake_ns;
        if (strcmp(role, "connect") == 0)
                return tachyon_bus_connect(&bus, path, &options, handshake_ns);
        r = tachyon_listener_create(&listener, path, &options);
        if (r < 0)
                return r;
        printf("ready\n");
        fflush(stdout);
        r = tachyon_listener_accept(listener, &bus, 60 * SECOND);
        tachyon_listener_free(listener);
        return r;
}

static int act(const char *name) {
        for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
                if (strcmp(actions[i].name, name) == 0)
                        return actions[i].fn();
        return -ENOSYS;
}

int main(void) {
        char line[512], role[16], path[128], action[16];
        long long handshake_ms, flow_ms;
        int64_t begin;
        int opened, end;

        while (fgets(line, sizeof(line), stdin)) {
                if (strcmp(line, "enough\n") == 0)
                        continue; /* it was over before */
                enough = false;
                CHECK_EQ(sscanf(line, "%15s %127s %15s %lld %lld", role, path, action, &handshake_ms, &flow_ms), 5);
                begin = cpu_us();
                flow_ns = flow_ms * MS;
                count = 0;
                bus = NULL;
                end = 0;
                opened = meet(role, path, handshake_ms * MS);
                if (opened == 0)
                        end = act(action);
                tachyon_bus_free(bus);
                printf("{\"open\": %d, \"end\": %d, \"count\": %" PRIu64 ", \"cpu_us\": %" PRId64
                       ", \"descriptors\": %d, \"mappings\": %d}\n",
                       -opened, -end, count, cpu_us() - begin, fd_count(), mapping_count());
                fflush(stdout);
        }
        return 0;
}
