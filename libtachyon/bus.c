/* SPDX-License-Identifier: MIT */
/*
 * A message's trip: tachyon_bus_send() -> ring_send_small() -> bus_wake_data(),
 * which makes a system call only if the peer sleeps; tachyon_bus_recv() ->
 * ring_recv_small(); tachyon_bus_release() -> ring_release_alone(); both in one,
 * with a copy, tachyon_bus_recv_copy() -> ring_look(), ring_pass(). Questions and
 * answers, over the exchange line: bus_send_in_turn() -> ring_exchange();
 * bus_look_soon() -> ring_look_exchange(), ring_take_exchange(). All else is one
 * call away, in the functions that end in _slow.
 */
#include "bus.h"

/*
 * How often to look before a wait is set up: some 4 us, short enough to keep an
 * interpreter's lock, and longer than an interpreter takes to set a wait up. Two
 * who do that for one message answer too late for the other's polling, and would
 * go on so for ever.
 */
#define QUIET_POLLS 256

/* ---- sending ------------------------------------------------------------ */

/* Alive, as far as we know: what else there is to heed, the slow path does. */
static bool bus_may_send(const struct tachyon_bus *bus) {
        return !bus_dead(bus) && !atomic_load_explicit(&bus->peer_end, memory_order_relaxed);
}

/* Wherever the message belongs: on the exchange line, or in the ring. */
static int bus_send_now(struct tachyon_bus *bus, const void *data, size_t size, uint32_t type_id) {
        return ring_exchange(&bus->out, data, size, type_id) ? 0 : ring_send(&bus->out, data, size, type_id);
}

static __attribute__((__noinline__)) int bus_send_slow(struct tachyon_bus *bus, const void *data, size_t size,
                                                       uint32_t type_id, int64_t timeout_ns) {
        int r;

        if (unlikely(bus->correlated))
                return bus_explain_correlated();
        if (bus_may_send(bus) && bus_send_now(bus, data, size, type_id) == 0)
                return bus_wake_data(bus, bus_uses_fences(bus));
        r = bus_await_room(bus, size, timeout_ns);
        if (r == 0)
                r = bus_send_now(bus, data, size, type_id);
        return r < 0 ? r : bus_wake_data(bus, bus_uses_fences(bus));
}

/* Whose turn it is matters. By itself, so that the hot path keeps its registers. */
static __attribute__((__noinline__)) int bus_send_in_turn(struct tachyon_bus *bus, const void *data, size_t size,
                                                          uint32_t type_id, int64_t timeout_ns) {
        if (likely(ring_exchange(&bus->out, data, size, type_id)))
                return bus_wake_data(bus, false); /* with fences, `attention` is set */
        return bus_send_slow(bus, data, size, type_id, timeout_ns);
}

TACHYON_API int tachyon_bus_send(tachyon_bus *bus, const void *data, size_t size, uint32_t type_id,
                                 int64_t timeout_ns) {
        if (unlikely(atomic_load_explicit(&bus->handle.attention, memory_order_relaxed)))
                return bus_send_slow(bus, data, size, type_id, timeout_ns);
        if (unlikely(ring_heeds_turn(&bus->out)))
                return bus_send_in_turn(bus, data, size, type_id, timeout_ns);
        if (likely(ring_send_small(&bus->out, data, size, type_id)))
                return bus_wake_data(bus, false); /* with fences, `attention` is set */
        return bus_send_slow(bus, data, size, type_id, timeout_ns);
}

TACHYON_API int tachyon_bus_try_send(tachyon_bus *bus, const void *data, uint32_t size, uint32_t type_id) {
        return tachyon_bus_send(bus, data, size, type_id, 0);
}

TACHYON_API int tachyon_bus_reserve(tachyon_bus *bus, void **datap, size_t size, int64_t timeout_ns) {
        int r;

        if (unlikely(bus->correlated))
                return bus_explain_correlated();
        if (bus_may_send(bus) && ring_reserve(&bus->out, datap, size) == 0)
                return 0;
        r = bus_await_room(bus, size, timeout_ns);
        return r < 0 ? r : ring_reserve(&bus->out, datap, size);
}

TACHYON_API int tachyon_bus_commit(tachyon_bus *bus, size_t size, uint32_t type_id) {
        int dead = bus_dead(bus);

        if (unlikely(dead))
                return bus_explain_death(dead);
        if (unlikely(bus->correlated))
                return bus_explain_correlated();
        if (unlikely(ring_commit(&bus->out, size, type_id) < 0))
                return bus->out.reserved ? fail(EINVAL, "%zu bytes is more than was reserved, %llu", size,
                                                (unsigned long long)(bus->out.reserved - 1))
                                         : fail(EINVAL, "nothing is reserved");
        return bus_wake_data(bus, bus_uses_fences(bus));
}

TACHYON_API int tachyon_bus_cancel(tachyon_bus *bus) {
        int dead = bus_dead(bus);

        if (dead)
                return bus_explain_death(dead);
        ring_cancel(&bus->out);
        return 0;
}

/* ---- receiving ---------------------------------------------------------- */

int bus_break_frame(struct tachyon_bus *bus) {
        fail(EPROTO, "the peer wrote a frame that cannot be");
        return bus_break(bus);
}

void bus_check_in(struct tachyon_bus *bus) {
        if (atomic_load_explicit(&bus->in.cursor, memory_order_relaxed) >= bus->in.checkpoint)
                ring_checkpoint(&bus->in);
}

/* 0, -EAGAIN, or -EPROTO, which ends the bus. */
static __attribute__((__noinline__)) int bus_take(struct tachyon_bus *bus, tachyon_message *message) {
        int r = ring_recv(&bus->in, message);

        if (r == -EPROTO)
                return bus_break_frame(bus);
        if (r == 0)
                bus_check_in(bus);
        return r;
}

/*
 * Polls for some microseconds without telling anybody: an answer that is on
 * its way arrives before a wait would have been set up. By the stamp alone: all
 * else can wait until it is there.
 *
 * The first look at the exchange line has time, where we wrote there last: while
 * the line is on its way to the peer, and back. A look before that takes it from
 * the peer, who has not answered yet, and so costs more than it can gain.
 */
static bool bus_poll(struct tachyon_bus *bus) {
        ring_begin_exchange(&bus->in);
        if (ring_awaits_answer(&bus->out))
                cpu_linger(FIRST_LOOK_CYCLES);
        for (int polls = bus->settings.spin_ns ? QUIET_POLLS : 0; polls && bus_may_recv(bus); polls--) {
                if (ring_has_message(&bus->in))
                        return true;
                cpu_linger(LOOK_CYCLES);
        }
        return false;
}

static __attribute__((__noinline__)) int bus_recv_slow(struct tachyon_bus *bus, tachyon_message *message,
                                                       int64_t timeout_ns) {
        int r = -EAGAIN;

        if (timeout_ns)
                bus_poll(bus);
        else
                ring_begin_exchange(&bus->in);
        if (bus_may_recv(bus)) /* else, in a forked child, nothing of the rings is mapped */
                r = likely(ring_recv_small(&bus->in, message)) ? 0 : bus_take(bus, message);
        if (r != -EAGAIN)
                return r;
        r = bus_await_data(bus, timeout_ns);
        return r < 0 ? r : bus_take(bus, message);
}

TACHYON_API int tachyon_bus_recv(tachyon_bus *bus, tachyon_message *message, int64_t timeout_ns) {
        if (bus_may_recv(bus) && likely(ring_recv_small(&bus->in, message)))
                return 0;
        return bus_recv_slow(bus, message, timeout_ns);
}

TACHYON_API int tachyon_bus_recv_batch(tachyon_bus *bus, tachyon_message *messages, size_t max,
                                       int64_t timeout_ns) {
        size_t count = 1;
        int r;

        if (!max)
                return fail(EINVAL, "room for at least one message is needed");
        r = tachyon_bus_recv(bus, messages, timeout_ns);
        if (r < 0)
                return r;
        while (count < max && count < INT32_MAX &&
               (ring_recv_small(&bus->in, &messages[count]) || bus_take(bus, &messages[count]) == 0))
                count++;
        return (int)count;
}

const struct frame *bus_look_soon(struct tachyon_bus *bus, uint64_t *sizep) {
        const struct frame *frame = bus_poll(bus) ? bus_look_exchange(bus, sizep) : NULL;

        return frame ? frame : bus_look(bus, sizep);
}

/* The message is the next one again, and its lease is no more. */
static void bus_unreceive(struct tachyon_bus *bus, const tachyon_message *message) {
        if (message->lease & LEASE_EXCHANGED) {
                ring_untake_exchange(&bus->in, message->size);
                return;
        }
        bus->in.messages--;
        bus->in.bytes -= message->size;
        /*
         * No lease: a copy that is taken next, without one, leaves this word as it is,
         * and a forked child counts them. 0 and not the length, which would say that
         * it was released, to a thread in ring_advance() that saw the cursor behind it.
         */
        atomic_store_explicit(&bus->in.leases[(message->lease & bus->in.mask) / FRAME_ALIGNMENT], 0,
                              memory_order_relaxed);
        atomic_store_explicit(&bus->in.cursor, message->lease, memory_order_release);
}

static inline void bus_copy_out(const struct frame *frame, uint64_t size, void *buffer, uint32_t *type_id) {
        copy_small(buffer, frame->payload, size);
        if (type_id)
                *type_id = atomic_load_explicit(&frame->type_id, memory_order_relaxed);
}

static __attribute__((__noinline__)) int64_t bus_recv_copy_slow(struct tachyon_bus *bus, void *buffer,
                                                                size_t capacity, uint32_t *type_id,
                                                                int64_t timeout_ns) {
        const struct frame *frame;
        tachyon_message message;
        uint64_t size;
        int r;

        frame = timeout_ns ? bus_look_soon(bus, &size) : bus_look_exchange(bus, &size);
        if (likely(frame) && likely(size <= capacity)) {
                bus_copy_out(frame, size, buffer, type_id);
                bus_pass_soon(bus, frame, size);
                return (int64_t)size;
        }
        r = tachyon_bus_recv(bus, &message, timeout_ns);
        if (r < 0)
                return r;
        if (message.size > capacity) {
                bus_unreceive(bus, &message);
                return fail(EMSGSIZE, "the next message has %llu bytes, the buffer %zu",
                            (unsigned long long)message.size, capacity);
        }
        memcpy(buffer, message.data, message.size);
        if (type_id)
                *type_id = message.type_id;
        tachyon_bus_release(bus, message.lease);
        return (int64_t)message.size;
}

TACHYON_API int64_t tachyon_bus_recv_copy(tachyon_bus *bus, void *buffer, size_t capacity, uint32_t *type_id,
                                          int64_t timeout_ns) {
        uint64_t size;
        const struct frame *frame = bus_look(bus, &size);

        if (unlikely(!frame || size > capacity))
                return bus_recv_copy_slow(bus, buffer, capacity, type_id, timeout_ns);
        bus_copy_out(frame, size, buffer, type_id);
        bus_pass(bus, size);
        return (int64_t)size;
}

TACHYON_API int tachyon_bus_put_back(tachyon_bus *bus, const tachyon_message *message) {
        int dead = bus_dead(bus);

        if (dead)
                return bus_explain_death(dead);
        if (!ring_is_newest(&bus->in, message->lease))
                return fail(EINVAL, "only the newest message can be put back, before it is released");
        bus_unreceive(bus, message);
        return 0;
}

/* ---- releasing ---------------------------------------------------------- */

static int bus_release_error(struct tachyon_bus *bus, uint64_t lease) {
        return bus_dead(bus) == TACHYON_EFORK
                       ? bus_explain_death(TACHYON_EFORK)
                       : fail(EINVAL, "no lease %llu is out: was it released twice?", (unsigned long long)lease);
}

/* The parent's lease stays as it is. Ours goes, and the bus with the last one, if it has been freed. */
static int bus_release_in_child(struct tachyon_bus *bus, uint64_t lease) {
        bool out;

        if (lease & LEASE_EXCHANGED)
                out = ring_release_exchange(&bus->in, lease);
        else
                out = atomic_fetch_and_explicit(&bus->in.leases[(lease & bus->in.mask) / FRAME_ALIGNMENT], ~LEASE_OUT,
                                                memory_order_relaxed) & LEASE_OUT;
        if (out && atomic_load_explicit(&bus->orphans, memory_order_acquire) &&
            atomic_fetch_sub_explicit(&bus->orphans, 1, memory_order_acq_rel) == 1)
                bus_destroy(bus);
        return bus_explain_death(TACHYON_EFORK);
}

/* After close or free: nobody is to be woken, but somebody may have to clear up. */
static int bus_release_dead(struct tachyon_bus *bus, uint64_t lease) {
        if (bus_dead(bus) == TACHYON_EFORK)
                return bus_release_in_child(bus, lease);
        if (ring_release(&bus->in, lease) < 0)
                return bus_release_error(bus, lease);
        if (!atomic_load_explicit(&bus->orphans, memory_order_acquire))
                ring_advance(&bus->in);
        /* Acq_rel: the last one comes after all that the others did. After it, the bus is not to be touched. */
        else if (atomic_fetch_sub_explicit(&bus->orphans, 1, memory_order_acq_rel) == 1)
                bus_destroy(bus);
        return 0;
}

/* Moves read_position over what is released, for the peer to use. */
static void bus_publish_released(struct tachyon_bus *bus) {
        if (ring_advance(&bus->in))
                bus_wake_space(bus, bus_uses_fences(bus));
}

static __attribute__((__noinline__)) int bus_release_slow(struct tachyon_bus *bus, uint64_t lease) {
        int r;

        if (bus_dead(bus))
                return bus_release_dead(bus, lease);
        r = ring_release(&bus->in, lease);
        if (r < 0)
                return bus_release_error(bus, lease);
        if (!(lease & LEASE_EXCHANGED)) /* which has no place in the ring */
                bus_publish_released(bus);
        return 0;
}

TACHYON_API int tachyon_bus_release(tachyon_bus *bus, uint64_t lease) {
        if (likely(!atomic_load_explicit(&bus->handle.attention, memory_order_relaxed)) &&
            likely(ring_release_alone(&bus->in, lease))) {
                bus_wake_space(bus, false); /* with fences, `attention` is set */
                return 0;
        }
        return bus_release_slow(bus, lease);
}

TACHYON_API int tachyon_bus_release_batch(tachyon_bus *bus, const tachyon_message *messages, size_t count) {
        bool dead = bus_dead(bus);
        int result = 0, r;

        for (size_t i = 0; i < count; i++) {
                r = dead ? bus_release_dead(bus, messages[i].lease) : ring_release(&bus->in, messages[i].lease);
                if (r < 0 && result == 0)
                        result = dead ? r : bus_release_error(bus, messages[i].lease);
        }
        if (!dead)
                bus_publish_released(bus);
        return result;
}

/* ---- for language runtimes ---------------------------------------------- */

TACHYON_API const uint64_t *tachyon_bus_recv_slot(tachyon_bus *bus, tachyon_make_bytes make) {
        bus->make = make;
        return bus->slot;
}

static __attribute__((__noinline__)) void *bus_try_recv_object_slow(struct tachyon_bus *bus) {
        tachyon_message message;
        void *object;
        int r = tachyon_bus_recv(bus, &message, 0);

        bus->slot[0] = (uint64_t)(int64_t)-r;
        if (unlikely(r < 0))
                return bus->make("", 0);
        bus->slot[1] = message.type_id;
        bus->slot[2] = message.size;
        bus->slot[3] = message.correlation_id;
        object = bus->make(message.data, (ptrdiff_t)message.size);
        if (likely(object))
                tachyon_bus_release(bus, message.lease);
        else /* it could not be made */
                bus_unreceive(bus, &message);
        return object;
}

TACHYON_API void *tachyon_bus_try_recv_object(tachyon_bus *bus) {
        uint64_t size;
        const struct frame *frame = bus_look(bus, &size);
        void *object;

        if (unlikely(!frame))
                frame = bus_look_soon(bus, &size);
        if (unlikely(!frame))
                return bus_try_recv_object_slow(bus);
        object = bus->make((const char *)frame->payload, (ptrdiff_t)size);
        bus->slot[0] = 0;
        bus->slot[1] = atomic_load_explicit(&frame->type_id, memory_order_relaxed);
        bus->slot[2] = size;
        bus->slot[3] = 0;
        if (likely(object))
                bus_pass_soon(bus, frame, size);
        return object;
}
