/* SPDX-License-Identifier: MIT */
/*
 * soak SECONDS [PAUSE_US]: six flows at once, every byte checked, between twelve
 * processes that meet again and again on the same paths. Their rings begin at
 * position 0, shortly before 2^32 and shortly before 2^63, in turn. Each
 * process tells every second what memory of its own it has (RssAnon), and how
 * many descriptors; neither may grow. PAUSE_US: what a producer sleeps after
 * each 64 messages, for machines that have something else to do.
 */
#include "flow.h"

#include "../../libtachyon/label.h"

#define N_FLOWS 6
/* For one bus. */
#define MESSAGES (STRETCH * 2048)
#define ROUND_TRIPS 100
/* Of all twelve together, since the first tenth of the time: an allocator's page here and there is no leak. */
#define ALLOWED_GROWTH_KB (2 * N_FLOWS * 128)

struct greeting {
        bool last;
};

struct figures {
        _Atomic uint64_t messages, bytes, buses;
        _Atomic int64_t own_kb, descriptors; /* when no bus is open */
        _Atomic bool done;
};

static struct figures *figures; /* of each process */
static int64_t begin_ns, seconds;
static useconds_t pause_us;

static const uint64_t starts[] = { 0, (UINT64_C(1) << 32) - (1 << 20), (UINT64_C(1) << 63) - (1 << 20) };
static const uint64_t capacities[] = { 4096, 65536, 1 << 20, 65536, 1 << 20, 4096 };

static int64_t own_memory_kb(void) {
        FILE *file = fopen("/proc/self/status", "re");
        char line[128];
        long long kb = -1;

        CHECK(file);
        while (fgets(line, sizeof(line), file))
                if (sscanf(line, "RssAnon: %lld kB", &kb) == 1)
                        break;
        fclose(file);
        return kb;
}

static void tell(struct figures *mine, const struct flow *flow) {
        atomic_fetch_add(&mine->messages, flow->index);
        atomic_fetch_add(&mine->bytes, flow->bytes);
        atomic_fetch_add(&mine->buses, 1);
        atomic_store(&mine->own_kb, own_memory_kb());
        atomic_store(&mine->descriptors, fd_count());
        CHECK_EQ(mapping_count(), 0);
}

static void produce(tachyon_bus *bus, struct flow *flow, bool last) {
        struct greeting greeting = { .last = last };
        tachyon_message reply;

        CHECK_EQ(tachyon_bus_send(bus, &greeting, sizeof(greeting), 0, -1), 0);
        while (flow->index < MESSAGES) {
                CHECK(flow_send(flow) > 0);
                if (pause_us && flow->index % 64 == 0)
                        usleep(pause_us);
        }
        for (int i = 0; i < ROUND_TRIPS; i++) {
                CHECK_EQ(tachyon_bus_recv(bus, &reply, -1), 0);
                CHECK_EQ(tachyon_bus_release(bus, reply.lease), 0);
                CHECK_EQ(tachyon_bus_send(bus, NULL, 0, 0, -1), 0);
        }
        CHECK_EQ(tachyon_bus_recv(bus, &reply, -1), -TACHYON_ECLOSED);
}

static bool consume(tachyon_bus *bus, struct flow *flow) {
        struct greeting greeting;
        tachyon_message message;

        CHECK_EQ(tachyon_bus_recv(bus, &message, -1), 0);
        memcpy(&greeting, message.data, sizeof(greeting));
        CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
        while (flow->index < MESSAGES)
                CHECK(flow_recv(flow) > 0);
        flow_release_all(flow);
        for (int i = 0; i < ROUND_TRIPS; i++) {
                CHECK_EQ(tachyon_bus_send(bus, NULL, 0, 0, -1), 0);
                CHECK_EQ(tachyon_bus_recv(bus, &message, -1), 0);
                CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
        }
        return greeting.last;
}

static void side(int number, bool producer, const char *path, struct figures *mine) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        bool listener = producer == (number % 2 == 0), last = false;
        tachyon_bus *bus;
        struct flow flow;
        int r;

        options.capacity = capacities[number];
        options.spin_ns = number % 2 ? -1 : 0;
        tachyon_start_position = starts[number % 3];
        while (!last) {
                do
                        r = listener ? tachyon_bus_listen(&bus, path, &options, -1)
                                     : tachyon_bus_connect(&bus, path, &options, -1);
                while (r == -ECONNREFUSED); /* the introduction took too long, on a machine that is that busy */
                CHECK_EQ(r, 0);
                flow_init(&flow, bus, (uint64_t)number + 1);
                last = clock_ns() - begin_ns > seconds * SECOND;
                if (producer)
                        produce(bus, &flow, last);
                else
                        last = consume(bus, &flow);
                tachyon_bus_free(bus);
                tell(mine, &flow);
        }
        atomic_store(&mine->done, true);
}

struct sample {
        uint64_t messages, bytes, buses;
        int64_t own_kb, descriptors;
        bool all_told;
};

static struct sample look(void) {
        struct sample sum = { .all_told = true };

        for (int i = 0; i < 2 * N_FLOWS; i++) {
                sum.messages += i % 2 ? atomic_load(&figures[i].messages) : 0; /* what consumers checked */
                sum.bytes += i % 2 ? atomic_load(&figures[i].bytes) : 0;
                sum.buses += i % 2 ? atomic_load(&figures[i].buses) : 0;
                sum.own_kb += atomic_load(&figures[i].own_kb);
                sum.descriptors += atomic_load(&figures[i].descriptors);
                sum.all_told &= atomic_load(&figures[i].buses) != 0;
        }
        return sum;
}

static int watch(pid_t *pids) {
        struct sample first = { .all_told = false }, now;
        int64_t told_ns = begin_ns;
        int failures = 0, left = 2 * N_FLOWS, status;
        pid_t pid;

        while (left) {
                while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
                        left--;
                        if (status) {
                                fprintf(stderr, "process %d failed: status %#x\n", (int)pid, (unsigned)status);
                                failures++;
                        }
                }
                if (failures)
                        for (int i = 0; i < 2 * N_FLOWS; i++)
                                kill(pids[i], SIGKILL); /* they are waiting for the one that failed */
                now = look();
                if (!first.all_told && clock_ns() - begin_ns >= seconds * SECOND / 10)
                        first = now;
                if (clock_ns() - told_ns > 60 * SECOND) {
                        told_ns = clock_ns();
                        printf("%5lld s: %" PRIu64 " messages, %" PRIu64 " buses, %" PRId64 " kB, %" PRId64 " descriptors\n",
                               (long long)((told_ns - begin_ns) / SECOND), now.messages, now.buses, now.own_kb,
                               now.descriptors);
                        fflush(stdout);
                }
                usleep(100000);
        }
        now = look();
        printf("%lld s, %" PRIu64 " messages (%" PRIu64 " MB, every byte checked) on %" PRIu64
               " buses, from positions 0, 2^32 and 2^63; %+" PRId64 " kB and %+" PRId64 " descriptors in %d processes\n",
               (long long)((clock_ns() - begin_ns) / SECOND), now.messages, now.bytes / 1000000, now.buses,
               now.own_kb - first.own_kb, now.descriptors - first.descriptors, 2 * N_FLOWS);
        if (!first.all_told || now.own_kb - first.own_kb > ALLOWED_GROWTH_KB || now.descriptors != first.descriptors)
                failures++;
        return failures;
}

int main(int argc, char **argv) {
        char folder[] = "/tmp/tachyon-soak-XXXXXX", path[64];
        pid_t pids[2 * N_FLOWS];
        int failures;

        seconds = argc > 1 ? atoll(argv[1]) : 20;
        pause_us = argc > 2 ? (useconds_t)atoi(argv[2]) : 0;
        CHECK(mkdtemp(folder));
        figures = mmap(NULL, 2 * N_FLOWS * sizeof(*figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CHECK(figures != MAP_FAILED);
        begin_ns = clock_ns();
        for (int i = 0; i < 2 * N_FLOWS; i++) {
                pids[i] = fork_helper();
                if (pids[i] == 0) {
                        snprintf(path, sizeof(path), "%s/%d", folder, i / 2);
                        side(i / 2, i % 2 == 0, path, &figures[i]);
                        exit(0);
                }
        }
        failures = watch(pids);
        rmdir(folder);
        return failures != 0;
}
