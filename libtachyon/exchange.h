/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_EXCHANGE_H
#define TACHYON_EXCHANGE_H
/*
 * The exchange line: one cache line that both sides write, in turn. See "The
 * exchange line" in ring.h for how, and docs/protocol.md for why it is safe. It
 * has a page of its own, which the listener makes.
 *
 * Both have to map it writable before it can be sealed against new writable
 * mappings, and against holes: a page that one side takes away is SIGBUS to the
 * other, where the system has no memory for a new one. So it is the connector,
 * who maps it last, that seals it, and the listener that checks the seals
 * before it touches the page again.
 */
#include "half.h"

/* A new one; *fdp is for the peer, and for the check when that has sealed it. */
int exchange_create(struct frame **linep, int *fdp, const struct half_options *options);
/* Map, seal and check one that the peer made. Does not take over fd. */
int exchange_attach(struct frame **linep, int fd, const struct half_options *options);
/* Is it sealed for good, and whole? Else -EPROTO. */
int exchange_check(int fd);
void exchange_destroy(struct frame **linep);

/* As half_keep_in_child() and half_inherited(). */
void exchange_keep_in_child(struct frame *line, bool keep);
void exchange_inherited(struct frame *line);

#endif
