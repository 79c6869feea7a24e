/* SPDX-License-Identifier: MIT */
/*
 * What one would use instead, in C: a Unix socket that keeps messages apart
 * (SOCK_SEQPACKET) and a pair of pipes. The same loops, one message a call.
 */
#include "bench.h"
#include "loops.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* A larger packet may be refused for want of contiguous kernel memory. */
#define MOST_PACKET ((size_t)64 << 10)
#define SOCKET_BUFFER (4 << 20)
#define PIPE_BUFFER (1 << 20)

struct peer_link {
        int out;
        int in;
        unsigned char *buffer; /* to receive into, where only the sum is wanted */
};

struct ends {
        int fd[2][2]; /* [side][0: to receive from, 1: to send to] */
};

static struct ends *ends_create(struct round *round) {
        return round->resource = memory_share(sizeof(struct ends));
}

static void link_open(struct round *round, struct peer_link *link) {
        struct ends *ends = round->resource;

        link->in = ends->fd[round->side][0];
        link->out = ends->fd[round->side][1];
        link->buffer = payload_create(round->plan->size);
        round_meet(round);
}

/* ---- socket ---- */

static void socket_prepare(struct round *round) {
        struct ends *ends = ends_create(round);
        int fds[2], buffer = SOCKET_BUFFER;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                die("no socket pair: %s", strerror(errno));
        for (int side = 0; side < 2; side++) {
                ends->fd[side][0] = ends->fd[side][1] = fds[side];
                if (round->plan->size <= LINE) /* small messages do better with what they have */
                        continue;
                /* Root may have the larger one; others get what net.core.wmem_max allows. */
                if (setsockopt(fds[side], SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer)) < 0)
                        setsockopt(fds[side], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
        }
}

/* A message larger than a packet may be goes as several. */
static void socket_send(void *link, const void *data, size_t size) {
        const struct peer_link *l = link;

        for (size_t done = 0; done < size;) {
                size_t part = size - done < MOST_PACKET ? size - done : MOST_PACKET;
                ssize_t n = send(l->out, (const unsigned char *)data + done, part, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n != (ssize_t)part)
                        die("cannot send on a socket: %s", strerror(errno));
                done += part;
        }
}

static void socket_recv(void *link, void *data, size_t size) {
        const struct peer_link *l = link;

        for (size_t done = 0; done < size;) {
                ssize_t n = recv(l->in, (unsigned char *)data + done, size - done, 0);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        die("cannot receive from a socket: %s", n ? strerror(errno) : "it was closed");
                done += (size_t)n;
        }
}

static uint64_t socket_recv_sum(void *link, size_t size) {
        struct peer_link *l = link;

        socket_recv(link, l->buffer, size);
        return payload_sum(l->buffer, size);
}

/* ---- pipe ---- */

static void pipe_prepare(struct round *round) {
        struct ends *ends = ends_create(round);

        for (int side = 0; side < 2; side++) {
                int fds[2];

                if (pipe2(fds, O_CLOEXEC) < 0)
                        die("no pipe: %s", strerror(errno));
                ends->fd[!side][0] = fds[0];
                ends->fd[side][1] = fds[1];
                if (round->plan->size > LINE) /* refused: then the size that it has */
                        fcntl(fds[1], F_SETPIPE_SZ, PIPE_BUFFER);
        }
}

static void pipe_send(void *link, const void *data, size_t size) {
        const struct peer_link *l = link;

        for (size_t done = 0; done < size;) {
                ssize_t n = write(l->out, (const unsigned char *)data + done, size - done);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        die("cannot write to a pipe: %s", strerror(errno));
                done += (size_t)n;
        }
}

static void pipe_recv(void *link, void *data, size_t size) {
        const struct peer_link *l = link;

        for (size_t done = 0; done < size;) {
                ssize_t n = read(l->in, (unsigned char *)data + done, size - done);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        die("cannot read from a pipe: %s", n ? strerror(errno) : "it was closed");
                done += (size_t)n;
        }
}

static uint64_t pipe_recv_sum(void *link, size_t size) {
        struct peer_link *l = link;

        pipe_recv(link, l->buffer, size);
        return payload_sum(l->buffer, size);
}

/* ---- the loops ---- */

#define PEER(peer)                                                                      \
        TRIPS(peer, peer##_send, peer##_recv)                                           \
                                                                                        \
        static void peer##_rtt(struct round *round) {                                   \
                struct peer_link link;                                                  \
                                                                                        \
                link_open(round, &link);                                                \
                (round->side == 0 ? peer##_drive : peer##_echo)(round, &link);          \
        }                                                                               \
                                                                                        \
        static void peer##_stream(struct round *round) {                                \
                struct peer_link link;                                                  \
                                                                                        \
                link_open(round, &link);                                                \
                if (round->side == 0)                                                   \
                        stream_produce(round, &link, peer##_send);                      \
                else                                                                    \
                        stream_consume(round, &link, peer##_recv);                      \
        }                                                                               \
                                                                                        \
        static void peer##_bandwidth(struct round *round) {                             \
                struct peer_link link;                                                  \
                                                                                        \
                link_open(round, &link);                                                \
                if (round->side == 0)                                                   \
                        stream_produce(round, &link, peer##_send);                      \
                else                                                                    \
                        bandwidth_consume(round, &link, peer##_recv_sum);               \
        }                                                                               \
                                                                                        \
        const struct measurement peer##_rtt_measurement = {                             \
                #peer "-rtt", "", peer##_prepare, { peer##_rtt, peer##_rtt }            \
        };                                                                              \
        const struct measurement peer##_stream_measurement = {                          \
                #peer "-stream", "", peer##_prepare, { peer##_stream, peer##_stream }   \
        };                                                                              \
        const struct measurement peer##_bandwidth_measurement = {                       \
                #peer "-bandwidth", "", peer##_prepare, { peer##_bandwidth, peer##_bandwidth } \
        }

PEER(socket);
PEER(pipe);
