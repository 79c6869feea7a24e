package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * A run of messages of one size where they lie in the ring, with one lease.
 *
 * <p>Numbers are read by their offset from the record's, which is what a
 * {@link java.lang.invoke.VarHandle} of a layout takes as well:
 * {@code records.segment().get(JAVA_DOUBLE, records.offset(i) + 16)}.
 */
public final class Records extends Place {
    private final long address;
    private final long count;
    private final long stride;
    private final long recordSize;
    private MemorySegment segment;

    Records(Handle handle, MemorySegment raw, long recordSize) {
        super(handle, raw.get(JAVA_LONG, 24));
        address = raw.get(JAVA_LONG, 0);
        count = raw.get(JAVA_LONG, 8);
        stride = raw.get(JAVA_LONG, 16);
        this.recordSize = recordSize;
        look();
    }

    @Override
    void look() {
        segment = view(address, (count - 1) * stride + recordSize);
    }

    /** {@return the number of records, at least 1} */
    public long count() {
        return count;
    }

    /** {@return all records, read-only, {@link #stride} bytes from one to the next} */
    public MemorySegment segment() {
        return segment;
    }

    /** {@return bytes from one record to the next: a multiple of 64} */
    public long stride() {
        return stride;
    }

    /** {@return where a record begins in the segment} */
    public long offset(long index) {
        return Objects.checkIndex(index, count) * stride;
    }

    /** {@return one record, read-only} */
    public MemorySegment get(long index) {
        return segment.asSlice(offset(index), recordSize);
    }

    /** Copies all records, packed, to the beginning of some memory. */
    public void copyTo(MemorySegment packed) {
        for (long i = 0; i < count; i++) {
            MemorySegment.copy(segment, i * stride, packed, i * recordSize, recordSize);
        }
    }
}
