/* SPDX-License-Identifier: MIT */
/* Versions, and words for errors. */
#include "util.h"
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../include/tachyon.h"

_Static_assert(TACHYON_ECLOSED == EPIPE && TACHYON_EFORK == ECHILD && TACHYON_EPEERDEAD == EOWNERDEAD &&
                       TACHYON_ELEASES == ENOBUFS,
               "tachyon.h spells out numbers so that it needs no errno.h");

static _Thread_local char detail[512];

int fail(int error, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(detail, sizeof(detail), format, arguments);
        va_end(arguments);
        return -error;
}

TACHYON_API const char *tachyon_error_detail(void) {
        return detail;
}

TACHYON_API uint32_t tachyon_abi_version(void) {
        return TACHYON_ABI_MAJOR << 16 | TACHYON_ABI_MINOR;
}

TACHYON_API const char *tachyon_version(void) {
        return TACHYON_VERSION;
}

static const char *known_error(int error) {
        switch (error) {
        case 0:
                return "success";
        case TACHYON_ECLOSED:
                return "the peer closed the bus";
        case TACHYON_EPEERDEAD:
                return "the peer died";
        case TACHYON_EFORK:
                return "the handle belongs to the parent process";
        case TACHYON_ELEASES:
                return "unreleased messages fill the ring";
        case EPROTO:
                return "the peer broke the protocol";
        case EPROTONOSUPPORT:
                return "the two sides do not fit together";
        case ECANCELED:
                return "closed on this side";
        case EAGAIN:
        case ETIMEDOUT:
                return "timed out";
        case EBUSY:
                return "in use by another call";
        case EMSGSIZE:
                return "message too large for the ring";
        default:
                return NULL;
        }
}

TACHYON_API const char *tachyon_strerror(int error) {
        static _Thread_local char text[128];
        const char *known;

        if (error < 0)
                error = error == INT_MIN ? INT_MAX : -error;
        known = known_error(error);
        if (known)
                return known;
        /* The GNU strerror_r() may leave the buffer alone and return a static string; strerror() is
         * thread-safe in its result's lifetime only: copy at once. */
        snprintf(text, sizeof(text), "%s", strerror(error));
        return text;
}
