/* SPDX-License-Identifier: MIT */
/* The cold half of the ring; ring.h has the idea, the invariants and the hot half. */
#include "ring.h"

void ring_producer_init(struct ring_producer *producer, void *ring, uint64_t capacity,
                        const _Atomic uint64_t *peer_read_position, uint64_t position) {
        *producer = (struct ring_producer){
                .ring = ring,
                .mask = capacity - 1,
                .position = position,
                .read_position = position,
                .limit = position + capacity - FRAME_ALIGNMENT,
                .peer_read_position = peer_read_position,
                .turn = TURN_THEIRS,
        };
}

/* Where there is no exchange line, one that stays empty, and a turn that stays theirs, save questions. */
static const struct frame no_exchange;
static _Atomic uint64_t no_turn = TURN_THEIRS;

void ring_consumer_init(struct ring_consumer *consumer, const void *ring, uint64_t capacity,
                        _Atomic uint64_t *read_position, _Atomic uint32_t *leases, uint64_t allowed_flags,
                        uint64_t position) {
        *consumer = (struct ring_consumer){
                .ring = ring,
                .mask = capacity - 1,
                .cursor = position,
                .allowed_flags = allowed_flags,
                .leases = leases,
                .read_position = read_position,
                .exchange = &no_exchange,
                .exchange_flags = FRAME_VALID,
                .exchanged_at = NEVER_EXCHANGED,
                .exchange_lease = LEASE_EXCHANGED,
                .turn = &no_turn,
        };
        atomic_store_explicit(read_position, position, memory_order_relaxed);
        ring_checkpoint(consumer);
}

void ring_start_exchange(struct ring_producer *producer, struct ring_consumer *consumer, struct frame *line,
                         bool by_listener) {
        uint64_t flags[] = { FRAME_VALID, FRAME_VALID | FRAME_BY_LISTENER };

        producer->exchange = line;
        producer->exchange_flags = flags[by_listener];
        consumer->exchange = line;
        consumer->exchange_flags = flags[!by_listener];
        consumer->allowed_flags |= FRAME_FOLLOWS;
        consumer->turn = &producer->turn;
        consumer->may_begin = !by_listener;
}

void ring_end_exchange(struct ring_producer *producer, bool by_listener) {
        uint64_t stamp;

        if (atomic_load_explicit(&producer->turn, memory_order_relaxed) != TURN_OURS)
                return;
        stamp = atomic_load_explicit(&producer->exchange->stamp, memory_order_relaxed);
        /* Fails where the sending thread writes there now. Relaxed: E2 in bus_tell_end() comes after it. */
        if (stamp && !(stamp & FRAME_BY_LISTENER) == by_listener)
                atomic_compare_exchange_strong_explicit(&producer->exchange->stamp, &stamp, 0, memory_order_relaxed,
                                                        memory_order_relaxed);
}

void ring_checkpoint(struct ring_consumer *consumer) {
        /* All positions are multiples of a line, so a one-line frame that begins below this ends within. */
        consumer->checkpoint = atomic_load_explicit(consumer->read_position, memory_order_relaxed) +
                               ring_capacity(consumer->mask) - FRAME_ALIGNMENT;
}

static void ring_set_limit(struct ring_producer *producer) {
        producer->limit = producer->read_position + ring_capacity(producer->mask) - FRAME_ALIGNMENT;
}

int ring_refresh(struct ring_producer *producer) {
        /*
         * A4: what the consumer read below this position, it has read; our
         * stores to those lines come after. Pairs with R4 in ring_advance().
         */
        uint64_t seen = atomic_load_explicit(producer->peer_read_position, memory_order_acquire);

        if (seen - producer->read_position > producer->position - producer->read_position ||
            seen % FRAME_ALIGNMENT)
                return -EPROTO;
        producer->read_position = seen;
        if (!producer->reserved)
                ring_set_limit(producer);
        return 0;
}

int ring_reserve(struct ring_producer *producer, void **datap, uint64_t size) {
        unsigned char *frame = producer->ring + (producer->position & producer->mask);

        if (size > UINT32_MAX ||
            frame_length(size, FRAME_INLINE_SIZE) > producer->limit - producer->position)
                return -EAGAIN;
        producer->reserved = size + 1;
        /* No room for anyone else: the hot path needs no look at `reserved`. */
        producer->limit = producer->position;
        LABEL("reserve:done");
        *datap = frame + frame_data_offset(size);
        return 0;
}

int ring_commit(struct ring_producer *producer, uint64_t size, uint32_t type_id) {
        unsigned char *frame = producer->ring + (producer->position & producer->mask);
        uint64_t reserved = producer->reserved - 1;

        if (!producer->reserved || size > reserved)
                return -EINVAL;
        /* Became small: its bytes belong into the header's line. */
        if (size <= FRAME_INLINE_SIZE && reserved > FRAME_INLINE_SIZE)
                memcpy(frame + FRAME_HEADER_SIZE, frame + FRAME_ALIGNMENT, size);
        ring_cancel(producer);
        LABEL("commit:begun");
        ring_publish(producer, producer->ring, producer->mask, producer->position,
                     frame_length(size, FRAME_INLINE_SIZE), size, type_id, ring_next_flags(producer));
        return 0;
}

void ring_cancel(struct ring_producer *producer) {
        producer->reserved = 0;
        ring_set_limit(producer);
}

/* The first position from `from` to `to` whose frame is still leased, or `to`. */
static uint64_t ring_first_lease(const struct ring_consumer *consumer, uint64_t from, uint64_t to) {
        while (from < to) {
                /* A3: pairs with R3 in ring_release(): its reader is done with the frame. */
                uint32_t lines = atomic_load_explicit(
                        &consumer->leases[(from & consumer->mask) / FRAME_ALIGNMENT], memory_order_acquire);

                if (lines & LEASE_OUT || !lines)
                        break;
                from += (uint64_t)lines * FRAME_ALIGNMENT;
        }
        return from;
}

bool ring_advance(struct ring_consumer *consumer) {
        uint64_t from, to, free_to;
        bool moved = false;

        /*
         * F1: two threads release neighbours. Each stores its lease word, then
         * comes here and looks at the other's; without a full fence in between
         * both could miss the other's store, and read_position would stay
         * behind with nobody left to move it. Pairs with itself, and with F2.
         */
        atomic_thread_fence(memory_order_seq_cst);
        for (;;) {
                /* Relaxed: the leases below it are none of ours, and those above come with A2. */
                from = atomic_load_explicit(consumer->read_position, memory_order_relaxed);
                /* A2: pairs with R2 in ring_recv(): leases below the cursor are entered. */
                to = atomic_load_explicit(&consumer->cursor, memory_order_acquire);
                free_to = ring_first_lease(consumer, from, to);
                if (free_to == from)
                        return moved;
                /*
                 * R4: the readers of all these frames are done. Pairs with A4
                 * in ring_refresh(). I4: fails where another thread was faster,
                 * and whatever lease words we then saw do not matter.
                 */
                moved |= atomic_compare_exchange_strong_explicit(consumer->read_position, &from, free_to,
                                                                 memory_order_acq_rel, memory_order_relaxed);
                LABEL("release:advanced");
        }
}

uint64_t ring_leases_out(const struct ring_consumer *consumer) {
        uint64_t position = atomic_load_explicit(consumer->read_position, memory_order_acquire);
        uint64_t cursor = atomic_load_explicit(&consumer->cursor, memory_order_acquire);
        uint64_t count = 0;

        while (position < cursor) {
                uint32_t lines = atomic_load_explicit(
                        &consumer->leases[(position & consumer->mask) / FRAME_ALIGNMENT], memory_order_relaxed);

                count += !!(lines & LEASE_OUT);
                lines &= ~LEASE_OUT;
                position += (uint64_t)(lines ? lines : 1) * FRAME_ALIGNMENT;
        }
        return count + (ring_exchange_lease(consumer) != 0);
}
