/* SPDX-License-Identifier: MIT */
/*
 * The ring alone, without processes: frames of every size at every place,
 * stamps that are forged by accident and on purpose, leases in any order, and
 * a random walk against a queue that is too simple to be wrong.
 */
#include "test-util.h"

/* The steps have names here whatever the build, so that a test can come between two of them. */
#ifndef TACHYON_LABELS
#define TACHYON_LABELS
#include "../libtachyon/label.c"
#endif
#include "../libtachyon/ring.h"

#define PAGE 4096u

struct ring {
        unsigned char *memory; /* twice in a row */
        uint64_t capacity;
        _Atomic uint64_t read_position;
        struct ring_producer producer;
        struct ring_consumer consumer;
};

static void ring_map(struct ring *ring, uint64_t capacity) {
        int fd = memfd_create("ring", MFD_CLOEXEC);
        unsigned char *p;

        CHECK(fd >= 0 && ftruncate(fd, (off_t)capacity) == 0);
        p = mmap(NULL, 2 * capacity, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(p != MAP_FAILED);
        for (int i = 0; i < 2; i++)
                CHECK(mmap(p + (uint64_t)i * capacity, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                           fd, 0) != MAP_FAILED);
        close(fd);
        ring->memory = p;
}

static void ring_open_at(struct ring *ring, uint64_t capacity, uint64_t position) {
        _Atomic uint32_t *leases = calloc(capacity / FRAME_ALIGNMENT, sizeof(*leases));

        CHECK(leases);
        *ring = (struct ring){ .capacity = capacity };
        ring_map(ring, capacity);
        ring_producer_init(&ring->producer, ring->memory, capacity, &ring->read_position, position);
        ring_consumer_init(&ring->consumer, ring->memory, capacity, &ring->read_position, leases, FRAME_VALID,
                           position);
}

static void ring_open(struct ring *ring, uint64_t capacity) {
        ring_open_at(ring, capacity, 0);
}

static void ring_close(struct ring *ring) {
        free(ring->consumer.leases);
        CHECK_EQ(munmap(ring->memory, 2 * ring->capacity), 0);
}

/* What the bus does: the hot half first, then the cold one. */
static int receive(struct ring *ring, struct tachyon_message *message) {
        int r;

        if (ring_recv_small(&ring->consumer, message))
                return 0;
        r = ring_recv(&ring->consumer, message);
        if (r < 0)
                return r;
        if (atomic_load(&ring->consumer.cursor) >= ring->consumer.checkpoint)
                ring_checkpoint(&ring->consumer);
        return 0;
}

/* The other way to receive: a copy, without a lease. False where it does not do. */
static bool receive_copy(struct ring *ring, unsigned char copy[FRAME_INLINE_SIZE],
                         struct tachyon_message *message) {
        const struct frame *frame = ring_look(&ring->consumer, &message->size);

        if (!frame)
                return false;
        memcpy(copy, frame->payload, message->size);
        message->data = copy;
        message->type_id = frame->type_id;
        ring_pass(&ring->consumer, FRAME_ALIGNMENT, message->size);
        return true;
}

static int release(struct ring *ring, uint64_t lease) {
        int r;

        if (ring_release_alone(&ring->consumer, lease))
                return 0;
        r = ring_release(&ring->consumer, lease);
        if (r == 0)
                ring_advance(&ring->consumer);
        return r;
}

static int send_pattern(struct ring *ring, uint64_t size, uint64_t seed) {
        static unsigned char buffer[1 << 20];

        fill(buffer, size, seed);
        return ring_send(&ring->producer, buffer, size, (uint32_t)seed);
}

static void check_message(const struct tachyon_message *message, uint64_t size, uint64_t seed) {
        CHECK_EQ(message->size, size);
        CHECK_EQ(message->type_id, (uint32_t)seed);
        CHECK_EQ(message->flags, 0);
        CHECK_EQ(message->correlation_id, 0);
        CHECK(matches(message->data, size, seed));
        CHECK_EQ((uintptr_t)message->data % (size > FRAME_INLINE_SIZE ? 64 : 8), 0);
}

static void send_and_receive(struct ring *ring, uint64_t size, uint64_t seed) {
        struct tachyon_message message;

        CHECK_EQ(ring_refresh(&ring->producer), 0);
        CHECK_EQ(send_pattern(ring, size, seed), 0);
        CHECK_EQ(receive(ring, &message), 0);
        check_message(&message, size, seed);
        CHECK_EQ(release(ring, message.lease), 0);
        CHECK_EQ(receive(ring, &message), -EAGAIN);
}

static void test_every_size_arrives_whole(void) {
        struct ring ring;

        ring_open(&ring, PAGE);
        for (uint64_t size = 0; size <= ring_max_size(ring.producer.mask); size++)
                send_and_receive(&ring, size, size + 1);
        ring_close(&ring);
}

static void test_largest_message_fits_at_every_place(void) {
        struct ring ring;

        ring_open(&ring, PAGE);
        for (uint64_t i = 0; i < 2 * PAGE / FRAME_ALIGNMENT; i++) {
                send_and_receive(&ring, ring_max_size(ring.producer.mask), i);
                send_and_receive(&ring, 1, i); /* on to the next place */
        }
        ring_close(&ring);
}

static void test_too_large_never_fits(void) {
        struct ring ring;
        void *data;

        ring_open(&ring, PAGE);
        CHECK_EQ(ring_max_size(ring.producer.mask), PAGE - 128);
        CHECK_EQ(send_pattern(&ring, PAGE - 127, 1), -EAGAIN);
        CHECK_EQ(ring_reserve(&ring.producer, &data, PAGE - 127), -EAGAIN);
        CHECK_EQ(ring_reserve(&ring.producer, &data, (uint64_t)UINT32_MAX + 1), -EAGAIN);
        CHECK_EQ(ring_reserve(&ring.producer, &data, UINT64_MAX), -EAGAIN);
        CHECK_EQ(ring_send(&ring.producer, "", UINT64_MAX, 0), -EAGAIN);
        send_and_receive(&ring, PAGE - 128, 2);
        ring_close(&ring);
}

static void test_full_ring_keeps_one_line_free(void) {
        struct ring ring;
        uint64_t n = 0;

        ring_open(&ring, PAGE);
        while (send_pattern(&ring, 8, n) == 0)
                n++;
        CHECK_EQ(n, PAGE / FRAME_ALIGNMENT - 1);
        CHECK_EQ(ring_refresh(&ring.producer), 0);
        CHECK_EQ(send_pattern(&ring, 8, n), -EAGAIN);
        for (uint64_t i = 0; i < n; i++) {
                struct tachyon_message message;

                CHECK_EQ(receive(&ring, &message), 0);
                check_message(&message, 8, i);
                CHECK_EQ(release(&ring, message.lease), 0);
        }
        CHECK_EQ(atomic_load(&ring.read_position), n * FRAME_ALIGNMENT);
        ring_close(&ring);
}

/*
 * The payload's lines, seen one lap later, are exactly the stamps that the
 * consumer will be waiting for. Only the producer's look-ahead (I1) prevents
 * that it takes them for frames.
 */
static void send_payload_of_stamps(struct ring *ring, uint64_t flags) {
        uint64_t size = ring_max_size(ring->producer.mask), first = ring->producer.position + FRAME_ALIGNMENT;
        uint64_t words[PAGE / 8] = { 0 };
        struct tachyon_message message;

        for (uint64_t i = 0; i < size / 8; i += 8)
                words[i] = (first + i * 8 + ring->capacity) | flags;
        CHECK_EQ(ring_refresh(&ring->producer), 0);
        CHECK_EQ(ring_send(&ring->producer, words, size, 1), 0);
        CHECK_EQ(receive(ring, &message), 0);
        CHECK(memcmp(message.data, words, size) == 0);
        CHECK_EQ(release(ring, message.lease), 0);
}

static void test_stale_payload_is_never_taken_for_a_frame(void) {
        struct ring ring;

        ring_open(&ring, PAGE);
        for (uint64_t flags = FRAME_VALID; flags <= FRAME_FLAGS_MASK; flags += 2) {
                uint64_t next = ring.producer.position + ring.capacity - FRAME_ALIGNMENT;

                send_payload_of_stamps(&ring, flags);
                while (ring.producer.position < next + ring.capacity)
                        send_and_receive(&ring, ring.producer.position % 256, 7);
        }
        ring_close(&ring);
}

static void test_stale_payload_after_a_shrunk_reservation(void) {
        struct ring ring;
        uint64_t *words;
        void *data;

        ring_open(&ring, PAGE);
        for (int lap = 0; lap < 200; lap++) {
                struct tachyon_message message;
                uint64_t size = PAGE / 2, position = ring.producer.position;

                CHECK_EQ(ring_refresh(&ring.producer), 0);
                CHECK_EQ(ring_reserve(&ring.producer, &data, size), 0);
                words = data;
                for (uint64_t i = 0; i < size / 8; i += 8)
                        words[i] = (position + FRAME_ALIGNMENT + i * 8) | FRAME_VALID;
                CHECK_EQ(ring_commit(&ring.producer, (uint64_t)lap % 130, 3), 0);
                CHECK_EQ(receive(&ring, &message), 0);
                CHECK_EQ(message.size, lap % 130);
                CHECK_EQ(release(&ring, message.lease), 0);
                CHECK_EQ(receive(&ring, &message), -EAGAIN);
        }
        ring_close(&ring);
}

static void test_reserve_commit_every_shrink(void) {
        struct ring ring;
        struct tachyon_message message;
        void *data;

        ring_open(&ring, PAGE);
        for (uint64_t reserved = 0; reserved <= 200; reserved++)
                for (uint64_t size = 0; size <= reserved; size++) {
                        CHECK_EQ(ring_refresh(&ring.producer), 0);
                        CHECK_EQ(ring_reserve(&ring.producer, &data, reserved), 0);
                        CHECK_EQ((uintptr_t)data % (reserved > FRAME_INLINE_SIZE ? 64 : 8), 0);
                        fill(data, reserved, size);
                        CHECK_EQ(receive(&ring, &message), -EAGAIN);
                        CHECK_EQ(ring_commit(&ring.producer, size, (uint32_t)size), 0);
                        CHECK_EQ(receive(&ring, &message), 0);
                        check_message(&message, size, size);
                        CHECK_EQ(release(&ring, message.lease), 0);
                }
        ring_close(&ring);
}

static void test_one_reservation_at_a_time(void) {
        struct ring ring;
        void *data = NULL, *other = NULL;

        ring_open(&ring, PAGE);
        CHECK_EQ(ring_commit(&ring.producer, 0, 0), -EINVAL);
        CHECK_EQ(ring_reserve(&ring.producer, &data, 100), 0);
        CHECK_EQ(ring_refresh(&ring.producer), 0);
        CHECK_EQ(ring_reserve(&ring.producer, &other, 0), -EAGAIN);
        CHECK_EQ(send_pattern(&ring, 0, 1), -EAGAIN);
        CHECK(!other);
        CHECK_EQ(ring_commit(&ring.producer, 101, 0), -EINVAL);
        CHECK_EQ(ring_commit(&ring.producer, 100, 0), 0);
        CHECK_EQ(ring_commit(&ring.producer, 0, 0), -EINVAL);
        ring_close(&ring);
}

static void test_cancelled_is_never_seen(void) {
        struct ring ring;
        struct tachyon_message message;
        void *data;

        ring_open(&ring, PAGE);
        for (uint64_t i = 0; i < 3 * PAGE / FRAME_ALIGNMENT; i++) {
                CHECK_EQ(ring_refresh(&ring.producer), 0);
                CHECK_EQ(ring_reserve(&ring.producer, &data, PAGE - 128), 0);
                fill(data, PAGE - 128, i);
                ring_cancel(&ring.producer);
                ring_cancel(&ring.producer);
                CHECK_EQ(receive(&ring, &message), -EAGAIN);
                send_and_receive(&ring, i % 100, i);
        }
        ring_close(&ring);
}

/* ---- leases ------------------------------------------------------------- */

static void release_permutation(const int *order, int n) {
        struct tachyon_message messages[4];
        bool released[4] = { false };
        struct ring ring;
        int front = 0;

        ring_open(&ring, PAGE);
        for (int i = 0; i < n; i++) {
                CHECK_EQ(send_pattern(&ring, (uint64_t)i * 100, (uint64_t)i), 0);
                CHECK_EQ(receive(&ring, &messages[i]), 0);
        }
        for (int i = 0; i < n; i++) {
                CHECK_EQ(ring_leases_out(&ring.consumer), n - i);
                CHECK_EQ(release(&ring, messages[order[i]].lease), 0);
                CHECK_EQ(release(&ring, messages[order[i]].lease), -EINVAL);
                released[order[i]] = true;
                while (front < n && released[front])
                        front++;
                CHECK_EQ(atomic_load(&ring.read_position),
                         front < n ? messages[front].lease : ring.producer.position);
                for (int j = 0; j < n; j++)
                        if (!released[j])
                                check_message(&messages[j], (uint64_t)j * 100, (uint64_t)j);
        }
        CHECK_EQ(ring_leases_out(&ring.consumer), 0);
        ring_close(&ring);
}

static void test_leases_released_in_every_order(void) {
        int order[4];

        for (int code = 0; code < 256; code++) {
                unsigned int seen = 0;

                for (int i = 0; i < 4; i++) {
                        order[i] = code >> (2 * i) & 3;
                        seen |= 1u << order[i];
                }
                if (seen == 15)
                        release_permutation(order, 4);
        }
}

static void test_what_is_no_lease_is_refused(void) {
        struct tachyon_message message;
        struct ring ring;

        ring_open(&ring, PAGE);
        CHECK_EQ(release(&ring, 0), -EINVAL);
        CHECK_EQ(send_pattern(&ring, 500, 1), 0);
        CHECK_EQ(release(&ring, 0), -EINVAL); /* not received yet */
        CHECK_EQ(receive(&ring, &message), 0);
        CHECK_EQ(release(&ring, message.lease + 1), -EINVAL);
        CHECK_EQ(release(&ring, message.lease + 64), -EINVAL); /* in the middle of it */
        CHECK_EQ(release(&ring, message.lease + PAGE), -EINVAL);
        CHECK_EQ(release(&ring, UINT64_MAX - 63), -EINVAL);
        CHECK_EQ(release(&ring, message.lease), 0);
        CHECK_EQ(release(&ring, message.lease), -EINVAL);
        for (int i = 0; i < 100; i++) /* where it was, others are by now */
                send_and_receive(&ring, 500, 2);
        CHECK_EQ(release(&ring, message.lease), -EINVAL);
        ring_close(&ring);
}

static void test_copies_are_taken_only_where_nothing_is_leased(void) {
        unsigned char copy[FRAME_INLINE_SIZE];
        struct tachyon_message message, leased;
        struct ring ring;

        ring_open(&ring, PAGE);
        CHECK(!receive_copy(&ring, copy, &message)); /* there is none */
        for (uint64_t seed = 1; seed <= 3; seed++)
                CHECK_EQ(send_pattern(&ring, 20, seed), 0);
        CHECK_EQ(receive(&ring, &leased), 0);
        CHECK(!receive_copy(&ring, copy, &message)); /* the lease would be given back with it */
        CHECK_EQ(atomic_load(&ring.read_position), 0);
        CHECK_EQ(release(&ring, leased.lease), 0);
        CHECK(receive_copy(&ring, copy, &message));
        CHECK(message.size == 20 && message.type_id == 2 && matches(copy, 20, 2));
        CHECK_EQ(release(&ring, 64), -EINVAL); /* it never was one */
        CHECK_EQ(atomic_load(&ring.read_position), 128);
        CHECK_EQ(receive(&ring, &leased), 0);
        CHECK_EQ(release(&ring, leased.lease), 0);
        CHECK_EQ(send_pattern(&ring, FRAME_INLINE_SIZE + 1, 4), 0);
        CHECK(!receive_copy(&ring, copy, &message)); /* more than a line */
        CHECK_EQ(ring.consumer.messages, 3);
        CHECK_EQ(ring.consumer.bytes, 60);
        ring_close(&ring);
}

static struct ring *passing;
static int looks;

static void look_for_releases(const char *step) {
        if (strcmp(step, "recv:passed"))
                return;
        looks++;
        CHECK(!ring_advance(&passing->consumer));
}

/*
 * A thread that comes late to look for what is released, in the middle of a copy
 * that is being passed: between read_position and the cursor it must not find
 * what is left of another lap's leases, and move over it.
 */
static void test_a_copy_half_passed_moves_nothing_else(void) {
        unsigned char copy[FRAME_INLINE_SIZE];
        struct tachyon_message message;
        struct ring ring;

        ring_open(&ring, PAGE);
        for (uint64_t i = 0; i < PAGE / 128; i++) /* leases of two lines, all over the ring */
                send_and_receive(&ring, 64, i);
        passing = &ring;
        tachyon_label_hook = look_for_releases;
        for (uint64_t i = 0; i < 100; i++) {
                CHECK_EQ(ring_refresh(&ring.producer), 0);
                CHECK_EQ(send_pattern(&ring, 8, i), 0);
                CHECK(receive_copy(&ring, copy, &message));
                CHECK_EQ(atomic_load(&ring.read_position), ring.producer.position);
        }
        tachyon_label_hook = NULL;
        CHECK_EQ(looks, 100);
        ring_close(&ring);
}

static void test_leased_bytes_are_not_overwritten(void) {
        struct tachyon_message held, message;
        struct ring ring;

        ring_open(&ring, PAGE);
        CHECK_EQ(send_pattern(&ring, 300, 42), 0);
        CHECK_EQ(receive(&ring, &held), 0);
        for (uint64_t i = 0;; i++) {
                CHECK_EQ(ring_refresh(&ring.producer), 0);
                if (send_pattern(&ring, 200, i) < 0)
                        break;
                CHECK_EQ(receive(&ring, &message), 0);
                CHECK_EQ(release(&ring, message.lease), 0);
        }
        check_message(&held, 300, 42);
        CHECK_EQ(release(&ring, held.lease), 0);
        CHECK_EQ(ring_refresh(&ring.producer), 0);
        CHECK_EQ(send_pattern(&ring, PAGE - 128, 1), 0);
        ring_close(&ring);
}

/* However much is waiting, what is released is the producer's at once. */
static void test_no_room_is_held_back(void) {
        struct tachyon_message message;
        struct ring ring;

        ring_open(&ring, 16 * PAGE);
        for (uint64_t sent = 0, received = 0; received < 5000; received++) {
                while (sent - received < 100) {
                        CHECK_EQ(ring_refresh(&ring.producer), 0);
                        CHECK_EQ(send_pattern(&ring, received % 7 ? 20 : 200, sent++), 0);
                }
                CHECK_EQ(receive(&ring, &message), 0);
                CHECK_EQ(release(&ring, message.lease), 0);
                CHECK_EQ(atomic_load(&ring.read_position), atomic_load(&ring.consumer.cursor));
        }
        ring_close(&ring);
}

/*
 * A hostile producer shrinks a frame that was put back, while a releasing thread
 * still has the old cursor in hand: read_position gets past the cursor. No frame
 * may then look as if it had more room than the ring has.
 */
static void test_a_position_past_the_cursor_is_noticed(void) {
        struct tachyon_message message;
        struct ring ring;

        ring_open(&ring, PAGE);
        CHECK_EQ(send_pattern(&ring, 100, 1), 0);
        atomic_store(&ring.read_position, 3904);
        CHECK_EQ(receive(&ring, &message), -EPROTO);
        CHECK_EQ(ring_recv_records(&ring.consumer, 100, 9, TYPE_ANY), 0);
        ring_close(&ring);
}

/* ---- records ------------------------------------------------------------ */

/* Takes all that is there as runs, checks every record, releases out of order every other time. */
static uint64_t receive_runs(struct ring *ring, uint64_t size, uint64_t first) {
        uint64_t received = 0, n, stride = frame_length(size, FRAME_INLINE_SIZE);

        while ((n = ring_recv_records(&ring->consumer, size, 1 + (first + received) % 50, TYPE_ANY)) > 0) {
                uint64_t lease = atomic_load(&ring->consumer.cursor) - n * stride;
                const unsigned char *data = ring->memory + (lease & ring->consumer.mask) + frame_data_offset(size);

                CHECK_EQ(ring_leases_out(&ring->consumer), 1);
                for (uint64_t i = 0; i < n; i++)
                        CHECK(matches(data + i * stride, size, first + received + i));
                CHECK_EQ(release(ring, lease + stride * (n - 1)), n > 1 ? -EINVAL : 0);
                if (n > 1)
                        CHECK_EQ(release(ring, lease), 0);
                received += n;
        }
        return received;
}

static void run_records(uint64_t size) {
        static unsigned char records[100 * 200];
        uint64_t sent = 0, received = 0;
        struct ring ring;

        ring_open(&ring, PAGE);
        while (received < 3000) {
                for (uint64_t i = 0; i < 100; i++)
                        fill(records + i * size, size, sent + i);
                CHECK_EQ(ring_refresh(&ring.producer), 0);
                sent += ring_send_records(&ring.producer, records, size, 1 + sent % 100, 9);
                received += receive_runs(&ring, size, received);
                ring_advance(&ring.consumer);
                CHECK_EQ(sent, received);
        }
        CHECK_EQ(ring.producer.messages, sent);
        CHECK_EQ(ring.consumer.messages, received);
        CHECK_EQ(ring.consumer.bytes, received * size);
        ring_close(&ring);
}

static void test_records_of_every_size_arrive_whole(void) {
        for (uint64_t size = 1; size <= 200; size++)
                run_records(size);
}

static void test_a_run_ends_at_another_size_or_type(void) {
        unsigned char records[5 * 32];
        struct tachyon_message message;
        struct ring ring;

        ring_open(&ring, PAGE);
        for (uint64_t i = 0; i < 5; i++)
                fill(records + i * 32, 32, i);
        CHECK_EQ(ring_send_records(&ring.producer, records, 32, 3, 1), 3);
        CHECK_EQ(ring_send_records(&ring.producer, records, 32, 2, 2), 2);
        CHECK_EQ(send_pattern(&ring, 33, 7), 0);
        CHECK_EQ(ring_recv_records(&ring.consumer, 31, 10, TYPE_ANY), 0);
        CHECK_EQ(ring_recv_records(&ring.consumer, 32, 10, 2), 0);
        CHECK_EQ(ring_recv_records(&ring.consumer, 32, 10, 1), 3);
        CHECK_EQ(ring_recv_records(&ring.consumer, 32, 10, TYPE_ANY), 2);
        CHECK_EQ(ring_recv_records(&ring.consumer, 32, 10, TYPE_ANY), 0);
        CHECK_EQ(receive(&ring, &message), 0);
        check_message(&message, 33, 7);
        ring_close(&ring);
}

/* To whoever receives one by one, records are messages; a full ring takes what fits. */
static void test_records_are_messages(void) {
        static unsigned char records[100 * 32];
        struct tachyon_message message;
        uint64_t sent = 0, n;
        struct ring ring;

        ring_open(&ring, PAGE);
        for (uint64_t i = 0; i < 100; i++)
                fill(records + i * 32, 32, i);
        while ((n = ring_send_records(&ring.producer, records + sent * 32, 32, 100 - sent, 4)) > 0)
                sent += n;
        CHECK_EQ(sent, PAGE / FRAME_ALIGNMENT - 1);
        for (uint64_t i = 0; i < sent; i++) {
                CHECK_EQ(receive(&ring, &message), 0);
                CHECK_EQ(message.size, 32);
                CHECK_EQ(message.type_id, 4);
                CHECK(matches(message.data, 32, i));
                CHECK_EQ(release(&ring, message.lease), 0);
        }
        CHECK_EQ(receive(&ring, &message), -EAGAIN);
        ring_close(&ring);
}

/* A crash in the middle of a batch: the stamp of the first is stored last. */
static void test_a_batch_without_its_first_stamp_is_not_there(void) {
        unsigned char records[8 * 32] = { 0 };
        struct tachyon_message message;
        struct ring ring;

        ring_open(&ring, PAGE);
        CHECK_EQ(ring_send_records(&ring.producer, records, 32, 8, 1), 8);
        atomic_store(&((struct frame *)(void *)ring.memory)->stamp, 0);
        CHECK_EQ(ring_recv_records(&ring.consumer, 32, 8, TYPE_ANY), 0);
        CHECK_EQ(receive(&ring, &message), -EAGAIN);
        ring_close(&ring);
}

/* ---- a hostile peer ----------------------------------------------------- */

static void forge(uint64_t stamp_flags, uint32_t size, int expected) {
        struct tachyon_message message;
        struct frame *frame;
        struct ring ring;

        ring_open(&ring, PAGE);
        CHECK_EQ(send_pattern(&ring, 100, 1), 0);
        frame = (void *)(ring.memory + ring.producer.position);
        atomic_store(&frame->size, size);
        atomic_store(&frame->stamp, ring.producer.position | stamp_flags);
        CHECK_EQ(receive(&ring, &message), 0);
        CHECK_EQ(receive(&ring, &message), expected);
        ring_close(&ring);
}

static void test_forged_frames_break_the_protocol(void) {
        /* The frame before takes 192 bytes, and stays leased: this much is the most. */
        forge(FRAME_VALID, PAGE - 128 - 192, 0);
        forge(FRAME_VALID, PAGE - 127 - 192, -EPROTO);
        forge(FRAME_VALID, PAGE, -EPROTO);
        forge(FRAME_VALID, UINT32_MAX, -EPROTO);
        forge(FRAME_VALID, UINT32_MAX - 63, -EPROTO);
        for (uint64_t flag = 2; flag < 64; flag <<= 1)
                forge(FRAME_VALID | flag, 8, -EPROTO);
}

static void test_forged_stamps_are_no_frames(void) {
        struct tachyon_message message;
        struct frame *frame;
        struct ring ring;

        ring_open(&ring, PAGE);
        frame = (void *)ring.memory;
        for (unsigned int bit = 0; bit < 64; bit++) {
                atomic_store(&frame->stamp, FRAME_VALID ^ UINT64_C(1) << bit);
                CHECK_EQ(ring_has_message(&ring.consumer), bit > 0 && bit < 6);
                CHECK_EQ(receive(&ring, &message), bit > 0 && bit < 6 ? -EPROTO : -EAGAIN);
        }
        ring_close(&ring);
}

static void test_forged_read_position_breaks_the_protocol(void) {
        uint64_t start = UINT64_C(1) << 20;
        struct ring ring;

        ring_open_at(&ring, PAGE, start);
        for (int i = 0; i < 4; i++)
                send_and_receive(&ring, 0, 1);
        CHECK_EQ(ring_refresh(&ring.producer), 0);
        const uint64_t impossible[] = {
                start,                /* back */
                start + 5 * 64,       /* ahead of what was written */
                start + 4 * 64 - 1,   /* between two lines */
                start + 4 * 64 + PAGE,
                0,
                UINT64_MAX,
        };
        for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
                atomic_store(&ring.read_position, impossible[i]);
                CHECK_EQ(ring_refresh(&ring.producer), -EPROTO);
        }
        atomic_store(&ring.read_position, start + 4 * 64);
        CHECK_EQ(ring_refresh(&ring.producer), 0);
        ring_close(&ring);
}

/* ---- positions ---------------------------------------------------------- */

static void walk_across(uint64_t position) {
        struct ring ring;

        ring_open_at(&ring, PAGE, position - PAGE);
        while (ring.producer.position < position + PAGE)
                send_and_receive(&ring, ring.producer.position / 64 % 300, ring.producer.position);
        ring_close(&ring);
}

static void test_positions_pass_round_numbers(void) {
        walk_across(UINT64_C(1) << 31);
        walk_across(UINT64_C(1) << 32);
        walk_across(UINT64_C(1) << 33);
        walk_across(UINT64_C(1) << 63);
}

/* ---- against a model ---------------------------------------------------- */

#define MODEL_FRAMES 4096u /* more than ever fit, and a power of two */

struct model_frame {
        uint64_t position, size, seed;
        bool released;
};

/* A queue: [first, cursor) received, of which some are released; [cursor, end) waiting. */
struct model {
        struct model_frame frames[MODEL_FRAMES];
        uint64_t first, cursor, end, position;
};

static struct model_frame *model_frame(struct model *model, uint64_t i) {
        return &model->frames[i % MODEL_FRAMES];
}

static uint64_t model_room(struct model *model, const struct ring *ring) {
        uint64_t used = model->first == model->end ? 0 : model->position - model_frame(model, model->first)->position;

        return ring->capacity - FRAME_ALIGNMENT - used;
}

static void model_send(struct model *model, struct ring *ring, uint64_t *random) {
        uint64_t limit = next_random(random) % 8 ? 200 : ring_max_size(ring->producer.mask) + 1;
        uint64_t reserved = next_random(random) % limit, size = reserved, seed = next_random(random);
        bool fits = frame_length(reserved, FRAME_INLINE_SIZE) <= model_room(model, ring);
        void *data;
        int r;

        ring_advance(&ring->consumer);
        CHECK_EQ(ring_refresh(&ring->producer), 0);
        if (seed % 4 != 0) {
                r = send_pattern(ring, size, seed);
        } else {
                r = ring_reserve(&ring->producer, &data, reserved);
                size = seed / 8 % (reserved + 1);
                if (r == 0 && seed % 8 == 0) {
                        fill(data, reserved, seed);
                        ring_cancel(&ring->producer);
                        return;
                }
                if (r == 0) {
                        fill(data, size, seed);
                        r = ring_commit(&ring->producer, size, (uint32_t)seed);
                }
        }
        CHECK_EQ(r, fits ? 0 : -EAGAIN);
        if (r < 0)
                return;
        *model_frame(model, model->end++) = (struct model_frame){ model->position, size, seed, false };
        model->position += frame_length(size, FRAME_INLINE_SIZE);
}

static void model_receive_copy(struct model *model, struct ring *ring) {
        struct model_frame *frame = model_frame(model, model->cursor);
        unsigned char copy[FRAME_INLINE_SIZE];
        struct tachyon_message message;
        bool can = model->first == model->cursor && model->cursor < model->end && frame->size <= FRAME_INLINE_SIZE;

        CHECK_EQ(receive_copy(ring, copy, &message), can);
        if (!can)
                return;
        CHECK(message.size == frame->size && message.type_id == (uint32_t)frame->seed);
        CHECK(matches(copy, frame->size, frame->seed));
        model->first = ++model->cursor;
}

static void model_receive(struct model *model, struct ring *ring) {
        struct tachyon_message message;
        int r = receive(ring, &message);

        CHECK_EQ(r, model->cursor < model->end ? 0 : -EAGAIN);
        if (r < 0)
                return;
        CHECK_EQ(message.lease, model_frame(model, model->cursor)->position);
        check_message(&message, model_frame(model, model->cursor)->size, model_frame(model, model->cursor)->seed);
        model->cursor++;
}

static void model_release(struct model *model, struct ring *ring, uint64_t *random) {
        struct model_frame *frame;

        if (model->first == model->cursor)
                return;
        frame = model_frame(model, model->first + next_random(random) % (model->cursor - model->first));
        CHECK_EQ(release(ring, frame->position), frame->released ? -EINVAL : 0);
        frame->released = true;
        while (model->first < model->cursor && model_frame(model, model->first)->released)
                model->first++;
}

static void test_random_walk_against_a_queue(void) {
        static struct model model;
        uint64_t random = 88172645463325252u;

        for (uint64_t capacity = PAGE; capacity <= 16 * PAGE; capacity *= 4) {
                struct ring ring;

                model.first = model.cursor = model.end = model.position = 0;
                ring_open(&ring, capacity);
                for (int step = 0; step < 30000; step++) {
                        uint64_t dice = next_random(&random) % 16;

                        if (dice < 5)
                                model_send(&model, &ring, &random);
                        else if (dice < 7)
                                model_receive_copy(&model, &ring);
                        else if (dice < 10)
                                model_receive(&model, &ring);
                        else
                                model_release(&model, &ring, &random);
                }
                CHECK(model.position > 20 * capacity);
                ring_close(&ring);
        }
}

/* ---- the exchange line --------------------------------------------------- */

struct two_rings {
        struct ring there, back; /* there: what the connector sends */
        struct frame line;
};

static void two_rings_open(struct two_rings *two, uint64_t position) {
        ring_open_at(&two->there, PAGE, position);
        ring_open_at(&two->back, PAGE, position);
        memset((void *)&two->line, 0, sizeof(two->line));
        ring_start_exchange(&two->there.producer, &two->back.consumer, &two->line, false);
        ring_start_exchange(&two->back.producer, &two->there.consumer, &two->line, true);
}

static void two_rings_close(struct two_rings *two) {
        ring_close(&two->there);
        ring_close(&two->back);
}

/* The message must be this one, and lie there. */
static void receive_from(struct ring *ring, struct tachyon_message *message, const struct frame *line, uint64_t size,
                         uint64_t seed) {
        CHECK(ring_has_message(&ring->consumer));
        CHECK_EQ(receive(ring, message), 0);
        CHECK_EQ(message->data == line->payload, size <= FRAME_INLINE_SIZE && message->lease % 2);
        check_message(message, size, seed);
}

/* As the connector whose turn it is, who has waited. */
static void two_rings_begin(struct two_rings *two, uint64_t position) {
        two_rings_open(two, position);
        ring_begin_exchange(&two->back.consumer);
}

static bool exchange_pattern(struct ring *ring, uint64_t size, uint64_t seed) {
        unsigned char data[FRAME_ALIGNMENT];

        fill(data, size, seed);
        return ring_exchange(&ring->producer, data, size, (uint32_t)seed);
}

static uint64_t turn_of(const struct ring *ring) {
        return atomic_load(&ring->producer.turn);
}

static const uint64_t round_positions[] = {
        0, PAGE, (UINT64_C(1) << 32) - FRAME_ALIGNMENT, UINT64_C(1) << 62, UINT64_MAX - PAGE + 1,
};
#define N_POSITIONS (sizeof(round_positions) / sizeof(round_positions[0]))

static void test_the_first_turn_is_the_connectors_once_it_waits(void) {
        struct two_rings two;

        for (size_t i = 0; i < N_POSITIONS; i++) {
                two_rings_open(&two, round_positions[i]);
                CHECK(!ring_heeds_turn(&two.there.producer) && !ring_heeds_turn(&two.back.producer));
                CHECK(!exchange_pattern(&two.there, 8, 1));
                ring_begin_exchange(&two.there.consumer); /* the listener's waiting begins nothing */
                CHECK(!ring_heeds_turn(&two.back.producer));
                ring_begin_exchange(&two.back.consumer);
                CHECK(ring_heeds_turn(&two.there.producer));
                CHECK(!exchange_pattern(&two.there, FRAME_INLINE_SIZE + 1, 1));
                CHECK(exchange_pattern(&two.there, 1, 1));
                CHECK(ring_awaits_answer(&two.there.producer));
                ring_begin_exchange(&two.back.consumer); /* once only */
                CHECK(!exchange_pattern(&two.there, 1, 1));
                two_rings_close(&two);
        }
}

/* By copying and by leasing: the turn is there when the message is released, not before; the rings stay as they are. */
static void test_the_turn_passes_with_what_is_released(void) {
        struct tachyon_message message;
        struct two_rings two;
        uint64_t size, last[2] = { 0, 0 }, lease;

        for (size_t k = 0; k < N_POSITIONS; k++) {
                memset(last, 0, sizeof(last));
                two_rings_begin(&two, round_positions[k]);
                for (unsigned i = 0; i < 200; i++) {
                        struct ring *from = i % 2 ? &two.back : &two.there, *to = i % 2 ? &two.there : &two.back;

                        CHECK(exchange_pattern(from, i % 49, i));
                        CHECK(ring_has_message(&from->consumer));
                        CHECK(!ring_look(&from->consumer, &size) && !ring_recv_small(&from->consumer, &message));
                        CHECK(!exchange_pattern(from, 1, 1) && !exchange_pattern(to, 1, 1));
                        if (i / 2 % 2) {
                                CHECK(ring_look_exchange(&from->consumer, &size) == &two.line && size == i % 49);
                                CHECK(ring_exchange_is_fair(&from->consumer, size));
                                CHECK(matches(two.line.payload, size, i));
                                ring_take_exchange(&from->consumer, size, TURN_OURS);
                        } else {
                                receive_from(from, &message, &two.line, i % 49, i);
                                lease = message.lease;
                                CHECK(lease & LEASE_EXCHANGED && lease > last[i % 2]);
                                last[i % 2] = lease;
                                CHECK_EQ(ring_leases_out(&from->consumer), 1);
                                CHECK(ring_heeds_turn(&to->producer) && !exchange_pattern(to, 1, 1));
                                CHECK(!ring_release_alone(&from->consumer, lease));
                                CHECK_EQ(ring_release(&from->consumer, lease), 0);
                                CHECK_EQ(ring_release(&from->consumer, lease), -EINVAL);
                        }
                        CHECK_EQ(ring_leases_out(&from->consumer), 0);
                        CHECK(!ring_look_exchange(&from->consumer, &size) && !ring_has_message(&from->consumer));
                        CHECK_EQ(receive(from, &message), -EAGAIN);
                        CHECK_EQ(from->producer.position, round_positions[k]);
                        CHECK_EQ(atomic_load(&from->consumer.cursor), round_positions[k]);
                        CHECK_EQ(atomic_load(&from->read_position), round_positions[k]);
                }
                two_rings_close(&two);
        }
}

enum way { WAY_SMALL, WAY_LARGE, WAY_COMMIT, WAY_SHRUNK, WAY_RECORDS, N_WAYS };

/* One message by the ring, which has the seed. */
static uint64_t send_by(struct ring *ring, enum way way, uint64_t seed) {
        const uint64_t sizes[] = { 8, 300, 8, 8, 8 };
        unsigned char data[300];
        void *place;

        fill(data, sizes[way], seed);
        switch (way) {
        case WAY_RECORDS:
                CHECK_EQ(ring_send_records(&ring->producer, data, sizes[way], 1, (uint32_t)seed), 1);
                break;
        case WAY_COMMIT:
        case WAY_SHRUNK:
                CHECK_EQ(ring_reserve(&ring->producer, &place, way == WAY_SHRUNK ? 300 : 8), 0);
                CHECK(!exchange_pattern(ring, 8, 1)); /* whoever's turn it is */
                memcpy(place, data, sizes[way]);
                CHECK_EQ(ring_commit(&ring->producer, sizes[way], (uint32_t)seed), 0);
                break;
        default:
                CHECK_EQ(ring_send(&ring->producer, data, sizes[way], (uint32_t)seed), 0);
        }
        return sizes[way];
}

static uint64_t flags_at(const struct ring *ring, uint64_t position) {
        const struct frame *frame = (const void *)(ring->memory + (position & (PAGE - 1)));

        return frame->stamp ^ position;
}

/* X2: whatever is sent first after a message on the line is marked, and only that. */
static void test_the_first_frame_to_follow_is_marked(void) {
        struct tachyon_message message;
        struct two_rings two;
        struct ring *ring = &two.there;

        for (size_t k = 0; k < N_POSITIONS; k++)
                for (enum way way = 0; way < N_WAYS; way++) {
                        uint64_t at, size;

                        two_rings_begin(&two, round_positions[k]);
                        send_by(ring, way, 1); /* it may be our turn, we have not written there */
                        CHECK_EQ(flags_at(ring, round_positions[k]), FRAME_VALID);
                        CHECK(exchange_pattern(ring, 8, 2));
                        at = ring->producer.position;
                        size = send_by(ring, way, 3);
                        CHECK_EQ(flags_at(ring, at), FRAME_VALID | FRAME_FOLLOWS);
                        CHECK_EQ(turn_of(ring), TURN_THEIRS);
                        at = ring->producer.position;
                        send_by(ring, way, 4);
                        CHECK_EQ(flags_at(ring, at), FRAME_VALID);
                        for (uint64_t seed = 1; seed <= 4; seed++) {
                                receive_from(ring, &message, &two.line, seed == 2 ? 8 : size, seed);
                                CHECK_EQ(message.lease % 2, seed == 2);
                                CHECK_EQ(release(ring, message.lease), 0);
                        }
                        CHECK_EQ(receive(ring, &message), -EAGAIN);
                        two_rings_close(&two);
                }
}

/* Cancelled, or no room: nothing follows yet, so the mark stays to be made. */
static void test_what_was_not_sent_does_not_take_the_mark(void) {
        struct two_rings two;
        void *place;

        two_rings_begin(&two, 0);
        CHECK(exchange_pattern(&two.there, 8, 1));
        CHECK_EQ(ring_reserve(&two.there.producer, &place, 8), 0);
        ring_cancel(&two.there.producer);
        CHECK_EQ(send_pattern(&two.there, PAGE, 2), -EAGAIN);
        CHECK_EQ(ring_commit(&two.there.producer, 8, 2), -EINVAL);
        CHECK_EQ(ring_reserve(&two.there.producer, &place, 8), 0);
        CHECK_EQ(send_pattern(&two.there, 8, 2), -EAGAIN);
        CHECK_EQ(ring_commit(&two.there.producer, 9, 2), -EINVAL);
        CHECK(ring_awaits_answer(&two.there.producer));
        CHECK_EQ(ring_commit(&two.there.producer, 8, 2), 0);
        CHECK_EQ(flags_at(&two.there, 0), FRAME_VALID | FRAME_FOLLOWS);
        two_rings_close(&two);
}

/* With the answer, the question has been received: nothing has to be looked for. */
static void test_nothing_is_marked_after_the_answer(void) {
        struct tachyon_message message;
        struct two_rings two;

        for (int leased = 0; leased < 2; leased++) {
                two_rings_begin(&two, 0);
                CHECK(exchange_pattern(&two.there, 8, 1));
                receive_from(&two.there, &message, &two.line, 8, 1);
                CHECK_EQ(release(&two.there, message.lease), 0);
                CHECK(exchange_pattern(&two.back, 8, 2));
                receive_from(&two.back, &message, &two.line, 8, 2);
                if (!leased)
                        CHECK_EQ(release(&two.back, message.lease), 0);
                CHECK_EQ(send_pattern(&two.there, 8, 3), 0);
                CHECK_EQ(flags_at(&two.there, 0), FRAME_VALID);
                CHECK_EQ(turn_of(&two.there), leased ? message.lease : TURN_OURS);
                two_rings_close(&two);
        }
}

/* A message on the line makes no difference to whose place in the ring is free, and needs room there itself: I2. */
static void test_a_full_ring_has_no_line(void) {
        struct tachyon_message message;
        struct two_rings two;
        uint64_t n = 0;

        two_rings_begin(&two, 0);
        while (send_pattern(&two.there, 8, n) == 0)
                n++;
        CHECK_EQ(n, PAGE / FRAME_ALIGNMENT - 1);
        CHECK(!exchange_pattern(&two.there, 8, n));
        CHECK_EQ(receive(&two.there, &message), 0);
        CHECK_EQ(release(&two.there, message.lease), 0);
        CHECK_EQ(ring_refresh(&two.there.producer), 0);
        CHECK(exchange_pattern(&two.there, 8, n));
        CHECK_EQ(send_pattern(&two.there, 8, n + 1), 0);
        for (uint64_t i = 1; i <= n + 1; i++) {
                receive_from(&two.there, &message, &two.line, 8, i);
                CHECK_EQ(message.lease % 2, i == n);
                CHECK_EQ(release(&two.there, message.lease), 0);
        }
        two_rings_close(&two);
}

static void untake(struct ring *ring, const struct tachyon_message *message) {
        CHECK(ring_is_newest(&ring->consumer, message->lease));
        if (message->lease % 2)
                ring_untake_exchange(&ring->consumer, message->size);
        else
                atomic_store(&ring->consumer.cursor, message->lease); /* as bus_unreceive() does */
        CHECK(!ring_is_newest(&ring->consumer, message->lease));
}

/* Ring, line, ring: each can be put back while it is the newest, and comes again in its order. */
static void test_the_newest_is_known_by_either_place(void) {
        struct tachyon_message messages[3];
        struct two_rings two;
        struct ring *ring = &two.there;

        two_rings_begin(&two, 0);
        CHECK_EQ(send_pattern(ring, 8, 0), 0);
        CHECK(exchange_pattern(ring, 8, 1));
        CHECK_EQ(send_pattern(ring, 100, 2), 0);
        for (int n = 1; n <= 3; n++) {
                uint64_t lease;

                for (int i = 0; i < n; i++) {
                        receive_from(ring, &messages[i], &two.line, i == 2 ? 100 : 8, (uint64_t)i);
                        for (int k = 0; k <= i; k++)
                                CHECK_EQ(ring_is_newest(&ring->consumer, messages[k].lease), k == i);
                }
                CHECK(!ring_is_newest(&ring->consumer, messages[n - 1].lease + 2));
                lease = messages[1].lease;
                for (int i = n; i-- > 0;)
                        untake(ring, &messages[i]);
                if (n > 1)
                        CHECK(!ring_release_exchange(&ring->consumer, lease));
                CHECK_EQ(ring_leases_out(&ring->consumer), 0);
        }
        for (int i = 0; i < 3; i++)
                receive_from(ring, &messages[i], &two.line, i == 2 ? 100 : 8, (uint64_t)i);
        CHECK_EQ(release(ring, messages[1].lease), 0);
        CHECK(ring_is_newest(&ring->consumer, messages[2].lease));
        untake(ring, &messages[2]);
        CHECK(!ring_is_newest(&ring->consumer, messages[0].lease)); /* the line's came after it */
        two_rings_close(&two);
}

/* Put back, it leaves what came over the line before it received: that was newer than what is leased of the ring. */
static void test_what_came_before_what_was_put_back_stays_received(void) {
        struct tachyon_message first, copied, ring, line;
        struct two_rings two;
        struct ring *there = &two.there;

        for (int between = 0; between < 2; between++) {
                two_rings_begin(&two, 0);
                CHECK_EQ(send_pattern(there, 8, 0), 0);
                CHECK(exchange_pattern(there, 8, 1));
                receive_from(there, &first, &two.line, 8, 0);
                receive_from(there, &copied, &two.line, 8, 1);
                CHECK_EQ(release(there, copied.lease), 0);
                CHECK(exchange_pattern(&two.back, 8, 2));
                receive_from(&two.back, &line, &two.line, 8, 2);
                CHECK_EQ(release(&two.back, line.lease), 0);
                if (between) {
                        CHECK_EQ(send_pattern(there, 8, 3), 0);
                        receive_from(there, &ring, &two.line, 8, 3);
                }
                CHECK(exchange_pattern(there, 8, 4));
                receive_from(there, &line, &two.line, 8, 4);
                untake(there, &line);
                if (between)
                        untake(there, &ring);
                CHECK(!ring_is_newest(&there->consumer, first.lease));
                CHECK(!ring_is_newest(&there->consumer, copied.lease));
                if (between)
                        receive_from(there, &ring, &two.line, 8, 3);
                receive_from(there, &line, &two.line, 8, 4);
                two_rings_close(&two);
        }
}

/* The stamp there is the cursor's with the peer's flags, and nothing else is one. */
static void test_forged_stamps_on_the_line_are_no_messages(void) {
        struct tachyon_message message;
        struct two_rings two;
        uint64_t size;

        two_rings_open(&two, PAGE);
        for (uint64_t flags = 0; flags <= FRAME_FLAGS_MASK; flags++)
                for (int64_t ahead = -2; ahead <= 2; ahead++) {
                        if (flags == FRAME_VALID && ahead == 0)
                                continue;
                        atomic_store(&two.line.stamp, (PAGE + (uint64_t)ahead * FRAME_ALIGNMENT) | flags);
                        CHECK(!ring_has_message(&two.there.consumer));
                        CHECK(!ring_look_exchange(&two.there.consumer, &size));
                        CHECK_EQ(receive(&two.there, &message), -EAGAIN);
                        CHECK(!ring_heeds_turn(&two.back.producer));
                }
        atomic_store(&two.line.stamp, PAGE | FRAME_VALID);
        for (uint64_t n = FRAME_INLINE_SIZE + 1; n <= UINT32_MAX; n *= 3) {
                atomic_store(&two.line.size, (uint32_t)n);
                CHECK(ring_look_exchange(&two.there.consumer, &size) && !ring_exchange_is_fair(&two.there.consumer, size));
                CHECK_EQ(receive(&two.there, &message), -EPROTO);
        }
        two_rings_close(&two);
}

/* Again while the last is leased, or when it is our turn: a breach. */
static void test_a_message_out_of_turn_is_a_breach(void) {
        struct tachyon_message message, none = { .size = 77 };
        struct two_rings two;

        for (int released = 0; released < 2; released++) {
                two_rings_begin(&two, 0);
                CHECK(exchange_pattern(&two.there, 8, 1));
                receive_from(&two.there, &message, &two.line, 8, 1);
                if (released)
                        CHECK_EQ(release(&two.there, message.lease), 0);
                atomic_store(&two.line.stamp, FRAME_VALID | FRAME_ODD);
                CHECK_EQ(receive(&two.there, &none), -EPROTO);
                CHECK_EQ(none.size, 77);
                CHECK_EQ(release(&two.there, message.lease), released ? -EINVAL : 0);
                two_rings_close(&two);
        }
}

/* Out of turn before we waited at all: no harm to us, and our waiting does not end its lease. */
static void test_waiting_ends_no_lease(void) {
        struct tachyon_message message;
        struct two_rings two;

        two_rings_open(&two, 0);
        atomic_store(&two.line.stamp, FRAME_VALID | FRAME_BY_LISTENER);
        CHECK_EQ(receive(&two.back, &message), 0);
        ring_begin_exchange(&two.back.consumer);
        CHECK(!exchange_pattern(&two.there, 8, 1));
        CHECK_EQ(ring_leases_out(&two.back.consumer), 1);
        CHECK_EQ(release(&two.back, message.lease), 0);
        CHECK(exchange_pattern(&two.there, 8, 1));
        two_rings_close(&two);
}

/* Marked, and nothing on the line: no harm; where no line was agreed upon: a breach. */
static void test_marks_without_a_message_on_the_line(void) {
        struct tachyon_message message;
        struct two_rings two;
        struct ring alone;
        struct frame *frame;

        two_rings_open(&two, 0);
        CHECK_EQ(send_pattern(&two.there, 8, 1), 0);
        frame = (void *)two.there.memory;
        atomic_fetch_or(&frame->stamp, FRAME_FOLLOWS);
        CHECK(!ring_recv_small(&two.there.consumer, &message));
        CHECK_EQ(receive(&two.there, &message), 0);
        check_message(&message, 8, 1);
        two_rings_close(&two);
        ring_open(&alone, PAGE);
        CHECK_EQ(send_pattern(&alone, 8, 1), 0);
        frame = (void *)alone.memory;
        atomic_fetch_or(&frame->stamp, FRAME_FOLLOWS);
        CHECK_EQ(receive(&alone, &message), -EPROTO);
        ring_close(&alone);
}

/* ---- threads ------------------------------------------------------------ */

#define RELEASERS 3
#define THREAD_MESSAGES 30000u

struct exchange {
        struct ring ring;
        int pipe[2]; /* received messages, on their way to whoever releases them */
};

static void *produce(void *context) {
        struct exchange *exchange = context;

        for (uint64_t i = 0; i < THREAD_MESSAGES; i++)
                while (send_pattern(&exchange->ring, i % 300, i) < 0) {
                        CHECK_EQ(ring_refresh(&exchange->ring.producer), 0);
                        sched_yield(); /* valgrind runs one thread at a time */
                }
        return NULL;
}

static void *release_for_others(void *context) {
        struct exchange *exchange = context;
        struct tachyon_message message;

        while (read(exchange->pipe[0], &message, sizeof(message)) == sizeof(message)) {
                CHECK(matches(message.data, message.size, message.type_id));
                CHECK_EQ(release(&exchange->ring, message.lease), 0);
        }
        return NULL;
}

/*
 * Neighbours released by different threads: read_position must reach the end, with
 * nobody left to push it. In between, whenever nothing is out, come copies: they move
 * it past threads that are still looking for what to move it over.
 */
static void test_releases_from_many_threads_lose_nothing(void) {
        struct exchange exchange;
        pthread_t producer, releasers[RELEASERS];
        bool copied;

        ring_open(&exchange.ring, PAGE);
        CHECK_EQ(pipe2(exchange.pipe, O_CLOEXEC), 0);
        producer = thread_start(produce, &exchange);
        for (int i = 0; i < RELEASERS; i++)
                releasers[i] = thread_start(release_for_others, &exchange);
        for (uint64_t i = 0; i < THREAD_MESSAGES; i++) {
                unsigned char copy[FRAME_INLINE_SIZE];
                struct tachyon_message message;
                int r;

                while (!(copied = receive_copy(&exchange.ring, copy, &message)) &&
                       (r = receive(&exchange.ring, &message)) == -EAGAIN)
                        sched_yield();
                CHECK(copied || r == 0);
                CHECK_EQ(message.type_id, i);
                if (copied)
                        CHECK(matches(copy, message.size, i));
                else
                        CHECK_EQ(write(exchange.pipe[1], &message, sizeof(message)), sizeof(message));
        }
        close(exchange.pipe[1]);
        thread_join(producer);
        for (int i = 0; i < RELEASERS; i++)
                thread_join(releasers[i]);
        CHECK_EQ(atomic_load(&exchange.ring.read_position), exchange.ring.producer.position);
        CHECK_EQ(ring_leases_out(&exchange.ring.consumer), 0);
        close(exchange.pipe[0]);
        ring_close(&exchange.ring);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_every_size_arrives_whole);
        RUN(test_largest_message_fits_at_every_place);
        RUN(test_too_large_never_fits);
        RUN(test_full_ring_keeps_one_line_free);
        RUN(test_stale_payload_is_never_taken_for_a_frame);
        RUN(test_stale_payload_after_a_shrunk_reservation);
        RUN(test_reserve_commit_every_shrink);
        RUN(test_one_reservation_at_a_time);
        RUN(test_cancelled_is_never_seen);
        RUN(test_leases_released_in_every_order);
        RUN(test_what_is_no_lease_is_refused);
        RUN(test_copies_are_taken_only_where_nothing_is_leased);
        RUN(test_a_copy_half_passed_moves_nothing_else);
        RUN(test_leased_bytes_are_not_overwritten);
        RUN(test_no_room_is_held_back);
        RUN(test_a_position_past_the_cursor_is_noticed);
        RUN(test_records_of_every_size_arrive_whole);
        RUN(test_a_run_ends_at_another_size_or_type);
        RUN(test_records_are_messages);
        RUN(test_a_batch_without_its_first_stamp_is_not_there);
        RUN(test_forged_frames_break_the_protocol);
        RUN(test_forged_stamps_are_no_frames);
        RUN(test_forged_read_position_breaks_the_protocol);
        RUN(test_positions_pass_round_numbers);
        RUN(test_random_walk_against_a_queue);
        RUN(test_the_first_turn_is_the_connectors_once_it_waits);
        RUN(test_the_turn_passes_with_what_is_released);
        RUN(test_the_first_frame_to_follow_is_marked);
        RUN(test_what_was_not_sent_does_not_take_the_mark);
        RUN(test_nothing_is_marked_after_the_answer);
        RUN(test_a_full_ring_has_no_line);
        RUN(test_the_newest_is_known_by_either_place);
        RUN(test_what_came_before_what_was_put_back_stays_received);
        RUN(test_forged_stamps_on_the_line_are_no_messages);
        RUN(test_a_message_out_of_turn_is_a_breach);
        RUN(test_waiting_ends_no_lease);
        RUN(test_marks_without_a_message_on_the_line);
        RUN(test_releases_from_many_threads_lose_nothing);
        return tests_end();
}
