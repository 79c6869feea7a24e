/* SPDX-License-Identifier: MIT */
/* What is the same in both builds for Linux: pages, NUMA, SO_PEERCRED, epoll. */
#include "os.h"
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

/* Newer than some C libraries' headers. */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#define MPOL_BIND_MODE 2

/* Past RLIMIT_FSIZE the kernel sends SIGXFSZ, which kills: look first. */
static int check_file_size_limit(uint64_t size) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && size > limit.rlim_cur)
                return fail(EFBIG, "a ring of %llu bytes is over the file size limit of this process (ulimit -f)",
                            (unsigned long long)size);
        return 0;
}

/* fallocate() gives up whenever a signal is pending: keep them out, or a timer could starve us. */
int os_memory_allocate(int fd, uint64_t size) {
        sigset_t all, old;
        int r;

        r = check_file_size_limit(size);
        if (r < 0)
                return r;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        if (ftruncate(fd, (off_t)size) < 0 || fallocate(fd, 0, 0, (off_t)size) < 0)
                r = fail(errno, "cannot allocate %llu bytes of shared memory: %s", (unsigned long long)size,
                         strerror(errno));
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        return r;
}

bool os_memory_is_shared(int fd) {
        struct statfs fs;
        struct stat st;

        return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC) &&
               fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 0;
}

bool os_memory_is_whole(int fd) {
        struct stat st;

        return fstat(fd, &st) == 0 && st.st_blocks * 512 >= st.st_size;
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

int os_peer_identity(int socket, struct os_peer *peer) {
        struct ucred cred;
        socklen_t length = sizeof(cred);

        if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &length) < 0)
                return fail(errno, "cannot tell who the peer is: %s", strerror(errno));
        peer->pid = cred.pid;
        peer->uid = cred.uid;
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

void os_poller_abandon(int *pollerp) {
        closep(pollerp);
}

static void poller_modify(int poller, int fd, uint32_t events) {
        struct epoll_event event = { .events = events, .data.fd = fd };

        epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
}

/* It still counts once it is shut down, which epoll reports whether asked or not. */
void os_poller_mute(int poller, int fd) {
        poller_modify(poller, fd, 0);
}

void os_poller_unmute(int poller, int fd) {
        poller_modify(poller, fd, EPOLLIN);
}

void os_listener_wake(int socket, int poller) {
        (void)poller;
        shutdown(socket, SHUT_RDWR);
}
