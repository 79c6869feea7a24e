/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_HALF_H
#define TACHYON_HALF_H
/*
 * Making, checking and mapping halves. In memory:
 *
 *      guard | geometry, control | ring | the same ring again | guard
 *
 * so every frame and every batch is contiguous, and running off either end is
 * a fault, not somebody's data.
 */
#include "layout.h"
#include "util.h"

struct half {
        void *reservation; /* everything, guards included */
        uint64_t reservation_size;
        struct half_control *control;
        unsigned char *ring;
        uint64_t capacity;
        bool huge_pages;
        bool isolated; /* attached halves: the kernel refused us a writable mapping */
};

struct half_options {
        bool huge_pages;
        bool prefault;
        bool mlock;
        bool trusted;
        int numa_node; /* -1: anywhere */
};

#define HALF_INIT { .reservation = NULL }

/* Rounds up to a power of two of at least one page (2 MiB for huge pages); 0 where that overflows. */
uint64_t half_round_capacity(uint64_t capacity, bool huge_pages);

/* A new half of our own; *fdp is for the peer, close it after the hand-over. */
int half_create(struct half *half, int *fdp, uint64_t capacity, const struct half_options *options);
/* Check and map a half that the peer made. Does not take over fd. */
int half_attach(struct half *half, int fd, uint64_t capacity, const struct half_options *options);
void half_destroy(struct half *half);

/* To be said before a fork: whether the child shall have a half. At first, it does not. */
void half_keep_in_child(const struct half *half, bool keep);
/* In the child: what it has been given is for reading only; or becomes memory of its own; or was not given. */
void half_inherited(const struct half *half);
void half_become_zeros(struct half *half);
void half_not_inherited(struct half *half);

#endif
