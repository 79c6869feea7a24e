package tachyon;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * A dense array in C order: the last index runs fastest. Its elements are a Java array, or lie
 * in a leased message; then they end with the lease.
 */
public final class NdArray {
    private final DType dtype;
    private final long[] shape;
    private final MemorySegment elements;

    NdArray(DType dtype, long[] shape, MemorySegment elements) {
        this.dtype = dtype;
        this.shape = shape;
        this.elements = elements;
    }

    /**
     * An array over a Java array, which is not copied: byte[] is UINT8, short[] INT16, int[] INT32,
     * long[] INT64, float[] FLOAT32, double[] FLOAT64.
     */
    public static NdArray of(Object array, long... shape) {
        DType dtype = switch (array) {
            case byte[] a -> DType.UINT8;
            case short[] a -> DType.INT16;
            case int[] a -> DType.INT32;
            case long[] a -> DType.INT64;
            case float[] a -> DType.FLOAT32;
            case double[] a -> DType.FLOAT64;
            default -> throw new IllegalArgumentException("there are no arrays of " + array.getClass().getSimpleName());
        };
        return of(dtype, array, shape);
    }

    /** {@link #of(Object, long...)} with a dtype of the same size: byte[] as INT8, short[] as UINT16, ... */
    public static NdArray of(DType dtype, Object array, long... shape) {
        MemorySegment elements = DType.memory(array);
        long count = 1;
        for (long extent : shape) {
            if (extent < 0) {
                throw new IllegalArgumentException("there is no shape " + Arrays.toString(shape));
            }
            count = Math.multiplyExact(count, extent);
        }
        if (elements.byteSize() != Math.multiplyExact(count, dtype.size())) {
            throw new IllegalArgumentException("%d bytes are no %s of shape %s"
                    .formatted(elements.byteSize(), dtype, Arrays.toString(shape)));
        }
        return new NdArray(dtype, shape.clone(), elements);
    }

    /** A message that is an array, as a copy. FormatException where it is none. */
    public static NdArray read(byte[] message) {
        return view(MemorySegment.ofArray(message)).copy();
    }

    /** A message that is an array, where it lies. FormatException where it is none. */
    public static NdArray view(MemorySegment message) {
        return ArrayHeader.read(message);
    }

    /** {@return a message that is this array, for requests and replies; {@link #read} reads it} */
    public byte[] toMessage() {
        return ArrayHeader.write(this);
    }

    NdArray copy() {
        return new NdArray(dtype, shape, DType.memory(dtype.toArray(elements)));
    }

    /** {@return what the elements are} */
    public DType dtype() {
        return dtype;
    }

    /** {@return the extent in each dimension} */
    public long[] shape() {
        return shape.clone();
    }

    /** {@return the elements, one after the other} */
    public MemorySegment elements() {
        return elements;
    }

    /** {@return the elements, where they are 8-bit integers; the array's own where it has one} */
    public byte[] bytes() {
        return (byte[]) array(byte[].class);
    }

    /** {@return the elements, where they are 16-bit integers; the array's own where it has one} */
    public short[] shorts() {
        return (short[]) array(short[].class);
    }

    /** {@return the elements, where they are 32-bit integers; the array's own where it has one} */
    public int[] ints() {
        return (int[]) array(int[].class);
    }

    /** {@return the elements, where they are 64-bit integers; the array's own where it has one} */
    public long[] longs() {
        return (long[]) array(long[].class);
    }

    /** {@return the elements, where they are FLOAT32; the array's own where it has one} */
    public float[] floats() {
        return (float[]) array(float[].class);
    }

    /** {@return the elements, where they are FLOAT64; the array's own where it has one} */
    public double[] doubles() {
        return (double[]) array(double[].class);
    }

    private Object array(Class<?> type) {
        Object own = elements.heapBase().orElse(null);
        Object array = type.isInstance(own) && DType.memory(own).byteSize() == elements.byteSize()
                ? own
                : dtype.toArray(elements);
        if (!type.isInstance(array)) {
            throw TachyonException.of(Errno.EBADMSG, "array", "its elements are " + dtype);
        }
        return array;
    }

    @Override
    public String toString() {
        return dtype + Arrays.toString(shape);
    }
}
