/* SPDX-License-Identifier: MIT */
/* tachyon_bus_connect(): find the listener, wait for it if need be, shake hands. */
#include "bus.h"
#include "os.h"
#include "path.h"
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* A connector looks for its listener this often at first, and this often at last. */
#define CONNECT_RETRY_MIN_NS 500000
#define CONNECT_RETRY_MAX_NS 20000000
/* A listener that has just bound its socket may be about to widen what the umask left of its permissions. */
#define PERMISSION_GRACE_NS 10000000

int address_init(struct sockaddr_un *address, const char *path) {
        size_t length = path ? strlen(path) : 0;

        if (!length)
                return fail(EINVAL, "the path is empty");
        if (length >= sizeof(address->sun_path))
                return fail(ENAMETOOLONG, "%s: %zu bytes; a socket's path has at most %zu", path, length,
                            sizeof(address->sun_path) - 1);
        *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        memcpy(address->sun_path, path, length);
        return 0;
}

int socket_create(int *fdp) {
        int fd = os_socket();

        if (fd < 0)
                return fail(errno, "cannot make a socket: %s", strerror(errno));
        *fdp = fd;
        return 0;
}

int path_check_folder(const char *path) {
        char folder[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
        char *slash;

        memcpy(folder, path, strlen(path) + 1);
        slash = strrchr(folder, '/');
        if (!slash || slash == folder)
                return 0;
        *slash = 0;
        if (access(folder, F_OK) < 0 && errno == ENOENT)
                return fail(ENOENT, "there is no folder %s; create it, or choose another path", folder);
        return 0;
}

/* 1: connected; 0: no listener yet; or an error that waiting does not cure. */
static int connect_try(int *fdp, const struct sockaddr_un *address) {
        _cleanup_(closep) int fd = -1;
        struct stat st;
        int r = socket_create(&fd);

        if (r < 0)
                return r;
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0) {
                *fdp = steal_fd(&fd);
                return 1;
        }
        switch (errno) {
        case ECONNREFUSED:
                if (lstat(address->sun_path, &st) == 0 && !S_ISSOCK(st.st_mode))
                        return fail(ENOTSOCK, "%s: this is not a socket", address->sun_path);
                return 0;
        case EPROTOTYPE:
                return fail(EPROTO, "%s: this socket is not a tachyon listener's", address->sun_path);
        case ENOENT:
                return path_check_folder(address->sun_path);
        case EAGAIN:
        case EINTR:
                return 0;
        default:
                return fail(errno, "%s: cannot connect: %s", address->sun_path, strerror(errno));
        }
}

static int connect_retrying(int *fdp, const struct sockaddr_un *address, int64_t deadline) {
        int64_t pause = CONNECT_RETRY_MIN_NS, now = now_ns(), grace = now + PERMISSION_GRACE_NS;
        int r;

        while ((r = connect_try(fdp, address)) == 0 || (r == -EACCES && now < grace)) {
                now = now_ns();
                if (r == 0 && now >= deadline)
                        return fail(ETIMEDOUT, "%s: no listener appeared in time", address->sun_path);
                r = os_poll(NULL, 0, r || now + pause < deadline ? now + pause : deadline);
                if (r < 0)
                        return r;
                pause = pause * 2 < CONNECT_RETRY_MAX_NS ? pause * 2 : CONNECT_RETRY_MAX_NS;
        }
        return r < 0 ? r : 0;
}

TACHYON_API int tachyon_bus_connect(tachyon_bus **busp, const char *path, const tachyon_options *options,
                                    int64_t timeout_ns) {
        struct connection connection = CONNECTION_INIT;
        int64_t deadline = deadline_after(timeout_ns);
        struct sockaddr_un address;
        struct settings settings;
        int r, fd = -1;

        r = settings_init(&settings, options);
        if (r < 0)
                return r;
        r = address_init(&address, path);
        if (r < 0)
                return r;
        r = connect_retrying(&fd, &address, deadline);
        if (r < 0)
                return r == -ETIMEDOUT && timeout_ns == 0 ? -EAGAIN : r;
        /* "Try" is about the listener's being there; talking to it takes a moment all the same. */
        if (timeout_ns == 0)
                deadline = now_ns() + settings.handshake_timeout_ns;
        r = handshake_connect(&connection, fd, &settings, deadline, path);
        if (r < 0)
                return r;
        r = bus_new(busp, &connection, &settings);
        if (r < 0)
                connection_destroy(&connection);
        return r;
}
