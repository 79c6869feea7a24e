package tachyon.kotlin

import java.lang.foreign.MemorySegment
import java.lang.foreign.ValueLayout.JAVA_BYTE
import java.lang.foreign.ValueLayout.JAVA_DOUBLE
import java.lang.foreign.ValueLayout.JAVA_FLOAT
import java.lang.foreign.ValueLayout.JAVA_INT
import java.lang.foreign.ValueLayout.JAVA_LONG
import java.lang.foreign.ValueLayout.JAVA_SHORT
import tachyon.Records as JavaRecords

/**
 * The layout of a record, with its fields in their order, each at the next offset that its size
 * divides, as a C compiler puts them:
 *
 * ```
 * object Tick : RecordType() {
 *     val time = long()
 *     val price = double()
 * }
 * ```
 */
public abstract class RecordType {
    private var end = 0L
    private var alignment = 1L

    /** Bytes of a record. */
    public val byteSize: Long get() = roundUp(end, alignment)

    private fun roundUp(offset: Long, to: Long) = (offset + to - 1) / to * to

    private fun place(bytes: Long): Long {
        val offset = roundUp(end, bytes)
        end = offset + bytes
        alignment = maxOf(alignment, bytes)
        return offset
    }

    protected fun byte(): ByteField = ByteField(place(1))

    protected fun short(): ShortField = ShortField(place(2))

    protected fun int(): IntField = IntField(place(4))

    /** A field of 64 bits; `record[field].toULong()` where it is unsigned. */
    protected fun long(): LongField = LongField(place(8))

    protected fun float(): FloatField = FloatField(place(4))

    protected fun double(): DoubleField = DoubleField(place(8))

    /** Room for some records, packed. */
    @PublishedApi
    internal fun allocate(count: Int): MemorySegment =
        MemorySegment.ofArray(LongArray(Math.toIntExact((count * byteSize + 7) / 8)))
}

public class ByteField internal constructor(internal val offset: Long)

public class ShortField internal constructor(internal val offset: Long)

public class IntField internal constructor(internal val offset: Long)

public class LongField internal constructor(internal val offset: Long)

public class FloatField internal constructor(internal val offset: Long)

public class DoubleField internal constructor(internal val offset: Long)

/** One record where it lies: `record[Tick.price]`. */
public class Record @PublishedApi internal constructor(private val memory: MemorySegment, private val start: Long) {
    public operator fun get(field: ByteField): Byte = memory.get(JAVA_BYTE, start + field.offset)

    public operator fun get(field: ShortField): Short = memory.get(JAVA_SHORT, start + field.offset)

    public operator fun get(field: IntField): Int = memory.get(JAVA_INT, start + field.offset)

    public operator fun get(field: LongField): Long = memory.get(JAVA_LONG, start + field.offset)

    public operator fun get(field: FloatField): Float = memory.get(JAVA_FLOAT, start + field.offset)

    public operator fun get(field: DoubleField): Double = memory.get(JAVA_DOUBLE, start + field.offset)

    public operator fun set(field: ByteField, value: Byte): Unit = memory.set(JAVA_BYTE, start + field.offset, value)

    public operator fun set(field: ShortField, value: Short): Unit = memory.set(JAVA_SHORT, start + field.offset, value)

    public operator fun set(field: IntField, value: Int): Unit = memory.set(JAVA_INT, start + field.offset, value)

    public operator fun set(field: LongField, value: Long): Unit = memory.set(JAVA_LONG, start + field.offset, value)

    public operator fun set(field: FloatField, value: Float): Unit = memory.set(JAVA_FLOAT, start + field.offset, value)

    public operator fun set(field: DoubleField, value: Double): Unit =
        memory.set(JAVA_DOUBLE, start + field.offset, value)
}

/** A run of records where they lie in the ring, until [close]; they are read-only. */
public class Records internal constructor(private val java: JavaRecords) :
    AbstractList<Record>(), AutoCloseable by java {
    override val size: Int = java.count().toInt()

    override fun get(index: Int): Record = Record(java.segment(), java.offset(index.toLong()))

    /** All of them, [stride] bytes from one to the next. */
    public val segment: MemorySegment get() = java.segment()

    /** A multiple of 64. */
    public val stride: Long get() = java.stride()
}
