import java.lang.foreign.MemorySegment
import java.lang.foreign.ValueLayout.JAVA_BYTE
import java.nio.Buffer
import java.nio.ByteBuffer
import java.nio.DoubleBuffer
import java.nio.FloatBuffer
import java.nio.ShortBuffer
import java.nio.file.Path
import kotlin.experimental.xor
import kotlin.io.path.readBytes
import kotlinx.coroutines.runBlocking
import tachyon.kotlin.Bus
import tachyon.kotlin.Caller
import tachyon.kotlin.ClosedException
import tachyon.kotlin.DType
import tachyon.kotlin.NdArray
import tachyon.kotlin.PeerDeadException
import tachyon.kotlin.RecordType
import tachyon.kotlin.RpcException
import tachyon.kotlin.Server
import tachyon.kotlin.code
import tachyon.kotlin.text

// MatrixPeer ROLE MODE PATH COUNT BLOCK: one side of the matrix, in Kotlin. See bindings/run-matrix.

private const val LARGEST = 1048448
private const val RECORD_TYPE = 7u
private const val FAILING_TYPE = 9u
private const val FAILING_CODE = 42u
private const val FAILING_TEXT = "not today"
private val DTYPES = listOf(DType.FLOAT32, DType.FLOAT64, DType.INT16, DType.UINT8)

private object Numbers : RecordType() {
    val number = long()
    val random = long()
    val half = double()
}

private fun mix(number: Long): ULong {
    var z = (number.toULong() + 1u) * 0x9e3779b97f4a7c15u
    z = (z xor (z shr 30)) * 0xbf58476d1ce4e5b9u
    z = (z xor (z shr 27)) * 0x94d049bb133111ebu
    return z xor (z shr 31)
}

private class Rule(number: Long) {
    private val random = mix(number)
    val size = if (random % 1024u == 0uL) LARGEST else (random shr 16).toInt() and ((1 shl ((random shr 10) % 13u).toInt()) - 1)
    val start = (random shr 40).toInt() and 0xfffff
    val typeId = (random shr 20).toUInt()
    val dtype = DTYPES[(random % 4u).toInt()]
    val shape = longArrayOf(((random shr 8) % 5u).toLong(), ((random shr 16) % 7u).toLong(), ((random shr 24) % 33u).toLong())

    private fun element(index: Int) = (start + index) % 120

    fun array(): NdArray<Any> {
        val items = shape.fold(1L, Long::times).toInt()
        val elements: Any =
            when (dtype) {
                DType.FLOAT32 -> FloatArray(items) { element(it).toFloat() }
                DType.FLOAT64 -> DoubleArray(items) { element(it).toDouble() }
                DType.INT16 -> ShortArray(items) { element(it).toShort() }
                else -> ByteArray(items) { element(it).toByte() }
            }
        return NdArray(elements, *shape)
    }
}

private class Peer(private val count: Long, private val block: ByteArray) {
    private fun Rule.payload(bytes: Int = size) = block.copyOfRange(start, start + bytes)

    suspend fun sendStream(bus: Bus) {
        for (i in 0 until count) {
            val rule = Rule(i)
            if (i % 2 == 1L) {
                bus.send(rule.payload(), rule.typeId)
            } else {
                bus.sendInPlace(rule.size.toLong(), rule.typeId) {
                    MemorySegment.copy(block, rule.start, it.segment, JAVA_BYTE, 0, rule.size)
                }
            }
        }
    }

    suspend fun receiveStream(bus: Bus) {
        var received = 0L
        bus.messages().collect { message ->
            val rule = Rule(received)
            check(message.typeId == rule.typeId) { "message $received: type ${message.typeId}" }
            check(message.data.contentEquals(rule.payload())) { "message $received: other bytes" }
            received++
        }
        check(received == count) { "$received messages" }
    }

    suspend fun sendRecords(bus: Bus) =
        bus.sendRecords(Numbers, count.toInt(), RECORD_TYPE) { record, i ->
            record[number] = i.toLong()
            record[random] = mix(i.toLong()).toLong()
            record[half] = i / 2.0
        }

    suspend fun receiveRecords(bus: Bus) {
        var next = 0L
        while (next < count) {
            bus.receiveRecords(Numbers, 5000, RECORD_TYPE) { run ->
                for (record in run) {
                    val same = record[number] == next && record[random] == mix(next).toLong() && record[half] == next / 2.0
                    check(same) { "record $next" }
                    next++
                }
            }
        }
    }

    suspend fun sendArrays(bus: Bus) {
        for (i in 0 until count) {
            val array = Rule(i).array()
            if (i % 2 == 1L) {
                bus.sendArray(array)
            } else {
                val elements = MemorySegment.ofBuffer(array.buffer())
                bus.sendArray(array.dtype, *array.shape.toLongArray()) { it.copyFrom(elements) }
            }
        }
    }

    private fun NdArray<*>.buffer(): Buffer =
        when (val e = elements) {
            is FloatArray -> FloatBuffer.wrap(e)
            is DoubleArray -> DoubleBuffer.wrap(e)
            is ShortArray -> ShortBuffer.wrap(e)
            else -> ByteBuffer.wrap(e as ByteArray)
        }

    suspend fun receiveArrays(bus: Bus) {
        for (i in 0 until count) {
            val wanted = Rule(i).array()
            bus.receiveLease { lease ->
                val array = lease.array()
                check(array.dtype == wanted.dtype && array.shape == wanted.shape) { "array $i: ${array.dtype} ${array.shape}" }
                val same =
                    when (val elements = wanted.elements) {
                        is FloatArray -> array.copy<FloatArray>().elements.contentEquals(elements)
                        is DoubleArray -> array.copy<DoubleArray>().elements.contentEquals(elements)
                        is ShortArray -> array.copy<ShortArray>().elements.contentEquals(elements)
                        else -> array.copy<ByteArray>().elements.contentEquals(elements as ByteArray)
                    }
                check(same) { "array $i: other elements" }
            }
        }
    }

    /** Goes on until the other one is killed. */
    suspend fun flow(bus: Bus, sends: Boolean) {
        val data = block.copyOf(1000)
        try {
            while (true) if (sends) bus.send(data) else bus.receive()
        } catch (_: PeerDeadException) {
        }
    }

    private fun xor(data: ByteArray) = ByteArray(data.size) { data[it] xor 0x5a }

    suspend fun call(path: String) =
        Caller.connect(path).use { caller ->
            for (i in 0 until count) {
                val rule = Rule(i)
                val request = rule.payload(rule.size % 4096)
                if (i % 97 != 0L) {
                    check(caller.call(request, 1u).contentEquals(xor(request))) { "reply $i" }
                    continue
                }
                val failure = runCatching { caller.call(request, FAILING_TYPE) }.exceptionOrNull()
                check(failure is RpcException && failure.code == FAILING_CODE && failure.text == FAILING_TEXT) { "$failure" }
            }
        }

    suspend fun serve(path: String) {
        var served = 0L
        try {
            Server.listen(path).use { server ->
                while (true) {
                    val request = server.serve()
                    if (request.typeId == FAILING_TYPE) {
                        request.fail(FAILING_CODE, FAILING_TEXT)
                    } else {
                        request.reply(xor(request.data))
                    }
                    served++
                }
            }
        } catch (_: ClosedException) {
            check(served == count) { "$served requests" }
        }
    }
}

fun main(arguments: Array<String>): Unit = runBlocking {
    val (role, mode, path, count, block) = arguments
    val sends = role == "producer"
    val peer = Peer(count.toLong(), Path.of(block).readBytes())
    if (mode == "rpc") {
        if (sends) peer.call(path) else peer.serve(path)
    } else {
        (if (sends) Bus.connect(path) else Bus.listen(path)).use { bus ->
            when (mode to sends) {
                "stream" to true -> peer.sendStream(bus)
                "stream" to false -> peer.receiveStream(bus)
                "records" to true -> peer.sendRecords(bus)
                "records" to false -> peer.receiveRecords(bus)
                "arrays" to true -> peer.sendArrays(bus)
                "arrays" to false -> peer.receiveArrays(bus)
                else -> peer.flow(bus, sends)
            }
        }
    }
    println("ok")
}
