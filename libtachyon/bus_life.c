/* SPDX-License-Identifier: MIT */
/* The beginning of a bus, its end, and facts about it. */
#include "bus.h"
#include <sched.h>
#include <stddef.h>
#include <sys/socket.h>

/* ---- the end ------------------------------------------------------------ */

int bus_explain_death(int error) {
        switch (error) {
        case ECANCELED:
                return fail(error, "this bus has been closed");
        case TACHYON_EFORK:
                return fail(error, "this bus belongs to the parent process; make a new one after the fork");
        default:
                return fail(error, "the peer broke the protocol, which ended this bus");
        }
}


int bus_explain_correlated(void) {
        return fail(EOPNOTSUPP, "this bus is of kind rpc: send with tachyon_rpc_submit() or tachyon_rpc_reply()");
}

/* The socket is at its end, or the process is dead: was it in good order? */
void bus_note_gone(struct tachyon_bus *bus) {
        /* E1: pairs with E2 in tachyon_bus_close(): all frames are published before the state is. */
        uint32_t state = atomic_load_explicit(&bus->peer->state, memory_order_acquire);
        int end = state == HALF_CLOSED ? TACHYON_ECLOSED : TACHYON_EPEERDEAD, none = 0;

        atomic_compare_exchange_strong(&bus->peer_end, &none, end);
        atomic_store_explicit(&bus->handle.attention, 1, memory_order_relaxed);
}

/* Has the peer come to its end? To be asked BEFORE the last look at the ring. */
int bus_peer_end(struct tachyon_bus *bus) {
        int end = atomic_load_explicit(&bus->peer_end, memory_order_acquire);

        /* E1, as above. */
        if (!end && unlikely(atomic_load_explicit(&bus->peer->state, memory_order_acquire) == HALF_CLOSED)) {
                bus_note_gone(bus);
                end = atomic_load_explicit(&bus->peer_end, memory_order_acquire);
        }
        return end;
}

int bus_explain_end(int end) {
        return end == TACHYON_ECLOSED ? fail(end, "the peer has closed the bus")
                                      : fail(end, "the peer's process died without closing the bus");
}

/* Between enter and leave, descriptors are open. */
int bus_enter(struct tachyon_bus *bus) {
        int dead;

        /* U1: seq_cst, as is the kill and U2 in tachyon_bus_close(): either we see the end, or it sees us. */
        atomic_fetch_add(&bus->users, 1);
        dead = atomic_load(&bus->handle.dead);
        if (!dead)
                return 0;
        atomic_fetch_sub(&bus->users, 1);
        return bus_explain_death(dead);
}

int bus_leave(struct tachyon_bus *bus, int result) {
        atomic_fetch_sub(&bus->users, 1);
        return result;
}

/* The peer broke the protocol: over, for every thread; the sockets' end wakes those that sleep. */
int bus_break(struct tachyon_bus *bus) {
        if (bus_enter(bus) < 0)
                return -EPROTO;
        handle_kill(&bus->handle, EPROTO);
        shutdown(bus->connection.socket, SHUT_RDWR);
        shutdown(bus->connection.room, SHUT_RDWR);
        return bus_leave(bus, -EPROTO);
}

/* ---- facts -------------------------------------------------------------- */

static int copy_struct(void *to, const void *from, uint64_t size, uint64_t wanted) {
        if (wanted < sizeof(uint64_t))
                return fail(EINVAL, "struct_size is not set");
        memcpy(to, from, size < wanted ? size : wanted);
        memcpy(to, &wanted, sizeof(wanted));
        return 0;
}

TACHYON_API int tachyon_bus_properties(tachyon_bus *bus, tachyon_properties *properties) {
        tachyon_properties p = {
                .send_capacity = ring_capacity(bus->out.mask),
                .recv_capacity = ring_capacity(bus->in.mask),
                .max_send_size = ring_max_size(bus->out.mask),
                .max_recv_size = ring_max_size(bus->in.mask),
                .spin_ns = bus->settings.spin_ns,
                .peer_pid = bus->connection.peer.pid,
                .peer_uid = bus->connection.peer.uid,
                .kind = bus->settings.kind,
                .layout_version = TACHYON_LAYOUT_VERSION,
                .is_listener = bus->connection.is_listener,
                .isolation = bus->connection.theirs.isolated,
                .barrier = !bus_uses_fences(bus),
                .huge_pages = bus->connection.ours.huge_pages,
                .watches_pid = bus->connection.process >= 0,
                .trusted = bus->settings.trusted,
        };

        if (bus_dead(bus) == TACHYON_EFORK)
                return bus_explain_death(TACHYON_EFORK);
        return copy_struct(properties, &p, sizeof(p), properties->struct_size);
}

/*
 * Bytes up to `ahead`, which was looked at before: never more than there are in the
 * ring, but other threads may have moved `behind` past it meanwhile.
 */
static uint64_t bytes_between(const _Atomic uint64_t *behind, uint64_t ahead) {
        uint64_t bytes = ahead - atomic_load_explicit(behind, memory_order_relaxed);

        return (int64_t)bytes > 0 ? bytes : 0;
}

TACHYON_API int tachyon_bus_stats(tachyon_bus *bus, tachyon_stats *stats) {
        tachyon_stats s;
        uint64_t sent, received;

        if (bus_dead(bus) == TACHYON_EFORK)
                return bus_explain_death(TACHYON_EFORK);
        sent = bus->out.position;
        /* Acquire: before read_position is looked at. */
        received = atomic_load_explicit(&bus->in.cursor, memory_order_acquire);
        s = (tachyon_stats){
                .sent_messages = bus->out.messages,
                .sent_bytes = bus->out.bytes,
                .received_messages = bus->in.messages,
                .received_bytes = bus->in.bytes,
                .send_used = bytes_between(bus->out.peer_read_position, sent) +
                             (bus_peer_end(bus) && ring_exchange_is_unread(&bus->out) ? FRAME_ALIGNMENT : 0),
                .recv_used = bytes_between(bus->in.read_position, received),
                .leases = ring_leases_out(&bus->in),
                .doorbells = atomic_load_explicit(&bus->data_waker.rings, memory_order_relaxed) +
                             atomic_load_explicit(&bus->space_waker.rings, memory_order_relaxed),
                .data_sleeps = bus->data_sleeper.sleeps,
                .space_sleeps = bus->space_sleeper.sleeps,
        };
        return copy_struct(stats, &s, sizeof(s), stats->struct_size);
}

/* ---- making and ending -------------------------------------------------- */

/* The frames that the peer may send: on an rpc bus, the listener's is sent requests, the connector's replies. */
static uint64_t allowed_flags(const struct connection *connection, const struct settings *settings) {
        if (settings->kind != TACHYON_KIND_RPC)
                return FRAME_VALID;
        return FRAME_VALID | FRAME_CORRELATED | (connection->is_listener ? 0 : FRAME_REPLY | FRAME_FAILURE);
}

static void bus_init(struct tachyon_bus *bus, struct connection *connection, const struct settings *settings) {
        const struct half *ours = &connection->ours, *theirs = &connection->theirs;

        bus->connection = *connection;
        bus->settings = *settings;
        bus->control = ours->control;
        bus->peer = theirs->control;
        if (!connection->membarrier)
                bus_use_fences(bus);
        bus->correlated = settings->kind == TACHYON_KIND_RPC;
        if (bus->correlated) /* tachyon_bus_send() looks no further on its quick way */
                atomic_store_explicit(&bus->handle.attention, 1, memory_order_relaxed);
        ring_producer_init(&bus->out, ours->ring, ours->capacity, &bus->peer->read_position,
                           START_POSITION);
        ring_consumer_init(&bus->in, theirs->ring, theirs->capacity, &bus->control->read_position,
                           bus->in.leases, allowed_flags(connection, settings), START_POSITION);
        if (connection->exchange)
                ring_start_exchange(&bus->out, &bus->in, connection->exchange, connection->is_listener);
        waker_init(&bus->data_waker, connection->socket, &bus->peer->data_waiting);
        waker_init(&bus->space_waker, connection->room, &bus->peer->space_waiting);
        sleeper_init(&bus->data_sleeper, connection->socket, &bus->control->data_waiting, settings->spin_ns,
                     settings->spin_fixed);
        sleeper_init(&bus->space_sleeper, connection->room, &bus->control->space_waiting, settings->spin_ns,
                     settings->spin_fixed);
}

/*
 * A fork. The child has no bus: all its calls fail. But it may still have views
 * that the parent made, and touch them. So where leases are out, it inherits the
 * peer's half, read-only, until the last of them is released there: they show
 * what they show in the parent, as long as that holds them too. A reservation
 * becomes memory of the child's own, before anyone can write to our half there.
 */
static struct tachyon_bus *bus_of_handle(struct handle *handle) {
        return (struct tachyon_bus *)(void *)((char *)handle - offsetof(struct tachyon_bus, handle));
}

static void bus_forking(struct handle *handle) {
        struct tachyon_bus *bus = bus_of_handle(handle);

        bus->leased_at_fork = atomic_load_explicit(bus->in.read_position, memory_order_relaxed) !=
                                      atomic_load_explicit(&bus->in.cursor, memory_order_relaxed) ||
                              ring_exchange_lease(&bus->in);
        bus->reserved_at_fork = bus->out.reserved != 0;
        half_keep_in_child(&bus->connection.theirs, bus->leased_at_fork);
        exchange_keep_in_child(bus->connection.exchange, bus->leased_at_fork);
        half_keep_in_child(&bus->connection.ours, bus->reserved_at_fork);
}

static void bus_forked(struct handle *handle) {
        struct tachyon_bus *bus = bus_of_handle(handle);

        if (bus->reserved_at_fork)
                half_become_zeros(&bus->connection.ours);
        else
                half_not_inherited(&bus->connection.ours);
        if (bus->leased_at_fork) {
                half_inherited(&bus->connection.theirs);
                exchange_inherited(bus->connection.exchange);
        } else {
                half_not_inherited(&bus->connection.theirs);
                bus->connection.exchange = NULL;
        }
        /* Where the peer has only the sockets' end to know our parent's death by, the child must not hold them open. */
        if (bus->connection.process < 0)
                connection_close_descriptors(&bus->connection);
}

uint64_t bus_leases_in_child(const struct tachyon_bus *bus) {
        uint64_t count = 0;

        if (!bus->leased_at_fork)
                return 0;
        for (uint64_t line = 0; line <= bus->in.mask / FRAME_ALIGNMENT; line++)
                if (atomic_load_explicit(&bus->in.leases[line], memory_order_relaxed) & LEASE_OUT)
                        count++;
        return count + (ring_exchange_lease(&bus->in) != 0);
}

int bus_new(struct tachyon_bus **busp, struct connection *connection, const struct settings *settings) {
        struct tachyon_bus *bus;

        bus = aligned_alloc(TACHYON_SEPARATION, sizeof(*bus));
        if (!bus)
                return fail(ENOMEM, "no memory for a bus");
        memset(bus, 0, sizeof(*bus));
        bus->in.leases = calloc(connection->theirs.capacity / FRAME_ALIGNMENT, sizeof(*bus->in.leases));
        if (!bus->in.leases) {
                free(bus);
                return fail(ENOMEM, "no memory for the leases of a ring of %llu bytes",
                            (unsigned long long)connection->theirs.capacity);
        }
        bus_init(bus, connection, settings);
        *connection = (struct connection)CONNECTION_INIT;
        os_refuse_descriptors(bus->connection.socket);
        os_refuse_descriptors(bus->connection.room);
        bus->handle.forking = bus_forking;
        bus->handle.forked = bus_forked;
        handle_add(&bus->handle);
        LABEL("bus:made");
        *busp = bus;
        return 0;
}

void bus_destroy(struct tachyon_bus *bus) {
        handle_remove(&bus->handle);
        connection_destroy(&bus->connection);
        free(bus->in.leases);
        free(bus);
}

static void bus_tell_end(struct tachyon_bus *bus) {
        ring_end_exchange(&bus->out, bus->connection.is_listener);
        /* E2: all that will ever be published is. Pairs with E1 in bus_note_gone(). */
        atomic_store_explicit(&bus->control->state, HALF_CLOSED, memory_order_release);
        /* E3: before the sockets hang up, or a peer that hears of that could take our end for a death. */
        atomic_thread_fence(memory_order_seq_cst);
        LABEL("close:state");
        /* The peer's sleepers see the end of the sockets, and so do ours; even if a forked child has them open. */
        shutdown(bus->connection.socket, SHUT_RDWR);
        LABEL("close:data-shut");
        shutdown(bus->connection.room, SHUT_RDWR);
        LABEL("close:room-shut");
        /* U2: those that entered before the kill are on their way out. */
        while (atomic_load(&bus->users))
                sched_yield();
        /* Makes the peer's next send look at our state instead of at an empty doorbell. */
        atomic_store_explicit(&bus->control->data_waiting, WAITING_CLOSED, memory_order_release);
        atomic_store_explicit(&bus->control->space_waiting, WAITING_CLOSED, memory_order_release);
}

TACHYON_API void tachyon_bus_close(tachyon_bus *bus) {
        if (!bus || atomic_exchange(&bus->closed, true))
                return;
        if (bus_dead(bus) != TACHYON_EFORK) {
                handle_kill(&bus->handle, ECANCELED);
                LABEL("close:begun");
                bus_tell_end(bus);
        }
        LABEL("close:told");
        connection_close_descriptors(&bus->connection);
        LABEL("close:descriptors");
}

TACHYON_API void tachyon_bus_free(tachyon_bus *bus) {
        uint64_t leases;

        if (!bus)
                return;
        tachyon_bus_close(bus);
        leases = bus_dead(bus) == TACHYON_EFORK ? bus_leases_in_child(bus) : ring_leases_out(&bus->in);
        if (leases)
                atomic_store_explicit(&bus->orphans, leases, memory_order_release);
        else
                bus_destroy(bus);
}
