/* SPDX-License-Identifier: MIT */
/*
 * Dense arrays in messages: a header that says what the elements are, and how
 * many, then the elements. docs/protocol.md, "Arrays", has the bytes.
 *
 * What is read may have been written by anyone: the header is copied first, and
 * only the copy is checked and used.
 */
#include "util.h"
#include <stddef.h>
#include <string.h>

#include "../include/tachyon.h"

#define ARRAY_VERSION 1
/* Elements start at a multiple of this, in a message that itself starts at one. */
#define ARRAY_ALIGNMENT 64u

struct array_header {
        uint64_t magic;
        uint16_t version;
        uint16_t ndim;
        uint32_t dtype_size;
        uint64_t itemsize;
        uint64_t data_size;
        uint32_t data_offset;
        uint32_t flags;       /* 0 */
        uint64_t reserved[3]; /* 0 */
};

_Static_assert(sizeof(struct array_header) == 64, "array header layout");
_Static_assert(offsetof(struct array_header, version) == 8, "array header layout");
_Static_assert(offsetof(struct array_header, ndim) == 10, "array header layout");
_Static_assert(offsetof(struct array_header, dtype_size) == 12, "array header layout");
_Static_assert(offsetof(struct array_header, itemsize) == 16, "array header layout");
_Static_assert(offsetof(struct array_header, data_size) == 24, "array header layout");
_Static_assert(offsetof(struct array_header, data_offset) == 32, "array header layout");
_Static_assert(offsetof(struct array_header, flags) == 36, "array header layout");
_Static_assert(offsetof(struct array_header, reserved) == 40, "array header layout");

static uint64_t array_data_offset(uint64_t ndim, uint64_t dtype_size) {
        return align_up(sizeof(struct array_header) + ndim * sizeof(uint64_t) + dtype_size, ARRAY_ALIGNMENT);
}

/* Bytes of all elements. False: more than an object in memory can have, whatever order the extents come in. */
static bool array_data_size(const tachyon_array *array, uint64_t *sizep) {
        uint64_t size = array->itemsize;
        bool empty = false;

        for (uint32_t i = 0; i < array->ndim; i++) {
                if (!array->shape[i])
                        empty = true;
                else if (__builtin_mul_overflow(size, array->shape[i], &size))
                        return false;
        }
        *sizep = empty ? 0 : size;
        return size <= INT64_MAX;
}

static bool is_text(const char *text, uint64_t size) {
        for (uint64_t i = 0; i < size; i++)
                if (text[i] < 0x20 || text[i] > 0x7e)
                        return false;
        return true;
}

static uint64_t dtype_length(const tachyon_array *array) {
        if (!array->dtype)
                return 0;
        return array->dtype_size ? array->dtype_size : strnlen(array->dtype, TACHYON_ARRAY_MAX_DTYPE + 1);
}

/* Header and data size of an array that can be, 0; or -EINVAL. */
static int array_describe(const tachyon_array *array, struct array_header *header) {
        uint64_t dtype_size = dtype_length(array), data_size;

        if (array->ndim > TACHYON_ARRAY_MAX_NDIM)
                return fail(EINVAL, "an array has at most %d dimensions, not %u", TACHYON_ARRAY_MAX_NDIM, array->ndim);
        if (!dtype_size || dtype_size > TACHYON_ARRAY_MAX_DTYPE || !is_text(array->dtype, dtype_size))
                return fail(EINVAL, "a dtype is 1 to %d printable ASCII characters", TACHYON_ARRAY_MAX_DTYPE);
        if (!array->itemsize || !array_data_size(array, &data_size))
                return fail(EINVAL, "the elements have no size, or more bytes than memory can");
        *header = (struct array_header){
                .magic = TACHYON_ARRAY_MAGIC,
                .version = ARRAY_VERSION,
                .ndim = (uint16_t)array->ndim,
                .dtype_size = (uint32_t)dtype_size,
                .itemsize = array->itemsize,
                .data_size = data_size,
                .data_offset = (uint32_t)array_data_offset(array->ndim, dtype_size),
        };
        return 0;
}

TACHYON_API uint64_t tachyon_array_size(const tachyon_array *array) {
        struct array_header header;

        return array_describe(array, &header) < 0 ? 0 : header.data_offset + header.data_size;
}

TACHYON_API int tachyon_array_write(const tachyon_array *array, void *message, uint64_t size, void **datap) {
        unsigned char *bytes = message;
        struct array_header header;
        uint64_t shape_size, end;
        int r = array_describe(array, &header);

        if (r < 0)
                return r;
        if (size < header.data_offset + header.data_size)
                return fail(EMSGSIZE, "the array needs %llu bytes, there is room for %llu",
                            (unsigned long long)(header.data_offset + header.data_size), (unsigned long long)size);
        shape_size = header.ndim * sizeof(uint64_t);
        end = sizeof(header) + shape_size + header.dtype_size;
        memcpy(bytes, &header, sizeof(header));
        memcpy(bytes + sizeof(header), array->shape, shape_size);
        memcpy(bytes + sizeof(header) + shape_size, array->dtype, header.dtype_size);
        memset(bytes + end, 0, header.data_offset - end);
        if (datap)
                *datap = bytes + header.data_offset;
        return 0;
}

static bool header_is_whole(const struct array_header *header, uint64_t size) {
        return header->ndim <= TACHYON_ARRAY_MAX_NDIM && header->dtype_size &&
               header->dtype_size <= TACHYON_ARRAY_MAX_DTYPE && header->itemsize &&
               header->data_offset == array_data_offset(header->ndim, header->dtype_size) &&
               header->data_offset <= size && header->data_size == size - header->data_offset;
}

TACHYON_API int tachyon_array_read(tachyon_array *array, const void *message, uint64_t size) {
        const unsigned char *bytes = message;
        struct array_header header;
        tachyon_array copy = { 0 };
        uint64_t data_size;

        if (size < sizeof(header))
                return fail(EBADMSG, "a message of %llu bytes has no array's header", (unsigned long long)size);
        memcpy(&header, bytes, sizeof(header));
        if (header.magic != TACHYON_ARRAY_MAGIC)
                return fail(EBADMSG, "the message is not an array");
        if (header.version != ARRAY_VERSION || header.flags || header.reserved[0] || header.reserved[1] ||
            header.reserved[2])
                return fail(EBADMSG, "the array is of version %u, which is not known here", header.version);
        if (!header_is_whole(&header, size))
                return fail(EBADMSG, "the array's header does not fit its message of %llu bytes",
                            (unsigned long long)size);
        copy.data = bytes + header.data_offset;
        copy.data_size = header.data_size;
        copy.itemsize = header.itemsize;
        copy.dtype = (const char *)bytes + sizeof(header) + header.ndim * sizeof(uint64_t);
        copy.dtype_size = header.dtype_size;
        copy.ndim = header.ndim;
        memcpy(copy.shape, bytes + sizeof(header), header.ndim * sizeof(uint64_t));
        if (!array_data_size(&copy, &data_size) || data_size != header.data_size)
                return fail(EBADMSG, "the array's shape does not give its %llu bytes",
                            (unsigned long long)header.data_size);
        if (!is_text(copy.dtype, copy.dtype_size))
                return fail(EBADMSG, "the array's dtype is not printable ASCII");
        *array = copy;
        return 0;
}

TACHYON_API int tachyon_array_is(const tachyon_array *array, const char *dtype) {
        return dtype_length(array) == strlen(dtype) && memcmp(array->dtype, dtype, strlen(dtype)) == 0;
}
