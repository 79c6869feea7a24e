/* SPDX-License-Identifier: MIT */
/* See wait.h for the protocol. */
#include "wait.h"
#include "label.h"
#include "os.h"

void sleeper_init(struct sleeper *sleeper, int doorbell, _Atomic uint32_t *waiting, int64_t spin_ns, bool fixed) {
        *sleeper = (struct sleeper){
                .doorbell = doorbell,
                .waiting = waiting,
                .spin_ns = spin_ns,
                .spin_max_ns = spin_ns,
                .spin_fixed = fixed,
        };
}

void waker_init(struct waker *waker, int doorbell, const _Atomic uint32_t *waiting) {
        *waker = (struct waker){ .doorbell = doorbell, .waiting = waiting };
}

void sleeper_announce(struct sleeper *sleeper) {
        /*
         * The same epoch again until it was rung: a byte that comes late for an
         * earlier sleep ends this one early, which does no harm. A new number
         * for every sleep would run away from a waker that rings seldom, and
         * waker_claim() could no longer tell old from new.
         */
        if (sleeper->rings == sleeper->epochs) {
                do
                        sleeper->epoch++;
                while (sleeper->epoch == 0 || sleeper->epoch == WAITING_CLOSED);
                sleeper->epochs++;
        }
        sleeper->sleeps++;
        /*
         * S1. Release: what was stored for the waker to read (space_target) is
         * there before the epoch. The order against S3 is the caller's S2.
         */
        atomic_store_explicit(sleeper->waiting, sleeper->epoch, memory_order_release);
        LABEL("sleep:announced");
}

void sleeper_retire(struct sleeper *sleeper) {
        /* Relaxed: seen late, it costs the waker one needless ring, which we count as ours. */
        atomic_store_explicit(sleeper->waiting, 0, memory_order_relaxed);
        LABEL("sleep:retired");
}

int sleeper_take_rings(struct sleeper *sleeper) {
        unsigned char bytes[64];
        ssize_t n;

        do
                n = recv(sleeper->doorbell, bytes, sizeof(bytes), MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        if (n < 0 && errno == EAGAIN)
                return 0;
        if (n <= 0)
                return -ECONNRESET;
        for (ssize_t i = 0; i < n; i++)
                if (bytes[i] != DOORBELL_RING)
                        return fail(EPROTO, "the peer sent a byte that is no doorbell");
        LABEL("sleep:rings-taken");
        sleeper->rings += (uint64_t)n;
        if (sleeper->rings > sleeper->epochs)
                return fail(EPROTO, "the peer rings more often than we asked it to");
        return 0;
}

/*
 * True for whoever may ring this epoch: one thread once. Not `rung != epoch`:
 * a thread that saw an epoch long ago would ring it a second time after
 * another one rang the next, and the peer would count that as a flood. Epochs
 * count up and wrap.
 */
static bool waker_claim(struct waker *waker, uint32_t epoch) {
        uint32_t rung = atomic_load_explicit(&waker->rung, memory_order_relaxed);

        do
                if ((int32_t)(epoch - rung) <= 0)
                        return false;
        while (!atomic_compare_exchange_weak_explicit(&waker->rung, &rung, epoch, memory_order_relaxed,
                                                      memory_order_relaxed));
        return true;
}

/* Of a kernel that has no memory for a byte, at the moment. */
#define SHORTAGE_TRIES 100

int waker_ring(struct waker *waker, uint32_t epoch) {
        const unsigned char ring = DOORBELL_RING;
        int tries = SHORTAGE_TRIES;
        ssize_t n;

        if (!waker_claim(waker, epoch))
                return 0;
        LABEL("wake:claimed");
        atomic_fetch_add_explicit(&waker->rings, 1, memory_order_relaxed);
        do
                n = send(waker->doorbell, &ring, 1, OS_SEND_FLAGS);
        while (n < 0 && (errno == EINTR || ((errno == ENOBUFS || errno == ENOMEM) && --tries)));
        LABEL("wake:rung");
        /* A full socket is unread bytes: its owner is awake or about to be. */
        if (n == 1 || errno == EAGAIN)
                return 0;
        if (errno != ENOBUFS && errno != ENOMEM)
                return -ECONNRESET;
        /* It is short of memory for good: the next publication tries again. */
        atomic_compare_exchange_strong_explicit(&waker->rung, &epoch, epoch - 1, memory_order_relaxed,
                                                memory_order_relaxed);
        return 0;
}
