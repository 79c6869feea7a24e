/* SPDX-License-Identifier: MIT */
/*
 * What macOS does in its own way, beside os_portable.c. Written from Apple's
 * manual pages and published kernel sources, compiled and linked by our tests
 * for both kinds of Mac, and never run on one.
 */
#include "os.h"
#include <mach/vm_inherit.h>
#include <string.h>
#include <sys/event.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/ucred.h>

/* The kernel takes a size once, so that nobody can change it later; pages come at first use, from the swap if need be. */
int os_memory_allocate(int fd, uint64_t size) {
        if (ftruncate(fd, (off_t)size) < 0)
                return fail(errno, "cannot allocate %llu bytes of shared memory: %s", (unsigned long long)size,
                            strerror(errno));
        return 0;
}

/* fstat() tells no file type of shared memory, and one of everything else. */
bool os_memory_is_shared(int fd) {
        struct stat st;

        return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == 0;
}

bool os_memory_is_whole(int fd) {
        (void)fd;
        return true;
}

int os_memory_bind(void *address, uint64_t size, int node) {
        (void)address;
        (void)size;
        return fail(ENOTSUP, "cannot place memory on NUMA node %d: macOS has no such thing", node);
}

/* Reading makes the pages. */
void os_memory_populate(void *address, uint64_t size, bool writable) {
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

        (void)writable;
        for (uint64_t offset = 0; offset < size; offset += page)
                (void)*((volatile unsigned char *)address + offset);
}

void os_memory_dontfork(void *address, uint64_t size) {
        minherit(address, size, VM_INHERIT_NONE);
}

void os_memory_dofork(void *address, uint64_t size) {
        minherit(address, size, VM_INHERIT_SHARE);
}

int os_peer_identity(int socket, struct os_peer *peer) {
        struct xucred cred;
        socklen_t length = sizeof(cred), pid_length = sizeof(peer->pid);

        if (getsockopt(socket, SOL_LOCAL, LOCAL_PEERCRED, &cred, &length) < 0)
                return fail(errno, "cannot tell who the peer is: %s", strerror(errno));
        if (cred.cr_version != XUCRED_VERSION)
                return fail(EPROTO, "the kernel describes the peer in an unknown way");
        peer->uid = cred.cr_uid;
        if (getsockopt(socket, SOL_LOCAL, LOCAL_PEERPID, &peer->pid, &pid_length) < 0)
                peer->pid = 0;
        return 0;
}

void os_discard(int fd) {
        const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

        /* The last close of a TCP socket sleeps for as long as its linger option says. */
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        close_fd(fd);
}

void os_refuse_descriptors(int socket) {
        (void)socket;
}

/* ---- pollers: a kqueue, which can be waited for as any descriptor ------- */

/* The event by which os_listener_wake() makes a poller readable for good. */
#define WAKE_IDENT 1

static int kqueue_change(int poller, int ident, int filter, int flags, unsigned int filter_flags) {
        struct kevent change;

        EV_SET(&change, (uintptr_t)ident, (int16_t)filter, (uint16_t)flags, filter_flags, 0, NULL);
        return kevent(poller, &change, 1, NULL, 0, NULL) < 0 ? -errno : 0;
}

int os_poller_create(int *fdp) {
        _cleanup_(closep) int fd = kqueue(); /* no forked child has it */
        int r;

        if (fd < 0)
                return fail(errno, "cannot make a kqueue: %s", strerror(errno));
        r = kqueue_change(fd, WAKE_IDENT, EVFILT_USER, EV_ADD, 0);
        if (r < 0)
                return fail(-r, "cannot prepare a kqueue: %s", strerror(-r));
        *fdp = steal_fd(&fd);
        return 0;
}

int os_poller_add(int poller, int fd) {
        return kqueue_change(poller, fd, EVFILT_READ, EV_ADD, 0);
}

void os_poller_remove(int poller, int fd) {
        kqueue_change(poller, fd, EVFILT_READ, EV_DELETE, 0);
}

/* It was not inherited: under its number there may be another file by now. */
void os_poller_abandon(int *pollerp) {
        *pollerp = -1;
}

void os_poller_mute(int poller, int fd) {
        kqueue_change(poller, fd, EVFILT_READ, EV_DISABLE, 0);
}

void os_poller_unmute(int poller, int fd) {
        kqueue_change(poller, fd, EVFILT_READ, EV_ENABLE, 0);
}

/* shutdown() does nothing to a listening socket here. */
void os_listener_wake(int socket, int poller) {
        (void)socket;
        kqueue_change(poller, WAKE_IDENT, EVFILT_USER, 0, NOTE_TRIGGER);
}
