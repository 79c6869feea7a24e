package tachyon.kotlin

import kotlinx.coroutines.runBlocking

/** The peer that is killed. */
fun main(arguments: Array<String>) = runBlocking {
    Bus.connect(arguments[0]).use { bus ->
        bus.send("last words".encodeToByteArray())
        bus.receive()
    }
    Unit
}
