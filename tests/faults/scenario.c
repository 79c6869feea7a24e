/* SPDX-License-Identifier: MIT */
/* What the library is made to do while its calls of the system fail; see faults.h. */
#include "faults.h"
#include "wrap.h"

#define CAPACITY 4096
/* Signals and a moment's shortage are for the caller to try again; not for ever. */
#define MOST_TRIES 5
#define MESSAGES 70

static struct outcome *outcome;
static int64_t patience;

static tachyon_options the_options(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;

        options.capacity = CAPACITY;
        options.spin_ns = -1;
        options.handshake_timeout_ns = 20 * SECOND;
        options.flags = TACHYON_PREFAULT | TACHYON_MLOCK;
        options.socket_mode = 0666; /* more than the umask allows */
        return options;
}

/* Notes an error; true where the scenario goes on. EINTR is no failure: the call is made again. */
static bool goes_on(const char *what, int64_t r) {
        if (r >= 0)
                return true;
        if (!outcome->error) {
                outcome->error = (int)-r;
                snprintf(outcome->what, sizeof(outcome->what), "%s", what);
        }
        return false;
}

/* Evaluates until it is not -EINTR, nor too often. */
#define TRY(call) \
        __extension__({ \
                int64_t r_ = -EINTR; \
                for (int i_ = 0; i_ < MOST_TRIES && r_ == -EINTR; i_++) \
                        r_ = (call); \
                goes_on(#call, r_); \
        })

static bool receive(tachyon_bus *bus, uint32_t expected) {
        tachyon_message message;

        if (!TRY(tachyon_bus_recv(bus, &message, patience)))
                return false;
        CHECK_EQ(message.type_id, expected);
        return TRY(tachyon_bus_release(bus, message.lease));
}

/* The victim's part of the conversation: every kind of wait, sending, receiving, records, arming. */
static void converse(tachyon_bus *bus) {
        unsigned char ready[1], records[8 * 40];
        tachyon_message leased;
        void *place;
        int r, fds[3];

        if (!receive(bus, 1)) /* the partner takes its time: a sleep */
                return;
        for (uint32_t i = 0; i < MESSAGES; i++) /* more than fits: a sleep for room */
                if (!TRY(tachyon_bus_send(bus, "0123456789abcdef", 16, 100 + i, patience)))
                        return;
        memset(records, 'r', sizeof(records));
        if (!TRY(tachyon_bus_send_records(bus, records, 40, 8, 99, patience)) ||
            !TRY(tachyon_bus_reserve(bus, &place, 200, patience)))
                return;
        memset(place, 'p', 200);
        if (!TRY(tachyon_bus_commit(bus, 200, 98)))
                return;
        r = TRY(tachyon_bus_fds(bus, &fds[0], &fds[1], &fds[2])) ? tachyon_bus_arm(bus) : 1;
        if (!goes_on("tachyon_bus_arm", r) || !TRY(tachyon_bus_wait_any(&bus, 1, ready, patience)) ||
            !receive(bus, 2))
                return;
        r = tachyon_bus_arm_space(bus, 3000);
        if (!goes_on("tachyon_bus_arm_space", r) || !TRY(tachyon_bus_disarm_space(bus)))
                return;
        r = tachyon_bus_recv(bus, &leased, 1000000);
        if (r != -ETIMEDOUT && r != -EINTR && !goes_on("a wait with a deadline", r < 0 ? r : -EBADMSG))
                return;
        if (!TRY(tachyon_bus_send(bus, NULL, 0, 97, patience)) ||
            !TRY(tachyon_bus_recv(bus, &leased, patience)))
                return;
        CHECK_EQ(leased.type_id, 3);
        outcome->whole = true;
        tachyon_bus_close(bus); /* with a lease out */
        tachyon_bus_release(bus, leased.lease);
}

static void victim_listens(const char *path) {
        tachyon_options options = the_options();
        tachyon_listener *listener;
        tachyon_bus *bus = NULL;

        if (!TRY(tachyon_listener_create(&listener, path, &options)))
                return;
        if (TRY(tachyon_listener_accept(listener, &bus, patience)))
                converse(bus);
        tachyon_bus_free(bus);
        tachyon_listener_free(listener);
}

static void victim_connects(const char *path) {
        tachyon_options options = the_options();
        tachyon_bus *bus = NULL;

        if (TRY(tachyon_bus_connect(&bus, path, &options, patience)))
                converse(bus);
        tachyon_bus_free(bus);
}

void scenario_victim(bool listens, const char *path, struct outcome *the_outcome, int64_t patience_ns) {
        outcome = the_outcome;
        patience = patience_ns;
        fault_armed = true;
        if (listens)
                victim_listens(path);
        else
                victim_connects(path);
        fault_armed = false;
}

/* ---- the partner, whose calls do not fail ------------------------------- */

static int partner_meets(tachyon_bus **busp, bool listens, const char *path) {
        tachyon_options options = the_options();

        options.flags = 0;
        return listens ? tachyon_bus_listen(busp, path, &options, -1) : tachyon_bus_connect(busp, path, &options, -1);
}

/* 0, or how the bus ended. */
static int partner_takes(tachyon_bus *bus, uint32_t type_id) {
        tachyon_message message;
        int r = tachyon_bus_recv(bus, &message, -1);

        if (r < 0)
                return r;
        CHECK_EQ(message.type_id, type_id);
        CHECK_EQ(tachyon_bus_release(bus, message.lease), 0);
        return 0;
}

static int partner_speaks(tachyon_bus *bus) {
        int r;

        usleep(300); /* for the other to fall asleep; nothing depends on it */
        r = tachyon_bus_send(bus, "a", 1, 1, -1);
        usleep(300); /* for the ring to get full */
        for (uint32_t i = 0; i < MESSAGES && r == 0; i++)
                r = partner_takes(bus, 100 + i);
        for (uint32_t i = 0; i < 8 && r == 0; i++)
                r = partner_takes(bus, 99);
        if (r == 0)
                r = partner_takes(bus, 98);
        usleep(300);
        if (r == 0)
                r = tachyon_bus_send(bus, "b", 1, 2, -1);
        if (r == 0)
                r = partner_takes(bus, 97);
        if (r == 0)
                r = tachyon_bus_send(bus, "c", 1, 3, -1);
        return r == 0 ? partner_takes(bus, 0) : r; /* the end */
}

/* Plays until a conversation was whole, or until it is killed: its victim may need several. */
_Noreturn void scenario_partner(bool listens, const char *path) {
        tachyon_bus *bus;

        for (;;) {
                if (partner_meets(&bus, listens, path) < 0) {
                        usleep(2000);
                        continue;
                }
                partner_speaks(bus);
                tachyon_bus_free(bus);
        }
}
