/* SPDX-License-Identifier: MIT */
/* What only Linux has: memfd and seals, membarrier, pidfd, ppoll, sockets that are close-on-exec from the start. */
#include "os.h"
#include <fcntl.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

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

/* Above this, a heavy barrier for each sleep costs more than a fence for each message saves. */
#define BARRIER_WORTHWHILE_NS 50000

static int memory_seals(bool trusted) {
        return F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | (trusted ? 0 : F_SEAL_FUTURE_WRITE);
}

int os_memory_create(int *fdp, uint64_t size, bool huge) {
        unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB : 0);
        _cleanup_(closep) int fd = -1;
        int r;

        fd = memfd_create("tachyon", flags | MFD_NOEXEC_SEAL);
        if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
                fd = memfd_create("tachyon", flags);
        if (fd < 0)
                return fail(errno, "cannot make shared memory: %s", strerror(errno));
        r = os_memory_allocate(fd, size);
        if (r < 0)
                return r;
        *fdp = steal_fd(&fd);
        return 0;
}

int os_memory_seal(int fd, bool trusted) {
        if (fcntl(fd, F_ADD_SEALS, memory_seals(trusted)) < 0)
                return fail(errno, "cannot seal shared memory: %s", strerror(errno));
        return 0;
}

bool os_memory_is_write_sealed(int fd) {
        int seals = fcntl(fd, F_GET_SEALS);

        return seals > 0 && seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
}

int os_memory_check_kind(int fd, bool trusted) {
        int seals = fcntl(fd, F_GET_SEALS), wanted = memory_seals(trusted);

        if (seals < 0)
                return fail(EPROTO, "the peer's descriptor is not a memfd");
        if ((seals & wanted) != wanted)
                return fail(EPROTO, "the peer's memory lacks seals (has %#x, needs %#x)", (unsigned)seals,
                            (unsigned)wanted);
        if (!os_memory_is_shared(fd))
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
        if (!os_memory_is_whole(fd))
                return fail(EPROTO, "the peer's memory has holes");
        return 0;
}

int os_memory_read(int fd, void *data, size_t size) {
        return pread(fd, data, size, 0) == (ssize_t)size ? 0 : fail(EPROTO, "the peer's memory cannot be read");
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

int os_sleep(struct pollfd *fds, size_t n_fds, int64_t deadline) {
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
        r = ppoll(fds, (nfds_t)n_fds, timeoutp, NULL);
        return r < 0 ? -errno : r;
}

int os_socket(void) {
        return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

int os_socketpair(int pair[2]) {
        return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
}

int os_accept(int listener) {
        return accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

int os_socket_mode(int socket, mode_t mode) {
        return fchmod(socket, mode);
}

ssize_t os_receive(int socket, struct msghdr *message) {
        return recvmsg(socket, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
}

int os_adopt(int fd) {
        (void)fd;
        return 0;
}
