/* SPDX-License-Identifier: MIT */
/* Sleeping, and tachyon_thread_interrupt_fd(), which wakes a thread from it. */
#include "os.h"

#include "../include/tachyon.h"

static _Thread_local int interrupt_fd = -1;

/* Descriptors of a sleep that need no allocation. */
#define FEW_FDS 8

/* The caller's descriptors and interrupt_fd, which comes first: its owner has something else to do. */
static int poll_or_interrupt(struct pollfd *fds, size_t n_fds, int64_t deadline) {
        struct pollfd few[FEW_FDS], *all = few;
        int r;

        if (n_fds >= FEW_FDS && !(all = calloc(n_fds + 1, sizeof(*all))))
                return -ENOMEM;
        for (size_t i = 0; i < n_fds; i++)
                all[i] = fds[i];
        all[n_fds] = (struct pollfd){ .fd = interrupt_fd, .events = POLLIN };
        r = os_sleep(all, n_fds + 1, deadline);
        if (r >= 0 && all[n_fds].revents)
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
        return interrupt_fd >= 0 ? poll_or_interrupt(fds, n_fds, deadline) : os_sleep(fds, n_fds, deadline);
}

TACHYON_API void tachyon_thread_interrupt_fd(int fd) {
        interrupt_fd = fd;
}
