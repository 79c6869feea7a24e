/* SPDX-License-Identifier: MIT */
/* Memory for the measurements that use no library: made as a bus makes it, without its checks. */
#include "bench.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

void *memory_share(size_t size) {
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                die("no shared memory of %zu bytes: %s", size, strerror(errno));
        return p;
}

void *memory_share_twice(size_t size) {
        int fd = memfd_create("tachyon-bench", MFD_CLOEXEC);
        unsigned char *p;

        if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
                die("no memfd of %zu bytes: %s", size, strerror(errno));
        p = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED ||
            mmap(p, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
            mmap(p + size, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
                die("cannot map %zu bytes twice: %s", size, strerror(errno));
        close(fd);
        return p;
}

void memory_populate(void *memory, size_t size) {
        volatile unsigned char *byte = memory;

        if (madvise(memory, size, MADV_POPULATE_WRITE) == 0)
                return;
        /* Kernels before 5.14: a write to each page that changes nothing. */
        for (size_t i = 0; i < size; i += 4096)
                byte[i] = byte[i];
}

void *memory_private(size_t size) {
        void *p = NULL;
        int r = posix_memalign(&p, APART, size);

        if (r)
                die("no memory for %zu bytes: %s", size, strerror(r));
        return memset(p, 0, size);
}
