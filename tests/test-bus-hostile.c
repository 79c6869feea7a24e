/* SPDX-License-Identifier: MIT */
/*
 * A peer that has shaken hands honestly and then does what it likes with its
 * own memory and its own descriptors, which is all that it has. Whatever it
 * does, calls return, the first breach ends the bus with -EPROTO, and nothing
 * is touched that is not ours to touch.
 */
#include "test-bus.h"

#include "../libtachyon/bus.h"

#define PAGE 4096u
#define LARGEST (PAGE - 128)

struct hostile {
        tachyon_bus *bus;              /* the victim's end */
        struct connection connection;  /* the attacker's */
        unsigned char *ring;           /* which the victim receives from */
        struct half_control *control;  /* which the victim believes */
        const struct half_control *victim;
        uint64_t position;             /* of the next frame */
};

static void *hostile_connect(void *context) {
        struct hostile *hostile = context;
        struct settings settings;

        CHECK_EQ(settings_init(&settings, NULL), 0);
        CHECK_EQ(handshake_connect(&hostile->connection, connect_mute(path_of("victim")), &settings,
                                   deadline_after(LONG), "victim"), 0);
        return NULL;
}

static void hostile_open(struct hostile *hostile) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        tachyon_listener *listener;
        pthread_t thread;

        *hostile = (struct hostile){ .connection = CONNECTION_INIT };
        options.capacity = PAGE;
        CHECK_EQ(tachyon_listener_create(&listener, path_of("victim"), &options), 0);
        thread = thread_start(hostile_connect, hostile);
        CHECK_EQ(tachyon_listener_accept(listener, &hostile->bus, LONG), 0);
        thread_join(thread);
        tachyon_listener_free(listener);
        hostile->ring = hostile->connection.ours.ring;
        hostile->control = hostile->connection.ours.control;
        hostile->victim = hostile->connection.theirs.control;
}

static void hostile_close(struct hostile *hostile) {
        tachyon_bus_free(hostile->bus);
        connection_destroy(&hostile->connection);
}

static struct frame *hostile_frame(struct hostile *hostile) {
        return (void *)(hostile->ring + hostile->position % PAGE);
}

static void hostile_send(struct hostile *hostile, uint64_t stamp, uint32_t size) {
        struct frame *frame = hostile_frame(hostile);

        atomic_store(&frame->size, size);
        atomic_store(&frame->type_id, 1);
        atomic_store(&frame->stamp, stamp);
}

static void hostile_send_honestly(struct hostile *hostile, uint32_t size) {
        CHECK(size <= FRAME_INLINE_SIZE);
        fill(hostile_frame(hostile)->payload, size, 1);
        hostile_send(hostile, hostile->position | FRAME_VALID, size);
        hostile->position += FRAME_ALIGNMENT;
}

/* Over for every call; what was leased before stays readable; the attacker is hung up on. */
static void is_broken(struct hostile *hostile) {
        struct pollfd hangup = { .fd = hostile->connection.socket };
        tachyon_message message;
        void *data;

        CHECK_EQ(tachyon_bus_recv(hostile->bus, &message, -1), -EPROTO);
        CHECK_EQ(tachyon_bus_recv_batch(hostile->bus, &message, 1, 0), -EPROTO);
        CHECK_EQ(tachyon_bus_send(hostile->bus, "x", 1, 0, -1), -EPROTO);
        CHECK_EQ(tachyon_bus_reserve(hostile->bus, &data, 1, -1), -EPROTO);
        CHECK_EQ(tachyon_bus_wait_data(hostile->bus, -1), -EPROTO);
        CHECK_EQ(tachyon_bus_wait_space(hostile->bus, 1, -1), -EPROTO);
        CHECK_EQ(tachyon_bus_arm(hostile->bus), -EPROTO);
        CHECK_EQ(poll(&hangup, 1, -1), 1);
        CHECK(hangup.revents & POLLHUP);
}

/* ---- frames ------------------------------------------------------------- */

static void forged_frame(uint64_t flags, uint32_t size) {
        tachyon_message leased, message = { .size = 77 };
        struct hostile hostile;

        hostile_open(&hostile);
        hostile_send_honestly(&hostile, 48);
        CHECK_EQ(tachyon_bus_recv(hostile.bus, &leased, -1), 0);
        hostile_send(&hostile, hostile.position | flags, size);
        CHECK_EQ(tachyon_bus_recv(hostile.bus, &message, -1), -EPROTO);
        CHECK_DETAIL("frame");
        CHECK_EQ(message.size, 77);
        is_broken(&hostile);
        CHECK(matches(leased.data, 48, 1));
        CHECK_EQ(tachyon_bus_release(hostile.bus, leased.lease), 0);
        CHECK_EQ(tachyon_bus_release(hostile.bus, leased.lease), -EINVAL);
        hostile_close(&hostile);
}

static void test_forged_frames_end_the_bus(void) {
        forged_frame(FRAME_VALID, PAGE);
        forged_frame(FRAME_VALID, LARGEST - 63); /* would fit, but for the lease */
        forged_frame(FRAME_VALID, UINT32_MAX);
        for (uint64_t flag = 2; flag <= FRAME_FLAGS_MASK; flag <<= 1)
                if (flag != FRAME_FOLLOWS)
                        forged_frame(FRAME_VALID | flag, 8);
        forged_frame(FRAME_VALID | FRAME_FOLLOWS, LARGEST - 63);
}

/* On the exchange line, which the victim writes, too. */
static void hostile_exchange(struct hostile *hostile, uint64_t stamp, uint32_t size) {
        atomic_store(&hostile->connection.exchange->size, size);
        atomic_store(&hostile->connection.exchange->type_id, 1);
        atomic_store(&hostile->connection.exchange->stamp, stamp);
}

static void test_forged_sizes_on_the_line_end_the_bus(void) {
        const uint32_t sizes[] = { FRAME_INLINE_SIZE + 1, FRAME_ALIGNMENT, PAGE, UINT32_MAX };
        tachyon_records records;
        tachyon_message message;
        unsigned char copy[PAGE];
        struct hostile hostile;

        for (size_t i = 0; i < 4 * sizeof(sizes) / sizeof(sizes[0]); i++) {
                uint32_t size = sizes[i / 4];

                hostile_open(&hostile);
                hostile_exchange(&hostile, FRAME_VALID, size);
                if (i % 4 == 0)
                        CHECK_EQ(tachyon_bus_recv(hostile.bus, &message, -1), -EPROTO);
                else if (i % 4 == 1)
                        CHECK_EQ(tachyon_bus_recv_copy(hostile.bus, copy, sizeof(copy), NULL, -1), -EPROTO);
                else if (i % 4 == 2)
                        CHECK_EQ(tachyon_bus_recv_copy(hostile.bus, copy, sizeof(copy), NULL, 0), -EPROTO);
                else
                        CHECK_EQ(tachyon_bus_recv_records(hostile.bus, &records, size, 1, NULL, -1), -EPROTO);
                is_broken(&hostile);
                hostile_close(&hostile);
        }
}

#define ASKED(odd) (FRAME_VALID | ((odd) ? FRAME_ODD : 0))

/* What a call makes of a message on the line that cannot be: it may not be our turn to be written to. */
static void receives_out_of_turn(struct hostile *hostile, unsigned way) {
        tachyon_message message = { .size = 77 };
        unsigned char copy[FRAME_INLINE_SIZE];
        tachyon_records records;

        switch (way) {
        case 0:
                CHECK_EQ(tachyon_bus_recv(hostile->bus, &message, -1), -EPROTO);
                CHECK_EQ(message.size, 77);
                break;
        case 1:
                CHECK_EQ(tachyon_bus_recv_copy(hostile->bus, copy, sizeof(copy), NULL, -1), -EPROTO);
                break;
        case 2:
                CHECK_EQ(tachyon_bus_recv_copy(hostile->bus, copy, sizeof(copy), NULL, 0), -EPROTO);
                break;
        case 3:
                CHECK_EQ(tachyon_bus_recv_records(hostile->bus, &records, 8, 1, NULL, -1), -EPROTO);
                break;
        default:
                CHECK_EQ(tachyon_bus_recv_batch(hostile->bus, &message, 1, -1), -EPROTO);
        }
        CHECK_DETAIL("frame");
        is_broken(hostile);
}

/* Twice in a row, while the first is leased, released, or copied: it gave the turn away. What is leased stays so. */
static void test_a_message_on_the_line_out_of_turn_ends_the_bus(void) {
        for (unsigned i = 0; i < 5 * 3; i++) {
                tachyon_message leased, ring;
                struct hostile hostile;

                hostile_open(&hostile);
                hostile_exchange(&hostile, ASKED(0), 8);
                CHECK_EQ(tachyon_bus_recv(hostile.bus, &leased, -1), 0);
                CHECK(leased.data == hostile.bus->connection.exchange->payload);
                hostile_send_honestly(&hostile, 48);
                CHECK_EQ(tachyon_bus_recv(hostile.bus, &ring, -1), 0);
                if (i / 5 == 1)
                        CHECK_EQ(tachyon_bus_release(hostile.bus, leased.lease), 0);
                hostile_exchange(&hostile, hostile.position | ASKED(1), i / 5 == 2 ? UINT32_MAX : 8);
                receives_out_of_turn(&hostile, i % 5);
                CHECK(matches(ring.data, 48, 1));
                CHECK_EQ(tachyon_bus_release(hostile.bus, leased.lease), i / 5 == 1 ? -EINVAL : 0);
                CHECK_EQ(tachyon_bus_release(hostile.bus, ring.lease), 0);
                CHECK_EQ(tachyon_bus_release(hostile.bus, ring.lease), -EINVAL);
                hostile_close(&hostile);
        }
}

/* The line is written over while it is leased, or with other stamps: nonsense to read, and else as if nothing were. */
static void test_the_line_scribbled_on_at_any_time(void) {
        tachyon_message message;
        uint64_t random = 1;
        struct hostile hostile;
        struct frame *line;

        hostile_open(&hostile);
        line = hostile.connection.exchange;
        for (uint64_t i = 0; i < 2000; i++) {
                uint64_t stamp;

                hostile_exchange(&hostile, hostile.position | ASKED(i % 2), (uint32_t)(i % 49));
                CHECK_EQ(tachyon_bus_recv(hostile.bus, &message, -1), 0);
                CHECK_EQ(message.size, i % 49);
                for (int k = 0; k < 8; k++) /* any but the one that would be new */
                        do {
                                stamp = next_random(&random);
                                if (k % 2)
                                        stamp = (hostile.position + (stamp >> 32) % 3 * FRAME_ALIGNMENT) | stamp % 64;
                                hostile_exchange(&hostile, stamp, (uint32_t)next_random(&random));
                        } while (stamp == (hostile.position | ASKED(i % 2 == 0)));
                CHECK(message.data == hostile.bus->connection.exchange->payload && message.size == i % 49);
                CHECK_EQ(tachyon_bus_recv(hostile.bus, &(tachyon_message){ 0 }, 0), -EAGAIN);
                hostile_send_honestly(&hostile, 1);
                CHECK_EQ(tachyon_bus_recv_copy(hostile.bus, &stamp, 8, NULL, -1), 1);
                CHECK_EQ(tachyon_bus_release(hostile.bus, message.lease), 0);
                CHECK_EQ(tachyon_bus_release(hostile.bus, message.lease), -EINVAL);
                /* The answer goes there, as if it were ours alone. */
                CHECK_EQ(tachyon_bus_send(hostile.bus, "answer", 6, 1, 0), 0);
                CHECK_EQ(line->stamp, FRAME_VALID | FRAME_BY_LISTENER | (i % 2 ? FRAME_ODD : 0));
                CHECK(line->size == 6 && memcmp(line->payload, "answer", 6) == 0);
        }
        hostile_close(&hostile);
}

/* Marked as if something were there before it: it is looked for, and that is all. */
static void test_marked_frames_with_nothing_on_the_line(void) {
        tachyon_message message;
        tachyon_records records;
        struct hostile hostile;
        uint64_t word;

        hostile_open(&hostile);
        for (uint64_t i = 0; i < 300; i++) {
                hostile_send(&hostile, hostile.position | FRAME_VALID | FRAME_FOLLOWS, 8);
                hostile.position += FRAME_ALIGNMENT;
                if (i % 3 == 0) {
                        CHECK_EQ(tachyon_bus_recv_copy(hostile.bus, &word, 8, NULL, -1), 8);
                } else if (i % 3 == 1) {
                        CHECK_EQ(tachyon_bus_recv_records(hostile.bus, &records, 8, 9, NULL, -1), 1);
                        CHECK_EQ(tachyon_bus_release(hostile.bus, records.lease), 0);
                } else {
                        CHECK_EQ(tachyon_bus_recv(hostile.bus, &message, -1), 0);
                        CHECK_EQ(message.flags, 0);
                        CHECK_EQ(tachyon_bus_release(hostile.bus, message.lease), 0);
                }
        }
        hostile_close(&hostile);
}

static void test_forged_records_end_the_bus(void) {
        tachyon_records records;
        struct hostile hostile;

        hostile_open(&hostile);
        hostile_send(&hostile, FRAME_VALID, UINT32_MAX);
        CHECK_EQ(tachyon_bus_recv_records(hostile.bus, &records, UINT32_MAX, 1, NULL, -1), -EPROTO);
        is_broken(&hostile);
        hostile_close(&hostile);
}

/* A ring written round and round, as if nothing were leased: only what can be there is taken. */
static void test_a_ring_written_without_end(void) {
        tachyon_message messages[2 * PAGE / 64];
        struct hostile hostile;
        size_t total = 0;
        int n;

        hostile_open(&hostile);
        for (;;) {
                for (int i = 0; i < 7; i++)
                        hostile_send_honestly(&hostile, 1);
                n = tachyon_bus_recv_batch(hostile.bus, messages + total, PAGE / 64, 0);
                if (n < 0)
                        break;
                total += (size_t)n;
                CHECK(total < PAGE / 64);
        }
        CHECK(n == -EPROTO || n == -TACHYON_ELEASES);
        CHECK_EQ(total, PAGE / 64 - 1);
        CHECK_EQ(tachyon_bus_release_batch(hostile.bus, messages, total), 0);
        hostile_close(&hostile);
}

/* Checked once, used from the copy: what changes afterwards does no harm. */
static void test_a_frame_that_changes_while_it_is_leased(void) {
        tachyon_message message;
        struct hostile hostile;

        hostile_open(&hostile);
        for (int i = 0; i < 500; i++) {
                struct frame *frame = hostile_frame(&hostile);

                hostile_send_honestly(&hostile, 48);
                CHECK_EQ(tachyon_bus_recv(hostile.bus, &message, -1), 0);
                atomic_store(&frame->size, UINT32_MAX);
                atomic_store(&frame->stamp, UINT64_MAX);
                CHECK_EQ(message.size, 48);
                CHECK_EQ(tachyon_bus_release(hostile.bus, message.lease), 0);
                CHECK_EQ(tachyon_bus_recv(hostile.bus, &message, 0), -EAGAIN);
                CHECK_EQ(stats_of(hostile.bus).recv_used, 0);
        }
        hostile_close(&hostile);
}

/* ---- words -------------------------------------------------------------- */

static void test_forged_read_positions_end_the_bus(void) {
        const uint64_t impossible[] = { 64 * 64, 1, 63 * 64 + 1, UINT64_MAX, UINT64_C(1) << 63 };

        for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
                struct hostile hostile;

                hostile_open(&hostile);
                while (tachyon_bus_try_send(hostile.bus, "x", 1, 0) == 0)
                        ;
                atomic_store(&hostile.control->read_position, impossible[i]);
                CHECK_EQ(tachyon_bus_send(hostile.bus, "x", 1, 0, -1), -EPROTO);
                is_broken(&hostile);
                hostile_close(&hostile);
        }
}

static void test_forged_states_and_requests(void) {
        tachyon_message message;
        struct hostile hostile;

        hostile_open(&hostile);
        atomic_store(&hostile.control->state, 77);
        atomic_store(&hostile.control->requests, UINT32_MAX);
        atomic_store(&hostile.control->data_waiting, WAITING_CLOSED);
        atomic_store(&hostile.control->space_waiting, WAITING_CLOSED);
        CHECK_EQ(tachyon_bus_send(hostile.bus, "x", 1, 0, 0), 0);
        hostile_send_honestly(&hostile, 5);
        CHECK_EQ(tachyon_bus_recv(hostile.bus, &message, -1), 0);
        CHECK_EQ(tachyon_bus_release(hostile.bus, message.lease), 0);
        CHECK_EQ(tachyon_bus_recv(hostile.bus, &message, MS), -ETIMEDOUT);
        atomic_store(&hostile.control->state, HALF_CLOSED); /* and goes on sending */
        hostile_send_honestly(&hostile, 5);
        CHECK_EQ(tachyon_bus_recv(hostile.bus, &message, -1), 0);
        CHECK_EQ(tachyon_bus_release(hostile.bus, message.lease), 0);
        CHECK_EQ(tachyon_bus_recv(hostile.bus, &message, -1), -TACHYON_ECLOSED);
        hostile_close(&hostile);
}

static void test_forged_space_targets(void) {
        const uint64_t targets[] = { 1, PAGE, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX };
        tachyon_message leased, message;

        for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
                struct hostile hostile;
                int r;

                hostile_open(&hostile);
                atomic_store(&hostile.control->space_target, targets[i]);
                atomic_store(&hostile.control->space_waiting, 5);
                CHECK_EQ(tachyon_bus_recv(hostile.bus, &message, MS), -ETIMEDOUT); /* no leases, no error */
                hostile_send_honestly(&hostile, 5);
                CHECK_EQ(tachyon_bus_recv(hostile.bus, &leased, -1), 0);
                r = tachyon_bus_recv(hostile.bus, &message, MS);
                CHECK(r == -TACHYON_ELEASES || r == -ETIMEDOUT);
                CHECK_EQ(tachyon_bus_release(hostile.bus, leased.lease), 0);
                hostile_close(&hostile);
        }
}

/* ---- doorbells ---------------------------------------------------------- */

static void flood(int socket) {
        unsigned char bytes[256];

        memset(bytes, DOORBELL_RING, sizeof(bytes));
        CHECK_EQ(send(socket, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT), sizeof(bytes));
}

static void test_a_flood_of_doorbells_ends_the_bus(void) {
        tachyon_message message;
        struct hostile hostile;

        hostile_open(&hostile);
        flood(hostile.connection.socket);
        CHECK_EQ(tachyon_bus_recv(hostile.bus, &message, -1), -EPROTO);
        is_broken(&hostile);
        hostile_close(&hostile);

        hostile_open(&hostile);
        flood(hostile.connection.room);
        while (tachyon_bus_try_send(hostile.bus, "x", 1, 0) == 0)
                ;
        CHECK_EQ(tachyon_bus_send(hostile.bus, "x", 1, 0, -1), -EPROTO);
        is_broken(&hostile);
        hostile_close(&hostile);

        hostile_open(&hostile);
        flood(hostile.connection.socket);
        CHECK_EQ(tachyon_bus_arm(hostile.bus), -EPROTO);
        is_broken(&hostile);
        hostile_close(&hostile);
}

static void test_a_doorbell_that_is_never_answered_does_not_block_us(void) {
        struct hostile hostile;

        hostile_open(&hostile);
        for (uint32_t epoch = 1; epoch < 3000; epoch++) {
                atomic_store(&hostile.control->data_waiting, epoch);
                atomic_store(&hostile.control->read_position, 64 * (uint64_t)(epoch - 1));
                CHECK_EQ(tachyon_bus_send(hostile.bus, "x", 1, 0, 0), 0);
        }
        hostile_close(&hostile);
}

/* Half an end is an end: not a wait for ever, and not a processor burnt. */
static void test_half_closed_sockets(void) {
        tachyon_message message;
        struct hostile hostile;

        hostile_open(&hostile);
        CHECK_EQ(shutdown(hostile.connection.socket, SHUT_WR), 0);
        CHECK_EQ(tachyon_bus_recv(hostile.bus, &message, -1), -TACHYON_EPEERDEAD);
        hostile_close(&hostile);

        hostile_open(&hostile);
        hostile.connection.room = close_fd(hostile.connection.room);
        while (tachyon_bus_try_send(hostile.bus, "x", 1, 0) == 0)
                ;
        CHECK_EQ(tachyon_bus_send(hostile.bus, "x", 1, 0, -1), -TACHYON_EPEERDEAD);
        hostile_close(&hostile);
}

/* ---- everything at once ------------------------------------------------- */

struct scribbler {
        struct hostile *hostile;
        uint64_t seed;
        atomic_bool over;
};

/* A word that may hurt: near something true, or anything. */
static uint64_t nasty_word(struct hostile *hostile, uint64_t *random) {
        uint64_t cursor = atomic_load(&hostile->victim->read_position);

        switch (next_random(random) % 4) {
        case 0:
                return (cursor + next_random(random) % 8 * 64) | (next_random(random) % 64);
        case 1:
                return next_random(random) % 5000;
        case 2:
                return (cursor & ~UINT64_C(63)) | FRAME_VALID;
        default:
                return next_random(random);
        }
}

static void *scribble(void *context) {
        struct scribbler *scribbler = context;
        struct hostile *hostile = scribbler->hostile;
        uint64_t random = scribbler->seed;

        while (!atomic_load(&scribbler->over)) {
                uint64_t word = nasty_word(hostile, &random);

                switch (next_random(&random) % 8) {
                case 0:
                        atomic_store(&hostile->control->read_position, word);
                        break;
                case 1:
                        atomic_store(&hostile->control->data_waiting, (uint32_t)word);
                        atomic_store(&hostile->control->space_waiting, (uint32_t)word);
                        atomic_store(&hostile->control->space_target, word);
                        break;
                case 2:
                case 3:
                        hostile_exchange(hostile, word, (uint32_t)(next_random(&random) % 64));
                        break;
                default:
                        atomic_store((_Atomic uint64_t *)(void *)(hostile->ring + next_random(&random) % PAGE / 8 * 8),
                                     word);
                }
        }
        return NULL;
}

/* All that may happen is one of the documented results; the payload is read to its last byte. */
static void use_victim(tachyon_bus *bus, uint64_t *random) {
        tachyon_message messages[8];
        unsigned char sum = 0;
        int n;

        switch (next_random(random) % 3) {
        case 0:
                n = tachyon_bus_send(bus, "12345678901234567890123456789012345678901234567890", 50, 1,
                                     (int64_t)(next_random(random) % 2) * 100000);
                CHECK(n == 0 || n == -EAGAIN || n == -ETIMEDOUT || n == -EPROTO);
                break;
        default:
                n = tachyon_bus_recv_batch(bus, messages, 8, (int64_t)(next_random(random) % 2) * 100000);
                CHECK(n > 0 || n == -EAGAIN || n == -ETIMEDOUT || n == -EPROTO || n == -TACHYON_ELEASES);
                for (int i = 0; i < n; i++) {
                        CHECK(messages[i].size <= LARGEST);
                        for (uint64_t j = 0; j < messages[i].size; j++)
                                sum ^= ((const unsigned char *)messages[i].data)[j];
                        CHECK_EQ(tachyon_bus_release(bus, messages[i].lease), 0);
                }
                *random += sum;
        }
}

/* It asked for a doorbell, and is gone when it is rung: what it had read by then was sent. */
static void test_a_peer_that_ends_before_its_doorbell(void) {
        for (uint64_t read = 0; read <= 64; read += 64) {
                struct hostile hostile;

                hostile_open(&hostile);
                atomic_store(&hostile.control->read_position, read);
                atomic_store(&hostile.control->data_waiting, 1);
                CHECK_EQ(shutdown(hostile.connection.socket, SHUT_RDWR), 0);
                CHECK_EQ(tachyon_bus_send(hostile.bus, "x", 1, 0, 0), read ? 0 : -TACHYON_EPEERDEAD);
                CHECK_EQ(tachyon_bus_send(hostile.bus, "x", 1, 0, 0), -TACHYON_EPEERDEAD);
                hostile_close(&hostile);
        }
}

static void test_scribbling_over_everything(void) {
        for (uint64_t seed = 1; seed <= 40; seed++) {
                struct hostile hostile;
                struct scribbler scribbler = { .hostile = &hostile, .seed = seed * 7919 };
                uint64_t random = seed;
                pthread_t thread;

                hostile_open(&hostile);
                thread = thread_start(scribble, &scribbler);
                for (int i = 0; i < 300; i++)
                        use_victim(hostile.bus, &random);
                atomic_store(&scribbler.over, true);
                thread_join(thread);
                hostile_close(&hostile);
        }
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_forged_frames_end_the_bus);
        RUN(test_forged_sizes_on_the_line_end_the_bus);
        RUN(test_a_message_on_the_line_out_of_turn_ends_the_bus);
        RUN(test_the_line_scribbled_on_at_any_time);
        RUN(test_marked_frames_with_nothing_on_the_line);
        RUN(test_forged_records_end_the_bus);
        RUN(test_a_ring_written_without_end);
        RUN(test_a_frame_that_changes_while_it_is_leased);
        RUN(test_forged_read_positions_end_the_bus);
        RUN(test_forged_states_and_requests);
        RUN(test_forged_space_targets);
        RUN(test_a_flood_of_doorbells_ends_the_bus);
        RUN(test_a_doorbell_that_is_never_answered_does_not_block_us);
        RUN(test_half_closed_sockets);
        RUN(test_a_peer_that_ends_before_its_doorbell);
        RUN(test_scribbling_over_everything);
        return tests_end();
}
