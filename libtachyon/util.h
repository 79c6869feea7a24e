/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_UTIL_H
#define TACHYON_UTIL_H
/* Clean-up by attribute, descriptor hand-over, alignment: what every file needs. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define _cleanup_(f) __attribute__((__cleanup__(f)))
#define printf_like(format, first) __attribute__((__format__(__printf__, format, first)))

static inline int close_fd(int fd) {
        int saved = errno;

        if (fd >= 0)
                close(fd);
        errno = saved;
        return -1;
}

/* The value moves to the caller, who owns it from here. */
static inline int steal_fd(int *fdp) {
        int fd = *fdp;

        *fdp = -1;
        return fd;
}

/* Forgotten first: a child that another thread forks meanwhile must not close what has that number next. */
static inline void closep(int *fdp) {
        close_fd(steal_fd(fdp));
}

static inline uint64_t align_up(uint64_t value, uint64_t alignment) {
        return (value + alignment - 1) & ~(alignment - 1);
}

static inline bool is_power_of_two(uint64_t value) {
        return value && !(value & (value - 1));
}

/* The smallest power of two that is not below value; 0 where there is none. */
static inline uint64_t next_power_of_two(uint64_t value) {
        if (value <= 1)
                return 1;
        if (value > UINT64_C(1) << 63)
                return 0;
        return UINT64_C(1) << (64 - __builtin_clzll(value - 1));
}

#define NSEC_PER_SEC INT64_C(1000000000)

static inline int64_t now_ns(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/*
 * Deadlines: INT64_MAX is never. A timeout of the public interface (0 tries,
 * negative waits for ever) becomes one of these once, at the door.
 */
#define DEADLINE_NEVER INT64_MAX

static inline int64_t deadline_after(int64_t timeout_ns) {
        int64_t now;

        if (timeout_ns < 0)
                return DEADLINE_NEVER;
        now = now_ns();
        return timeout_ns > DEADLINE_NEVER - now ? DEADLINE_NEVER : now + timeout_ns;
}

/* Sets the text of tachyon_error_detail() and gives -error back. */
int fail(int error, const char *format, ...) printf_like(2, 3);

#endif
