/* SPDX-License-Identifier: MIT */
#ifndef FAULTS_H
#define FAULTS_H
/* Fault injection: faults.c has the cases, scenario.c what is done in each, wrap.c the failing calls. */
#include "../test-util.h"

struct outcome {
        int error;      /* the first that a call of the library gave, or 0 */
        char what[160]; /* which call */
        bool whole;     /* the conversation went to its end */
        bool hit;       /* the fault was come to */
        bool done;      /* the process came to its end */
        unsigned int n_calls;
        char names[64][24];
        unsigned int counts[64];
};

void scenario_victim(bool listens, const char *path, struct outcome *outcome, int64_t patience_ns);
_Noreturn void scenario_partner(bool listens, const char *path);

#endif
