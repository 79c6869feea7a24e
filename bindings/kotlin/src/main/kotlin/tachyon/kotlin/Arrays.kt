package tachyon.kotlin

import java.lang.foreign.MemorySegment
import kotlin.reflect.KClass
import tachyon.NdArray as JavaNdArray

/**
 * A dense array in C order: the last index runs fastest. [elements] is a ByteArray (uint8),
 * ShortArray, IntArray, LongArray, FloatArray or DoubleArray; it is not copied.
 *
 * @param dtype another one of the same size, where the elements are meant so: [DType.INT8], [DType.UINT16], ...
 */
public class NdArray<out A : Any>(public val elements: A, vararg shape: Long, dtype: DType? = null) {
    internal val java: JavaNdArray =
        if (dtype == null) JavaNdArray.of(elements, *shape) else JavaNdArray.of(dtype, elements, *shape)

    /** The extent in each dimension. */
    public val shape: List<Long> = shape.asList()

    public val dtype: DType get() = java.dtype()

    public operator fun component1(): A = elements

    public operator fun component2(): List<Long> = shape
}

/** An array where it lies in a message, and for as long as that. */
public class ArrayView internal constructor(private val java: JavaNdArray) {
    public val dtype: DType get() = java.dtype()

    /** The extent in each dimension. */
    public val shape: List<Long> = java.shape().asList()

    /** The elements, one after the other, read-only: `elements.getAtIndex(JAVA_FLOAT, i)`. */
    public val elements: MemorySegment get() = java.elements()

    /** A copy; [FormatException] where the elements are none of an [A]. Unsigned ones come as the signed of their size. */
    public inline fun <reified A : Any> copy(): NdArray<A> =
        NdArray(toArray(A::class) as A, *shape.toLongArray(), dtype = dtype)

    @PublishedApi
    internal fun toArray(type: KClass<*>): Any =
        when (type) {
            ByteArray::class -> java.bytes()
            ShortArray::class -> java.shorts()
            IntArray::class -> java.ints()
            LongArray::class -> java.longs()
            FloatArray::class -> java.floats()
            DoubleArray::class -> java.doubles()
            else -> throw IllegalArgumentException("an array cannot be a ${type.simpleName}")
        }

    public companion object {
        /** Looks at bytes as an array; [FormatException] where they are none. */
        public fun of(message: MemorySegment): ArrayView = ArrayView(JavaNdArray.view(message))
    }
}
