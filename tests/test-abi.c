/* SPDX-License-Identifier: MIT */
/*
 * The header, the symbol map and the library name the same functions; words
 * for errors. The bytes of structs are in test-abi-layout.c.
 */
#include "test-util.h"

#include <ctype.h>
#include <dlfcn.h>

#define MAX_NAMES 256

struct names {
        char name[MAX_NAMES][64];
        size_t count;
};

int test_abi_from_here(void);

static char *file_text(const char *path) {
        FILE *file = fopen(path, "re");
        char *text = calloc(1, 1 << 20);

        CHECK(file && text);
        CHECK(fread(text, 1, (1 << 20) - 1, file) > 0);
        fclose(file);
        return text;
}

static bool in_name(char c) {
        return isalnum((unsigned char)c) || c == '_';
}

static void names_add(struct names *names, const char *begin, size_t length) {
        CHECK(names->count < MAX_NAMES && length < sizeof(names->name[0]));
        memcpy(names->name[names->count], begin, length);
        names->name[names->count++][length] = 0;
}

static bool names_have(const struct names *names, const char *name) {
        for (size_t i = 0; i < names->count; i++)
                if (strcmp(names->name[i], name) == 0)
                        return true;
        return false;
}

/* Every "TACHYON_API type name(" at the beginning of a line. */
static void names_of_header(struct names *names) {
        char *text = file_text(TEST_HEADER);

        for (char *at = text; (at = strstr(at, "\nTACHYON_API ")); at++) {
                char *end = strchr(at, '('), *begin = end;

                CHECK(end);
                while (in_name(begin[-1]))
                        begin--;
                names_add(names, begin, (size_t)(end - begin));
        }
        free(text);
}

/* Every "name;" in the map. */
static void names_of_map(struct names *names) {
        char *text = file_text(TEST_SYMBOL_MAP);

        for (char *at = text; (at = strchr(at, ';')); at++) {
                char *begin = at;

                while (begin > text && in_name(begin[-1]))
                        begin--;
                if (begin < at)
                        names_add(names, begin, (size_t)(at - begin));
        }
        free(text);
}

static void same_names(const struct names *some, const struct names *others, const char *where) {
        for (size_t i = 0; i < some->count; i++)
                if (!names_have(others, some->name[i])) {
                        fprintf(stderr, "%s is not in %s\n", some->name[i], where);
                        test_fail(__FILE__, __LINE__, "the header and the symbol map name different functions");
                }
}

static void test_header_map_and_library_name_the_same(void) {
        static struct names header, map;

        names_of_header(&header);
        names_of_map(&map);
        CHECK(header.count > 30);
        same_names(&header, &map, "libtachyon.sym");
        same_names(&map, &header, "tachyon.h");
        CHECK_EQ(map.count, header.count); /* none twice */
        for (size_t i = 0; i < map.count; i++) {
                if (!dlsym(RTLD_DEFAULT, map.name[i]))
                        test_fail(__FILE__, __LINE__, map.name[i]);
        }
}

static void test_nothing_else_is_exported(void) {
        const char *const inside[] = { "fail", "ring_commit", "half_create", "bus_new", "handle_add", "os_poll" };

        for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++)
                CHECK(!dlsym(RTLD_DEFAULT, inside[i]));
}

static void test_versions(void) {
        CHECK(test_abi_from_here());
        CHECK_EQ(tachyon_abi_version(), TACHYON_ABI_MAJOR << 16 | TACHYON_ABI_MINOR);
        CHECK(strcmp(tachyon_version(), TACHYON_VERSION) == 0);
}

static void test_words_for_errors(void) {
        const int ours[] = { TACHYON_ECLOSED, TACHYON_EPEERDEAD, TACHYON_EFORK, TACHYON_ELEASES };

        for (size_t i = 0; i < 4; i++) {
                CHECK(strcmp(tachyon_strerror(ours[i]), strerror(ours[i])) != 0);
                CHECK(strcmp(tachyon_strerror(ours[i]), tachyon_strerror(-ours[i])) == 0);
        }
        CHECK(strcmp(tachyon_strerror(-ENOENT), strerror(ENOENT)) == 0);
        for (int error = -200; error <= 200; error++)
                CHECK(*tachyon_strerror(error));
        CHECK(*tachyon_strerror(INT32_MAX));
        CHECK(*tachyon_strerror(INT32_MIN));
}

static void *fail_elsewhere(void *context) {
        tachyon_bus *bus;

        (void)context;
        CHECK_EQ(tachyon_bus_connect(&bus, "", NULL, 0), -EINVAL);
        CHECK_DETAIL("empty");
        return NULL;
}

static void test_details_are_a_threads_own(void) {
        char path[300];
        tachyon_bus *bus;

        memset(path, 'x', sizeof(path));
        path[sizeof(path) - 1] = 0;
        CHECK_EQ(tachyon_bus_connect(&bus, path, NULL, 0), -ENAMETOOLONG);
        thread_join(thread_start(fail_elsewhere, NULL));
        CHECK_DETAIL("xxx");
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_header_map_and_library_name_the_same);
        RUN(test_nothing_else_is_exported);
        RUN(test_versions);
        RUN(test_words_for_errors);
        RUN(test_details_are_a_threads_own);
        return tests_end();
}
