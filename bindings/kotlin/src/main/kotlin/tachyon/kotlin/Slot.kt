package tachyon.kotlin

import java.lang.foreign.MemorySegment
import tachyon.Slot as JavaSlot

/** Room in the ring for one message; see [Bus.sendInPlace]. Afterwards its segment raises IllegalStateException. */
public class Slot @PublishedApi internal constructor(private val java: JavaSlot) : AutoCloseable by java {
    /** The room; its content is undefined. */
    public val segment: MemorySegment = java.segment()

    /** How many bytes of it will be sent: at first all. */
    public var size: Long = segment.byteSize()
        set(value) {
            require(value in 0..segment.byteSize()) { "$value bytes of a room of ${segment.byteSize()}" }
            field = value
        }

    @PublishedApi internal fun commit(typeId: UInt): Unit = java.commit(size, typeId.toInt())
}
