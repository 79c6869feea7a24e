package tachyon;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Cleaner;

/**
 * What was received and lies in the ring until {@link #close}: a lease. Its segments are read-only,
 * and after close() they, and all slices of them, raise IllegalStateException.
 *
 * <p>Only the thread that received it can look at it and close it, unless {@link #share} was called.
 * A place that was forgotten is given back when the garbage collector finds that nobody has a
 * segment of it any more.
 */
public abstract sealed class Place implements AutoCloseable permits Lease, Batch, Records {
    /** Gives the place back, once. */
    private static final class Ticket implements Runnable {
        private final Handle handle;
        private long[] leases;

        Ticket(Handle handle, long[] leases) {
            this.handle = handle;
            this.leases = leases;
        }

        synchronized long[] take() {
            long[] were = leases;
            leases = new long[0];
            return were;
        }

        @Override
        public void run() {
            for (long lease : take()) {
                handle.release(lease);
            }
        }
    }

    private final Handle handle;
    private Arena arena;
    private Ticket ticket;
    private Cleaner.Cleanable cleanable;

    Place(Handle handle, long... leases) {
        this.handle = handle;
        hold(Arena.ofConfined(), leases);
    }

    private void hold(Arena arena, long[] leases) {
        this.arena = arena;
        ticket = new Ticket(handle, leases);
        // On the scope, as slices refer to it, and may live longer than this.
        cleanable = Handle.CLEANER.register(arena.scope(), ticket);
    }

    /** What is at an address of the ring, for as long as this place is held. */
    final MemorySegment view(long address, long size) {
        return MemorySegment.ofAddress(address).reinterpret(size, arena, null).asReadOnly();
    }

    /** Makes the views again, in the arena as it is now. */
    abstract void look();

    /**
     * Lets all threads look at it and close it. Segments that were taken from it before end here. To close it is
     * dearer then: some 50 to 100 microseconds, as no thread may be left that still looks. One that is
     * cut short in a look finds itself interrupted, besides the exception: so the JDK has it.
     */
    public final synchronized void share() {
        if (!arena.scope().isAlive()) {
            throw new IllegalStateException("Already closed");
        }
        arena.close();
        long[] leases = ticket.take();
        cleanable.clean();
        hold(Arena.ofShared(), leases);
        look();
    }

    /** Gives the place back. May be called again. */
    @Override
    public final synchronized void close() {
        if (arena.scope().isAlive()) {
            arena.close();
            cleanable.clean();
        }
    }
}
