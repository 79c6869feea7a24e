/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_SETTINGS_H
#define TACHYON_SETTINGS_H
/* tachyon_options, checked, with every default filled in: what the inside works with. */
#include "half.h"

#define SETTINGS_MAX_UIDS 64
#define SETTINGS_MAX_PENDING 64

struct settings {
        uint64_t capacity;
        uint64_t reply_capacity;
        uint64_t max_capacity;
        int64_t spin_ns; /* 0: never; > 0: at most so long, or exactly where spin_fixed */
        bool spin_fixed;
        bool trusted;
        uint32_t kind;
        uint32_t socket_mode;
        int64_t handshake_timeout_ns;
        uint32_t max_pending;
        uint32_t n_uids;
        uint32_t uids[SETTINGS_MAX_UIDS];
        struct half_options half;
};

struct tachyon_options;
/* 0, -EINVAL or -EFBIG, with a detail. options may be NULL. */
int settings_init(struct settings *settings, const void *options);
bool settings_allow_uid(const struct settings *settings, uint32_t uid);

#endif
