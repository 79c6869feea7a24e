/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_LAYOUT_H
#define TACHYON_LAYOUT_H
/*
 * The bytes that two processes share. docs/protocol.md is the prose of this.
 *
 * Each process makes one *half*: a memfd that it alone maps writable. Offsets:
 *
 *      0             struct half_geometry, written once before it is handed over
 *      page size     struct half_control, what the owner tells its peer
 *      ring_offset   the ring that the owner writes, `capacity` bytes
 *
 * The peer only ever reads. The one exception is the exchange line, a struct
 * frame on a page of its own, which both write in turn; see ring.h. Every field
 * that a peer wrote is loaded once, checked, and used from the copy.
 */
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define TACHYON_LAYOUT_VERSION 1u
#define TACHYON_MAGIC UINT64_C(0x0a6e6f7968636174) /* "tachyon\n", little-endian */
#define TACHYON_ENDIANNESS 0x01020304u

/* Two lines: adjacent-line prefetchers fetch in pairs. */
#define TACHYON_SEPARATION 128

/* Frames start on multiples of this. */
#define FRAME_ALIGNMENT 64u
/* Where the payload of a large frame starts, and the most a small one holds. */
#define FRAME_HEADER_SIZE 16u
#define FRAME_INLINE_SIZE 48u
#define FRAME_CORRELATED_INLINE_SIZE 40u

/*
 * Flags live in the low bits of a stamp, which are free because positions are
 * multiples of FRAME_ALIGNMENT. FRAME_VALID is set in every stamp, so that a
 * stamp is never 0 and fresh memory never looks like one.
 */
#define FRAME_VALID UINT64_C(1)
#define FRAME_CORRELATED UINT64_C(2)
#define FRAME_REPLY UINT64_C(4)
#define FRAME_FAILURE UINT64_C(8)
/* In a ring: what is on the exchange line may be from before this frame. */
#define FRAME_FOLLOWS UINT64_C(16)
/* On the exchange line: who wrote it last, the listener (1) or the connector (0); and every other time. */
#define FRAME_BY_LISTENER UINT64_C(16)
#define FRAME_ODD UINT64_C(32)
#define FRAME_FLAGS_MASK UINT64_C(63)

struct frame {
        _Atomic uint64_t stamp; /* position | flags; stored last, see R1 in ring.c */
        _Atomic uint32_t size;  /* payload bytes */
        _Atomic uint32_t type_id;
        unsigned char payload[FRAME_INLINE_SIZE]; /* first 8: correlation id, where FRAME_CORRELATED */
};

_Static_assert(sizeof(struct frame) == FRAME_ALIGNMENT, "a small message is one cache line");
_Static_assert(offsetof(struct frame, size) == 8, "frame layout");
_Static_assert(offsetof(struct frame, type_id) == 12, "frame layout");
_Static_assert(offsetof(struct frame, payload) == FRAME_HEADER_SIZE, "frame layout");

struct half_geometry {
        uint64_t magic;
        uint32_t endianness;
        uint32_t layout_version;
        uint64_t page_size;   /* offset of the control page */
        uint64_t ring_offset;
        uint64_t capacity;
};

_Static_assert(sizeof(struct half_geometry) == 40, "geometry layout");

enum half_state {
        HALF_OPEN = 1,
        HALF_CLOSED = 2, /* all frames that will ever be are published */
};

/* A waiting word of this value says "do not ring, look at my state". */
#define WAITING_CLOSED UINT32_MAX

/* half_control.requests */
#define REQUEST_FENCES 1u

struct half_control {
        /* How far the owner has released what its peer sent: a position in the PEER's ring. */
        alignas(TACHYON_SEPARATION) _Atomic uint64_t read_position;
        /* Non-zero while the owner sleeps for data, and another value after each doorbell. */
        alignas(TACHYON_SEPARATION) _Atomic uint32_t data_waiting;
        _Atomic uint32_t state;    /* enum half_state */
        _Atomic uint32_t requests; /* REQUEST_* */
        /* The same for room in the owner's ring, and the read_position that would be enough. */
        alignas(TACHYON_SEPARATION) _Atomic uint32_t space_waiting;
        _Atomic uint64_t space_target;
};

_Static_assert(offsetof(struct half_control, read_position) == 0, "control layout");
_Static_assert(offsetof(struct half_control, data_waiting) == 128, "control layout");
_Static_assert(offsetof(struct half_control, state) == 132, "control layout");
_Static_assert(offsetof(struct half_control, requests) == 136, "control layout");
_Static_assert(offsetof(struct half_control, space_waiting) == 256, "control layout");
_Static_assert(offsetof(struct half_control, space_target) == 264, "control layout");
_Static_assert(sizeof(struct half_control) == 384, "control layout");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
               "atomics in shared memory must be lock-free");
_Static_assert(sizeof(_Atomic uint64_t) == 8 && sizeof(_Atomic uint32_t) == 4, "atomics are bare words");

/* What travels over the socket: each step of the handshake is one of these. */
#define HELLO_FEATURE_MEMBARRIER 1u /* registered: the peer may leave its fence out */
#define HELLO_FEATURE_TRUSTED 2u
#define HELLO_FEATURE_EXCHANGE 4u   /* CONNECT: I know of the exchange line; OFFER: its descriptor comes second */

struct hello {
        uint64_t magic;
        uint32_t endianness;
        uint32_t layout_min;
        uint32_t layout_max;
        uint32_t kind;           /* enum tachyon_kind */
        uint32_t features;       /* HELLO_FEATURE_* */
        uint32_t refusal;        /* 0, or an errno: `reason` tells why, and this is the last word */
        uint64_t capacity;       /* listener: ring from connector to listener */
        uint64_t reply_capacity; /* listener: ring from listener to connector */
        uint32_t pid;            /* for people; the kernel's word decides */
        uint32_t step;           /* enum hello_step */
        char reason[72];         /* of a refusal, NUL-terminated */
};

enum hello_step {
        HELLO_CONNECT = 1, /* connector: who I am */
        HELLO_OFFER = 2,   /* listener: capacities, and my half (1 descriptor) */
        HELLO_ANSWER = 3,  /* connector: my half and a room doorbell (2 descriptors) */
        HELLO_WELCOME = 4, /* listener: data may flow */
};

_Static_assert(sizeof(struct hello) == 128, "hello layout");

/* Bytes on the doorbell sockets. */
#define DOORBELL_RING 1

#endif
