/* SPDX-License-Identifier: MIT */
#ifndef TEST_UTIL_H
#define TEST_UTIL_H
/*
 * The harness of the C tests. run("name", fn) runs one case in a process of
 * its own, under a watchdog, in a fresh folder, and prints one line for it;
 * afterwards the case must have closed every descriptor and unmapped every
 * ring. A failing CHECK names its file and line and ends the case only.
 *
 * PROGRAM NAME runs that one case alone, in this process, for a debugger.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../include/tachyon.h"

/* Nothing here takes long; what lasts this long hangs. */
#define WATCHDOG_SECONDS 120

/* No ring in these tests is larger. */
#define LARGEST_MEMORY ((rlim_t)256 << 20)

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
/* A time that only a hang reaches. */
#define LONG (60 * SECOND)

/* What the library under test has to say of itself: with -Dportable=true, no seals and no process descriptors. */
#ifdef TEST_PORTABLE
#define PORTABLE 1
#else
#define PORTABLE 0
#endif

#define test_unused __attribute__((__unused__))

static test_unused char test_folder[64];
static test_unused int test_failures, test_cases;
static test_unused const char *test_only;

/* ---- checks ------------------------------------------------------------- */

static test_unused _Noreturn void test_fail(const char *file, int line, const char *text) {
        fprintf(stderr, "%s:%d: %s (detail: \"%s\")\n", file, line, text, tachyon_error_detail());
        fflush(NULL);
        _exit(1);
}

static test_unused void test_equal(const char *file, int line, const char *text, int64_t value, int64_t expected) {
        char message[512];

        if (value == expected)
                return;
        snprintf(message, sizeof(message), "%s is %lld, expected %lld", text, (long long)value,
                 (long long)expected);
        test_fail(file, line, message);
}

#define CHECK(condition) \
        do { \
                if (!(condition)) \
                        test_fail(__FILE__, __LINE__, #condition); \
        } while (0)
#define CHECK_EQ(value, expected) test_equal(__FILE__, __LINE__, #value, (int64_t)(value), (int64_t)(expected))
/* Does the last failure's text speak of this? */
#define CHECK_DETAIL(word) CHECK(strstr(tachyon_error_detail(), word))

/* ---- facts to synchronise on -------------------------------------------- */

/* Waits for a fact that another thread or process brings about; the watchdog is the limit. */
#define UNTIL(condition) \
        do { \
                while (!(condition)) \
                        poll(NULL, 0, 1); \
        } while (0)

static test_unused int64_t clock_ns(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (int64_t)ts.tv_sec * SECOND + ts.tv_nsec;
}

/* The state letter of a process or thread, as in ps; 0 where there is none. */
static test_unused char task_state(pid_t process, pid_t thread) {
        char path[64], text[512], *end;
        FILE *file;
        size_t n;

        snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)process, (int)thread);
        file = fopen(path, "re");
        if (!file)
                return 0;
        n = fread(text, 1, sizeof(text) - 1, file);
        fclose(file);
        text[n] = 0;
        end = strrchr(text, ')');
        return end ? end[2] : 0;
}

static test_unused bool process_sleeps(pid_t process) {
        return task_state(process, process) == 'S';
}

/* Memory that parent and child both see. */
static test_unused void *shared_page(void) {
        void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        CHECK(p != MAP_FAILED);
        return p;
}

/* ---- resources ---------------------------------------------------------- */

static test_unused int fd_count(void) {
        DIR *folder = opendir("/proc/self/fd");
        int count = 0;

        CHECK(folder);
        while (readdir(folder))
                count++;
        closedir(folder);
        return count - 3; /* ".", ".." and the folder's own */
}

/* The lowest descriptor that is free: what RLIMIT_NOFILE has to be for none to be left. */
static test_unused int fd_lowest(void) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        CHECK(fd >= 0);
        close(fd);
        return fd;
}

/* Sets the soft limit, and gives what it was. */
static test_unused rlim_t limit_resource(unsigned int resource, rlim_t value) {
        struct rlimit limit;
        rlim_t old;

        CHECK_EQ(getrlimit(resource, &limit), 0);
        old = limit.rlim_cur;
        limit.rlim_cur = value;
        CHECK_EQ(setrlimit(resource, &limit), 0);
        return old;
}

static test_unused int mapping_count(void) {
        FILE *maps = fopen("/proc/self/maps", "re");
        char line[512];
        int count = 0;

        CHECK(maps);
        while (fgets(line, sizeof(line), maps))
                count += strstr(line, PORTABLE ? "/dev/shm/tachyon-" : "memfd:tachyon") != NULL;
        fclose(maps);
        return count;
}

/* A path in this case's folder; valid until the eighth next call. */
static test_unused const char *path_of(const char *name) {
        static char paths[8][128];
        static unsigned int turn;
        char *path = paths[turn++ % 8];

        snprintf(path, sizeof(paths[0]), "%s/%s", test_folder, name);
        return path;
}

static test_unused bool exists(const char *path) {
        struct stat st;

        return lstat(path, &st) == 0;
}

static test_unused int folder_entries(const char *path) {
        DIR *folder = opendir(path);
        int count = 0;

        CHECK(folder);
        while (readdir(folder))
                count++;
        closedir(folder);
        return count - 2;
}

static void folder_make(void) {
        const char *root = getenv("TMPDIR");

        snprintf(test_folder, sizeof(test_folder), "%.40s/tachyon-XXXXXX", root && *root ? root : "/tmp");
        if (!mkdtemp(test_folder)) {
                perror(test_folder);
                exit(1);
        }
}

static void folder_remove(void) {
        DIR *folder = opendir(test_folder);
        struct dirent *entry;
        char path[512];

        while (folder && (entry = readdir(folder)))
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
                        snprintf(path, sizeof(path), "%s/%s", test_folder, entry->d_name);
                        remove(path);
                }
        if (folder)
                closedir(folder);
        rmdir(test_folder);
}

/* ---- processes ---------------------------------------------------------- */

/* fork() whose child does not outlive us: 0 in the child. */
static test_unused pid_t fork_helper(void) {
        pid_t parent = getpid(), pid;

        fflush(NULL);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(1);
        }
        return pid;
}

/* The good end of a helper: what it inherited is closed, so that --track-fds shows only what was lost. */
static test_unused _Noreturn void helper_exit(void) {
        for (int fd = STDERR_FILENO + 1; fd < 256; fd++)
                close(fd);
        exit(0);
}

static test_unused int wait_status(pid_t pid) {
        int status;

        while (waitpid(pid, &status, 0) < 0)
                CHECK(errno == EINTR);
        return status;
}

/* The process must end well by itself. */
#define JOIN(pid) CHECK_EQ(wait_status(pid), 0)

static test_unused void kill_and_wait(pid_t pid) {
        CHECK_EQ(kill(pid, SIGKILL), 0);
        CHECK(WIFSIGNALED(wait_status(pid)));
}

/* ---- threads ------------------------------------------------------------ */

static test_unused pthread_t thread_start(void *(*fn)(void *), void *argument) {
        pthread_t thread;

        CHECK_EQ(pthread_create(&thread, NULL, fn, argument), 0);
        return thread;
}

static test_unused void thread_join(pthread_t thread) {
        CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* ---- payloads ----------------------------------------------------------- */

/* Bytes that tell one message from any other, and one place in it from the next. */
static test_unused unsigned char pattern_at(uint64_t seed, uint64_t i) {
        return (unsigned char)((seed * 131 + i * 7 + (i >> 8)) % 251);
}

static test_unused void fill(void *data, uint64_t size, uint64_t seed) {
        for (uint64_t i = 0; i < size; i++)
                ((unsigned char *)data)[i] = pattern_at(seed, i);
}

static test_unused bool matches(const void *data, uint64_t size, uint64_t seed) {
        for (uint64_t i = 0; i < size; i++)
                if (((const unsigned char *)data)[i] != pattern_at(seed, i))
                        return false;
        return true;
}

/* The same numbers in every run. */
static test_unused uint64_t next_random(uint64_t *state) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

/* ---- running ------------------------------------------------------------ */

static _Noreturn void case_main(void (*fn)(void)) {
        int fds = fd_count();

        /* Shared memory is charged to the whole machine: no slip in a test may take it all. */
        limit_resource(RLIMIT_FSIZE, LARGEST_MEMORY);

        alarm(WATCHDOG_SECONDS);
        fn();
        CHECK_EQ(fd_count(), fds);
        CHECK_EQ(mapping_count(), 0);
        if (test_only)
                folder_remove();
        exit(0);
}

static void case_report(const char *name, int status) {
        test_cases++;
        test_failures += status != 0;
        if (status == 0)
                printf("ok    %s\n", name);
        else if (WIFSIGNALED(status))
                printf("FAIL  %s: %s\n", name,
                       WTERMSIG(status) == SIGALRM ? "it hangs" : strsignal(WTERMSIG(status)));
        else
                printf("FAIL  %s\n", name);
        fflush(stdout);
}

static test_unused void run(const char *name, void (*fn)(void)) {
        pid_t pid;

        if (test_only && strcmp(test_only, name) != 0)
                return;
        folder_make();
        pid = test_only ? 0 : fork_helper();
        if (pid == 0)
                case_main(fn);
        case_report(name, wait_status(pid));
        folder_remove();
}

static test_unused void tests_begin(int argc, char **argv) {
        test_only = argc > 1 ? argv[1] : NULL;
}

static test_unused int tests_end(void) {
        printf("%d cases, %d failed\n", test_cases, test_failures);
        return test_failures != 0 || test_cases == 0;
}

#define RUN(fn) run(#fn, fn)

/* For cases that live by the kernel's RLIMIT_NOFILE: valgrind imitates it, and loses what was received. */
#define RUN_WITH_REAL_LIMITS(fn) \
        do { \
                if (getenv("TACHYON_TEST_VALGRIND")) \
                        printf("not under valgrind: %s\n", #fn); \
                else \
                        RUN(fn); \
        } while (0)

/* For cases that live by what qemu does not imitate: MADV_DONTFORK and _POPULATE, mbind(), subreapers. */
#define RUN_WITH_REAL_KERNEL(fn) \
        do { \
                if (getenv("TACHYON_TEST_EMULATED")) \
                        printf("not emulated: %s\n", #fn); \
                else \
                        RUN(fn); \
        } while (0)

#endif
