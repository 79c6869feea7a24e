/* SPDX-License-Identifier: MIT */
/* What is particular to Linux: memfd and seals, membarrier, pidfd, ppoll, epoll. */
#include "os.h"
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "../include/tachyon.h"

/* Newer than some C libraries' headers. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#define MPOL_BIND_MODE 2

/* Above this, a heavy barrier for each sleep costs more than a fence for each message saves. */
#define BARRIER_WORTHWHILE_NS 50000

static int memory_seals(bool trusted) {
        return F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | (trusted ? 0 : F_SEAL_FUTURE_WRITE);
}

/* Past RLIMIT_FSIZE the kernel sends SIGXFSZ, which kills: look first. */
static int check_file_size_limit(uint64_t size) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && size > limit.rlim_cur)
                return fail(EFBIG, "a ring of %llu bytes is over the file size limit of this process (ulimit -f)",
                            (unsigned long long)size);
        return 0;
}

/* fallocate() gives up whenever a signal is pending: keep them out, or a timer could starve us. */
static int allocate(int fd, uint64_t size) {
        sigset_t all, old;
        int r = 0;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        if (ftruncate(fd, (off_t)size) < 0 || fallocate(fd, 0, 0, (off_t)size) < 0)
                r = -errno;
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        return r;
}

int os_memory_create(int *fdp, uint64_t size, bool huge) {
        unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB : 0);
        _cleanup_(closep) int fd = -1;
        int r;

        r = check_file_size_limit(size);
        if (r < 0)
                return r;
        fd = memfd_create("tachyon", flags | MFD_NOEXEC_SEAL);
        if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
                fd = memfd_create("tachyon", flags);
        if (fd < 0)
                return fail(errno, "cannot make shared memory: %s", strerror(errno));
        r = allocate(fd, size);
        if (r < 0)
                return fail(-r, "cannot allocate %llu bytes of shared memory: %s", (unsigned long long)size,
                            strerror(-r));
        *fdp = steal_fd(&fd);
        return 0;
}

int os_memory_seal(int fd, bool trusted) {
        if (fcntl(fd, F_ADD_SEALS, memory_seals(trusted)) < 0)
                return fail(errno, "cannot seal shared memory: %s", strerror(errno));
        return 0;
}

int os_memory_check_kind(int fd, bool trusted) {
        int seals = fcntl(fd, F_GET_SEALS), wanted = memory_seals(trusted);
        struct statfs fs;

        if (seals < 0)
                return fail(EPROTO, "the peer's descriptor is not a memfd");
        if ((seals & wanted) != wanted)
                return fail(EPROTO, "the peer's memory lacks seals (has %#x, needs %#x)", (unsigned)seals,
                            (unsigned)wanted);
        if (fstatfs(fd, &fs) < 0 || (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC))
                return fail(EPROTO, "the peer's memory lies on another kind of file system");
        return 0;
}

int os_memory_check_size(int fd, uint64_t size) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return fail(EPROTO, "the peer's memory cannot be examined: %s", strerror(errno));
        if ((uint64_t)st.st_size != size)
                return fail(EPROTO, "the peer's memory has %llu bytes instead of %llu",
                            (unsigned long long)st.st_size, (unsigned long long)size);
        if ((uint64_t)st.st_blocks * 512 < size)
                return fail(EPROTO, "the peer's memory has holes");
        return 0;
}

int os_memory_bind(void *address, uint64_t size, int node) {
        unsigned long mask[16] = { 0 };
        const unsigned int bits = 8 * sizeof(mask[0]);

        if (node < 0 || (unsigned int)node >= bits * 16)
                return fail(EINVAL, "there is no NUMA node %d", node);
        mask[(unsigned int)node / bits] = 1ul << ((unsigned int)node % bits);
        if (syscall(SYS_mbind, address, size, MPOL_BIND_MODE, mask, bits * 16 + 1, 0) < 0)
                return fail(errno, "cannot place memory on NUMA node %d: %s", node, strerror(errno));
        return 0;
}

void os_memory_populate(void *address, uint64_t size, bool writable) {
        long page = sysconf(_SC_PAGESIZE);

        if (madvise(address, size, writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) == 0)
                return;
        /* Before Linux 5.14: reading maps the pages, as they are allocated already. */
        for (uint64_t offset = 0; offset < size; offset += (uint64_t)page)
                (void)*((volatile unsigned char *)address + offset);
}

void os_memory_dontfork(void *address, uint64_t size) {
        madvise(address, size, MADV_DONTFORK);
}

void os_memory_dofork(void *address, uint64_t size) {
        madvise(address, size, MADV_DOFORK);
}

static int membarrier(int command) {
        return (int)syscall(SYS_membarrier, command, 0, 0);
}

static bool barrier_registered;

static void barrier_register_once(void) {
        int64_t begin, fastest = INT64_MAX;

        if (membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) < 0)
                return;
        for (int i = 0; i < 3; i++) {
                begin = now_ns();
                if (membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) < 0)
                        return;
                if (now_ns() - begin < fastest)
                        fastest = now_ns() - begin;
        }
        barrier_registered = fastest <= BARRIER_WORTHWHILE_NS;
}

bool os_barrier_register(void) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;

        pthread_once(&once, barrier_register_once);
        return barrier_registered;
}

int os_barrier(void) {
        return membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) < 0 ? -errno : 0;
}

int os_peer_identity(int socket, struct os_peer *peer) {
        struct ucred cred;
        socklen_t length = sizeof(cred);

        if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &length) < 0)
                return fail(errno, "cannot tell who the peer is: %s", strerror(errno));
        peer->pid = cred.pid;
        peer->uid = cred.uid;
        return 0;
}

int os_peer_watch(int socket, pid_t pid, int *fdp) {
        struct pollfd hangup = { .fd = socket };
        socklen_t length = sizeof(int);
        _cleanup_(closep) int fd = -1;

        if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &length) < 0) {
                if (pid <= 0)
                        return -ENOTSUP;
                fd = (int)syscall(SYS_pidfd_open, pid, 0);
                if (fd < 0)
                        return errno == EMFILE || errno == ENFILE ? -errno : -ENOTSUP;
                /* The number may have been another process's by now: not if the socket still lives. */
                if (poll(&hangup, 1, 0) != 0)
                        return -ENOTSUP;
        }
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return -errno;
        *fdp = steal_fd(&fd);
        return 0;
}

void os_discard(int fd) {
        const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

        /* The last close of a TCP socket sleeps for as long as its linger option says. */
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        close_fd(fd);
}

void os_refuse_descriptors(int socket) {
        const int no = 0;

        setsockopt(socket, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no));
}

static _Thread_local int interrupt_fd = -1;

/* Descriptors of a sleep that need no allocation. */
#define FEW_FDS 8

/* The caller's descriptors and interrupt_fd, which comes first: its owner has something else to do. */
static int poll_or_interrupt(struct pollfd *fds, size_t n_fds, const struct timespec *timeout) {
        struct pollfd few[FEW_FDS], *all = few;
        int r;

        if (n_fds >= FEW_FDS && !(all = calloc(n_fds + 1, sizeof(*all))))
                return -ENOMEM;
        for (size_t i = 0; i < n_fds; i++)
                all[i] = fds[i];
        all[n_fds] = (struct pollfd){ .fd = interrupt_fd, .events = POLLIN };
        r = ppoll(all, (nfds_t)n_fds + 1, timeout, NULL);
        if (r < 0)
                r = -errno;
        else if (all[n_fds].revents)
                r = -EINTR;
        for (size_t i = 0; i < n_fds && r > 0; i++)
                fds[i].revents = all[i].revents;
        if (all != few)
                free(all);
        return r;
}

bool os_interrupted(void) {
        struct pollfd fd = { .fd = interrupt_fd, .events = POLLIN };

        return interrupt_fd >= 0 && poll(&fd, 1, 0) > 0;
}

int os_poll(struct pollfd *fds, size_t n_fds, int64_t deadline) {
        struct timespec timeout, *timeoutp = NULL;
        int64_t left;
        int r;

        if (deadline != DEADLINE_NEVER) {
                left = deadline - now_ns();
                if (left < 0)
                        left = 0;
                timeout.tv_sec = left / NSEC_PER_SEC;
                timeout.tv_nsec = left % NSEC_PER_SEC;
                timeoutp = &timeout;
        }
        if (interrupt_fd >= 0)
                return poll_or_interrupt(fds, n_fds, timeoutp);
        r = ppoll(fds, (nfds_t)n_fds, timeoutp, NULL);
        return r < 0 ? -errno : r;
}

int os_poller_create(int *fdp) {
        int fd = epoll_create1(EPOLL_CLOEXEC);

        if (fd < 0)
                return fail(errno, "cannot make an epoll descriptor: %s", strerror(errno));
        *fdp = fd;
        return 0;
}

int os_poller_add(int poller, int fd) {
        struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

        return epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void os_poller_remove(int poller, int fd) {
        struct epoll_event event = { 0 };

        epoll_ctl(poller, EPOLL_CTL_DEL, fd, &event);
}

TACHYON_API void tachyon_thread_interrupt_fd(int fd) {
        interrupt_fd = fd;
}
