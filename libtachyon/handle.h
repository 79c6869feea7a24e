/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_HANDLE_H
#define TACHYON_HANDLE_H
/*
 * Every bus and every listener is on one list, so that a forked child can be
 * told: its copies' `dead` word becomes TACHYON_EFORK there.
 */
#include <stdatomic.h>
#include <stdbool.h>

struct handle {
        struct handle *previous, *next;
        _Atomic int dead;      /* 0, or why every call must fail: a positive errno */
        void (*forking)(struct handle *handle); /* or NULL. In the parent, before it forks */
        void (*forked)(struct handle *handle);  /* or NULL. In the child: lets go of what must not be kept */
        _Atomic int attention; /* not 0: sending has more to look at than the ring; set with `dead` */
};

void handle_add(struct handle *handle);
void handle_remove(struct handle *handle);
/* Sets `dead`, unless it is set already; true where this call did it. */
bool handle_kill(struct handle *handle, int error);

#endif
