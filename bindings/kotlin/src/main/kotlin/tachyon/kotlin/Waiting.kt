package tachyon.kotlin

import java.time.Duration
import java.util.concurrent.Executors
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.runInterruptible

private val FOREVER = Duration.ofDays(365_000)

/** Threads that sleep in C for coroutines, as many as wait at a time; idle ones end. */
private val SLEEPERS: CoroutineDispatcher =
    Executors.newCachedThreadPool { Thread(it, "tachyon-wait").apply { isDaemon = true } }.asCoroutineDispatcher()

/**
 * How one half of a bus waits: for some microseconds by polling in the coroutine's own thread, if
 * that was enough the last time, and then asleep in another one, with the coroutine suspended.
 *
 * What is waited with must take nothing: a wait that is cancelled has lost nothing then.
 */
internal class Waiting(private val spin: Duration) {
    @Volatile private var polls = !spin.isZero && !spin.isNegative

    suspend fun until(wait: (Duration) -> Boolean) {
        currentCoroutineContext().ensureActive()
        if (polls && wait(spin)) return
        val begin = System.nanoTime()
        sleeping { wait(FOREVER) }
        polls = System.nanoTime() - begin < spin.toNanos()
    }
}

/** Runs what blocks and makes something; that is closed again where nobody waits for it any more. */
internal suspend fun <T : AutoCloseable> opening(open: () -> T): T {
    var opened: T? = null
    try {
        return sleeping { open().also { opened = it } }
    } catch (e: CancellationException) {
        opened?.close()
        throw e
    }
}

/** Runs what blocks. */
internal suspend fun <T> sleeping(block: () -> T): T = runInterruptible(SLEEPERS, block)
