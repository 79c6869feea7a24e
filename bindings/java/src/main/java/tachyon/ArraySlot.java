package tachyon;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/** Room in the ring, to compute an array where it will be read; see {@link Slot}. */
public final class ArraySlot implements AutoCloseable {
    private final Slot slot;
    private final MemorySegment elements;

    private ArraySlot(Slot slot, MemorySegment elements) {
        this.slot = slot;
        this.elements = elements;
    }

    /** Bytes of a message that is this array. */
    static long size(DType dtype, long[] shape) {
        try (Arena arena = Arena.ofConfined()) {
            return size(ArrayHeader.of(dtype, shape, arena), shape);
        }
    }

    private static long size(MemorySegment header, long[] shape) {
        long size = Native.arraySize(header);
        if (size == 0) {
            throw TachyonException.of(Errno.EMSGSIZE, "array", "there can be none of shape " + Arrays.toString(shape));
        }
        return size;
    }

    /** Null: there was no room in that time. */
    static ArraySlot open(Sending sending, DType dtype, long[] shape, Deadline deadline) throws InterruptedException {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment header = ArrayHeader.of(dtype, shape, arena);
            long size = size(header, shape);
            Slot slot = sending.open(size, deadline);
            if (slot == null) {
                return null;
            }
            int result = Native.arrayWrite(header, slot.segment(), size);
            if (result < 0) {
                slot.close();
                throw TachyonException.of(result, "write an array");
            }
            long bytes = dtype.size();
            for (long extent : shape) {
                bytes *= extent; // the library has looked at it
            }
            return new ArraySlot(slot, slot.segment().asSlice(size - bytes));
        }
    }

    /** {@return room for the elements, one after the other; its content is undefined} */
    public MemorySegment elements() {
        return elements;
    }

    /** Sends the array. */
    public void commit(int typeId) {
        slot.commit(typeId);
    }

    /** Sends nothing, unless it was committed. */
    @Override
    public void close() {
        slot.close();
    }
}
