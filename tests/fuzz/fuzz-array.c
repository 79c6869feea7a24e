/* SPDX-License-Identifier: MIT */
/*
 * The reader of array headers. What it accepts lies within the message, and
 * written anew gives the same header, byte for byte.
 */
#include "fuzz.h"

#include "../../include/tachyon.h"

static void same_when_written(const tachyon_array *array, const uint8_t *data, size_t size) {
        size_t header = size - array->data_size;
        uint8_t *copy = malloc(size);
        void *elements;

        CHECK(copy);
        CHECK(tachyon_array_size(array) == size);
        CHECK(tachyon_array_write(array, copy, size, &elements) == 0);
        CHECK((uint8_t *)elements == copy + header);
        /* Between text and elements there are zeros, which no reader looks at. */
        header = 64 + array->ndim * 8 + array->dtype_size;
        CHECK(memcmp(copy, data, header) == 0);
        CHECK(tachyon_array_write(array, copy, size - 1, &elements) < 0);
        free(copy);
}

/* A header that is right but for what the input changes in it: few random ones are. */
static size_t make(uint8_t *message, size_t space, struct input *input) {
        tachyon_array array = { .itemsize = take(input, 1), .dtype = "<f4", .ndim = (uint32_t)take(input, 1) % 5 };
        uint64_t size;

        for (uint32_t i = 0; i < array.ndim; i++)
                array.shape[i] = take(input, 1) % 8;
        size = tachyon_array_size(&array);
        if (!size || size > space || tachyon_array_write(&array, message, size, NULL) < 0)
                return 0;
        while (input->left) {
                uint64_t place = take(input, 1) % size;

                message[place] = (uint8_t)take(input, 1);
        }
        return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct input input = { data, size };
        uint8_t made[4096], *message;
        tachyon_array array;

        if (take(&input, 1) & 1) {
                size = make(made, sizeof(made), &input);
                data = made;
        } else {
                data = input.data;
                size = input.left;
        }
        /* Of this size to the byte, for AddressSanitizer, and as aligned as a message. */
        message = malloc(size ? size : 1);
        CHECK(message);
        memcpy(message, data, size);
        if (tachyon_array_read(&array, message, size) == 0) {
                CHECK((const uint8_t *)array.data + array.data_size == message + size);
                CHECK((const uint8_t *)array.dtype + array.dtype_size <= (const uint8_t *)array.data);
                touch(array.data, array.data_size);
                touch(array.dtype, array.dtype_size);
                same_when_written(&array, message, size);
        }
        free(message);
        return 0;
}
