/* SPDX-License-Identifier: MIT */
#ifndef STRESS_STORM_H
#define STRESS_STORM_H
/*
 * A round of the kill storm. A producer and a consumer meet on a path, and
 * messages flow until one of them, or both, are killed: at a random moment, or
 * exactly at a labelled step (label.h). The survivor has to come to the right
 * end, and then to meet the victim's next life on the same path.
 *
 * storm.c plans and judges, storm_side.c is what the two processes do.
 */
#include "flow.h"

#include "../../libtachyon/label.h"

#define LABEL_SIZE 32
#define MOST_LABELS 128
#define MOST_BUSES 16
/* A label that was not come to in so many messages is not come to. A multiple of STRETCH, as is the last one. */
#define FLOW_MESSAGES 3008
/* Who closes in mid-flow, does so after so many. */
#define CLOSE_MESSAGES 300
#define RESTART_MESSAGES 64

enum role { PRODUCER, CONSUMER, N_ROLES };
enum how { COUNTED, STOPPED, AT_LABEL, AT_RANDOM };
enum { CUT_BEFORE_STAMP = 1, CUT_AFTER_STAMP };

struct plan {
        enum how how;
        bool victims[N_ROLES];
        enum role listener;
        enum role slow; /* N_ROLES: nobody. Else the ring is mostly empty, or mostly full. */
        uint64_t seed, capacity;
        int64_t spin_ns;
        uint64_t after;    /* messages sent, or times that the label is come to, before the kill */
        uint32_t jitter_us;
        char label[LABEL_SIZE];
};

/* The labels that a role comes to, and how often. */
struct census {
        char names[MOST_LABELS][LABEL_SIZE];
        uint64_t counts[MOST_LABELS];
        unsigned int n;
};

/* What all processes of a round see. */
struct round {
        _Atomic uint64_t acknowledged[MOST_BUSES]; /* sent, by the word of the producer, bus by bus */
        _Atomic unsigned int buses;
        _Atomic int64_t killed_ns;
        _Atomic int64_t returned_ns; /* from the survivor's call */
        _Atomic uint64_t timeouts;
        /* By the victim, at a label of the exchange line: was the stamp stored, and how many messages had it sent or taken? */
        _Atomic int exchange_cut; /* 0: it was not killed there, else CUT_... */
        _Atomic uint64_t exchange_index;
        _Atomic bool missed; /* the label was not come to: killed all the same, elsewhere */
        struct census census[N_ROLES];
};

/* In a child: plays the role to its end, and exits with 0 where all is well. life: 0, or 1 after a kill. */
_Noreturn void side_main(enum role role, int life, const struct plan *plan, struct round *round,
                         const char *path);

static inline bool plan_closes(const struct plan *plan) {
        return plan->how == AT_LABEL && strncmp(plan->label, "close:", 6) == 0;
}

#endif
