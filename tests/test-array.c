/* SPDX-License-Identifier: MIT */
/* Arrays in messages: what is written is read again, and of what others wrote nothing is believed. */
#include "test-util.h"

static tachyon_array array_of(const char *dtype, uint64_t itemsize, uint32_t ndim, const uint64_t *shape) {
        tachyon_array array = { .dtype = dtype, .itemsize = itemsize, .ndim = ndim };

        for (uint32_t i = 0; i < ndim && i < TACHYON_ARRAY_MAX_NDIM; i++)
                array.shape[i] = shape[i];
        return array;
}

static void round_trip(const tachyon_array *array, uint64_t data_size) {
        uint64_t size = tachyon_array_size(array);
        unsigned char *message = aligned_alloc(64, (size + 63) / 64 * 64);
        tachyon_array read = { .ndim = 0 };
        void *data;

        CHECK(message && size >= data_size);
        CHECK_EQ(tachyon_array_write(array, message, size - 1, &data), -EMSGSIZE);
        CHECK_EQ(tachyon_array_write(array, message, size, &data), 0);
        CHECK_EQ((uintptr_t)data % 64, 0);
        CHECK((unsigned char *)data + data_size == message + size);
        fill(data, data_size, 1);
        CHECK_EQ(tachyon_array_read(&read, message, size), 0);
        CHECK(read.data == data);
        CHECK_EQ(read.data_size, data_size);
        CHECK_EQ(read.itemsize, array->itemsize);
        CHECK_EQ(read.ndim, array->ndim);
        CHECK(memcmp(read.shape, array->shape, array->ndim * sizeof(uint64_t)) == 0);
        CHECK(tachyon_array_is(&read, array->dtype));
        CHECK(!tachyon_array_is(&read, "<f"));
        CHECK_EQ(tachyon_array_read(&read, message, size - 1), -EBADMSG);
        free(message);
}

static void test_what_is_written_is_read(void) {
        const uint64_t shape[] = { 3, 4, 5 }, empty[] = { 3, 0, 5 };
        uint64_t ones[TACHYON_ARRAY_MAX_NDIM];
        tachyon_array array = array_of("<f4", 4, 3, shape);

        round_trip(&array, 240);
        array = array_of("|u1", 1, 0, NULL); /* a single element */
        round_trip(&array, 1);
        array = array_of("<f8", 8, 3, empty);
        round_trip(&array, 0);
        for (int i = 0; i < TACHYON_ARRAY_MAX_NDIM; i++)
                ones[i] = 1;
        array = array_of("<f8", 8, TACHYON_ARRAY_MAX_NDIM, ones);
        round_trip(&array, 8);
}

static void impossible(const tachyon_array *array) {
        unsigned char message[4096];

        CHECK_EQ(tachyon_array_size(array), 0);
        CHECK_EQ(tachyon_array_write(array, message, sizeof(message), NULL), -EINVAL);
        CHECK(*tachyon_error_detail());
}

static void test_arrays_that_cannot_be(void) {
        const uint64_t shape[] = { 2 }, overflow[] = { UINT64_C(1) << 32, UINT64_C(1) << 32 };
        const uint64_t hidden[] = { 0, UINT64_MAX, UINT64_MAX };
        static char text[TACHYON_ARRAY_MAX_DTYPE + 2];
        tachyon_array array = array_of("<f4", 0, 1, shape);

        impossible(&array);
        array = array_of("", 4, 1, shape);
        impossible(&array);
        array = array_of(NULL, 4, 1, shape);
        impossible(&array);
        array = array_of("<f\n", 4, 1, shape);
        impossible(&array);
        array = array_of("<f4", 4, 2, overflow);
        impossible(&array);
        array = array_of("<f4", 4, 3, hidden);
        impossible(&array);
        array = array_of("<f4", UINT64_C(1) << 63, 1, shape);
        impossible(&array);
        array = array_of("<f4", 4, 1, shape);
        array.ndim = TACHYON_ARRAY_MAX_NDIM + 1;
        impossible(&array);
        memset(text, 'x', sizeof(text) - 1);
        array = array_of(text, 4, 1, shape);
        impossible(&array);
}

/* Any byte another one: it is refused, or all sizes still fit together within the message. */
static void test_no_header_is_believed(void) {
        const uint64_t shape[] = { 3, 4 };
        const tachyon_array array = array_of("<f4", 4, 2, shape);
        uint64_t size = tachyon_array_size(&array);
        unsigned char *message = aligned_alloc(64, (size + 63) / 64 * 64);
        tachyon_array read;
        uint64_t accepted = 0;

        CHECK(message);
        for (uint64_t at = 0; at < size - 48; at++)
                for (unsigned int value = 0; value < 256; value++) {
                        CHECK_EQ(tachyon_array_write(&array, message, size, NULL), 0);
                        message[at] = (unsigned char)value;
                        memset(&read, 0xaa, sizeof(read));
                        if (tachyon_array_read(&read, message, size) < 0) {
                                CHECK_EQ(read.ndim, 0xaaaaaaaa);
                                continue;
                        }
                        accepted++;
                        CHECK(read.ndim <= TACHYON_ARRAY_MAX_NDIM);
                        CHECK((const unsigned char *)read.data + read.data_size == message + size);
                        CHECK((const unsigned char *)read.dtype + read.dtype_size <= (const unsigned char *)read.data);
                }
        CHECK(accepted >= size - 48); /* each byte as it was */
        for (uint64_t shorter = 0; shorter < size; shorter++) {
                CHECK_EQ(tachyon_array_write(&array, message, size, NULL), 0);
                CHECK_EQ(tachyon_array_read(&read, message, shorter), -EBADMSG);
        }
        free(message);
}

/* Random headers in memory of exactly their size: a look beyond is seen by the sanitizers. */
static void test_random_headers(void) {
        uint64_t random = 99;

        for (int i = 0; i < 20000; i++) {
                const uint64_t shape[] = { next_random(&random) % 4, next_random(&random) % 4 };
                tachyon_array array = array_of("<f4", 4, 2, shape), read;
                uint64_t size = tachyon_array_size(&array);
                unsigned char *message = malloc(size);

                CHECK(message);
                memset(message, 0, size);
                CHECK_EQ(tachyon_array_write(&array, message, size, NULL), 0);
                for (int change = 0; change < 3; change++)
                        message[8 + next_random(&random) % 32] = (unsigned char)next_random(&random);
                if (tachyon_array_read(&read, message, size) == 0)
                        CHECK(read.data_size < size && read.dtype_size < size);
                free(message);
        }
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_what_is_written_is_read);
        RUN(test_arrays_that_cannot_be);
        RUN(test_no_header_is_believed);
        RUN(test_random_headers);
        return tests_end();
}
