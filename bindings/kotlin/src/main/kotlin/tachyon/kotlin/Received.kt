package tachyon.kotlin

import java.lang.foreign.MemorySegment
import java.lang.foreign.ValueLayout.JAVA_BYTE
import tachyon.Batch as JavaBatch
import tachyon.Lease as JavaLease

/** A received message, copied out of the ring: `val (data, typeId) = bus.receive()`. */
public class Message internal constructor(public val data: ByteArray, public val typeId: UInt) {
    /** The bytes as UTF-8. */
    public val text: String get() = data.decodeToString()

    public operator fun component1(): ByteArray = data

    public operator fun component2(): UInt = typeId

    /** The message as an array, its elements copied; [FormatException] where it is no such array. */
    public inline fun <reified A : Any> array(): NdArray<A> = ArrayView.of(MemorySegment.ofArray(data)).copy()
}

/** A message where it lies in the ring. A hostile peer may change it: check a copy. */
public abstract class View internal constructor() {
    /** The sender's tag. */
    public abstract val typeId: UInt

    /** The bytes, read-only; 64-byte aligned when more than 48. */
    public abstract val segment: MemorySegment

    /** The number of bytes. */
    public val size: Long get() = segment.byteSize()

    /** A copy of the bytes. */
    public fun bytes(): ByteArray = segment.toArray(JAVA_BYTE)

    /** A copy of the bytes, as UTF-8. */
    public val text: String get() = bytes().decodeToString()

    /** The message as an array, where it lies; [FormatException] where it is none. */
    public fun array(): ArrayView = ArrayView.of(segment)
}

/** A [View] until [close]; what is looked at after it, even a slice taken before, raises IllegalStateException. */
public class Lease internal constructor(private val java: JavaLease) : View(), AutoCloseable by java {
    override val typeId: UInt get() = java.typeId().toUInt()
    override val segment: MemorySegment get() = java.segment()
}

/** Several messages where they lie in the ring, until [close]. */
public class Batch internal constructor(private val java: JavaBatch) : AbstractList<View>(), AutoCloseable by java {
    override val size: Int get() = java.count()

    override fun get(index: Int): View =
        object : View() {
            override val typeId = java.typeId(index).toUInt()
            override val segment = java.segment(index)
        }
}
