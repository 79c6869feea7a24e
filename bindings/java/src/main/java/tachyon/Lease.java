package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemorySegment;

/** A received message where it lies in the ring. A hostile peer may change it: check a copy. */
public final class Lease extends Place {
    private final long address;
    private final long size;
    private final int typeId;
    private MemorySegment segment;

    Lease(Handle handle, MemorySegment raw) {
        super(handle, raw.get(JAVA_LONG, Receiving.LEASE));
        address = raw.get(JAVA_LONG, Receiving.DATA);
        size = raw.get(JAVA_LONG, Receiving.SIZE);
        typeId = raw.get(JAVA_INT, Receiving.TYPE_ID);
        look();
    }

    @Override
    void look() {
        segment = view(address, size);
    }

    /** {@return the bytes, read-only; 64-byte aligned when more than 48} */
    public MemorySegment segment() {
        return segment;
    }

    /** {@return the number of bytes} */
    public long size() {
        return size;
    }

    /** {@return the sender's tag, unsigned} */
    public int typeId() {
        return typeId;
    }
}
