/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_H
#define TACHYON_H
/*
 * tachyon: same-machine messages at the speed of a cache line.
 *
 * This header is the whole public interface of libtachyon.so.1, for C11 and
 * C++17 and for every language that can call C. Link with -ltachyon
 * (pkg-config: tachyon).
 *
 * Words. A *bus* is one end of a connection between two processes. It carries
 * *messages* (0 bytes or more, and a 32-bit type_id that is all yours) both
 * ways, through two *rings* in shared memory, one per direction. A *listener*
 * accepts buses on a Unix socket path; the other process *connects* to it. A
 * *lease* is a received message that has not been released yet: its bytes lie
 * in the ring, and the ring cannot reuse them until it is released.
 *
 * Results. Functions that return int give 0 (or a count) or a negative errno
 * out of the list that is documented with each. On failure, outputs are left
 * untouched. tachyon_strerror() explains the number; tachyon_error_detail()
 * tells what the number cannot (which path, which limit, what to do).
 *
 * Timeouts are int64_t timeout_ns: 0 tries once and returns -EAGAIN, a
 * negative value waits for ever, a positive one waits so many nanoseconds of
 * CLOCK_MONOTONIC and returns -ETIMEDOUT. A wait that is cut short by a signal
 * handler returns -EINTR, with nothing lost; call again with the time left.
 *
 * Threads. Of one bus, one thread at a time sends (send, reserve, commit,
 * cancel, wait_space, arm_space) and one at a time receives (recv, recv_batch,
 * wait_data, wait_any, arm); they may be two threads. release, close, stats and
 * properties may be called from any thread at any time. Different buses are
 * independent.
 *
 * fork. A bus or listener is dead in a forked child: every call on it returns
 * -TACHYON_EFORK there, the parent's goes on unharmed. Calling close and free
 * in the child only closes the child's descriptors. Messages that were leased at
 * the fork can still be read in the child, until it has called free and, for
 * each of them, release (which returns -TACHYON_EFORK all the same): the child
 * sees what is in the parent's memory, so the parent must keep its leases
 * meanwhile. What is written to a reservation of the parent's goes nowhere.
 *
 * A peer is not trusted. Whatever the other process writes or does, calls here
 * stay inside their own memory and return; the first breach of the protocol
 * ends the bus with -EPROTO. But the bytes of a lease can change under your
 * eyes if the peer is hostile: copy what you check before you use it.
 */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && !defined(TACHYON_API)
#define TACHYON_API __attribute__((__visibility__("default")))
#elif !defined(TACHYON_API)
#define TACHYON_API
#endif

/* The version of this header. The ABI is compatible within one major number:
 * a program needs a library with the same ABI major and at least its minor. */
#define TACHYON_VERSION "0.1.0"
#define TACHYON_ABI_MAJOR 1
#define TACHYON_ABI_MINOR 0

/* Errors that have a meaning of their own here; all are plain errno values. */
#define TACHYON_ECLOSED 32   /* EPIPE: the peer closed the bus in good order */
#define TACHYON_EFORK 10     /* ECHILD: this handle was made before a fork */
#if defined(__APPLE__)
#define TACHYON_EPEERDEAD 105 /* EOWNERDEAD */
#define TACHYON_ELEASES 55    /* ENOBUFS */
#else
#define TACHYON_EPEERDEAD 130 /* EOWNERDEAD: the peer died without closing */
#define TACHYON_ELEASES 105   /* ENOBUFS: leases fill the ring, see recv */
#endif

/* One end of a connection; see tachyon_bus_connect() and _listen(). */
typedef struct tachyon_bus tachyon_bus;
/* Accepts buses on a path; see tachyon_listener_create(). */
typedef struct tachyon_listener tachyon_listener;

/* Calls, or serves calls, over a bus; see tachyon_rpc_create(). */
typedef struct tachyon_rpc tachyon_rpc;

/* A received message; a lease on its bytes until tachyon_bus_release(). */
typedef struct tachyon_message {
        const void *data;        /* payload, in the ring; 64-byte aligned when larger than 48 bytes */
        uint64_t size;           /* payload, in bytes */
        uint64_t lease;          /* what tachyon_bus_release() wants */
        uint64_t correlation_id; /* RPC buses only, else 0 */
        uint32_t type_id;        /* the sender's tag */
        uint32_t flags;          /* enum tachyon_message_flags; 0 on stream buses */
} tachyon_message;

/* tachyon_message.flags, of messages on RPC buses */
enum tachyon_message_flags {
        TACHYON_CORRELATED = 2, /* it has a correlation_id: so have all of them */
        TACHYON_REPLY = 4,      /* else a request */
        TACHYON_FAILURE = 8     /* of a reply: the call failed, see tachyon_rpc_fail() */
};

/* A run of messages of one size; one lease on all of them. */
typedef struct tachyon_records {
        const void *data; /* payload of the first, in the ring */
        uint64_t count;
        uint64_t stride;  /* bytes from one payload to the next: a multiple of 64 */
        uint64_t lease;   /* what tachyon_bus_release() wants, once for all */
} tachyon_records;

/* The most dimensions of an array, and the longest text of a dtype. */
#define TACHYON_ARRAY_MAX_NDIM 64
#define TACHYON_ARRAY_MAX_DTYPE 65536
/* The first 8 bytes of a message that is an array: "tacharr\n" on a little-endian machine. */
#define TACHYON_ARRAY_MAGIC UINT64_C(0x0a72726168636174)

/* A dense array, in C order (the last index runs fastest), in a message. */
typedef struct tachyon_array {
        const void *data;    /* the elements, 64-byte aligned in a message of a bus; not looked at when written */
        uint64_t data_size;  /* bytes of the elements; not looked at when written */
        uint64_t itemsize;   /* bytes of one element, at least 1 */
        const char *dtype;   /* what an element is, as in NumPy: "<f4", "|u1"; see docs/protocol.md */
        uint32_t dtype_size; /* characters of dtype; 0 when written: up to its NUL. Read ones have no NUL. */
        uint32_t ndim;       /* number of dimensions; 0: a single element */
        uint64_t shape[TACHYON_ARRAY_MAX_NDIM];
} tachyon_array;

/* What kind of bus; both ends must ask for the same. */
enum tachyon_kind {
        TACHYON_KIND_STREAM = 1,
        TACHYON_KIND_RPC = 2
};

/* tachyon_options.flags */
enum tachyon_option_flags {
        TACHYON_PREFAULT = 1u << 0,   /* map all pages now, not at first use */
        TACHYON_MLOCK = 1u << 1,      /* lock both rings in memory; fails with -ENOMEM/-EPERM over RLIMIT_MEMLOCK */
        TACHYON_HUGE_PAGES = 1u << 2, /* 2 MiB pages; where there are none left: normal ones, see properties */
        TACHYON_TRUSTED = 1u << 3     /* both ends may write in both rings: received data may be changed in place */
};

/*
 * Options of a listener or connection. Initialise with TACHYON_OPTIONS_INIT;
 * a zero means "the default" in every field but the first.
 */
typedef struct tachyon_options {
        uint64_t struct_size;    /* sizeof(tachyon_options) */
        uint64_t capacity;       /* listener: ring from connector to listener, bytes; rounded up to a power
                                  * of two of at least a page. Default 1 MiB. The connector obeys. */
        uint64_t reply_capacity; /* listener: ring from listener to connector; default: as capacity */
        uint64_t max_capacity;   /* largest ring to make or to map, bytes; default: half of the
                                  * machine's memory, at most 64 GiB */
        int64_t spin_ns;         /* how long a wait polls before it sleeps: 0 default (adaptive, up to 100 us,
                                  * none on one CPU), < 0 never, > 0 so long and always so long */
        uint32_t flags;          /* enum tachyon_option_flags */
        uint32_t kind;           /* enum tachyon_kind; default TACHYON_KIND_STREAM */
        int32_t numa_node;       /* 1 + the node on which our ring's memory shall lie; default 0: anywhere */
        uint32_t socket_mode;    /* listener: permission bits of the socket; default 0600 */
        const uint32_t *allowed_uids;  /* user ids that may be the peer; default: our own only */
        uint64_t allowed_uid_count;
        int64_t handshake_timeout_ns; /* how long a connection may take to introduce itself; default 2 s */
        uint64_t max_pending;    /* listener: unfinished introductions at a time; default 16, at most 64 */
} tachyon_options;

#define TACHYON_OPTIONS_INIT { sizeof(tachyon_options), 0, 0, 0, 0, 0, 0, 0, 0, NULL, 0, 0, 0 }

/* Facts of a bus that do not change. */
typedef struct tachyon_properties {
        uint64_t struct_size;      /* sizeof(tachyon_properties), set by the caller */
        uint64_t send_capacity;    /* bytes of the ring we send through */
        uint64_t recv_capacity;    /* bytes of the ring we receive from */
        uint64_t max_send_size;    /* largest message we can send, bytes */
        uint64_t max_recv_size;    /* largest message we can receive, bytes */
        int64_t spin_ns;           /* the longest a wait polls before it sleeps */
        int32_t peer_pid;          /* 0 where it cannot be known */
        uint32_t peer_uid;
        uint32_t kind;             /* enum tachyon_kind */
        uint32_t layout_version;   /* of the shared memory, agreed on in the handshake */
        uint32_t is_listener;      /* 1: this end came out of a listener */
        uint32_t isolation;        /* 1: the kernel refuses to let the peer write our ring, or us its */
        uint32_t barrier;          /* 1: membarrier spares senders a fence; 0: fences on both sides */
        uint32_t huge_pages;       /* 1: our ring lies on huge pages */
        uint32_t watches_pid;      /* 1: death is seen by process descriptor as well as by the socket */
        uint32_t trusted;          /* 1: both ends asked for TACHYON_TRUSTED */
} tachyon_properties;

/* Counters of a bus; see tachyon_bus_stats(). */
typedef struct tachyon_stats {
        uint64_t struct_size;       /* sizeof(tachyon_stats), set by the caller */
        uint64_t sent_messages;
        uint64_t sent_bytes;        /* payload bytes */
        uint64_t received_messages;
        uint64_t received_bytes;    /* payload bytes */
        uint64_t send_used;         /* ring bytes sent and not yet given back by the peer; after its end: unread */
        uint64_t recv_used;         /* ring bytes received or waiting, not yet released by us */
        uint64_t leases;            /* received messages not yet released */
        uint64_t doorbells;         /* times that we woke the peer (one system call each) */
        uint64_t data_sleeps;       /* times that we slept for data */
        uint64_t space_sleeps;      /* times that we slept for room */
} tachyon_stats;

/* Codes of tachyon_rpc_fail() that mean the same everywhere. */
enum tachyon_rpc_code {
        TACHYON_RPC_UNKNOWN_TYPE = 0x7fff0001, /* the server has no such procedure */
        TACHYON_RPC_EXCEPTION = 0x7fff0002,    /* the procedure failed: "Type: message", perhaps a NUL and a traceback */
        TACHYON_RPC_TOO_LARGE = 0x7fff0003     /* the reply does not fit into the ring */
};

/* Counters of one end; see tachyon_rpc_stats(). */
typedef struct tachyon_rpc_counters {
        uint64_t struct_size; /* sizeof(tachyon_rpc_counters), set by the caller */
        uint64_t outstanding; /* calls made and not over */
        uint64_t stored;      /* those of them whose reply is here, kept on the heap */
        uint64_t requests;    /* made, or served */
        uint64_t replies;     /* received by whoever waited, or given; failures among them */
        uint64_t failures;    /* of the replies */
        uint64_t dropped;     /* replies to calls that were given up, or never made */
} tachyon_rpc_counters;

/* ---- versions and errors ------------------------------------------------ */

/**
 * tachyon_abi_version() - which ABI the loaded library has
 *
 * Return: TACHYON_ABI_MAJOR << 16 | TACHYON_ABI_MINOR of the library.
 */
TACHYON_API uint32_t tachyon_abi_version(void);

/**
 * tachyon_version() - the version of the loaded library
 *
 * Return: a static string like "0.1.0".
 */
TACHYON_API const char *tachyon_version(void);

/**
 * tachyon_strerror() - explain an error of this library in a few words
 * @error: a result of one of these functions; its sign does not matter
 *
 * Return: a static string for this library's own errors, else strerror()'s,
 * valid until the next call in this thread.
 */
TACHYON_API const char *tachyon_strerror(int error);

/**
 * tachyon_error_detail() - what went wrong in the last call that failed in this thread
 *
 * Names the path, the limit or the value, and where it can what to do about
 * it. Only meaningful straight after a failure other than -EAGAIN.
 *
 * Return: a string, perhaps empty, valid until the next failure in this thread.
 */
TACHYON_API const char *tachyon_error_detail(void);

/* ---- listener ----------------------------------------------------------- */

/**
 * tachyon_listener_create() - own a path and listen on it
 * @listenerp: where to store the listener; the caller owns it
 * @path: file system path of the socket, at most 107 bytes (103 on macOS)
 * @options: NULL for the defaults; copied
 *
 * The socket has mode 0600 (or options.socket_mode) whatever the umask. A
 * sibling file "@path.lock" decides who owns the path. A socket that a dead
 * listener left behind is taken over; a live one and anything that is not a
 * socket is left alone.
 *
 * Return: 0, or -EADDRINUSE (a live listener has the path), -EEXIST (something
 * that is not a socket is there), -ENAMETOOLONG, -EINVAL (an option), -EFBIG (a
 * capacity over max_capacity), -ENOENT/-EACCES/-EROFS/-ENOTDIR (the folder),
 * -EMFILE, -ENFILE, -ENOMEM.
 */
TACHYON_API int tachyon_listener_create(tachyon_listener **listenerp, const char *path,
                                        const tachyon_options *options);

/**
 * tachyon_listener_accept() - wait for a process to connect
 * @listener: the listener
 * @busp: where to store the bus; the caller owns it and frees it with tachyon_bus_free()
 * @timeout_ns: see the top of this file
 *
 * Introductions of several connectors go on side by side; one that is mute,
 * slow or wrong is dropped with a reason that it can print, and does not
 * disturb the others. Introductions only go on while this function runs.
 *
 * Return: 0, or -EAGAIN, -ETIMEDOUT, -EINTR, -EBUSY (another thread is in
 * accept), -ECANCELED (closed by another thread), -EMFILE, -ENFILE, -ENOMEM,
 * -ENOSPC, -EFBIG, -EPERM, -EINVAL (what this side cannot give to a connection:
 * descriptors, memory, locked memory, a NUMA node), -TACHYON_EFORK.
 */
TACHYON_API int tachyon_listener_accept(tachyon_listener *listener, tachyon_bus **busp, int64_t timeout_ns);

/**
 * tachyon_listener_fd() - a descriptor for event loops
 * @listener: the listener
 *
 * Readable when tachyon_listener_accept(..., 0) has something to do. Owned by
 * the listener.
 *
 * Return: the descriptor, or -TACHYON_EFORK, -ECANCELED.
 */
TACHYON_API int tachyon_listener_fd(tachyon_listener *listener);

/**
 * tachyon_listener_close() - stop listening and remove the socket
 * @listener: the listener, or NULL
 *
 * Accepted buses live on. An accept that waits in another thread returns
 * -ECANCELED. May be called more than once.
 */
TACHYON_API void tachyon_listener_close(tachyon_listener *listener);

/**
 * tachyon_listener_free() - close, and free the handle
 * @listener: the listener, or NULL; no other call may be using it
 */
TACHYON_API void tachyon_listener_free(tachyon_listener *listener);

/* ---- making a bus ------------------------------------------------------- */

/**
 * tachyon_bus_listen() - listen on a path for one connection
 * @busp: where to store the bus; the caller owns it
 * @path, @options: as in tachyon_listener_create()
 * @timeout_ns: how long to wait for the other process
 *
 * The path is free again as soon as this returns.
 *
 * Return: 0 or an error of tachyon_listener_create() or _accept().
 */
TACHYON_API int tachyon_bus_listen(tachyon_bus **busp, const char *path, const tachyon_options *options,
                                   int64_t timeout_ns);

/**
 * tachyon_bus_connect() - connect to a listener
 * @busp: where to store the bus; the caller owns it
 * @path: the listener's path
 * @options: NULL for the defaults; capacities are the listener's business
 * @timeout_ns: how long to wait for a listener to appear and to accept
 *
 * Where there is no listener yet, this waits for one.
 *
 * Return: 0, or -EAGAIN/-ETIMEDOUT (no listener, or one that does not accept),
 * -ENOENT, -ENOTDIR, -ELOOP (not even the path's folder is there), -EINTR, -ECONNREFUSED (the listener refused us, its reason is in
 * tachyon_error_detail()), -EACCES (no permission on the socket, or its owner
 * is not an allowed user), -ENOTSOCK (the path is no socket), -ENAMETOOLONG,
 * -EPROTONOSUPPORT (no common layout version, or another kind of bus),
 * -EPROTO (not a tachyon listener, or a broken one), -EFBIG (capacity over
 * max_capacity or RLIMIT_FSIZE), -EINVAL, -EMFILE, -ENFILE, -ENOMEM, -ENOSPC.
 */
TACHYON_API int tachyon_bus_connect(tachyon_bus **busp, const char *path, const tachyon_options *options,
                                    int64_t timeout_ns);

/* ---- sending ------------------------------------------------------------ */

/**
 * tachyon_bus_send() - send one message, copying it into the ring
 * @bus: the bus
 * @data: the payload; may be NULL where @size is 0
 * @size: payload bytes, 0 to properties.max_send_size
 * @type_id: the caller's tag
 * @timeout_ns: how long to wait for room
 *
 * When this returns 0 the message is committed: it arrives even if this
 * process is killed the moment after, as long as the receiver lives. Makes no
 * system call unless it has to wait or the receiver sleeps.
 *
 * Return: 0, or -EMSGSIZE (larger than the ring allows), -EAGAIN, -ETIMEDOUT,
 * -EINTR, -EBUSY (a reservation is open, or another thread is sending),
 * -TACHYON_ECLOSED, -TACHYON_EPEERDEAD, -EPROTO, -ECANCELED (this bus was
 * closed), -TACHYON_EFORK. A peer that dies while there is room is noticed when
 * the ring is full or when it would be woken.
 */
TACHYON_API int tachyon_bus_send(tachyon_bus *bus, const void *data, size_t size, uint32_t type_id,
                                 int64_t timeout_ns);

/**
 * tachyon_bus_reserve() - get room in the ring to write a message in place
 * @bus: the bus
 * @datap: where to store the address of @size writable bytes, 64-byte aligned
 *         for more than 48 bytes, else 8-byte aligned; their content is undefined
 * @size: the most bytes that the message will have
 * @timeout_ns: how long to wait for room
 *
 * One reservation at a time; end it with tachyon_bus_commit() or _cancel().
 *
 * Return: 0 or an error of tachyon_bus_send().
 */
TACHYON_API int tachyon_bus_reserve(tachyon_bus *bus, void **datap, size_t size, int64_t timeout_ns);

/**
 * tachyon_bus_commit() - send the reserved message
 * @bus: the bus
 * @size: bytes that were really used, at most the size reserved
 * @type_id: the caller's tag
 *
 * Return: 0, or -EINVAL (nothing is reserved, or @size is more than that; the
 * reservation stays), -TACHYON_ECLOSED, -TACHYON_EPEERDEAD (nobody will receive
 * it), -ECANCELED, -EPROTO, -TACHYON_EFORK (it is gone).
 */
TACHYON_API int tachyon_bus_commit(tachyon_bus *bus, size_t size, uint32_t type_id);

/**
 * tachyon_bus_cancel() - drop the reservation, if there is one
 * @bus: the bus
 *
 * Nothing is sent; the receiver never sees what was written.
 *
 * Return: 0, or -ECANCELED, -EPROTO, -TACHYON_EFORK.
 */
TACHYON_API int tachyon_bus_cancel(tachyon_bus *bus);

/* ---- receiving ---------------------------------------------------------- */

/**
 * tachyon_bus_recv() - receive one message, without copying it
 * @bus: the bus
 * @message: filled in; message->data points into the ring until
 *           tachyon_bus_release(bus, message->lease)
 * @timeout_ns: how long to wait
 *
 * Messages that were committed come before any news of the peer's end.
 *
 * Return: 0, or -EAGAIN, -ETIMEDOUT, -EINTR, -EBUSY (another thread is
 * waiting for data), -TACHYON_ECLOSED (the peer closed, all is received),
 * -TACHYON_EPEERDEAD (it died, all that it committed is received), -EPROTO (it
 * broke the protocol), -TACHYON_ELEASES (the peer cannot send what it has
 * before some of our leases are released), -ECANCELED (this bus was closed),
 * -TACHYON_EFORK.
 */
TACHYON_API int tachyon_bus_recv(tachyon_bus *bus, tachyon_message *message, int64_t timeout_ns);

/**
 * tachyon_bus_recv_copy() - receive one message into memory of your own
 * @bus: the bus
 * @buffer: where its bytes go
 * @capacity: bytes that fit there
 * @type_id: set to the sender's tag, or NULL
 * @timeout_ns: how long to wait
 *
 * There is no lease, and nothing to release. For small messages this is less
 * work than tachyon_bus_recv() and _release().
 *
 * Return: the bytes of the message; or -EMSGSIZE (more than @capacity; it is
 * still the next message), or an error of tachyon_bus_recv().
 */
TACHYON_API int64_t tachyon_bus_recv_copy(tachyon_bus *bus, void *buffer, size_t capacity, uint32_t *type_id,
                                          int64_t timeout_ns);

/**
 * tachyon_bus_recv_batch() - receive what is there, without copying it
 * @bus: the bus
 * @messages: array of at least @max; each filled one is a lease
 * @max: the most messages wanted, at least 1
 * @timeout_ns: how long to wait for the first
 *
 * Return: the number of messages, at least 1, or an error of tachyon_bus_recv().
 */
TACHYON_API int tachyon_bus_recv_batch(tachyon_bus *bus, tachyon_message *messages, size_t max,
                                       int64_t timeout_ns);

/**
 * tachyon_bus_release() - give a received message's place in the ring back
 * @bus: the bus; open, closed, or freed with leases still out
 * @lease: tachyon_message.lease
 *
 * In any order, from any thread. After it the message's bytes must not be
 * looked at. The peer can use the room at once, as far as no older lease is
 * out. After tachyon_bus_free(), the last release frees the memory.
 *
 * Return: 0, or -EINVAL (not a lease that is out: released twice?), -TACHYON_EFORK.
 */
TACHYON_API int tachyon_bus_release(tachyon_bus *bus, uint64_t lease);

/**
 * tachyon_bus_release_batch() - tachyon_bus_release() for many
 * @bus: the bus
 * @messages: what tachyon_bus_recv_batch() filled
 * @count: how many
 *
 * Return: 0, or the first error; the others are released all the same.
 */
TACHYON_API int tachyon_bus_release_batch(tachyon_bus *bus, const tachyon_message *messages, size_t count);

/**
 * tachyon_bus_put_back() - make the newest received message the next one again
 * @bus: the bus
 * @message: as tachyon_bus_recv() filled it in, or the last one of a batch
 *
 * For who has looked at a message and found that it is another's to receive. Its
 * lease ends. Only the receiving thread may call this.
 *
 * Return: 0, or -EINVAL (it is not the newest, or was released), -ECANCELED,
 * -EPROTO, -TACHYON_EFORK; then the lease is still out.
 */
TACHYON_API int tachyon_bus_put_back(tachyon_bus *bus, const tachyon_message *message);

/* ---- records: fixed-size messages by the thousand ------------------------ */

/**
 * tachyon_bus_send_records() - send many messages of one size
 * @bus: the bus
 * @records: @count times @record_size bytes, packed
 * @record_size: payload bytes of each message, at least 1
 * @count: how many
 * @type_id: the tag of each
 * @timeout_ns: how long to wait for room, in all
 *
 * As if each had been sent with tachyon_bus_send(); what is sent is committed.
 *
 * Return: the number sent: fewer than @count only where the time was over, a
 * signal handler ran or the bus came to its end, which the next call then
 * reports. Where not one was sent, an error of tachyon_bus_send(), or -EINVAL.
 */
TACHYON_API int64_t tachyon_bus_send_records(tachyon_bus *bus, const void *records, size_t record_size,
                                             size_t count, uint32_t type_id, int64_t timeout_ns);

/**
 * tachyon_bus_recv_records() - receive a run of messages of one size, without copying
 * @bus: the bus
 * @records: filled in; one lease for the whole run
 * @record_size: payload bytes that each message must have, at least 1
 * @max: the most messages wanted, at least 1
 * @type_id: the tag that each message must have, or NULL for any
 * @timeout_ns: how long to wait for the first
 *
 * A message of another size or tag ends the run and is the next one received.
 *
 * Return: how many there are, at least 1; or -EMSGSIZE (the next message has
 * another size; nothing is lost), -EBADMSG (it has another tag), -EINVAL, or an
 * error of tachyon_bus_recv().
 */
TACHYON_API int64_t tachyon_bus_recv_records(tachyon_bus *bus, tachyon_records *records, size_t record_size,
                                             size_t max, const uint32_t *type_id, int64_t timeout_ns);

/* ---- arrays ------------------------------------------------------------- */

/*
 * A message can be an array that describes itself: a header with dtype and
 * shape, then the elements. Reserve tachyon_array_size() bytes, write the
 * header, fill in the elements, commit all of it; and read what was received.
 */

/**
 * tachyon_array_size() - bytes of a message that is this array
 * @array: itemsize, dtype, ndim and shape
 *
 * Return: header and elements, or 0: there can be no such array.
 */
TACHYON_API uint64_t tachyon_array_size(const tachyon_array *array);

/**
 * tachyon_array_write() - write the header of an array
 * @array: itemsize, dtype, ndim and shape
 * @message: where, as from tachyon_bus_reserve()
 * @size: the bytes there, at least tachyon_array_size()
 * @datap: where to store the address for the elements; may be NULL
 *
 * Return: 0, or -EINVAL (there can be no such array), -EMSGSIZE (@size is too small).
 */
TACHYON_API int tachyon_array_write(const tachyon_array *array, void *message, uint64_t size, void **datap);

/**
 * tachyon_array_read() - look at a message as an array
 * @array: filled in; data and dtype point into @message
 * @message: what was received
 * @size: its bytes
 *
 * Whatever the bytes are, nothing beyond them is looked at, and all sizes fit
 * together. That dtype and itemsize do is for the caller to see, who knows what
 * elements it expects: tachyon_array_is(&array, "<f4") && array.itemsize == 4.
 *
 * Return: 0, or -EBADMSG (no array, or a broken one, or of a later version).
 */
TACHYON_API int tachyon_array_read(tachyon_array *array, const void *message, uint64_t size);

/**
 * tachyon_array_is() - compare the dtype
 * @array: the array
 * @dtype: what it should be, NUL-terminated
 *
 * Return: 1 if it is, else 0.
 */
TACHYON_API int tachyon_array_is(const tachyon_array *array, const char *dtype);

/* ---- waiting and event loops -------------------------------------------- */

/**
 * tachyon_bus_wait_data() - wait until a receive would not block
 * @bus: the bus
 * @timeout_ns: how long
 *
 * Return: 0 (there is a message), or an error of tachyon_bus_recv().
 */
TACHYON_API int tachyon_bus_wait_data(tachyon_bus *bus, int64_t timeout_ns);

/**
 * tachyon_bus_wait_space() - wait until a message of this size could be sent
 * @bus: the bus
 * @size: payload bytes
 * @timeout_ns: how long
 *
 * Return: 0 (there is room), or an error of tachyon_bus_send().
 */
TACHYON_API int tachyon_bus_wait_space(tachyon_bus *bus, size_t size, int64_t timeout_ns);

/**
 * tachyon_bus_wait_any() - wait until a receive from one of several buses would not block
 * @buses: the buses, each of them once
 * @count: how many, at least 1
 * @ready: array of @count; set to 1 for each bus that has a message or news of
 *         its end, and to 0 for the others
 * @timeout_ns: how long
 *
 * Sleeps at once, without polling first. This is what tachyon_bus_arm() and
 * tachyon_bus_fds() do in an event loop, for a program that has none.
 *
 * Return: how many are ready, at least 1; or -EAGAIN, -ETIMEDOUT, -EINTR,
 * -EBUSY (another thread is waiting for data on one of them, or it is there
 * twice), -EINVAL (@count is 0, or over INT_MAX / 2), -ENOMEM. A bus that was
 * closed, has ended or belongs to the parent of a fork is ready: receive says what it is.
 */
TACHYON_API int tachyon_bus_wait_any(tachyon_bus *const *buses, size_t count, unsigned char *ready,
                                     int64_t timeout_ns);

/**
 * tachyon_bus_arm() - ask for a doorbell before sleeping in an event loop
 * @bus: the bus
 *
 * Arm, and only if it returns 0 sleep on the data and the death descriptor of
 * tachyon_bus_fds(); when one is readable, receive until -EAGAIN, and arm
 * again. Each arm() also takes the bytes of earlier doorbells off the socket.
 *
 * Return: 0 (armed, nothing to receive), 1 (receive first: there is a message
 * or news of the peer's end), or an error of tachyon_bus_recv().
 */
TACHYON_API int tachyon_bus_arm(tachyon_bus *bus);

/**
 * tachyon_bus_arm_space() - ask for a doorbell when there is room to send
 * @bus: the bus
 * @size: payload bytes of the message that has to be sent
 *
 * As tachyon_bus_arm(), for a sender whose ring is full: only if it returns 0
 * sleep on the room and the death descriptor of tachyon_bus_fds(); when one is
 * readable, try to send, and where that is still -EAGAIN, arm again. Until
 * tachyon_bus_disarm_space() the peer counts us among those who wait.
 *
 * Return: 0 (armed, there is no room), 1 (send first: there is room, or news of
 * the peer's end), or an error of tachyon_bus_send().
 */
TACHYON_API int tachyon_bus_arm_space(tachyon_bus *bus, size_t size);

/**
 * tachyon_bus_disarm_space() - we wait for room no longer
 * @bus: the bus
 *
 * To be called after the sleep, whether the message was sent or given up.
 * Otherwise the peer gives room back in smaller pieces than it need, and may be
 * told -TACHYON_ELEASES for the sake of a message that nobody wants to send.
 *
 * Return: 0, or -ECANCELED, -EPROTO, -TACHYON_EFORK.
 */
TACHYON_API int tachyon_bus_disarm_space(tachyon_bus *bus);

/**
 * tachyon_bus_fds() - the descriptors to sleep on after arming
 * @bus: the bus
 * @data_fdp: readable after a doorbell for data, or the peer's end
 * @room_fdp: readable after a doorbell for room, or the peer's end
 * @death_fdp: readable when the peer's process is dead, or -1 where there is none
 *
 * Never read from them. Owned by the bus, valid until it is closed; take them
 * out of the loop first. A doorbell stays readable until the next arming, so a
 * descriptor that nobody is waiting on must not be watched.
 *
 * Return: 0, or -ECANCELED, -EPROTO, -TACHYON_EFORK.
 */
TACHYON_API int tachyon_bus_fds(tachyon_bus *bus, int *data_fdp, int *room_fdp, int *death_fdp);

/**
 * tachyon_thread_interrupt_fd() - a descriptor that ends the sleeps of this thread
 * @fd: while it is readable, a call of this thread that would sleep returns
 *      -EINTR instead, with nothing lost; never read here. -1: none.
 *
 * For runtimes whose signal handlers only make a note, and a byte in a pipe:
 * with the pipe's end here, no signal can fall between the runtime's last look
 * and the sleep, whichever thread it strikes. Per thread, until called again.
 */
TACHYON_API void tachyon_thread_interrupt_fd(int fd);

/* ---- request and reply -------------------------------------------------- */

/*
 * On a bus whose two ends both asked for options.kind = TACHYON_KIND_RPC, the
 * connector *calls* and the listener's end *serves*; calls both ways are two
 * buses. Many calls may be outstanding, and replies may come in any order: each
 * carries the *correlation id* of its request. The other end's functions return
 * -EOPNOTSUPP, and so do tachyon_bus_send(), _reserve(), _commit() and
 * _send_records() on such a bus. For waiting in an event loop, counters and
 * properties, use the bus under it: tachyon_rpc_bus().
 *
 * Threads: one thread at a time uses a calling end. At a serving end, one thread
 * at a time calls serve() and one at a time replies or fails; they may be two,
 * and release() may be called by any.
 */

/**
 * tachyon_rpc_create() - call or serve over a bus
 * @rpcp: where to store the handle; the caller owns it
 * @bus: of kind TACHYON_KIND_RPC; belongs to the handle where this returns 0
 *
 * Return: 0, or -EINVAL (another kind of bus), -ENOMEM.
 */
TACHYON_API int tachyon_rpc_create(tachyon_rpc **rpcp, tachyon_bus *bus);

/**
 * tachyon_rpc_bus() - the bus under it
 * @rpc: the handle
 *
 * Return: the bus, which belongs to the handle.
 */
TACHYON_API tachyon_bus *tachyon_rpc_bus(tachyon_rpc *rpc);

/**
 * tachyon_rpc_set_limit() - how many calls may be outstanding
 * @rpc: the handle
 * @calls: 1 to 1048576; at first 65536
 *
 * Return: 0, or -EINVAL.
 */
TACHYON_API int tachyon_rpc_set_limit(tachyon_rpc *rpc, uint32_t calls);

/**
 * tachyon_rpc_call() - call, and wait for the reply
 * @rpc: the calling end
 * @data: the request, copied; may be NULL where @size is 0
 * @size: its bytes, 0 to properties.max_send_size
 * @type_id: which of the server's procedures it is for; the caller's tag
 * @message: the reply; to be given back with tachyon_rpc_release()
 * @timeout_ns: how long, for sending and waiting together
 *
 * A call that fails is over: it is forgotten, and should its reply still come,
 * it is dropped and counted.
 *
 * Return: 0; 1 (the server failed the call: message->type_id is its code,
 * message->data its words in UTF-8, not NUL-terminated, to be released as well);
 * or an error of tachyon_rpc_submit() or _wait().
 */
TACHYON_API int tachyon_rpc_call(tachyon_rpc *rpc, const void *data, size_t size, uint32_t type_id,
                                 tachyon_message *message, int64_t timeout_ns);

/**
 * tachyon_rpc_call_copy() - call, and have the reply copied into memory of your own
 * @rpc: the calling end
 * @data: the request, copied; may be NULL where @size is 0
 * @size: its bytes
 * @type_id: which procedure
 * @buffer: where the reply's bytes go
 * @capacity: bytes that fit there
 * @reply: filled in as by tachyon_rpc_call(), but its data is @buffer and it is
 *         no lease: there is nothing to release
 * @timeout_ns: how long, for sending and waiting together
 *
 * Return: as tachyon_rpc_call(): 0; 1 (the server failed the call; words that do
 * not fit are cut off, and reply->size is what there is); or -EMSGSIZE (the reply
 * has more than @capacity, and is lost; or the request is too large).
 */
TACHYON_API int tachyon_rpc_call_copy(tachyon_rpc *rpc, const void *data, size_t size, uint32_t type_id,
                                      void *buffer, size_t capacity, tachyon_message *reply,
                                      int64_t timeout_ns);

/**
 * tachyon_rpc_submit() - call, and do not wait for the reply
 * @rpc: the calling end
 * @data: the request, copied
 * @size: its bytes
 * @type_id: which procedure
 * @idp: where to store the correlation id
 * @timeout_ns: how long to wait for room
 *
 * While it waits for room, it takes replies in, so that a server which waits for
 * room itself goes on.
 *
 * Return: 0, or -EBUSY (too many calls are outstanding, or a reservation is
 * open), -EOPNOTSUPP, -ENOMEM, or an error of tachyon_bus_send(). That the server has ended
 * may also be left for tachyon_rpc_wait() to say.
 */
TACHYON_API int tachyon_rpc_submit(tachyon_rpc *rpc, const void *data, size_t size, uint32_t type_id,
                                   uint64_t *idp, int64_t timeout_ns);

/**
 * tachyon_rpc_reserve() - get room in the ring to write a request in place
 * @rpc: the calling end
 * @datap: where to store the address; see tachyon_bus_reserve()
 * @size: the most bytes that the request will have; inline up to 40 bytes
 * @timeout_ns: how long to wait for room
 *
 * End it with tachyon_rpc_commit() or _cancel().
 *
 * Return: 0, or an error of tachyon_rpc_submit().
 */
TACHYON_API int tachyon_rpc_reserve(tachyon_rpc *rpc, void **datap, size_t size, int64_t timeout_ns);

/**
 * tachyon_rpc_commit() - send the reserved request
 * @rpc: the calling end
 * @size: bytes that were really used
 * @type_id: which procedure
 * @idp: where to store the correlation id
 *
 * Return: 0, or -EINVAL (nothing is reserved, or @size is more than that),
 * -EOPNOTSUPP, -ECANCELED, -EPROTO, -TACHYON_EFORK.
 */
TACHYON_API int tachyon_rpc_commit(tachyon_rpc *rpc, size_t size, uint32_t type_id, uint64_t *idp);

/**
 * tachyon_rpc_cancel() - drop the reserved request or reply, if there is one
 * @rpc: either end
 *
 * Return: 0, or -ECANCELED, -EPROTO, -TACHYON_EFORK.
 */
TACHYON_API int tachyon_rpc_cancel(tachyon_rpc *rpc);

/**
 * tachyon_rpc_wait() - wait for the reply to one call
 * @rpc: the calling end
 * @id: the call
 * @message: the reply; to be given back with tachyon_rpc_release()
 * @timeout_ns: how long
 *
 * Replies to other calls that come meanwhile are copied and kept for them. After
 * a time-out the call is still outstanding: wait again, or forget it. Replies
 * that came before the server's end are still given after it.
 *
 * Return: 0, or 1 (the server failed the call, see tachyon_rpc_call()), -EINVAL
 * (no such call is outstanding), -EOPNOTSUPP, -ENOMEM, or an error of
 * tachyon_bus_recv(): -TACHYON_EPEERDEAD and -TACHYON_ECLOSED mean that no reply will come.
 */
TACHYON_API int tachyon_rpc_wait(tachyon_rpc *rpc, uint64_t id, tachyon_message *message, int64_t timeout_ns);

/**
 * tachyon_rpc_poll() - wait for the reply to any call
 * @rpc: the calling end
 * @message: the reply; message->correlation_id tells to which call
 * @timeout_ns: how long
 *
 * Return: as tachyon_rpc_wait().
 */
TACHYON_API int tachyon_rpc_poll(tachyon_rpc *rpc, tachyon_message *message, int64_t timeout_ns);

/**
 * tachyon_rpc_forget() - give a call up
 * @rpc: the calling end
 * @id: the call
 *
 * Its place is free at once. Should the reply still come, it is dropped and counted.
 *
 * Return: 0, or -EINVAL (no such call is outstanding).
 */
TACHYON_API int tachyon_rpc_forget(tachyon_rpc *rpc, uint64_t id);

/**
 * tachyon_rpc_release() - give a reply or a request back
 * @rpc: either end
 * @message: as it was filled in; once
 *
 * A message may lie in the ring, or on the heap if its reply came while another
 * was waited for; this knows which. It must be called before
 * tachyon_rpc_free().
 *
 * Return: 0, or -EINVAL (in the ring, and not out), -TACHYON_EFORK.
 */
TACHYON_API int tachyon_rpc_release(tachyon_rpc *rpc, const tachyon_message *message);

/**
 * tachyon_rpc_serve() - wait for a request, without copying it
 * @rpc: the serving end
 * @request: filled in: correlation_id is what to reply to, type_id which
 *           procedure; a lease until tachyon_rpc_release()
 * @timeout_ns: how long
 *
 * Return: 0, or -EOPNOTSUPP, or an error of tachyon_bus_recv().
 */
TACHYON_API int tachyon_rpc_serve(tachyon_rpc *rpc, tachyon_message *request, int64_t timeout_ns);

/**
 * tachyon_rpc_reply() - reply to a request, copying the reply into the ring
 * @rpc: the serving end
 * @id: request.correlation_id; requests may be answered in any order, each once
 * @data: the reply
 * @size: its bytes, 0 to properties.max_send_size
 * @type_id: the caller's to look at
 * @timeout_ns: how long to wait for room
 *
 * Return: 0, or -EOPNOTSUPP, or an error of tachyon_bus_send(). After
 * -EMSGSIZE the call can still be failed, or replied to with less.
 */
TACHYON_API int tachyon_rpc_reply(tachyon_rpc *rpc, uint64_t id, const void *data, size_t size,
                                  uint32_t type_id, int64_t timeout_ns);

/**
 * tachyon_rpc_reserve_reply() - get room in the ring to write a reply in place
 * @rpc: the serving end
 * @id: request.correlation_id
 * @datap: where to store the address; see tachyon_bus_reserve()
 * @size: the most bytes that the reply will have; inline up to 40 bytes
 * @timeout_ns: how long to wait for room
 *
 * End it with tachyon_rpc_commit_reply() or _cancel().
 *
 * Return: 0, or an error of tachyon_rpc_reply().
 */
TACHYON_API int tachyon_rpc_reserve_reply(tachyon_rpc *rpc, uint64_t id, void **datap, size_t size,
                                          int64_t timeout_ns);

/**
 * tachyon_rpc_commit_reply() - send the reserved reply
 * @rpc: the serving end
 * @size: bytes that were really used
 * @type_id: the caller's to look at
 *
 * Return: 0, or -EINVAL (nothing is reserved, or @size is more than that),
 * -EOPNOTSUPP, -ECANCELED, -EPROTO, -TACHYON_EFORK.
 */
TACHYON_API int tachyon_rpc_commit_reply(tachyon_rpc *rpc, size_t size, uint32_t type_id);

/**
 * tachyon_rpc_fail() - tell the caller that its call failed
 * @rpc: the serving end
 * @id: request.correlation_id
 * @code: what went wrong; all but enum tachyon_rpc_code is the program's own
 * @text: the same in words, UTF-8; what no message can hold is cut off
 * @size: its bytes
 * @timeout_ns: how long to wait for room
 *
 * Return: 0, or an error of tachyon_rpc_reply().
 */
TACHYON_API int tachyon_rpc_fail(tachyon_rpc *rpc, uint64_t id, uint32_t code, const char *text, size_t size,
                                 int64_t timeout_ns);

/**
 * tachyon_rpc_stats() - counters of the calls
 * @rpc: either end
 * @counters: filled in, as much as counters->struct_size has room for
 *
 * Return: 0, or -EINVAL (struct_size).
 */
TACHYON_API int tachyon_rpc_stats(tachyon_rpc *rpc, tachyon_rpc_counters *counters);

/**
 * tachyon_rpc_close() - end the bus
 * @rpc: the handle, or NULL
 *
 * As tachyon_bus_close(): the peer gets what was sent, then the end; its
 * outstanding calls fail with -TACHYON_ECLOSED.
 */
TACHYON_API void tachyon_rpc_close(tachyon_rpc *rpc);

/**
 * tachyon_rpc_free() - close, and free the handle and its bus
 * @rpc: the handle, or NULL; no other call may be using it
 *
 * For messages that are out and lie in the ring, tachyon_bus_release() on the
 * bus is still allowed, as after tachyon_bus_free().
 */
TACHYON_API void tachyon_rpc_free(tachyon_rpc *rpc);

/* ---- the end, and facts ------------------------------------------------- */

/**
 * tachyon_bus_close() - end the bus
 * @bus: the bus, or NULL
 *
 * All that was committed stays receivable by the peer, then it sees the end.
 * Calls that wait in other threads return -ECANCELED. Leases stay readable
 * until they are released. Descriptors are closed. May be called again.
 */
TACHYON_API void tachyon_bus_close(tachyon_bus *bus);

/**
 * tachyon_bus_free() - close, and free the handle
 * @bus: the bus, or NULL; no other call may be using it
 *
 * With leases out, memory lives on until the last is released, and
 * tachyon_bus_release() is the only call allowed after this one.
 */
TACHYON_API void tachyon_bus_free(tachyon_bus *bus);

/**
 * tachyon_bus_properties() - facts of the bus
 * @bus: the bus
 * @properties: filled in, as much as properties->struct_size has room for
 *
 * Return: 0, or -EINVAL (struct_size too small to be any version's), -TACHYON_EFORK.
 */
TACHYON_API int tachyon_bus_properties(tachyon_bus *bus, tachyon_properties *properties);

/**
 * tachyon_bus_stats() - counters of the bus
 * @bus: the bus
 * @stats: filled in, as much as stats->struct_size has room for
 *
 * Counters of what another thread is doing at the moment may lag behind.
 *
 * Return: 0, or -EINVAL (struct_size), -TACHYON_EFORK.
 */
TACHYON_API int tachyon_bus_stats(tachyon_bus *bus, tachyon_stats *stats);

/* ---- for language runtimes ---------------------------------------------- */

/*
 * The few entry points that a dynamic language calls once per message. Their
 * arguments are such that a foreign-function interface can pass them with no
 * conversion table, and they never sleep (they may poll for some
 * microseconds), so that an interpreter may keep its lock.
 */

/**
 * tachyon_bus_try_send() - tachyon_bus_send() that does not wait
 * @bus: the bus
 * @data: payload
 * @size: payload bytes
 * @type_id: the caller's tag
 *
 * Return: as tachyon_bus_send() with timeout 0.
 */
TACHYON_API int tachyon_bus_try_send(tachyon_bus *bus, const void *data, uint32_t size, uint32_t type_id);

/* Makes a language's own byte string out of a message; NULL: it failed. */
typedef void *(*tachyon_make_bytes)(const char *data, ptrdiff_t size);

/**
 * tachyon_bus_recv_slot() - prepare tachyon_bus_try_recv_object()
 * @bus: the bus
 * @make: called with the payload of each message; for CPython,
 *        PyBytes_FromStringAndSize
 *
 * Return: the address of four uint64_t that tachyon_bus_try_recv_object() sets:
 * [0] 0 or a positive errno, [1] type_id, [2] payload bytes, [3] correlation
 * id. Valid until tachyon_bus_free().
 */
TACHYON_API const uint64_t *tachyon_bus_recv_slot(tachyon_bus *bus, tachyon_make_bytes make);

/**
 * tachyon_bus_try_recv_object() - receive, make, release, in one call
 * @bus: the bus, after tachyon_bus_recv_slot()
 *
 * Polls for a few microseconds at most.
 *
 * Return: what make() made of the message; the message is released, or, where
 * make() gave NULL, is the next one again. Where there is no message: what
 * make("", 0) made, and why in the first word of the slot.
 */
TACHYON_API void *tachyon_bus_try_recv_object(tachyon_bus *bus);

/**
 * tachyon_rpc_slot() - prepare the tachyon_rpc_try_*_object() functions
 * @rpc: the handle
 * @make: as for tachyon_bus_recv_slot()
 *
 * Return: the address of five uint64_t that they set: [0] 0 or a positive
 * errno, [1] type_id, [2] payload bytes, [3] correlation id, [4] flags (enum
 * tachyon_message_flags). Valid until tachyon_rpc_free().
 */
TACHYON_API const uint64_t *tachyon_rpc_slot(tachyon_rpc *rpc, tachyon_make_bytes make);

/**
 * tachyon_rpc_try_call_object() - submit, poll for a moment, make, release
 * @rpc: the calling end, after tachyon_rpc_slot()
 * @data: the request
 * @size: its bytes
 * @type_id: which procedure
 *
 * Where [0] of the slot is EAGAIN and [3] is not 0, the call [3] is outstanding
 * and has no reply yet; where [3] is 0, it was not made.
 *
 * Return: what make() made of the reply, or of nothing.
 */
TACHYON_API void *tachyon_rpc_try_call_object(tachyon_rpc *rpc, const void *data, uint32_t size,
                                              uint32_t type_id);

/**
 * tachyon_rpc_try_wait_object() - tachyon_rpc_wait() or _poll() that does not wait
 * @rpc: the calling end, after tachyon_rpc_slot()
 * @id: the call, or 0: any
 *
 * Return: what make() made of the reply, or of nothing.
 */
TACHYON_API void *tachyon_rpc_try_wait_object(tachyon_rpc *rpc, uint64_t id);

/**
 * tachyon_rpc_try_serve_object() - take a request, make, release
 * @rpc: the serving end, after tachyon_rpc_slot()
 * @most: a larger request is left for tachyon_rpc_serve(), and [0] is EMSGSIZE
 *
 * Polls for some microseconds at most.
 *
 * Return: what make() made of the request, or of nothing.
 */
TACHYON_API void *tachyon_rpc_try_serve_object(tachyon_rpc *rpc, uint64_t most);

/**
 * tachyon_rpc_try_reply() - tachyon_rpc_reply() that does not wait
 * @rpc: the serving end
 * @id: the call
 * @data: the reply
 * @size: its bytes
 * @type_id: the caller's to look at
 *
 * Return: as tachyon_rpc_reply() with timeout 0.
 */
TACHYON_API int tachyon_rpc_try_reply(tachyon_rpc *rpc, uint64_t id, const void *data, uint32_t size,
                                      uint32_t type_id);

/**
 * tachyon_rpc_wait_room() - wait until it is worth trying again to submit or to reply
 * @rpc: the handle
 * @size: bytes of the request or reply
 * @timeout_ns: how long
 *
 * That is when there is room, or when there are replies, which
 * tachyon_rpc_submit(..., 0) takes in before it gives up. Takes nothing itself.
 * At a serving end, other threads may reply meanwhile, one at a time.
 *
 * Return: 0, or an error of tachyon_rpc_submit() or tachyon_rpc_reply().
 */
TACHYON_API int tachyon_rpc_wait_room(tachyon_rpc *rpc, size_t size, int64_t timeout_ns);

/* ---- for CPython --------------------------------------------------------- */

/*
 * Types and built-in functions for the package `tachyon`, made with functions of
 * CPython's stable ABI that the package hands in; this library is not linked
 * with Python. To be called with the interpreter's lock held. The details are
 * between the package and the library: other callers have no use for them.
 */

/**
 * tachyon_python_needs() - which functions of Python's
 *
 * Return: their names, with a space after each.
 */
TACHYON_API const char *tachyon_python_needs(void);

/**
 * tachyon_python_start() - take the functions, and make the types
 * @functions: in the order of tachyon_python_needs()
 * @types: set to four types: the bases of ends and of buses, messages, and requests
 *
 * Return: 0; -EBUSY, where another interpreter of the process has done it; or
 * another error, and a Python exception is set.
 */
TACHYON_API int tachyon_python_start(void (*const *functions)(void), void **types);

/**
 * tachyon_python_set() - hand in an object, which is then never let go
 * @name: what it is
 * @object: a PyObject
 *
 * Return: 0, or -EINVAL (the name is unknown).
 */
TACHYON_API int tachyon_python_set(const char *name, void *object);

/**
 * tachyon_python_method() - make a method
 * @name: of the method
 * @type: that it is to be a method of, derived from one of those of tachyon_python_start()
 * @doc: its documentation, copied
 *
 * Return: a method descriptor, or NULL: a Python exception is set, or the name is unknown.
 */
TACHYON_API void *tachyon_python_method(const char *name, void *type, const char *doc);

#ifdef __cplusplus
}
#endif
#endif
