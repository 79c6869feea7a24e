/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_BUS_H
#define TACHYON_BUS_H
/* A bus made of a finished handshake, for listener.c; and what a fork does to handles. */
#include "handshake.h"
#include <stdatomic.h>

struct tachyon_bus;

/* Takes over the connection where it returns 0. */
int bus_new(struct tachyon_bus **busp, struct connection *connection, const struct settings *settings);

/*
 * Every handle is on one list, so that a forked child can be told: its `dead`
 * word becomes TACHYON_EFORK there.
 */
struct handle {
        struct handle *previous, *next;
        _Atomic int dead;      /* 0, or why every call must fail: a positive errno */
        _Atomic int attention; /* not 0: sending has more to look at than the ring; set with `dead` */
};

void handle_add(struct handle *handle);
void handle_remove(struct handle *handle);
/* Sets `dead`, unless it is set already; true where this call did it. */
bool handle_kill(struct handle *handle, int error);

#endif
