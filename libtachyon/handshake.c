/* SPDX-License-Identifier: MIT */
/* See handshake.h for the steps. */
#include "handshake.h"
#include "label.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "../include/tachyon.h"

/* More descriptors than any system lets one message carry (Linux 253, macOS 509): none may get lost unclosed. */
#define MAX_FDS_IN_MESSAGE 512

void connection_close_descriptors(struct connection *connection) {
        closep(&connection->socket);
        closep(&connection->room);
        closep(&connection->process);
        closep(&connection->exchange_fd);
}

void connection_destroy(struct connection *connection) {
        connection_close_descriptors(connection);
        half_destroy(&connection->ours);
        half_destroy(&connection->theirs);
        exchange_destroy(&connection->exchange);
}

void connection_forget(struct connection *connection) {
        connection_close_descriptors(connection);
        half_not_inherited(&connection->ours);
        half_not_inherited(&connection->theirs);
        connection->exchange = NULL;
}

/* ---- one hello ---------------------------------------------------------- */

static struct hello hello_make(enum hello_step step, const struct settings *settings) {
        struct hello hello = {
                .magic = TACHYON_MAGIC,
                .endianness = TACHYON_ENDIANNESS,
                .layout_min = TACHYON_LAYOUT_VERSION,
                .layout_max = TACHYON_LAYOUT_VERSION,
                .kind = settings->kind,
                .pid = (uint32_t)getpid(),
                .step = step,
        };

        if (os_barrier_register())
                hello.features |= HELLO_FEATURE_MEMBARRIER;
        if (settings->trusted)
                hello.features |= HELLO_FEATURE_TRUSTED;
        if (settings->kind != TACHYON_KIND_RPC)
                hello.features |= HELLO_FEATURE_EXCHANGE;
        return hello;
}

static int fail_hung_up(void) {
        return fail(ECONNRESET, "the peer hung up in the middle of its introduction");
}

/* A hello fits any socket buffer; where it does not, the peer has stuffed it and is none of ours. */
static int hello_send(int socket, const struct hello *hello, const int *fds, size_t n_fds) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(GREETING_MAX_FDS * sizeof(int))];
        } control = { .space = { 0 } };
        struct hello copy = *hello;
        struct iovec iov = { .iov_base = &copy, .iov_len = sizeof(copy) };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t n;

        if (n_fds) {
                message.msg_control = control.space;
                message.msg_controllen = (socklen_t)CMSG_SPACE(n_fds * sizeof(int));
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = (socklen_t)CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
        }
        do
                n = sendmsg(socket, &message, OS_SEND_FLAGS);
        while (n < 0 && errno == EINTR);
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
                return fail_hung_up();
        if (n < 0 && (errno == ENOMEM || errno == ENOBUFS)) /* ours, and no fault of the peer's */
                return fail(ENOMEM, "the kernel has no memory for an introduction");
        if (n < 0 && errno == ETOOMANYREFS)
                return fail(EMFILE, "too many descriptors are in flight for this user");
        if (n != sizeof(copy))
                return fail(EPROTO, "the peer's socket takes no introduction");
        return 0;
}

/* Tells the peer why, as far as it listens, and gives -error back. */
static int hello_refuse(int socket, enum hello_step step, const struct settings *settings, int error) {
        struct hello hello = hello_make(step, settings);

        hello.refusal = (uint32_t)(error < 0 ? -error : error);
        snprintf(hello.reason, sizeof(hello.reason), "%s", tachyon_error_detail());
        hello_send(socket, &hello, NULL, 0);
        return error;
}

static int hello_check(const struct hello *hello, enum hello_step step, const struct settings *settings) {
        if (hello->magic != TACHYON_MAGIC)
                return fail(EPROTO, "the peer does not speak tachyon");
        if (hello->endianness != TACHYON_ENDIANNESS)
                return fail(EPROTO, "the peer has another byte order");
        if (hello->refusal)
                return fail(ECONNREFUSED, "the peer refused");
        if (hello->layout_min > TACHYON_LAYOUT_VERSION || hello->layout_max < TACHYON_LAYOUT_VERSION)
                return fail(EPROTONOSUPPORT, "layout versions: peer %u to %u, here %u", hello->layout_min,
                            hello->layout_max, TACHYON_LAYOUT_VERSION);
        if (hello->step != step)
                return fail(EPROTO, "the peer's introduction is out of order");
        if (hello->kind != settings->kind)
                return fail(EPROTONOSUPPORT, "kind of bus: peer %s, here %s",
                            hello->kind == TACHYON_KIND_RPC ? "rpc" : "stream",
                            settings->kind == TACHYON_KIND_RPC ? "rpc" : "stream");
        if (!!(hello->features & HELLO_FEATURE_TRUSTED) != settings->trusted)
                return fail(EPROTONOSUPPORT, "trusted: only one of the two sides asks for it");
        return 0;
}

/* A refusal of the peer's, in its words, as an error of ours. */
static int hello_refused(struct hello *hello, const char *path) {
        hello->reason[sizeof(hello->reason) - 1] = 0;
        for (char *c = hello->reason; *c; c++)
                if ((unsigned char)*c < 32 || (unsigned char)*c > 126)
                        *c = '?';
        return fail(hello->refusal == EPROTONOSUPPORT ? EPROTONOSUPPORT : ECONNREFUSED,
                    "%s: the listener refused, and says: %s", path, hello->reason);
}

/* ---- a hello with its descriptors, as it comes in ----------------------- */

static void greeting_clear(struct greeting *greeting) {
        for (size_t i = 0; i < greeting->n_fds; i++)
                if (greeting->fds[i] >= 0)
                        os_discard(greeting->fds[i]);
        *greeting = (struct greeting){ .have = 0 };
}

/* Keeps what fits, closes the rest; an error where anything was too much or lost. */
static int greeting_take_fds(struct greeting *greeting, struct msghdr *message) {
        size_t surplus = 0;
        bool dead = false;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
                        if (os_adopt(fd) < 0) {
                                os_discard(fd);
                                dead = true;
                        } else if (greeting->n_fds < GREETING_MAX_FDS) {
                                greeting->fds[greeting->n_fds++] = fd;
                        } else {
                                os_discard(fd);
                                surplus++;
                        }
                }
        }
        /* First: who sends hundreds of them shall not make it look like a shortage of ours. */
        if (surplus)
                return fail(EPROTO, "the peer sent too many descriptors");
        if (message->msg_flags & MSG_CTRUNC)
                return fail(EMFILE, "no descriptors left for the peer's memory");
        return dead ? fail_hung_up() : 0;
}

/* 1: whole; 0: more has to come; or an error. Never reads a byte beyond the hello. */
static int greeting_receive(struct greeting *greeting, int socket) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(MAX_FDS_IN_MESSAGE * sizeof(int))];
        } control;
        struct iovec iov = {
                .iov_base = (char *)&greeting->hello + greeting->have,
                .iov_len = sizeof(greeting->hello) - greeting->have,
        };
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.space,
                .msg_controllen = sizeof(control.space),
        };
        ssize_t n;
        int r;

        n = os_receive(socket, &message);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        /* Where nothing was received, the control buffer holds what the stack held: not to be looked at. */
        if (n < 0 && errno == ECONNRESET)
                return fail_hung_up();
        if (n < 0)
                return fail(errno, "cannot read the peer's introduction: %s", strerror(errno));
        r = greeting_take_fds(greeting, &message);
        if (r < 0)
                return r;
        if (n == 0)
                return fail_hung_up();
        greeting->have += (size_t)n;
        return greeting->have == sizeof(greeting->hello);
}

/* An offer has the exchange line's descriptor with it where it says so; and only who knows of it asked for it. */
static size_t offered_fds(const struct hello *offer, const struct settings *settings) {
        return settings->kind != TACHYON_KIND_RPC && offer->features & HELLO_FEATURE_EXCHANGE ? 2 : 1;
}

static int greeting_check(const struct greeting *greeting, enum hello_step step, size_t n_fds,
                          const struct settings *settings) {
        int r = hello_check(&greeting->hello, step, settings);

        if (r == 0 && greeting->n_fds != n_fds)
                return fail(EPROTO, "the peer sent %zu descriptors instead of %zu", greeting->n_fds, n_fds);
        return r;
}

/* ---- what both sides do ------------------------------------------------- */

static int check_identity(struct connection *connection, const struct settings *settings) {
        int r = os_peer_identity(connection->socket, &connection->peer);

        if (r < 0)
                return r;
        if (!settings_allow_uid(settings, connection->peer.uid))
                return fail(EACCES, "user %u is not allowed here (see allowed_uids)", connection->peer.uid);
        r = os_peer_watch(connection->socket, connection->peer.pid, &connection->process);
        return r == -ENOTSUP ? 0 : r;
}

/* A doorbell that the peer made must be one: anything else might block us or be someone else's. */
static int check_room_socket(int fd, const struct os_peer *peer) {
        int domain = 0, type = 0;
        socklen_t length = sizeof(int);
        struct os_peer maker;

        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_STREAM)
                return fail(EPROTO, "the peer's room doorbell is not a stream socket");
        length = sizeof(int);
#ifdef SO_DOMAIN
        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0 || domain != AF_UNIX)
                return fail(EPROTO, "the peer's room doorbell is not a Unix socket");
#else
        struct sockaddr name = { .sa_family = AF_UNSPEC };

        length = sizeof(name);
        domain = getsockname(fd, &name, &length) < 0 ? AF_UNSPEC : name.sa_family;
        if (domain != AF_UNIX)
                return fail(EPROTO, "the peer's room doorbell is not a Unix socket");
#endif
        if (os_peer_identity(fd, &maker) < 0 || maker.uid != peer->uid || maker.pid != peer->pid)
                return fail(EPROTO, "the peer's room doorbell is not its own");
        return 0;
}

/* ---- listener ----------------------------------------------------------- */

void handshake_init(struct handshake *handshake, int socket, int64_t deadline) {
        *handshake = (struct handshake){
                .connection = CONNECTION_INIT,
                .expected = HELLO_CONNECT,
                .deadline = deadline,
        };
        handshake->connection.socket = socket;
        handshake->connection.is_listener = true;
}

void handshake_destroy(struct handshake *handshake) {
        greeting_clear(&handshake->greeting);
        connection_destroy(&handshake->connection);
}

static int listener_offer(struct handshake *handshake, const struct settings *settings) {
        struct connection *connection = &handshake->connection;
        struct hello offer = hello_make(HELLO_OFFER, settings);
        _cleanup_(closep) int fd = -1;
        int r;

        r = check_identity(connection, settings);
        if (r < 0)
                return r;
        r = half_create(&connection->ours, &fd, settings->reply_capacity, &settings->half);
        if (r < 0)
                return r;
        offer.capacity = settings->capacity;
        offer.reply_capacity = settings->reply_capacity;
        offer.features &= handshake->greeting.hello.features | ~HELLO_FEATURE_EXCHANGE;
        if (!(offer.features & HELLO_FEATURE_EXCHANGE))
                return hello_send(connection->socket, &offer, &fd, 1);
        r = exchange_create(&connection->exchange, &connection->exchange_fd, &settings->half);
        return r < 0 ? r : hello_send(connection->socket, &offer, (const int[]){ fd, connection->exchange_fd }, 2);
}

static int listener_welcome(struct handshake *handshake, const struct settings *settings) {
        struct connection *connection = &handshake->connection;
        struct greeting *answer = &handshake->greeting;
        struct hello welcome = hello_make(HELLO_WELCOME, settings);
        int r;

        r = check_room_socket(answer->fds[1], &connection->peer);
        if (r < 0)
                return r;
        r = half_attach(&connection->theirs, answer->fds[0], settings->capacity, &settings->half);
        if (r == 0 && connection->exchange)
                r = exchange_check(connection->exchange_fd);
        if (r < 0)
                return r;
        LABEL("accept:attached");
        closep(&connection->exchange_fd);
        connection->room = steal_fd(&answer->fds[1]);
        connection->membarrier = answer->hello.features & welcome.features & HELLO_FEATURE_MEMBARRIER;
        return hello_send(connection->socket, &welcome, NULL, 0);
}

static int listener_handle(struct handshake *handshake, const struct settings *settings) {
        int r = greeting_check(&handshake->greeting, handshake->expected,
                               handshake->expected == HELLO_ANSWER ? 2 : 0, settings);

        if (r < 0)
                return r;
        return handshake->expected == HELLO_CONNECT ? listener_offer(handshake, settings)
                                                    : listener_welcome(handshake, settings);
}

int handshake_listener_step(struct handshake *handshake, const struct settings *settings) {
        bool last = handshake->expected == HELLO_ANSWER;
        int r = greeting_receive(&handshake->greeting, handshake->connection.socket);

        if (r == 0)
                return 0;
        LABEL(last ? "accept:answer-read" : "accept:hello-read");
        if (r > 0)
                r = listener_handle(handshake, settings);
        greeting_clear(&handshake->greeting);
        if (r < 0)
                return hello_refuse(handshake->connection.socket, last ? HELLO_WELCOME : HELLO_OFFER, settings, r);
        LABEL(last ? "accept:welcomed" : "accept:offered");
        handshake->expected = HELLO_ANSWER;
        return last;
}

void handshake_expire(struct handshake *handshake, const struct settings *settings) {
        hello_refuse(handshake->connection.socket, handshake->expected == HELLO_ANSWER ? HELLO_WELCOME : HELLO_OFFER,
                     settings, fail(ETIMEDOUT, "the introduction took too long"));
}

/* ---- connector ---------------------------------------------------------- */

static int greeting_await(struct greeting *greeting, int socket, int64_t deadline, const char *path) {
        struct pollfd readable = { .fd = socket, .events = POLLIN };
        int r;

        for (;;) {
                r = greeting_receive(greeting, socket);
                if (r != 0)
                        return r < 0 ? r : 0;
                r = os_poll(&readable, 1, deadline);
                if (r < 0)
                        return r;
                if (r == 0)
                        return fail(ETIMEDOUT, "%s: the listener does not answer (is it in accept?)", path);
        }
}

static int connector_receive(struct greeting *greeting, int socket, enum hello_step step,
                             const struct settings *settings, int64_t deadline, const char *path) {
        int r = greeting_await(greeting, socket, deadline, path);

        if (r == 0)
                r = greeting_check(greeting, step, step == HELLO_OFFER ? offered_fds(&greeting->hello, settings) : 0,
                                   settings);
        if (r == -ECONNREFUSED)
                return hello_refused(&greeting->hello, path);
        return r;
}

/* The listener says how large; we say how large is too large. */
static int connector_check_offer(const struct hello *offer, const struct settings *settings) {
        uint64_t page = half_round_capacity(1, false);

        if (!is_power_of_two(offer->capacity) || !is_power_of_two(offer->reply_capacity) ||
            offer->capacity < page || offer->reply_capacity < page)
                return fail(EPROTO, "the listener offers an impossible capacity");
        if (offer->capacity > settings->max_capacity || offer->reply_capacity > settings->max_capacity)
                return fail(EFBIG, "the listener wants %llu + %llu bytes, over max_capacity, %llu",
                            (unsigned long long)offer->capacity, (unsigned long long)offer->reply_capacity,
                            (unsigned long long)settings->max_capacity);
        return 0;
}

static int connector_answer(struct connection *connection, const struct greeting *offer,
                            const struct settings *settings) {
        struct hello answer = hello_make(HELLO_ANSWER, settings);
        _cleanup_(closep) int memory = -1;
        _cleanup_(closep) int room = -1;
        int r, pair[2];

        r = half_attach(&connection->theirs, offer->fds[0], offer->hello.reply_capacity, &settings->half);
        if (r == 0 && offer->n_fds > 1)
                r = exchange_attach(&connection->exchange, offer->fds[1], &settings->half);
        if (r < 0)
                return r;
        r = half_create(&connection->ours, &memory, offer->hello.capacity, &settings->half);
        if (r < 0)
                return r;
        if (os_socketpair(pair) < 0)
                return fail(errno, "cannot make a doorbell: %s", strerror(errno));
        LABEL("connect:doorbell-made");
        connection->room = pair[0];
        room = pair[1];
        connection->membarrier = offer->hello.features & answer.features & HELLO_FEATURE_MEMBARRIER;
        return hello_send(connection->socket, &answer, (const int[]){ memory, room }, 2);
}

static int connector_take_offer(struct connection *connection, struct greeting *offer,
                                const struct settings *settings) {
        int r = connector_check_offer(&offer->hello, settings);

        if (r == 0)
                r = connector_answer(connection, offer, settings);
        if (r < 0)
                hello_refuse(connection->socket, HELLO_ANSWER, settings, r);
        greeting_clear(offer);
        return r;
}

static int connector_converse(struct connection *connection, const struct settings *settings, int64_t deadline,
                              const char *path) {
        struct hello hello = hello_make(HELLO_CONNECT, settings);
        _cleanup_(greeting_clear) struct greeting greeting = { .have = 0 };
        int r;

        r = check_identity(connection, settings);
        if (r < 0)
                return r;
        LABEL("connect:connected");
        r = hello_send(connection->socket, &hello, NULL, 0);
        if (r < 0)
                return r;
        LABEL("connect:introduced");
        r = connector_receive(&greeting, connection->socket, HELLO_OFFER, settings, deadline, path);
        if (r < 0)
                return r;
        LABEL("connect:offered");
        r = connector_take_offer(connection, &greeting, settings);
        if (r < 0)
                return r;
        LABEL("connect:answered");
        return connector_receive(&greeting, connection->socket, HELLO_WELCOME, settings, deadline, path);
}

int handshake_connect(struct connection *connectionp, int socket, const struct settings *settings,
                      int64_t deadline, const char *path) {
        struct connection connection = CONNECTION_INIT;
        int r;

        connection.socket = socket;
        r = connector_converse(&connection, settings, deadline, path);
        if (r == -ECONNRESET) /* closed, or killed, with us in its queue */
                r = fail(ECONNREFUSED, "%s: the listener hung up before the connection was made", path);
        if (r < 0) {
                connection_destroy(&connection);
                return r;
        }
        LABEL("connect:welcomed");
        *connectionp = connection;
        return 0;
}
