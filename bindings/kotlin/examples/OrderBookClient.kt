// bindings/kotlin/examples/OrderBookClient.kt
import java.nio.ByteBuffer
import java.nio.ByteOrder.LITTLE_ENDIAN
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import tachyon.kotlin.Caller

fun main(): Unit = runBlocking {
    Caller.connect("/tmp/books").use { caller ->
        val request = ByteBuffer.allocate(8).order(LITTLE_ENDIAN).putLong(2330).array()
        val snapshot = withTimeout(10.seconds) { caller.call(request, 1u) } // RpcException where the server failed it
        println("best bid ${ByteBuffer.wrap(snapshot).order(LITTLE_ENDIAN).getDouble(16)}")
        caller.submit(byteArrayOf(), 2u).await() // stop
    }
}
