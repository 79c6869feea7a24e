/* SPDX-License-Identifier: MIT */
/* tachyon-bench: one short round of one measurement; bench/README.md tells which there are and what they print. */
#include "bench.h"
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern const struct measurement limit_line, limit_ring, limit_stream, limit_copy, limit_sleep;
extern const struct measurement bus_rtt, bus_wake, bus_stream, bus_bandwidth, bus_many, bus_call, bus_rpc;
extern const struct measurement socket_rtt_measurement, socket_stream_measurement, socket_bandwidth_measurement;
extern const struct measurement pipe_rtt_measurement, pipe_stream_measurement, pipe_bandwidth_measurement;

const struct measurement *const measurements[] = {
        &limit_line,
        &limit_ring,
        &limit_stream,
        &limit_copy,
        &limit_sleep,
        &bus_rtt,
        &bus_wake,
        &bus_stream,
        &bus_bandwidth,
        &bus_many,
        &bus_call,
        &bus_rpc,
        &socket_rtt_measurement,
        &socket_stream_measurement,
        &socket_bandwidth_measurement,
        &pipe_rtt_measurement,
        &pipe_stream_measurement,
        &pipe_bandwidth_measurement,
        NULL,
};

static const char usage_text[] =
        "usage: tachyon-bench MEASUREMENT [options]\n"
        "  --how NAME        a variant of it, see the list\n"
        "  --size BYTES      of each message, a multiple of 8 (64 for bandwidth); default 32\n"
        "  --count N         messages or round trips measured; default 10000\n"
        "  --warmup N        and before them, not measured; default 1000\n"
        "  --capacity BYTES  of each ring, a power of two; default 1048576\n"
        "  --buses N         for bus-many; default 1\n"
        "  --cores A,B       run the two processes on these cores; default: not pinned\n"
        "  --samples FILE    write the samples there, 64-bit words in ticks\n"
        "  --timeout SECONDS for the whole round; default 60\n"
        "  --spoil           send wrong data: the round must fail with code 4\n"
        "measurements:\n";

static _Noreturn void usage(void) {
        fputs(usage_text, stderr);
        for (size_t i = 0; measurements[i]; i++)
                fprintf(stderr, "  %-18s%s%s\n", measurements[i]->name, *measurements[i]->hows ? "--how " : "",
                        measurements[i]->hows);
        exit(EXIT_WRONG_USAGE);
}

static uint64_t parse_number(const char *text) {
        char *end;
        unsigned long long number;

        errno = 0;
        number = strtoull(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || errno)
                usage();
        return number;
}

static void parse_cores(struct plan *plan, const char *text) {
        char rest;

        if (sscanf(text, "%d,%d%c", &plan->cores[0], &plan->cores[1], &rest) != 2 || plan->cores[0] < 0 ||
            plan->cores[1] < 0)
                usage();
}

enum choice { HOW, SIZE, COUNT, WARMUP, CAPACITY, BUSES, CORES, SAMPLES, TIMEOUT, SPOIL };

static const struct option options[] = {
        { "how", required_argument, NULL, HOW },
        { "size", required_argument, NULL, SIZE },
        { "count", required_argument, NULL, COUNT },
        { "warmup", required_argument, NULL, WARMUP },
        { "capacity", required_argument, NULL, CAPACITY },
        { "buses", required_argument, NULL, BUSES },
        { "cores", required_argument, NULL, CORES },
        { "samples", required_argument, NULL, SAMPLES },
        { "timeout", required_argument, NULL, TIMEOUT },
        { "spoil", no_argument, NULL, SPOIL },
        { NULL, 0, NULL, 0 },
};

static void parse_option(struct plan *plan, int choice, const char *value) {
        switch (choice) {
        case HOW:
                plan->how = value;
                break;
        case SIZE:
                plan->size = parse_number(value);
                break;
        case COUNT:
                plan->count = parse_number(value);
                break;
        case WARMUP:
                plan->warmup = parse_number(value);
                break;
        case CAPACITY:
                plan->capacity = parse_number(value);
                break;
        case BUSES:
                plan->buses = parse_number(value);
                break;
        case CORES:
                parse_cores(plan, value);
                break;
        case SAMPLES:
                plan->samples_path = value;
                break;
        case TIMEOUT:
                plan->timeout_s = (int64_t)parse_number(value);
                break;
        case SPOIL:
                plan->spoil = true;
                break;
        default:
                usage();
        }
}

static const struct measurement *find_measurement(const char *name) {
        for (size_t i = 0; measurements[i]; i++)
                if (strcmp(measurements[i]->name, name) == 0)
                        return measurements[i];
        usage();
}

/* The variant asked for, or the first of the list. */
static const char *find_how(const char *hows, const char *wanted) {
        char list[64], *how, *state = NULL;

        snprintf(list, sizeof(list), "%s", hows);
        if (!*hows && !wanted)
                return "";
        for (how = strtok_r(list, ",", &state); how; how = strtok_r(NULL, ",", &state))
                if (!wanted || strcmp(how, wanted) == 0)
                        return strdup(how);
        usage();
}

static bool has_one_cpu(const struct plan *plan) {
        cpu_set_t set;

        if (plan->cores[0] >= 0)
                return plan->cores[0] == plan->cores[1];
        return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) == 1;
}

static void check_plan(const struct plan *plan) {
        if (plan->size < 8 || plan->size % 8 || plan->count < 1 || plan->buses < 1 || plan->timeout_s < 1)
                usage();
        if (plan->capacity < 4096 || plan->capacity & (plan->capacity - 1) || plan->size + 2 * LINE > plan->capacity)
                die("capacity must be a power of two from 4096, larger than a message");
        if (strstr(plan->mode, "bandwidth") || strstr(plan->mode, "copy"))
                if (plan->size % LINE)
                        usage();
}

static void parse_plan(struct plan *plan, int argc, char **argv) {
        int choice;

        while ((choice = getopt_long(argc, argv, "", options, NULL)) >= 0)
                parse_option(plan, choice, optarg);
        if (optind != argc - 1)
                usage();
        plan->mode = argv[optind];
        plan->yield = has_one_cpu(plan);
}

static struct shared *create_shared(const struct plan *plan) {
        size_t size = sizeof(struct shared) + (plan->count + plan_batches(plan)) * sizeof(uint64_t);
        struct shared *shared = memory_share(size);

        memory_populate(shared, size);
        shared->samples = (uint64_t *)(shared + 1);
        shared->batches = shared->samples + plan->count;
        return shared;
}

static void remove_folder(const char *folder, const char *socket) {
        char lock[128];

        snprintf(lock, sizeof(lock), "%s.lock", socket);
        unlink(socket);
        unlink(lock);
        rmdir(folder);
}

static void end_as_signalled(void) {
        int caught = round_caught_signal();

        if (caught == SIGALRM)
                die("the round took longer than --timeout");
        if (caught) {
                signal(caught, SIG_DFL);
                raise(caught);
        }
}

int main(int argc, char **argv) {
        struct plan plan = { .size = 32, .count = 10000, .warmup = 1000, .capacity = 1 << 20, .buses = 1,
                             .timeout_s = 60, .cores = { -1, -1 } };
        struct round round = { .plan = &plan };
        char folder[] = "/tmp/tachyon-bench-XXXXXX", path[64];
        const struct measurement *measurement;
        int code;

        parse_plan(&plan, argc, argv);
        measurement = find_measurement(plan.mode);
        plan.how = find_how(measurement->hows, plan.how);
        check_plan(&plan);
        clock_init();
        round.shared = create_shared(&plan);
        if (!mkdtemp(folder))
                die("cannot make a folder in /tmp: %s", strerror(errno));
        snprintf(path, sizeof(path), "%s/bus", folder);
        round.path = path;
        code = round_run(&round, measurement);
        remove_folder(folder, path);
        end_as_signalled();
        if (code == EXIT_SUCCESS) {
                report_save_samples(&round);
                report_print(&round);
        }
        return code;
}
