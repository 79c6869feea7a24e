/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_LABEL_H
#define TACHYON_LABEL_H
/*
 * Named steps, at which tests/stress kills, and a position for rings to start
 * with. Nothing of it is there unless built with `meson setup -Dlabels=true`.
 */
#ifdef TACHYON_LABELS
#include <stdint.h>

/* Called with the name of each step that is come to; NULL: nobody is. */
extern void (*tachyon_label_hook)(const char *name);
/* Where both rings of a bus begin; the same on both sides; a multiple of 64. */
extern uint64_t tachyon_start_position;

#define LABEL(name) (tachyon_label_hook ? tachyon_label_hook(name) : (void)0)
#define START_POSITION tachyon_start_position
#else
#define LABEL(name) ((void)0)
#define START_POSITION 0
#endif

#endif
