/* SPDX-License-Identifier: MIT */
/* The two processes of a round: forked, pinned, met, and ended together whatever happens to one of them. */
#include "bench.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

_Noreturn void die(const char *format, ...) {
        va_list args;

        fputs("tachyon-bench: ", stderr);
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputc('\n', stderr);
        _exit(EXIT_FAILURE);
}

_Noreturn void die_of_wrong_data(uint64_t number) {
        fprintf(stderr, "tachyon-bench: wrong data: message %llu is not what was sent\n",
                (unsigned long long)number);
        _exit(EXIT_WRONG_DATA);
}

void yield_processor(void) {
        sched_yield();
}

void round_meet(struct round *round) {
        uint32_t wanted = 2 * ++round->barriers;

        /* Release and acquire: what either side did before, the other sees after. */
        atomic_fetch_add_explicit(&round->shared->arrived, 1, memory_order_release);
        while (atomic_load_explicit(&round->shared->arrived, memory_order_acquire) < wanted)
                sched_yield();
}

void figure_set(struct round *round, const char *name, double value) {
        /* Relaxed: the parent reads after both processes have ended. */
        uint32_t i = atomic_fetch_add_explicit(&round->shared->figure_count, 1, memory_order_relaxed);

        if (i >= MOST_FIGURES)
                die("more than %d figures", MOST_FIGURES);
        round->shared->figures[i] = (struct figure){ name, value };
}

static void pin(int core) {
        cpu_set_t set;

        if (core < 0)
                return;
        CPU_ZERO(&set);
        CPU_SET((unsigned)core, &set);
        if (sched_setaffinity(0, sizeof(set), &set) < 0)
                die("cannot run on core %d: %s", core, strerror(errno));
}

static pid_t others[2];

static void kill_sides(void) {
        for (int i = 0; i < 2; i++)
                if (others[i] > 0)
                        kill(others[i], SIGKILL);
}

static volatile sig_atomic_t caught;

/* The sides end, the parent goes on and clears up. */
static void on_signal(int signal) {
        caught = signal;
        kill_sides();
}

static const int ending_signals[] = { SIGALRM, SIGINT, SIGTERM, SIGHUP };

static void handle_signals(void (*handler)(int)) {
        for (size_t i = 0; i < sizeof(ending_signals) / sizeof(ending_signals[0]); i++)
                signal(ending_signals[i], handler);
}

int round_caught_signal(void) {
        return caught;
}

static pid_t side_start(struct round *round, const struct measurement *measurement, int side) {
        pid_t parent = getpid(), pid = fork();

        if (pid < 0)
                die("cannot fork: %s", strerror(errno));
        if (pid > 0)
                return pid;
        handle_signals(SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(EXIT_FAILURE);
        round->side = side;
        pin(round->plan->cores[side]);
        measurement->side[side](round);
        _exit(EXIT_SUCCESS);
}

static int exit_code_of(int status, bool expected) {
        if (WIFEXITED(status))
                return WEXITSTATUS(status);
        if (!expected)
                fprintf(stderr, "tachyon-bench: a side was killed by signal %d\n", WTERMSIG(status));
        return EXIT_FAILURE;
}

/*
 * A failure of one side ends the other too. Wrong data is the cause, whatever
 * came of it on the other side, and in whatever order they are waited for.
 */
static int sides_await(void) {
        int status, code = EXIT_SUCCESS, ended;

        for (int left = 2; left > 0; left--) {
                pid_t pid;

                while ((pid = wait(&status)) < 0)
                        if (errno != EINTR)
                                die("cannot wait for a side: %s", strerror(errno));
                others[pid == others[1]] = 0;
                ended = exit_code_of(status, code != EXIT_SUCCESS || caught);
                if (ended == EXIT_SUCCESS)
                        continue;
                if (code == EXIT_SUCCESS || ended == EXIT_WRONG_DATA)
                        code = ended;
                kill_sides();
        }
        return code;
}

int round_run(struct round *round, const struct measurement *measurement) {
        if (measurement->prepare)
                measurement->prepare(round);
        handle_signals(on_signal);
        alarm((unsigned)round->plan->timeout_s);
        for (int side = 1; side >= 0; side--)
                others[side] = side_start(round, measurement, side);
        if (caught) /* perhaps before they were there */
                kill_sides();
        return sides_await();
}
