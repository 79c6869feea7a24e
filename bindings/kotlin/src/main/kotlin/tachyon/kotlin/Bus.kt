package tachyon.kotlin

import java.lang.foreign.MemorySegment
import java.time.Duration.ZERO
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import tachyon.Bus as JavaBus

/**
 * One end of a connection between two processes of this machine: messages, bytes with a 32-bit
 * tag, go both ways through shared memory.
 *
 * Any coroutine may use a bus. A call that waits suspends, and does not keep its thread; cancelling it,
 * also by `withTimeout`, ends the wait, and nothing is lost. [close] of another coroutine ends it
 * with [CancelledException].
 *
 * Failures of receiving: [ClosedException] and [PeerDeadException], both after the last message,
 * [LeasesException], [ProtocolException], [CancelledException]. Of sending: the same without
 * leases, and [TooLargeException]; that the peer died is noticed when the ring is full, or the
 * receiver slept.
 */
public class Bus internal constructor(private val java: JavaBus) : AutoCloseable {
    /** The same end for code that blocks its thread. */
    public val blocking: JavaBus get() = java

    private val spin = java.properties().spin
    private val data = Waiting(spin)
    private val room = Waiting(spin)

    // ---- sending -----------------------------------------------------------------------------

    /**
     * Sends one message, and waits while the ring is full. When this returns, the message arrives
     * even if this process is killed, as long as the receiver lives.
     */
    public suspend fun send(data: ByteArray, typeId: UInt = 0u): Unit =
        // A call in the last place needs no state of its own, so what need not wait allocates none.
        if (java.trySend(data, typeId.toInt())) Unit else sendWaiting(data, typeId)

    private suspend fun sendWaiting(data: ByteArray, typeId: UInt) {
        do awaitRoom(data.size.toLong()) while (!java.trySend(data, typeId.toInt()))
    }

    /** Sends any memory, as the other [send] does. */
    public suspend fun send(data: MemorySegment, typeId: UInt = 0u) {
        while (!java.trySend(data, typeId.toInt())) awaitRoom(data.byteSize())
    }

    /** Sends one message if there is room, and tells whether there was. */
    public fun trySend(data: ByteArray, typeId: UInt = 0u): Boolean = java.trySend(data, typeId.toInt())

    private suspend fun awaitRoom(size: Long) = room.until { java.awaitRoom(size, it) }

    /**
     * Lets [write] make a message of [size] bytes, or less, where it lies in the ring. Where it throws,
     * nothing is sent. It cannot suspend, as the room is its thread's own.
     */
    public suspend inline fun sendInPlace(size: Long, typeId: UInt = 0u, crossinline write: (Slot) -> Unit) {
        open(size).use { slot ->
            write(slot)
            slot.commit(typeId)
        }
    }

    @PublishedApi
    internal suspend fun open(size: Long): Slot = inRoom(size) { Slot(java.reserve(size, ZERO)) }

    private suspend inline fun <T> inRoom(size: Long, attempt: () -> T): T =
        room.attempt({ java.awaitRoom(size, it) }, attempt)

    /** Sends each record as a message of its own: they lie packed in [records], each of [recordSize] bytes. */
    public suspend fun sendRecords(records: MemorySegment, recordSize: Long, typeId: UInt = 0u) {
        var sent = 0L
        while (true) {
            val rest = records.asSlice(sent * recordSize)
            sent += java.sendRecords(rest, recordSize, typeId.toInt(), ZERO)
            if (sent * recordSize >= records.byteSize()) return
            awaitRoom(recordSize)
        }
    }

    /** Lets [write] fill in [count] records, and sends each as a message of its own. */
    public suspend inline fun <T : RecordType> sendRecords(
        type: T,
        count: Int,
        typeId: UInt = 0u,
        crossinline write: T.(record: Record, index: Int) -> Unit,
    ) {
        val most = (CHUNK / type.byteSize).toInt().coerceIn(1, maxOf(count, 1))
        val chunk = type.allocate(most)
        for (first in 0 until count step most) {
            val some = minOf(most, count - first)
            for (i in 0 until some) type.write(Record(chunk, i * type.byteSize), first + i)
            sendRecords(chunk.asSlice(0, some * type.byteSize), type.byteSize, typeId)
        }
    }

    /** Sends an array with its dtype and shape: what Python's `recv_array()` reads. */
    public suspend fun sendArray(array: NdArray<*>, typeId: UInt = 0u) {
        sendArray(array.dtype, *array.shape.toLongArray(), typeId = typeId) { it.copyFrom(array.java.elements()) }
    }

    /**
     * Lets [write] compute the elements of an array where they lie in the ring:
     * `elements.setAtIndex(JAVA_FLOAT, i, 0.5f)`. Where it throws, nothing is sent.
     */
    public suspend fun sendArray(
        dtype: DType,
        vararg shape: Long,
        typeId: UInt = 0u,
        write: (elements: MemorySegment) -> Unit,
    ) {
        inRoom(JavaBus.arraySize(dtype, *shape)) { java.reserveArray(dtype, ZERO, *shape) }.use { slot ->
            write(slot.elements())
            slot.commit(typeId.toInt())
        }
    }

    // ---- receiving ---------------------------------------------------------------------------

    /** Receives one message, as a copy; waits until there is one. */
    public suspend fun receive(): Message = tryReceive() ?: receiveWaiting()

    private suspend fun receiveWaiting(): Message {
        while (true) {
            awaitData()
            tryReceive()?.let { return it }
        }
    }

    /** Receives a message if there is one. */
    public fun tryReceive(): Message? {
        val message = java.tryRecv()
        return if (message.isPresent) message.get().let { Message(it.data, it.typeId.toUInt()) } else null
    }

    /** Receives a message into a buffer that is used again and again, if there is one, and tells whether there was. */
    public fun tryReceiveInto(buffer: MessageBuffer): Boolean = java.tryRecv(buffer)

    /** [receive] into a buffer that is used again and again: what need not wait allocates nothing. */
    public suspend fun receiveInto(buffer: MessageBuffer): Unit =
        if (java.tryRecv(buffer)) Unit else receiveIntoWaiting(buffer)

    private suspend fun receiveIntoWaiting(buffer: MessageBuffer) {
        do awaitData() while (!java.tryRecv(buffer))
    }

    /** [receive], but null where either end was closed in good order. */
    public suspend fun receiveOrNull(): Message? =
        try {
            receive()
        } catch (_: ClosedException) {
            null
        } catch (_: CancelledException) {
            null
        }

    /** What is received, until either end closes in good order; where the bus ends otherwise, it fails. */
    public fun messages(): Flow<Message> = flow { while (true) emit(receiveOrNull() ?: break) }

    private suspend fun awaitData() = data.until(java::awaitData)

    private suspend inline fun <T> onData(attempt: () -> T): T = data.attempt(java::awaitData, attempt)

    /** Shows the next message to [view] where it lies in the ring. It cannot suspend, as the lease is its thread's own. */
    public suspend inline fun <R> receiveLease(crossinline view: (Lease) -> R): R = takeLease().use { view(it) }

    /** Receives one message without copying it, for any thread; to [Lease.close] it takes some microseconds. */
    public suspend fun receiveLease(): Lease = Lease(onData { java.recvLease(ZERO) }.apply { share() })

    @PublishedApi internal suspend fun takeLease(): Lease = Lease(onData { java.recvLease(ZERO) })

    /** Shows what is there, at most [max] messages, to [view]; waits for the first. */
    public suspend inline fun <R> receiveBatch(max: Int, crossinline view: (Batch) -> R): R =
        takeBatch(max).use { view(it) }

    @PublishedApi internal suspend fun takeBatch(max: Int): Batch = Batch(onData { java.recvBatch(max, ZERO) })

    /**
     * Shows a run of at most [max] records to [view] where they lie in the ring; waits for the first.
     *
     * @param typeId the tag of each, null: any. Another one ends the run, or is a [FormatException] where
     *     it is the next one; so does another size, a [TooLargeException]. It stays the next one.
     */
    public suspend inline fun <T : RecordType, R> receiveRecords(
        type: T,
        max: Int = 65_536,
        typeId: UInt? = null,
        crossinline view: T.(Records) -> R,
    ): R = takeRecords(type.byteSize, max, typeId).use { type.view(it) }

    @PublishedApi
    internal suspend fun takeRecords(size: Long, max: Int, typeId: UInt?): Records {
        val tag = typeId?.toLong() ?: JavaBus.ANY_TYPE
        return Records(onData { java.recvRecords(size, max.toLong(), tag, ZERO) })
    }

    /** Receives an array, copied once. [FormatException] where the message is no such array; it is gone then. */
    public suspend inline fun <reified A : Any> receiveArray(): NdArray<A> = receiveLease { it.array().copy() }

    // ---- facts and the end ---------------------------------------------------------------------

    /** Facts that do not change. */
    public val properties: Properties get() = java.properties()

    /** Counters. */
    public val stats: Stats get() = java.stats()

    /**
     * Ends the bus: the peer gets all that was sent, then the end. Calls of other coroutines that wait
     * fail with [CancelledException]. Leases stay readable. May be called again, by any thread.
     */
    override fun close(): Unit = java.close()

    public companion object {
        /** What [sendRecords] fills in before it sends: stays in the core's own cache. */
        @PublishedApi internal const val CHUNK: Long = 65_536

        /** Listens on a path until one process connects; the path is free again then. */
        public suspend fun listen(path: String, options: Options = Options()): Bus =
            Bus(opening { JavaBus.listen(path, options.java) })

        /** Connects to the listener on a path; waits for one to appear. */
        public suspend fun connect(path: String, options: Options = Options()): Bus =
            Bus(opening { JavaBus.connect(path, options.java) })
    }
}
