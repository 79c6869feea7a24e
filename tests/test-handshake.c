/* SPDX-License-Identifier: MIT */
/* Introductions: how two honest sides meet, and what each does with a dishonest one. No descriptor is ever lost. */
#include "test-util.h"

#include "../libtachyon/handshake.h"
#include <sys/socket.h>
#include <sys/syscall.h>

#define CAPACITY UINT64_C(65536)

static struct settings settings;

static void use_settings(uint32_t kind, uint32_t flags) {
        tachyon_options options = TACHYON_OPTIONS_INIT;

        options.capacity = CAPACITY;
        options.reply_capacity = 2 * CAPACITY;
        options.max_capacity = 4 * CAPACITY;
        options.kind = kind;
        options.flags = flags;
        CHECK_EQ(settings_init(&settings, &options), 0);
}

static struct hello hello_of(enum hello_step step) {
        return (struct hello){
                .magic = TACHYON_MAGIC,
                .endianness = TACHYON_ENDIANNESS,
                .layout_min = TACHYON_LAYOUT_VERSION,
                .layout_max = TACHYON_LAYOUT_VERSION,
                .kind = TACHYON_KIND_STREAM,
                .step = step,
                .capacity = CAPACITY,
                .reply_capacity = 2 * CAPACITY,
        };
}

/* musl's sendmsg() refuses more than 1024 bytes of descriptors, which a hostile peer can send. */
static ssize_t send_message(int socket, const struct msghdr *message) {
#ifdef __linux__
        return syscall(SYS_sendmsg, socket, message, MSG_NOSIGNAL);
#else
        return sendmsg(socket, message, MSG_NOSIGNAL);
#endif
}

static void send_with_fds(int socket, const void *data, size_t size, const int *fds, size_t n_fds) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(253 * sizeof(int))];
        } control = { .space = { 0 } };
        struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (n_fds) {
                message.msg_control = control.space;
                message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
        }
        CHECK_EQ(send_message(socket, &message), (ssize_t)size);
}

/* The next hello, with what came along: -1 for what did not. */
static struct hello receive_with_fds(int socket, int fds[2]) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(2 * sizeof(int))];
        } control;
        struct hello hello = { .magic = 0 };
        struct iovec iov = { .iov_base = &hello, .iov_len = sizeof(hello) };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space,
                                  .msg_controllen = sizeof(control.space) };
        struct cmsghdr *c;

        fds[0] = fds[1] = -1;
        CHECK_EQ(recvmsg(socket, &message, MSG_WAITALL | MSG_CMSG_CLOEXEC), sizeof(hello));
        c = CMSG_FIRSTHDR(&message);
        if (c)
                memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
        return hello;
}

/* The next hello; what came along is closed, but for the first descriptor where it is asked for. */
static struct hello receive_hello(int socket, int *fdp) {
        int fds[2];
        struct hello hello = receive_with_fds(socket, fds);

        for (int i = 0; i < 2; i++)
                if (fdp && i == 0)
                        *fdp = fds[0];
                else if (fds[i] >= 0)
                        close(fds[i]);
        return hello;
}

/* ---- two honest sides --------------------------------------------------- */

struct connector {
        int socket;
        int result;
        struct connection connection;
};

static void *connect_in_thread(void *context) {
        struct connector *connector = context;

        connector->result = handshake_connect(&connector->connection, connector->socket, &settings,
                                              deadline_after(LONG), "PATH");
        return NULL;
}

static int step_to_the_end(struct handshake *handshake) {
        struct pollfd readable = { .fd = handshake->connection.socket, .events = POLLIN };
        int r;

        while ((r = handshake_listener_step(handshake, &settings)) == 0)
                CHECK_EQ(poll(&readable, 1, -1), 1);
        return r;
}

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))

static void two_honest_sides_meet(uint64_t *place) {
        struct connector connector = { .connection = CONNECTION_INIT };
        struct connection *a = &connector.connection, *b;
        struct handshake handshake;
        pthread_t thread;
        int sockets[2];

        use_settings(0, 0);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
        connector.socket = sockets[1];
        thread = thread_start(connect_in_thread, &connector);
        handshake_init(&handshake, sockets[0], DEADLINE_NEVER);
        CHECK_EQ(step_to_the_end(&handshake), 1);
        thread_join(thread);
        CHECK_EQ(connector.result, 0);
        b = &handshake.connection;

        CHECK_EQ(a->theirs.capacity, 2 * CAPACITY);
        CHECK_EQ(b->theirs.capacity, CAPACITY);
        CHECK(!a->is_listener && b->is_listener);
        CHECK_EQ(a->membarrier, b->membarrier);
        CHECK_EQ(a->theirs.isolated, !PORTABLE);
        CHECK_EQ(b->theirs.isolated, !PORTABLE);
        CHECK_EQ(b->peer.pid, getpid());
        CHECK(a->exchange && b->exchange && a->exchange != b->exchange);
        CHECK_EQ((uintptr_t)a->exchange % PAGE, (uintptr_t)b->exchange % PAGE);
        CHECK((uintptr_t)a->exchange % PAGE && (uintptr_t)a->exchange % FRAME_ALIGNMENT == 0);
        *place = (uintptr_t)a->exchange % PAGE;
        fill(a->exchange->payload, FRAME_INLINE_SIZE, 2);
        CHECK(matches(b->exchange->payload, FRAME_INLINE_SIZE, 2));
        CHECK_EQ(a->exchange_fd, -1);
        CHECK_EQ(b->exchange_fd, -1);
        fill(a->ours.ring, CAPACITY, 1);
        CHECK(matches(b->theirs.ring, CAPACITY, 1));
        CHECK_EQ(send(a->room, "x", 1, 0), 1);
        CHECK_EQ(recv(b->room, (char[1]){ 0 }, 1, 0), 1);
        for (const int *fd = (const int[]){ a->socket, a->room, b->socket, b->room, -1 }; *fd >= 0; fd++)
                CHECK(fcntl(*fd, F_GETFD) & FD_CLOEXEC);
        connection_destroy(a);
        handshake_destroy(&handshake);
}

static void test_two_honest_sides_meet(void) {
        uint64_t place;

        two_honest_sides_meet(&place);
}

/* Or those of many buses would be in one set of each cache. */
static void test_each_bus_has_its_line_at_another_place(void) {
        const uint64_t places = PAGE / FRAME_ALIGNMENT - 1;
        uint64_t place, last = 0, seen = 0;

        for (uint64_t i = 0; i < 2 * places; i++, last = place) {
                two_honest_sides_meet(&place);
                CHECK(place != last);
                if (place / FRAME_ALIGNMENT < 64)
                        seen |= UINT64_C(1) << place / FRAME_ALIGNMENT;
        }
        CHECK_EQ(seen, ~UINT64_C(1));
}

/* ---- a listener and its dishonest connector ----------------------------- */

struct listener {
        struct handshake handshake;
        int peer;
};

static void listener_open(struct listener *listener) {
        int sockets[2];

        use_settings(0, 0);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
        handshake_init(&listener->handshake, sockets[0], DEADLINE_NEVER);
        listener->peer = sockets[1];
}

static void listener_close(struct listener *listener) {
        handshake_destroy(&listener->handshake);
        close_fd(listener->peer);
}

static int step(struct listener *listener) {
        return handshake_listener_step(&listener->handshake, &settings);
}

/* As far as the answer, honestly. */
static void listener_open_for_answer(struct listener *listener) {
        struct hello hello = hello_of(HELLO_CONNECT);

        listener_open(listener);
        send_with_fds(listener->peer, &hello, sizeof(hello), NULL, 0);
        CHECK_EQ(step(listener), 0);
        hello = receive_hello(listener->peer, NULL);
        CHECK_EQ(hello.step, HELLO_OFFER);
        CHECK_EQ(hello.refusal, 0);
}

/* The connector is told why, in words. */
static void refused_with(struct listener *listener, int error, const char *word) {
        struct hello refusal;

        CHECK_EQ(step(listener), -error);
        refusal = receive_hello(listener->peer, NULL);
        CHECK_EQ(refusal.magic, TACHYON_MAGIC);
        CHECK_EQ(refusal.refusal, error);
        CHECK_EQ(refusal.reason[sizeof(refusal.reason) - 1], 0);
        if (!strstr(refusal.reason, word))
                test_fail(__FILE__, __LINE__, refusal.reason);
        listener_close(listener);
}

static void spoilt_hello(size_t offset, uint32_t value, int error, const char *word) {
        struct hello hello = hello_of(HELLO_CONNECT);
        struct listener listener;

        memcpy((char *)&hello + offset, &value, sizeof(value));
        listener_open(&listener);
        send_with_fds(listener.peer, &hello, sizeof(hello), NULL, 0);
        refused_with(&listener, error, word);
}

static void test_wrong_hellos_are_refused_with_a_reason(void) {
        spoilt_hello(offsetof(struct hello, magic), 0x20544547, EPROTO, "tachyon"); /* "GET " */
        spoilt_hello(offsetof(struct hello, endianness), 0x04030201, EPROTO, "byte order");
        spoilt_hello(offsetof(struct hello, layout_min), 2, EPROTONOSUPPORT, "peer 2 to 1, here 1");
        spoilt_hello(offsetof(struct hello, layout_max), 0, EPROTONOSUPPORT, "peer 1 to 0, here 1");
        spoilt_hello(offsetof(struct hello, kind), TACHYON_KIND_RPC, EPROTONOSUPPORT, "rpc");
        spoilt_hello(offsetof(struct hello, kind), 77, EPROTONOSUPPORT, "kind");
        spoilt_hello(offsetof(struct hello, features), HELLO_FEATURE_TRUSTED, EPROTONOSUPPORT, "trusted");
        spoilt_hello(offsetof(struct hello, step), HELLO_ANSWER, EPROTO, "order");
        spoilt_hello(offsetof(struct hello, step), 0, EPROTO, "order");
}

static void test_a_slow_hello_is_put_together(void) {
        struct hello hello = hello_of(HELLO_CONNECT);
        struct listener listener;

        listener_open(&listener);
        CHECK_EQ(step(&listener), 0); /* silent so far */
        for (size_t i = 0; i < sizeof(hello); i++) {
                CHECK_EQ(listener.handshake.expected, HELLO_CONNECT);
                send_with_fds(listener.peer, (char *)&hello + i, 1, NULL, 0);
                CHECK_EQ(step(&listener), 0);
        }
        CHECK_EQ(listener.handshake.expected, HELLO_ANSWER);
        CHECK_EQ(receive_hello(listener.peer, NULL).step, HELLO_OFFER);
        listener_close(&listener);
}

static void test_a_half_sent_hello_is_no_hello(void) {
        struct hello hello = hello_of(HELLO_CONNECT);

        for (size_t size = 0; size < sizeof(hello); size += 31) {
                struct listener listener;

                listener_open(&listener);
                if (size)
                        send_with_fds(listener.peer, &hello, size, NULL, 0);
                if (size)
                        CHECK_EQ(step(&listener), 0);
                listener.peer = close_fd(listener.peer);
                CHECK_EQ(step(&listener), -ECONNRESET);
                listener_close(&listener);
        }
}

/* The peer closes between its hello and our answer: no SIGPIPE. */
static void test_a_peer_that_does_not_wait_for_the_answer(void) {
        struct hello hello = hello_of(HELLO_CONNECT);
        struct listener listener;

        listener_open(&listener);
        send_with_fds(listener.peer, &hello, sizeof(hello), NULL, 0);
        listener.peer = close_fd(listener.peer);
        CHECK_EQ(step(&listener), -ECONNRESET);
        listener_close(&listener);
}

/* Leaves control messages on the stack, which would close descriptors 0, 1 and 32 if anyone believed them. */
static __attribute__((__noinline__)) void dirty_the_stack(size_t offset) {
        const struct cmsghdr forged = {
                .cmsg_len = CMSG_LEN(4 * sizeof(int)),
                .cmsg_level = SOL_SOCKET,
                .cmsg_type = SCM_RIGHTS,
        };
        _Alignas(16) unsigned char area[16384];

        for (size_t at = offset; at + sizeof(forged) <= sizeof(area); at += sizeof(forged))
                memcpy(area + at, &forged, sizeof(forged));
        __asm__ volatile("" : : "r"(area) : "memory");
}

/* It goes with our offer unread: a reset, with no control message at all, and none must be looked for. */
static void test_a_peer_that_leaves_the_offer_unread(void) {
        struct hello hello = hello_of(HELLO_CONNECT);

        for (size_t offset = 0; offset < 16; offset += 8) {
                struct listener listener;

                listener_open(&listener);
                send_with_fds(listener.peer, &hello, sizeof(hello), NULL, 0);
                CHECK_EQ(step(&listener), 0);
                listener.peer = close_fd(listener.peer);
                dirty_the_stack(offset);
                CHECK_EQ(step(&listener), -ECONNRESET);
                CHECK(fcntl(STDIN_FILENO, F_GETFD) >= 0);
                CHECK(fcntl(STDOUT_FILENO, F_GETFD) >= 0);
                listener_close(&listener);
        }
}

static void test_nothing_beyond_the_hello_is_read(void) {
        char both[sizeof(struct hello) + 1];
        struct hello hello = hello_of(HELLO_CONNECT);
        struct listener listener;
        char next = 0;

        listener_open(&listener);
        memcpy(both, &hello, sizeof(hello));
        both[sizeof(hello)] = 'n';
        send_with_fds(listener.peer, both, sizeof(both), NULL, 0);
        CHECK_EQ(step(&listener), 0);
        CHECK_EQ(recv(listener.handshake.connection.socket, &next, 1, MSG_DONTWAIT), 1);
        CHECK_EQ(next, 'n');
        listener_close(&listener);
}

static void test_surplus_descriptors_are_closed(void) {
        struct hello hello = hello_of(HELLO_CONNECT);
        int many[253];

        for (size_t i = 0; i < 253; i++)
                many[i] = STDOUT_FILENO;
        for (size_t n = 1; n <= 253; n += 84) {
                struct listener listener;
                int fds;

                listener_open(&listener);
                fds = fd_count();
                send_with_fds(listener.peer, &hello, sizeof(hello), many, n);
                CHECK_EQ(step(&listener), -EPROTO);
                CHECK_EQ(fd_count(), fds);
                CHECK_EQ(receive_hello(listener.peer, NULL).refusal, EPROTO);
                listener_close(&listener);
        }
}

/* One descriptor with each byte: no less surplus. */
static void test_dripping_descriptors_are_closed(void) {
        struct hello hello = hello_of(HELLO_CONNECT);
        struct listener listener;
        int fds, r = 0;

        listener_open(&listener);
        fds = fd_count();
        for (size_t i = 0; i < sizeof(hello) && r == 0; i++) {
                send_with_fds(listener.peer, (char *)&hello + i, 1, (const int[]){ STDOUT_FILENO }, 1);
                r = step(&listener);
                CHECK(fd_count() <= fds + 2);
        }
        CHECK_EQ(r, -EPROTO);
        CHECK_EQ(fd_count(), fds);
        listener_close(&listener);
}

/* ---- the answer --------------------------------------------------------- */

static int good_memory(void) {
        struct half half = HALF_INIT;
        int fd = -1;

        CHECK_EQ(half_create(&half, &fd, CAPACITY, &settings.half), 0);
        half_destroy(&half);
        return fd;
}

static int good_room(void) {
        int pair[2];

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        close(pair[0]);
        return pair[1];
}

/* Takes the descriptors over. */
static void answer_with(int memory, int room, int error, const char *word) {
        struct hello hello = hello_of(HELLO_ANSWER);
        struct listener listener;
        int fds;

        CHECK(memory >= 0 && room >= 0);
        listener_open_for_answer(&listener);
        send_with_fds(listener.peer, &hello, sizeof(hello), (const int[]){ memory, room }, 2);
        close(memory);
        close(room);
        fds = fd_count();
        if (error) {
                refused_with(&listener, error, word);
        } else {
                CHECK_EQ(step(&listener), 1);
                CHECK_EQ(receive_hello(listener.peer, NULL).step, HELLO_WELCOME);
                CHECK_EQ(fd_count(), fds + 1); /* the room doorbell */
                listener_close(&listener);
        }
}

static void test_answers_are_checked(void) {
        int pipes[2];

        use_settings(0, 0);
        answer_with(good_memory(), good_room(), 0, NULL);
        answer_with(good_room(), good_memory(), EPROTO, "doorbell");
        answer_with(good_room(), good_room(), EPROTO, "");
        answer_with(good_memory(), good_memory(), EPROTO, "doorbell");
        answer_with(good_memory(), socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), EPROTO, "doorbell");
        answer_with(good_memory(), socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), EPROTO, "doorbell");
        answer_with(good_memory(), socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), EPROTO, "doorbell");
        answer_with(memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING), good_room(), EPROTO, "memory");
        CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
        answer_with(good_memory(), pipes[0], EPROTO, "doorbell");
        answer_with(good_memory(), pipes[1], EPROTO, "doorbell");
}

/* Another process made it: that one, not our peer, may hold the other end. */
static void test_a_room_doorbell_of_another_process_is_refused(void) {
        int pair[2], got = -1;
        struct hello hello = hello_of(HELLO_ANSWER);
        pid_t pid;

        use_settings(0, 0);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        pid = fork_helper();
        if (pid == 0) {
                int room = good_room();

                send_with_fds(pair[1], &hello, sizeof(hello), &room, 1);
                helper_exit();
        }
        receive_hello(pair[0], &got);
        JOIN(pid);
        answer_with(good_memory(), got, EPROTO, "not its own");
        close(pair[0]);
        close(pair[1]);
}

static void test_a_wrong_number_of_descriptors_is_refused(void) {
        const size_t counts[] = { 0, 1, 3, 250 };
        struct hello hello = hello_of(HELLO_ANSWER);
        int many[250];

        for (size_t i = 0; i < 250; i++)
                many[i] = STDOUT_FILENO;
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
                struct listener listener;
                int fds;

                listener_open_for_answer(&listener);
                fds = fd_count();
                send_with_fds(listener.peer, &hello, sizeof(hello), many, counts[i]);
                CHECK_EQ(step(&listener), -EPROTO);
                CHECK_EQ(fd_count(), fds);
                listener_close(&listener);
        }
}

/* RLIMIT_NOFILE cuts descriptors off in the kernel: our own trouble, and nothing stays open. */
static void test_descriptors_cut_off_by_our_limit(void) {
        struct hello hello = hello_of(HELLO_ANSWER);

        for (rlim_t room_for = 0; room_for < 2; room_for++) {
                struct listener listener;
                int memory, room, fds;
                rlim_t old;

                listener_open_for_answer(&listener);
                memory = good_memory();
                room = good_room();
                send_with_fds(listener.peer, &hello, sizeof(hello), (const int[]){ memory, room }, 2);
                fds = fd_count();
                old = limit_resource(RLIMIT_NOFILE, (rlim_t)fd_lowest() + room_for);
                CHECK_EQ(step(&listener), -EMFILE);
                limit_resource(RLIMIT_NOFILE, old);
                CHECK_EQ(fd_count(), fds);
                CHECK_EQ(receive_hello(listener.peer, NULL).refusal, EMFILE);
                close(memory);
                close(room);
                listener_close(&listener);
        }
}

/* Who sends hundreds of them must not make it look like our own shortage: accept would report that. */
static void test_surplus_descriptors_are_no_shortage_of_ours(void) {
        struct hello hello = hello_of(HELLO_CONNECT);
        struct listener listener;
        int many[253], fds;
        rlim_t old;

        for (size_t i = 0; i < 253; i++)
                many[i] = STDOUT_FILENO;
        listener_open(&listener);
        fds = fd_count();
        send_with_fds(listener.peer, &hello, sizeof(hello), many, 253);
        old = limit_resource(RLIMIT_NOFILE, (rlim_t)fd_lowest() + 10);
        CHECK_EQ(step(&listener), -EPROTO);
        limit_resource(RLIMIT_NOFILE, old);
        CHECK_EQ(fd_count(), fds);
        listener_close(&listener);
}

/* ---- the exchange line, which the listener makes ------------------------ */

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_FUTURE_WRITE)

/* Not for who does not know of it, and not for calls. */
static void test_the_line_is_offered_to_who_knows_of_it(void) {
        for (uint32_t kind = TACHYON_KIND_STREAM; kind <= TACHYON_KIND_RPC; kind++)
                for (uint32_t features = 0; features <= HELLO_FEATURE_EXCHANGE; features += HELLO_FEATURE_EXCHANGE) {
                        struct hello hello = hello_of(HELLO_CONNECT);
                        bool offered = features && kind == TACHYON_KIND_STREAM;
                        struct listener listener;
                        int fds[2];

                        listener_open(&listener);
                        use_settings(kind, 0);
                        hello.kind = kind;
                        hello.features = features;
                        send_with_fds(listener.peer, &hello, sizeof(hello), NULL, 0);
                        CHECK_EQ(step(&listener), 0);
                        hello = receive_with_fds(listener.peer, fds);
                        CHECK_EQ(!!(hello.features & HELLO_FEATURE_EXCHANGE), offered);
                        CHECK_EQ(fds[1] >= 0, offered);
                        CHECK_EQ(listener.handshake.connection.exchange != NULL, offered);
                        close(fds[0]);
                        if (offered)
                                close(fds[1]);
                        listener_close(&listener);
                }
}

static void seal(int line) {
        CHECK_EQ(fcntl(line, F_ADD_SEALS, ALL_SEALS), 0);
}

static void leave_unsealed(int line) {
        (void)line;
}

static void seal_but_let_map(int line) {
        CHECK_EQ(fcntl(line, F_ADD_SEALS, ALL_SEALS & ~F_SEAL_FUTURE_WRITE), 0);
}

static void seal_and_shrink(int line) {
        CHECK_EQ(ftruncate(line, 0), 0);
        seal(line);
}

static void seal_and_grow(int line) {
        CHECK_EQ(ftruncate(line, (off_t)(2 * PAGE)), 0);
        seal(line);
}

static void seal_a_hole(int line) {
        CHECK_EQ(fallocate(line, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)PAGE), 0);
        seal(line);
}

/* What a connector does with the page before its answer. */
static void answer_after(void (*act)(int), int error, const char *word) {
        struct hello hello = hello_of(HELLO_CONNECT);
        int fds[2], memory, room, count;
        struct listener listener;

        listener_open(&listener);
        hello.features = HELLO_FEATURE_EXCHANGE;
        send_with_fds(listener.peer, &hello, sizeof(hello), NULL, 0);
        CHECK_EQ(step(&listener), 0);
        receive_with_fds(listener.peer, fds);
        act(fds[1]);
        memory = good_memory();
        room = good_room();
        hello = hello_of(HELLO_ANSWER);
        send_with_fds(listener.peer, &hello, sizeof(hello), (const int[]){ memory, room }, 2);
        close(memory);
        close(room);
        count = fd_count();
        if (error) {
                refused_with(&listener, error, word);
        } else {
                CHECK_EQ(step(&listener), 1);
                CHECK_EQ(receive_hello(listener.peer, NULL).step, HELLO_WELCOME);
                CHECK_EQ(fd_count(), count); /* the room doorbell is open, and the page's descriptor not */
                /* What was mapped goes on; there are no holes, and no new writable mappings. */
                listener.handshake.connection.exchange->payload[0] = 1;
                CHECK(fallocate(fds[1], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)PAGE) < 0 || PORTABLE);
                CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0) == MAP_FAILED || PORTABLE);
                listener_close(&listener);
        }
        close(fds[0]);
        close(fds[1]);
}

static void test_the_listener_checks_how_its_line_was_sealed(void) {
        if (PORTABLE) /* there are no seals to check */
                return;
        answer_after(seal, 0, NULL);
        answer_after(leave_unsealed, EPROTO, "seals");
        answer_after(seal_but_let_map, EPROTO, "seals");
        answer_after(seal_and_shrink, EPROTO, "bytes");
        answer_after(seal_and_grow, EPROTO, "bytes");
        answer_after(seal_a_hole, EPROTO, "holes");
}

/* ---- a connector and its dishonest listener ----------------------------- */

struct script {
        int socket;
        struct hello offer;
        size_t size;     /* how much of it is sent */
        int n_fds;       /* -1: one good memory */
        int line;        /* and after it this one, unless negative */
        bool read_first; /* the connector's hello */
};

static void *play_listener(void *context) {
        struct script *script = context;
        int memory = -1, surplus[] = { STDOUT_FILENO, STDOUT_FILENO, STDOUT_FILENO };

        if (script->read_first)
                receive_hello(script->socket, NULL);
        if (script->n_fds < 0) {
                struct half half = HALF_INIT;

                CHECK_EQ(half_create(&half, &memory, script->offer.reply_capacity, &settings.half), 0);
                half_destroy(&half);
                send_with_fds(script->socket, &script->offer, script->size, (const int[]){ memory, script->line },
                              script->line < 0 ? 1 : 2);
                close(memory);
        } else if (script->size) {
                send_with_fds(script->socket, &script->offer, script->size, surplus, (size_t)script->n_fds);
        }
        shutdown(script->socket, SHUT_WR);
        return NULL;
}

static int connect_to(struct script *script) {
        struct connection connection = CONNECTION_INIT;
        int sockets[2], r, fds = fd_count();
        pthread_t thread;

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
        script->socket = sockets[0];
        script->read_first = true;
        thread = thread_start(play_listener, script);
        r = handshake_connect(&connection, sockets[1], &settings, deadline_after(LONG), "PATH");
        thread_join(thread);
        CHECK(r < 0);
        close(sockets[0]);
        CHECK_EQ(fd_count(), fds);
        CHECK_EQ(mapping_count(), 0);
        return r;
}

static struct script script_of(void) {
        use_settings(0, 0);
        return (struct script){ .offer = hello_of(HELLO_OFFER), .size = sizeof(struct hello), .n_fds = -1,
                                .line = -1 };
}

static void test_impossible_capacities_are_refused(void) {
        const uint64_t impossible[] = { 0, 1, 64, 2048, CAPACITY - 1, CAPACITY + 4096, UINT64_MAX };
        struct script script;

        for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
                script = script_of();
                script.offer.capacity = impossible[i];
                CHECK_EQ(connect_to(&script), -EPROTO);
        }
        for (uint64_t capacity = 8 * CAPACITY; capacity; capacity <<= 8) {
                script = script_of();
                script.offer.capacity = capacity;
                CHECK_EQ(connect_to(&script), -EFBIG);
                CHECK_DETAIL("max_capacity");
        }
}

static void test_offers_are_checked(void) {
        struct script script = script_of();

        script.offer.magic = 1;
        CHECK_EQ(connect_to(&script), -EPROTO);
        script = script_of();
        script.offer.layout_min = script.offer.layout_max = 9;
        CHECK_EQ(connect_to(&script), -EPROTONOSUPPORT);
        CHECK_DETAIL("peer 9 to 9, here 1");
        script = script_of();
        script.offer.kind = TACHYON_KIND_RPC;
        CHECK_EQ(connect_to(&script), -EPROTONOSUPPORT);
        script = script_of();
        script.offer.step = HELLO_WELCOME;
        CHECK_EQ(connect_to(&script), -EPROTO);
        for (int n_fds = 0; n_fds <= 3; n_fds++) { /* too few, no memory, too many */
                script = script_of();
                script.n_fds = n_fds;
                CHECK_EQ(connect_to(&script), -EPROTO);
        }
}

/* Takes the descriptor over. */
static void offer_line(int line, uint32_t features, int error, const char *word) {
        struct script script = script_of();

        script.offer.features = features;
        script.line = line;
        CHECK_EQ(connect_to(&script), -error);
        if (word)
                CHECK_DETAIL(word);
        if (line >= 0)
                close(line);
}

/* Its first word says where on it the line is. */
static int line_at(uint64_t offset, off_t size, bool whole, int seals) {
        int fd = memfd_create("line", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        CHECK(fd >= 0 && ftruncate(fd, size) == 0);
        CHECK(!whole || size == 0 || fallocate(fd, 0, 0, size) == 0);
        CHECK(!whole || size == 0 || pwrite(fd, &offset, 8, 0) == 8);
        CHECK_EQ(fcntl(fd, F_ADD_SEALS, seals), 0);
        return fd;
}

static int line_of(off_t size, bool whole, int seals) {
        return line_at(FRAME_ALIGNMENT, size, whole, seals);
}

static int read_only(int line) {
        char path[64];
        int fd;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", line);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        CHECK(fd >= 0);
        close(line);
        return fd;
}

static void test_offered_lines_are_checked(void) {
        const uint32_t exchange = HELLO_FEATURE_EXCHANGE;
        const off_t page = (off_t)PAGE;

        if (PORTABLE) /* memory is another thing there */
                return;
        /* A good one is taken: what fails is that nothing comes afterwards. */
        offer_line(line_of(page, true, 0), exchange, ECONNREFUSED, "hung up");
        offer_line(line_of(page, true, F_SEAL_SHRINK | F_SEAL_GROW), exchange, ECONNREFUSED, "hung up");
        offer_line(line_at(PAGE - FRAME_ALIGNMENT, page, true, 0), exchange, ECONNREFUSED, "hung up");
        /* Where it says to be: on its page, after the word that says so, and whole. */
        for (uint64_t bit = 1; bit < FRAME_ALIGNMENT; bit <<= 1)
                offer_line(line_at(FRAME_ALIGNMENT + bit, page, true, 0), exchange, EPROTO, "which cannot be");
        offer_line(line_at(0, page, true, 0), exchange, EPROTO, "is at 0, which cannot be");
        offer_line(line_at(FRAME_ALIGNMENT / 2, page, true, 0), exchange, EPROTO, "which cannot be");
        offer_line(line_at(PAGE, page, true, 0), exchange, EPROTO, "is at 4096, which cannot be");
        offer_line(line_at((UINT64_C(1) << 32) + FRAME_ALIGNMENT, page, true, 0), exchange, EPROTO, "which cannot be");
        offer_line(line_at(-(uint64_t)FRAME_ALIGNMENT, page, true, 0), exchange, EPROTO, "which cannot be");
        /* The bit and the descriptor, or neither. */
        offer_line(-1, exchange, EPROTO, "1 descriptors instead of 2");
        offer_line(line_of(page, true, 0), 0, EPROTO, "2 descriptors instead of 1");
        offer_line(line_of(page, true, F_SEAL_SEAL), exchange, EPROTO, "seals");
        offer_line(line_of(page, true, ALL_SEALS & ~F_SEAL_FUTURE_WRITE), exchange, EPROTO, "seals");
        offer_line(line_of(page, true, ALL_SEALS), exchange, EPROTO, "map");
        offer_line(line_of(page, true, F_SEAL_WRITE), exchange, EPROTO, "map");
        offer_line(read_only(line_of(page, true, 0)), exchange, EPROTO, "map");
        offer_line(line_of(0, true, 0), exchange, EPROTO, "bytes");
        offer_line(line_of(page - 1, true, 0), exchange, EPROTO, "bytes");
        offer_line(line_of(page + 1, true, 0), exchange, EPROTO, "bytes");
        offer_line(line_of(2 * page, true, 0), exchange, EPROTO, "bytes");
        offer_line(line_of(page, false, 0), exchange, EPROTO, "holes");
        offer_line(open("/dev/zero", O_RDWR | O_CLOEXEC), exchange, EPROTO, "shared memory");
        offer_line(open("/proc/self/mem", O_RDWR | O_CLOEXEC), exchange, EPROTO, "shared memory");
        offer_line(good_room(), exchange, EPROTO, "shared memory");
}

static void test_a_refusal_is_told_in_the_listeners_words(void) {
        struct script script = script_of();

        script.n_fds = 0;
        script.offer.refusal = EACCES;
        snprintf(script.offer.reason, sizeof(script.offer.reason), "not\n\x1b[2Jyou");
        CHECK_EQ(connect_to(&script), -ECONNREFUSED);
        CHECK_DETAIL("PATH: the listener refused, and says: not??[2Jyou"); /* nothing that a terminal obeys */
        memset(script.offer.reason, 'r', sizeof(script.offer.reason)); /* no end */
        CHECK_EQ(connect_to(&script), -ECONNREFUSED);
        CHECK_DETAIL("rrrr");
        script.offer.refusal = EPROTONOSUPPORT;
        CHECK_EQ(connect_to(&script), -EPROTONOSUPPORT);
}

/* It accepted and died, at any moment: an error of connect()'s own list, not one of ours inside. */
static void test_a_listener_that_hangs_up(void) {
        struct script script;

        for (size_t size = 0; size < sizeof(struct hello); size += 32) {
                script = script_of();
                script.size = size;
                script.n_fds = 0;
                CHECK_EQ(connect_to(&script), -ECONNREFUSED);
                CHECK_DETAIL("PATH");
        }
        script = script_of(); /* a good offer, and no welcome */
        CHECK_EQ(connect_to(&script), -ECONNREFUSED);
}

static void test_a_silent_listener_times_out(void) {
        struct connection connection = CONNECTION_INIT;
        int sockets[2];

        use_settings(0, 0);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
        CHECK_EQ(handshake_connect(&connection, sockets[1], &settings, deadline_after(20 * MS), "PATH"),
                 -ETIMEDOUT);
        CHECK_DETAIL("PATH");
        close(sockets[0]);
}

static void test_the_wrong_user_is_refused(void) {
        struct hello hello = hello_of(HELLO_CONNECT);
        struct listener listener;

        listener_open(&listener);
        settings.uids[0] = (uint32_t)geteuid() + 1;
        send_with_fds(listener.peer, &hello, sizeof(hello), NULL, 0);
        refused_with(&listener, EACCES, "not allowed");
}

int main(int argc, char **argv) {
        tests_begin(argc, argv);
        RUN(test_two_honest_sides_meet);
        RUN(test_each_bus_has_its_line_at_another_place);
        RUN(test_wrong_hellos_are_refused_with_a_reason);
        RUN(test_a_slow_hello_is_put_together);
        RUN(test_a_half_sent_hello_is_no_hello);
        RUN(test_a_peer_that_does_not_wait_for_the_answer);
        RUN(test_a_peer_that_leaves_the_offer_unread);
        RUN(test_nothing_beyond_the_hello_is_read);
        RUN(test_surplus_descriptors_are_closed);
        RUN(test_dripping_descriptors_are_closed);
        RUN(test_answers_are_checked);
        RUN(test_a_room_doorbell_of_another_process_is_refused);
        RUN(test_a_wrong_number_of_descriptors_is_refused);
        RUN_WITH_REAL_LIMITS(test_descriptors_cut_off_by_our_limit);
        RUN_WITH_REAL_LIMITS(test_surplus_descriptors_are_no_shortage_of_ours);
        RUN(test_the_line_is_offered_to_who_knows_of_it);
        RUN(test_the_listener_checks_how_its_line_was_sealed);
        RUN(test_impossible_capacities_are_refused);
        RUN(test_offers_are_checked);
        RUN(test_offered_lines_are_checked);
        RUN(test_a_refusal_is_told_in_the_listeners_words);
        RUN(test_a_listener_that_hangs_up);
        RUN(test_a_silent_listener_times_out);
        RUN(test_the_wrong_user_is_refused);
        return tests_end();
}
