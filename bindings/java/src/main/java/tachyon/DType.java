package tachyon;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Optional;

/** What the elements of an array are. Java has no unsigned numbers: they come as the signed ones of their size. */
public enum DType {
    /** byte */
    INT8("|i1", 1),
    /** byte, unsigned */
    UINT8("|u1", 1),
    /** short */
    INT16("<i2", 2),
    /** short, unsigned */
    UINT16("<u2", 2),
    /** int */
    INT32("<i4", 4),
    /** int, unsigned */
    UINT32("<u4", 4),
    /** long */
    INT64("<i8", 8),
    /** long, unsigned */
    UINT64("<u8", 8),
    /** float */
    FLOAT32("<f4", 4),
    /** double */
    FLOAT64("<f8", 8);

    private final String text;
    private final int size;

    DType(String text, int size) {
        this.text = text;
        this.size = size;
    }

    /** {@return NumPy's text for it} */
    public String text() {
        return text;
    }

    /** {@return bytes of one element} */
    public int size() {
        return size;
    }

    static Optional<DType> of(String text, long size) {
        for (DType dtype : values()) {
            if (dtype.text.equals(text) && dtype.size == size) {
                return Optional.of(dtype);
            }
        }
        return Optional.empty();
    }

    /** A Java array of this kind with these elements. */
    Object toArray(MemorySegment elements) {
        return switch (this) {
            case INT8, UINT8 -> elements.toArray(ValueLayout.JAVA_BYTE);
            case INT16, UINT16 -> elements.toArray(ValueLayout.JAVA_SHORT_UNALIGNED);
            case INT32, UINT32 -> elements.toArray(ValueLayout.JAVA_INT_UNALIGNED);
            case INT64, UINT64 -> elements.toArray(ValueLayout.JAVA_LONG_UNALIGNED);
            case FLOAT32 -> elements.toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
            case FLOAT64 -> elements.toArray(ValueLayout.JAVA_DOUBLE_UNALIGNED);
        };
    }

    /** The array, as memory. */
    static MemorySegment memory(Object array) {
        return switch (array) {
            case byte[] a -> MemorySegment.ofArray(a);
            case short[] a -> MemorySegment.ofArray(a);
            case int[] a -> MemorySegment.ofArray(a);
            case long[] a -> MemorySegment.ofArray(a);
            case float[] a -> MemorySegment.ofArray(a);
            case double[] a -> MemorySegment.ofArray(a);
            default -> throw new IllegalArgumentException("an array of " + array.getClass() + " cannot be sent");
        };
    }
}
