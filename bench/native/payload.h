/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_BENCH_PAYLOAD_H
#define TACHYON_BENCH_PAYLOAD_H
/*
 * What messages carry: a pattern, with the message's number in the first word
 * and a hash of it in the last, which tells a stale, torn or lost message. The
 * pattern between them is compared in the warm-up, or, where every byte is to
 * be read, by its sum.
 */
#include "bench.h"

#define PATTERN_BYTE 0xA5
#define TAIL_FACTOR UINT64_C(0x9E3779B97F4A7C15)

static always_inline void store_word(void *to, uint64_t word) {
        memcpy(to, &word, sizeof(word));
}

static always_inline uint64_t load_word(const void *from) {
        uint64_t word;

        memcpy(&word, from, sizeof(word));
        return word;
}

/* memcpy() that needs no call for the sizes that matter most. */
static always_inline void payload_copy(void *to, const void *from, size_t size) {
        if (likely(size == 32))
                memcpy(to, from, 32);
        else if (size == 8)
                memcpy(to, from, 8);
        else
                memcpy(to, from, size);
}

static always_inline void payload_number(unsigned char *payload, size_t size, uint64_t number) {
        store_word(payload + size - 8, number * TAIL_FACTOR);
        if (size > 8)
                store_word(payload, number);
}

static always_inline void payload_check(const unsigned char *payload, size_t size, uint64_t number) {
        if (unlikely(load_word(payload + size - 8) != number * TAIL_FACTOR ||
                     (size > 8 && load_word(payload) != number)))
                die_of_wrong_data(number);
}

/* payload_check(), and every byte of the pattern between. */
static inline void payload_check_all(const unsigned char *payload, size_t size, uint64_t number) {
        payload_check(payload, size, number);
        for (size_t i = 8; i + 8 < size; i++)
                if (payload[i] != PATTERN_BYTE)
                        die_of_wrong_data(number);
}

static inline unsigned char *payload_create(size_t size) {
        return memset(memory_private(size), PATTERN_BYTE, size);
}

/* The first number that the sender uses; the other side expects 0. */
static inline uint64_t first_number(const struct round *round) {
        return round->plan->spoil;
}

/* Four words; by hand, for not every compiler makes vectors of the loop below. */
typedef uint64_t words_4 __attribute__((__vector_size__(32)));

/* The sum of all words of a payload; `size` is a multiple of 64. Reads every byte. */
static inline uint64_t payload_sum(const unsigned char *payload, size_t size) {
        words_4 even = { 0 }, odd = { 0 }, part[2];

        for (size_t i = 0; i < size; i += sizeof(part)) {
                memcpy(part, payload + i, sizeof(part));
                even += part[0];
                odd += part[1];
        }
        even += odd;
        return even[0] + even[1] + even[2] + even[3];
}

/* What payload_sum() must give. */
static inline uint64_t payload_expected_sum(size_t size, uint64_t number) {
        uint64_t pattern = PATTERN_BYTE * UINT64_C(0x0101010101010101);

        return (size / 8 - 2) * pattern + number + number * TAIL_FACTOR;
}

#endif
