/* SPDX-License-Identifier: MIT */
/*
 * The server. It keeps no table: a request is a lease with an id, and a reply
 * names the id. A reply to nothing is dropped by the caller.
 */
#include "rpc.h"

#define REPLY (FRAME_VALID | FRAME_CORRELATED | FRAME_REPLY)

TACHYON_API int tachyon_rpc_serve(tachyon_rpc *rpc, tachyon_message *request, int64_t timeout_ns) {
        int polls = timeout_ns && rpc->bus->settings.spin_ns ? RPC_QUIET_POLLS : 1;
        int r = rpc_check_role(rpc, true);

        if (r < 0)
                return r;
        for (; polls; polls--) {
                r = rpc_take(rpc, request);
                if (r != -EAGAIN)
                        break;
                cpu_relax();
        }
        if (r == -EAGAIN) {
                r = bus_await_data(rpc->bus, timeout_ns);
                if (r == 0)
                        r = rpc_take(rpc, request);
        }
        rpc->requests += r == 0;
        return r;
}

/* After it was sent. */
static int rpc_replied(struct tachyon_rpc *rpc, const struct ring_label *label) {
        rpc->replies++;
        rpc->failures += !!(label->flags & FRAME_FAILURE);
        return rpc_wake(rpc);
}

static int rpc_send_reply(struct tachyon_rpc *rpc, const void *data, size_t size, const struct ring_label *label,
                          int64_t timeout_ns) {
        int r = rpc_check_role(rpc, true);

        if (unlikely(r < 0))
                return r;
        r = rpc_try_send(rpc, data, size, label);
        if (unlikely(r < 0)) {
                r = rpc_await_room(rpc, size, timeout_ns);
                if (r == 0)
                        r = ring_send_labelled(&rpc->bus->out, data, size, label);
        }
        return unlikely(r < 0) ? r : rpc_replied(rpc, label);
}

TACHYON_API int tachyon_rpc_reply(tachyon_rpc *rpc, uint64_t id, const void *data, size_t size, uint32_t type_id,
                                  int64_t timeout_ns) {
        struct ring_label label = { .id = id, .flags = REPLY, .type_id = type_id };

        return rpc_send_reply(rpc, data, size, &label, timeout_ns);
}

TACHYON_API int tachyon_rpc_reserve_reply(tachyon_rpc *rpc, uint64_t id, void **datap, size_t size,
                                          int64_t timeout_ns) {
        int r = rpc_check_role(rpc, true);

        if (r == 0)
                r = rpc_await_room(rpc, size, timeout_ns);
        if (r == 0)
                r = ring_reserve_correlated(&rpc->bus->out, datap, size);
        if (r == 0)
                rpc->reserved_id = id;
        return r;
}

TACHYON_API int tachyon_rpc_commit_reply(tachyon_rpc *rpc, size_t size, uint32_t type_id) {
        struct ring_label label = { .id = rpc->reserved_id, .flags = REPLY, .type_id = type_id };
        int dead = bus_dead(rpc->bus), r = rpc_check_role(rpc, true);

        if (r < 0)
                return r;
        if (dead)
                return bus_explain_death(dead);
        if (ring_commit_labelled(&rpc->bus->out, size, &label) < 0)
                return fail(EINVAL, "nothing is reserved, or less than %zu bytes", size);
        return rpc_replied(rpc, &label);
}

/* As much of the text as a message can hold, without half a character at its end. */
static size_t text_size(const struct tachyon_rpc *rpc, const char *text, size_t size) {
        size_t max = ring_max_size(rpc->bus->out.mask);

        if (size <= max)
                return size;
        while (max && ((unsigned char)text[max] & 0xc0) == 0x80)
                max--;
        return max;
}

TACHYON_API int tachyon_rpc_fail(tachyon_rpc *rpc, uint64_t id, uint32_t code, const char *text, size_t size,
                                 int64_t timeout_ns) {
        struct ring_label label = { .id = id, .flags = REPLY | FRAME_FAILURE, .type_id = code };

        return rpc_send_reply(rpc, text, text_size(rpc, text, size), &label, timeout_ns);
}
