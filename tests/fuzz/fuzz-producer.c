/* SPDX-License-Identifier: MIT */
/*
 * A producer whose peer says what it likes about how far it has read, and whose
 * messages are full of words that look like stamps to come. Whatever the peer
 * says: a frame that it has not claimed to have read is never written again, and
 * the word where the next stamp will be never looks like that stamp, be it sent
 * over the ring or, in turn, over the exchange line.
 */
#include "fuzz.h"

#include "../../libtachyon/ring.h"
#include "../../libtachyon/ring_rpc.h"

struct sent {
        uint64_t position;
        uint64_t size;
        uint64_t flags;
        uint64_t word;
};

static struct half half;
static struct ring_producer producer;
static struct ring_consumer questions; /* on the line, which give us the turn */
static struct frame line;
static _Atomic uint64_t peer_read_position;
static struct input input;
static struct sent sents[4 * LINES];
static unsigned int n_sents;

static void peer_acts(void) {
        uint64_t value = take(&input, 1);

        switch (value % 4) {
        case 0: /* it read everything */
                atomic_store(&peer_read_position, producer.position);
                break;
        case 1: /* or some of it */
                if (n_sents)
                        atomic_store(&peer_read_position, sents[value / 4 % n_sents].position);
                break;
        case 2: /* or says so */
                atomic_store(&peer_read_position, producer.position + (uint64_t)(int8_t)take(&input, 1) * 32);
                break;
        default:
                atomic_store(&peer_read_position, take(&input, 8));
        }
}

static void between_loads(void) {
        if (input.left && take(&input, 1) >= 0xe0)
                peer_acts();
}

/* Payloads of one word over and over, which may be the stamp of any line, in this round or a later one. */
static uint64_t take_word(void) {
        uint64_t ahead = take(&input, 1);

        return (producer.position + ahead * FRAME_ALIGNMENT) | (take(&input, 1) & FRAME_FLAGS_MASK);
}

static void fill(void *data, uint64_t size, uint64_t word) {
        for (uint64_t i = 0; i < size; i++)
                ((unsigned char *)data)[i] = (unsigned char)(word >> (8 * (i % 8)));
}

static uint64_t sent_length(const struct sent *sent) {
        return frame_length(sent->size, sent->flags & FRAME_CORRELATED ? FRAME_CORRELATED_INLINE_SIZE : FRAME_INLINE_SIZE);
}

static void sent_is_whole(const struct sent *sent) {
        uint64_t inline_size = sent->flags & FRAME_CORRELATED ? FRAME_CORRELATED_INLINE_SIZE : FRAME_INLINE_SIZE;
        const unsigned char *bytes = half.ring + (sent->position & (CAPACITY - 1));
        const struct frame *frame = (const void *)bytes;

        CHECK(frame->stamp == (sent->position | sent->flags) && frame->size == sent->size);
        CHECK(frame->type_id == (uint32_t)sent->word);
        bytes += sent->size <= inline_size ? FRAME_ALIGNMENT - inline_size : FRAME_ALIGNMENT;
        for (uint64_t i = 0; i < sent->size; i++)
                CHECK(bytes[i] == (unsigned char)(sent->word >> (8 * (i % 8))));
}

static void holds(void) {
        const struct frame *next = (const void *)(half.ring + (producer.position & (CAPACITY - 1)));

        CHECK(producer.position - producer.read_position <= CAPACITY - FRAME_ALIGNMENT);
        CHECK(!stamp_is_at(next->stamp, producer.position));
}

/* All that the producer believes unread is as it was sent. */
static void unread_is_whole(void) {
        unsigned int n = 0;

        for (unsigned int i = 0; i < n_sents; i++) {
                /* A position in the midst of a frame is one that the peer invented: it loses that frame. */
                if (sents[i].position < producer.read_position)
                        continue;
                sent_is_whole(&sents[i]);
                sents[n++] = sents[i];
        }
        n_sents = n;
}

static void sent(uint64_t position, uint64_t size, uint64_t flags, uint64_t word) {
        struct sent sent = { position, size, flags, word };

        CHECK(producer.position == position + sent_length(&sent));
        CHECK(n_sents < sizeof(sents) / sizeof(*sents));
        sents[n_sents++] = sent;
}

static uint64_t take_size(void) {
        uint64_t size = take(&input, 1);

        return size < 0xc0 ? size : (size - 0xc0) * 65;
}

/* Of the next frame, without a label: those of rpc go over the ring alone. */
static uint64_t next_flags(void) {
        return producer.turn == TURN_SENT ? FRAME_VALID | FRAME_FOLLOWS : FRAME_VALID;
}

static void send_one(bool labelled) {
        uint64_t size = take_size(), word = take_word(), position = producer.position, flags = next_flags();
        struct ring_label label = { word, FRAME_VALID | FRAME_CORRELATED | (word & FRAME_REPLY), (uint32_t)word };
        static unsigned char data[CAPACITY];

        fill(data, size, word);
        if ((labelled ? ring_send_labelled(&producer, data, size, &label)
                      : ring_send(&producer, data, size, (uint32_t)word)) == 0)
                sent(position, size, labelled ? label.flags : flags, word);
}

/* On the line, where it is our turn: the ring stays as it was, and the next frame there will be marked. */
static void exchange(void) {
        uint64_t size = take_size(), word = take_word(), position = producer.position, turn = producer.turn;
        uint64_t flags = producer.exchange_flags;
        static unsigned char data[CAPACITY];

        fill(data, size, word);
        if (!ring_exchange(&producer, data, size, (uint32_t)word))
                return;
        CHECK(size <= FRAME_INLINE_SIZE && turn == TURN_OURS && !producer.reserved);
        CHECK(producer.position == position && producer.turn == TURN_SENT);
        CHECK(line.stamp == (position | flags) && (flags | FRAME_ODD) == (FRAME_VALID | FRAME_BY_LISTENER | FRAME_ODD));
        CHECK(producer.exchange_flags == (flags ^ FRAME_ODD));
        CHECK(line.size == size && memcmp(line.payload, data, size) == 0 && line.type_id == (uint32_t)word);
        /* Not again, before there is an answer. */
        CHECK(!ring_exchange(&producer, data, size, (uint32_t)word) && line.stamp == (position | flags));
}

/* A question on the line is received: copied, or leased, and perhaps put back, or released. */
static void take_question(void) {
        uint64_t value = take(&input, 1), lease = ring_exchange_lease(&questions);

        if (lease) {
                if (value & 1)
                        CHECK(ring_release_exchange(&questions, lease) && !ring_release_exchange(&questions, lease));
                else if (value & 2)
                        ring_untake_exchange(&questions, 0);
                return;
        }
        if (!ring_exchange_is_fair(&questions, value))
                return;
        CHECK(value <= FRAME_INLINE_SIZE && (producer.turn == TURN_THEIRS || producer.turn == TURN_SENT));
        ring_take_exchange(&questions, 0, value & 1 ? TURN_OURS : (questions.exchange_lease += 2));
}

/* Made in place; the frame may become smaller, or nothing. */
static void reserve(bool labelled) {
        uint64_t size = take_size(), used = take(&input, 1), word = take_word(), position = producer.position;
        uint64_t flags = next_flags();
        struct ring_label label = { word, FRAME_VALID | FRAME_CORRELATED, (uint32_t)word };
        void *data;
        int r;

        if (labelled ? ring_reserve_correlated(&producer, &data, size) : ring_reserve(&producer, &data, size))
                return;
        CHECK(ring_send(&producer, "x", 1, 0) == -EAGAIN);
        fill(data, size, word);
        used = used < size ? used : size;
        CHECK((labelled ? ring_commit_labelled(&producer, size + 1, &label) : ring_commit(&producer, size + 1, 0)) == -EINVAL);
        if (word & 1) {
                ring_cancel(&producer);
                return;
        }
        r = labelled ? ring_commit_labelled(&producer, used, &label) : ring_commit(&producer, used, (uint32_t)word);
        CHECK(r == 0);
        sent(position, used, labelled ? label.flags : flags, word);
}

static void send_records(void) {
        uint64_t size = take(&input, 1) % 100 + 1, count = take(&input, 1) % 40, word = take_word(), n;
        uint64_t position = producer.position, length = frame_length(size, FRAME_INLINE_SIZE), flags = next_flags();
        static unsigned char data[40 * 100];

        for (uint64_t i = 0; i < count; i++)
                fill(data + i * size, size, word);
        n = ring_send_records(&producer, data, size, count, (uint32_t)word);
        CHECK(n <= count && producer.position == position + n * length);
        for (uint64_t i = 0; i < n; i++)
                sents[n_sents++] = (struct sent){ position + i * length, size, i ? FRAME_VALID : flags, word };
}

/* False: a breach was seen, after which a bus is over. */
static bool step(void) {
        uint64_t what = take(&input, 1);

        switch (what % 10) {
        case 8:
                exchange();
                break;
        case 9:
                take_question();
                exchange();
                break;
        case 0:
        case 1:
                send_one(false);
                break;
        case 2:
                send_one(true);
                break;
        case 3:
                reserve(what & 8);
                break;
        case 4:
                send_records();
                break;
        case 5:
        case 6:
                if (ring_refresh(&producer) < 0)
                        return false;
                unread_is_whole();
                break;
        default:
                peer_acts();
        }
        return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        uint64_t position;

        fuzz_before_load = NULL;
        input = (struct input){ data, size };
        n_sents = 0;
        position = take_position(&input);
        atomic_store(&peer_read_position, position);
        ring_producer_init(&producer, fuzz_half(&half)->ring, CAPACITY, &peer_read_position, position);
        questions = (struct ring_consumer){ .exchange_lease = LEASE_EXCHANGED };
        memset((void *)&line, 0, sizeof(line));
        ring_start_exchange(&producer, &questions, &line, true);
        for (bool more = true; more && input.left;) {
                fuzz_before_load = between_loads;
                more = step();
                fuzz_before_load = NULL;
                if (more)
                        holds();
        }
        unread_is_whole();
        return 0;
}
