/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_RPC_H
#define TACHYON_RPC_H
/*
 * Request and reply over a bus of kind rpc. rpc.c has what both ends need,
 * rpc_call.c the caller, rpc_serve.c the server, rpc_object.c the entry points
 * of dynamic languages.
 *
 * The connector calls, the listener's end serves. What the wrong end sends is a
 * breach of the protocol; what our own program asks of the wrong end is
 * -EOPNOTSUPP.
 */
#include "bus.h"
#include "ring_rpc.h"
#include "rpc_calls.h"

/* How often to look before a wait is set up: as in bus.c. */
#define RPC_QUIET_POLLS 64

struct tachyon_rpc {
        struct tachyon_bus *bus;
        bool serves;
        uint32_t expected; /* the flags that each message must have here */
        struct calls calls;
        uint64_t reserved_id; /* of the reply that is being written in place */
        uint64_t replies, failures, dropped, requests;
        uint64_t slot[5];
        tachyon_make_bytes make;
};

/* What is left of a timeout: 0 and negative ones mean the same all the time. */
static inline int64_t rpc_timeout_left(int64_t timeout_ns, int64_t deadline) {
        int64_t left;

        if (timeout_ns <= 0)
                return timeout_ns;
        left = deadline - now_ns();
        return left > 0 ? left : 0;
}

/* 0, or -EOPNOTSUPP with a text: this end does not do that. */
int rpc_check_role(const struct tachyon_rpc *rpc, bool serves);
/* 0 and the next message, whatever it answers; -EAGAIN; or -EPROTO. */
int rpc_take(struct tachyon_rpc *rpc, tachyon_message *message);
/* Sends at once, or -EAGAIN. */
int rpc_try_send(struct tachyon_rpc *rpc, const void *data, uint64_t size, const struct ring_label *label);
/* After a publication. */
static inline int rpc_wake(struct tachyon_rpc *rpc) {
        return bus_wake_data(rpc->bus, bus_uses_fences(rpc->bus));
}
/* Room for a frame of this payload; a caller takes replies in meanwhile. Errors of tachyon_bus_send(). */
int rpc_await_room(struct tachyon_rpc *rpc, uint64_t size, int64_t timeout_ns);

/* rpc_call.c. Takes in what is there: how many, or an error. */
int rpc_take_in(struct tachyon_rpc *rpc);
/* The reply to this call is there already, or comes while we poll so often: its result; else -EAGAIN. */
int rpc_wait_soon(struct tachyon_rpc *rpc, uint64_t id, tachyon_message *message, int polls);

/* rpc_object.c. A request of at most this size that comes within a moment: 0; -EMSGSIZE: it is larger, and stays. */
int rpc_serve_soon(struct tachyon_rpc *rpc, tachyon_message *request, uint64_t most);
/* How often to look for what a program in a dynamic language is about to send. */
int rpc_object_polls(const struct tachyon_rpc *rpc);

#endif
