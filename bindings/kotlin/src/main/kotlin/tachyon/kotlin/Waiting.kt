package tachyon.kotlin

import java.time.Duration
import java.util.concurrent.Executors
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.runInterruptible
import tachyon.WaitTimeoutException

private val FOREVER = Duration.ofDays(365_000)

/** Shorter than it takes to wake a thread. */
private val MOMENT = Duration.ofNanos(10_000)

/** Threads that sleep in C for coroutines, as many as wait at a time; idle ones end. */
private val SLEEPERS: CoroutineDispatcher =
    Executors.newCachedThreadPool { Thread(it, "tachyon-wait").apply { isDaemon = true } }.asCoroutineDispatcher()

/**
 * How one half of a bus waits: at first by polling in the coroutine's own thread, for as long as the
 * bus spins if that was enough the last time, else for a moment; and then asleep in another thread,
 * with the coroutine suspended. The moment is for a stream, whose next message is on its way: who
 * sleeps for that one wakes long after it, on a busy machine too late for the next one, too.
 *
 * What is waited with must take nothing, or keep what it took: a wait that is cancelled has lost nothing then.
 */
internal class Waiting(private val spin: Duration) {
    private val moment = minOf(spin, MOMENT)
    @Volatile private var patient = true

    suspend fun until(wait: (Duration) -> Boolean) {
        currentCoroutineContext().ensureActive()
        if (wait(if (patient) spin else moment)) return
        patient = sleeping {
            val begin = System.nanoTime() // here, as to change threads takes long
            wait(FOREVER)
            System.nanoTime() - begin < spin.toNanos()
        }
    }

    /** Makes the attempt once [wait] says that it is worth it; again, where another coroutine was quicker. */
    suspend inline fun <T> attempt(noinline wait: (Duration) -> Boolean, attempt: () -> T): T {
        while (true) {
            if (!wait(Duration.ZERO)) until(wait)
            try {
                return attempt()
            } catch (_: WaitTimeoutException) {
            }
        }
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
