/* SPDX-License-Identifier: MIT */
/* The page of the exchange line: made, checked, mapped. */
#include "exchange.h"
#include "os.h"
#include <string.h>
#include <sys/mman.h>

static size_t exchange_size(void) {
        return (size_t)sysconf(_SC_PAGESIZE);
}

/*
 * Where on its page the line is. Were it the same place for all of them, those of
 * many buses would be in one set of each cache, and push each other out.
 */
static uint64_t next_offset(void) {
        static _Atomic unsigned made;
        size_t places = exchange_size() / FRAME_ALIGNMENT - 1; /* the first line says which it is */

        return (1 + atomic_fetch_add_explicit(&made, 1, memory_order_relaxed) % places) * FRAME_ALIGNMENT;
}

/* The page that a line is on. */
static void *page_of(struct frame *line) {
        return (void *)((uintptr_t)line & ~(uintptr_t)(exchange_size() - 1));
}

static int exchange_map(_Atomic uint64_t **pagep, int fd) {
        void *page = mmap(NULL, exchange_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (page == MAP_FAILED)
                return -errno;
        os_memory_dontfork(page, exchange_size());
        *pagep = page;
        return 0;
}

static struct frame *line_at(_Atomic uint64_t *page, uint64_t offset) {
        return (struct frame *)(void *)((char *)page + offset);
}

static int exchange_apply(void *page, const struct half_options *options) {
        if (options->mlock && mlock(page, exchange_size()) < 0)
                return fail(errno, "cannot lock %zu bytes in memory (raise ulimit -l): %s", exchange_size(),
                            strerror(errno));
        if (options->prefault)
                os_memory_populate(page, exchange_size(), true);
        return 0;
}

int exchange_create(struct frame **linep, int *fdp, const struct half_options *options) {
        uint64_t offset = next_offset();
        _cleanup_(closep) int fd = -1;
        _Atomic uint64_t *page = NULL;
        int r;

        r = os_memory_create(&fd, exchange_size(), false);
        if (r < 0)
                return r;
        r = exchange_map(&page, fd);
        if (r < 0)
                return fail(-r, "cannot map the exchange line: %s", strerror(-r));
        *linep = line_at(page, offset);
        r = exchange_apply(page, options);
        if (r < 0)
                return r;
        /* Relaxed: the descriptor travels by a system call. */
        atomic_store_explicit(page, offset, memory_order_relaxed);
        *fdp = steal_fd(&fd);
        return 0;
}

int exchange_check(int fd) {
        int r = os_memory_check_kind(fd, false);

        return r < 0 ? r : os_memory_check_size(fd, exchange_size());
}

/* Sealed and whole, so that it can be looked at; 0 and where the line is, or an error. */
static int exchange_find(struct frame **linep, _Atomic uint64_t *page) {
        uint64_t offset = atomic_load_explicit(page, memory_order_relaxed);

        if (offset < FRAME_ALIGNMENT || offset >= exchange_size() || offset % FRAME_ALIGNMENT)
                return fail(EPROTO, "the peer's exchange line is at %llu, which cannot be", (unsigned long long)offset);
        *linep = line_at(page, offset);
        return 0;
}

int exchange_attach(struct frame **linep, int fd, const struct half_options *options) {
        _Atomic uint64_t *page = NULL;
        int r;

        if (!os_memory_is_shared(fd))
                return fail(EPROTO, "the peer's exchange line is not shared memory");
        /* Of another size, it may be one of huge pages: mapped whole then, and not to be unmapped by our page. */
        r = os_memory_check_size(fd, exchange_size());
        if (r < 0)
                return r;
        r = exchange_map(&page, fd);
        /* Of another's making, it need not let us: open for reading only, or sealed too early. */
        if (r == -EACCES || (r == -EPERM && os_memory_is_write_sealed(fd)))
                return fail(EPROTO, "cannot map the peer's exchange line for writing: %s", strerror(-r));
        if (r < 0)
                return fail(-r, "cannot map the peer's exchange line: %s", strerror(-r));
        /* Where it fails, the check says so. What was changed until now, it sees; from now on, nothing changes. */
        os_memory_seal(fd, false);
        r = exchange_check(fd);
        if (r == 0)
                r = exchange_apply(page, options);
        if (r == 0)
                r = exchange_find(linep, page);
        if (r < 0)
                munmap(page, exchange_size());
        return r;
}

void exchange_destroy(struct frame **linep) {
        if (*linep)
                munmap(page_of(*linep), exchange_size());
        *linep = NULL;
}

void exchange_keep_in_child(struct frame *line, bool keep) {
        if (line && keep)
                os_memory_dofork(page_of(line), exchange_size());
        else if (line)
                os_memory_dontfork(page_of(line), exchange_size());
}

void exchange_inherited(struct frame *line) {
        if (line)
                mprotect(page_of(line), exchange_size(), PROT_READ);
}
