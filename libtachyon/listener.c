/* SPDX-License-Identifier: MIT */
/*
 * tachyon_listener_*, and a bus of a listener that is not kept.
 *
 * Who owns a path: whoever holds the flock on "PATH.lock". Only the owner may
 * remove a socket at PATH, and only one that nobody listens on. The lock file
 * is removed while it is held, so a lock counts only if its file is still the
 * one at that name.
 */
#include "bus.h"
#include "label.h"
#include "os.h"
#include "path.h"
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "../include/tachyon.h"

/* A lock file goes away when its listener ends; not every time. */
#define LOCK_TRIES 1000
/* Connections that are gone before they are accepted must not hold us: back to where the deadline is. */
#define TAKE_IN_TRIES 256
/* Out of descriptors or memory: do not try again sooner than this. */
#define BACKOFF_NS 100000000

struct tachyon_listener {
        struct handle handle;
        struct settings settings;
        struct sockaddr_un address;
        char lock_path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 8];
        int lock;
        int socket;
        int poller; /* holds the socket and all pending handshakes' */
        dev_t device; /* of our socket file, to recognise it when we remove it */
        ino_t inode;
        struct handshake *pending;
        uint32_t n_pending;
        uint32_t turn; /* where the next round begins, so that nobody starves */
        int64_t backoff; /* no accept() before this time */
        _Atomic bool closed;
        _Atomic bool busy;
};

/* ---- the path ----------------------------------------------------------- */

static int fail_lock_foreign(const char *lock_path) {
        return fail(EEXIST, "%s: this is not a listener's lock file; remove it or use another path", lock_path);
}

/* 1: it is ours to lock and to remove; 0: it went away meanwhile; or an error: "name.lock" can be anybody's. */
static int lock_check(int fd, const char *lock_path) {
        struct stat ours, there;

        if (fstat(fd, &ours) < 0)
                return fail(errno, "%s: cannot examine the lock file: %s", lock_path, strerror(errno));
        if (stat(lock_path, &there) < 0)
                return errno == ENOENT ? 0 : fail(errno, "%s: cannot examine the lock file: %s", lock_path,
                                                  strerror(errno));
        if (ours.st_ino != there.st_ino || ours.st_dev != there.st_dev)
                return 0;
        return S_ISREG(ours.st_mode) && ours.st_size == 0 ? 1 : fail_lock_foreign(lock_path);
}

/* 1: locked; 0: the file went away meanwhile, try again; or an error. */
static int lock_try(int *fdp, const char *lock_path, const char *path) {
        _cleanup_(closep) int fd = -1;
        int r;

        fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (fd < 0 && (errno == ELOOP || errno == EISDIR || errno == ENXIO || errno == EOPNOTSUPP))
                return fail_lock_foreign(lock_path);
        if (fd < 0)
                return fail(errno, "%s: cannot open the lock file: %s", lock_path, strerror(errno));
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? fail(EADDRINUSE, "%s: another listener is running there", path)
                                            : fail(errno, "%s: cannot lock: %s", lock_path, strerror(errno));
        r = lock_check(fd, lock_path);
        if (r > 0)
                *fdp = steal_fd(&fd);
        return r;
}

/* 0: nobody listens; or -EADDRINUSE. */
static int check_socket_dead(const struct sockaddr_un *address) {
        _cleanup_(closep) int fd = -1;
        int r = socket_create(&fd);

        if (r < 0)
                return r;
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno != ECONNREFUSED)
                return fail(EADDRINUSE, "%s: a program that is not a tachyon listener uses this socket",
                            address->sun_path);
        return 0;
}

static int remove_dead_socket(const struct sockaddr_un *address) {
        struct stat st;
        int r;

        if (lstat(address->sun_path, &st) < 0)
                return errno == ENOENT ? 0 : fail(errno, "%s: %s", address->sun_path, strerror(errno));
        if (!S_ISSOCK(st.st_mode))
                return fail(EEXIST, "%s: there is something that is not a socket; remove it or use another path",
                            address->sun_path);
        r = check_socket_dead(address);
        if (r < 0)
                return r;
        return unlink(address->sun_path) < 0 ? fail(errno, "%s: cannot remove the dead listener's socket: %s",
                                                    address->sun_path, strerror(errno))
                                             : 0;
}

static int listener_bind(struct tachyon_listener *listener) {
        const char *path = listener->address.sun_path;
        struct stat st;
        int r;

        r = remove_dead_socket(&listener->address);
        if (r < 0)
                return r;
        r = socket_create(&listener->socket);
        if (r < 0)
                return r;
        /* Before bind, where the system can: there is no moment at which the path has other permissions. */
        if (os_socket_mode(listener->socket, (mode_t)listener->settings.socket_mode) < 0 ||
            bind(listener->socket, (const struct sockaddr *)&listener->address, sizeof(listener->address)) < 0)
                return fail(errno, "%s: cannot bind: %s", path, strerror(errno));
        if (lstat(path, &st) < 0)
                return fail(errno, "%s: %s", path, strerror(errno));
        listener->device = st.st_dev;
        listener->inode = st.st_ino;
        /* The umask took bits away that were asked for, or the mode is still to be set; nobody can connect yet. */
        if ((st.st_mode & 0777) != listener->settings.socket_mode &&
            chmod(path, (mode_t)listener->settings.socket_mode) < 0)
                return fail(errno, "%s: cannot set its permissions: %s", path, strerror(errno));
        LABEL("listen:bound");
        if (listen(listener->socket, SOMAXCONN) < 0)
                return fail(errno, "%s: cannot listen: %s", path, strerror(errno));
        return 0;
}

static void listener_unlink(struct tachyon_listener *listener) {
        const char *path = listener->address.sun_path;
        struct stat st;

        if (listener->inode && lstat(path, &st) == 0 && st.st_ino == listener->inode &&
            st.st_dev == listener->device)
                unlink(path);
        LABEL("listen:unlinked");
        if (listener->lock >= 0)
                unlink(listener->lock_path);
}

/* ---- life --------------------------------------------------------------- */

/* A child that lives on must not keep the lock of a dead listener, nor its queue. */
static void listener_forked(struct handle *handle) {
        struct tachyon_listener *listener =
                (struct tachyon_listener *)(void *)((char *)handle - offsetof(struct tachyon_listener, handle));

        for (uint32_t i = 0; i < listener->n_pending; i++)
                connection_forget(&listener->pending[i].connection);
        os_poller_abandon(&listener->poller);
        closep(&listener->socket);
        closep(&listener->lock);
}

static int listener_open(struct tachyon_listener *listener, const char *path, const tachyon_options *options) {
        int r;

        r = settings_init(&listener->settings, options);
        if (r < 0)
                return r;
        r = address_init(&listener->address, path);
        if (r == 0)
                r = path_check_folder(path);
        if (r < 0)
                return r;
        snprintf(listener->lock_path, sizeof(listener->lock_path), "%s.lock", path);
        listener->pending = calloc(listener->settings.max_pending, sizeof(*listener->pending));
        if (!listener->pending)
                return fail(ENOMEM, "no memory for a listener");
        for (int i = 0; i < LOCK_TRIES && r == 0; i++)
                r = lock_try(&listener->lock, listener->lock_path, path);
        if (r == 0)
                return fail(EADDRINUSE, "%s: somebody removes it again and again", listener->lock_path);
        if (r < 0)
                return r;
        LABEL("listen:locked");
        r = listener_bind(listener);
        if (r < 0)
                return r;
        LABEL("listen:listening");
        r = os_poller_create(&listener->poller);
        return r < 0 ? r : os_poller_add(listener->poller, listener->socket);
}

TACHYON_API int tachyon_listener_create(tachyon_listener **listenerp, const char *path,
                                        const tachyon_options *options) {
        struct tachyon_listener *listener;
        int r;

        listener = calloc(1, sizeof(*listener));
        if (!listener)
                return fail(ENOMEM, "no memory for a listener");
        listener->lock = listener->socket = listener->poller = -1;
        listener->handle.forked = listener_forked;
        handle_add(&listener->handle);
        r = listener_open(listener, path, options);
        if (r < 0) {
                tachyon_listener_free(listener);
                return r;
        }
        *listenerp = listener;
        return 0;
}

static int listener_dead(struct tachyon_listener *listener) {
        int dead = atomic_load(&listener->handle.dead);

        switch (dead) {
        case 0:
                return 0;
        case TACHYON_EFORK:
                return fail(dead, "this listener belongs to the parent process");
        default:
                return fail(dead, "this listener has been closed");
        }
}

TACHYON_API int tachyon_listener_fd(tachyon_listener *listener) {
        int r = listener_dead(listener);

        return r < 0 ? r : listener->poller;
}

TACHYON_API void tachyon_listener_close(tachyon_listener *listener) {
        if (!listener || atomic_exchange(&listener->closed, true))
                return;
        if (atomic_load(&listener->handle.dead) != TACHYON_EFORK) {
                handle_kill(&listener->handle, ECANCELED);
                listener_unlink(listener);
                /* Wakes an accept in another thread; wait until it has left. */
                if (listener->socket >= 0)
                        os_listener_wake(listener->socket, listener->poller);
                while (atomic_load(&listener->busy))
                        sched_yield();
        }
        while (listener->n_pending)
                handshake_destroy(&listener->pending[--listener->n_pending]);
        closep(&listener->poller);
        closep(&listener->socket);
        closep(&listener->lock);
}

TACHYON_API void tachyon_listener_free(tachyon_listener *listener) {
        if (!listener)
                return;
        tachyon_listener_close(listener);
        handle_remove(&listener->handle);
        free(listener->pending);
        free(listener);
}

/* ---- accept ------------------------------------------------------------- */

static void pending_remove(struct tachyon_listener *listener, uint32_t i) {
        struct handshake *handshake = &listener->pending[i];

        os_poller_remove(listener->poller, handshake->connection.socket);
        handshake_destroy(handshake);
        *handshake = listener->pending[--listener->n_pending];
}

/* Not to be bothered with: an introduction that failed because of who made it. */
static bool is_peers_fault(int error) {
        return error == EPROTO || error == EPROTONOSUPPORT || error == EACCES || error == ECONNRESET ||
               error == ECONNREFUSED;
}

static bool is_shortage(int error) {
        return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

/* Takes new connections in, as many as there is room for: 0, or our own trouble. */
static int listener_take_in(struct tachyon_listener *listener, int64_t now) {
        int64_t deadline = now + listener->settings.handshake_timeout_ns;

        if (now < listener->backoff)
                return 0;
        for (int i = 0; i < TAKE_IN_TRIES && listener->n_pending < listener->settings.max_pending; i++) {
                int fd = os_accept(listener->socket);

                if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
                        continue;
                if (fd < 0 && is_shortage(errno)) {
                        listener->backoff = now + BACKOFF_NS;
                        return fail(errno, "%s: cannot accept: %s", listener->address.sun_path, strerror(errno));
                }
                if (fd < 0)
                        return 0;
                handshake_init(&listener->pending[listener->n_pending], fd, deadline);
                if (os_poller_add(listener->poller, fd) < 0) {
                        handshake_destroy(&listener->pending[listener->n_pending]);
                        continue;
                }
                listener->n_pending++;
        }
        return 0;
}

/*
 * Whoever has said nothing yet has the whole time only while there is room for
 * others: good connectors introduce themselves in the moment that they connect,
 * and a crowd of mute ones must not keep them out.
 */
static int64_t pending_deadline(const struct tachyon_listener *listener, const struct handshake *handshake) {
        bool mute = handshake->expected == HELLO_CONNECT;
        bool crowded = listener->n_pending == listener->settings.max_pending;

        return handshake->deadline - (mute && crowded ? listener->settings.handshake_timeout_ns / 8 * 7 : 0);
}

/* 1: *connection is one; 0: none is ready; or our own trouble. */
static int listener_advance(struct tachyon_listener *listener, struct connection *connection, int64_t now) {
        for (uint32_t left = listener->n_pending; left && listener->n_pending; left--) {
                uint32_t i = listener->turn++ % listener->n_pending;
                struct handshake *handshake = &listener->pending[i];
                int r = handshake_listener_step(handshake, &listener->settings);

                if (r == 0 && now < pending_deadline(listener, handshake))
                        continue;
                if (r == 0)
                        handshake_expire(handshake, &listener->settings);
                if (r > 0) {
                        os_poller_remove(listener->poller, handshake->connection.socket);
                        *connection = handshake->connection;
                        handshake->connection = (struct connection)CONNECTION_INIT;
                }
                pending_remove(listener, i);
                if (r > 0 || (r < 0 && !is_peers_fault(-r)))
                        return r;
        }
        return 0;
}

/* When to look again even if nothing moves. */
static int64_t listener_next_time(const struct tachyon_listener *listener, int64_t deadline, int64_t now) {
        for (uint32_t i = 0; i < listener->n_pending; i++) {
                int64_t expiry = pending_deadline(listener, &listener->pending[i]);

                if (expiry < deadline)
                        deadline = expiry;
        }
        return now < listener->backoff && listener->backoff < deadline ? listener->backoff : deadline;
}

static int listener_sleep(struct tachyon_listener *listener, int64_t deadline) {
        int64_t now = now_ns(), until = listener_next_time(listener, deadline, now);
        bool busy = now < listener->backoff || listener->n_pending == listener->settings.max_pending;
        struct pollfd readable = { .fd = listener->poller, .events = POLLIN };
        int r;

        if (now >= deadline)
                return -ETIMEDOUT; /* whoever is at the door: a flood of connectors must not hold us here */
        /* The listening socket may be readable all the time: leave it out, but for tachyon_listener_close(). */
        if (busy)
                os_poller_mute(listener->poller, listener->socket);
        r = os_poll(&readable, 1, until);
        if (busy)
                os_poller_unmute(listener->poller, listener->socket);
        return r < 0 ? r : 0;
}

static int listener_accept_connection(struct tachyon_listener *listener, struct connection *connection,
                                      int64_t deadline) {
        int64_t now;
        int r;

        for (;;) {
                r = listener_dead(listener);
                if (r < 0)
                        return r;
                now = now_ns();
                r = listener_take_in(listener, now);
                if (r == 0)
                        r = listener_advance(listener, connection, now);
                if (r != 0)
                        return r < 0 ? r : 0;
                r = listener_sleep(listener, deadline);
                if (r < 0)
                        return r;
        }
}

static int listener_accept_busy(struct tachyon_listener *listener, struct tachyon_bus **busp, int64_t timeout_ns) {
        struct connection connection = CONNECTION_INIT;
        int r;

        r = listener_accept_connection(listener, &connection, deadline_after(timeout_ns));
        if (r < 0)
                return r == -ETIMEDOUT && timeout_ns == 0 ? -EAGAIN : r;
        r = bus_new(busp, &connection, &listener->settings);
        if (r < 0)
                connection_destroy(&connection);
        return r;
}

TACHYON_API int tachyon_listener_accept(tachyon_listener *listener, tachyon_bus **busp, int64_t timeout_ns) {
        int r = listener_dead(listener);

        if (r < 0)
                return r;
        if (atomic_exchange(&listener->busy, true))
                return fail(EBUSY, "%s: another thread is in accept already", listener->address.sun_path);
        r = listener_dead(listener); /* closed between the look and the exchange? */
        if (r == 0)
                r = listener_accept_busy(listener, busp, timeout_ns);
        atomic_store(&listener->busy, false);
        return r;
}

/* ---- a listener for one connection --------------------------------------- */

TACHYON_API int tachyon_bus_listen(tachyon_bus **busp, const char *path, const tachyon_options *options,
                                   int64_t timeout_ns) {
        tachyon_listener *listener;
        int r = tachyon_listener_create(&listener, path, options);

        if (r < 0)
                return r;
        r = tachyon_listener_accept(listener, busp, timeout_ns);
        if (r == -ETIMEDOUT || r == -EAGAIN)
                fail(-r, "%s: nobody connected in time", path);
        tachyon_listener_free(listener);
        return r;
}
