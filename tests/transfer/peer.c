/* SPDX-License-Identifier: MIT */
/*
 * One side of a transfer in which every byte is checked: a producer or a
 * consumer, listening or connecting. peer.py is the same program in Python, so
 * that each language can be at either side; matrix.py starts two of them.
 *
 * The rule. Message number i of a seed is made of two outputs, 2i and 2i + 1,
 * of splitmix64: they choose its size, its type_id, and where in a block of
 * random bytes (a file, the same for both sides) its payload begins. So the
 * consumer knows every message without having seen one.
 *
 * One line of JSON comes out: count, bytes, CRC-32 of all payloads, seconds,
 * how the bus ended (an errno, 0 where we closed it ourselves), and how often
 * we slept. Exit status 0 means that the flow ended as it should; a wrong byte
 * is told on standard error and is status 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include <tachyon.h>

#define NSEC_PER_SEC INT64_C(1000000000)
/* Longer than any honest wait: past it, a wake-up was lost. */
#define STUCK_NS (60 * NSEC_PER_SEC)
/* Payloads begin in the block's first MiB. */
#define START_MASK UINT64_C(0xfffff)
/* An API is used for so many messages at a time, a throttle is on or off for so many. */
#define STRETCH_BITS 6
#define MAX_BATCH 64
#define MAX_HELD 32

enum api { API_PLAIN, API_IN_PLACE, API_LEASES, API_MIXED };
enum waiting { WAIT_SPIN, WAIT_SLEEP, WAIT_MIXED };

struct arguments {
        const char *path;
        const char *block;
        const char *acknowledge; /* file whose first 8 bytes count the messages sent */
        bool producer, listener;
        enum api api;
        enum waiting waiting;
        uint64_t messages, seed, capacity, large_every;
        int64_t work_ns; /* per message, by computing */
};

struct rule {
        uint64_t size, start;
        uint32_t type_id;
};

struct held {
        tachyon_message message;
        uint64_t index;
};

struct flow {
        const struct arguments *arguments;
        tachyon_bus *bus;
        const unsigned char *block;
        _Atomic uint64_t *acknowledged;
        uint64_t largest, index, bytes;
        uint32_t crc;
        int end;
        struct held held[MAX_HELD];
        size_t n_held;
};

__attribute__((__noreturn__, __format__(__printf__, 1, 2))) static void die(const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        fprintf(stderr, "peer.c: ");
        vfprintf(stderr, format, arguments);
        fprintf(stderr, "\n");
        va_end(arguments);
        exit(1);
}

static int64_t now_ns(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* ---- the rule ----------------------------------------------------------- */

static uint64_t splitmix64(uint64_t seed, uint64_t n) {
        uint64_t z = seed + (n + 1) * UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

static uint64_t minimum(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static unsigned int bit_length(uint64_t n) {
        return n ? 64 - (unsigned int)__builtin_clzll(n) : 0;
}

/*
 * Log-uniform sizes: of up to 512 bytes mostly, up to 16 KiB once in 16, up to
 * the largest once in large_every, and exactly the largest a 16th as often.
 */
static uint64_t rule_size(uint64_t r, uint64_t large_every, uint64_t largest) {
        uint64_t dice = r & 0xffff, limit = minimum(512, largest);
        unsigned int bits;

        if (dice % (16 * large_every) == 0)
                return largest;
        if (dice % large_every == 0)
                limit = largest;
        else if (dice % 16 == 0)
                limit = minimum(16384, largest);
        bits = (unsigned int)((r >> 16 & 0xffff) % (bit_length(limit) + 1));
        return minimum(r >> 32 & ((UINT64_C(1) << bits) - 1), limit);
}

static struct rule rule_of(const struct flow *flow, uint64_t index) {
        uint64_t seed = flow->arguments->seed, r = splitmix64(seed, 2 * index + 1);

        return (struct rule){
                .size = rule_size(splitmix64(seed, 2 * index), flow->arguments->large_every, flow->largest),
                .start = r & START_MASK,
                .type_id = (uint32_t)(r >> 32),
        };
}

/* ---- CRC-32, eight bytes at a time (as zlib's, which Python has) ---------- */

static uint32_t crc_tables[8][256];

static void crc_init(void) {
        for (uint32_t n = 0; n < 256; n++) {
                uint32_t c = n;

                for (int bit = 0; bit < 8; bit++)
                        c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
                crc_tables[0][n] = c;
        }
        for (uint32_t n = 0; n < 256; n++)
                for (int k = 1; k < 8; k++)
                        crc_tables[k][n] =
                                crc_tables[k - 1][n] >> 8 ^ crc_tables[0][crc_tables[k - 1][n] & 0xff];
}

static uint32_t crc_update(uint32_t crc, const unsigned char *data, uint64_t size) {
        crc = ~crc;
        for (; size >= 8; data += 8, size -= 8) {
                uint32_t low, high;

                memcpy(&low, data, 4);
                memcpy(&high, data + 4, 4);
                low ^= crc;
                crc = crc_tables[7][low & 0xff] ^ crc_tables[6][low >> 8 & 0xff] ^
                      crc_tables[5][low >> 16 & 0xff] ^ crc_tables[4][low >> 24] ^
                      crc_tables[3][high & 0xff] ^ crc_tables[2][high >> 8 & 0xff] ^
                      crc_tables[1][high >> 16 & 0xff] ^ crc_tables[0][high >> 24];
        }
        for (; size; data++, size--)
                crc = crc >> 8 ^ crc_tables[0][(crc ^ *data) & 0xff];
        return ~crc;
}

/* ---- what both roles do ------------------------------------------------- */

/* Keeps this side slower than the other, by computing: sleeping would hide lost wake-ups. */
static void flow_work(const struct flow *flow) {
        const struct arguments *arguments = flow->arguments;
        int64_t end;

        if (!arguments->work_ns)
                return;
        /* Mixed: in stretches, so that the ring goes from full to empty and back. */
        if (arguments->waiting == WAIT_MIXED && splitmix64(~arguments->seed, flow->index >> STRETCH_BITS) & 1)
                return;
        end = now_ns() + arguments->work_ns;
        while (now_ns() < end)
                ;
}

static enum api flow_api(const struct flow *flow, unsigned int n_apis) {
        if (flow->arguments->api != API_MIXED)
                return flow->arguments->api;
        return (enum api)(splitmix64(flow->arguments->seed + 1, flow->index >> STRETCH_BITS) % n_apis);
}

static void flow_count(struct flow *flow, const void *data, uint64_t size) {
        flow->crc = crc_update(flow->crc, data, size);
        flow->bytes += size;
        flow->index++;
}

/* True where the flow goes on; ends it in good order, or dies where we are stuck. */
static bool flow_goes_on(struct flow *flow, int r, const char *what) {
        if (r >= 0)
                return true;
        if (r == -ETIMEDOUT)
                die("stuck in %s at message %" PRIu64, what, flow->index);
        if (r != -TACHYON_ECLOSED && r != -TACHYON_EPEERDEAD)
                die("%s at message %" PRIu64 ": %s (%s)", what, flow->index, tachyon_strerror(r),
                    tachyon_error_detail());
        flow->end = -r;
        return false;
}

/* ---- producer ----------------------------------------------------------- */

/* Reserves too much, writes, and keeps what is needed; every eighth time cancels first. */
static int send_in_place(struct flow *flow, const struct rule *rule, const unsigned char *data) {
        uint64_t room = minimum(rule->size + (rule->start & 255), flow->largest);
        void *place;
        int r;

        r = tachyon_bus_reserve(flow->bus, &place, room, STUCK_NS);
        if (r == 0 && (rule->type_id & 7) == 0) {
                memset(place, 0xee, room);
                r = tachyon_bus_cancel(flow->bus);
                if (r == 0)
                        r = tachyon_bus_reserve(flow->bus, &place, room, STUCK_NS);
        }
        if (r < 0)
                return r;
        memcpy(place, data, rule->size);
        return tachyon_bus_commit(flow->bus, rule->size, rule->type_id);
}

static void produce(struct flow *flow) {
        while (flow->index < flow->arguments->messages) {
                struct rule rule = rule_of(flow, flow->index);
                const unsigned char *data = flow->block + rule.start;
                int r;

                flow_work(flow);
                r = flow_api(flow, 2) == API_PLAIN
                            ? tachyon_bus_send(flow->bus, data, rule.size, rule.type_id, STUCK_NS)
                            : send_in_place(flow, &rule, data);
                if (!flow_goes_on(flow, r, "send"))
                        return;
                flow_count(flow, data, rule.size);
                if (flow->acknowledged)
                        atomic_store_explicit(flow->acknowledged, flow->index, memory_order_release);
        }
}

/* ---- consumer ----------------------------------------------------------- */

static void check(const struct flow *flow, const tachyon_message *message, uint64_t index, const char *when) {
        struct rule rule = rule_of(flow, index);
        const unsigned char *data = message->data, *expected = flow->block + rule.start;

        if (message->size != rule.size || message->type_id != rule.type_id)
                die("message %" PRIu64 " %s: size %" PRIu64 " type_id %#" PRIx32 ", expected %" PRIu64
                    " %#" PRIx32,
                    index, when, message->size, message->type_id, rule.size, rule.type_id);
        if (message->size > 48 && (uintptr_t)data % 64)
                die("message %" PRIu64 ": payload is not aligned", index);
        if (memcmp(data, expected, rule.size) == 0)
                return;
        for (uint64_t i = 0; i < rule.size; i++)
                if (data[i] != expected[i])
                        die("message %" PRIu64 " %s: byte %" PRIu64 " of %" PRIu64 " is %#x, expected %#x", index,
                            when, i, rule.size, data[i], expected[i]);
}

static void must(int r, const char *what) {
        if (r < 0)
                die("%s: %s (%s)", what, tachyon_strerror(r), tachyon_error_detail());
}

/* A lease's bytes must be the same at its end as at its beginning. */
static void release_held(struct flow *flow, size_t i) {
        struct held held = flow->held[i];

        flow->held[i] = flow->held[--flow->n_held];
        check(flow, &held.message, held.index, "at the end of its lease");
        must(tachyon_bus_release(flow->bus, held.message.lease), "release");
}

static void release_all_held(struct flow *flow) {
        while (flow->n_held)
                release_held(flow, splitmix64(flow->index, flow->n_held) % flow->n_held);
}

static int receive(struct flow *flow, tachyon_message *messages, size_t max) {
        int r;

        for (;;) {
                r = max == 1 ? tachyon_bus_recv(flow->bus, messages, STUCK_NS)
                             : tachyon_bus_recv_batch(flow->bus, messages, max, STUCK_NS);
                if (r != -TACHYON_ELEASES || !flow->n_held)
                        return max == 1 && r == 0 ? 1 : r;
                release_all_held(flow);
        }
}

/* Holds a few leases, and gives them back in a random order. */
static void hold(struct flow *flow, const tachyon_message *message) {
        flow->held[flow->n_held++] = (struct held){ .message = *message, .index = flow->index };
        if (flow->n_held == MAX_HELD)
                while (flow->n_held > MAX_HELD / 4)
                        release_held(flow, splitmix64(flow->index, flow->n_held) % flow->n_held);
}

static void consume(struct flow *flow) {
        tachyon_message messages[MAX_BATCH];

        for (;;) {
                enum api api = flow_api(flow, 3);
                int n = receive(flow, messages, api == API_IN_PLACE ? MAX_BATCH : 1);

                if (!flow_goes_on(flow, n, "recv"))
                        break;
                for (int i = 0; i < n; i++) {
                        check(flow, &messages[i], flow->index, "as received");
                        flow_work(flow);
                        if (api == API_LEASES)
                                hold(flow, &messages[i]);
                        flow_count(flow, messages[i].data, messages[i].size);
                }
                if (api == API_PLAIN)
                        must(tachyon_bus_release(flow->bus, messages[0].lease), "release");
                else if (api == API_IN_PLACE)
                        must(tachyon_bus_release_batch(flow->bus, messages, (size_t)n), "release_batch");
        }
        release_all_held(flow);
}

/* ---- the program -------------------------------------------------------- */

static void *map_file(const char *path, int flags, int protection, size_t minimum_size) {
        int fd = open(path, flags | O_CLOEXEC);
        struct stat st;
        void *address;

        if (fd < 0 || fstat(fd, &st) < 0)
                die("%s: %s", path, strerror(errno));
        if ((size_t)st.st_size < minimum_size)
                die("%s: too short", path);
        address = mmap(NULL, (size_t)st.st_size, protection, MAP_SHARED, fd, 0);
        if (address == MAP_FAILED)
                die("%s: %s", path, strerror(errno));
        return address;
}

static void open_bus(struct flow *flow) {
        const struct arguments *arguments = flow->arguments;
        static const int64_t spin_ns[] = { 3600 * NSEC_PER_SEC, -1, 0 };
        tachyon_options options = TACHYON_OPTIONS_INIT;
        tachyon_properties properties = { .struct_size = sizeof(properties) };

        options.spin_ns = spin_ns[arguments->waiting];
        if (arguments->listener) {
                options.capacity = arguments->capacity;
                must(tachyon_bus_listen(&flow->bus, arguments->path, &options, STUCK_NS), "listen");
        } else {
                must(tachyon_bus_connect(&flow->bus, arguments->path, &options, STUCK_NS), "connect");
        }
        must(tachyon_bus_properties(flow->bus, &properties), "properties");
        flow->largest = arguments->producer ? properties.max_send_size : properties.max_recv_size;
}

static void print_result(const struct flow *flow, int64_t elapsed_ns) {
        tachyon_stats stats = { .struct_size = sizeof(stats) };

        must(tachyon_bus_stats(flow->bus, &stats), "stats");
        printf("{\"count\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"checksum\": %" PRIu32
               ", \"seconds\": %.6f, \"end\": %d, \"data_sleeps\": %" PRIu64 ", \"space_sleeps\": %" PRIu64
               ", \"doorbells\": %" PRIu64 "}\n",
               flow->index, flow->bytes, flow->crc, (double)elapsed_ns / 1e9, flow->end, stats.data_sleeps,
               stats.space_sleeps, stats.doorbells);
}

static unsigned int choice(const char *value, const char *const *names, const char *option) {
        for (unsigned int i = 0; names[i]; i++)
                if (strcmp(value, names[i]) == 0)
                        return i;
        die("--%s: unknown value %s", option, value);
}

static struct arguments parse(int argc, char **argv) {
        static const char *const roles[] = { "consumer", "producer", NULL };
        static const char *const ends[] = { "connect", "listen", NULL };
        static const char *const apis[] = { "plain", "in-place", "leases", "mixed", NULL };
        static const char *const waits[] = { "spin", "sleep", "mixed", NULL };
        static const struct option options[] = {
                { "path", required_argument, NULL, 'p' },        { "role", required_argument, NULL, 'r' },
                { "end", required_argument, NULL, 'e' },         { "messages", required_argument, NULL, 'n' },
                { "seed", required_argument, NULL, 's' },        { "block", required_argument, NULL, 'b' },
                { "capacity", required_argument, NULL, 'c' },    { "large-every", required_argument, NULL, 'l' },
                { "api", required_argument, NULL, 'a' },         { "wait", required_argument, NULL, 'w' },
                { "work-ns", required_argument, NULL, 'x' },     { "acknowledge", required_argument, NULL, 'k' },
                { NULL, 0, NULL, 0 },
        };
        struct arguments arguments = { .large_every = 4096, .api = API_MIXED, .waiting = WAIT_MIXED };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
                switch (c) {
                case 'p': arguments.path = optarg; break;
                case 'r': arguments.producer = choice(optarg, roles, "role"); break;
                case 'e': arguments.listener = choice(optarg, ends, "end"); break;
                case 'n': arguments.messages = strtoull(optarg, NULL, 0); break;
                case 's': arguments.seed = strtoull(optarg, NULL, 0); break;
                case 'b': arguments.block = optarg; break;
                case 'c': arguments.capacity = strtoull(optarg, NULL, 0); break;
                case 'l': arguments.large_every = strtoull(optarg, NULL, 0); break;
                case 'a': arguments.api = (enum api)choice(optarg, apis, "api"); break;
                case 'w': arguments.waiting = (enum waiting)choice(optarg, waits, "wait"); break;
                case 'x': arguments.work_ns = strtoll(optarg, NULL, 0); break;
                case 'k': arguments.acknowledge = optarg; break;
                default: exit(2);
                }
        }
        if (!arguments.path || !arguments.block || !arguments.large_every)
                die("--path and --block are needed, and --large-every must not be 0");
        return arguments;
}

int main(int argc, char **argv) {
        struct arguments arguments = parse(argc, argv);
        struct flow flow = { .arguments = &arguments };
        int64_t begin;

        crc_init();
        if (arguments.acknowledge)
                flow.acknowledged = map_file(arguments.acknowledge, O_RDWR, PROT_READ | PROT_WRITE, 8);
        open_bus(&flow);
        flow.block = map_file(arguments.block, O_RDONLY, PROT_READ, START_MASK + flow.largest);
        begin = now_ns();
        if (arguments.producer)
                produce(&flow);
        else
                consume(&flow);
        print_result(&flow, now_ns() - begin);
        tachyon_bus_free(flow.bus);
        return 0;
}
