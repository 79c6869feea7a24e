/* SPDX-License-Identifier: MIT */
/*
 * The caller. A reply that is not the one waited for is copied and kept with its
 * call, and its frame released at once: so replies never block the ring, in
 * whatever order the server gives them. One that belongs to no call, because
 * that was given up or never made, is dropped and counted.
 */
#include "rpc.h"

/* ---- replies ------------------------------------------------------------ */

/* The call is over: what its result is. */
static int rpc_deliver(struct tachyon_rpc *rpc, const tachyon_message *reply, tachyon_message *message) {
        *message = *reply;
        rpc->replies++;
        if (likely(!(reply->flags & TACHYON_FAILURE)))
                return 0;
        rpc->failures++;
        return 1;
}

static int rpc_deliver_stored(struct tachyon_rpc *rpc, struct call *call, tachyon_message *message) {
        return rpc_deliver(rpc, &calls_take(&rpc->calls, call)->message, message);
}

/* A reply that is not the one waited for. */
static int rpc_keep(struct tachyon_rpc *rpc, const tachyon_message *reply) {
        struct call *call = calls_find(&rpc->calls, reply->correlation_id);
        int r;

        if (!call || call->reply) {
                rpc->dropped++;
                return tachyon_bus_release(rpc->bus, reply->lease);
        }
        r = calls_store(&rpc->calls, call, reply);
        if (r < 0) {
                tachyon_bus_put_back(rpc->bus, reply);
                return r;
        }
        return tachyon_bus_release(rpc->bus, reply->lease);
}

/* More than one ring full can only be a peer that sends while we look. */
static uint64_t rpc_most_at_once(const struct tachyon_rpc *rpc) {
        return ring_capacity(rpc->bus->in.mask) / FRAME_ALIGNMENT;
}

int rpc_take_in(struct tachyon_rpc *rpc) {
        uint64_t most = rpc_most_at_once(rpc);
        tachyon_message reply;
        int taken = 0, r = 0;

        while (most-- && (r = rpc_take(rpc, &reply)) == 0) {
                r = rpc_keep(rpc, &reply);
                if (r < 0)
                        return r;
                taken = 1;
        }
        return r == 0 || r == -EAGAIN ? taken : r;
}

/* One look: the result of this call (0: of any that is outstanding), or -EAGAIN, or an error. */
static int rpc_look(struct tachyon_rpc *rpc, uint64_t id, tachyon_message *message) {
        tachyon_message reply;
        struct call *call;
        int r = rpc_take(rpc, &reply);

        if (r < 0)
                return r;
        call = calls_find(&rpc->calls, reply.correlation_id);
        if (likely(call && !call->reply && (reply.correlation_id == id || !id))) {
                calls_remove(&rpc->calls, call);
                return rpc_deliver(rpc, &reply, message);
        }
        r = rpc_keep(rpc, &reply);
        return r < 0 ? r : -EINPROGRESS; /* something came, go on at once */
}

int rpc_wait_soon(struct tachyon_rpc *rpc, uint64_t id, tachyon_message *message, int polls) {
        uint64_t others = rpc_most_at_once(rpc);
        int r = -EAGAIN;

        while (polls) {
                r = rpc_look(rpc, id, message);
                if (r != -EAGAIN && r != -EINPROGRESS)
                        return r;
                if (r == -EAGAIN) {
                        polls--;
                        cpu_relax();
                } else if (!--others) {
                        break;
                }
        }
        return -EAGAIN;
}

static __attribute__((__noinline__)) int rpc_wait_long(struct tachyon_rpc *rpc, uint64_t id,
                                                       tachyon_message *message, int64_t timeout_ns) {
        int64_t deadline = deadline_after(timeout_ns), left = timeout_ns;
        int r;

        for (;;) {
                r = bus_await_data(rpc->bus, left);
                if (r == 0)
                        r = rpc_wait_soon(rpc, id, message, 1);
                if (r != -EAGAIN || timeout_ns == 0)
                        return r;
                left = rpc_timeout_left(timeout_ns, deadline);
                if (left == 0)
                        return fail(ETIMEDOUT, "no reply came in time");
        }
}

static int rpc_wait(struct tachyon_rpc *rpc, uint64_t id, tachyon_message *message, int64_t timeout_ns) {
        int r = rpc_wait_soon(rpc, id, message, timeout_ns && rpc->bus->settings.spin_ns ? RPC_QUIET_POLLS : 1);

        return r != -EAGAIN ? r : rpc_wait_long(rpc, id, message, timeout_ns);
}

TACHYON_API int tachyon_rpc_wait(tachyon_rpc *rpc, uint64_t id, tachyon_message *message, int64_t timeout_ns) {
        struct call *call = calls_find(&rpc->calls, id);
        int r = rpc_check_role(rpc, false);

        if (r < 0)
                return r;
        if (!call)
                return fail(EINVAL, "no call %llu is outstanding", (unsigned long long)id);
        if (call->reply)
                return rpc_deliver_stored(rpc, call, message);
        return rpc_wait(rpc, id, message, timeout_ns);
}

TACHYON_API int tachyon_rpc_poll(tachyon_rpc *rpc, tachyon_message *message, int64_t timeout_ns) {
        int r = rpc_check_role(rpc, false);

        if (r < 0)
                return r;
        if (rpc->calls.stored)
                return rpc_deliver_stored(rpc, &rpc->calls.table[rpc->calls.first], message);
        return rpc_wait(rpc, 0, message, timeout_ns);
}

TACHYON_API int tachyon_rpc_forget(tachyon_rpc *rpc, uint64_t id) {
        struct call *call = calls_find(&rpc->calls, id);

        if (!call)
                return fail(EINVAL, "no call %llu is outstanding", (unsigned long long)id);
        if (call->reply)
                free(calls_take(&rpc->calls, call));
        else
                calls_remove(&rpc->calls, call);
        return 0;
}

TACHYON_API int tachyon_rpc_set_limit(tachyon_rpc *rpc, uint32_t calls) {
        if (!calls || calls > CALLS_MOST)
                return fail(EINVAL, "the limit of outstanding calls must be 1 to %u", CALLS_MOST);
        rpc->calls.limit = calls;
        return 0;
}

/* ---- requests ----------------------------------------------------------- */

#define REQUEST (FRAME_VALID | FRAME_CORRELATED)

static __attribute__((__noinline__)) int rpc_submit_slow(struct tachyon_rpc *rpc, const void *data, size_t size,
                                                         const struct ring_label *label, int64_t timeout_ns) {
        int r = rpc_await_room(rpc, size, timeout_ns);

        return r < 0 ? r : ring_send_labelled(&rpc->bus->out, data, size, label);
}

TACHYON_API int tachyon_rpc_submit(tachyon_rpc *rpc, const void *data, size_t size, uint32_t type_id,
                                   uint64_t *idp, int64_t timeout_ns) {
        struct ring_label label = { .flags = REQUEST, .type_id = type_id };
        int r = rpc_check_role(rpc, false);

        if (likely(r == 0))
                r = calls_make_room(&rpc->calls);
        if (unlikely(r < 0))
                return r;
        label.id = calls_add(&rpc->calls);
        r = rpc_try_send(rpc, data, size, &label);
        if (unlikely(r < 0))
                r = rpc_submit_slow(rpc, data, size, &label, timeout_ns);
        if (unlikely(r < 0)) {
                calls_remove(&rpc->calls, calls_find(&rpc->calls, label.id));
                return r;
        }
        rpc->requests++;
        *idp = label.id;
        /* That the peer has ended is what a wait says: after the replies that there are. */
        rpc_wake(rpc);
        return 0;
}

TACHYON_API int tachyon_rpc_reserve(tachyon_rpc *rpc, void **datap, size_t size, int64_t timeout_ns) {
        int r = rpc_check_role(rpc, false);

        if (r == 0)
                r = calls_make_room(&rpc->calls);
        if (r == 0)
                r = rpc_await_room(rpc, size, timeout_ns);
        return r < 0 ? r : ring_reserve_correlated(&rpc->bus->out, datap, size);
}

TACHYON_API int tachyon_rpc_commit(tachyon_rpc *rpc, size_t size, uint32_t type_id, uint64_t *idp) {
        struct ring_label label = { .flags = REQUEST, .type_id = type_id };
        int dead = bus_dead(rpc->bus), r = rpc_check_role(rpc, false);

        if (dead)
                return bus_explain_death(dead);
        /* Room was made when it was reserved, unless calls were submitted; they cannot be while it is open. */
        if (r == 0)
                r = calls_make_room(&rpc->calls);
        if (r < 0)
                return r;
        label.id = calls_add(&rpc->calls);
        if (ring_commit_labelled(&rpc->bus->out, size, &label) < 0) {
                calls_remove(&rpc->calls, calls_find(&rpc->calls, label.id));
                return fail(EINVAL, "nothing is reserved, or less than %zu bytes", size);
        }
        rpc->requests++;
        *idp = label.id;
        rpc_wake(rpc);
        return 0;
}

TACHYON_API int tachyon_rpc_call(tachyon_rpc *rpc, const void *data, size_t size, uint32_t type_id,
                                 tachyon_message *message, int64_t timeout_ns) {
        int64_t deadline = timeout_ns > 0 ? deadline_after(timeout_ns) : 0;
        uint64_t id;
        int r = tachyon_rpc_submit(rpc, data, size, type_id, &id, timeout_ns);

        if (unlikely(r < 0))
                return r;
        r = rpc_wait_soon(rpc, id, message, rpc->bus->settings.spin_ns ? RPC_QUIET_POLLS : 1);
        if (unlikely(r == -EAGAIN))
                r = rpc_wait_long(rpc, id, message, rpc_timeout_left(timeout_ns, deadline));
        if (unlikely(r < 0)) {
                tachyon_rpc_forget(rpc, id);
                if (r == -EAGAIN && timeout_ns)
                        r = fail(ETIMEDOUT, "no reply came in time");
        }
        return r;
}

TACHYON_API int tachyon_rpc_call_copy(tachyon_rpc *rpc, const void *data, size_t size, uint32_t type_id,
                                      void *buffer, size_t capacity, tachyon_message *reply,
                                      int64_t timeout_ns) {
        tachyon_message message;
        uint64_t copied;
        int r = tachyon_rpc_call(rpc, data, size, type_id, &message, timeout_ns);

        if (unlikely(r < 0))
                return r;
        copied = message.size < capacity ? message.size : capacity;
        if (likely(r == 1 || copied == message.size)) {
                *reply = message;
                reply->data = buffer;
                reply->size = copied;
                reply->lease = 0;
                if (copied)
                        memcpy(buffer, message.data, copied);
        } else {
                r = fail(EMSGSIZE, "the reply has %llu bytes, the buffer %zu", (unsigned long long)message.size,
                         capacity);
        }
        tachyon_rpc_release(rpc, &message);
        return r;
}
