/* SPDX-License-Identifier: MIT */
/*
 * eintr MESSAGES: a flow between two processes into each of which a timer sends
 * a signal every 50 microseconds, with a handler and without SA_RESTART. Every
 * byte must arrive once, and calls may only say EINTR. Small rings, and no
 * polling, so that both sides sleep as often as they can.
 */
#include "flow.h"

#define PERIOD_NS 50000

struct counters {
        _Atomic uint64_t signals, interrupts, bytes;
};

static struct counters *counters;
static volatile sig_atomic_t storm_is_on;

static void on_signal(int number) {
        (void)number;
        if (storm_is_on)
                atomic_fetch_add_explicit(&counters->signals, 1, memory_order_relaxed);
}

static void storm_start(void) {
        const struct itimerspec period = { .it_interval = { .tv_nsec = PERIOD_NS }, .it_value = { .tv_nsec = PERIOD_NS } };
        struct sigaction action = { .sa_handler = on_signal };
        struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
        timer_t timer;

        CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
        CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
        storm_is_on = 1;
        CHECK_EQ(timer_settime(timer, 0, &period, NULL), 0);
}

static void side(bool producer, bool listener, const char *path, uint64_t messages, int64_t spin_ns) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        tachyon_message reply;
        tachyon_bus *bus;
        struct flow flow;
        int64_t r;

        options.capacity = 8192;
        options.spin_ns = spin_ns;
        do
                r = listener ? tachyon_bus_listen(&bus, path, &options, -1)
                             : tachyon_bus_connect(&bus, path, &options, -1);
        while (r == -ECONNREFUSED); /* the introduction took too long, on a machine that is that busy */
        CHECK_EQ(r, 0);
        /* Only now: an introduction that is interrupted begins anew, and takes longer than 50 microseconds. */
        storm_start();
        flow_init(&flow, bus, 5);
        while (flow.index < messages) {
                r = producer ? flow_send(&flow) : flow_recv(&flow);
                CHECK(r > 0);
        }
        flow_release_all(&flow);
        do
                r = producer ? tachyon_bus_recv(bus, &reply, -1) : tachyon_bus_send(bus, NULL, 0, 0, -1);
        while (r == -EINTR);
        CHECK_EQ(r, 0);
        if (producer)
                CHECK_EQ(tachyon_bus_release(bus, reply.lease), 0);
        atomic_fetch_add(&counters->interrupts, flow.interrupts);
        atomic_fetch_add(&counters->bytes, flow.bytes);
        tachyon_bus_free(bus);
        storm_is_on = 0;
}

int main(int argc, char **argv) {
        uint64_t messages = (argc > 1 ? strtoull(argv[1], NULL, 0) : 100000) / STRETCH * STRETCH / 2, all = 0;
        char folder[] = "/tmp/tachyon-eintr-XXXXXX", path[64];
        int status, failures = 0;

        CHECK(mkdtemp(folder));
        snprintf(path, sizeof(path), "%s/bus", folder);
        messages = messages / STRETCH * STRETCH;
        counters = shared_page();
        for (int round = 0; round < 2; round++) {
                pid_t pids[2];

                for (int i = 0; i < 2; i++) {
                        pids[i] = fork_helper();
                        if (pids[i] == 0) {
                                side(i == 0, i == round, path, messages, round ? -1 : 0);
                                exit(0);
                        }
                }
                for (int i = 0; i < 2; i++) {
                        status = wait_status(pids[i]);
                        failures += status != 0;
                        if (status && i == 0)
                                kill(pids[1], SIGKILL);
                }
                all += messages;
        }
        rmdir(folder);
        printf("%" PRIu64 " messages, %" PRIu64 " MB, every byte checked, under %" PRIu64 " signals, of which %" PRIu64
               " interrupted a wait\n",
               all, atomic_load(&counters->bytes) / 1000000, atomic_load(&counters->signals),
               atomic_load(&counters->interrupts));
        return failures || !atomic_load(&counters->interrupts);
}
