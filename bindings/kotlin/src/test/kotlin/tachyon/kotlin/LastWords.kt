package tachyon.kotlin

import kotlinx.coroutines.runBlocking

/** The peer that is killed. */
fun main(arguments: Array<String>) = runBlocking {
    val (path, role) = arguments
    val words = "last words".encodeToByteArray()
    if (role == "caller") {
        Caller.connect(path).use { it.call(words, 1u) }
    } else {
        Bus.connect(path).use { bus ->
            bus.send(words)
            bus.receive()
        }
    }
    Unit
}
