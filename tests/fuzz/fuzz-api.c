/* SPDX-License-Identifier: MIT */
/*
 * Two ends of a bus in one process, and every call of the public API, in any
 * order and with any arguments, against two plain queues. What a queue says
 * comes next must come, whole; what it says is full or empty must be.
 */
#include "fuzz.h"

#include <sys/socket.h>

#include "../../libtachyon/bus.h"
#include "../../libtachyon/os.h"

struct message {
        uint64_t size;
        uint32_t type_id;
        bool on_the_line; /* it took no place in the ring */
};

struct lease {
        struct message message; /* of a run: the first */
        uint64_t count;         /* messages */
        uint64_t lease;
        uint64_t number; /* of the first that was received, from 1 on */
        bool out;
};

/*
 * Leases, and those of the ring that were given back behind one that is out; then what is not received. All of it takes
 * room in the ring, but for what is on the exchange line.
 */
struct queue {
        struct lease leases[LINES];
        unsigned int n_leases;
        uint64_t received; /* messages */
        struct message waiting[LINES];
        unsigned int n_waiting;
        uint64_t reserved; /* size + 1 */
        void *reserved_data;
};

static struct half halves[2];
static struct frame line; /* both find it there */
static tachyon_bus *buses[2];
static struct queue queues[2]; /* queues[i]: sent by buses[i] */
static bool over[2];           /* closed by this side */
static struct input input;
static uint32_t number;

/* ---- making and ending -------------------------------------------------- */

static void pair_make(bool membarrier) {
        int data[2], room[2];

        fuzz_half(&halves[0]);
        fuzz_half(&halves[1]);
        memset((void *)&line, 0, sizeof(line));
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, data) == 0);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, room) == 0);
        for (int i = 0; i < 2; i++) {
                struct connection connection = CONNECTION_INIT;
                struct settings settings = { .kind = TACHYON_KIND_STREAM };

                connection.socket = data[i];
                connection.room = room[i];
                connection.ours = halves[i];
                connection.theirs = halves[!i];
                /* The two share these; they outlive all buses. */
                connection.ours.reservation = connection.theirs.reservation = NULL;
                connection.membarrier = membarrier;
                connection.exchange = &line;
                connection.is_listener = i;
                CHECK(bus_new(&buses[i], &connection, &settings) == 0);
                buses[i]->connection.exchange = NULL; /* nor is it theirs to unmap */
                queues[i] = (struct queue){ .n_waiting = 0 };
                over[i] = false;
        }
}

/* Leases keep a freed bus until the last of them is given back. */
static void end_free(int i) {
        struct queue *in = &queues[!i];

        tachyon_bus_free(buses[i]);
        for (unsigned int k = 0; k < in->n_leases; k++)
                if (in->leases[k].out)
                        CHECK(tachyon_bus_release(buses[i], in->leases[k].lease) == 0);
}

/* ---- the queues --------------------------------------------------------- */

static uint64_t queue_used(const struct queue *queue) {
        uint64_t used = 0;

        for (unsigned int i = 0; i < queue->n_leases; i++)
                if (!queue->leases[i].message.on_the_line)
                        used += queue->leases[i].count * frame_length(queue->leases[i].message.size, FRAME_INLINE_SIZE);
        for (unsigned int i = 0; i < queue->n_waiting; i++)
                if (!queue->waiting[i].on_the_line)
                        used += frame_length(queue->waiting[i].size, FRAME_INLINE_SIZE);
        return used;
}

static bool fits(const struct queue *queue, uint64_t size) {
        return queue_used(queue) + frame_length(size, FRAME_INLINE_SIZE) <= CAPACITY - FRAME_ALIGNMENT;
}

static void queue_sent(struct queue *queue, uint64_t size, uint32_t type_id, bool on_the_line) {
        CHECK(queue->n_waiting < LINES);
        queue->waiting[queue->n_waiting++] = (struct message){ size, type_id, on_the_line };
}

static void queue_received(struct queue *queue, uint64_t count, uint64_t lease) {
        CHECK(count && count <= queue->n_waiting && queue->n_leases < LINES);
        CHECK(!count || !queue->waiting[0].on_the_line || count == 1);
        queue->leases[queue->n_leases++] = (struct lease){ queue->waiting[0], count, lease, queue->received + 1, true };
        queue->received += count;
        queue->n_waiting -= (unsigned int)count;
        memmove(queue->waiting, queue->waiting + count, queue->n_waiting * sizeof(*queue->waiting));
}

/* What was given back leaves when nothing before it is out: of the ring, as the line has one place of its own. */
static void queue_clear(struct queue *queue) {
        bool out = false;
        unsigned int n = 0;

        for (unsigned int i = 0; i < queue->n_leases; i++) {
                const struct lease *lease = &queue->leases[i];

                if (!lease->message.on_the_line)
                        out |= lease->out;
                if (lease->out || (!lease->message.on_the_line && out))
                        queue->leases[n++] = *lease;
        }
        queue->n_leases = n;
}

static void fill(void *data, uint64_t size, uint32_t type_id) {
        for (uint64_t i = 0; i < size; i++)
                ((unsigned char *)data)[i] = (unsigned char)(type_id * 31 + i);
}

static void is_message(const struct message *message, const void *data) {
        for (uint64_t i = 0; i < message->size; i++)
                CHECK(((const unsigned char *)data)[i] == (unsigned char)(message->type_id * 31 + i));
}

/* ---- what a call may give ----------------------------------------------- */

static int64_t take_timeout(void) {
        return (int64_t)take(&input, 1) & 1; /* try, or go through all of a wait that is over at once */
}

/* Why bus i could not send what the queue has no room for, or does not want. */
static void is_send_error(int i, int64_t r, uint64_t size) {
        if (over[i])
                CHECK(r == -ECANCELED || r == -EMSGSIZE);
        else if (size > CAPACITY - 2 * FRAME_ALIGNMENT)
                CHECK(r == -EMSGSIZE);
        else if (over[!i])
                CHECK(r == -TACHYON_ECLOSED);
        else if (queues[i].reserved)
                CHECK(r == -EBUSY);
        else
                CHECK((r == -EAGAIN || r == -ETIMEDOUT) && !fits(&queues[i], size));
}

/* Why there was nothing for bus i. */
static void is_recv_error(int i, int64_t r) {
        const struct queue *in = &queues[!i];

        if (over[i]) {
                CHECK(r == -ECANCELED);
                return;
        }
        CHECK(!in->n_waiting);
        if (over[!i])
                CHECK(r == -TACHYON_ECLOSED);
        else
                CHECK(r == -EAGAIN || r == -ETIMEDOUT || (r == -TACHYON_ELEASES && in->n_leases));
}

/* ---- sending ------------------------------------------------------------ */

static uint64_t take_size(void) {
        uint64_t size = take(&input, 1);

        return size < 0xc0 ? size : (size - 0xc0) * 65;
}

static void do_send(int i) {
        static unsigned char data[2 * CAPACITY];
        uint64_t size = take_size();
        uint64_t position = buses[i]->out.position;
        int r;

        fill(data, size, ++number);
        r = tachyon_bus_send(buses[i], data, size, number, take_timeout());
        if (r == 0 && !over[!i])
                CHECK(fits(&queues[i], size) && !queues[i].reserved && !over[i]);
        if (r < 0)
                is_send_error(i, r, size);
        else
                queue_sent(&queues[i], size, number, buses[i]->out.position == position);
}

static void do_reserve(int i) {
        struct queue *out = &queues[i];
        uint64_t size = take_size();
        void *data;
        int r = tachyon_bus_reserve(buses[i], &data, size, take_timeout());

        if (r < 0) {
                is_send_error(i, r, size);
                return;
        }
        CHECK(!out->reserved && fits(out, size));
        fill(data, size, number + 1);
        out->reserved = size + 1;
        out->reserved_data = data;
}

static void do_commit(int i) {
        struct queue *out = &queues[i];
        uint64_t size = take_size(), reserved = out->reserved;
        int r;

        if (reserved && take(&input, 1) & 1)
                size = reserved - 1;
        if (reserved)
                fill(out->reserved_data, size < reserved ? size : reserved - 1, ++number);
        r = tachyon_bus_commit(buses[i], size, number);
        if (over[i]) {
                CHECK(r == -ECANCELED);
                return;
        }
        if (!reserved || size >= reserved) {
                CHECK(r == -EINVAL);
                return;
        }
        CHECK(r == 0 || (r == -TACHYON_ECLOSED && over[!i]));
        out->reserved = 0;
        queue_sent(out, size, number, false);
}

static void do_cancel(int i) {
        CHECK(tachyon_bus_cancel(buses[i]) == (over[i] ? -ECANCELED : 0));
        if (!over[i])
                queues[i].reserved = 0;
}

static void do_send_records(int i) {
        static unsigned char data[LINES * 200];
        uint64_t size = take(&input, 1) % 200, count = take(&input, 1) % LINES;
        int64_t n;

        for (uint64_t k = 0; k < count && size; k++)
                fill(data + k * size, size, number + 1); /* all alike: they have one type */
        n = tachyon_bus_send_records(buses[i], data, size, count, ++number, take_timeout());
        if (!size) {
                CHECK(n == -EINVAL);
                return;
        }
        if (n < 0)
                is_send_error(i, n, size);
        for (int64_t k = 0; k < n; k++)
                queue_sent(&queues[i], size, number, false);
}

/* ---- receiving ---------------------------------------------------------- */

static void got(int i, const tachyon_message *message) {
        struct queue *in = &queues[!i];

        CHECK(in->n_waiting && message->size == in->waiting[0].size && message->type_id == in->waiting[0].type_id);
        CHECK(in->waiting[0].on_the_line == (message->data == line.payload) && in->waiting[0].on_the_line == message->lease % 2);
        is_message(&in->waiting[0], message->data);
        queue_received(in, 1, message->lease);
}

static void do_recv(int i) {
        tachyon_message message;
        int r = tachyon_bus_recv(buses[i], &message, take_timeout());

        if (r == 0)
                got(i, &message);
        else
                is_recv_error(i, r);
}

/* No lease: one that is over at once, and that nobody can name. */
static void do_recv_copy(int i) {
        static unsigned char data[2 * CAPACITY];
        struct queue *in = &queues[!i];
        uint64_t capacity = take_size();
        uint32_t type_id;
        int64_t n = tachyon_bus_recv_copy(buses[i], data, capacity, &type_id, take_timeout());

        if (n == -EMSGSIZE)
                CHECK(in->n_waiting && in->waiting[0].size > capacity);
        else if (n < 0)
                is_recv_error(i, n);
        if (n < 0)
                return;
        CHECK(in->n_waiting && (uint64_t)n == in->waiting[0].size && type_id == in->waiting[0].type_id);
        is_message(&in->waiting[0], data);
        queue_received(in, 1, UINT64_MAX);
        in->leases[in->n_leases - 1].out = false;
        queue_clear(in);
}

static void do_recv_batch(int i) {
        static tachyon_message messages[LINES];
        size_t max = take(&input, 1) % LINES;
        int n = tachyon_bus_recv_batch(buses[i], messages, max, take_timeout());

        if (!max)
                CHECK(n == -EINVAL);
        else if (n < 0)
                is_recv_error(i, n);
        CHECK(n <= (int)max);
        for (int k = 0; k < n; k++)
                got(i, &messages[k]);
}

static void do_recv_records(int i) {
        struct queue *in = &queues[!i];
        uint64_t size = take(&input, 1) % 200, max = take(&input, 1);
        uint32_t type_id = in->n_waiting ? in->waiting[0].type_id : 0, wanted = type_id + (take(&input, 1) & 1);
        bool any = take(&input, 1) & 1;
        tachyon_records records;
        int64_t n;

        if (in->n_waiting && take(&input, 1) & 1)
                size = in->waiting[0].size;
        n = tachyon_bus_recv_records(buses[i], &records, size, max, any ? NULL : &wanted, take_timeout());
        if (!size || !max)
                CHECK(n == -EINVAL);
        else if (n == -EMSGSIZE)
                CHECK(in->n_waiting && in->waiting[0].size != size);
        else if (n == -EBADMSG)
                CHECK(in->n_waiting && !any && wanted != type_id);
        else if (n < 0)
                is_recv_error(i, n);
        if (n <= 0)
                return;
        CHECK((uint64_t)n <= max && n <= in->n_waiting);
        for (int64_t k = 0; k < n; k++) {
                CHECK(in->waiting[k].size == size && (any || in->waiting[k].type_id == wanted));
                is_message(&in->waiting[k], (const unsigned char *)records.data + (uint64_t)k * records.stride);
        }
        queue_received(in, (uint64_t)n, records.lease);
}

static void do_put_back(int i) {
        struct queue *in = &queues[!i];
        struct lease *last = in->n_leases ? &in->leases[in->n_leases - 1] : NULL;
        tachyon_message message = { .lease = last ? last->lease : take(&input, 2) };
        int r;

        if (last && last->count > 1)
                return;
        message.size = last ? last->message.size : 0;
        r = tachyon_bus_put_back(buses[i], &message);
        if (over[i] || !last || !last->out || last->number != in->received) {
                CHECK(r == (over[i] ? -ECANCELED : -EINVAL));
                return;
        }
        CHECK(r == 0);
        memmove(in->waiting + 1, in->waiting, in->n_waiting++ * sizeof(*in->waiting));
        in->waiting[0] = last->message;
        in->n_leases--;
        in->received--;
        queue_clear(in);
}

static void do_release(int i) {
        struct queue *in = &queues[!i];
        struct lease *lease = in->n_leases ? &in->leases[take(&input, 1) % in->n_leases] : NULL;
        int r = tachyon_bus_release(buses[i], lease ? lease->lease : take(&input, 2));

        CHECK(r == (lease && lease->out ? 0 : -EINVAL));
        if (lease)
                lease->out = false;
        queue_clear(in);
}

static void do_release_batch(int i) {
        struct queue *in = &queues[!i];
        static tachyon_message messages[LINES];
        unsigned int n = 0, from = in->n_leases ? (unsigned int)take(&input, 1) % in->n_leases : 0;

        for (unsigned int k = from; k < in->n_leases; k++) {
                if (!in->leases[k].out)
                        continue;
                messages[n++].lease = in->leases[k].lease;
                in->leases[k].out = false;
        }
        CHECK(tachyon_bus_release_batch(buses[i], messages, n) == 0);
        queue_clear(in);
}

/* ---- waiting, and the rest ---------------------------------------------- */

static void do_wait_data(int i) {
        int r = tachyon_bus_wait_data(buses[i], take_timeout());

        if (r == 0)
                CHECK(queues[!i].n_waiting);
        else
                is_recv_error(i, r);
}

static void do_wait_space(int i) {
        uint64_t size = take_size();
        int r = tachyon_bus_wait_space(buses[i], size, take_timeout());

        if (r == 0)
                CHECK(fits(&queues[i], size) && !queues[i].reserved);
        else
                is_send_error(i, r, size);
}

static void do_arm(int i) {
        int r = tachyon_bus_arm(buses[i]);

        if (over[i])
                CHECK(r == -ECANCELED);
        else
                CHECK(r == 1 || (r == 0 && !queues[!i].n_waiting && !over[!i]));
}

static void do_arm_space(int i) {
        uint64_t size = take_size();
        int r = tachyon_bus_arm_space(buses[i], size);

        if (r < 0)
                CHECK(r == (size > CAPACITY - 2 * FRAME_ALIGNMENT ? -EMSGSIZE : over[i] ? -ECANCELED : -EBUSY));
        else
                CHECK(!over[i] && (r == 1 || !fits(&queues[i], size)));
        if (take(&input, 1) & 1)
                CHECK(tachyon_bus_disarm_space(buses[i]) == (over[i] ? -ECANCELED : 0));
}

static void do_wait_any(void) {
        unsigned char ready[2] = { 0, 0 };
        int r = tachyon_bus_wait_any(buses, 2, ready, take_timeout());

        if (r > 0)
                CHECK(r == ready[0] + ready[1]);
        else
                CHECK((r == -EAGAIN || r == -ETIMEDOUT) && !queues[0].n_waiting && !queues[1].n_waiting);
}

static void do_facts(int i) {
        tachyon_properties properties = { .struct_size = sizeof(properties) };
        tachyon_stats stats = { .struct_size = sizeof(stats) };
        const struct queue *in = &queues[!i];
        uint64_t out = 0;

        CHECK(tachyon_bus_properties(buses[i], &properties) == 0 && properties.recv_capacity == CAPACITY);
        CHECK(tachyon_bus_stats(buses[i], &stats) == 0);
        for (unsigned int k = 0; k < in->n_leases; k++)
                out += in->leases[k].out;
        CHECK(stats.leases == out);
        CHECK(over[0] || over[1] || stats.send_used == queue_used(&queues[i]));
}

static void do_close(int i) {
        if (take(&input, 1) & 3)
                return;
        tachyon_bus_close(buses[i]);
        over[i] = true;
}

static void (*const calls[])(int) = {
        do_send,     do_send,    do_recv,         do_recv_copy, do_release,    do_release,       do_reserve,
        do_commit,   do_cancel,  do_send_records, do_recv_batch, do_recv_records, do_put_back,   do_release_batch,
        do_wait_data, do_wait_space, do_arm,      do_arm_space, do_facts,      do_close,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        uint64_t what;

        input = (struct input){ data, size };
        number = 0;
        pair_make(os_barrier_register() && take(&input, 1) & 1);
        while (input.left) {
                what = take(&input, 1);
                if (what == 0xff)
                        do_wait_any();
                else
                        calls[what / 2 % (sizeof(calls) / sizeof(*calls))](what & 1);
        }
        end_free(0);
        end_free(1);
        return 0;
}
