/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_RING_RPC_H
#define TACHYON_RING_RPC_H
/*
 * Sending frames with a correlation id and flags; receiving them is ring_recv(),
 * which knows them. The id takes the first 8 bytes of a frame's payload, so that
 * 40 bytes are left in its line. The algorithm is ring.h's, to the letter.
 */
#include "ring.h"

/* What a frame is, apart from its payload. */
struct ring_label {
        uint64_t id;
        uint64_t flags; /* FRAME_VALID | FRAME_CORRELATED, and more */
        uint32_t type_id;
};

/*
 * The same length without an id: for those who ask for room by payload bytes.
 * Between 40 and 48 bytes, the id needs a second line.
 */
static inline uint64_t ring_uncorrelated_size(uint64_t size) {
        return size > FRAME_CORRELATED_INLINE_SIZE && size <= FRAME_INLINE_SIZE ? FRAME_INLINE_SIZE + 1 : size;
}

static inline unsigned char *ring_correlated_data(const struct ring_producer *producer, uint64_t size) {
        struct frame *frame = ring_frame(producer->ring, producer->mask, producer->position);

        return size <= FRAME_CORRELATED_INLINE_SIZE ? frame->payload + sizeof(uint64_t)
                                                    : (unsigned char *)frame + FRAME_ALIGNMENT;
}

static inline void ring_publish_labelled(struct ring_producer *producer, uint64_t size,
                                         const struct ring_label *label) {
        struct frame *frame = ring_frame(producer->ring, producer->mask, producer->position);

        memcpy(frame->payload, &label->id, sizeof(label->id));
        ring_publish(producer, producer->ring, producer->mask, producer->position,
                     frame_length(size, FRAME_CORRELATED_INLINE_SIZE), size, label->type_id, label->flags);
}

/* 0, or -EAGAIN: no room as far as we know, too large, or a reservation is open. */
static inline int ring_send_labelled(struct ring_producer *producer, const void *data, uint64_t size,
                                     const struct ring_label *label) {
        unsigned char *to = ring_correlated_data(producer, size);

        if (unlikely(size > UINT32_MAX ||
                     frame_length(size, FRAME_CORRELATED_INLINE_SIZE) > producer->limit - producer->position))
                return -EAGAIN;
        if (size <= FRAME_CORRELATED_INLINE_SIZE)
                copy_small(to, data, size);
        else
                memcpy(to, data, size);
        ring_publish_labelled(producer, size, label);
        return 0;
}

/* As ring_reserve() and ring_commit(). */
static inline int ring_reserve_correlated(struct ring_producer *producer, void **datap, uint64_t size) {
        void *unused;
        int r = ring_reserve(producer, &unused, ring_uncorrelated_size(size));

        if (r < 0)
                return r;
        producer->reserved = size + 1;
        *datap = ring_correlated_data(producer, size);
        return 0;
}

static inline int ring_commit_labelled(struct ring_producer *producer, uint64_t size,
                                       const struct ring_label *label) {
        uint64_t reserved = producer->reserved - 1;

        if (!producer->reserved || size > reserved)
                return -EINVAL;
        /* Became small: its bytes belong into the header's line. */
        if (size <= FRAME_CORRELATED_INLINE_SIZE && reserved > FRAME_CORRELATED_INLINE_SIZE)
                memcpy(ring_correlated_data(producer, size), ring_correlated_data(producer, reserved), size);
        ring_cancel(producer);
        ring_publish_labelled(producer, size, label);
        return 0;
}

#endif
