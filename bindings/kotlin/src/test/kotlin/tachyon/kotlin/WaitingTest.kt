package tachyon.kotlin

import java.time.Duration
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking

class WaitingTest {
    private val spin = Duration.ofMillis(1)
    private val waiting = Waiting(spin)

    /** Where it was waited until something came, the `after`th time that it was looked for. */
    private fun place(after: Int = 1, wait: (Duration) -> Unit = {}): String = runBlocking {
        var looks = 0
        lateinit var place: Thread
        waiting.until {
            place = Thread.currentThread()
            wait(it)
            ++looks == after
        }
        if (place == Thread.currentThread()) {
            "here"
        } else {
            assertTrue(place.isDaemon) // it does not keep the program from its end
            "asleep"
        }
    }

    @Test
    fun `who slept for long looks here at first`() {
        val longest = { _: Duration -> val begin = System.nanoTime(); while (System.nanoTime() - begin <= spin.toNanos()) {} }
        assertEquals("asleep", place(after = 2, longest))
        assertEquals("here", place())
        assertEquals("asleep", place(after = 2))
    }

    @Test
    fun `what was opened for nobody is closed`() = runBlocking {
        val opening = CompletableDeferred<Unit>()
        var closed = false
        val job = launch(Dispatchers.Default) {
            opening {
                opening.complete(Unit)
                while (!Thread.interrupted()) Thread.onSpinWait() // it comes to its end all the same
                AutoCloseable { closed = true }
            }
        }
        opening.await()
        job.cancelAndJoin()
        assertTrue(closed)
    }
}
