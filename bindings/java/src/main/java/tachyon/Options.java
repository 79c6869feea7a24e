package tachyon;

import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.StructLayout;
import java.lang.foreign.ValueLayout;
import java.time.Duration;

/**
 * Options of a listener or a connection; what each means stands at tachyon_options in tachyon.h.
 * What is not set has its default. Every method returns this object.
 */
public final class Options {
    private static final StructLayout LAYOUT = MemoryLayout.structLayout(
            ValueLayout.JAVA_LONG.withName("struct_size"),
            ValueLayout.JAVA_LONG.withName("capacity"),
            ValueLayout.JAVA_LONG.withName("reply_capacity"),
            ValueLayout.JAVA_LONG.withName("max_capacity"),
            ValueLayout.JAVA_LONG.withName("spin_ns"),
            ValueLayout.JAVA_INT.withName("flags"),
            ValueLayout.JAVA_INT.withName("kind"),
            ValueLayout.JAVA_INT.withName("numa_node"),
            ValueLayout.JAVA_INT.withName("socket_mode"),
            ValueLayout.ADDRESS.withName("allowed_uids"),
            ValueLayout.JAVA_LONG.withName("allowed_uid_count"),
            ValueLayout.JAVA_LONG.withName("handshake_timeout_ns"),
            ValueLayout.JAVA_LONG.withName("max_pending"));
    private static final int PREFAULT = 1;
    private static final int MLOCK = 2;
    private static final int HUGE_PAGES = 4;
    private static final int TRUSTED = 8;

    private long capacity;
    private long replyCapacity;
    private long maxCapacity;
    private long spin;
    private int flags;
    private int numaNode;
    private int socketMode;
    private int[] allowedUids = {};
    private long handshakeTimeout;
    private long maxPending;

    /** All defaults. */
    public Options() {}

    /** Listener: bytes of the ring from connector to listener; at first 1 MiB. */
    public Options capacity(long bytes) {
        capacity = bytes;
        return this;
    }

    /** Listener: bytes of the ring from listener to connector; at first as {@link #capacity}. */
    public Options replyCapacity(long bytes) {
        replyCapacity = bytes;
        return this;
    }

    /** The largest ring to make or to map. */
    public Options maxCapacity(long bytes) {
        maxCapacity = bytes;
        return this;
    }

    /** How long a wait polls before it sleeps; zero: not at all. At first as long as pays, up to 100 microseconds. */
    public Options spin(Duration time) {
        spin = time.isPositive() ? time.toNanos() : -1; // C's zero is its default
        return this;
    }

    /** Map all pages now, not at first use. */
    public Options prefault() {
        flags |= PREFAULT;
        return this;
    }

    /** Lock both rings in memory. */
    public Options mlock() {
        flags |= MLOCK;
        return this;
    }

    /** Use pages of 2 MiB, where there are some. */
    public Options hugePages() {
        flags |= HUGE_PAGES;
        return this;
    }

    /** Both ends may write in both rings. */
    public Options trusted() {
        flags |= TRUSTED;
        return this;
    }

    /** The node on which our ring's memory shall lie. */
    public Options numaNode(int node) {
        numaNode = node + 1;
        return this;
    }

    /** Listener: permission bits of the socket; at first 0600. */
    public Options socketMode(int bits) {
        socketMode = bits;
        return this;
    }

    /** User ids that may be the peer; at first our own only. */
    public Options allowedUids(int... uids) {
        allowedUids = uids.clone();
        return this;
    }

    /** How long a connection may take to introduce itself; at first 2 s. */
    public Options handshakeTimeout(Duration time) {
        handshakeTimeout = time.toNanos();
        return this;
    }

    /** Listener: unfinished introductions at a time; at first 16, at most 64. */
    public Options maxPending(int connections) {
        maxPending = connections;
        return this;
    }

    /** What C wants; lives as long as the arena. */
    MemorySegment raw(int kind, Arena arena) {
        MemorySegment raw = arena.allocate(LAYOUT);
        set(raw, "struct_size", LAYOUT.byteSize());
        set(raw, "capacity", capacity);
        set(raw, "reply_capacity", replyCapacity);
        set(raw, "max_capacity", maxCapacity);
        set(raw, "spin_ns", spin);
        set(raw, "flags", flags);
        set(raw, "kind", kind);
        set(raw, "numa_node", numaNode);
        set(raw, "socket_mode", socketMode);
        if (allowedUids.length > 0) {
            MemorySegment uids = arena.allocateFrom(ValueLayout.JAVA_INT, allowedUids);
            set(raw, "allowed_uids", uids.address());
            set(raw, "allowed_uid_count", allowedUids.length);
        }
        set(raw, "handshake_timeout_ns", handshakeTimeout);
        set(raw, "max_pending", maxPending);
        return raw;
    }

    private static void set(MemorySegment raw, String field, long value) {
        PathElement path = PathElement.groupElement(field);
        long offset = LAYOUT.byteOffset(path);
        if (LAYOUT.select(path).byteSize() == 4) {
            raw.set(ValueLayout.JAVA_INT, offset, (int) value);
        } else {
            raw.set(ValueLayout.JAVA_LONG, offset, value);
        }
    }
}
