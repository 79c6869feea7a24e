package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemorySegment;

/** Several received messages where they lie in the ring. */
public final class Batch extends Place {
    private final long[] addresses;
    private final MemorySegment[] segments;
    private final int[] typeIds;

    Batch(Handle handle, MemorySegment messages, int count) {
        super(handle, column(messages, count, Receiving.LEASE));
        addresses = column(messages, count, Receiving.DATA);
        segments = new MemorySegment[count];
        typeIds = new int[count];
        long[] sizes = column(messages, count, Receiving.SIZE);
        for (int i = 0; i < count; i++) {
            typeIds[i] = messages.get(JAVA_INT, i * Receiving.MESSAGE_SIZE + Receiving.TYPE_ID);
            segments[i] = view(addresses[i], sizes[i]);
        }
    }

    private static long[] column(MemorySegment messages, int count, long offset) {
        long[] values = new long[count];
        for (int i = 0; i < count; i++) {
            values[i] = messages.get(JAVA_LONG, i * Receiving.MESSAGE_SIZE + offset);
        }
        return values;
    }

    @Override
    void look() {
        for (int i = 0; i < segments.length; i++) {
            segments[i] = view(addresses[i], segments[i].byteSize());
        }
    }

    /** {@return the number of messages} */
    public int count() {
        return segments.length;
    }

    /** {@return the bytes of one message, read-only} */
    public MemorySegment segment(int index) {
        return segments[index];
    }

    /** {@return the tag of one message, unsigned} */
    public int typeId(int index) {
        return typeIds[index];
    }
}
