/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_FUZZ_H
#define TACHYON_FUZZ_H
/* What the targets share: an input read piece by piece, checks, and a half to play with. */
#include "load-hook.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../libtachyon/half.h"

/* One page: the smallest ring, so that it is full, and goes round, soon. */
#define CAPACITY 4096u
#define LINES (CAPACITY / FRAME_ALIGNMENT)

void (*fuzz_before_load)(void);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition) \
        do { \
                if (!(condition)) { \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
                        abort(); \
                } \
        } while (0)

struct input {
        const uint8_t *data;
        size_t left;
};

/* The next bytes as a little-endian number; zeros after the end. */
static inline uint64_t take(struct input *input, unsigned int bytes) {
        uint64_t value = 0;

        for (unsigned int i = 0; i < bytes && input->left; i++, input->left--)
                value |= (uint64_t)*input->data++ << (8 * i);
        return value;
}

/* Where counting begins: at zero, and shortly before 32 and 63 bits end. */
static inline uint64_t take_position(struct input *input) {
        static const uint64_t places[] = { 0, (UINT64_C(1) << 32) - 128, (UINT64_C(1) << 63) - 128, 7 * CAPACITY };

        return places[take(input, 1) % 4];
}

/* A half with its ring mapped twice and guard pages round it, made once and wiped for each input. */
static inline struct half *fuzz_half(struct half *half) {
        const struct half_options options = { .numa_node = -1 };
        int fd;

        if (!half->ring) {
                CHECK(half_create(half, &fd, CAPACITY, &options) == 0);
                close(fd);
        }
        memset(half->ring, 0, CAPACITY);
        memset((void *)half->control, 0, sizeof(*half->control));
        atomic_store(&half->control->state, HALF_OPEN);
        return half;
}

/* Reads every byte, as a user would: outside our mappings is a crash. */
static inline void touch(const void *data, uint64_t size) {
        const volatile unsigned char *bytes = data;

        for (uint64_t i = 0; i < size; i += 16)
                (void)bytes[i];
        if (size)
                (void)bytes[size - 1];
}

#endif
