/* SPDX-License-Identifier: MIT */
/*
 * Many buses held open by one process (side 1, the hub): what each costs in
 * memory and descriptors, how fast they are accepted, and whether a message
 * costs more among many, on one of them or going round all.
 */
#include "bus_link.h"
#include "loops.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define CONNECT_TIMEOUT_NS INT64_C(10000000000)

struct many {
        tachyon_bus **buses;
        uint64_t count;
        uint64_t next_send;
        uint64_t next_recv;
        uint64_t step; /* 0: always the first bus; 1: round all of them */
};

/* ---- what they cost ---- */

/* A line "NAME:   123 kB" of a file in /proc, in bytes. */
static double proc_bytes(const char *path, const char *name) {
        FILE *file = fopen(path, "re");
        char line[256];
        unsigned long long kib = 0;

        if (!file)
                die("cannot read %s: %s", path, strerror(errno));
        while (fgets(line, sizeof(line), file))
                if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
                        sscanf(line + strlen(name) + 1, "%llu", &kib);
        fclose(file);
        return (double)kib * 1024;
}

/* Memory that is this process's alone: the heap, and the page tables of all mappings. */
static double private_bytes(void) {
        return proc_bytes("/proc/self/smaps_rollup", "Pss_Anon") + proc_bytes("/proc/self/status", "VmPTE");
}

static double resident_bytes(void) {
        return proc_bytes("/proc/self/smaps_rollup", "Pss");
}

/* Of the whole system: the rings, whether anyone has touched them or not. */
static double shared_bytes(void) {
        return proc_bytes("/proc/meminfo", "Shmem");
}

static double descriptor_count(void) {
        DIR *folder = opendir("/proc/self/fd");
        double count = 0;

        if (!folder)
                die("cannot read /proc/self/fd: %s", strerror(errno));
        while (readdir(folder))
                count++;
        closedir(folder);
        return count;
}

/* ---- opening them ---- */

static void raise_descriptor_limit(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                setrlimit(RLIMIT_NOFILE, &limit);
        }
}

static void hub_accept(struct round *round, struct many *many, const tachyon_options *options) {
        tachyon_listener *listener;
        int r = tachyon_listener_create(&listener, round->path, options);
        uint64_t start = 0;

        if (r < 0)
                bus_die("listen", r);
        for (uint64_t i = 0; i < many->count; i++) {
                r = tachyon_listener_accept(listener, &many->buses[i], CONNECT_TIMEOUT_NS);
                if (r < 0)
                        bus_die("accept", r);
                if (i == 0) /* the connector may have come late to this one */
                        start = ticks();
        }
        if (many->count > 1)
                figure_set(round, "accepts_per_second",
                           (double)(many->count - 1) * 1e9 / ((double)(ticks() - start) * clock_facts()->ns_per_tick));
        tachyon_listener_free(listener);
}

static void connect_all(struct round *round, struct many *many, const tachyon_options *options) {
        for (uint64_t i = 0; i < many->count; i++) {
                int r = tachyon_bus_connect(&many->buses[i], round->path, options, CONNECT_TIMEOUT_NS);

                if (r < 0)
                        bus_die("connect", r);
        }
}

static void many_open(struct round *round, struct many *many, bool prefault) {
        tachyon_options options = bus_options(round);

        raise_descriptor_limit();
        *many = (struct many){
                .buses = memory_private(round->plan->buses * sizeof(*many->buses)),
                .count = round->plan->buses,
                .step = how_is(round, "robin"),
        };
        if (!prefault)
                options.flags = 0;
        round_meet(round);
        if (round->side == 0)
                connect_all(round, many, &options);
        else
                hub_accept(round, many, &options);
        round_meet(round);
}

static void many_close(struct round *round, struct many *many) {
        round_meet(round);
        for (uint64_t i = 0; i < many->count; i++)
                tachyon_bus_free(many->buses[i]);
}

/* ---- messages ---- */

/* Both sides go round in the same order, each with one place for sending and one for receiving. */
static always_inline tachyon_bus *many_next(struct many *many, uint64_t *place) {
        tachyon_bus *bus = many->buses[*place];

        *place += many->step;
        if (*place >= many->count)
                *place = 0;
        return bus;
}

static always_inline void many_send(void *link, const void *data, size_t size) {
        struct many *many = link;

        bus_send(many_next(many, &many->next_send), data, size);
}

static always_inline void many_recv(void *link, void *data, size_t size) {
        struct many *many = link;

        bus_recv(many_next(many, &many->next_recv), data, size);
}

TRIPS(many, many_send, many_recv)

static void messages_run(struct round *round) {
        struct many many;

        many_open(round, &many, true);
        (round->side == 0 ? many_drive : many_echo)(round, &many);
        many_close(round, &many);
}

/* Idle buses, with the options as they are by default. */
static void idle_run(struct round *round) {
        bool hub = round->side == 1;
        double descriptors, private, resident, shared;
        struct many many;

        round_meet(round);
        descriptors = descriptor_count();
        private = private_bytes();
        resident = resident_bytes();
        shared = shared_bytes();
        many_open(round, &many, false);
        figure_set(round, hub ? "hub_private_bytes" : "connector_private_bytes", private_bytes() - private);
        if (hub) {
                figure_set(round, "hub_resident_bytes", resident_bytes() - resident);
                figure_set(round, "descriptors", descriptor_count() - descriptors);
                figure_set(round, "shared_bytes", shared_bytes() - shared);
        }
        many_close(round, &many);
}

static void many_run(struct round *round) {
        if (how_is(round, "idle"))
                idle_run(round);
        else
                messages_run(round);
}

const struct measurement bus_many = { "bus-many", "one,robin,idle", NULL, { many_run, many_run } };
