/* SPDX-License-Identifier: MIT */
/*
 * The introduction, from both sides, with a peer that sends what it likes in
 * pieces of any length, and descriptors of any kind with each. Whatever it does:
 * an answer, a refusal or a failure; no descriptor and no mapping is left.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "../../include/tachyon.h"
#include "../../libtachyon/handshake.h"

static struct settings settings;
static struct input input;

/* ---- descriptors of all kinds ------------------------------------------- */

#define N_KINDS 16

/* By the size that is asked for, or nearly so, written as a half or nearly so, sealed or nearly so. */
static int memory(uint64_t size, uint64_t capacity, int seals, bool allocated) {
        struct half_geometry geometry = {
                .magic = TACHYON_MAGIC,
                .endianness = TACHYON_ENDIANNESS,
                .layout_version = TACHYON_LAYOUT_VERSION,
                .page_size = 4096,
                .ring_offset = 8192,
                .capacity = capacity,
        };
        int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
        CHECK(!allocated || fallocate(fd, 0, 0, (off_t)size) == 0);
        CHECK(pwrite(fd, &geometry, sizeof(geometry), 0) == sizeof(geometry));
        CHECK(fcntl(fd, F_ADD_SEALS, seals) == 0);
        return fd;
}

static int one_of_a_pair(int type) {
        int pair[2];

        CHECK(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) == 0);
        return pair[0]; /* the other one stays open: nothing of it hangs up */
}

static int descriptor(uint64_t kind) {
        const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_FUTURE_WRITE;
        const uint64_t size = 8192 + CAPACITY;
        static int fds[N_KINDS];
        int pipe_fds[2];

        if (fds[0])
                return fds[kind % N_KINDS];
        fds[0] = fds[1] = fds[2] = memory(size, CAPACITY, all, true);
        fds[3] = fds[4] = one_of_a_pair(SOCK_STREAM);
        fds[5] = memory(size, CAPACITY, all & ~F_SEAL_FUTURE_WRITE, true);
        fds[6] = memory(size, CAPACITY, F_SEAL_SEAL, true);
        fds[7] = memory(size, CAPACITY, all, false);
        fds[8] = memory(size - 1, CAPACITY, all, true);
        fds[9] = memory(size + 4096, CAPACITY, all, true);
        fds[10] = memory(size, CAPACITY * 2, all, true);
        fds[11] = one_of_a_pair(SOCK_DGRAM);
        fds[12] = one_of_a_pair(SOCK_SEQPACKET);
        CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
        fds[13] = pipe_fds[0];
        fds[14] = open("/dev/zero", O_RDWR | O_CLOEXEC);
        fds[15] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        return fds[kind % N_KINDS];
}

static int exchange_line(uint64_t kind) {
        uint64_t offset = (kind & 3) == 3 ? take(&input, 2) : FRAME_ALIGNMENT << (kind >> 2 & 7);
        int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        off_t size = kind & 0x40 ? 8192 : 4096;

        CHECK(fd >= 0 && ftruncate(fd, size) == 0);
        CHECK(kind & 0x80 || fallocate(fd, 0, 0, size) == 0);
        CHECK(kind & 0x80 || pwrite(fd, &offset, sizeof(offset), 0) == sizeof(offset));
        CHECK(fcntl(fd, F_ADD_SEALS, (int)(kind & 0x1f)) == 0);
        return fd;
}

/* ---- the peer ----------------------------------------------------------- */

static void peer_sends(int socket, const unsigned char *bytes, size_t size, size_t n_fds) {
        char space[CMSG_SPACE(8 * sizeof(int))] = { 0 };
        struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
        struct cmsghdr *header = (void *)space;
        int fds[8], line = -1;

        for (size_t i = 0; i < n_fds; i++)
                fds[i] = descriptor(take(&input, 1));
        /* Made anew each time: it is the connector that seals it. Two that are right, or nearly so. */
        if (n_fds == 7) {
                n_fds = 2;
                fds[1] = line = exchange_line(take(&input, 1));
        }
        if (n_fds) {
                message.msg_control = space;
                message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(header), fds, n_fds * sizeof(int));
        }
        sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        close_fd(line);
}

/* As an honest peer would say it in this step, then as much of it changed as the input wants. */
static struct hello take_hello(uint32_t step) {
        struct hello hello = {
                .magic = TACHYON_MAGIC,
                .endianness = TACHYON_ENDIANNESS,
                .layout_min = 1,
                .layout_max = 1,
                .kind = TACHYON_KIND_STREAM,
                .features = HELLO_FEATURE_MEMBARRIER | HELLO_FEATURE_EXCHANGE,
                .capacity = CAPACITY,
                .reply_capacity = CAPACITY,
                .step = step,
        };

        for (uint64_t changes = take(&input, 1) & 3; changes; changes--) {
                uint64_t place = take(&input, 1) % sizeof(hello);

                ((unsigned char *)&hello)[place] = (unsigned char)take(&input, 1);
        }
        return hello;
}

/* One hello in up to four pieces; between them, `look` is what the victim does. */
static int peer_introduces_itself(int socket, uint32_t step, int (*look)(void *), void *context) {
        struct hello hello = take_hello(step);
        size_t sent = 0;
        int r = 0;

        for (int piece = 0; piece < 4 && sent < sizeof(hello) && r == 0; piece++) {
                uint64_t n = take(&input, 1), fds = take(&input, 1);
                size_t size = n & 1 && n / 2 && n / 2 < sizeof(hello) - sent ? n / 2 : sizeof(hello) - sent;

                peer_sends(socket, (unsigned char *)&hello + sent, size, fds % 8);
                sent += size;
                r = look ? look(context) : 0;
        }
        return r;
}

/* ---- the victims -------------------------------------------------------- */

static int listener_looks(void *context) {
        return handshake_listener_step(context, &settings);
}

/* The offer is taken, and its exchange line sealed, most often as it should be. */
static void peer_seals(int socket) {
        char space[CMSG_SPACE(2 * sizeof(int))];
        struct hello offer;
        struct iovec iov = { .iov_base = &offer, .iov_len = sizeof(offer) };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
        uint64_t how = take(&input, 1);
        struct cmsghdr *header;
        int fds[2] = { -1, -1 };

        if (recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
                return;
        header = CMSG_FIRSTHDR(&message);
        if (header)
                memcpy(fds, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
        if (how & 0x20)
                CHECK(fds[1] < 0 || ftruncate(fds[1], (off_t)(how & 3) * 4096) == 0);
        if (fds[1] >= 0)
                CHECK(fcntl(fds[1], F_ADD_SEALS, (int)(how & 0x40 ? how & 0x17 : 0x17)) == 0);
        close_fd(fds[0]);
        close_fd(fds[1]);
}

static void against_listener(int ours, int theirs) {
        struct handshake handshake;
        int r = 0;

        handshake_init(&handshake, ours, DEADLINE_NEVER);
        for (uint32_t step = HELLO_CONNECT; step <= HELLO_ANSWER && r == 0; step += 2) {
                r = peer_introduces_itself(theirs, step, listener_looks, &handshake);
                if (step == HELLO_CONNECT)
                        peer_seals(theirs);
        }
        if (r == 0) {
                shutdown(theirs, SHUT_WR);
                r = handshake_listener_step(&handshake, &settings);
                if (r == 0)
                        handshake_expire(&handshake, &settings);
        }
        CHECK(r <= 0 || handshake.connection.theirs.capacity == CAPACITY);
        if (r > 0)
                touch(handshake.connection.theirs.ring, 2 * CAPACITY);
        if (r > 0 && handshake.connection.exchange)
                memset(handshake.connection.exchange->payload, 1, FRAME_INLINE_SIZE);
        handshake_destroy(&handshake);
}

/* It blocks, so all that the peer will ever say is there before. */
static void against_connector(int ours, int theirs) {
        struct connection connection;

        peer_introduces_itself(theirs, HELLO_OFFER, NULL, NULL);
        peer_introduces_itself(theirs, HELLO_WELCOME, NULL, NULL);
        shutdown(theirs, SHUT_WR);
        if (handshake_connect(&connection, ours, &settings, DEADLINE_NEVER, "fuzz") == 0) {
                if (connection.exchange)
                        memset(connection.exchange->payload, 1, FRAME_INLINE_SIZE);
                touch(connection.theirs.ring, 2 * CAPACITY);
                connection_destroy(&connection);
        }
}

static void start(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;

        options.capacity = CAPACITY;
        options.max_capacity = 16 * CAPACITY;
        CHECK(settings_init(&settings, &options) == 0);
        descriptor(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        int pair[2], lowest;

        if (!settings.capacity)
                start();
        input = (struct input){ data, size };
        lowest = dup(0);
        close(lowest);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
        if (take(&input, 1) & 1)
                against_connector(pair[0], pair[1]);
        else
                against_listener(pair[0], pair[1]);
        close(pair[1]);
        CHECK(dup(0) == lowest);
        close(lowest);
        return 0;
}
