/* examples/frames_receive.c */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <tachyon.h>

enum { SENDERS = 2 };

/* Takes all that is there: 0, or the end of this sender. */
static int drain(tachyon_bus *bus, uint64_t *frames, uint64_t *sum) {
        tachyon_message messages[4];
        tachyon_array array;
        int n;

        while ((n = tachyon_bus_recv_batch(bus, messages, 4, 0)) > 0) {
                for (int i = 0; i < n; i++)
                        if (tachyon_array_read(&array, messages[i].data, messages[i].size) == 0 &&
                            tachyon_array_is(&array, "|u1") && array.data_size > 0) {
                                *sum += *(const unsigned char *)array.data;
                                ++*frames;
                        }
                tachyon_bus_release_batch(bus, messages, (size_t)n);
        }
        return n == -EAGAIN ? 0 : n;
}

/* 1: there is something to receive, do not sleep; 0: a doorbell is asked for; or the end. */
static int prepare(tachyon_bus *bus, struct pollfd fds[2]) {
        int room;

        fds[0].events = fds[1].events = POLLIN;
        if (tachyon_bus_fds(bus, &fds[0].fd, &room, &fds[1].fd) < 0)
                return -ECANCELED;
        return tachyon_bus_arm(bus);
}

int main(void) {
        tachyon_options options = TACHYON_OPTIONS_INIT;
        tachyon_listener *listener = NULL;
        tachyon_bus *bus[SENDERS] = { NULL };
        uint64_t frames = 0, sum = 0;
        int accepted = 0, ended = 0, r;

        options.capacity = 4 << 20; /* a dozen frames */
        r = tachyon_listener_create(&listener, "/tmp/frames", &options);
        if (r < 0) {
                fprintf(stderr, "%s: %s\n", tachyon_strerror(r), tachyon_error_detail());
                return 1;
        }
        while (ended < SENDERS) {
                struct pollfd fds[1 + 2 * SENDERS];
                int busy = 0;

                fds[0] = (struct pollfd){ .fd = accepted < SENDERS ? tachyon_listener_fd(listener) : -1, .events = POLLIN };
                for (int i = 0; i < SENDERS; i++) {
                        fds[1 + 2 * i].fd = fds[2 + 2 * i].fd = -1; /* poll() leaves these alone */
                        if (bus[i])
                                busy |= prepare(bus[i], &fds[1 + 2 * i]) != 0;
                }
                poll(fds, 1 + 2 * SENDERS, busy ? 0 : -1);
                if (fds[0].revents && tachyon_listener_accept(listener, &bus[accepted], 0) == 0)
                        accepted++;
                for (int i = 0; i < SENDERS; i++) {
                        r = bus[i] ? drain(bus[i], &frames, &sum) : 0;
                        if (r < 0) { /* -TACHYON_ECLOSED: in good order; -TACHYON_EPEERDEAD: it died */
                                printf("%s\n", tachyon_strerror(r));
                                tachyon_bus_free(bus[i]);
                                bus[i] = NULL;
                                ended++;
                        }
                }
        }
        printf("%llu frames, sum of greys %llu\n", (unsigned long long)frames, (unsigned long long)sum);
        tachyon_listener_free(listener);
        return 0;
}
