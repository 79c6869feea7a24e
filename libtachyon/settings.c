/* SPDX-License-Identifier: MIT */
/* From the options that a caller gives to settings that are complete and make sense. */
#include "settings.h"
#include <string.h>

#include "../include/tachyon.h"

#define DEFAULT_CAPACITY (UINT64_C(1) << 20)
#define DEFAULT_MAX_CAPACITY (UINT64_C(64) << 30)
/* A listener's offer is obeyed up to max_capacity: one must not take all the memory that there is. */
#define DEFAULT_MAX_MEMORY_SHARE 2
#define LARGEST_CAPACITY (UINT64_C(1) << 44)
/* About what it costs to sleep and be woken: by then, having slept would have been as good. */
#define DEFAULT_SPIN_NS 100000
#define DEFAULT_HANDSHAKE_TIMEOUT_NS (2 * NSEC_PER_SEC)
#define DEFAULT_MAX_PENDING 16
#define OPTION_FLAGS (TACHYON_PREFAULT | TACHYON_MLOCK | TACHYON_HUGE_PAGES | TACHYON_TRUSTED)

/* A caller built against an older header has a shorter struct, a newer one a longer. */
static int options_copy(tachyon_options *copy, const tachyon_options *options) {
        const unsigned char *bytes = (const void *)options;
        uint64_t size = options->struct_size;

        if (size < offsetof(tachyon_options, reply_capacity))
                return fail(EINVAL, "options.struct_size is not set: initialise with TACHYON_OPTIONS_INIT");
        for (uint64_t i = sizeof(*copy); i < size; i++)
                if (bytes[i])
                        return fail(EINVAL, "an option is set that this version of the library does not know");
        *copy = (tachyon_options)TACHYON_OPTIONS_INIT;
        memcpy(copy, options, size < sizeof(*copy) ? size : sizeof(*copy));
        return 0;
}

static int settings_capacity(uint64_t *capacityp, uint64_t wanted, const struct settings *settings) {
        uint64_t capacity = half_round_capacity(wanted, settings->half.huge_pages);

        if (!capacity || capacity > settings->max_capacity)
                return fail(EFBIG, "a capacity of %llu bytes is over max_capacity, %llu bytes",
                            (unsigned long long)wanted, (unsigned long long)settings->max_capacity);
        *capacityp = capacity;
        return 0;
}

static int settings_uids(struct settings *settings, const tachyon_options *options) {
        if (!options->allowed_uid_count) {
                settings->uids[0] = (uint32_t)geteuid();
                settings->n_uids = 1;
                return 0;
        }
        if (options->allowed_uid_count > SETTINGS_MAX_UIDS || !options->allowed_uids)
                return fail(EINVAL, "allowed_uids must have 1 to %d entries", SETTINGS_MAX_UIDS);
        settings->n_uids = (uint32_t)options->allowed_uid_count;
        memcpy(settings->uids, options->allowed_uids, settings->n_uids * sizeof(settings->uids[0]));
        return 0;
}

/* Added to the time of day, and doubled, without overflow. */
#define LONGEST_NS (365 * 24 * 3600 * NSEC_PER_SEC)

static int64_t at_most_a_year(int64_t ns) {
        return ns < LONGEST_NS ? ns : LONGEST_NS;
}

static void settings_spin(struct settings *settings, int64_t spin_ns) {
        bool one_cpu = sysconf(_SC_NPROCESSORS_ONLN) < 2;

        settings->spin_fixed = spin_ns > 0;
        settings->spin_ns = spin_ns > 0 ? at_most_a_year(spin_ns) : spin_ns < 0 || one_cpu ? 0 : DEFAULT_SPIN_NS;
}

static int settings_check(const tachyon_options *options) {
        if (options->flags & ~(uint32_t)OPTION_FLAGS)
                return fail(EINVAL, "options.flags %#x has bits that this version does not know", options->flags);
        if (options->kind > TACHYON_KIND_RPC)
                return fail(EINVAL, "options.kind %u is no kind of bus", options->kind);
        if (options->socket_mode & ~0777u)
                return fail(EINVAL, "options.socket_mode %#o is not a permission", options->socket_mode);
        if (options->numa_node < 0)
                return fail(EINVAL, "options.numa_node is 1 + the node, or 0");
        if (options->handshake_timeout_ns < 0)
                return fail(EINVAL, "options.handshake_timeout_ns must not be negative");
        if (options->max_pending > SETTINGS_MAX_PENDING)
                return fail(EINVAL, "options.max_pending is at most %d", SETTINGS_MAX_PENDING);
        return 0;
}

static uint64_t default_max_capacity(void) {
        long pages = sysconf(_SC_PHYS_PAGES);
        uint64_t share = (uint64_t)(pages > 0 ? pages : 0) * (uint64_t)sysconf(_SC_PAGESIZE) / DEFAULT_MAX_MEMORY_SHARE;

        return share && share < DEFAULT_MAX_CAPACITY ? share : DEFAULT_MAX_CAPACITY;
}

int settings_init(struct settings *settingsp, const void *options_in) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        struct settings settings = { .capacity = 0 };
        int r;

        if (options_in && (r = options_copy(&options, options_in)) < 0)
                return r;
        r = settings_check(&options);
        if (r < 0)
                return r;

        settings.trusted = options.flags & TACHYON_TRUSTED;
        settings.kind = options.kind ? options.kind : TACHYON_KIND_STREAM;
        settings.socket_mode = options.socket_mode ? options.socket_mode : 0600;
        settings.handshake_timeout_ns =
                options.handshake_timeout_ns ? at_most_a_year(options.handshake_timeout_ns) : DEFAULT_HANDSHAKE_TIMEOUT_NS;
        settings.max_pending = options.max_pending ? (uint32_t)options.max_pending : DEFAULT_MAX_PENDING;
        settings.max_capacity = options.max_capacity ? options.max_capacity : default_max_capacity();
        if (settings.max_capacity > LARGEST_CAPACITY)
                settings.max_capacity = LARGEST_CAPACITY;
        settings.half = (struct half_options){
                .huge_pages = options.flags & TACHYON_HUGE_PAGES,
                .prefault = options.flags & TACHYON_PREFAULT,
                .mlock = options.flags & TACHYON_MLOCK,
                .trusted = settings.trusted,
                .numa_node = options.numa_node - 1,
        };
        settings_spin(&settings, options.spin_ns);
        r = settings_uids(&settings, &options);
        if (r < 0)
                return r;
        for (uint64_t c = DEFAULT_CAPACITY; !options.capacity && c; c /= 2)
                if (c <= settings.max_capacity)
                        options.capacity = c;
        r = settings_capacity(&settings.capacity, options.capacity, &settings);
        if (r < 0)
                return r;
        r = settings_capacity(&settings.reply_capacity,
                              options.reply_capacity ? options.reply_capacity : settings.capacity, &settings);
        if (r < 0)
                return r;
        *settingsp = settings;
        return 0;
}

bool settings_allow_uid(const struct settings *settings, uint32_t uid) {
        for (uint32_t i = 0; i < settings->n_uids; i++)
                if (settings->uids[i] == uid)
                        return true;
        return false;
}
