/* SPDX-License-Identifier: MIT */
/*
 * By the means of POSIX what os_linux.c does by Linux's own: for macOS, and for
 * Linux with -Dportable=true. What is not to be had that way:
 *
 * - Seals. The peer can write into our ring if it wants to, and where the system
 *   lets a shared memory be resized, make us fault. Properties say isolation 0.
 * - Descriptors that are close-on-exec from the start. They are a moment later:
 *   another thread that forks and executes in that moment gives them to its
 *   program, which keeps the connection open until it ends.
 * - Barriers of other processes' threads: both sides use fences.
 * - A descriptor of a process. Its death is the end of its sockets; so that a
 *   forked child does not hold them open, it closes its copies, see bus_life.c.
 */
#include "os.h"
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

/* ---- memory ------------------------------------------------------------- */

/* Each name is 64 random bits: two in a row that are taken means that something else is wrong. */
#define NAME_TRIES 8

/* A file that has no name any more, of size 0. */
static int memory_open(int *fdp) {
        uint64_t number;
        char name[32]; /* macOS takes 30 characters */
        int fd = -1;

        for (int i = 0; i < NAME_TRIES && fd < 0; i++) {
                if (getentropy(&number, sizeof(number)) < 0)
                        return fail(errno, "cannot make a random name: %s", strerror(errno));
                snprintf(name, sizeof(name), "/tachyon-%016llx", (unsigned long long)number);
                fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600); /* close-on-exec, says POSIX */
                if (fd < 0 && errno != EEXIST)
                        break;
        }
        if (fd < 0)
                return fail(errno, "cannot make shared memory: %s", strerror(errno));
        shm_unlink(name); /* before it has a size: who is killed here leaves nothing but a name */
        *fdp = fd;
        return 0;
}

int os_memory_create(int *fdp, uint64_t size, bool huge) {
        _cleanup_(closep) int fd = -1;
        int r;

        if (huge)
                return -ENOTSUP;
        r = memory_open(&fd);
        if (r < 0)
                return r;
        r = os_memory_allocate(fd, size);
        if (r < 0)
                return r;
        *fdp = steal_fd(&fd);
        return 0;
}

int os_memory_seal(int fd, bool trusted) {
        (void)fd;
        (void)trusted;
        return 0;
}

bool os_memory_is_write_sealed(int fd) {
        (void)fd;
        return false;
}

int os_memory_check_kind(int fd, bool trusted) {
        (void)trusted;
        return os_memory_is_shared(fd) ? 0 : fail(EPROTO, "the peer's descriptor is not shared memory");
}

int os_memory_check_size(int fd, uint64_t size) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return fail(EPROTO, "the peer's memory cannot be examined: %s", strerror(errno));
        if ((uint64_t)st.st_size != size)
                return fail(EPROTO, "the peer's memory has %llu bytes instead of %llu",
                            (unsigned long long)st.st_size, (unsigned long long)size);
        return os_memory_is_whole(fd) ? 0 : fail(EPROTO, "the peer's memory has holes");
}

/* macOS has no read() for shared memory. */
int os_memory_read(int fd, void *data, size_t size) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        struct stat st;
        void *p;

        if (fstat(fd, &st) < 0 || st.st_size < (off_t)page)
                return fail(EPROTO, "the peer's memory has not one page");
        if (!os_memory_is_whole(fd))
                return fail(EPROTO, "the peer's memory has holes");
        p = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                return fail(EPROTO, "the peer's memory cannot be read: %s", strerror(errno));
        memcpy(data, p, size);
        munmap(p, page);
        return 0;
}

/* ---- barriers, deaths --------------------------------------------------- */

bool os_barrier_register(void) {
        return false;
}

int os_barrier(void) {
        return -ENOTSUP;
}

int os_peer_watch(int socket, pid_t pid, int *fdp) {
        (void)socket;
        (void)pid;
        (void)fdp;
        return -ENOTSUP;
}

/* ---- sleeping ----------------------------------------------------------- */

/* Rounded up: who wakes too early only has to sleep again. */
static int poll_timeout(int64_t deadline) {
        int64_t left;

        if (deadline == DEADLINE_NEVER)
                return -1;
        left = deadline - now_ns();
        if (left <= 0)
                return 0;
        left = left / 1000000 + (left % 1000000 != 0);
        return left < INT_MAX ? (int)left : INT_MAX;
}

/* Out of the wait and back in: poll() leaves negative descriptors alone, and -1 stays what it is. */
static void flip_hangups(struct pollfd *fds, size_t n_fds) {
        for (size_t i = 0; i < n_fds; i++)
                if (fds[i].events == POLLHUP && fds[i].fd != -1)
                        fds[i].fd = -2 - fds[i].fd;
}

/*
 * macOS cannot wait for a hang-up alone: while there is something to read, it
 * returns at once with nothing to tell, again and again. So that is left out,
 * and whoever waits has a second descriptor that ends with the first.
 */
int os_sleep(struct pollfd *fds, size_t n_fds, int64_t deadline) {
        int r;

        flip_hangups(fds, n_fds);
        do {
                r = poll(fds, (nfds_t)n_fds, poll_timeout(deadline));
                r = r < 0 ? -errno : r;
        } while (r == 0 && now_ns() < deadline); /* poll's longest time-out is 25 days */
        flip_hangups(fds, n_fds);
        return r;
}

/* ---- sockets ------------------------------------------------------------ */

/* An error where it is a socket that would kill us by SIGPIPE: macOS sets no options once both ends are shut. */
int os_adopt(int fd) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
#ifdef SO_NOSIGPIPE
        if (setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &(const int){ 1 }, sizeof(int)) < 0 && errno != ENOTSOCK)
                return -errno;
#endif
        return 0;
}

static void socket_prepare(int fd) {
        os_adopt(fd); /* an accepted socket has its listener's SO_NOSIGPIPE in any case */
        fcntl(fd, F_SETFL, O_NONBLOCK); /* on macOS, MSG_DONTWAIT is for receiving only */
}

int os_socket(void) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        if (fd >= 0)
                socket_prepare(fd);
        return fd;
}

int os_socketpair(int pair[2]) {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
                return -1;
        socket_prepare(pair[0]);
        socket_prepare(pair[1]);
        return 0;
}

int os_accept(int listener) {
        int fd = accept(listener, NULL, NULL);

        if (fd >= 0)
                socket_prepare(fd);
        return fd;
}

/* The listener sets it after bind() and before listen(): until then, nobody can connect. */
int os_socket_mode(int socket, mode_t mode) {
        (void)socket;
        (void)mode;
        return 0;
}

ssize_t os_receive(int socket, struct msghdr *message) {
        return recvmsg(socket, message, MSG_DONTWAIT);
}
