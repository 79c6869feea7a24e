/* SPDX-License-Identifier: MIT */
/*
 * What one call from Go into C does. Such a call costs tens of nanoseconds, so
 * none is made twice; and a wait and the descriptor that ends it must be set in
 * the same thread, which a goroutine may change between two calls.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <tachyon.h>

/* How long a call waits, what ends its wait (or -1), and, where it failed, why. */
struct shim_wait {
        int64_t timeout_ns;
        int interrupt_fd;
        uintptr_t words; /* see shim_words(). No pointer: cgo looks for Go's behind each, for 5 ns a call */
};

/* To be freed, or NULL. */
static inline char *shim_words(const struct shim_wait *wait) {
        return (char *)wait->words;
}

/* Not errors: the call is to be made again, or the time is over. */
static inline int shim_again(int64_t result) {
        return result == -EAGAIN || result == -ETIMEDOUT || result == -EINTR;
}

/* The library's words are those of this thread: to be taken before the goroutine is in another. */
static inline void shim_explain(int64_t result, struct shim_wait *wait) {
        if (result < 0 && !shim_again(result) && *tachyon_error_detail())
                wait->words = (uintptr_t)strdup(tachyon_error_detail());
}

/* The call's result; while it sleeps, the descriptor ends it. */
#define SLEEPING(call)                                                   \
        __extension__({                                                  \
                __typeof__(call) result_;                                \
                                                                         \
                if (wait->interrupt_fd >= 0)                             \
                        tachyon_thread_interrupt_fd(wait->interrupt_fd); \
                result_ = (call);                                        \
                if (wait->interrupt_fd >= 0)                             \
                        tachyon_thread_interrupt_fd(-1);                 \
                result_;                                                 \
        })

#define INTERRUPTIBLE(call)                           \
        __extension__({                               \
                __typeof__(call) r_ = SLEEPING(call); \
                                                      \
                shim_explain(r_, wait);               \
                r_;                                   \
        })

/*
 * The bytes of a message. Up to `room` of them were copied; of a larger one `message`
 * is a lease, and else its data is NULL. Or an error.
 */
static inline int64_t shim_recv(tachyon_bus *bus, tachyon_message *message, void *buffer, size_t room,
                                struct shim_wait *wait) {
        int64_t r = SLEEPING(tachyon_bus_recv_copy(bus, buffer, room, &message->type_id, wait->timeout_ns));

        message->data = NULL;
        if (r == -EMSGSIZE) {
                r = tachyon_bus_recv(bus, message, 0); /* it is there */
                r = r < 0 ? r : (int64_t)message->size;
        }
        shim_explain(r, wait);
        return r;
}

static inline int shim_recv_lease(tachyon_bus *bus, tachyon_message *message, struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_bus_recv(bus, message, wait->timeout_ns));
}

static inline int shim_send(tachyon_bus *bus, const void *data, size_t size, uint32_t type_id,
                            struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_bus_send(bus, data, size, type_id, wait->timeout_ns));
}

static inline int shim_reserve(tachyon_bus *bus, void **datap, size_t size, struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_bus_reserve(bus, datap, size, wait->timeout_ns));
}

static inline int64_t shim_send_records(tachyon_bus *bus, const void *records, size_t size, size_t count,
                                        uint32_t type_id, struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_bus_send_records(bus, records, size, count, type_id, wait->timeout_ns));
}

static inline int64_t shim_recv_records(tachyon_bus *bus, tachyon_records *records, size_t size, size_t max,
                                        const uint32_t *type_id, struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_bus_recv_records(bus, records, size, max, type_id, wait->timeout_ns));
}

static inline int shim_listen(tachyon_bus **busp, const char *path, const tachyon_options *options,
                              struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_bus_listen(busp, path, options, wait->timeout_ns));
}

static inline int shim_connect(tachyon_bus **busp, const char *path, const tachyon_options *options,
                               struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_bus_connect(busp, path, options, wait->timeout_ns));
}

static inline int shim_accept(tachyon_listener *listener, tachyon_bus **busp, struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_listener_accept(listener, busp, wait->timeout_ns));
}

static inline int shim_listener_create(tachyon_listener **listenerp, const char *path,
                                       const tachyon_options *options, struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_listener_create(listenerp, path, options));
}

static inline int shim_recv_batch(tachyon_bus *bus, tachyon_message *messages, size_t max, struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_bus_recv_batch(bus, messages, max, wait->timeout_ns));
}

/* Of up to `room` bytes a copy, and `message` is over: its data is NULL. */
static inline void shim_copy(tachyon_rpc *rpc, tachyon_message *message, void *buffer, size_t room) {
        if (message->size > room)
                return;
        memcpy(buffer, message->data, message->size);
        tachyon_rpc_release(rpc, message);
        message->data = NULL;
}

static inline int shim_submit(tachyon_rpc *rpc, const void *data, size_t size, uint32_t type_id, uint64_t *idp,
                              struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_rpc_submit(rpc, data, size, type_id, idp, wait->timeout_ns));
}

static inline int shim_wait_lease(tachyon_rpc *rpc, uint64_t id, tachyon_message *message, struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_rpc_wait(rpc, id, message, wait->timeout_ns));
}

static inline int shim_wait(tachyon_rpc *rpc, uint64_t id, tachyon_message *message, void *buffer, size_t room,
                            struct shim_wait *wait) {
        int r = shim_wait_lease(rpc, id, message, wait);

        if (r >= 0)
                shim_copy(rpc, message, buffer, room);
        return r;
}

/* Submits, unless *idp tells that an earlier try has, and waits. */
static inline int shim_call(tachyon_rpc *rpc, const void *data, size_t size, uint32_t type_id, uint64_t *idp,
                            tachyon_message *message, void *buffer, size_t room, struct shim_wait *wait) {
        int r = *idp ? 0 : shim_submit(rpc, data, size, type_id, idp, wait);

        return r < 0 ? r : shim_wait(rpc, *idp, message, buffer, room, wait);
}

static inline int shim_serve_lease(tachyon_rpc *rpc, tachyon_message *message, struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_rpc_serve(rpc, message, wait->timeout_ns));
}

static inline int shim_serve(tachyon_rpc *rpc, tachyon_message *message, void *buffer, size_t room,
                             struct shim_wait *wait) {
        int r = shim_serve_lease(rpc, message, wait);

        if (r >= 0)
                shim_copy(rpc, message, buffer, room);
        return r;
}

static inline int shim_rpc_reserve(tachyon_rpc *rpc, void **datap, size_t size, struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_rpc_reserve(rpc, datap, size, wait->timeout_ns));
}

static inline int shim_reserve_reply(tachyon_rpc *rpc, uint64_t id, void **datap, size_t size, struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_rpc_reserve_reply(rpc, id, datap, size, wait->timeout_ns));
}

static inline int shim_reply(tachyon_rpc *rpc, uint64_t id, const void *data, size_t size, uint32_t type_id,
                             struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_rpc_reply(rpc, id, data, size, type_id, wait->timeout_ns));
}

static inline int shim_fail(tachyon_rpc *rpc, uint64_t id, uint32_t code, const char *text, size_t size,
                            struct shim_wait *wait) {
        return INTERRUPTIBLE(tachyon_rpc_fail(rpc, id, code, text, size, wait->timeout_ns));
}
