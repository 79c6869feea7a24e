/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_HANDSHAKE_H
#define TACHYON_HANDSHAKE_H
/*
 * How two processes come to share memory. Over a Unix stream socket, each step
 * one `struct hello`, descriptors riding along:
 *
 *      connector                                listener
 *      CONNECT   kind, versions, features  -->
 *                                          <--  OFFER    capacities, its half, the exchange line
 *      ANSWER    its half, a room doorbell -->
 *                                          <--  WELCOME
 *
 * Either side may refuse instead, before anything of the other's is mapped,
 * with a reason that the other can print. What arrives is hostile until
 * checked; every step has a deadline.
 */
#include "exchange.h"
#include "half.h"
#include "os.h"
#include "settings.h"

/* What a finished handshake gives; a bus is made of it. */
struct connection {
        int socket;   /* doorbell for data, and obituary */
        int room;     /* doorbell for room */
        int process;  /* readable when the peer is dead, or -1 */
        struct half ours;
        struct half theirs;
        struct frame *exchange; /* or NULL */
        int exchange_fd;        /* the listener's, until the connector has sealed it */
        struct os_peer peer;
        bool membarrier; /* both sides registered */
        bool is_listener;
};

#define CONNECTION_INIT { .socket = -1, .room = -1, .process = -1, .exchange_fd = -1 }

void connection_close_descriptors(struct connection *connection);
void connection_destroy(struct connection *connection);
/* In a forked child: what it holds of a connection that is not yet a bus. */
void connection_forget(struct connection *connection);

/* A hello on its way in, with the descriptors that came along. */
#define GREETING_MAX_FDS 2

struct greeting {
        struct hello hello;
        size_t have;
        int fds[GREETING_MAX_FDS];
        size_t n_fds;
};

/* One introduction that a listener is busy with. */
struct handshake {
        struct connection connection;
        struct greeting greeting;
        enum hello_step expected;
        int64_t deadline;
};

void handshake_init(struct handshake *handshake, int socket, int64_t deadline);
void handshake_destroy(struct handshake *handshake);

/*
 * Goes on as far as it can without waiting. 1: complete, take the connection;
 * 0: wait for the socket to become readable; negative: it failed, the peer has
 * been told. Only -EMFILE, -ENFILE, -ENOMEM and -ENOSPC are our own trouble.
 */
int handshake_listener_step(struct handshake *handshake, const struct settings *settings);
/* Its time is over: the peer is told, as far as it listens. */
void handshake_expire(struct handshake *handshake, const struct settings *settings);

/* The connector's side, from connected socket to connection. Takes over the socket. */
int handshake_connect(struct connection *connection, int socket, const struct settings *settings,
                      int64_t deadline, const char *path);

#endif
