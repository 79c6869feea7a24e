/* SPDX-License-Identifier: MIT */
/* What the two processes of a round do; see storm.h. */
#include "storm.h"

static enum role me;
static int life;
static const struct plan *plan;
static struct round *round_;
static uint64_t label_hits;
static const struct flow *flow_now; /* of this session */

/* The first message of a bus. */
struct greeting {
        uint64_t number; /* of the bus, for round.acknowledged */
        uint64_t limit;  /* so many messages follow, then the consumer says so; 0: no end */
};

/* ---- labels ------------------------------------------------------------- */

static _Noreturn void die_here(void) {
        atomic_store(&round_->killed_ns, clock_ns());
        kill(getpid(), SIGKILL);
        for (;;)
                pause();
}

static bool is_victim(void) {
        return life == 0 && plan->victims[me];
}

/* In mid-flow: true where it is time to close, so that it can be killed in there. */
static bool is_over(uint64_t index) {
        if (!is_victim() || plan->how != AT_LABEL)
                return false;
        if (index >= FLOW_MESSAGES) {
                atomic_store(&round_->missed, true);
                die_here();
        }
        return plan_closes(plan) && index >= CLOSE_MESSAGES;
}

/* What the survivor has to find follows from the very step: see check_exchange(). */
static void note_exchange(const char *name) {
        if (strncmp(name, "exchange:", 9) != 0)
                return;
        atomic_store(&round_->exchange_index, flow_now->index);
        atomic_store(&round_->exchange_cut,
                     strcmp(name, "exchange:published") == 0 ? CUT_AFTER_STAMP : CUT_BEFORE_STAMP);
}

static void kill_at_label(const char *name) {
        if (strcmp(name, plan->label) == 0 && ++label_hits == plan->after) {
                note_exchange(name);
                die_here();
        }
}

static void count_label(const char *name) {
        struct census *census = &round_->census[me];
        unsigned int i;

        for (i = 0; i < census->n; i++)
                if (strcmp(census->names[i], name) == 0)
                        break;
        CHECK(i < MOST_LABELS);
        if (i == census->n)
                snprintf(census->names[census->n++], LABEL_SIZE, "%s", name);
        census->counts[i]++;
}

/* ---- a session ---------------------------------------------------------- */

/* The survivor's call says that it is over. */
static void note_end(void) {
        int64_t none = 0;

        if (!is_victim())
                atomic_compare_exchange_strong(&round_->returned_ns, &none, clock_ns());
}

static int meet(tachyon_bus **busp, const char *path) {
        tachyon_options options = TACHYON_OPTIONS_INIT;

        options.spin_ns = plan->spin_ns;
        if (me != plan->listener)
                return tachyon_bus_connect(busp, path, &options, -1);
        options.capacity = plan->capacity;
        return tachyon_bus_listen(busp, path, &options, -1);
}

static void pause_if_slow(const struct flow *flow) {
        if (plan->slow == me && flow->index % 16 == 0 && !atomic_load(&round_->killed_ns))
                usleep(50);
}

/* In a first life, and nobody was killed: the flow goes on until something happens. */
static bool is_endless(void) {
        return life == 0 && plan->how >= AT_LABEL && !atomic_load(&round_->killed_ns);
}

/* done: messages taken, or answered, when the end was heard of. Over the line: with its stamp, and not without. */
static void check_exchange(uint64_t done) {
        uint64_t index = atomic_load(&round_->exchange_index);

        switch (atomic_load(&round_->exchange_cut)) {
        case CUT_BEFORE_STAMP:
                CHECK_EQ(done, me == CONSUMER ? index : index - 1);
                break;
        case CUT_AFTER_STAMP: /* a producer may send more before it hears of the end */
                CHECK(me == CONSUMER ? done == index + 1 : done >= index);
                break;
        }
}

static int produce(tachyon_bus *bus) {
        struct greeting greeting = { .number = atomic_fetch_add(&round_->buses, 1) };
        tachyon_message reply;
        struct flow flow;
        int64_t r;
        int end;

        CHECK(greeting.number < MOST_BUSES);
        greeting.limit = is_endless() ? 0 : plan->how >= AT_LABEL ? RESTART_MESSAGES : FLOW_MESSAGES;
        flow_init(&flow, bus, plan->seed + greeting.number);
        flow_now = &flow;
        if (plan->how == STOPPED)
                flow.timeout_ns = 2 * MS;
        end = tachyon_bus_send(bus, &greeting, sizeof(greeting), 0, -1);
        while (end == 0 && (!greeting.limit || flow.index < greeting.limit)) {
                pause_if_slow(&flow);
                r = flow_send(&flow);
                if (r < 0)
                        end = (int)r;
                else
                        atomic_store(&round_->acknowledged[greeting.number], flow.index);
                if (is_over(flow.index))
                        return 0;
        }
        atomic_fetch_add(&round_->timeouts, flow.timeouts);
        if (end < 0 && !is_victim() && life == 0 && greeting.number == 0)
                check_exchange(flow.index - flow.unanswered);
        if (end == 0) {
                tachyon_label_hook = NULL; /* the reply is not of the flow, at whose steps we kill */
                end = tachyon_bus_recv(bus, &reply, -1);
                if (end == 0)
                        CHECK_EQ(tachyon_bus_release(bus, reply.lease), 0);
        }
        return end;
}

/* Whole, in order, and no less than the producer knew to be sent. */
static void check_prefix(const struct flow *flow, const struct greeting *greeting) {
        uint64_t acknowledged = atomic_load(&round_->acknowledged[greeting->number]);

        CHECK(flow->index >= acknowledged);
        CHECK(flow->index <= acknowledged + STRETCH);
}

static int consume(tachyon_bus *bus) {
        struct greeting greeting;
        tachyon_message first;
        struct flow flow;
        int64_t r = 1;
        int end = tachyon_bus_recv(bus, &first, -1);

        if (end < 0)
                return end;
        CHECK_EQ(first.size, sizeof(greeting));
        memcpy(&greeting, first.data, sizeof(greeting));
        CHECK_EQ(tachyon_bus_release(bus, first.lease), 0);
        flow_init(&flow, bus, plan->seed + greeting.number);
        flow_now = &flow;
        if (plan->how == STOPPED)
                flow.timeout_ns = 2 * MS;
        while (r > 0 && (!greeting.limit || flow.index < greeting.limit)) {
                pause_if_slow(&flow);
                r = flow_recv(&flow);
                if (is_over(flow.index))
                        return 0;
        }
        flow_release_all(&flow);
        atomic_fetch_add(&round_->timeouts, flow.timeouts);
        if (r < 0) {
                note_end();
                check_prefix(&flow, &greeting);
                if (!is_victim() && life == 0 && greeting.number == 0)
                        check_exchange(flow.index);
                return (int)r;
        }
        CHECK_EQ(flow.index, greeting.limit);
        tachyon_label_hook = NULL;
        end = tachyon_bus_send(bus, NULL, 0, 0, -1);
        return end;
}

/* True where there is to be another. */
static bool session(const char *path) {
        tachyon_bus *bus;
        int end = meet(&bus, path);

        if (end < 0) {
                note_end();
                if (end != -ECONNREFUSED)
                        fprintf(stderr, "meet: %s (%s)\n", tachyon_strerror(end), tachyon_error_detail());
                CHECK_EQ(end, -ECONNREFUSED); /* the listener died; another one comes */
                return true;
        }
        end = me == PRODUCER ? produce(bus) : consume(bus);
        if (end < 0)
                note_end();
        if (end != -TACHYON_EPEERDEAD && end != -TACHYON_ECLOSED)
                CHECK_EQ(end, 0);
        if (plan->how == COUNTED)
                tachyon_label_hook = count_label;
        tachyon_bus_free(bus);
        return end == -TACHYON_EPEERDEAD && !plan_closes(plan);
}

_Noreturn void side_main(enum role role, int life_number, const struct plan *the_plan, struct round *the_round,
                         const char *path) {
        int fds = fd_count();

        me = role;
        life = life_number;
        plan = the_plan;
        round_ = the_round;
        alarm(WATCHDOG_SECONDS);
        if (plan->how == COUNTED)
                tachyon_label_hook = count_label;
        else if (is_victim() && plan->how == AT_LABEL)
                tachyon_label_hook = kill_at_label;
        while (session(path))
                continue;
        tachyon_label_hook = NULL;
        CHECK_EQ(fd_count(), fds);
        CHECK_EQ(mapping_count(), 0);
        exit(0);
}
