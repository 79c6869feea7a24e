/* SPDX-License-Identifier: MIT */
/*
 * Records: runs of messages of one size. Written as if they had been sent one
 * by one, and received as one strided view, so the cost of a call is shared by
 * thousands.
 */
#include "ring.h"

static void record_copy(unsigned char *frame, const unsigned char *record, uint64_t size) {
        if (size <= FRAME_INLINE_SIZE)
                copy_small(frame + FRAME_HEADER_SIZE, record, size);
        else
                memcpy(frame + FRAME_ALIGNMENT, record, size);
}

/*
 * All frames of a run but the first, and all but their order: R1 of the first
 * frame publishes them. Inlined for each usual size, so that copying one is a few
 * moves without a branch.
 */
static inline __attribute__((__always_inline__)) void
records_write_inner(const struct ring_producer *producer, const unsigned char *records, uint64_t size,
                    uint64_t count, uint32_t type_id) {
        unsigned char *ring = producer->ring; /* copies, as in ring_send_small() */
        uint64_t mask = producer->mask, length = frame_length(size, FRAME_INLINE_SIZE);
        uint64_t position = producer->position;

        for (uint64_t i = 1; i < count; i++) {
                struct frame *frame = ring_frame(ring, mask, position += length);

                record_copy((unsigned char *)frame, records += size, size);
                atomic_store_explicit(&frame->size, (uint32_t)size, memory_order_relaxed);
                atomic_store_explicit(&frame->type_id, type_id, memory_order_relaxed);
                atomic_store_explicit(&frame->stamp, position | FRAME_VALID, memory_order_relaxed);
        }
}

static void records_write(const struct ring_producer *producer, const unsigned char *records, uint64_t size,
                          uint64_t count, uint32_t type_id) {
        switch (size) {
        case 8:
                records_write_inner(producer, records, 8, count, type_id);
                break;
        case 16:
                records_write_inner(producer, records, 16, count, type_id);
                break;
        case 24:
                records_write_inner(producer, records, 24, count, type_id);
                break;
        case 32:
                records_write_inner(producer, records, 32, count, type_id);
                break;
        case 40:
                records_write_inner(producer, records, 40, count, type_id);
                break;
        case 48:
                records_write_inner(producer, records, 48, count, type_id);
                break;
        default:
                records_write_inner(producer, records, size, count, type_id);
                break;
        }
}

uint64_t ring_send_records(struct ring_producer *producer, const unsigned char *records, uint64_t size,
                           uint64_t count, uint32_t type_id) {
        uint64_t position = producer->position, length = frame_length(size, FRAME_INLINE_SIZE);
        uint64_t fitting = (producer->limit - position) / length;

        if (count > fitting)
                count = fitting;
        if (count > RING_RECORDS_AT_ONCE)
                count = RING_RECORDS_AT_ONCE;
        if (!count)
                return 0;
        records_write(producer, records, size, count, type_id);
        LABEL("records:inner");
        record_copy((unsigned char *)ring_frame(producer->ring, producer->mask, position), records, size);
        /* One frame as long as all of them, as far as look-ahead and position go. */
        ring_publish(producer, producer->ring, producer->mask, position, count * length, size, type_id,
                     ring_next_flags(producer));
        producer->messages += count - 1;
        producer->bytes += (count - 1) * size;
        return count;
}

/* How many frames from the cursor on are published, and of the run; at most so many. */
static uint64_t records_there(const struct ring_consumer *consumer, uint64_t position, uint64_t size, uint64_t type,
                              uint64_t length, uint64_t most) {
        const unsigned char *ring = consumer->ring; /* copies: each acquire makes the compiler load them again */
        uint64_t mask = consumer->mask, count = 0;

        for (; count < most; count++, position += length) {
                const struct frame *frame = (const void *)(ring + (position & mask));

                /* A1: pairs with R1 in ring_publish(), the frame's own or that of the first of its run. */
                if (atomic_load_explicit(&frame->stamp, memory_order_acquire) != (position | FRAME_VALID) ||
                    atomic_load_explicit(&frame->size, memory_order_relaxed) != size ||
                    (type != TYPE_ANY && atomic_load_explicit(&frame->type_id, memory_order_relaxed) != type))
                        break;
        }
        return count;
}

uint64_t ring_recv_records(struct ring_consumer *consumer, uint64_t size, uint64_t max, uint64_t type) {
        uint64_t cursor = atomic_load_explicit(&consumer->cursor, memory_order_relaxed), count;
        uint64_t length = frame_length(size, FRAME_INLINE_SIZE);
        /* I3, as in ring_peek(). */
        uint64_t room = atomic_load_explicit(consumer->read_position, memory_order_relaxed) +
                        ring_capacity(consumer->mask) - FRAME_ALIGNMENT - cursor;

        if (room >= ring_capacity(consumer->mask)) /* see ring_peek(), which will say so */
                return 0;
        if (max > room / length)
                max = room / length;
        /* One lease word has to hold the whole run's lines. */
        if (max > (LEASE_OUT - 1) / (length / FRAME_ALIGNMENT))
                max = (LEASE_OUT - 1) / (length / FRAME_ALIGNMENT);
        count = records_there(consumer, cursor, size, type, length, max);
        if (count) {
                ring_take(consumer, (cursor & consumer->mask) / FRAME_ALIGNMENT, cursor, count * length, count * size);
                consumer->messages += count - 1;
        }
        return count;
}
