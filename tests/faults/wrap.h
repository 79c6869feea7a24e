/* SPDX-License-Identifier: MIT */
#ifndef FAULTS_WRAP_H
#define FAULTS_WRAP_H
/*
 * The library's calls of the system, in between: linked with ld's --wrap, so
 * that each can be made to fail, at its n-th time or from then on. And the
 * library's heap, counted.
 */
#include <stdbool.h>

#define MOST_CALLS 64

struct fault {
        const char *call; /* NULL: none */
        int error;
        unsigned int at;  /* the n-th call, from 1 */
        bool forever;
        bool hit;
        bool old_kernel; /* before Linux 6.5: no SO_PEERPIDFD, so that pidfd_open() is called */
};

extern struct fault fault;
extern bool fault_armed; /* else everything goes through, and nothing is counted */
extern long heap_blocks; /* of the library, outstanding */

/* What was called while armed: "name" or, of syscall(), "syscall:number". */
extern const char *call_names[MOST_CALLS];
extern unsigned int call_counts[MOST_CALLS], n_calls;

#endif
