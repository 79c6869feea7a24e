/* SPDX-License-Identifier: MIT */
/* Options: defaults, limits, and structs of programs that are older or newer than the library. */
#include "test-util.h"

#include "../libtachyon/settings.h"

static struct settings settings;

static int take(const tachyon_options *options) {
        return settings_init(&settings, options);
}

static void test_defaults(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;

        for (int i = 0; i < 2; i++) {
                CHECK_EQ(take(i ? &options : NULL), 0);
                CHECK_EQ(settings.capacity, 1 << 20);
                CHECK_EQ(settings.reply_capacity, 1 << 20);
                CHECK_EQ(settings.kind, TACHYON_KIND_STREAM);
                CHECK_EQ(settings.socket_mode, 0600);
                CHECK_EQ(settings.max_pending, 16);
                CHECK_EQ(settings.handshake_timeout_ns, 2 * SECOND);
                CHECK(!settings.trusted && !settings.spin_fixed);
                CHECK(settings_allow_uid(&settings, (uint32_t)geteuid()));
                CHECK(!settings_allow_uid(&settings, (uint32_t)geteuid() + 1));
        }
}

/* No memory is taken here: this is arithmetic, and must not end at 32 bits. */
static void test_capacities(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;

        options.capacity = 1;
        options.reply_capacity = 4097;
        CHECK_EQ(take(&options), 0);
        CHECK_EQ(settings.capacity, 4096);
        CHECK_EQ(settings.reply_capacity, 8192);
        options.capacity = (UINT64_C(1) << 32) + 1;
        options.reply_capacity = 0;
        CHECK_EQ(take(&options), 0);
        CHECK_EQ(settings.capacity, UINT64_C(1) << 33);
        CHECK_EQ(settings.reply_capacity, UINT64_C(1) << 33);
        options.max_capacity = UINT64_C(1) << 32;
        CHECK_EQ(take(&options), -EFBIG);
        CHECK_DETAIL("max_capacity");
        options.capacity = UINT64_MAX;
        options.max_capacity = UINT64_MAX;
        CHECK_EQ(take(&options), -EFBIG);
        options.capacity = 0;
        options.max_capacity = 65536; /* the default obeys it */
        CHECK_EQ(take(&options), 0);
        CHECK_EQ(settings.capacity, 65536);
        options.max_capacity = 1;
        CHECK_EQ(take(&options), -EFBIG);
        options = (tachyon_options)TACHYON_OPTIONS_INIT;
        options.flags = TACHYON_HUGE_PAGES;
        options.capacity = 4096;
        CHECK_EQ(take(&options), 0);
        CHECK_EQ(settings.capacity, 2 << 20);
}

static void refused(const tachyon_options *options) {
        settings.capacity = 77;
        CHECK_EQ(take(options), -EINVAL);
        CHECK(*tachyon_error_detail());
        CHECK_EQ(settings.capacity, 77);
}

static void test_what_makes_no_sense_is_refused(void) {
        const tachyon_options good = TACHYON_OPTIONS_INIT;
        tachyon_options options = good;
        uint32_t uids[65] = { 0 };

        options.flags = 1u << 4;
        refused(&options);
        options = good;
        options.kind = 3;
        refused(&options);
        options = good;
        options.socket_mode = 01777;
        refused(&options);
        options = good;
        options.numa_node = -1;
        refused(&options);
        options = good;
        options.handshake_timeout_ns = -1;
        refused(&options);
        options = good;
        options.max_pending = 65;
        refused(&options);
        options = good;
        options.allowed_uid_count = 1;
        refused(&options);
        options.allowed_uids = uids;
        options.allowed_uid_count = 65;
        refused(&options);
        options.allowed_uid_count = 64;
        CHECK_EQ(take(&options), 0);
}

static void test_structs_of_other_versions(void) {
        struct {
                tachyon_options options;
                unsigned char later[16];
        } grown = { .options = TACHYON_OPTIONS_INIT };
        tachyon_options options = TACHYON_OPTIONS_INIT;

        grown.options.struct_size = sizeof(grown);
        CHECK_EQ(take(&grown.options), 0); /* newer, but nothing new is asked for */
        grown.later[15] = 1;
        CHECK_EQ(take(&grown.options), -EINVAL);
        CHECK_DETAIL("does not know");
        memset(&options, 0xff, sizeof(options)); /* older: what is beyond its end is not looked at */
        options.struct_size = offsetof(tachyon_options, reply_capacity);
        options.capacity = 4096;
        CHECK_EQ(take(&options), 0);
        CHECK_EQ(settings.capacity, 4096);
        CHECK_EQ(settings.kind, TACHYON_KIND_STREAM);
        for (uint64_t size = 0; size < offsetof(tachyon_options, reply_capacity); size++) {
                options.struct_size = size;
                refused(&options);
        }
}

static void test_spin(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;

        options.spin_ns = -1;
        CHECK_EQ(take(&options), 0);
        CHECK_EQ(settings.spin_ns, 0);
        options.spin_ns = 12345;
        CHECK_EQ(take(&options), 0);
        CHECK_EQ(settings.spin_ns, 12345);
        CHECK(settings.spin_fixed);
}

/* Deadlines are sums, and a spin is doubled: neither may overflow. */
static void test_the_longest_times_can_be_added_up(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;

        options.spin_ns = INT64_MAX;
        options.handshake_timeout_ns = INT64_MAX;
        CHECK_EQ(take(&options), 0);
        CHECK(settings.spin_ns > 0 && settings.spin_ns < INT64_MAX / 4);
        CHECK(settings.handshake_timeout_ns > 0 && settings.handshake_timeout_ns < INT64_MAX / 4);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_defaults);
        RUN(test_capacities);
        RUN(test_what_makes_no_sense_is_refused);
        RUN(test_structs_of_other_versions);
        RUN(test_spin);
        RUN(test_the_longest_times_can_be_added_up);
        return tests_end();
}
