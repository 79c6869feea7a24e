package tachyon;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Cleaner;

/**
 * Room in the ring, to write a message where it will be read. Only the thread that reserved it can
 * use it; others of this bus wait to send meanwhile. After {@link #commit} or {@link #close}, the
 * segment and all slices of it raise IllegalStateException. A slot that was forgotten is dropped
 * when the garbage collector finds it.
 */
public final class Slot implements AutoCloseable {
    /** Ends the reservation, once. */
    private static final class Reservation implements Runnable {
        private Sending sending;

        Reservation(Sending sending) {
            this.sending = sending;
        }

        synchronized Sending end() {
            Sending was = sending;
            sending = null;
            return was;
        }

        @Override
        public void run() {
            Sending was = end();
            if (was != null) {
                was.dropSlot();
            }
        }
    }

    private final Arena arena = Arena.ofConfined();
    private final Reservation reservation;
    private final Cleaner.Cleanable cleanable;
    private final MemorySegment segment;

    Slot(Sending sending, long address, long size) {
        segment = MemorySegment.ofAddress(address).reinterpret(size, arena, null);
        reservation = new Reservation(sending);
        // On the scope, as slices refer to it, and may live longer than the slot.
        cleanable = Handle.CLEANER.register(arena.scope(), reservation);
    }

    /** {@return the room; its content is undefined} */
    public MemorySegment segment() {
        return segment;
    }

    /** Sends all of it. */
    public void commit(int typeId) {
        commit(segment.byteSize(), typeId);
    }

    /**
     * Sends the first bytes of it.
     *
     * @param size how many, at most what was reserved
     * @param typeId the tag
     * @throws IllegalStateException it was committed or closed before
     */
    public void commit(long size, int typeId) {
        if (size < 0 || size > segment.byteSize()) {
            throw new IllegalArgumentException("%d bytes of a room of %d".formatted(size, segment.byteSize()));
        }
        arena.close(); // from here on nobody writes
        Sending sending = reservation.end();
        cleanable.clean();
        sending.commitSlot(size, typeId);
    }

    /** Sends nothing, unless it was committed. */
    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            arena.close();
            cleanable.clean();
        }
    }
}
