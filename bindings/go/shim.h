/* SPDX-License-Identifier: MIT */
/*
 * What one call from Go into C does. Such a call costs tens of nanoseconds, so
 * none is made twice; and a wait and the descriptor that ends it must be set in
 * the same thread, which a goroutine may change between two calls.
 */
#include <errno.h>
#include <tachyon.h>

/* The call's result; while it sleeps, the descriptor `interrupt_fd` ends it. */
#define INTERRUPTIBLE(call)                                \
        __extension__({                                    \
                __typeof__(call) result_;                  \
                                                           \
                tachyon_thread_interrupt_fd(interrupt_fd); \
                result_ = (call);                          \
                tachyon_thread_interrupt_fd(-1);           \
                result_;                                   \
        })

/*
 * The bytes of a message. Up to `room` of them were copied; of a larger one `message`
 * is a lease, and else its data is NULL. Or an error.
 */
static inline int64_t shim_recv(tachyon_bus *bus, tachyon_message *message, void *buffer, size_t room,
                                int64_t timeout_ns, int interrupt_fd) {
        int64_t r = INTERRUPTIBLE(tachyon_bus_recv_copy(bus, buffer, room, &message->type_id, timeout_ns));

        message->data = NULL;
        if (r != -EMSGSIZE)
                return r;
        r = tachyon_bus_recv(bus, message, 0); /* it is there */
        return r < 0 ? r : (int64_t)message->size;
}

static inline int shim_recv_lease(tachyon_bus *bus, tachyon_message *message, int64_t timeout_ns, int interrupt_fd) {
        return INTERRUPTIBLE(tachyon_bus_recv(bus, message, timeout_ns));
}

static inline int shim_send(tachyon_bus *bus, const void *data, size_t size, uint32_t type_id,
                            int64_t timeout_ns, int interrupt_fd) {
        return INTERRUPTIBLE(tachyon_bus_send(bus, data, size, type_id, timeout_ns));
}

static inline int shim_reserve(tachyon_bus *bus, void **datap, size_t size, int64_t timeout_ns, int interrupt_fd) {
        return INTERRUPTIBLE(tachyon_bus_reserve(bus, datap, size, timeout_ns));
}

static inline int64_t shim_send_records(tachyon_bus *bus, const void *records, size_t size, size_t count,
                                        uint32_t type_id, int64_t timeout_ns, int interrupt_fd) {
        return INTERRUPTIBLE(tachyon_bus_send_records(bus, records, size, count, type_id, timeout_ns));
}

static inline int64_t shim_recv_records(tachyon_bus *bus, tachyon_records *records, size_t size, size_t max,
                                        const uint32_t *type_id, int64_t timeout_ns, int interrupt_fd) {
        return INTERRUPTIBLE(tachyon_bus_recv_records(bus, records, size, max, type_id, timeout_ns));
}

static inline int shim_listen(tachyon_bus **busp, const char *path, const tachyon_options *options,
                              int64_t timeout_ns, int interrupt_fd) {
        return INTERRUPTIBLE(tachyon_bus_listen(busp, path, options, timeout_ns));
}

static inline int shim_connect(tachyon_bus **busp, const char *path, const tachyon_options *options,
                               int64_t timeout_ns, int interrupt_fd) {
        return INTERRUPTIBLE(tachyon_bus_connect(busp, path, options, timeout_ns));
}

static inline int shim_accept(tachyon_listener *listener, tachyon_bus **busp, int64_t timeout_ns, int interrupt_fd) {
        return INTERRUPTIBLE(tachyon_listener_accept(listener, busp, timeout_ns));
}

static inline int shim_call(tachyon_rpc *rpc, const void *data, size_t size, uint32_t type_id, uint64_t *idp,
                            int64_t timeout_ns, int interrupt_fd) {
        return INTERRUPTIBLE(tachyon_rpc_submit(rpc, data, size, type_id, idp, timeout_ns));
}

static inline int shim_wait(tachyon_rpc *rpc, uint64_t id, tachyon_message *message, int64_t timeout_ns,
                            int interrupt_fd) {
        return INTERRUPTIBLE(tachyon_rpc_wait(rpc, id, message, timeout_ns));
}

static inline int shim_serve(tachyon_rpc *rpc, tachyon_message *message, int64_t timeout_ns, int interrupt_fd) {
        return INTERRUPTIBLE(tachyon_rpc_serve(rpc, message, timeout_ns));
}

static inline int shim_reply(tachyon_rpc *rpc, uint64_t id, const void *data, size_t size, uint32_t type_id,
                             int64_t timeout_ns, int interrupt_fd) {
        return INTERRUPTIBLE(tachyon_rpc_reply(rpc, id, data, size, type_id, timeout_ns));
}

static inline int shim_fail(tachyon_rpc *rpc, uint64_t id, uint32_t code, const char *text, size_t size,
                            int64_t timeout_ns, int interrupt_fd) {
        return INTERRUPTIBLE(tachyon_rpc_fail(rpc, id, code, text, size, timeout_ns));
}
