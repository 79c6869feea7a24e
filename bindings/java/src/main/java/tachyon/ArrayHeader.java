package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;

/** tachyon_array in tachyon.h. */
final class ArrayHeader {
    private static final int MAX_NDIM = 64;
    private static final long DATA_SIZE = 8;
    private static final long ITEMSIZE = 16;
    private static final long DTYPE = 24;
    private static final long DTYPE_SIZE = 32;
    private static final long NDIM = 36;
    private static final long SHAPE = 40;
    private static final long BYTES = SHAPE + 8 * MAX_NDIM;

    private ArrayHeader() {}

    static MemorySegment of(DType dtype, long[] shape, Arena arena) {
        if (shape.length > MAX_NDIM) {
            throw TachyonException.of(Errno.EMSGSIZE, "array", "it has at most 64 dimensions, not " + shape.length);
        }
        MemorySegment raw = arena.allocate(BYTES, 8);
        raw.set(JAVA_LONG, ITEMSIZE, dtype.size());
        raw.set(JAVA_LONG, DTYPE, arena.allocateFrom(dtype.text()).address());
        raw.set(JAVA_INT, NDIM, shape.length);
        MemorySegment.copy(shape, 0, raw, JAVA_LONG, SHAPE, shape.length);
        return raw;
    }

    static byte[] write(NdArray array) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment header = of(array.dtype(), array.shape(), arena);
            MemorySegment message = arena.allocate(Native.arraySize(header), 64);
            int result = Native.arrayWrite(header, message, message.byteSize());
            if (result < 0) {
                throw TachyonException.of(result, "write an array");
            }
            MemorySegment elements = array.elements();
            message.asSlice(message.byteSize() - elements.byteSize()).copyFrom(elements);
            return message.toArray(JAVA_BYTE);
        }
    }

    /**
     * Looks at a message as an array: the library has checked the header, and that the elements
     * are the rest of the message.
     */
    static NdArray read(MemorySegment message) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment raw = arena.allocate(BYTES, 8);
            int result = Native.arrayRead(raw, message, message.byteSize());
            if (result < 0) {
                throw TachyonException.of(result, "read an array");
            }
            int ndim = raw.get(JAVA_INT, NDIM);
            byte[] text = message.asSlice(64 + 8L * ndim, raw.get(JAVA_INT, DTYPE_SIZE)).toArray(JAVA_BYTE);
            String name = new String(text, StandardCharsets.US_ASCII);
            DType dtype = DType.of(name, raw.get(JAVA_LONG, ITEMSIZE))
                    .orElseThrow(() -> TachyonException.of(
                            Errno.EBADMSG, "read an array", "Java has no type for elements of dtype " + name));
            long[] shape = raw.asSlice(SHAPE, 8L * ndim).toArray(JAVA_LONG);
            return new NdArray(dtype, shape, message.asSlice(message.byteSize() - raw.get(JAVA_LONG, DATA_SIZE)));
        }
    }
}
