/* SPDX-License-Identifier: MIT */
/*
 * The kill storm: storm KILLS [SEED]. See storm.h for a round of it.
 *
 * First it counts which labels each role comes to, and kills each role once at
 * each of them; the rest of the kills is drawn: half of them at labels, half at
 * random moments, some of both sides at once. Then one round for twenty in
 * which a side is stopped and continued instead.
 *
 * "Returns within 100 ms" is measured from the kill to the return of the
 * survivor's call. This process waits for the victim's end too, on a socket of
 * its own and with nothing of tachyon; where the machine is so busy that this
 * is late as well, only what the survivor is later is counted. And where that
 * is still over the bound, the same round is done again, up to four times, and
 * the best counts: a survivor that really waits is late each time.
 */
#include "storm.h"

#include <sys/socket.h>

#define BOUND_NS (100 * MS)
#define TRIES 5
#define MOST_PLACES (N_ROLES * 2 * MOST_LABELS)

struct place {
        enum role role;
        enum role listener;
        char label[LABEL_SIZE];
        uint64_t count;
        uint64_t kills;
};

static struct round *round_;
static struct place places[MOST_PLACES];
static unsigned int n_places;
static char folder[] = "/tmp/tachyon-storm-XXXXXX", path[64];
static uint64_t dice;

/* Figures of the whole. */
static unsigned int failures, kills[N_ROLES + 1], n_late, n_repeated, n_missed, n_returned, n_stops;
static int64_t *late_ns;

struct outcome {
        int64_t late_ns; /* -1: the survivor did not have to return, as it was waiting for anybody */
        bool missed;
};

static uint64_t roll(uint64_t sides) {
        return next_random(&dice) % sides;
}

static int64_t shared_memory_kb(void) {
        FILE *file = fopen("/proc/meminfo", "re");
        char line[128];
        long long kb = -1;

        CHECK(file);
        while (fgets(line, sizeof(line), file))
                if (sscanf(line, "Shmem: %lld kB", &kb) == 1)
                        break;
        fclose(file);
        return kb;
}

static void complain(const struct plan *plan, const char *what, int status) {
        fprintf(stderr, "FAILED: %s, status %#x; victim %s%s, listener %s, %s %s after %" PRIu64 ", seed %" PRIu64 "\n",
                what, (unsigned)status, plan->victims[PRODUCER] ? "producer " : "",
                plan->victims[CONSUMER] ? "consumer" : "", plan->listener == PRODUCER ? "producer" : "consumer",
                plan->how == AT_LABEL ? "at label" : plan->how == STOPPED ? "stopped" : "at random", plan->label,
                plan->after, plan->seed);
        failures++;
}

/* ---- processes of a round ----------------------------------------------- */

static pid_t start(enum role role, int life, const struct plan *plan, int obituary[2]) {
        pid_t pid = fork_helper();

        if (pid == 0) {
                /* obituary[1] stays open here and nowhere else: its end is this process's. */
                if (obituary)
                        close(obituary[0]);
                side_main(role, life, plan, round_, path);
        }
        if (obituary)
                close(obituary[1]);
        return pid;
}

/* Where one fails, the others of the round would wait for it: partner is ended, too. */
static void reap(pid_t pid, const struct plan *plan, const char *who, bool killed, pid_t partner) {
        int status = wait_status(pid);

        if (killed ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL : status == 0)
                return;
        complain(plan, who, status);
        if (partner)
                kill(partner, SIGKILL);
}

static uint64_t acknowledged(void) {
        uint64_t sum = 0;

        for (int i = 0; i < MOST_BUSES; i++)
                sum += atomic_load_explicit(&round_->acknowledged[i], memory_order_relaxed);
        return sum;
}

static void kill_at_random(const struct plan *plan, const pid_t *pids) {
        int64_t give_up = clock_ns() + 5 * SECOND;

        while (acknowledged() < plan->after && clock_ns() < give_up)
                usleep(100);
        usleep(plan->jitter_us);
        atomic_store(&round_->killed_ns, clock_ns());
        for (int i = 0; i < N_ROLES; i++)
                if (plan->victims[i])
                        kill(pids[i], SIGKILL);
}

/* When the last of the victims ended, as a bare socket tells. */
static int64_t await_obituaries(const struct plan *plan, int (*obituaries)[2]) {
        int64_t end = 0;

        for (int i = 0; i < N_ROLES; i++)
                if (plan->victims[i]) {
                        struct pollfd fd = { .fd = obituaries[i][0] };

                        CHECK_EQ(poll(&fd, 1, -1), 1);
                        end = clock_ns();
                        close(obituaries[i][0]);
                }
        return end;
}

static struct outcome run_kill(const struct plan *plan) {
        struct outcome outcome = { .late_ns = -1 };
        int obituaries[N_ROLES][2];
        int64_t bare_ns, killed_ns, returned_ns;
        pid_t pids[N_ROLES], next[N_ROLES] = { 0, 0 };
        bool killed;

        memset(round_, 0, sizeof(*round_));
        for (int i = 0; i < N_ROLES; i++) {
                if (plan->victims[i])
                        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, obituaries[i]), 0);
                pids[i] = start((enum role)i, 0, plan, plan->victims[i] ? obituaries[i] : NULL);
        }
        if (plan->how == AT_RANDOM)
                kill_at_random(plan, pids);
        bare_ns = await_obituaries(plan, obituaries);
        killed_ns = atomic_load(&round_->killed_ns);
        killed = killed_ns != 0;
        for (int i = 0; i < N_ROLES; i++)
                if (plan->victims[i]) {
                        reap(pids[i], plan, "victim", killed, 0);
                        if (killed && !plan_closes(plan))
                                next[i] = start((enum role)i, 1, plan, NULL);
                }
        for (int i = 0; i < N_ROLES; i++)
                if (!plan->victims[i])
                        next[i] = pids[i];
        for (int i = 0; i < N_ROLES; i++)
                if (next[i])
                        reap(next[i], plan, plan->victims[i] ? "next life" : "survivor", false,
                             i == 0 ? next[1] : 0);
        returned_ns = atomic_load(&round_->returned_ns);
        outcome.missed = !killed || atomic_load(&round_->missed);
        if (killed && returned_ns > killed_ns) {
                outcome.late_ns = returned_ns - killed_ns;
                if (outcome.late_ns > BOUND_NS && bare_ns > killed_ns + BOUND_NS / 2)
                        outcome.late_ns = returned_ns > bare_ns ? returned_ns - bare_ns : 0;
        }
        unlink(path);
        return outcome;
}

/* ---- plans -------------------------------------------------------------- */

static struct plan draw(enum how how) {
        static const uint64_t capacities[] = { 4096, 16384, 1 << 20 };
        static const int64_t spins[] = { 0, -1, 2 * MS };
        struct plan plan = {
                .how = how,
                .listener = (enum role)roll(N_ROLES),
                .slow = (enum role)roll(N_ROLES + 1),
                .seed = next_random(&dice),
                .capacity = capacities[roll(3)],
                .spin_ns = spins[roll(3)],
        };

        if (how == AT_RANDOM) {
                plan.victims[PRODUCER] = roll(5) < 3;
                plan.victims[CONSUMER] = !plan.victims[PRODUCER] || roll(4) == 0;
                plan.after = roll(4) ? roll(1500) : 0;
                plan.jitter_us = (uint32_t)roll(plan.after ? 300 : 3000);
        }
        return plan;
}

static struct plan draw_at(struct place *place) {
        struct plan plan = draw(AT_LABEL);
        uint64_t most = place->count < 400 ? place->count : 400;

        plan.victims[place->role] = true;
        plan.listener = place->listener;
        /* Not each flow comes to it so often; the first time is the surest. */
        plan.after = roll(2) ? 1 : 1 + roll(most);
        snprintf(plan.label, sizeof(plan.label), "%s", place->label);
        return plan;
}

static void count_labels(void) {
        static const enum role slows[] = { PRODUCER, CONSUMER, N_ROLES };

        for (int round = 0; round < 12; round++) {
                struct plan plan = draw(COUNTED);
                pid_t pids[N_ROLES];

                plan.listener = (enum role)(round % N_ROLES);
                plan.slow = slows[round % 3];
                memset(round_, 0, sizeof(*round_));
                for (int i = 0; i < N_ROLES; i++)
                        pids[i] = start((enum role)i, 0, &plan, NULL);
                for (int i = 0; i < N_ROLES; i++)
                        reap(pids[i], &plan, "counted", false, i == 0 ? pids[1] : 0);
                for (int i = 0; i < N_ROLES; i++)
                        for (unsigned int k = 0; k < round_->census[i].n; k++) {
                                struct place place = { .role = (enum role)i, .listener = plan.listener,
                                                       .count = round_->census[i].counts[k] };
                                unsigned int at;

                                memcpy(place.label, round_->census[i].names[k], LABEL_SIZE);
                                for (at = 0; at < n_places; at++)
                                        if (places[at].role == place.role && places[at].listener == place.listener &&
                                            strcmp(places[at].label, place.label) == 0)
                                                break;
                                CHECK(at < MOST_PLACES);
                                if (at == n_places)
                                        places[n_places++] = place;
                        }
        }
}

/* ---- the storm ---------------------------------------------------------- */

static void storm_kill(const struct plan *plan, struct place *place) {
        struct outcome outcome = run_kill(plan);
        int64_t late = outcome.late_ns;

        kills[plan->victims[PRODUCER] && plan->victims[CONSUMER] ? N_ROLES : plan->victims[CONSUMER]]++;
        n_missed += outcome.missed;
        if (outcome.missed && getenv("STORM_VERBOSE"))
                printf("missed %s of role %d, listener %d, slow %d, after %" PRIu64 "\n", plan->label, plan->victims[CONSUMER], plan->listener, plan->slow, plan->after);
        if (place && !outcome.missed)
                place->kills++;
        for (int i = 1; late > BOUND_NS && i < TRIES; i++) {
                n_repeated++;
                outcome = run_kill(plan);
                if (outcome.late_ns >= 0 && outcome.late_ns < late)
                        late = outcome.late_ns;
        }
        if (late >= 0)
                late_ns[n_returned++] = late;
        n_late += late > BOUND_NS;
}

/* P4: a stopped side is not dead; all that comes of it are time-outs. */
static void storm_stop(void) {
        struct plan plan = draw(STOPPED);
        pid_t pids[N_ROLES];
        enum role victim = (enum role)roll(N_ROLES);

        memset(round_, 0, sizeof(*round_));
        for (int i = 0; i < N_ROLES; i++)
                pids[i] = start((enum role)i, 0, &plan, NULL);
        for (int i = 0; i < 5; i++) {
                usleep((useconds_t)roll(1500));
                kill(pids[victim], SIGSTOP);
                usleep((useconds_t)roll(6000));
                kill(pids[victim], SIGCONT);
                n_stops++;
        }
        for (int i = 0; i < N_ROLES; i++)
                reap(pids[i], &plan, "stopped and continued", false, i == 0 ? pids[1] : 0);
}

static int by_size(const void *a, const void *b) {
        int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

        return x < y ? -1 : x > y;
}

static double quantile_ms(double q) {
        return n_returned ? (double)late_ns[(unsigned int)(q * (n_returned - 1))] / 1e6 : 0;
}

/* Shared memory of the whole machine: others use it too, so wait a while for it to go down. */
static bool memory_is_back(int64_t base_kb, unsigned int n) {
        int64_t allowed_kb = (int64_t)n * 256 + 65536;

        for (int i = 0; i < 600; i++) {
                if (shared_memory_kb() - base_kb < allowed_kb)
                        return true;
                usleep(100000);
        }
        fprintf(stderr, "shared memory: %" PRId64 " kB before, %" PRId64 " now\n", base_kb, shared_memory_kb());
        return false;
}

static void report_labels(void) {
        printf("killed at:");
        for (unsigned int i = 0; i < n_places; i++)
                if (places[i].kills)
                        printf(" %s", places[i].label);
        printf("\n");
}

int main(int argc, char **argv) {
        unsigned int wanted = argc > 1 ? (unsigned int)atoi(argv[1]) : 300, done = 0;
        int64_t base_kb = shared_memory_kb();
        int fds;

        dice = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)clock_ns() | 1;
        printf("seed %" PRIu64 "\n", dice);
        CHECK(mkdtemp(folder));
        snprintf(path, sizeof(path), "%s/bus", folder);
        round_ = mmap(NULL, sizeof(*round_), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        late_ns = calloc(wanted + 1, sizeof(*late_ns));
        CHECK(round_ != MAP_FAILED && late_ns);
        fds = fd_count();
        count_labels();
        printf("%u places to kill at: labels, of each role, as listener and as connector\n", n_places);
        for (unsigned int i = 0; i < n_places && done < wanted; i++)
                /* Others than the first time it is come to are drawn below; again where the flow went another way. */
                for (int tries = 0; !places[i].kills && tries < 6 && done < wanted; tries++, done++) {
                        struct plan plan = draw_at(&places[i]);

                        plan.after = 1;
                        storm_kill(&plan, &places[i]);
                }
        for (; done < wanted; done++) {
                struct place *place = roll(2) ? &places[roll(n_places)] : NULL;
                struct plan plan = place ? draw_at(place) : draw(AT_RANDOM);

                storm_kill(&plan, place);
                if (done % 1000 == 999)
                        printf("%u kills, %u failures\n", done + 1, failures), fflush(stdout);
        }
        for (unsigned int i = 0; i < wanted / 20; i++)
                storm_stop();
        CHECK_EQ(fd_count(), fds);
        if (!memory_is_back(base_kb, done))
                failures++;
        qsort(late_ns, n_returned, sizeof(*late_ns), by_size);
        if (n_late > n_returned / 1000)
                failures++;
        rmdir(folder);
        report_labels();
        printf("rounds that went past their label: %u; survivors over 100 ms: %u; rounds done again for it: %u\n", n_missed, n_late,
               n_repeated);
        printf("%u kills (%u producers, %u consumers, %u both), survivors p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, "
               "%u stops, %u failures\n",
               done, kills[PRODUCER], kills[CONSUMER], kills[N_ROLES], quantile_ms(0.5), quantile_ms(0.99),
               quantile_ms(0.999), n_stops, failures);
        return failures != 0;
}
