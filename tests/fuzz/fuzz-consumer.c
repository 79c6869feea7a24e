/* SPDX-License-Identifier: MIT */
/*
 * A consumer whose peer writes what it likes into the ring and on the exchange
 * line, at any moment: also between two loads of one call. Whatever it does, a
 * message lies in the ring, apart from all that is leased, or on the line, of
 * which at most one is leased; and read_position stays behind every lease.
 */
#include "fuzz.h"

#include "../../libtachyon/ring.h"

struct lease {
        uint64_t position;
        uint64_t length;
};

static struct half half;
static struct ring_consumer consumer;
static struct ring_producer answers; /* whose turn it is to write on the line */
static _Alignas(64) unsigned char answers_ring[CAPACITY];
static _Atomic uint64_t answers_read;
static struct frame line;
static _Atomic uint32_t lease_words[LINES];
static _Atomic uint64_t read_position;
static struct input input;
static struct lease leases[LINES];
static unsigned int n_leases;
static uint64_t on_the_line; /* the lease there, or 0 */
static uint64_t last_lease;  /* there */
static uint64_t next; /* where the peer writes its next frame */

static struct frame *frame_at(uint64_t position) {
        return (void *)(half.ring + (position & (CAPACITY - 1)));
}

static void peer_frame(uint64_t size, uint64_t flags) {
        struct frame *frame = frame_at(next);

        atomic_store(&frame->size, (uint32_t)size);
        atomic_store(&frame->type_id, (uint32_t)(size & 1));
        atomic_store(&frame->stamp, next | flags);
        next += frame_length(size, flags & FRAME_CORRELATED ? FRAME_CORRELATED_INLINE_SIZE : FRAME_INLINE_SIZE);
}

static void peer_acts(void) {
        uint64_t kind = take(&input, 1), value = take(&input, 1), cursor = consumer.cursor;

        switch (kind % 9) {
        case 8: /* the line: a message, out of turn as well, or nearly one */
                atomic_store(&line.size, (uint32_t)take(&input, 1 + (kind / 9 & 3)));
                atomic_store(&line.stamp, (cursor + (uint64_t)(value & 1) * FRAME_ALIGNMENT) |
                                                  (value & 2 ? consumer.exchange_flags : value / 4));
                break;
        case 0:
                peer_frame(value, FRAME_VALID);
                break;
        case 1:
                peer_frame(take(&input, 2), FRAME_VALID | (value & FRAME_FLAGS_MASK));
                break;
        case 2: /* a run of records */
                for (uint64_t i = 0; i < kind / 8; i++)
                        peer_frame(value % 64, FRAME_VALID);
                break;
        case 3: /* a stamp ahead, or behind */
                atomic_store(&frame_at(cursor + value * FRAME_ALIGNMENT)->stamp,
                             (cursor + (uint64_t)(int8_t)take(&input, 1) * FRAME_ALIGNMENT) | (kind / 8));
                break;
        case 4:
                atomic_store(&frame_at(cursor + (value & 3) * FRAME_ALIGNMENT)->size,
                             (uint32_t)take(&input, 1 + (kind / 8 & 3)));
                break;
        case 5:
                ((_Atomic uint64_t *)(void *)half.ring)[(value | kind << 5) % (CAPACITY / 8)] = take(&input, 8);
                break;
        case 6:
                next = cursor;
                break;
        default: /* a page full of stamps, each right for its place */
                for (uint64_t i = 0; i < LINES; i++)
                        atomic_store(&frame_at(cursor + i * FRAME_ALIGNMENT)->stamp,
                                     (cursor + i * FRAME_ALIGNMENT) | FRAME_VALID | (value & FRAME_FLAGS_MASK));
        }
}

/* One byte of the input for each load: most often nothing happens. */
static void between_loads(void) {
        if (input.left && take(&input, 1) >= 0xe0)
                peer_acts();
}

/* What was received is in the ring, within its frame, and the frame is apart from all that is leased. */
static void received(const void *data, uint64_t size, uint64_t lease, uint64_t length) {
        const unsigned char *bytes = data, *frame = half.ring + (lease & (CAPACITY - 1));
        const struct lease *last = n_leases ? &leases[n_leases - 1] : NULL;

        CHECK(size <= length && length < CAPACITY);
        CHECK(bytes >= frame && bytes + size <= frame + length);
        CHECK(!last || lease - last->position >= last->length);
        CHECK(lease - read_position <= CAPACITY - FRAME_ALIGNMENT - length);
        touch(data, size);
        CHECK(n_leases < LINES);
        leases[n_leases++] = (struct lease){ lease, length };
}

/* On the line: nothing of the ring moved. */
static void received_there(const struct tachyon_message *message) {
        CHECK(message->data == line.payload && message->size <= FRAME_INLINE_SIZE);
        CHECK(!on_the_line && message->lease > last_lease && message->lease == ring_exchange_lease(&consumer));
        touch(message->data, message->size);
        on_the_line = last_lease = message->lease;
}

static void received_message(const struct tachyon_message *message) {
        if (message->lease % 2) {
                received_there(message);
                return;
        }
        received(message->data, message->size, message->lease, consumer.cursor - message->lease);
}

/* Received by copying, without a lease: in the ring only where none is out there, and on the line the same. */
static void copy_one(void) {
        uint64_t size, cursor = consumer.cursor;
        const struct frame *frame = ring_look(&consumer, &size);

        if (frame) {
                CHECK(!n_leases && size <= FRAME_INLINE_SIZE);
                CHECK((const unsigned char *)frame == half.ring + (cursor & (CAPACITY - 1)));
                touch(frame->payload, size);
                ring_pass(&consumer, FRAME_ALIGNMENT, size);
                return;
        }
        frame = ring_look_exchange(&consumer, &size);
        if (!frame || !ring_exchange_is_fair(&consumer, size))
                return;
        CHECK(!on_the_line && frame == &line && size <= FRAME_INLINE_SIZE);
        touch(frame->payload, size);
        ring_take_exchange(&consumer, size, TURN_OURS);
        CHECK(consumer.cursor == cursor && answers.turn == TURN_OURS);
}

/* What a sending thread does meanwhile: over the line, the ring, or both. */
static void answer(void) {
        uint64_t value = take(&input, 1), turn = answers.turn;

        if (value & 1)
                CHECK(ring_exchange(&answers, &value, 8, 0) == (turn == TURN_OURS));
        turn = answers.turn;
        if (value & 2)
                CHECK((ring_next_flags(&answers) == (FRAME_VALID | FRAME_FOLLOWS)) == (turn == TURN_SENT));
        CHECK(answers.turn == (value & 2 && turn == TURN_SENT ? TURN_THEIRS : turn));
}

static void receive_records(void) {
        uint64_t size = take(&input, 1) % 100 + 1, lease = consumer.cursor, count;

        count = ring_recv_records(&consumer, size, take(&input, 1) + 1, take(&input, 1) & 1 ? TYPE_ANY : 0);
        if (!count)
                return;
        CHECK(consumer.cursor - lease == count * frame_length(size, FRAME_INLINE_SIZE));
        received(half.ring + (lease & (CAPACITY - 1)) + frame_data_offset(size),
                 (count - 1) * frame_length(size, FRAME_INLINE_SIZE) + size, lease, consumer.cursor - lease);
}

static void release_any(void) {
        unsigned int i = (unsigned int)take(&input, 1) % (n_leases ? n_leases : 1);
        bool alone = take(&input, 1) & 1;
        uint64_t lease;

        if (on_the_line && (!n_leases || take(&input, 1) & 1)) {
                CHECK(!ring_release_alone(&consumer, on_the_line) && ring_release(&consumer, on_the_line) == 0);
                CHECK(ring_release(&consumer, on_the_line) < 0 && answers.turn == TURN_OURS);
                on_the_line = 0;
                return;
        }
        if (!n_leases) { /* nothing is out: whatever is given back is refused */
                lease = read_position + take(&input, 2) - 64;
                CHECK(ring_release(&consumer, lease) < 0 && !ring_release_alone(&consumer, lease));
                return;
        }
        lease = leases[i].position;
        if (!alone || !ring_release_alone(&consumer, lease)) {
                CHECK(ring_release(&consumer, lease) == 0);
                ring_advance(&consumer);
        }
        CHECK(ring_release(&consumer, lease) < 0);
        memmove(&leases[i], &leases[i + 1], (--n_leases - i) * sizeof(*leases));
}

static void put_back(void) {
        const struct lease *last = n_leases ? &leases[n_leases - 1] : NULL;
        bool newest = last && last->position + last->length == consumer.cursor;

        if (consumer.exchanged_at == consumer.cursor) {
                CHECK(!newest || !ring_is_newest(&consumer, last->position));
                if (!on_the_line)
                        return;
                CHECK(ring_is_newest(&consumer, on_the_line));
                ring_untake_exchange(&consumer, 0);
                CHECK(!ring_is_newest(&consumer, on_the_line) && !ring_release_exchange(&consumer, on_the_line));
                on_the_line = 0;
                return;
        }
        CHECK(!on_the_line || !ring_is_newest(&consumer, on_the_line));
        CHECK(ring_is_newest(&consumer, last ? last->position : consumer.cursor) == newest);
        if (!newest)
                return;
        atomic_store(&consumer.cursor, last->position); /* as bus_unreceive() does */
        n_leases--;
}

/* False: a breach was seen, after which a bus is over. */
static bool step(void) {
        struct tachyon_message message;
        int r = 0;

        switch (take(&input, 1) % 9) {
        case 0:
                if (ring_recv_small(&consumer, &message))
                        received_message(&message);
                break;
        case 1:
                copy_one();
                break;
        case 2:
        case 3:
                r = ring_recv(&consumer, &message);
                if (r == 0)
                        received_message(&message);
                if (r == 0 && consumer.cursor >= consumer.checkpoint)
                        ring_checkpoint(&consumer);
                break;
        case 4:
                receive_records();
                break;
        case 5:
                release_any();
                break;
        case 6:
                put_back();
                break;
        case 7:
                answer();
                break;
        default:
                peer_acts();
        }
        return r != -EPROTO;
}

static void holds(void) {
        uint64_t first = n_leases ? leases[0].position : consumer.cursor;

        CHECK(read_position == first);
        CHECK(consumer.cursor - read_position <= CAPACITY - FRAME_ALIGNMENT);
        CHECK(ring_leases_out(&consumer) == n_leases + !!on_the_line);
        CHECK(ring_exchange_lease(&consumer) == on_the_line); /* what is leased there is not written over */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        fuzz_before_load = NULL;
        input = (struct input){ data, size };
        n_leases = 0;
        on_the_line = last_lease = 0;
        memset((void *)lease_words, 0, sizeof(lease_words));
        next = take_position(&input);
        ring_consumer_init(&consumer, fuzz_half(&half)->ring, CAPACITY, &read_position, lease_words,
                           take(&input, 1) & FRAME_FLAGS_MASK, next);
        memset((void *)&line, 0, sizeof(line));
        atomic_store(&answers_read, 0);
        ring_producer_init(&answers, answers_ring, CAPACITY, &answers_read, 0);
        ring_start_exchange(&answers, &consumer, &line, take(&input, 1) & 1);
        for (bool more = true; more && input.left;) {
                fuzz_before_load = between_loads;
                more = step();
                fuzz_before_load = NULL;
                holds();
        }
        return 0;
}
