/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_OS_H
#define TACHYON_OS_H
/*
 * What differs by operating system. Three builds, of two files each:
 *
 *                                  Linux            Linux, -Dportable=true   macOS
 *      memory, barriers, deaths,
 *      sleeping, sockets           os_linux.c       os_portable.c            os_portable.c
 *      pages, identity, pollers    os_linux_base.c  os_linux_base.c          os_darwin.c
 *
 * The middle one is for tests: it runs what macOS runs, where there is no Mac.
 */
#include "util.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

struct os_peer {
        pid_t pid; /* 0: not visible from here (another PID namespace) */
        uid_t uid;
};

/* ---- os_linux.c or os_portable.c ---------------------------------------- */

/* An unlinked shared memory file of `size` bytes, allocated in full, close-on-exec. -ENOTSUP: no huge pages. */
int os_memory_create(int *fdp, uint64_t size, bool huge);
/* Nobody can resize it any more, nor, unless trusted, map it writable anew; nothing where there are no seals. */
int os_memory_seal(int fd, bool trusted);
/*
 * Is a peer's descriptor such a memory, sealed? To be asked before anything is
 * read from it: another kind of file could block us. And then: is it of this
 * size, and allocated? Else -EPROTO with a detail.
 */
int os_memory_check_kind(int fd, bool trusted);
int os_memory_check_size(int fd, uint64_t size);
/* Is it sealed against new writable mappings? */
bool os_memory_is_write_sealed(int fd);
/* Copies its first bytes out, at most a page: 0 or -EPROTO with a detail. */
int os_memory_read(int fd, void *data, size_t size);

/* A barrier for all threads of all processes that registered; -ENOTSUP or what the kernel said. */
bool os_barrier_register(void);
int os_barrier(void);

/* A descriptor that is readable when the process at the other end is dead; -ENOTSUP. */
int os_peer_watch(int socket, pid_t pid, int *fdp);

/*
 * poll() with an absolute deadline: > 0, 0 at the deadline, or -errno. Where an
 * entry asks for POLLHUP alone, the wait may leave it out; see bus_sleep().
 */
int os_sleep(struct pollfd *fds, size_t n_fds, int64_t deadline);

/*
 * Unix stream sockets: close-on-exec, and never to block us. A descriptor, or
 * -1 and errno. os_portable.c sets all that a moment after the socket is made:
 * who forks and executes in that moment hands it on.
 */
int os_socket(void);
int os_socketpair(int pair[2]);
int os_accept(int listener);
/* The mode that bind() shall give to its file; without effect where that cannot be said before. */
int os_socket_mode(int socket, mode_t mode);
/*
 * recvmsg() that does not block. Each descriptor that it brought is to be given
 * to os_adopt() before all else; where that gives an error, it is not for us.
 */
ssize_t os_receive(int socket, struct msghdr *message);
int os_adopt(int fd);
/* The flags of send() and sendmsg() for such sockets: no blocking, and no SIGPIPE. */
#ifdef __APPLE__
#define OS_SEND_FLAGS MSG_DONTWAIT /* and SO_NOSIGPIPE: MSG_NOSIGNAL is too new there */
#else
#define OS_SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)
#endif

/* ---- os_linux_base.c or os_darwin.c ------------------------------------- */

/* For the makers of memory: sizes a new one, with all its pages where the system can; -errno. */
int os_memory_allocate(int fd, uint64_t size);
/* Is it shared memory without a name, whose pages no file system has to bring? */
bool os_memory_is_shared(int fd);
/* Has it all its pages? True where that cannot be told. */
bool os_memory_is_whole(int fd);
/* Shall lie on this NUMA node; before its pages are touched. */
int os_memory_bind(void *address, uint64_t size, int node);
/* Maps all pages of a range now. */
void os_memory_populate(void *address, uint64_t size, bool writable);
/* The range is not there in a forked child; or is. */
void os_memory_dontfork(void *address, uint64_t size);
void os_memory_dofork(void *address, uint64_t size);

int os_peer_identity(int socket, struct os_peer *peer);

/* Closes a descriptor that a peer sent, which must not make us wait for what its file does at the end. */
void os_discard(int fd);
/* No descriptors shall ride on this socket's bytes any more; from Linux 6.16 on. */
void os_refuse_descriptors(int socket);

/* One descriptor that is readable when one of several is. */
int os_poller_create(int *fdp);
int os_poller_add(int poller, int fd);
void os_poller_remove(int poller, int fd);
/* In a forked child. */
void os_poller_abandon(int *pollerp);
/* For a while, a descriptor in it shall not count; os_listener_wake() does all the same. */
void os_poller_mute(int poller, int fd);
void os_poller_unmute(int poller, int fd);
/* Another thread sleeps on a poller that a listening socket is in: it shall wake, for good. */
void os_listener_wake(int socket, int poller);

/* ---- os_poll.c ---------------------------------------------------------- */

/* os_sleep() that heeds tachyon_thread_interrupt_fd(). */
int os_poll(struct pollfd *fds, size_t n_fds, int64_t deadline);
/* Would os_poll() return -EINTR for tachyon_thread_interrupt_fd()'s sake? */
bool os_interrupted(void);

#endif
