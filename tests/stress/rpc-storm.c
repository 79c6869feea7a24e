/* SPDX-License-Identifier: MIT */
/*
 * rpc-storm [CALLS [ROUNDS]]: clients that keep 1,000 calls outstanding and check
 * every reply, and a server that answers each client's in random order by three
 * workers; beside them victims that do the same are killed and started again all
 * the while. After each round the server's descriptors, mappings and heap must be
 * what they were after the first.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <tachyon.h>
#include <time.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#define AT_ONCE 1000
#define WORKERS 3
#define CLIENTS 2
#define NS_PER_S INT64_C(1000000000)
#define LONG (60 * NS_PER_S)
#define FOREVER UINT64_MAX
#define SLACK_BYTES (256 << 10)

#define CHECK(x)                                                                                    \
        do {                                                                                        \
                if (!(x)) {                                                                         \
                        fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #x, tachyon_error_detail()); \
                        abort();                                                                    \
                }                                                                                   \
        } while (0)

static uint64_t next_random(uint64_t *state) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

/* ---- a client ----------------------------------------------------------- */

/* What the reply to the number-th request must be: that number, and so many of its low byte. */
static size_t fill(unsigned char *data, uint64_t number) {
        memcpy(data, &number, sizeof(number));
        memset(data + sizeof(number), (int)number, number % 100);
        return sizeof(number) + number % 100;
}

static void await_one(tachyon_rpc *rpc, uint64_t id, uint64_t number) {
        unsigned char expected[128];
        size_t size = fill(expected, number);
        tachyon_message reply;

        CHECK(tachyon_rpc_wait(rpc, id, &reply, LONG) == 0);
        CHECK(reply.size == size && memcmp(reply.data, expected, size) == 0);
        CHECK(tachyon_rpc_release(rpc, &reply) == 0);
}

static tachyon_options rpc_options(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;

        options.kind = TACHYON_KIND_RPC;
        return options;
}

static int client_main(const char *path, uint64_t calls) {
        static uint64_t ids[AT_ONCE], numbers[AT_ONCE];
        tachyon_rpc_counters counters = { .struct_size = sizeof(counters) };
        tachyon_options options = rpc_options();
        uint64_t random = (uint64_t)getpid() * UINT64_C(0x9e3779b97f4a7c15) | 1, pick;
        unsigned char data[128];
        tachyon_rpc *rpc;
        tachyon_bus *bus;

        CHECK(tachyon_bus_connect(&bus, path, &options, LONG) == 0);
        CHECK(tachyon_rpc_create(&rpc, bus) == 0);
        for (uint64_t i = 0; i < calls; i++) {
                pick = i;
                if (i >= AT_ONCE) {
                        pick = next_random(&random) % AT_ONCE;
                        await_one(rpc, ids[pick], numbers[pick]);
                }
                numbers[pick] = i;
                CHECK(tachyon_rpc_submit(rpc, data, fill(data, i), 1, &ids[pick], LONG) == 0);
        }
        for (uint64_t i = 0; i < AT_ONCE && i < calls; i++)
                await_one(rpc, ids[i], numbers[i]);
        CHECK(tachyon_rpc_stats(rpc, &counters) == 0);
        CHECK(counters.replies == calls && !counters.dropped && !counters.outstanding && !counters.stored);
        tachyon_rpc_free(rpc);
        return 0;
}

/* ---- the server: for each client a thread that takes requests, and workers that answer ---- */

struct office {
        tachyon_rpc *rpc;
        pthread_mutex_t lock;
        pthread_cond_t more, fewer;
        tachyon_message waiting[AT_ONCE];
        uint64_t count, random;
        bool over;
};

static pthread_mutex_t offices_lock = PTHREAD_MUTEX_INITIALIZER;
static int offices;

static void count_offices(int change) {
        pthread_mutex_lock(&offices_lock);
        offices += change;
        pthread_mutex_unlock(&offices_lock);
}

static int open_offices(void) {
        int count;

        pthread_mutex_lock(&offices_lock);
        count = offices;
        pthread_mutex_unlock(&offices_lock);
        return count;
}

/* One at a time replies: the lock, which is held for as long as the ring is full, too. */
static void answer_one(struct office *office) {
        uint64_t pick = next_random(&office->random) % office->count;
        tachyon_message request = office->waiting[pick];
        int r = tachyon_rpc_reply(office->rpc, request.correlation_id, request.data, request.size, 0, LONG);

        CHECK(r == 0 || r == -TACHYON_EPEERDEAD || r == -TACHYON_ECLOSED);
        CHECK(tachyon_rpc_release(office->rpc, &request) == 0);
        office->waiting[pick] = office->waiting[--office->count];
        pthread_cond_signal(&office->fewer);
}

static void *worker_main(void *context) {
        struct office *office = context;

        pthread_mutex_lock(&office->lock);
        for (;;) {
                while (!office->count && !office->over)
                        pthread_cond_wait(&office->more, &office->lock);
                if (!office->count)
                        break;
                answer_one(office);
                pthread_mutex_unlock(&office->lock); /* another one's turn */
                pthread_mutex_lock(&office->lock);
        }
        pthread_mutex_unlock(&office->lock);
        return NULL;
}

static void take_all(struct office *office) {
        tachyon_message request;
        int r;

        while ((r = tachyon_rpc_serve(office->rpc, &request, -1)) == 0) {
                pthread_mutex_lock(&office->lock);
                while (office->count == AT_ONCE)
                        pthread_cond_wait(&office->fewer, &office->lock);
                office->waiting[office->count++] = request;
                pthread_cond_signal(&office->more);
                pthread_mutex_unlock(&office->lock);
        }
        CHECK(r == -TACHYON_EPEERDEAD || r == -TACHYON_ECLOSED);
}

static void *office_main(void *context) {
        struct office *office = context;
        pthread_t workers[WORKERS];

        for (int i = 0; i < WORKERS; i++)
                CHECK(pthread_create(&workers[i], NULL, worker_main, office) == 0);
        take_all(office);
        pthread_mutex_lock(&office->lock);
        office->over = true;
        pthread_cond_broadcast(&office->more);
        pthread_mutex_unlock(&office->lock);
        for (int i = 0; i < WORKERS; i++)
                pthread_join(workers[i], NULL);
        tachyon_rpc_free(office->rpc);
        free(office);
        count_offices(-1);
        return NULL;
}

static void open_office(tachyon_bus *bus) {
        struct office *office = calloc(1, sizeof(*office));
        pthread_t thread;

        CHECK(office && tachyon_rpc_create(&office->rpc, bus) == 0);
        pthread_mutex_init(&office->lock, NULL);
        pthread_cond_init(&office->more, NULL);
        pthread_cond_init(&office->fewer, NULL);
        office->random = 1;
        count_offices(1);
        CHECK(pthread_create(&thread, NULL, office_main, office) == 0);
        pthread_detach(thread);
}

static void *accept_main(void *context) {
        tachyon_bus *bus;
        int r;

        while ((r = tachyon_listener_accept(context, &bus, -1)) == 0)
                open_office(bus);
        CHECK(r == -ECANCELED);
        return NULL;
}

/* ---- rounds ------------------------------------------------------------- */

static const char *program;

static pid_t start_client(const char *path, uint64_t calls) {
        char number[32];
        pid_t pid;

        snprintf(number, sizeof(number), "%llu", (unsigned long long)calls);
        pid = vfork();
        CHECK(pid >= 0);
        if (pid == 0) {
                execl(program, program, "--client", path, number, (char *)NULL);
                _exit(127);
        }
        return pid;
}

static void sleep_ms(int ms) {
        nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL);
}

struct facts {
        int descriptors, mappings;
        uint64_t heap_bytes;
};

static struct facts facts_now(void) {
        struct facts facts = { 0 };
        char line[512];
        DIR *folder = opendir("/proc/self/fd");
        FILE *maps = fopen("/proc/self/maps", "re");

        CHECK(folder && maps);
        while (readdir(folder))
                facts.descriptors++;
        while (fgets(line, sizeof(line), maps))
                facts.mappings += strstr(line, "tachyon") != NULL && strstr(line, "memfd") != NULL;
        closedir(folder);
        fclose(maps);
#ifdef __GLIBC__
        facts.heap_bytes = mallinfo2().uordblks;
#endif
        return facts;
}

/* Kills and restarts until all clients have ended; how many it killed. */
static int kill_all_the_while(const char *path, const pid_t clients[CLIENTS], uint64_t *random) {
        int left = CLIENTS, killed = 0, status;
        bool ended[CLIENTS] = { false };

        while (left) {
                pid_t victim = start_client(path, FOREVER);

                sleep_ms(5 + (int)(next_random(random) % 40));
                kill(victim, SIGKILL);
                CHECK(waitpid(victim, &status, 0) == victim && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
                killed++;
                for (int i = 0; i < CLIENTS; i++)
                        if (!ended[i] && waitpid(clients[i], &status, WNOHANG) == clients[i]) {
                                CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
                                ended[i] = true;
                                left--;
                        }
        }
        return killed;
}

static int run_round(const char *path, uint64_t calls, uint64_t *random) {
        pid_t clients[CLIENTS];
        int killed;

        for (int i = 0; i < CLIENTS; i++)
                clients[i] = start_client(path, calls);
        killed = kill_all_the_while(path, clients, random);
        while (open_offices())
                sleep_ms(1);
        sleep_ms(50); /* the detached threads give back their stacks */
        return killed;
}

static double seconds_now(void) {
        struct timespec time;

        clock_gettime(CLOCK_MONOTONIC, &time);
        return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int storm(uint64_t calls, int rounds) {
        char folder[] = "/tmp/storm-XXXXXX", path[64];
        tachyon_options options = rpc_options();
        uint64_t random = 88172645463325252, each = calls / CLIENTS / (uint64_t)rounds + 1;
        struct facts base = { 0 }, now = { 0 };
        tachyon_listener *listener;
        double begin = seconds_now();
        pthread_t accepting;
        int killed = 0;

        CHECK(mkdtemp(folder));
        snprintf(path, sizeof(path), "%s/bus", folder);
        CHECK(tachyon_listener_create(&listener, path, &options) == 0);
        CHECK(pthread_create(&accepting, NULL, accept_main, listener) == 0);
        for (int i = 0; i < rounds; i++) {
                killed += run_round(path, each, &random);
                now = facts_now();
                if (i == 0)
                        base = now;
                CHECK(now.descriptors == base.descriptors && now.mappings == base.mappings);
                CHECK(now.heap_bytes < base.heap_bytes + SLACK_BYTES);
        }
        tachyon_listener_close(listener);
        pthread_join(accepting, NULL);
        tachyon_listener_free(listener);
        rmdir(folder);
        printf("%llu calls answered in %.1f s, %d clients killed; descriptors %d, mappings %d; "
               "heap %llu bytes after the first round, %llu after the last\n",
               (unsigned long long)(each * CLIENTS * (uint64_t)rounds), seconds_now() - begin, killed,
               now.descriptors, now.mappings, (unsigned long long)base.heap_bytes,
               (unsigned long long)now.heap_bytes);
        return 0;
}

int main(int argc, char **argv) {
        program = argv[0];
        if (argc == 4 && strcmp(argv[1], "--client") == 0)
                return client_main(argv[2], strtoull(argv[3], NULL, 10));
        return storm(argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000, argc > 2 ? atoi(argv[2]) : 10);
}
