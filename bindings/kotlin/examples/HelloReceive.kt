// bindings/kotlin/examples/HelloReceive.kt
import kotlinx.coroutines.runBlocking
import tachyon.kotlin.Bus

fun main() = runBlocking {
    Bus.listen("/tmp/hello").use { bus ->
        bus.messages().collect { message -> println("${message.typeId} ${message.text}") }
    }
}
