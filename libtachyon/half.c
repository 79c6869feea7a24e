/* SPDX-License-Identifier: MIT */
/* See half.h for the picture. */
#include "half.h"
#include "label.h"
#include "os.h"
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE_SIZE (UINT64_C(2) << 20)

static uint64_t page_size(void) {
        return (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t mapping_granularity(bool huge_pages) {
        return huge_pages ? HUGE_PAGE_SIZE : page_size();
}

/* Where the ring starts: after geometry and control, where a mapping may start. */
static uint64_t half_ring_offset(bool huge_pages) {
        return align_up(2 * page_size(), mapping_granularity(huge_pages));
}

uint64_t half_round_capacity(uint64_t capacity, bool huge_pages) {
        uint64_t least = mapping_granularity(huge_pages);

        return next_power_of_two(capacity < least ? least : capacity);
}

/* Address space for the whole picture, aligned, nothing in it yet. */
static int half_reserve(struct half *half, uint64_t granularity, uint64_t ring_offset) {
        uint64_t size = ring_offset + 2 * half->capacity + 2 * granularity, head;
        unsigned char *p;

        p = mmap(NULL, size + granularity, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
                return fail(errno, "no address space for a ring of %llu bytes: %s",
                            (unsigned long long)half->capacity, strerror(errno));
        head = align_up((uint64_t)(uintptr_t)p, granularity) - (uint64_t)(uintptr_t)p;
        if (head)
                munmap(p, head);
        if (head < granularity)
                munmap(p + head + size, granularity - head);
        half->reservation = p + head;
        half->reservation_size = size;
        return 0;
}

static int half_map(struct half *half, int fd, bool writable) {
        int protection = PROT_READ | (writable ? PROT_WRITE : 0), r;
        uint64_t granularity = mapping_granularity(half->huge_pages);
        uint64_t ring_offset = half_ring_offset(half->huge_pages);
        unsigned char *base;

        r = half_reserve(half, granularity, ring_offset);
        if (r < 0)
                return r;
        base = (unsigned char *)half->reservation + granularity;
        half->ring = base + ring_offset;
        half->control = (void *)(base + page_size());
        if (mmap(base, ring_offset + half->capacity, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
            mmap(half->ring + half->capacity, half->capacity, protection, MAP_SHARED | MAP_FIXED, fd,
                 (off_t)ring_offset) == MAP_FAILED)
                return fail(errno, "cannot map a ring of %llu bytes: %s", (unsigned long long)half->capacity,
                            strerror(errno));
        os_memory_dontfork(half->reservation, half->reservation_size);
        return 0;
}

static uint64_t half_mapped_size(const struct half *half) {
        return half_ring_offset(half->huge_pages) + 2 * half->capacity;
}

static void *half_base(const struct half *half) {
        return (unsigned char *)half->control - page_size();
}

static int half_apply(const struct half *half, const struct half_options *options, bool writable) {
        if (options->mlock && mlock(half_base(half), half_mapped_size(half)) < 0)
                return fail(errno, "cannot lock %llu bytes in memory (raise ulimit -l): %s",
                            (unsigned long long)half_mapped_size(half), strerror(errno));
        if (options->prefault)
                os_memory_populate(half_base(half), half_mapped_size(half), writable);
        return 0;
}

static int half_create_with(struct half *half, int *fdp, const struct half_options *options) {
        uint64_t ring_offset = half_ring_offset(half->huge_pages);
        _cleanup_(closep) int fd = -1;
        struct half_geometry geometry = {
                .magic = TACHYON_MAGIC,
                .endianness = TACHYON_ENDIANNESS,
                .layout_version = TACHYON_LAYOUT_VERSION,
                .page_size = page_size(),
                .ring_offset = ring_offset,
                .capacity = half->capacity,
        };
        int r;

        r = os_memory_create(&fd, ring_offset + half->capacity, half->huge_pages);
        if (r < 0)
                return r;
        r = half_map(half, fd, true);
        if (r < 0)
                return r;
        if (options->numa_node >= 0) {
                r = os_memory_bind(half_base(half), ring_offset + half->capacity, options->numa_node);
                if (r < 0)
                        return r;
        }
        memcpy(half_base(half), &geometry, sizeof(geometry));
        atomic_store_explicit(&half->control->state, HALF_OPEN, memory_order_relaxed);
        /* How far we have read of the peer's ring: not at all. */
        atomic_store_explicit(&half->control->read_position, START_POSITION, memory_order_relaxed);
        LABEL("handshake:memory-made");
        r = os_memory_seal(fd, options->trusted);
        if (r < 0)
                return r;
        r = half_apply(half, options, true);
        if (r < 0)
                return r;
        LABEL("handshake:memory-sealed");
        *fdp = steal_fd(&fd);
        return 0;
}

int half_create(struct half *halfp, int *fdp, uint64_t capacity, const struct half_options *options) {
        struct half half = { .capacity = capacity };
        int r = -ENOTSUP;

        if (options->huge_pages && capacity % HUGE_PAGE_SIZE == 0) {
                half.huge_pages = true;
                r = half_create_with(&half, fdp, options);
                if (r < 0)
                        half_destroy(&half);
        }
        if (!half.huge_pages || r < 0) { /* no huge pages wanted, or none to be had */
                half = (struct half){ .capacity = capacity };
                r = half_create_with(&half, fdp, options);
        }
        if (r < 0) {
                half_destroy(&half);
                return r;
        }
        *halfp = half;
        return 0;
}

static int half_check_geometry(struct half *half, int fd) {
        struct half_geometry geometry;
        int r = os_memory_read(fd, &geometry, sizeof(geometry));

        if (r < 0)
                return r;
        if (geometry.magic != TACHYON_MAGIC || geometry.endianness != TACHYON_ENDIANNESS ||
            geometry.layout_version != TACHYON_LAYOUT_VERSION || geometry.page_size != page_size() ||
            geometry.capacity != half->capacity)
                return fail(EPROTO, "the peer's memory is not laid out as agreed");
        half->huge_pages = geometry.ring_offset != half_ring_offset(false);
        if (geometry.ring_offset != half_ring_offset(half->huge_pages))
                return fail(EPROTO, "the peer's memory has its ring in an impossible place");
        return 0;
}

/* Where a sandboxed kernel accepts the write seal and does not enforce it, we want to know. */
static bool half_refuses_writing(int fd) {
        void *p = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (p == MAP_FAILED)
                return errno == EPERM;
        munmap(p, page_size());
        return false;
}

int half_attach(struct half *halfp, int fd, uint64_t capacity, const struct half_options *options) {
        struct half half = { .capacity = capacity };
        int r;

        r = os_memory_check_kind(fd, options->trusted);
        if (r < 0)
                return r;
        r = half_check_geometry(&half, fd);
        if (r < 0)
                return r;
        r = os_memory_check_size(fd, half_ring_offset(half.huge_pages) + capacity);
        if (r < 0)
                return r;
        half.isolated = !options->trusted && half_refuses_writing(fd);
        r = half_map(&half, fd, options->trusted);
        if (r == 0)
                r = half_apply(&half, options, options->trusted);
        if (r < 0) {
                half_destroy(&half);
                return r;
        }
        *halfp = half;
        return 0;
}

void half_keep_in_child(const struct half *half, bool keep) {
        if (keep)
                os_memory_dofork(half->reservation, half->reservation_size);
        else
                os_memory_dontfork(half->reservation, half->reservation_size);
}

void half_inherited(const struct half *half) {
        mprotect(half_base(half), half_mapped_size(half), PROT_READ);
}

void half_become_zeros(struct half *half) {
        if (mmap(half->reservation, half->reservation_size, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
                half_destroy(half);
}

/* The addresses are free in the child: our munmap() must not hit what somebody else has put there. */
void half_not_inherited(struct half *half) {
        half->reservation = NULL;
}

void half_destroy(struct half *half) {
        if (half->reservation)
                munmap(half->reservation, half->reservation_size);
        *half = (struct half)HALF_INIT;
}
