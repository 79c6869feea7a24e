/* SPDX-License-Identifier: MIT */
/* What caller and server share: the handle, taking a message, and finding room for one. */
#include "rpc.h"

int rpc_check_role(const struct tachyon_rpc *rpc, bool serves) {
        if (likely(rpc->serves == serves))
                return 0;
        return fail(EOPNOTSUPP, serves ? "the connector's end of an rpc bus calls, it does not serve"
                                       : "the listener's end of an rpc bus serves, it does not call");
}

static int rpc_break(struct tachyon_rpc *rpc, uint64_t lease) {
        tachyon_bus_release(rpc->bus, lease); /* nobody gets to see it */
        fail(EPROTO, rpc->serves ? "the peer sent something that is not a request"
                                 : "the peer sent something that is not a reply");
        return bus_break(rpc->bus);
}

int rpc_take(struct tachyon_rpc *rpc, tachyon_message *message) {
        struct tachyon_bus *bus = rpc->bus;
        int r;

        if (unlikely(!bus_may_recv(bus)))
                return bus_explain_death(bus_dead(bus));
        r = ring_recv(&bus->in, message);
        if (r == -EAGAIN)
                return r;
        if (unlikely(r < 0))
                return bus_break_frame(bus);
        bus_check_in(bus);
        if (unlikely((message->flags & rpc->expected) != rpc->expected))
                return rpc_break(rpc, message->lease);
        return 0;
}

int rpc_try_send(struct tachyon_rpc *rpc, const void *data, uint64_t size, const struct ring_label *label) {
        struct tachyon_bus *bus = rpc->bus;

        if (unlikely(bus_dead(bus) || atomic_load_explicit(&bus->peer_end, memory_order_relaxed)))
                return -EAGAIN; /* rpc_await_room() says what it is */
        return ring_send_labelled(&bus->out, data, size, label);
}

/* A caller whose server waits for room to reply must take replies in, or both would wait for ever. */
static int rpc_await_room_or_replies(struct tachyon_rpc *rpc, uint64_t size, int64_t timeout_ns) {
        int64_t deadline = deadline_after(timeout_ns);
        int r, n;

        for (;;) {
                r = bus_await_room(rpc->bus, size, 0);
                if (r != -EAGAIN)
                        return r;
                n = rpc_take_in(rpc);
                if (n < 0)
                        return n;
                if (timeout_ns == 0)
                        return bus_await_room(rpc->bus, size, 0);
                r = bus_look_for_data(rpc->bus);
                if (r == 0 && n == 0)
                        r = bus_await_either(rpc->bus, size, deadline);
                if (r >= 0 && now_ns() >= deadline)
                        r = -ETIMEDOUT;
                if (r < 0)
                        return r;
        }
}

int rpc_await_room(struct tachyon_rpc *rpc, uint64_t size, int64_t timeout_ns) {
        int r;

        size = ring_uncorrelated_size(size);
        r = bus_dead(rpc->bus);
        if (r)
                return bus_explain_death(r);
        if (rpc->serves)
                return bus_await_room(rpc->bus, size, timeout_ns);
        r = rpc_await_room_or_replies(rpc, size, timeout_ns);
        if (r == -ETIMEDOUT || r == -EINTR)
                bus_want_nothing(rpc->bus);
        return r;
}

/* ---- the handle --------------------------------------------------------- */

TACHYON_API int tachyon_rpc_create(tachyon_rpc **rpcp, tachyon_bus *bus) {
        struct tachyon_rpc *rpc;

        if (bus->settings.kind != TACHYON_KIND_RPC)
                return fail(EINVAL, "not a bus of kind rpc: both ends must set options.kind = TACHYON_KIND_RPC");
        rpc = calloc(1, sizeof(*rpc));
        if (!rpc)
                return fail(ENOMEM, "no memory for an rpc handle");
        rpc->bus = bus;
        rpc->serves = bus->connection.is_listener;
        rpc->expected = rpc->serves ? TACHYON_CORRELATED : TACHYON_CORRELATED | TACHYON_REPLY;
        calls_init(&rpc->calls);
        *rpcp = rpc;
        return 0;
}

TACHYON_API tachyon_bus *tachyon_rpc_bus(tachyon_rpc *rpc) {
        return rpc->bus;
}

TACHYON_API int tachyon_rpc_release(tachyon_rpc *rpc, const tachyon_message *message) {
        if (message->lease & 1) {
                free((void *)(uintptr_t)(message->lease & ~UINT64_C(1)));
                return 0;
        }
        return tachyon_bus_release(rpc->bus, message->lease);
}

TACHYON_API int tachyon_rpc_cancel(tachyon_rpc *rpc) {
        rpc->reserved_id = 0;
        return tachyon_bus_cancel(rpc->bus);
}

TACHYON_API int tachyon_rpc_stats(tachyon_rpc *rpc, tachyon_rpc_counters *counters) {
        tachyon_rpc_counters c = {
                .outstanding = rpc->calls.count,
                .stored = rpc->calls.stored,
                .requests = rpc->requests,
                .replies = rpc->replies,
                .failures = rpc->failures,
                .dropped = rpc->dropped,
        };
        uint64_t size = counters->struct_size;

        if (size < sizeof(uint64_t))
                return fail(EINVAL, "struct_size is not set");
        memcpy(counters, &c, size < sizeof(c) ? size : sizeof(c));
        counters->struct_size = size;
        return 0;
}

TACHYON_API void tachyon_rpc_close(tachyon_rpc *rpc) {
        if (rpc)
                tachyon_bus_close(rpc->bus);
}

TACHYON_API void tachyon_rpc_free(tachyon_rpc *rpc) {
        if (!rpc)
                return;
        tachyon_bus_free(rpc->bus);
        calls_destroy(&rpc->calls);
        free(rpc);
}
