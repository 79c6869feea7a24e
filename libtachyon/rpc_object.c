/* SPDX-License-Identifier: MIT */
/* For dynamic languages: one C call each for a call, a wait and a request, which never sleeps. */
#include "rpc.h"

/* A reply from a program in such a language takes some microseconds: worth more looks than a doorbell's. */
#define OBJECT_POLLS 512

enum slot {
        SLOT_ERROR = 0,
        SLOT_TYPE_ID,
        SLOT_SIZE,
        SLOT_ID,
        SLOT_FLAGS,
};

TACHYON_API const uint64_t *tachyon_rpc_slot(tachyon_rpc *rpc, tachyon_make_bytes make) {
        rpc->make = make;
        return rpc->slot;
}

int rpc_object_polls(const struct tachyon_rpc *rpc) {
        return rpc->bus->settings.spin_ns ? OBJECT_POLLS : 1;
}

static void *rpc_nothing(struct tachyon_rpc *rpc, int error, uint64_t id) {
        rpc->slot[SLOT_ERROR] = (uint64_t)(int64_t)-error;
        rpc->slot[SLOT_ID] = id;
        return rpc->make("", 0);
}

static void *rpc_object(struct tachyon_rpc *rpc, const tachyon_message *message) {
        void *object;

        rpc->slot[SLOT_ERROR] = 0;
        rpc->slot[SLOT_TYPE_ID] = message->type_id;
        rpc->slot[SLOT_SIZE] = message->size;
        rpc->slot[SLOT_ID] = message->correlation_id;
        rpc->slot[SLOT_FLAGS] = message->flags;
        object = rpc->make(message->data, (ptrdiff_t)message->size);
        tachyon_rpc_release(rpc, message);
        return object;
}

TACHYON_API void *tachyon_rpc_try_call_object(tachyon_rpc *rpc, const void *data, uint32_t size,
                                              uint32_t type_id) {
        tachyon_message message;
        uint64_t id = 0;
        int r = tachyon_rpc_submit(rpc, data, size, type_id, &id, 0);

        if (likely(r == 0))
                r = rpc_wait_soon(rpc, id, &message, rpc_object_polls(rpc));
        if (unlikely(r < 0))
                return rpc_nothing(rpc, r, id);
        return rpc_object(rpc, &message);
}

TACHYON_API void *tachyon_rpc_try_wait_object(tachyon_rpc *rpc, uint64_t id) {
        tachyon_message message;
        int r = id ? tachyon_rpc_wait(rpc, id, &message, 0) : tachyon_rpc_poll(rpc, &message, 0);

        return unlikely(r < 0) ? rpc_nothing(rpc, r, id) : rpc_object(rpc, &message);
}

int rpc_serve_soon(struct tachyon_rpc *rpc, tachyon_message *request, uint64_t most) {
        int r = -EAGAIN;

        if (likely(rpc->serves))
                for (int polls = rpc_object_polls(rpc); polls && (r = rpc_take(rpc, request)) == -EAGAIN; polls--)
                        cpu_relax();
        if (unlikely(r == -EAGAIN))
                r = tachyon_rpc_serve(rpc, request, 0);
        else
                rpc->requests += r == 0;
        if (likely(r < 0 || request->size <= most))
                return r;
        rpc->requests--;
        tachyon_bus_put_back(rpc->bus, request);
        return -EMSGSIZE;
}

TACHYON_API void *tachyon_rpc_try_serve_object(tachyon_rpc *rpc, uint64_t most) {
        tachyon_message request;
        int r = rpc_serve_soon(rpc, &request, most);

        return unlikely(r < 0) ? rpc_nothing(rpc, r, 0) : rpc_object(rpc, &request);
}

TACHYON_API int tachyon_rpc_try_reply(tachyon_rpc *rpc, uint64_t id, const void *data, uint32_t size,
                                      uint32_t type_id) {
        return tachyon_rpc_reply(rpc, id, data, size, type_id, 0);
}

TACHYON_API int tachyon_rpc_wait_room(tachyon_rpc *rpc, size_t size, int64_t timeout_ns) {
        int r;

        if (rpc->serves) /* for one of the threads that reply */
                return bus_watch_room(rpc->bus, ring_uncorrelated_size(size), timeout_ns);
        r = bus_await_room(rpc->bus, ring_uncorrelated_size(size), 0);
        if (r != -EAGAIN || timeout_ns == 0)
                return r;
        r = bus_await_either(rpc->bus, ring_uncorrelated_size(size), deadline_after(timeout_ns));
        if (r < 0)
                bus_want_nothing(rpc->bus);
        return r;
}
