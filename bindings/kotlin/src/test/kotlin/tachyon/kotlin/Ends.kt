package tachyon.kotlin

import java.nio.file.Files
import java.nio.file.Path
import kotlin.io.path.deleteRecursively
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.async
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout

val PATIENCE = 30.seconds
val BLINK = 1.milliseconds

/** Bytes that tell their place. */
fun bytes(size: Int, seed: Int = 0) = ByteArray(size) { (it * 31 + seed).toByte() }

/** Another process, that sends or calls once and waits. */
fun lastWords(path: String, role: String = "bus"): Process {
    val java = Path.of(System.getProperty("java.home"), "bin/java").toString()
    val classes = System.getProperty("java.class.path")
    return ProcessBuilder(java, "--enable-native-access=ALL-UNNAMED", "-cp", classes, "tachyon.kotlin.LastWordsKt", path, role)
        .inheritIO()
        .start()
}

/** A test in one thread, with a path that is short enough for a socket. */
@OptIn(kotlin.io.path.ExperimentalPathApi::class)
fun test(run: suspend CoroutineScope.(path: String) -> Unit) {
    val folder: Path = Files.createTempDirectory("tachyon-kotlin-")
    try {
        runBlocking { withTimeout(PATIENCE) { run(folder.resolve("bus").toString()) } }
    } finally {
        folder.deleteRecursively()
    }
}

/** Two ends in one process. */
fun withBuses(options: Options = Options(), run: suspend CoroutineScope.(consumer: Bus, producer: Bus) -> Unit) =
    test { path ->
        val listening = async { Bus.listen(path, options) }
        Bus.connect(path).use { producer -> listening.await().use { consumer -> run(consumer, producer) } }
    }

fun withRpc(options: Options = Options(), run: suspend CoroutineScope.(caller: Caller, server: Server) -> Unit) =
    test { path ->
        val listening = async { Server.listen(path, options) }
        Caller.connect(path).use { caller -> listening.await().use { server -> run(caller, server) } }
    }
