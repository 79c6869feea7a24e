/* SPDX-License-Identifier: MIT */
/* What the peers of all languages send, by number: see run-matrix. For C and C++. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST 1048448u /* what a ring of 1 MiB carries */
#define BLOCK_SIZE (2u << 20)
#define RECORD_TYPE 7u
#define ARRAY_TYPES 4u /* float32, float64, int16, uint8 */
#define FAILING_TYPE 9u
#define FAILING_CODE 42u
#define FAILING_TEXT "not today"

struct rule {
        uint64_t random;
        uint32_t size, start, type_id;
        uint32_t dtype;
        uint64_t shape[3];
};

struct record {
        uint64_t number, random;
        double half;
};

static inline uint64_t mix(uint64_t number) {
        uint64_t z = (number + 1) * UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

static inline struct rule rule_of(uint64_t number) {
        uint64_t r = mix(number);
        struct rule rule;

        rule.random = r;
        rule.size = r % 1024 == 0 ? LARGEST : (uint32_t)(r >> 16) & ((1u << (r >> 10) % 13) - 1);
        rule.start = (uint32_t)(r >> 40) & 0xfffff;
        rule.type_id = (uint32_t)(r >> 20);
        rule.dtype = (uint32_t)(r % ARRAY_TYPES);
        rule.shape[0] = (r >> 8) % 5;
        rule.shape[1] = (r >> 16) % 7;
        rule.shape[2] = (r >> 24) % 33;
        return rule;
}

static inline struct record record_of(uint64_t number) {
        struct record record = { number, mix(number), (double)number / 2 };

        return record;
}

static inline int is_failing(uint64_t number) {
        return number % 97 == 0;
}

/* Element i of an array. */
static inline int element_of(const struct rule *rule, uint64_t i) {
        return (int)((rule->start + i) % 120);
}

static inline unsigned char *read_block(const char *path) {
        unsigned char *block = (unsigned char *)malloc(BLOCK_SIZE);
        FILE *file = fopen(path, "rb");

        if (!block || !file || fread(block, 1, BLOCK_SIZE, file) != BLOCK_SIZE) {
                fprintf(stderr, "%s: cannot be read\n", path);
                exit(2);
        }
        fclose(file);
        return block;
}
