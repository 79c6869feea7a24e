/* SPDX-License-Identifier: MIT */
/* See rpc_calls.h. */
#include "rpc_calls.h"
#include <string.h>

#define DEFAULT_LIMIT 65536
#define FIRST_ALLOCATION 64

void calls_init(struct calls *calls) {
        *calls = (struct calls){ .limit = DEFAULT_LIMIT, .free = NO_CALL, .first = NO_CALL, .last = NO_CALL };
}

void calls_destroy(struct calls *calls) {
        for (uint32_t i = 0; i < calls->allocated; i++)
                if (calls->table[i].id)
                        free(calls->table[i].reply);
        free(calls->table);
        calls->table = NULL;
        calls->allocated = 0;
}

static int calls_grow(struct calls *calls) {
        uint32_t wanted = calls->allocated ? calls->allocated * 2 : FIRST_ALLOCATION;
        struct call *table = realloc(calls->table, wanted * sizeof(*table));

        if (!table)
                return fail(ENOMEM, "no memory for %u outstanding calls", wanted);
        /* Backwards, so that the lowest are used first. */
        for (uint32_t i = wanted; i-- > calls->allocated;) {
                table[i] = (struct call){ .next = calls->free };
                calls->free = i;
        }
        calls->table = table;
        calls->allocated = wanted;
        return 0;
}

int calls_make_room(struct calls *calls) {
        if (unlikely(calls->count >= calls->limit))
                return fail(EBUSY, "%u calls are outstanding, which is the limit: wait for some, or forget them",
                            calls->count);
        return likely(calls->free != NO_CALL) ? 0 : calls_grow(calls);
}

uint64_t calls_add(struct calls *calls) {
        uint32_t index = calls->free;
        struct call *call = &calls->table[index];

        calls->free = call->next;
        calls->count++;
        call->id = ++calls->sequence << CALL_INDEX_BITS | index;
        call->reply = NULL;
        return call->id;
}

void calls_remove(struct calls *calls, struct call *call) {
        call->id = 0;
        call->next = calls->free;
        calls->free = (uint32_t)(call - calls->table);
        calls->count--;
}

int calls_store(struct calls *calls, struct call *call, const tachyon_message *message) {
        uint32_t index = (uint32_t)(call - calls->table);
        struct stored_reply *reply = malloc(sizeof(*reply) + message->size);

        if (!reply)
                return fail(ENOMEM, "no memory to keep a reply of %llu bytes", (unsigned long long)message->size);
        reply->message = *message;
        reply->message.data = reply->bytes;
        /* Leases in a ring are multiples of 64, so this tells the two kinds apart. */
        reply->message.lease = (uint64_t)(uintptr_t)reply | 1;
        memcpy(reply->bytes, message->data, message->size);

        call->reply = reply;
        call->next = NO_CALL;
        call->previous = calls->last;
        *(calls->last == NO_CALL ? &calls->first : &calls->table[calls->last].next) = index;
        calls->last = index;
        calls->stored++;
        return 0;
}

struct stored_reply *calls_take(struct calls *calls, struct call *call) {
        struct stored_reply *reply = call->reply;

        *(call->previous == NO_CALL ? &calls->first : &calls->table[call->previous].next) = call->next;
        *(call->next == NO_CALL ? &calls->last : &calls->table[call->next].previous) = call->previous;
        calls->stored--;
        calls_remove(calls, call);
        return reply;
}
