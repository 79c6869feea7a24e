/* SPDX-License-Identifier: MIT */
/*
 * A call with a 32-byte request and a 176-byte reply; and the same round trip
 * over a stream, which is what the call is to be compared with.
 */
#include "bus_link.h"
#include "loops.h"

#define CONNECT_TIMEOUT_NS INT64_C(10000000000)
#define REQUEST_SIZE 32
#define REPLY_SIZE 176

struct rpc_context {
        tachyon_bus *bus;
        tachyon_rpc *rpc; /* NULL: the stream */
        unsigned char *out;
        unsigned char *in;
        uint64_t shift;
};

static tachyon_bus *rpc_open(struct round *round, bool rpc) {
        tachyon_options options = bus_options(round);
        tachyon_bus *bus;
        int r;

        options.kind = rpc ? TACHYON_KIND_RPC : TACHYON_KIND_STREAM;
        if (round->side == 0)
                r = tachyon_bus_connect(&bus, round->path, &options, CONNECT_TIMEOUT_NS);
        else
                r = tachyon_bus_listen(&bus, round->path, &options, CONNECT_TIMEOUT_NS);
        if (r < 0)
                bus_die(round->side == 0 ? "connect" : "listen", r);
        round_meet(round);
        return bus;
}

/* ---- the caller ---- */

static always_inline void call_once(struct rpc_context *c, uint64_t number) {
        tachyon_message reply;
        int r;

        payload_number(c->out, REQUEST_SIZE, number + c->shift);
        r = tachyon_rpc_call(c->rpc, c->out, REQUEST_SIZE, BUS_TYPE_ID, &reply, -1);
        if (unlikely(r != 0 || reply.size != REPLY_SIZE))
                bus_die("call", r);
        payload_copy(c->in, reply.data, REPLY_SIZE);
        tachyon_rpc_release(c->rpc, &reply);
        payload_check(c->in, REPLY_SIZE, number + c->shift);
}

static always_inline void exchange_once(struct rpc_context *c, uint64_t number) {
        payload_number(c->out, REQUEST_SIZE, number + c->shift);
        bus_send(c->bus, c->out, REQUEST_SIZE);
        bus_recv(c->bus, c->in, REPLY_SIZE);
        payload_check(c->in, REPLY_SIZE, number + c->shift);
}

static always_inline void call_trip(void *context, uint64_t number) {
        call_once(context, number);
}

static always_inline void exchange_trip(void *context, uint64_t number) {
        exchange_once(context, number);
}

/* ---- the server ---- */

static void serve_all(tachyon_rpc *rpc, uint64_t trips, unsigned char *in, unsigned char *out) {
        tachyon_message request;
        int r;

        for (uint64_t i = 0; i < trips; i++) {
                r = tachyon_rpc_serve(rpc, &request, -1);
                if (unlikely(r < 0 || request.size != REQUEST_SIZE))
                        bus_die("serve", r);
                payload_copy(in, request.data, REQUEST_SIZE);
                payload_check(in, REQUEST_SIZE, i);
                tachyon_rpc_release(rpc, &request);
                payload_number(out, REPLY_SIZE, i);
                r = tachyon_rpc_reply(rpc, request.correlation_id, out, REPLY_SIZE, BUS_TYPE_ID, -1);
                if (unlikely(r < 0))
                        bus_die("reply", r);
        }
}

static void echo_all(tachyon_bus *bus, uint64_t trips, unsigned char *in, unsigned char *out) {
        for (uint64_t i = 0; i < trips; i++) {
                bus_recv(bus, in, REQUEST_SIZE);
                payload_check(in, REQUEST_SIZE, i);
                payload_number(out, REPLY_SIZE, i);
                bus_send(bus, out, REPLY_SIZE);
        }
}

/* ---- both ---- */

static void rpc_drive(struct round *round, tachyon_bus *bus, tachyon_rpc *rpc) {
        struct rpc_context context = {
                bus, rpc, payload_create(REQUEST_SIZE), payload_create(REPLY_SIZE), first_number(round)
        };

        if (rpc)
                trips_measure(round, &context, call_trip, call_trip);
        else
                trips_measure(round, &context, exchange_trip, exchange_trip);
}

static void rpc_answer(struct round *round, tachyon_bus *bus, tachyon_rpc *rpc) {
        unsigned char *in = payload_create(REQUEST_SIZE), *out = payload_create(REPLY_SIZE);

        if (rpc)
                serve_all(rpc, plan_trips(round->plan), in, out);
        else
                echo_all(bus, plan_trips(round->plan), in, out);
}

static void rpc_run(struct round *round) {
        bool calls = strcmp(round->plan->how, "call") == 0;
        tachyon_bus *bus = rpc_open(round, calls);
        tachyon_rpc *rpc = NULL;
        int r = calls ? tachyon_rpc_create(&rpc, bus) : 0;

        if (r < 0)
                bus_die("create", r);
        (round->side == 0 ? rpc_drive : rpc_answer)(round, bus, rpc);
        round_meet(round);
        if (rpc)
                tachyon_rpc_free(rpc);
        else
                tachyon_bus_free(bus);
}

const struct measurement bus_rpc = { "bus-rpc", "call,stream", NULL, { rpc_run, rpc_run } };
