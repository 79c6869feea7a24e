// bindings/kotlin/examples/TicksSend.kt
import java.lang.foreign.ValueLayout.JAVA_FLOAT
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import tachyon.kotlin.Bus
import tachyon.kotlin.DType
import tachyon.kotlin.NdArray
import tachyon.kotlin.RecordType

object Tick : RecordType() {
    val time = long()
    val price = double()
}

suspend fun send() = Bus.connect("/tmp/arrays").use { bus ->
    // Copied once, into the ring.
    bus.sendArray(NdArray(doubleArrayOf(1.0, 0.0, 0.0, 1.0), 2, 2))
    // Computed in the ring, never copied.
    bus.sendArray(DType.FLOAT32, 480, 640) { image ->
        for (i in 0 until 480 * 640L) image.setAtIndex(JAVA_FLOAT, i, 0.5f)
    }
    // 100,000 messages of 16 bytes.
    bus.sendRecords(Tick, 100_000) { tick, i ->
        tick[time] = i.toLong()
        tick[price] = 100 + i / 100_000.0
    }
}

fun main() = runBlocking { withTimeout(30.seconds) { send() } }
