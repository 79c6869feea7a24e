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

/* All of a frame after the first but its order: R1 of the first frame publishes it. */
static void record_write_inner(const struct ring_producer *producer, uint64_t position,
                               const unsigned char *record, uint64_t size, uint32_t type_id) {
        struct frame *frame = ring_frame(producer->ring, producer->mask, position);

        record_copy((unsigned char *)frame, record, size);
        atomic_store_explicit(&frame->size, (uint32_t)size, memory_order_relaxed);
        atomic_store_explicit(&frame->type_id, type_id, memory_order_relaxed);
        atomic_store_explicit(&frame->stamp, position | FRAME_VALID, memory_order_relaxed);
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
        for (uint64_t i = 1; i < count; i++)
                record_write_inner(producer, position + i * length, records + i * size, size, type_id);
        LABEL("records:inner");
        record_copy((unsigned char *)ring_frame(producer->ring, producer->mask, position), records, size);
        /* One frame as long as all of them, as far as look-ahead and position go. */
        ring_publish(producer, producer->ring, producer->mask, position, count * length, size, type_id,
                     FRAME_VALID);
        producer->messages += count - 1;
        producer->bytes += (count - 1) * size;
        return count;
}

/* Is the frame at this position published, and one of the run? */
static bool record_matches(const struct ring_consumer *consumer, uint64_t position, uint64_t size,
                           uint64_t type) {
        const struct frame *frame = (const void *)(consumer->ring + (position & consumer->mask));

        /* A1: pairs with R1 in ring_publish(), the frame's own or that of the first of its run. */
        return atomic_load_explicit(&frame->stamp, memory_order_acquire) == (position | FRAME_VALID) &&
               atomic_load_explicit(&frame->size, memory_order_relaxed) == size &&
               (type == TYPE_ANY || atomic_load_explicit(&frame->type_id, memory_order_relaxed) == type);
}

uint64_t ring_recv_records(struct ring_consumer *consumer, uint64_t size, uint64_t max, uint64_t type) {
        uint64_t cursor = atomic_load_explicit(&consumer->cursor, memory_order_relaxed), count = 0;
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
        while (count < max && record_matches(consumer, cursor + count * length, size, type))
                count++;
        if (count) {
                ring_take(consumer, (cursor & consumer->mask) / FRAME_ALIGNMENT, cursor, count * length, count * size);
                consumer->messages += count - 1;
        }
        return count;
}
