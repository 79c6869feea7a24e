/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_WAIT_H
#define TACHYON_WAIT_H
/*
 * Sleeping and waking, without lost wake-ups and without a system call when
 * nobody sleeps. One protocol, used for data and for room alike:
 *
 *      sleeper                                 waker
 *      S1  waiting = epoch                     P1  publish (stamp, read_position)
 *      S2  full barrier                        P2  barrier
 *      S3  look again; there? do not sleep     P3  load waiting
 *      S4  sleep on the doorbell               P4  not 0, and not yet rung: ring
 *
 * With both barriers, either S3 sees P1 or P3 sees S1. The waker's P2 is on the
 * hot path. Where both processes registered for it, S2 is a membarrier(), which
 * runs a full barrier on every CPU that executes either process, and P2 needs
 * only keep the compiler from reordering; else both are seq_cst fences.
 *
 * A doorbell is one byte on a Unix socket, so a wake-up between S3 and S4 is
 * not lost: the byte stays readable. Each epoch is rung at most once, and a new
 * one begins after the last was rung; a peer that rings more often than that
 * breaks the protocol.
 */
#include "layout.h"
#include "util.h"

struct sleeper {
        int doorbell;
        _Atomic uint32_t *waiting; /* in our half */
        uint32_t epoch;
        uint64_t epochs;           /* announced; a new one only after the last was rung */
        uint64_t rings;            /* bytes taken off the doorbell, never more than epochs */
        uint64_t sleeps;
        int64_t began_ns;          /* when it last began to poll */
        int64_t spin_ns;           /* at the moment */
        int64_t spin_max_ns;
        bool spin_fixed;
        _Atomic bool busy;         /* a thread is in here */
};

struct waker {
        int doorbell;
        const _Atomic uint32_t *waiting; /* in the peer's half */
        _Atomic uint32_t rung;           /* the last epoch that was */
        _Atomic uint64_t rings;
};

void sleeper_init(struct sleeper *sleeper, int doorbell, _Atomic uint32_t *waiting, int64_t spin_ns, bool fixed);
void waker_init(struct waker *waker, int doorbell, const _Atomic uint32_t *waiting);

/* S1; the caller goes on with S2. */
void sleeper_announce(struct sleeper *sleeper);
void sleeper_retire(struct sleeper *sleeper);
/* Takes the bytes that are there: 0, -ECONNRESET (the peer is gone), or -EPROTO (it rings too often). */
int sleeper_take_rings(struct sleeper *sleeper);
/* P4: 0, or -ECONNRESET where the peer is gone. */
int waker_ring(struct waker *waker, uint32_t epoch);

/* P2 and P3. */
static inline uint32_t waker_look(const struct waker *waker, bool fence) {
        /*
         * W2: pairs with S2, see above. Without the fence, the compiler may
         * still not move the load above the publishing store.
         */
        if (unlikely(fence))
                atomic_thread_fence(memory_order_seq_cst);
        else
                atomic_signal_fence(memory_order_seq_cst);
        /* Relaxed: the value itself is all we want. */
        return atomic_load_explicit(waker->waiting, memory_order_relaxed);
}

static inline void cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("isb" ::: "memory");
#endif
}

/*
 * A gap between two looks at lines that the peer is about to write: some 40
 * cycles. With a shorter one, the line is fetched back before the peer has it to
 * itself; a pause instruction takes 68 cycles on one processor and 140 on the
 * next, half of which a message that arrives meanwhile has to wait.
 */
#define LOOK_CYCLES 40
/* Before the first look for an answer: about half of what it takes, where cores are near; docs/decisions.md. */
#define FIRST_LOOK_CYCLES 100

static inline void cpu_linger(unsigned cycles) {
        for (; cycles; cycles--)
                __asm__ volatile("" : "+r"(cycles));
}

/* What became of polling; teaches the sleeper how long it is worth while. */
static inline void sleeper_learn(struct sleeper *sleeper, bool hit) {
        int64_t spin = hit ? sleeper->spin_ns * 2 : sleeper->spin_ns / 2;

        if (sleeper->spin_fixed)
                return;
        if (spin < sleeper->spin_max_ns / 32)
                spin = sleeper->spin_max_ns / 32;
        sleeper->spin_ns = spin > sleeper->spin_max_ns ? sleeper->spin_max_ns : spin;
}

/*
 * After a sleep that was ended by what it waited for: where the whole wait was
 * short enough to poll through, it should have been. Without this, a budget that
 * some long waits have worn down would never see a hit again, and not recover.
 */
static inline void sleeper_learn_from_sleep(struct sleeper *sleeper) {
        if (now_ns() - sleeper->began_ns > sleeper->spin_max_ns)
                return;
        sleeper_learn(sleeper, true); /* takes back what the polling in vain taught */
        sleeper_learn(sleeper, true);
}

#define SPIN_POLLS 64

/*
 * Polls `there` for the sleeper's budget, but not past the deadline; true as
 * soon as it is. Inline, so that `there` is inlined as well.
 */
static inline __attribute__((__always_inline__)) bool
sleeper_spin(struct sleeper *sleeper, int64_t deadline, bool (*there)(void *), bool (*over)(void *), void *context) {
        int64_t end, now;

        if (!sleeper->spin_ns)
                return false;
        sleeper->began_ns = now = now_ns();
        end = now + sleeper->spin_ns < deadline ? now + sleeper->spin_ns : deadline;
        do {
                for (int i = 0; i < SPIN_POLLS; i++) {
                        if (there(context)) {
                                sleeper_learn(sleeper, true);
                                return true;
                        }
                        cpu_relax();
                }
                if (over(context))
                        return false;
        } while (now_ns() < end);
        sleeper_learn(sleeper, false);
        return false;
}

#endif
