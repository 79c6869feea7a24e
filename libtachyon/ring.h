/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_RING_H
#define TACHYON_RING_H
/*
 * A lock-free ring for one producer and one consumer, on memory that is mapped
 * twice back to back. No system call, no errno, no allocation: it runs as well
 * in malloc'ed memory under a sanitizer or a model checker.
 *
 * The idea. There is no shared head index. A frame is published by ONE release
 * store of its stamp, which is its own position (a 64-bit count of bytes ever
 * written) with flags in the low bits. The consumer polls the stamp at its own
 * cursor, and nothing else. So a small message costs one cache-line transfer.
 *
 * What must hold for that:
 *  I1  The word at the consumer's cursor looks like the stamp expected there
 *      if and only if a frame was published there. Memory starts zeroed, and a
 *      stamp is never 0. Before it publishes a frame, the producer looks at the
 *      word where the NEXT stamp will be; if stale bytes there happen to equal
 *      that stamp, it first stores 0.
 *  I2  So a ring is never filled to its last line: the next stamp's place must
 *      be free too.
 *  I3  read_position <= every lease still out, and cursor <= read_position +
 *      capacity - one line. The producer writes below read_position + capacity
 *      only.
 *  I4  read_position only grows: every change is a compare-and-swap, from the
 *      value that the scan began with or from the one lease that is out; but for
 *      the receiving thread's store where no lease is out, see ring_pass().
 *
 * Leases. `leases` has one word per line of the ring, private to the consumer's
 * process: at a received frame's first line, its length in lines, with
 * LEASE_OUT set until it is released. Releasing is one store there, from any
 * thread and in any order. ring_advance() moves read_position over the released
 * frames at the front.
 *
 * The exchange line. A line of the ring that one side writes and the other polls
 * makes two journeys a message: its writer has to get it back before it can write.
 * A line that the answer is written on, over the question, makes one. So there is
 * one line that both sides write, in turn, and a message of up to 48 bytes may be
 * published there instead of in the ring, where it takes no place:
 *
 *  X1  Whose turn it is: the connector's at first, then his who has received what
 *      the other wrote there, and has released it. He may as well use his ring;
 *      the other always may. So each writes over nothing but what he has read.
 *  X2  Order. Its stamp is the position that the next frame of the ring will have,
 *      so it is received when the cursor is there. The first frame that is sent
 *      after it, at the same position, is marked FRAME_FOLLOWS, and whoever finds
 *      one looks at the line first.
 *  X3  A stamp is new once: each side marks every other of its own FRAME_ODD.
 *  X4  Who closes the bus and has the turn makes the stamp 0, if it is the other's: for
 *      he has read that message, which read_position does not tell.
 *
 * In a stream one way, the turn stays with the receiver, and all that is left of
 * this is one comparison to send.
 *
 * read_position is published by every release that frees something: room that
 * the consumer does not need is never kept from the producer. It is the producer
 * that sees to it that a full ring is not fed line by line, see bus_wait.c.
 */
#include "label.h"
#include "layout.h"
#include "util.h"
#include <string.h>

#include "../include/tachyon.h"

struct ring_producer {
        unsigned char *ring;
        uint64_t mask;          /* capacity - 1 */
        uint64_t position;      /* of the next frame */
        uint64_t limit;         /* up to where frames may reach, without another look at the peer */
        uint64_t read_position; /* the consumer's, as last seen */
        uint64_t reserved;      /* payload bytes reserved, + 1; 0 without reservation */
        uint64_t messages;
        uint64_t bytes;
        const _Atomic uint64_t *peer_read_position;
        struct frame *exchange; /* NULL: there is none */
        uint64_t exchange_flags; /* of the next stamp there */
        _Atomic uint64_t turn;   /* TURN_*, or what came over the line is leased: its lease, which is odd */
};

/*
 * X1. The sending thread makes SENT of OURS, and THEIRS of SENT; the receiving
 * thread makes OURS or a lease of both, as soon as there is an answer; whoever
 * releases the lease makes OURS of it.
 */
#define TURN_THEIRS UINT64_C(0)
#define TURN_SENT UINT64_C(2) /* theirs, and our next frame is the first to follow: X2 */
#define TURN_OURS UINT64_C(4)

#define NEVER_EXCHANGED UINT64_MAX
#define LEASE_EXCHANGED UINT64_C(1)
#define LEASE_OUT (UINT32_C(1) << 31)

struct ring_consumer {
        const unsigned char *ring;
        uint64_t mask;
        _Atomic uint64_t cursor; /* of the next frame to look at; written by the receiving thread only */
        uint64_t checkpoint;     /* up to here, one-line frames are known to obey I3 */
        uint64_t allowed_flags;
        uint64_t messages;
        uint64_t bytes;
        _Atomic uint32_t *leases;
        _Atomic uint64_t *read_position; /* ours, read by the peer */
        const struct frame *exchange;    /* where there is none, a line that stays empty */
        uint64_t exchange_flags;         /* of the stamp that will be new there */
        uint64_t exchanged_at;           /* the cursor when a message last came over it */
        uint64_t exchanged_before;       /* the same of the one before it, where it was leased */
        uint64_t exchange_lease;         /* the next one's */
        _Atomic uint64_t *turn;          /* of our producer */
        bool may_begin;                  /* the line has not been used yet, and the first turn is ours */
};

void ring_producer_init(struct ring_producer *producer, void *ring, uint64_t capacity,
                        const _Atomic uint64_t *peer_read_position, uint64_t position);
void ring_consumer_init(struct ring_consumer *consumer, const void *ring, uint64_t capacity,
                        _Atomic uint64_t *read_position, _Atomic uint32_t *leases, uint64_t allowed_flags,
                        uint64_t position);

/* From here on, messages may come and go over this line as well, see above. */
void ring_start_exchange(struct ring_producer *producer, struct ring_consumer *consumer, struct frame *line,
                         bool by_listener);

/* X4: this side closes. For any thread, while others send or receive. */
void ring_end_exchange(struct ring_producer *producer, bool by_listener);

/* 0 and a new limit, or -EPROTO where the peer's read_position is impossible. */
int ring_refresh(struct ring_producer *producer);
int ring_reserve(struct ring_producer *producer, void **datap, uint64_t size);
int ring_commit(struct ring_producer *producer, uint64_t size, uint32_t type_id);
void ring_cancel(struct ring_producer *producer);

/*
 * Records: messages of one size, many at a time. The first sends as many as fit
 * and are allowed by RING_RECORDS_AT_ONCE, all of them visible at once or, after
 * a crash, none. The second takes the run of messages of this size (and type,
 * unless any will do: TYPE_ANY) at the cursor as ONE lease; 0 where there is none.
 */
#define RING_RECORDS_AT_ONCE 32
#define TYPE_ANY UINT64_MAX
uint64_t ring_send_records(struct ring_producer *producer, const unsigned char *records, uint64_t size,
                           uint64_t count, uint32_t type_id);
uint64_t ring_recv_records(struct ring_consumer *consumer, uint64_t size, uint64_t max, uint64_t type);
/* Until when ring_recv_small() needs no check; for the receiving thread, when its cursor is there. */
void ring_checkpoint(struct ring_consumer *consumer);
/* True where read_position moved. May be called from any thread. */
bool ring_advance(struct ring_consumer *consumer);
uint64_t ring_leases_out(const struct ring_consumer *consumer);

static inline uint64_t ring_capacity(uint64_t mask) {
        return mask + 1;
}

/* The largest payload: all but the spare line (I2) and the header's. */
static inline uint64_t ring_max_size(uint64_t mask) {
        uint64_t room = ring_capacity(mask) - 2 * FRAME_ALIGNMENT;

        return room > UINT32_MAX ? UINT32_MAX : room;
}

static inline uint64_t frame_length(uint64_t size, uint64_t inline_size) {
        return size <= inline_size ? FRAME_ALIGNMENT : FRAME_ALIGNMENT + align_up(size, FRAME_ALIGNMENT);
}

static inline uint64_t frame_data_offset(uint64_t size) {
        return size <= FRAME_INLINE_SIZE ? FRAME_HEADER_SIZE : FRAME_ALIGNMENT;
}

/* Up to 48 bytes without a loop or a call: two or three overlapping moves. */
static inline void copy_small(unsigned char *to, const unsigned char *from, uint64_t size) {
        if (size >= 16) {
                memcpy(to, from, 16);
                if (size > 32)
                        memcpy(to + 16, from + 16, 16);
                memcpy(to + size - 16, from + size - 16, 16);
        } else if (size >= 8) {
                memcpy(to, from, 8);
                memcpy(to + size - 8, from + size - 8, 8);
        } else if (size >= 4) {
                memcpy(to, from, 4);
                memcpy(to + size - 4, from + size - 4, 4);
        } else if (size >= 2) {
                memcpy(to, from, 2);
                memcpy(to + size - 2, from + size - 2, 2);
        } else if (size) {
                to[0] = from[0];
        }
}

static inline struct frame *ring_frame(unsigned char *ring, uint64_t mask, uint64_t position) {
        return (struct frame *)(void *)(ring + (position & mask));
}

static inline void ring_publish(struct ring_producer *producer, unsigned char *ring, uint64_t mask,
                                uint64_t position, uint64_t length, uint64_t size, uint32_t type_id,
                                uint64_t flags) {
        struct frame *frame = ring_frame(ring, mask, position);
        struct frame *ahead = ring_frame(ring, mask, position + length);

        LABEL("send:payload");
        /*
         * I1. Relaxed: the consumer looks at this word only after it has
         * acquired our stamp below, which is stored after it.
         */
        if (unlikely((atomic_load_explicit(&ahead->stamp, memory_order_relaxed) ^ (position + length)) <=
                     FRAME_FLAGS_MASK))
                atomic_store_explicit(&ahead->stamp, 0, memory_order_relaxed);
        LABEL("send:cleared-ahead");

        atomic_store_explicit(&frame->size, (uint32_t)size, memory_order_relaxed);
        atomic_store_explicit(&frame->type_id, type_id, memory_order_relaxed);
        LABEL("send:unstamped");
        /*
         * R1: size, type_id, payload and the look-ahead above are stored
         * before the stamp is. Pairs with A1, the acquire load in ring_recv().
         */
        atomic_store_explicit(&frame->stamp, position | flags, memory_order_release);
        LABEL("send:published");
        producer->position = position + length;
        producer->messages++;
        producer->bytes += size;
}

/* The hot case: up to 48 bytes. False: too large, no room as far as we know, or a reservation is open. */
static inline bool ring_send_small(struct ring_producer *producer, const void *data, uint64_t size,
                                   uint32_t type_id) {
        /* Copies, as the stores of the payload might alias the originals. */
        unsigned char *ring = producer->ring;
        uint64_t mask = producer->mask, position = producer->position;

        if (unlikely(size > FRAME_INLINE_SIZE || position == producer->limit))
                return false;
        copy_small(ring_frame(ring, mask, position)->payload, data, size);
        ring_publish(producer, ring, mask, position, FRAME_ALIGNMENT, size, type_id, FRAME_VALID);
        return true;
}

/* The flags of the next frame, which is about to be published. */
static inline uint64_t ring_next_flags(struct ring_producer *producer) {
        uint64_t turn = TURN_SENT;

        if (likely(atomic_load_explicit(&producer->turn, memory_order_relaxed) != turn))
                return FRAME_VALID;
        /* Fails where the answer has come meanwhile. Relaxed: nothing else goes by it. */
        atomic_compare_exchange_strong_explicit(&producer->turn, &turn, TURN_THEIRS, memory_order_relaxed,
                                                memory_order_relaxed);
        return FRAME_VALID | FRAME_FOLLOWS;
}

/* 0, or -EAGAIN: no room as far as we know, too large, or a reservation is open. */
static inline int ring_send(struct ring_producer *producer, const void *data, uint64_t size, uint32_t type_id) {
        unsigned char *ring = producer->ring;
        uint64_t mask = producer->mask, position = producer->position;
        uint64_t length = frame_length(size, FRAME_INLINE_SIZE);

        if (size > UINT32_MAX || length > producer->limit - position)
                return -EAGAIN;
        if (size <= FRAME_INLINE_SIZE)
                copy_small(ring_frame(ring, mask, position)->payload, data, size);
        else
                memcpy(ring + (position & mask) + FRAME_ALIGNMENT, data, size);
        ring_publish(producer, ring, mask, position, length, size, type_id, ring_next_flags(producer));
        return 0;
}

/* Is there more to heed than the ring? Then it is ring_exchange() or ring_send(), not ring_send_small(). */
static inline bool ring_heeds_turn(const struct ring_producer *producer) {
        return atomic_load_explicit(&producer->turn, memory_order_relaxed) != TURN_THEIRS;
}

/* Did we write on the exchange line last, and nothing since? */
static inline bool ring_awaits_answer(const struct ring_producer *producer) {
        return atomic_load_explicit(&producer->turn, memory_order_relaxed) == TURN_SENT;
}

/*
 * X4. Is what we wrote on the exchange line last still unread? Of a peer that has not
 * closed, this can be told from its answer only. For the sending thread.
 */
static inline bool ring_exchange_is_unread(const struct ring_producer *producer) {
        return ring_awaits_answer(producer) && atomic_load_explicit(&producer->exchange->stamp, memory_order_relaxed) ==
                                                       (producer->position | (producer->exchange_flags ^ FRAME_ODD));
}

/* Up to 48 bytes over the exchange line. False: it is not our turn, or ring_send_small() would say so. */
static inline bool ring_exchange(struct ring_producer *producer, const void *data, uint64_t size, uint32_t type_id) {
        struct frame *line = producer->exchange;

        if (unlikely(size > FRAME_INLINE_SIZE || producer->position == producer->limit))
                return false;
        /*
         * A6: what came over the line has been read by the thread that had it,
         * before we write over it. Pairs with R8 and R9.
         */
        if (unlikely(atomic_load_explicit(&producer->turn, memory_order_acquire) != TURN_OURS))
                return false;
        copy_small(line->payload, data, size);
        atomic_store_explicit(&line->size, (uint32_t)size, memory_order_relaxed);
        atomic_store_explicit(&line->type_id, type_id, memory_order_relaxed);
        /* Before the stamp: whoever sees the answer to it, in the receiving thread, sees this. */
        atomic_store_explicit(&producer->turn, TURN_SENT, memory_order_relaxed);
        LABEL("exchange:unstamped");
        /* R7: as R1. Pairs with A7 in ring_look_exchange(). */
        atomic_store_explicit(&line->stamp, producer->position | producer->exchange_flags, memory_order_release);
        LABEL("exchange:published");
        producer->exchange_flags ^= FRAME_ODD;
        producer->messages++;
        producer->bytes += size;
        return true;
}

static inline bool stamp_is_at(uint64_t stamp, uint64_t position) {
        return ((stamp ^ position) & ~(FRAME_FLAGS_MASK ^ FRAME_VALID)) == FRAME_VALID;
}

/*
 * This side waits for answers, so an exchange may be what is going on: where the first turn is ours, it is now.
 * But for a peer that began out of turn: what of it is leased stays so.
 */
static inline void ring_begin_exchange(struct ring_consumer *consumer) {
        if (unlikely(consumer->may_begin)) {
                consumer->may_begin = false;
                if (atomic_load_explicit(consumer->turn, memory_order_relaxed) == TURN_THEIRS)
                        atomic_store_explicit(consumer->turn, TURN_OURS, memory_order_relaxed);
        }
}

/* Is there a message at the cursor? Relaxed: whoever acts on it receives, with A1. */
static inline bool ring_has_message(const struct ring_consumer *consumer) {
        uint64_t cursor = atomic_load_explicit(&consumer->cursor, memory_order_relaxed);
        const struct frame *frame = (const void *)(consumer->ring + (cursor & consumer->mask));

        return atomic_load_explicit(&consumer->exchange->stamp, memory_order_relaxed) ==
                       (cursor | consumer->exchange_flags) ||
               stamp_is_at(atomic_load_explicit(&frame->stamp, memory_order_relaxed), cursor);
}

/* What receiving stores, whatever the frame. */
static inline void ring_take(struct ring_consumer *consumer, uint64_t line, uint64_t cursor, uint64_t length,
                             uint64_t size) {
        atomic_store_explicit(&consumer->leases[line],
                              LEASE_OUT | (uint32_t)(length / FRAME_ALIGNMENT), memory_order_relaxed);
        LABEL("recv:leased");
        consumer->messages++;
        consumer->bytes += size;
        /* R2: the lease is entered before the cursor covers it. Pairs with A2 in ring_advance(). */
        atomic_store_explicit(&consumer->cursor, cursor + length, memory_order_release);
        LABEL("recv:taken");
}

/* The hot case: a frame of one line, without flags, before the checkpoint. False: see ring_recv(). */
static inline bool ring_recv_small(struct ring_consumer *consumer, struct tachyon_message *message) {
        uint64_t cursor = atomic_load_explicit(&consumer->cursor, memory_order_relaxed), size;
        uint64_t offset = cursor & consumer->mask; /* once: the stores below might alias the mask */
        const struct frame *frame = (const void *)(consumer->ring + offset);

        /* A1: as in ring_recv(). */
        if (atomic_load_explicit(&frame->stamp, memory_order_acquire) - FRAME_VALID != cursor)
                return false;
        size = atomic_load_explicit(&frame->size, memory_order_relaxed);
        if (unlikely(size > FRAME_INLINE_SIZE || cursor >= consumer->checkpoint))
                return false;
        message->data = frame->payload;
        message->size = size;
        message->lease = cursor;
        message->correlation_id = 0;
        message->type_id = atomic_load_explicit(&frame->type_id, memory_order_relaxed);
        message->flags = 0;
        ring_take(consumer, offset / FRAME_ALIGNMENT, cursor, FRAME_ALIGNMENT, size);
        return true;
}

/*
 * Is there a message on the exchange line, and is it the next one? Its size, which
 * is not checked. By X2, it comes before a frame of the ring at the cursor.
 */
static inline const struct frame *ring_look_exchange(const struct ring_consumer *consumer, uint64_t *sizep) {
        uint64_t cursor = atomic_load_explicit(&consumer->cursor, memory_order_relaxed);
        const struct frame *line = consumer->exchange;

        /* A7: pairs with R7: from here on, the message is whole. */
        if (atomic_load_explicit(&line->stamp, memory_order_acquire) != (cursor | consumer->exchange_flags))
                return NULL;
        *sizep = atomic_load_explicit(&line->size, memory_order_relaxed);
        return line;
}

/* May that be? With each answer, the peer gives the turn away. */
static inline bool ring_exchange_is_fair(const struct ring_consumer *consumer, uint64_t size) {
        return size <= FRAME_INLINE_SIZE &&
               (atomic_load_explicit(consumer->turn, memory_order_relaxed) | TURN_SENT) == TURN_SENT;
}

/* The message on the exchange line is received: copied, or with this lease. */
static inline void ring_take_exchange(struct ring_consumer *consumer, uint64_t size, uint64_t turn) {
        consumer->exchange_flags ^= FRAME_ODD;
        consumer->exchanged_at = atomic_load_explicit(&consumer->cursor, memory_order_relaxed);
        consumer->messages++;
        consumer->bytes += size;
        /* R8: the copy, if that is all, is complete before the sending thread writes over it. Pairs with A6. */
        atomic_store_explicit(consumer->turn, turn, memory_order_release);
        LABEL("recv:exchanged");
}

/* The lease that is out on a message that came over the line, or 0. */
static inline uint64_t ring_exchange_lease(const struct ring_consumer *consumer) {
        uint64_t turn = atomic_load_explicit(consumer->turn, memory_order_acquire);

        return turn & LEASE_EXCHANGED ? turn : 0;
}

/* Nothing was received: the opposite of the function above, for the newest message and its lease. */
static inline void ring_untake_exchange(struct ring_consumer *consumer, uint64_t size) {
        consumer->exchange_flags ^= FRAME_ODD;
        consumer->exchanged_at = consumer->exchanged_before;
        consumer->messages--;
        consumer->bytes -= size;
        atomic_store_explicit(consumer->turn, TURN_THEIRS, memory_order_relaxed);
}

/* Looks at the message at the cursor, whatever it is: 0 and its message and length; -EAGAIN; or -EPROTO. */
static inline int ring_peek(const struct ring_consumer *consumer, struct tachyon_message *message,
                            uint64_t *lengthp) {
        uint64_t cursor = atomic_load_explicit(&consumer->cursor, memory_order_relaxed);
        const struct frame *frame = (const void *)(consumer->ring + (cursor & consumer->mask)), *line;
        uint64_t stamp, size, flags, length, inline_size = FRAME_INLINE_SIZE, room;
        uint32_t type_id;

        /*
         * A1: pairs with R1 in ring_publish(): from here on, the frame is whole.
         * X2: and what was on the exchange line before it is seen below.
         */
        stamp = atomic_load_explicit(&frame->stamp, memory_order_acquire);
        if (!stamp_is_at(stamp, cursor) || stamp & FRAME_FOLLOWS & consumer->allowed_flags) {
                line = ring_look_exchange(consumer, &size);
                if (line) {
                        if (!ring_exchange_is_fair(consumer, size))
                                return -EPROTO;
                        *message = (struct tachyon_message){
                                .data = line->payload,
                                .size = size,
                                .lease = consumer->exchange_lease,
                                .type_id = atomic_load_explicit(&line->type_id, memory_order_relaxed),
                        };
                        *lengthp = FRAME_ALIGNMENT;
                        return 0;
                }
                if (!stamp_is_at(stamp, cursor))
                        return -EAGAIN;
        }

        /* Loaded once; the peer may write them again at any moment. */
        size = atomic_load_explicit(&frame->size, memory_order_relaxed);
        type_id = atomic_load_explicit(&frame->type_id, memory_order_relaxed);
        flags = stamp & FRAME_FLAGS_MASK;
        if (unlikely(flags & FRAME_CORRELATED))
                inline_size = FRAME_CORRELATED_INLINE_SIZE;
        length = frame_length(size, inline_size);
        /* I3. Relaxed: whatever a producer can have seen, this or an older value, allows no more. */
        room = atomic_load_explicit(consumer->read_position, memory_order_relaxed) +
               ring_capacity(consumer->mask) - FRAME_ALIGNMENT - cursor;
        /* More room than there can be: read_position is past the cursor, by a frame that changed after it was put back. */
        if (unlikely(length > room || room >= ring_capacity(consumer->mask) || (flags & ~consumer->allowed_flags)))
                return -EPROTO;

        message->data = (const unsigned char *)frame +
                        (size <= inline_size ? FRAME_HEADER_SIZE + FRAME_INLINE_SIZE - inline_size : FRAME_ALIGNMENT);
        message->size = size;
        message->lease = cursor;
        message->correlation_id = 0;
        if (unlikely(flags & FRAME_CORRELATED))
                memcpy(&message->correlation_id, frame->payload, sizeof(message->correlation_id));
        message->type_id = type_id;
        message->flags = (uint32_t)(flags & ~(FRAME_VALID | FRAME_FOLLOWS));
        *lengthp = length;
        return 0;
}

/* What ring_peek() found is received. */
static inline void ring_take_message(struct ring_consumer *consumer, const struct tachyon_message *message,
                                     uint64_t length) {
        if (message->lease & LEASE_EXCHANGED) {
                consumer->exchange_lease += 2;
                consumer->exchanged_before = consumer->exchanged_at;
                ring_take_exchange(consumer, message->size, message->lease);
        } else {
                ring_take(consumer, (message->lease & consumer->mask) / FRAME_ALIGNMENT, message->lease, length,
                          message->size);
        }
}

/* 0: received, and a look at the checkpoint is due; -EAGAIN; or -EPROTO. */
static inline int ring_recv(struct ring_consumer *consumer, struct tachyon_message *message) {
        uint64_t length;
        int r = ring_peek(consumer, message, &length);

        if (r < 0)
                return r;
        ring_take_message(consumer, message, length);
        return 0;
}

/*
 * Receiving by copying, without a lease: ring_look(), copy, ring_pass(). The hot
 * case: a frame of one line, without flags, and no lease is out. NULL: see
 * ring_recv().
 */
static inline const struct frame *ring_look(const struct ring_consumer *consumer, uint64_t *sizep) {
        uint64_t cursor = atomic_load_explicit(&consumer->cursor, memory_order_relaxed);
        const struct frame *frame = (const void *)(consumer->ring + (cursor & consumer->mask));

        /* A1: as in ring_recv(). */
        if (atomic_load_explicit(&frame->stamp, memory_order_acquire) - FRAME_VALID != cursor)
                return NULL;
        *sizep = atomic_load_explicit(&frame->size, memory_order_relaxed);
        /*
         * A5: all before the cursor is released. Pairs with R4 of the threads
         * that did it: what they read of those frames, they read before our R5
         * takes it all over and tells the producer, who sees R5 only. I3 holds
         * of one line by itself.
         */
        if (unlikely(*sizep > FRAME_INLINE_SIZE ||
                     atomic_load_explicit(consumer->read_position, memory_order_acquire) != cursor))
                return NULL;
        return frame;
}

/*
 * The frame at the cursor, of this length, is the producer's again; after A5 only.
 *
 * Why a store is enough (I4): nothing is out, so no thread has anything to move
 * read_position over. One that is still in ring_advance() may have loaded the old
 * read_position and then the new cursor, and look at lease words that no receive
 * has entered. R6: but whoever sees the new cursor sees the new read_position,
 * too; so its compare-and-swap, from the old one, fails. Pairs with A2.
 */
static inline void ring_pass(struct ring_consumer *consumer, uint64_t length, uint64_t size) {
        uint64_t next = atomic_load_explicit(&consumer->cursor, memory_order_relaxed) + length;

        consumer->messages++;
        consumer->bytes += size;
        /* R5: the copy is complete before the producer may write there. Pairs with A4 in ring_refresh(). */
        atomic_store_explicit(consumer->read_position, next, memory_order_release);
        LABEL("recv:passed");
        /* R6: as above. */
        atomic_store_explicit(&consumer->cursor, next, memory_order_release);
}

/* Is this the lease of the newest message, and out? */
static inline bool ring_is_newest(const struct ring_consumer *consumer, uint64_t lease) {
        uint64_t read_position = atomic_load_explicit(consumer->read_position, memory_order_relaxed);
        uint64_t cursor = atomic_load_explicit(&consumer->cursor, memory_order_relaxed);
        uint32_t lines = atomic_load_explicit(&consumer->leases[(lease & consumer->mask) / FRAME_ALIGNMENT],
                                              memory_order_relaxed);

        if (consumer->exchanged_at == cursor)
                return atomic_load_explicit(consumer->turn, memory_order_relaxed) == lease && lease & LEASE_EXCHANGED;
        return lease - read_position < cursor - read_position && lease % FRAME_ALIGNMENT == 0 &&
               (lines & LEASE_OUT) && lease + (uint64_t)(lines & ~LEASE_OUT) * FRAME_ALIGNMENT == cursor;
}

/* After a compare-and-swap, a full barrier; which on x86 it is by itself. */
static inline void barrier_after_swap(void) {
#if defined(__x86_64__) || defined(__i386__)
        atomic_signal_fence(memory_order_seq_cst);
#else
        atomic_thread_fence(memory_order_seq_cst);
#endif
}

/*
 * The hot case: the only message that is out, of one line. Nobody else has
 * anything to release then, so that moving read_position needs no search. False:
 * see ring_release().
 */
static inline bool ring_release_alone(struct ring_consumer *consumer, uint64_t lease) {
        uint64_t cursor = atomic_load_explicit(&consumer->cursor, memory_order_relaxed), position = lease;
        _Atomic uint32_t *slot = &consumer->leases[(lease & consumer->mask) / FRAME_ALIGNMENT];

        if (unlikely(lease + FRAME_ALIGNMENT != cursor ||
                     atomic_load_explicit(slot, memory_order_relaxed) != (LEASE_OUT | 1) ||
                     atomic_load_explicit(consumer->read_position, memory_order_relaxed) != lease))
                return false;
        /* R3: as in ring_release(). */
        atomic_store_explicit(slot, 1, memory_order_release);
        LABEL("release:slot");
        /* R4: as in ring_advance(). Where it fails, another thread has seen our slot and done it. */
        atomic_compare_exchange_strong_explicit(consumer->read_position, &position, cursor, memory_order_acq_rel,
                                                memory_order_relaxed);
        LABEL("release:moved");
        /*
         * F2: pairs with F1. The receiving thread, another one, may have
         * received and released a next message meanwhile. Either it saw our
         * slot, and went past it; or we see its cursor here.
         */
        barrier_after_swap();
        if (unlikely(atomic_load_explicit(&consumer->cursor, memory_order_relaxed) != cursor))
                ring_advance(consumer);
        return true;
}

/* False: no such lease is out. */
static inline bool ring_release_exchange(const struct ring_consumer *consumer, uint64_t lease) {
        /* R9: all that this thread read of the message, it read before. Pairs with A6. */
        return lease & LEASE_EXCHANGED &&
               atomic_compare_exchange_strong_explicit(consumer->turn, &lease, TURN_OURS, memory_order_release,
                                                       memory_order_relaxed);
}

/* 0: released, and ring_advance() is due; or -EINVAL: no such lease is out. */
static inline int ring_release(struct ring_consumer *consumer, uint64_t lease) {
        uint64_t read_position = atomic_load_explicit(consumer->read_position, memory_order_relaxed);
        uint64_t cursor = atomic_load_explicit(&consumer->cursor, memory_order_relaxed);
        _Atomic uint32_t *slot = &consumer->leases[(lease & consumer->mask) / FRAME_ALIGNMENT];
        uint32_t lines;

        if (lease & LEASE_EXCHANGED)
                return ring_release_exchange(consumer, lease) ? 0 : -EINVAL;
        if (unlikely(lease - read_position >= cursor - read_position || lease % FRAME_ALIGNMENT))
                return -EINVAL;
        lines = atomic_load_explicit(slot, memory_order_relaxed);
        if (unlikely(!(lines & LEASE_OUT)))
                return -EINVAL;
        lines &= ~LEASE_OUT;
        /*
         * R3: all that this thread read of the message, it read before. Pairs
         * with A3 in ring_advance(), and through R4 with the producer's A4.
         */
        atomic_store_explicit(slot, lines, memory_order_release);
        LABEL("release:slot-slow");
        return 0;
}

#endif
