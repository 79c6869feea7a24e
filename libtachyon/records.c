/* SPDX-License-Identifier: MIT */
/* tachyon_bus_send_records() and _recv_records(): what ring_records.c does, with waiting. */
#include "bus.h"

/* What is left of a timeout: 0 and negative ones mean the same all the time. */
static int64_t timeout_left(int64_t timeout_ns, int64_t deadline) {
        int64_t left;

        if (timeout_ns <= 0)
                return timeout_ns;
        left = deadline - now_ns();
        return left > 0 ? left : 0;
}

TACHYON_API int64_t tachyon_bus_send_records(tachyon_bus *bus, const void *records, size_t record_size,
                                             size_t count, uint32_t type_id, int64_t timeout_ns) {
        int64_t deadline = deadline_after(timeout_ns);
        const unsigned char *bytes = records;
        uint64_t sent = 0, n;
        int r;

        if (!record_size)
                return fail(EINVAL, "records of 0 bytes cannot be told apart");
        if (bus->correlated)
                return bus_explain_correlated();
        while (sent < count) {
                /* Also says whether we may send at all, so before each return to a ring that was full. */
                r = bus_await_room(bus, record_size, timeout_left(timeout_ns, deadline));
                if (r == -EAGAIN && timeout_ns)
                        r = -ETIMEDOUT;
                if (r < 0)
                        return sent ? (int64_t)sent : r;
                while ((n = ring_send_records(&bus->out, bytes + sent * record_size, record_size, count - sent,
                                              type_id))) {
                        sent += n;
                        bus_wake_data(bus, bus_uses_fences(bus));
                }
        }
        return (int64_t)sent;
}

/* There is none of those at the cursor: -EAGAIN where there is nothing, else what there is; it stays. */
static int explain_no_record(struct tachyon_bus *bus, uint64_t size, uint64_t type) {
        tachyon_message message;
        uint64_t length;
        int r = ring_peek(&bus->in, &message, &length);

        if (r == -EPROTO)
                return bus_break_frame(bus);
        if (r < 0)
                return r;
        if (message.size != size)
                return fail(EMSGSIZE, "the next message has %llu bytes, not %llu", (unsigned long long)message.size,
                            (unsigned long long)size);
        if (type != TYPE_ANY && message.type_id != type)
                return fail(EBADMSG, "the next message has type_id %u, not %u", message.type_id, (uint32_t)type);
        return -EAGAIN; /* it came between the two looks */
}

/* One by itself, where no run begins: on the exchange line, or the first to follow it. */
static bool take_record(struct tachyon_bus *bus, tachyon_records *records, uint64_t size, uint64_t type) {
        tachyon_message message;
        uint64_t length;

        if (ring_peek(&bus->in, &message, &length) < 0 || message.size != size ||
            (type != TYPE_ANY && message.type_id != type))
                return false;
        ring_take_message(&bus->in, &message, length);
        *records = (tachyon_records){
                .data = message.data,
                .count = 1,
                .stride = length,
                .lease = message.lease,
        };
        bus_check_in(bus);
        return true;
}

static int64_t take_records(struct tachyon_bus *bus, tachyon_records *records, uint64_t size, uint64_t max,
                            uint64_t type) {
        uint64_t lease = atomic_load_explicit(&bus->in.cursor, memory_order_relaxed);
        uint64_t count = ring_recv_records(&bus->in, size, max, type);

        if (!count)
                return take_record(bus, records, size, type) ? 1 : explain_no_record(bus, size, type);
        *records = (tachyon_records){
                .data = bus->in.ring + (lease & bus->in.mask) + frame_data_offset(size),
                .count = count,
                .stride = frame_length(size, FRAME_INLINE_SIZE),
                .lease = lease,
        };
        bus_check_in(bus);
        return (int64_t)count;
}

TACHYON_API int64_t tachyon_bus_recv_records(tachyon_bus *bus, tachyon_records *records, size_t record_size,
                                             size_t max, const uint32_t *type_id, int64_t timeout_ns) {
        uint64_t type = type_id ? *type_id : TYPE_ANY;
        int64_t deadline = deadline_after(timeout_ns), n = -EAGAIN;
        int r;

        if (bus->correlated)
                return bus_explain_correlated();
        if (!record_size || !max || record_size > UINT32_MAX)
                return fail(EINVAL, "records have 1 to 4294967295 bytes, and at least one is wanted");
        if (bus_may_recv(bus))
                n = take_records(bus, records, record_size, max, type);
        while (n == -EAGAIN) {
                r = bus_await_data(bus, timeout_left(timeout_ns, deadline));
                if (r < 0)
                        return r == -EAGAIN && timeout_ns ? -ETIMEDOUT : r;
                n = take_records(bus, records, record_size, max, type);
        }
        return n;
}
