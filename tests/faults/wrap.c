/* SPDX-License-Identifier: MIT */
/* See wrap.h. The names are the linker's: those of files of 64-bit size, as the library is built. */
#include "wrap.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define SO_PEERPIDFD_NUMBER 77

struct fault fault;
bool fault_armed;
long heap_blocks;
const char *call_names[MOST_CALLS];
unsigned int call_counts[MOST_CALLS], n_calls;

/* The n-th time of this call: is it to fail? */
static bool fails(const char *call) {
        unsigned int i;

        if (!fault_armed)
                return false;
        for (i = 0; i < n_calls && strcmp(call_names[i], call) != 0; i++)
                continue;
        if (i == MOST_CALLS)
                abort();
        if (i == n_calls)
                call_names[n_calls++] = call;
        call_counts[i]++;
        if (!fault.call || strcmp(fault.call, call) != 0 ||
            (fault.forever ? call_counts[i] < fault.at : call_counts[i] != fault.at))
                return false;
        fault.hit = true;
        errno = fault.error;
        return true;
}

#define WRAP(result, bad, name, parameters, arguments) \
        result __real_##name parameters; \
        result __wrap_##name parameters; \
        result __wrap_##name parameters { \
                if (fails(#name)) \
                        return bad; \
                return __real_##name arguments; \
        }

WRAP(int, -1, accept4, (int fd, struct sockaddr *a, socklen_t *n, int f), (fd, a, n, f))
WRAP(int, -1, access, (const char *p, int m), (p, m))
WRAP(int, -1, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP(int, -1, chmod, (const char *p, mode_t m), (p, m))
WRAP(int, -1, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP(int, -1, epoll_create1, (int f), (f))
WRAP(int, -1, epoll_ctl, (int e, int o, int fd, struct epoll_event *v), (e, o, fd, v))
WRAP(int, -1, fallocate64, (int fd, int m, off_t o, off_t n), (fd, m, o, n))
WRAP(int, -1, fchmod, (int fd, mode_t m), (fd, m))
WRAP(int, -1, fcntl64, (int fd, int c, long x), (fd, c, x))
WRAP(int, -1, flock, (int fd, int o), (fd, o))
WRAP(int, -1, fstat64, (int fd, struct stat *s), (fd, s))
WRAP(int, -1, fstatfs64, (int fd, struct statfs *s), (fd, s))
WRAP(int, -1, ftruncate64, (int fd, off_t n), (fd, n))
WRAP(int, -1, getrlimit64, (int r, struct rlimit *l), (r, l))
WRAP(int, -1, listen, (int fd, int n), (fd, n))
WRAP(int, -1, lstat64, (const char *p, struct stat *s), (p, s))
WRAP(int, -1, madvise, (void *p, size_t n, int a), (p, n, a))
WRAP(int, -1, memfd_create, (const char *name, unsigned int f), (name, f))
WRAP(int, -1, mlock, (const void *p, size_t n), (p, n))
WRAP(void *, MAP_FAILED, mmap64, (void *p, size_t n, int prot, int f, int fd, off_t o), (p, n, prot, f, fd, o))
WRAP(int, -1, open64, (const char *p, int f, mode_t m), (p, f, m))
WRAP(int, -1, poll, (struct pollfd *p, nfds_t n, int t), (p, n, t))
WRAP(int, -1, ppoll, (struct pollfd *p, nfds_t n, const struct timespec *t, const void *s), (p, n, t, s))
WRAP(ssize_t, -1, pread64, (int fd, void *p, size_t n, off_t o), (fd, p, n, o))
WRAP(ssize_t, -1, recv, (int fd, void *p, size_t n, int f), (fd, p, n, f))
WRAP(ssize_t, -1, recvmsg, (int fd, struct msghdr *m, int f), (fd, m, f))
WRAP(ssize_t, -1, send, (int fd, const void *p, size_t n, int f), (fd, p, n, f))
WRAP(ssize_t, -1, sendmsg, (int fd, const struct msghdr *m, int f), (fd, m, f))
WRAP(int, -1, setsockopt, (int fd, int l, int o, const void *v, socklen_t n), (fd, l, o, v, n))
WRAP(int, -1, shutdown, (int fd, int h), (fd, h))
WRAP(int, -1, socket, (int d, int t, int p), (d, t, p))
WRAP(int, -1, socketpair, (int d, int t, int p, int *v), (d, t, p, v))
WRAP(int, -1, stat64, (const char *p, struct stat *s), (p, s))
WRAP(int, -1, unlink, (const char *p), (p))

int __real_getsockopt(int fd, int level, int option, void *value, socklen_t *size);
int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *size);
int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *size) {
        if (fault.old_kernel && option == SO_PEERPIDFD_NUMBER) {
                errno = ENOPROTOOPT;
                return -1;
        }
        return fails("getsockopt") ? -1 : __real_getsockopt(fd, level, option, value, size);
}

/* The descriptor is gone, whatever close() says. */
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd) {
        if (!fails("close"))
                return __real_close(fd);
        __real_close(fd);
        errno = fault.error;
        return -1;
}

/* No memory is given back that cannot be: what fails here is lost, so that it cannot be called a leak. */
int __real_munmap(void *p, size_t n);
int __wrap_munmap(void *p, size_t n);
int __wrap_munmap(void *p, size_t n) {
        if (!fails("munmap"))
                return __real_munmap(p, n);
        __real_munmap(p, n);
        errno = fault.error;
        return -1;
}

static const char *syscall_name(long number) {
        switch (number) {
        case SYS_membarrier:
                return "membarrier";
        case SYS_pidfd_open:
                return "pidfd_open";
        case SYS_mbind:
                return "mbind";
        default:
                abort(); /* another one, of which tests/faults has to be told */
        }
}

long __real_syscall(long n, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long n, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long n, long a, long b, long c, long d, long e, long f) {
        return fails(syscall_name(n)) ? -1 : __real_syscall(n, a, b, c, d, e, f);
}

/* ---- the heap ----------------------------------------------------------- */

static void *counted(void *block) {
        heap_blocks += block != NULL;
        return block;
}

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n) {
        return fails("malloc") ? NULL : counted(__real_malloc(n));
}

void *__real_calloc(size_t n, size_t m);
void *__wrap_calloc(size_t n, size_t m);
void *__wrap_calloc(size_t n, size_t m) {
        return fails("calloc") ? NULL : counted(__real_calloc(n, m));
}

void *__real_aligned_alloc(size_t a, size_t n);
void *__wrap_aligned_alloc(size_t a, size_t n);
void *__wrap_aligned_alloc(size_t a, size_t n) {
        return fails("aligned_alloc") ? NULL : counted(__real_aligned_alloc(a, n));
}

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block) {
        heap_blocks -= block != NULL;
        __real_free(block);
}
