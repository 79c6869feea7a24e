import java.lang.foreign.Arena
import java.lang.foreign.FunctionDescriptor
import java.lang.foreign.Linker
import java.lang.foreign.MemorySegment
import java.lang.foreign.SymbolLookup
import java.lang.foreign.ValueLayout.ADDRESS
import java.lang.foreign.ValueLayout.JAVA_INT
import java.lang.foreign.ValueLayout.JAVA_LONG
import java.lang.invoke.MethodHandle
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.runBlocking
import tachyon.kotlin.Bus
import tachyon.kotlin.MessageBuffer
import tachyon.kotlin.Options
import tachyon.kotlin.RecordType

// Bench ROLE PATH: what `tachyon bench languages` measures, in Kotlin. See bindings/bench/README.md.

private const val SIZE = 32
private const val TURN = 16384 // records of one call: a quarter of their ring
private const val RING = 4L shl 20
private const val MOST = 1000 // pairs of a turn

private object Trade : RecordType() {
    val time = long()
    val id = long()
    val price = double()
    val size = double()
}

private suspend fun ping(bus: Bus, count: Int): String {
    var data = ByteArray(SIZE)
    val begin = System.nanoTime()
    repeat(count) {
        bus.send(data)
        data = bus.receive().data
    }
    return "${System.nanoTime() - begin}"
}

private suspend fun echo(bus: Bus, count: Int): String {
    repeat(count) { bus.send(bus.receive().data) }
    return "done"
}

private suspend fun produce(bus: Bus, count: Int): String {
    val data = ByteArray(SIZE)
    repeat(count) { bus.send(data) }
    return "done"
}

private suspend fun consume(bus: Bus, count: Int): String {
    bus.receive()
    val begin = System.nanoTime()
    repeat(count - 1) { bus.receive() }
    return "${System.nanoTime() - begin}"
}

private suspend fun produceRecords(bus: Bus, count: Int): String {
    bus.sendRecords(Trade, count) { trade, _ ->
        trade[time] = 1
        trade[id] = 1
        trade[price] = 0.5
        trade[size] = 1.0
    }
    return "done"
}

private suspend fun consumeRecords(bus: Bus, count: Int): String {
    var begin = 0L
    var sum = 0.0
    var left = count
    while (left > 0) {
        bus.receiveRecords(Trade, minOf(left, TURN)) { trades ->
            if (left == count) begin = System.nanoTime()
            sum += trades.sumOf { it[price] }
            left -= trades.size
        }
    }
    check(sum == 0.5 * count) { "the prices do not add up" }
    return "${System.nanoTime() - begin}"
}

// ---- calls -----------------------------------------------------------------------------

private suspend fun pairs(from: Bus, to: Bus, count: Int): Long {
    val data = ByteArray(SIZE)
    val copy = MessageBuffer(SIZE)
    val begin = System.nanoTime()
    repeat(count) {
        from.send(data)
        to.receiveInto(copy)
    }
    return System.nanoTime() - begin
}

private val LINKER = Linker.nativeLinker()
private val LIBRARY = SymbolLookup.libraryLookup(System.getenv("TACHYON_LIBRARY"), Arena.global())
private val OPEN = FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG)

private fun function(name: String, descriptor: FunctionDescriptor, vararg options: Linker.Option): MethodHandle =
    LINKER.downcallHandle(LIBRARY.find(name).orElseThrow(), descriptor, *options)

private val SEND =
    function(
        "tachyon_bus_try_send",
        FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS, JAVA_INT, JAVA_INT),
        Linker.Option.critical(false),
    )
private val RECV =
    function(
        "tachyon_bus_recv_copy",
        FunctionDescriptor.of(JAVA_LONG, ADDRESS, ADDRESS, JAVA_LONG, ADDRESS, JAVA_LONG),
        Linker.Option.critical(false),
    )

/** The same functions with what a call costs that does nothing else: memory of C's, no checks. */
private class Raw(private var from: MemorySegment, private var to: MemorySegment) {
    private val data = Arena.global().allocate(SIZE.toLong(), 8)

    /** Sends and receives, and turns round. */
    fun pairs(count: Int): Long {
        val begin = System.nanoTime()
        repeat(count) {
            val sent = SEND.invoke(from, data, SIZE, 0) as Int
            val received = RECV.invoke(to, data, SIZE.toLong(), MemorySegment.NULL, 0L) as Long
            check(sent == 0 && received == SIZE.toLong()) { "the C functions fail" }
        }
        val elapsed = System.nanoTime() - begin
        from = to.also { to = from }
        return elapsed
    }
}

private fun open(name: String, path: String): MemorySegment {
    val bus = Arena.global().allocate(ADDRESS)
    check(function(name, OPEN).invoke(bus, Arena.global().allocateFrom(path), MemorySegment.NULL, -1L) as Int == 0) { "no bus" }
    return bus.get(ADDRESS, 0)
}

private suspend fun calls(path: String): suspend (Int) -> String = coroutineScope {
    val listening = async { Bus.listen(path) }
    val one = Bus.connect(path)
    val other = listening.await()
    val rawListening = async(Dispatchers.IO) { open("tachyon_bus_listen", path) }
    val raw = Raw(open("tachyon_bus_connect", path), rawListening.await())
    val round: suspend (Int) -> String = { count ->
        var binding = 0L
        var cheapest = 0L
        for ((turn, first) in (0 until count step MOST).withIndex()) {
            val n = minOf(MOST, count - first)
            binding += if (turn % 2 == 0) pairs(one, other, n) else pairs(other, one, n)
            cheapest += raw.pairs(n)
        }
        "${binding.toDouble() / count} ${cheapest.toDouble() / count}"
    }
    round
}

private suspend fun start(role: String, path: String): suspend (Int) -> String {
    if (role == "calls") return calls(path)
    val options = if (role.startsWith("records")) Options(capacity = RING) else Options()
    val listens = role == "echo" || role.endsWith("consume")
    val bus = if (listens) Bus.listen(path, options) else Bus.connect(path, options)
    return when (role) {
        "ping" -> { count -> ping(bus, count) }
        "echo" -> { count -> echo(bus, count) }
        "produce" -> { count -> produce(bus, count) }
        "consume" -> { count -> consume(bus, count) }
        "records-produce" -> { count -> produceRecords(bus, count) }
        "records-consume" -> { count -> consumeRecords(bus, count) }
        else -> throw IllegalArgumentException("$role is no role")
    }
}

fun main(arguments: Array<String>): Unit = runBlocking {
    val round = start(arguments[0], arguments[1])
    println("ready")
    for (line in generateSequence(::readlnOrNull)) println(round(line.toInt()))
}
