/* SPDX-License-Identifier: MIT */
/* Halves: what we make is sealed, whole and guarded; what a peer offers is taken only if it is the same. */
#include "test-util.h"

#include "../libtachyon/half.h"
#include "../libtachyon/os.h"
#include <sys/eventfd.h>
#include <sys/socket.h>

#define CAPACITY UINT64_C(65536)
#define HUGE (UINT64_C(2) << 20)

static const struct half_options plain = { .numa_node = -1 };

static uint64_t page(void) {
        return (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool same_memory(const unsigned char *a, const unsigned char *b, uint64_t size) {
        return memcmp(a, b, size) == 0;
}

/* ---- what we make ------------------------------------------------------- */

static void test_capacity_is_rounded_up(void) {
        CHECK_EQ(half_round_capacity(0, false), page());
        CHECK_EQ(half_round_capacity(1, false), page());
        CHECK_EQ(half_round_capacity(page(), false), page());
        CHECK_EQ(half_round_capacity(page() + 1, false), 2 * page());
        CHECK_EQ(half_round_capacity((UINT64_C(1) << 32) - 1, false), UINT64_C(1) << 32);
        CHECK_EQ(half_round_capacity((UINT64_C(1) << 32) + 1, false), UINT64_C(1) << 33);
        CHECK_EQ(half_round_capacity(UINT64_C(1) << 63, false), UINT64_C(1) << 63);
        CHECK_EQ(half_round_capacity((UINT64_C(1) << 63) + 1, false), 0);
        CHECK_EQ(half_round_capacity(UINT64_MAX, false), 0);
        CHECK_EQ(half_round_capacity(1, true), HUGE);
        CHECK_EQ(half_round_capacity(HUGE + 1, true), 2 * HUGE);
}

static void test_ring_is_mapped_twice_in_a_row(void) {
        struct half half = HALF_INIT;
        int fd = -1;

        CHECK_EQ(half_create(&half, &fd, CAPACITY, &plain), 0);
        CHECK_EQ(half.capacity, CAPACITY);
        fill(half.ring, CAPACITY, 1);
        CHECK(same_memory(half.ring, half.ring + CAPACITY, CAPACITY));
        fill(half.ring + CAPACITY - 100, 200, 2); /* across the seam */
        CHECK(matches(half.ring + CAPACITY - 100, 200, 2));
        CHECK(same_memory(half.ring, half.ring + CAPACITY, CAPACITY));
        CHECK_EQ(atomic_load(&half.control->state), HALF_OPEN);
        close(fd);
        half_destroy(&half);
        half_destroy(&half);
}

static void test_attached_half_shows_what_the_owner_writes(void) {
        struct half ours = HALF_INIT, theirs = HALF_INIT;
        int fd = -1;

        CHECK_EQ(half_create(&ours, &fd, CAPACITY, &plain), 0);
        CHECK_EQ(half_attach(&theirs, fd, CAPACITY, &plain), 0);
        close(fd);
        fill(ours.ring, CAPACITY, 3);
        atomic_store(&ours.control->read_position, 77);
        CHECK(matches(theirs.ring, CAPACITY, 3));
        CHECK(same_memory(theirs.ring, theirs.ring + CAPACITY, CAPACITY));
        CHECK_EQ(atomic_load(&theirs.control->read_position), 77);
        CHECK_EQ(theirs.isolated, !PORTABLE);
        half_destroy(&ours);
        CHECK(matches(theirs.ring, CAPACITY, 3)); /* the owner's end is not ours */
        half_destroy(&theirs);
}

static void test_descriptor_cannot_be_written_or_resized(void) {
        struct half half = HALF_INIT;
        int fd = -1, again;
        char path[64];

        CHECK_EQ(half_create(&half, &fd, CAPACITY, &plain), 0);
        CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        CHECK(mmap(NULL, page(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
        CHECK_EQ(errno, EPERM);
        CHECK(pwrite(fd, "x", 1, 0) < 0);
        CHECK(ftruncate(fd, 0) < 0);
        CHECK(ftruncate(fd, (off_t)(2 * CAPACITY)) < 0);
        CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)page()) < 0);
        CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        again = open(path, O_RDWR | O_CLOEXEC);
        if (again >= 0) {
                CHECK(mmap(NULL, page(), PROT_WRITE, MAP_SHARED, again, 0) == MAP_FAILED);
                CHECK(pwrite(again, "x", 1, 0) < 0);
                close(again);
        }
        close(fd);
        half_destroy(&half);
}

/* Closed at exec, without a name that others could open or that somebody has to remove. */
static void test_descriptor_has_no_name(void) {
        struct half half = HALF_INIT;
        struct stat st;
        int fd = -1;

        CHECK_EQ(half_create(&half, &fd, CAPACITY, &plain), 0);
        CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        CHECK_EQ(fstat(fd, &st), 0);
        CHECK_EQ(st.st_nlink, 0);
        if (PORTABLE) /* it had one, for a moment */
                CHECK_EQ(st.st_mode & 0077, 0);
        close(fd);
        half_destroy(&half);
}

/* Does touching this address kill? */
static bool faults(volatile unsigned char *address, bool write) {
        pid_t pid = fork_helper();
        int status;

        if (pid == 0) {
                signal(SIGSEGV, SIG_DFL); /* sanitizers' handlers would make an exit of it */
                signal(SIGBUS, SIG_DFL);
                if (write)
                        *address = 1;
                else
                        (void)*address;
                _exit(0);
        }
        status = wait_status(pid);
        return WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS);
}

static void test_guards_fault(void) {
        struct half ours = HALF_INIT, theirs = HALF_INIT;
        int fd = -1;

        CHECK_EQ(half_create(&ours, &fd, CAPACITY, &plain), 0);
        CHECK_EQ(half_attach(&theirs, fd, CAPACITY, &plain), 0);
        close(fd);
        /* In a child our rings are not there at all: for this test, they are. */
        CHECK_EQ(madvise(ours.reservation, ours.reservation_size, MADV_DOFORK), 0);
        CHECK_EQ(madvise(theirs.reservation, theirs.reservation_size, MADV_DOFORK), 0);
        for (int i = 0; i < 2; i++) {
                struct half *half = i ? &theirs : &ours;
                unsigned char *base = (unsigned char *)half->control - page();

                CHECK(!faults(base, false));
                CHECK(faults(base - 1, false));
                CHECK(!faults(half->ring + 2 * CAPACITY - 1, false));
                CHECK(faults(half->ring + 2 * CAPACITY, false));
                CHECK_EQ(faults(half->ring, true), i == 1);
                CHECK_EQ(faults((unsigned char *)half->control, true), i == 1);
        }
        half_destroy(&ours);
        half_destroy(&theirs);
}

static void test_a_forked_child_does_not_have_it(void) {
        struct half half = HALF_INIT;
        int fd = -1;

        CHECK_EQ(half_create(&half, &fd, CAPACITY, &plain), 0);
        CHECK(faults(half.ring, false));
        CHECK_EQ(half.ring[0], 0);
        close(fd);
        half_destroy(&half);
}

static void test_trusted_half_is_writable_from_both_sides(void) {
        const struct half_options trusted = { .numa_node = -1, .trusted = true };
        struct half ours = HALF_INIT, theirs = HALF_INIT;
        int fd = -1;

        CHECK_EQ(half_create(&ours, &fd, CAPACITY, &trusted), 0);
        CHECK_EQ(half_attach(&theirs, fd, CAPACITY, &trusted), 0);
        CHECK(!theirs.isolated);
        fill(theirs.ring, CAPACITY, 5);
        CHECK(matches(ours.ring, CAPACITY, 5));
        half_destroy(&theirs);
        /* Who did not ask for it does not get it; where there are no seals, the handshake's bit says it alone. */
        if (!PORTABLE) {
                CHECK_EQ(half_attach(&theirs, fd, CAPACITY, &plain), -EPROTO);
                CHECK_DETAIL("seals");
        }
        close(fd);
        half_destroy(&ours);
}

static void test_prefault_maps_every_page(void) {
        const struct half_options prefault = { .numa_node = -1, .prefault = true };
        struct half ours = HALF_INIT, theirs = HALF_INIT;
        unsigned char present[2 * CAPACITY / 4096];
        int fd = -1;

        CHECK_EQ(half_create(&ours, &fd, CAPACITY, &prefault), 0);
        CHECK_EQ(half_attach(&theirs, fd, CAPACITY, &prefault), 0);
        CHECK_EQ(mincore(ours.ring, 2 * CAPACITY, present), 0);
        for (uint64_t i = 0; i < 2 * CAPACITY / page(); i++)
                CHECK(present[i] & 1);
        close(fd);
        half_destroy(&ours);
        half_destroy(&theirs);
}

/* Where there are no huge pages left, normal ones do; either way the half works, and says which it has. */
static void test_huge_pages_or_normal_ones(void) {
        const struct half_options huge = { .numa_node = -1, .huge_pages = true };
        struct half ours = HALF_INIT, theirs = HALF_INIT;
        int fd = -1;

        CHECK_EQ(half_create(&ours, &fd, HUGE, &huge), 0);
        CHECK_EQ(half_attach(&theirs, fd, HUGE, &plain), 0);
        CHECK_EQ(ours.huge_pages, theirs.huge_pages);
        fill(ours.ring + HUGE - 100, 200, 2);
        CHECK(matches(theirs.ring, 100, 2) || matches(theirs.ring + HUGE - 100, 200, 2));
        CHECK(same_memory(theirs.ring, theirs.ring + HUGE, HUGE));
        close(fd);
        half_destroy(&ours);
        half_destroy(&theirs);
        /* Too small for one huge page. */
        CHECK_EQ(half_create(&ours, &fd, CAPACITY, &huge), 0);
        CHECK(!ours.huge_pages);
        close(fd);
        half_destroy(&ours);
}

/* ---- limits ------------------------------------------------------------- */

static void test_file_size_limit_is_an_error_not_a_signal(void) {
        struct half half = HALF_INIT;
        int fd = -1;

        limit_resource(RLIMIT_FSIZE, CAPACITY);
        CHECK_EQ(half_create(&half, &fd, CAPACITY, &plain), -EFBIG);
        CHECK_DETAIL("ulimit -f");
        CHECK_EQ(fd, -1);
        CHECK(!half.reservation);
        CHECK_EQ(half_create(&half, &fd, CAPACITY / 2, &plain), 0);
        close(fd);
        half_destroy(&half);
}

/* AddressSanitizer makes mlock() do nothing. */
static bool mlock_is_real(void) {
        void *p = mmap(NULL, CAPACITY, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        bool real;

        CHECK(p != MAP_FAILED);
        real = mlock(p, CAPACITY) < 0;
        munmap(p, CAPACITY);
        return real;
}

static void test_memory_lock_limit_is_an_error(void) {
        const struct half_options locked = { .numa_node = -1, .mlock = true };
        struct half half = HALF_INIT;
        int fd = -1;

        limit_resource(RLIMIT_MEMLOCK, 8 * page());
        if (geteuid() == 0)
                CHECK_EQ(setuid(65534), 0); /* root may lock as much as it likes */
        if (!mlock_is_real()) {
                printf("      mlock() does nothing here\n");
                return;
        }
        CHECK_EQ(half_create(&half, &fd, CAPACITY, &locked), -ENOMEM);
        CHECK_DETAIL("ulimit -l");
        CHECK_EQ(fd, -1);
        CHECK_EQ(mapping_count(), 0);
        CHECK_EQ(half_create(&half, &fd, page(), &locked), 0);
        close(fd);
        half_destroy(&half);
}

static void test_missing_numa_node_is_an_error(void) {
        struct half_options options = { .numa_node = 1023 };
        struct half half = HALF_INIT;
        int fd = -1;

        CHECK_EQ(half_create(&half, &fd, CAPACITY, &options), -EINVAL);
        CHECK_DETAIL("1023");
        options.numa_node = 100000;
        CHECK_EQ(half_create(&half, &fd, CAPACITY, &options), -EINVAL);
        CHECK_EQ(fd, -1);
}

static void test_no_descriptor_left_is_an_error(void) {
        struct half half = HALF_INIT;
        int fd = -1;
        rlim_t old = limit_resource(RLIMIT_NOFILE, (rlim_t)fd_lowest());

        CHECK_EQ(half_create(&half, &fd, CAPACITY, &plain), -EMFILE);
        CHECK_EQ(fd, -1);
        limit_resource(RLIMIT_NOFILE, old);
}

/* ---- what a peer offers ------------------------------------------------- */

/* A memory made by a peer, in the right form but for what each test spoils. */
struct offer {
        struct half_geometry geometry;
        uint64_t size;
        int seals;
        bool sparse;
};

static struct offer offer_good(void) {
        return (struct offer){
                .geometry = {
                        .magic = TACHYON_MAGIC,
                        .endianness = TACHYON_ENDIANNESS,
                        .layout_version = TACHYON_LAYOUT_VERSION,
                        .page_size = page(),
                        .ring_offset = 2 * page(),
                        .capacity = CAPACITY,
                },
                .size = 2 * page() + CAPACITY,
                .seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_FUTURE_WRITE,
        };
}

static int offer_make(const struct offer *offer) {
        int fd = memfd_create("offer", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        CHECK(fd >= 0 && ftruncate(fd, (off_t)offer->size) == 0);
        if (!offer->sparse)
                CHECK_EQ(fallocate(fd, 0, 0, (off_t)offer->size), 0);
        CHECK_EQ(pwrite(fd, &offer->geometry, sizeof(offer->geometry), 0), sizeof(offer->geometry));
        if (offer->seals)
                CHECK_EQ(fcntl(fd, F_ADD_SEALS, offer->seals), 0);
        return fd;
}

/* Takes the descriptor over. */
static void refused(int fd) {
        struct half half = HALF_INIT;
        int fds = fd_count();

        CHECK(fd >= 0);
        CHECK_EQ(half_attach(&half, fd, CAPACITY, &plain), -EPROTO);
        CHECK(*tachyon_error_detail());
        CHECK(!half.reservation);
        CHECK_EQ(fd_count(), fds);
        close(fd);
}

static void refused_offer(const struct offer *offer) {
        refused(offer_make(offer));
}

static void test_a_good_offer_is_taken(void) {
        struct offer offer = offer_good();
        struct half half = HALF_INIT;
        int fd = offer_make(&offer);

        CHECK_EQ(half_attach(&half, fd, CAPACITY, &plain), 0);
        CHECK(half.isolated);
        half_destroy(&half);
        close(fd);
        offer.seals |= F_SEAL_WRITE; /* more than needed is fine */
        fd = offer_make(&offer);
        CHECK_EQ(half_attach(&half, fd, CAPACITY, &plain), 0);
        half_destroy(&half);
        close(fd);
}

static void test_missing_seals_are_refused(void) {
        const int seals[] = { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_FUTURE_WRITE };
        struct offer offer = offer_good();
        int all = offer.seals;

        for (size_t i = 0; i < 4; i++) {
                offer.seals = all & ~seals[i];
                refused_offer(&offer);
                CHECK_DETAIL("seals");
        }
        offer.seals = 0;
        refused_offer(&offer);
}

static void test_without_seals_nothing_is_claimed(void) {
        struct offer offer = offer_good();
        struct half half = HALF_INIT;
        int fd;

        offer.seals = 0;
        fd = offer_make(&offer);
        CHECK_EQ(half_attach(&half, fd, CAPACITY, &plain), 0);
        CHECK(!half.isolated);
        half_destroy(&half);
        close(fd);
}

static void test_wrong_size_is_refused(void) {
        struct offer offer = offer_good();
        const uint64_t good = offer.size, sizes[] = { good - 1, good - page(), good + 1, good + page(), page() };

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                offer.size = sizes[i];
                refused_offer(&offer);
        }
}

static void test_holes_are_refused(void) {
        struct offer offer = offer_good();

        offer.sparse = true;
        refused_offer(&offer);
        CHECK_DETAIL("holes");
}

static void test_wrong_geometry_is_refused(void) {
        struct offer offer = offer_good();

        offer.geometry.magic++;
        refused_offer(&offer);
        offer = offer_good();
        offer.geometry.endianness = 0x04030201;
        refused_offer(&offer);
        offer = offer_good();
        offer.geometry.layout_version++;
        refused_offer(&offer);
        offer = offer_good();
        offer.geometry.page_size *= 2;
        refused_offer(&offer);
        offer = offer_good();
        offer.geometry.capacity *= 2;
        refused_offer(&offer);
        const uint64_t offsets[] = { 0, page(), 3 * page(), HUGE, UINT64_MAX };
        for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
                offer = offer_good();
                offer.geometry.ring_offset = offsets[i];
                refused_offer(&offer);
        }
}

static void test_what_is_no_memory_is_refused(void) {
        struct offer offer = offer_good();
        int pipes[2], sockets[2], fd;

        CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
        refused(pipes[0]);
        refused(pipes[1]);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
        refused(sockets[0]);
        refused(sockets[1]);
        refused(eventfd(0, EFD_CLOEXEC));
        refused(open("/dev/zero", O_RDWR | O_CLOEXEC));
        refused(open("/dev/null", O_RDWR | O_CLOEXEC));
        refused(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        refused(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
        /* A file of the right size and content could be cut short under us. */
        fd = open(path_of("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        CHECK_EQ(fallocate(fd, 0, 0, (off_t)offer.size), 0);
        CHECK_EQ(pwrite(fd, &offer.geometry, sizeof(offer.geometry), 0), sizeof(offer.geometry));
        refused(fd);
        if (PORTABLE)
                return;
        fd = memfd_create("unsealable", MFD_CLOEXEC);
        CHECK_EQ(fallocate(fd, 0, 0, (off_t)offer.size), 0);
        CHECK_EQ(pwrite(fd, &offer.geometry, sizeof(offer.geometry), 0), sizeof(offer.geometry));
        refused(fd);
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_capacity_is_rounded_up);
        RUN(test_ring_is_mapped_twice_in_a_row);
        RUN(test_attached_half_shows_what_the_owner_writes);
        RUN(test_descriptor_has_no_name);
        if (!PORTABLE)
                RUN(test_descriptor_cannot_be_written_or_resized);
        RUN(test_guards_fault);
        RUN_WITH_REAL_KERNEL(test_a_forked_child_does_not_have_it);
        RUN(test_trusted_half_is_writable_from_both_sides);
        RUN_WITH_REAL_KERNEL(test_prefault_maps_every_page);
        RUN(test_huge_pages_or_normal_ones);
        RUN(test_file_size_limit_is_an_error_not_a_signal);
        RUN(test_memory_lock_limit_is_an_error);
        RUN_WITH_REAL_KERNEL(test_missing_numa_node_is_an_error);
        RUN_WITH_REAL_LIMITS(test_no_descriptor_left_is_an_error);
        RUN(test_a_good_offer_is_taken);
        if (PORTABLE)
                RUN(test_without_seals_nothing_is_claimed);
        else
                RUN(test_missing_seals_are_refused);
        RUN(test_wrong_size_is_refused);
        RUN(test_holes_are_refused);
        RUN(test_wrong_geometry_is_refused);
        RUN(test_what_is_no_memory_is_refused);
        return tests_end();
}
