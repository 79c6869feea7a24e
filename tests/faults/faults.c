/* SPDX-License-Identifier: MIT */
/*
 * Every call of the system that the library makes fails with every errno that
 * it may give, once and from then on, at every time that it is made; and limits
 * of the process go up from nothing, by one, until all is well.
 *
 *      faults [EVERY [CALL]]   only every EVERY-th case, of one call only
 *
 * Each case is a process of its own, with an honest partner. It must neither
 * crash nor hang nor lose a descriptor, a mapping or memory, and either carry on
 * as if nothing had been, or fail with this errno, or one that `becomes` names.
 */
#include "faults.h"
#include "wrap.h"

#include <inttypes.h>

#define HANG_SECONDS 60
/* What a wait lasts that nobody ends; shorter where a fault that lasts may be why. */
#define PATIENCE_NS (20 * SECOND)
#define HASTE_NS (SECOND / 2)

/* By call: what it may give. Of those that the library must try again itself, never for ever. */
static const struct {
        const char *call;
        int errors[9];
        int once[3];
} table[] = {
        { "accept4", { EMFILE, ENFILE, ENOMEM, ENOBUFS, ECONNABORTED, EINTR, EAGAIN, EPERM }, { 0 } },
        { "access", { EACCES, EIO, ENOENT, ENAMETOOLONG }, { 0 } },
        { "aligned_alloc", { ENOMEM }, { 0 } },
        { "bind", { EACCES, EADDRINUSE, ENOENT, EROFS, ENOMEM, EIO }, { 0 } },
        { "calloc", { ENOMEM }, { 0 } },
        { "chmod", { EPERM, EIO, EROFS }, { 0 } },
        { "close", { EINTR, EIO, ENOSPC }, { 0 } },
        { "connect", { EACCES, EAGAIN, ENOENT, ENOMEM, EINTR, EPROTOTYPE }, { ECONNREFUSED } },
        { "epoll_create1", { EMFILE, ENFILE, ENOMEM }, { 0 } },
        { "epoll_ctl", { ENOMEM, ENOSPC }, { 0 } },
        { "fallocate64", { ENOSPC, ENOMEM, EFBIG, EINTR, EOPNOTSUPP }, { 0 } },
        { "fchmod", { EPERM, EIO, EROFS }, { 0 } },
        { "fcntl64", { EPERM, EBUSY, EINVAL }, { 0 } },
        { "flock", { EWOULDBLOCK, EINTR, ENOLCK }, { 0 } },
        { "fstat64", { EIO, ENOMEM, EOVERFLOW }, { 0 } },
        { "fstatfs64", { EIO, ENOMEM, ENOSYS }, { 0 } },
        { "ftruncate64", { EINTR, EFBIG, ENOSPC, EINVAL }, { 0 } },
        { "getrlimit64", { EPERM, EINVAL }, { 0 } },
        { "getsockopt", { ENOPROTOOPT, ENOMEM, ENOBUFS, EMFILE }, { 0 } },
        { "listen", { EADDRINUSE, EOPNOTSUPP }, { 0 } },
        { "lstat64", { EACCES, ENOENT, EIO, ENOMEM }, { 0 } },
        { "madvise", { ENOMEM, EAGAIN, EINVAL }, { 0 } },
        { "membarrier", { ENOSYS, EPERM, EINVAL }, { 0 } },
        { "memfd_create", { EMFILE, ENFILE, ENOMEM, EINVAL, EPERM }, { 0 } },
        { "mlock", { ENOMEM, EPERM, EAGAIN }, { 0 } },
        { "mmap64", { ENOMEM, EAGAIN, EPERM, ENFILE }, { 0 } },
        { "munmap", { ENOMEM, EINVAL }, { 0 } },
        { "open64", { EMFILE, ENFILE, ENOMEM, EACCES, EROFS, ENOSPC, EINTR, EIO }, { 0 } },
        { "pidfd_open", { EMFILE, ENFILE, ENOMEM, ESRCH, ENOSYS, EPERM }, { 0 } },
        { "poll", { EINTR, ENOMEM }, { 0 } },
        { "ppoll", { EINTR, ENOMEM }, { 0 } },
        { "pread64", { EIO, EINTR }, { 0 } },
        { "recv", { EAGAIN, ECONNRESET }, { EINTR } },
        { "recvmsg", { ENOMEM, ENOBUFS, ECONNRESET }, { EINTR, EAGAIN } },
        /* Not EAGAIN: it means that bytes are there unread, which cannot be pretended. */
        { "send", { ENOBUFS, ENOMEM, EPIPE, ECONNRESET }, { EINTR } },
        { "sendmsg", { EAGAIN, ENOBUFS, ENOMEM, EPIPE, ECONNRESET, ETOOMANYREFS }, { EINTR } },
        { "setsockopt", { ENOPROTOOPT, ENOMEM }, { 0 } },
        { "shutdown", { ENOTCONN, ENOMEM }, { 0 } },
        { "socket", { EMFILE, ENFILE, ENOMEM, ENOBUFS }, { 0 } },
        { "socketpair", { EMFILE, ENFILE, ENOMEM, EOPNOTSUPP }, { 0 } },
        { "stat64", { EACCES, ENOENT, EIO }, { 0 } },
        { "unlink", { EACCES, ENOENT, EROFS, EBUSY, EIO }, { 0 } },
};

#define N_TABLE (sizeof(table) / sizeof(table[0]))

static unsigned int cases, passed, not_come_to;
static struct outcome *outcome, *plain[2];

/* ---- one case ----------------------------------------------------------- */

static _Noreturn void fault_case(bool listens, const struct fault *the_fault, int resource, uint64_t limit,
                                 int64_t patience_ns) {
        const char *path = path_of("bus");
        int fds = fd_count();
        long blocks = heap_blocks;
        struct rusage usage;
        rlim_t before = 0;

        alarm(HANG_SECONDS);
        fault = *the_fault;
        if (resource >= 0)
                before = limit_resource((unsigned int)resource, limit);
        scenario_victim(listens, path, outcome, patience_ns);
        if (resource >= 0)
                limit_resource((unsigned int)resource, before);
        outcome->hit = fault.hit;
        for (unsigned int i = 0; i < n_calls; i++) {
                snprintf(outcome->names[i], sizeof(outcome->names[i]), "%s", call_names[i]);
                outcome->counts[i] = call_counts[i];
        }
        outcome->n_calls = n_calls;
        CHECK_EQ(fd_count(), fds);
        CHECK_EQ(mapping_count(), 0);
        CHECK_EQ(heap_blocks, blocks);
        getrusage(RUSAGE_SELF, &usage);
        CHECK(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec < 2); /* it does not spin */
        outcome->done = true;
        _exit(0);
}

/* The status of the process: 0 where it came to its end, whatever the library said. */
static int play(bool listens, const struct fault *the_fault, int resource, uint64_t limit, int64_t patience_ns) {
        pid_t victim, partner;
        int status;

        memset(outcome, 0, sizeof(*outcome));
        folder_make();
        partner = fork_helper();
        if (partner == 0)
                scenario_partner(!listens, path_of("bus"));
        victim = fork_helper();
        if (victim == 0)
                fault_case(listens, the_fault, resource, limit, patience_ns);
        status = wait_status(victim);
        kill(partner, SIGKILL);
        wait_status(partner);
        folder_remove();
        return status;
}

/* ---- judging ------------------------------------------------------------ */

/* What an errno of a call may become, where that is right; 0 ends the row. */
static const struct {
        const char *call;
        int error;
        int becomes[3];
} becomings[] = {
        /* What the peer's descriptors do when they are asked is the peer's doing. */
        { "fcntl64", 0, { EPROTO } },
        { "fstat64", 0, { EPROTO } },
        { "fstatfs64", 0, { EPROTO } },
        { "pread64", 0, { EPROTO } },
        { "getsockopt", 0, { EPROTO } },
        { "sendmsg", EAGAIN, { EPROTO } }, /* it reads nothing */
        { "sendmsg", EPIPE, { ECONNREFUSED, EOWNERDEAD } },
        { "sendmsg", ECONNRESET, { ECONNREFUSED, EOWNERDEAD } },
        { "sendmsg", ETOOMANYREFS, { EMFILE } },
        { "sendmsg", ENOBUFS, { ENOMEM } }, /* ENOBUFS means leases here */
        { "recvmsg", ECONNRESET, { ECONNREFUSED } },
        { "recv", ECONNRESET, { EOWNERDEAD } },
        { "send", EPIPE, { EOWNERDEAD } },
        { "send", ECONNRESET, { EOWNERDEAD } },
        /* No byte can be sent, ever: nobody can be woken. */
        { "send", ENOBUFS, { ETIMEDOUT } },
        { "send", ENOMEM, { ETIMEDOUT } },
        /* No listener there, to all appearances; and a socket that is none of a listener's. */
        { "connect", EAGAIN, { ETIMEDOUT } },
        { "connect", ENOENT, { ETIMEDOUT } },
        { "connect", EINTR, { ETIMEDOUT } },
        { "connect", EPROTOTYPE, { EPROTO } },
        { "flock", EWOULDBLOCK, { EADDRINUSE } },
        { "stat64", ENOENT, { EADDRINUSE } }, /* the lock file is removed by somebody, always */
};

/* A listener waits for the next one where an introduction fails by what may be the peer's fault. */
static bool may_wait_in_vain(const struct fault *f) {
        static const char *const calls[] = { "fcntl64", "fstat64", "fstatfs64", "pread64",  "getsockopt",
                                             "sendmsg", "recvmsg", "accept4",   "epoll_ctl" };

        for (size_t i = 0; f->forever && i < sizeof(calls) / sizeof(calls[0]); i++)
                if (strcmp(calls[i], f->call) == 0)
                        return true;
        return false;
}

static bool may_become(const char *call, int error, int result) {
        for (size_t i = 0; i < sizeof(becomings) / sizeof(becomings[0]); i++)
                if (becomings[i].call && strcmp(becomings[i].call, call) == 0 &&
                    (!becomings[i].error || becomings[i].error == error))
                        for (int k = 0; k < 3; k++)
                                if (becomings[i].becomes[k] == result)
                                        return true;
        return false;
}

static bool judge(bool listens, const struct fault *the_fault, int status) {
        if (status != 0 || !outcome->done)
                return false;
        if (!outcome->error)
                return outcome->whole;
        if (listens && outcome->error == ETIMEDOUT && strstr(outcome->what, "accept") && may_wait_in_vain(the_fault))
                return true;
        return outcome->hit && (outcome->error == the_fault->error ||
                                may_become(the_fault->call, the_fault->error, outcome->error));
}

static void tell(const char *what, bool listens, const struct fault *f, int status) {
        printf("%s %s: %s fails with %s %s time %u: %s%s%s", what, listens ? "listener" : "connector", f->call,
               strerrorname_np(f->error), f->forever ? "from" : "at", f->at,
               WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : status ? "a check failed" : "",
               outcome->error ? strerrorname_np(outcome->error) : "no error", outcome->whole ? ", whole" : "");
        printf(" %s\n", outcome->what);
        fflush(stdout);
}

static void run_fault(bool listens, const struct fault *the_fault, unsigned int every) {
        static unsigned int turn;
        int status;

        if (turn++ % every)
                return;
        status = play(listens, the_fault, -1, 0, the_fault->forever ? HASTE_NS : PATIENCE_NS);
        /* On a machine that is too busy for haste? */
        if (!judge(listens, the_fault, status) && outcome->error == ETIMEDOUT && the_fault->forever)
                status = play(listens, the_fault, -1, 0, PATIENCE_NS);
        cases++;
        not_come_to += !outcome->hit;
        if (judge(listens, the_fault, status))
                passed++;
        else
                tell("FAIL ", listens, the_fault, status);
}

static void run_call(bool listens, size_t row, unsigned int count, unsigned int every, bool old_kernel) {
        struct fault f = { .call = table[row].call, .old_kernel = old_kernel };

        for (f.at = 1; f.at <= count; f.at++) {
                for (int k = 0; k < 9 && table[row].errors[k]; k++)
                        for (int forever = 0; forever < 2; forever++) {
                                f.error = table[row].errors[k];
                                f.forever = forever;
                                run_fault(listens, &f, every);
                        }
                f.forever = false;
                for (int k = 0; k < 3 && table[row].once[k]; k++) {
                        f.error = table[row].once[k];
                        run_fault(listens, &f, every);
                }
        }
}

/* ---- limits ------------------------------------------------------------- */

/* Upwards from nothing: an error that names the limit, until all is well; then for three more. */
static void run_limit(bool listens, const char *name, int resource, uint64_t first, uint64_t step, int error) {
        struct fault none = { .call = NULL };
        unsigned int well = 0, steps = 0;
        int status;

        for (uint64_t limit = first; well < 3 && steps < 400; limit += step, steps++) {
                bool good;

                status = play(listens, &none, resource, limit, PATIENCE_NS);
                good = status == 0 && outcome->done &&
                       (outcome->error ? outcome->error == error && !well : outcome->whole);
                cases++;
                passed += good;
                well += good && !outcome->error;
                if (!good)
                        printf("FAIL %s: %s = %" PRIu64 ": status %#x, %s in %s\n", listens ? "listener" : "connector", name,
                               limit, (unsigned)status, strerrorname_np(outcome->error), outcome->what);
        }
        printf("%s, %s from %" PRIu64 " by %" PRIu64 ": %u steps to be well\n", listens ? "listener" : "connector", name,
               first, step, steps - well);
}

static uint64_t address_space(void) {
        unsigned long long pages = 0;
        FILE *file = fopen("/proc/self/statm", "re");

        CHECK(file && fscanf(file, "%llu", &pages) == 1);
        fclose(file);
        return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- all ---------------------------------------------------------------- */

/* How often each call is made when nothing fails. A call that the table does not know would go untested. */
static void count_calls(bool listens, bool old_kernel) {
        struct fault none = { .call = NULL, .old_kernel = old_kernel };

        CHECK_EQ(play(listens, &none, -1, 0, PATIENCE_NS), 0);
        CHECK_EQ(outcome->error, 0);
        CHECK(outcome->whole);
        *plain[listens] = *outcome;
        for (unsigned int i = 0; i < outcome->n_calls; i++) {
                size_t row;

                for (row = 0; row < N_TABLE; row++)
                        if (strcmp(table[row].call, outcome->names[i]) == 0)
                                break;
                if (row == N_TABLE)
                        printf("FAIL: %s is in no table\n", outcome->names[i]);
                CHECK(row < N_TABLE);
        }
}

static unsigned int count_of(const struct outcome *of, const char *call) {
        for (unsigned int i = 0; i < of->n_calls; i++)
                if (strcmp(of->names[i], call) == 0)
                        return of->counts[i];
        return 0;
}

int main(int argc, char **argv) {
        unsigned int every = argc > 1 ? (unsigned int)atoi(argv[1]) : 1, calls = 0;
        const char *only = argc > 2 ? argv[2] : NULL;

        umask(0077);
        outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        for (int i = 0; i < 2; i++) {
                plain[i] = calloc(1, sizeof(*plain[i]));
                count_calls(i, false);
        }
        for (size_t row = 0; row < N_TABLE; row++)
                for (int i = 0; i < 2; i++) {
                        bool old_kernel = strcmp(table[row].call, "pidfd_open") == 0;
                        unsigned int count;

                        if (old_kernel)
                                count_calls(i, true);
                        count = count_of(plain[i], table[row].call);
                        CHECK(count || count_of(plain[!i], table[row].call) || i == 0);
                        if (only && strcmp(only, table[row].call) != 0)
                                continue;
                        calls += count;
                        run_call(i, row, count, every, old_kernel);
                }
        for (int i = 0; i < 2 && !only; i++) {
                run_limit(i, "RLIMIT_NOFILE", RLIMIT_NOFILE, (uint64_t)fd_lowest(), 1, EMFILE);
                run_limit(i, "RLIMIT_FSIZE", RLIMIT_FSIZE, 0, 4096, EFBIG);
                run_limit(i, "RLIMIT_AS", RLIMIT_AS, address_space(), 4096, ENOMEM);
        }
        printf("%u calls, each errno once and for ever, and 3 limits upwards: %u of %u cases (%u not come to)\n", calls,
               passed, cases, not_come_to);
        return passed != cases || !cases;
}
