/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_OS_H
#define TACHYON_OS_H
/* What differs by operating system; one os_*.c implements it. */
#include "util.h"
#include <poll.h>
#include <sys/types.h>

struct os_peer {
        pid_t pid; /* 0: not visible from here (another PID namespace) */
        uid_t uid;
};

/* An unlinked shared memory file of `size` bytes, allocated in full, close-on-exec. -ENOTSUP: no huge pages. */
int os_memory_create(int *fdp, uint64_t size, bool huge);
/* Nobody can resize it any more, nor, unless trusted, map it writable anew. */
int os_memory_seal(int fd, bool trusted);
/*
 * Is a peer's descriptor such a memory, sealed? To be asked before anything is
 * read from it: another kind of file could block us. And then: is it of this
 * size, and allocated? Else -EPROTO with a detail.
 */
int os_memory_check_kind(int fd, bool trusted);
int os_memory_check_size(int fd, uint64_t size);
/* Shall lie on this NUMA node; before its pages are touched. */
int os_memory_bind(void *address, uint64_t size, int node);
/* Maps all pages of a range now. */
void os_memory_populate(void *address, uint64_t size, bool writable);
/* The range is not there in a forked child; or is. */
void os_memory_dontfork(void *address, uint64_t size);
void os_memory_dofork(void *address, uint64_t size);

/* A barrier for all threads of all processes that registered; -ENOTSUP or what the kernel said. */
bool os_barrier_register(void);
int os_barrier(void);

int os_peer_identity(int socket, struct os_peer *peer);
/* A descriptor that is readable when the process at the other end is dead; -ENOTSUP. */
int os_peer_watch(int socket, pid_t pid, int *fdp);

/* Closes a descriptor that a peer sent, which must not make us wait for what its file does at the end. */
void os_discard(int fd);
/* No descriptors shall ride on this socket's bytes any more; from Linux 6.16 on. */
void os_refuse_descriptors(int socket);

/* ppoll with an absolute deadline and tachyon_thread_interrupt_fd(): > 0, 0 at the deadline, or -errno. */
int os_poll(struct pollfd *fds, size_t n_fds, int64_t deadline);
/* Would os_poll() return -EINTR for tachyon_thread_interrupt_fd()'s sake? */
bool os_interrupted(void);

/* One descriptor that is readable when one of several is. */
int os_poller_create(int *fdp);
int os_poller_add(int poller, int fd);
void os_poller_remove(int poller, int fd);

#endif
