/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_RPC_CALLS_H
#define TACHYON_RPC_CALLS_H
/*
 * The outstanding calls of one caller. A correlation id is a sequence number
 * with the call's place in the table below it, so finding a call is one look,
 * and an id that is late or made up never matches.
 */
#include "util.h"

#include "../include/tachyon.h"

#define CALL_INDEX_BITS 20
#define CALLS_MOST (UINT32_C(1) << CALL_INDEX_BITS)
#define NO_CALL UINT32_MAX

/* A reply that nobody asked for yet, copied out of the ring. */
struct stored_reply {
        tachyon_message message; /* its data is `bytes` */
        unsigned char bytes[];
};

struct call {
        uint64_t id;                /* 0: the place is free */
        struct stored_reply *reply; /* NULL: still to come */
        uint32_t next, previous;    /* of the free ones; of those with a reply, oldest first */
};

struct calls {
        struct call *table;
        uint32_t allocated; /* places in the table */
        uint32_t limit;     /* the most outstanding at a time */
        uint32_t count;     /* outstanding */
        uint32_t stored;    /* those of them with a reply */
        uint32_t free, first, last;
        uint64_t sequence;
};

void calls_init(struct calls *calls);
void calls_destroy(struct calls *calls);
/* A place for one more is there afterwards: 0, -EBUSY (the limit) or -ENOMEM. */
int calls_make_room(struct calls *calls);
/* After calls_make_room(). */
uint64_t calls_add(struct calls *calls);
void calls_remove(struct calls *calls, struct call *call);
/* Keeps a copy of the reply: 0 or -ENOMEM. */
int calls_store(struct calls *calls, struct call *call, const tachyon_message *message);
/* Takes the kept reply off a call, which is over. */
struct stored_reply *calls_take(struct calls *calls, struct call *call);

/* The call of this id, or NULL. */
static inline struct call *calls_find(const struct calls *calls, uint64_t id) {
        uint32_t index = (uint32_t)id & (CALLS_MOST - 1);

        return id && index < calls->allocated && calls->table[index].id == id ? &calls->table[index] : NULL;
}

#endif
