package tachyon.kotlin

import java.lang.foreign.MemorySegment
import java.nio.file.Path
import java.util.concurrent.ConcurrentHashMap
import kotlin.concurrent.thread
import kotlin.io.path.exists
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertNull
import kotlin.test.assertTrue
import kotlin.time.Duration
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.TimeoutCancellationException
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancel
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.withTimeout
import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.coroutines.yield

class BusTest {
    @Test
    fun `what is sent is received`() = withBuses { consumer, producer ->
        val buffer = MessageBuffer(100_000)
        for (size in listOf(0, 1, 48, 49, 4096, 4097, 100_000)) {
            val data = bytes(size, size)
            producer.send(data, UInt.MAX_VALUE - size.toUInt())
            producer.send(MemorySegment.ofArray(data))
            assertTrue(producer.trySend(data, 3u))
            val (received, typeId) = consumer.receive()
            assertContentEquals(data, received)
            assertEquals(UInt.MAX_VALUE - size.toUInt(), typeId)
            assertContentEquals(data, consumer.receive().data)
            assertEquals(3u, consumer.tryReceive()?.typeId)
            assertTrue(producer.trySend(data, 4u))
            assertTrue(consumer.tryReceiveInto(buffer))
            assertContentEquals(data, buffer.toBytes())
            assertEquals(4, buffer.typeId())
            producer.send(data, 5u)
            consumer.receiveInto(buffer)
            assertContentEquals(data, buffer.toBytes())
            assertEquals(5, buffer.typeId())
        }
        assertNull(consumer.tryReceive())
        assertFalse(consumer.tryReceiveInto(buffer))
        assertEquals(producer.stats.sentMessages, consumer.stats.receivedMessages)
        assertEquals(1L shl 20, consumer.properties.recvCapacity)
    }

    @Test
    fun `a coroutine that waits keeps no thread`() = withBuses(Options(capacity = 4096)) { consumer, producer ->
        val receiving = List(3) { async { consumer.receive().text } } // the one thread of this test goes on
        yield()
        for (text in listOf("a", "b", "c")) producer.send(text.encodeToByteArray())
        assertEquals(setOf("a", "b", "c"), receiving.awaitAll().toSet())
        val buffer = MessageBuffer(1)
        val receivingInto = async { consumer.receiveInto(buffer) }
        yield()
        producer.send("d".encodeToByteArray())
        receivingInto.await()
        assertEquals("d", buffer.toBytes().decodeToString())

        val sending = launch { repeat(100) { producer.send(bytes(1000), it.toUInt()) } } // there is room for three
        repeat(100) { assertEquals(it.toUInt(), consumer.receive().typeId) }
        sending.join()
    }

    @Test
    fun `cancellation ends a wait and loses nothing`() = withBuses(Options(capacity = 4096)) { consumer, producer ->
        assertFailsWith<TimeoutCancellationException> { withTimeout(BLINK) { consumer.receive() } }
        assertFailsWith<TimeoutCancellationException> { withTimeout(BLINK) { consumer.receiveInto(MessageBuffer(1)) } }
        assertFailsWith<TimeoutCancellationException> { withTimeout(BLINK) { consumer.receiveLease() } }
        assertFailsWith<TimeoutCancellationException> { withTimeout(BLINK) { consumer.receiveRecords(Tick) {} } }
        var sent = 0u
        for (size in listOf(1000, 0)) while (producer.trySend(bytes(size), sent)) sent++
        assertNull(withTimeoutOrNull(BLINK) { producer.send(bytes(1000)) })
        assertNull(withTimeoutOrNull(BLINK) { producer.sendInPlace(1000) {} })
        assertNull(withTimeoutOrNull(BLINK) { producer.sendRecords(Tick, 10) { _, _ -> } })
        for (typeId in 0u until sent) assertEquals(typeId, consumer.receive().typeId)

        // Cancelled at any moment, while messages come.
        val sending = launch(Dispatchers.IO) { repeat(2000) { producer.send(byteArrayOf(), it.toUInt()) } }
        var next = 0u
        while (next < 2000u) {
            val receiving = async { consumer.receive().also { assertEquals(next++, it.typeId) } }
            yield()
            receiving.cancelAndJoin()
        }
        sending.join()
    }

    @Test
    fun `who is cancelled goes on until it has to wait`() = withBuses { consumer, producer ->
        val received = mutableListOf<String>()
        launch(start = CoroutineStart.UNDISPATCHED) {
            cancel()
            for (text in listOf("a", "b")) producer.send(text.encodeToByteArray())
            received += consumer.receive().text
            val buffer = MessageBuffer(1)
            consumer.receiveInto(buffer)
            received += buffer.toBytes().decodeToString()
            consumer.receive()
        }
        assertEquals(listOf("a", "b"), received)
    }

    @Test
    fun `messages flow until the peer closed`() = withBuses { consumer, producer ->
        val received = async { consumer.messages().toList().map { it.text } }
        for (text in listOf("a", "b", "c")) producer.send(text.encodeToByteArray())
        yield()
        producer.close()
        assertEquals(listOf("a", "b", "c"), received.await())
        assertFailsWith<ClosedException> { consumer.receive() }
        assertNull(consumer.receiveOrNull())
        consumer.close()
        assertFailsWith<CancelledException> { consumer.receive() }
        assertNull(consumer.receiveOrNull())
        assertFailsWith<CancelledException> { producer.send(byteArrayOf()) }
    }

    @Test
    fun `close ends a wait`() = withBuses(Options(capacity = 4096)) { consumer, producer ->
        val receiving = async { assertFailsWith<CancelledException> { producer.receive() } }
        val sending = async { assertFailsWith<CancelledException> { while (true) producer.send(bytes(1000)) } }
        yield()
        producer.close()
        assertEquals(125, sending.await().errno) // ECANCELED
        receiving.await()
        assertEquals(3, consumer.messages().toList().size)
    }

    @Test
    fun `a killed peer is an error of its own`() = test { path ->
        val child = lastWords(path)
        Bus.listen(path).use { bus ->
            assertEquals("last words", bus.receive().text)
            val receiving = async { assertFailsWith<PeerDeadException> { bus.messages().toList() } }
            yield()
            child.destroyForcibly()
            receiving.await()
            assertFailsWith<PeerDeadException> { bus.receive() }
        }
        child.waitFor()
    }

    @Test
    fun `a message is written in place`() = withBuses { consumer, producer ->
        class No : Exception()
        assertFailsWith<No> { producer.sendInPlace(100) { throw No() } }
        assertFailsWith<IllegalArgumentException> { producer.sendInPlace(100) { it.size = 101 } }
        assertFailsWith<TooLargeException> { producer.sendInPlace(2L shl 20) {} }
        var kept: Slot? = null
        producer.sendInPlace(100, typeId = 5u) { room ->
            room.segment.setString(0, "in place")
            room.size = 8
            kept = room
        }
        assertFailsWith<IllegalStateException> { kept!!.segment.fill(0) }
        val message = consumer.receive()
        assertEquals("in place" to 5u, message.text to message.typeId)
        assertNull(consumer.tryReceive())
    }

    @Test
    fun `many coroutines in many threads`() = withBuses(Options(capacity = 4096)) { consumer, producer ->
        val seen = ConcurrentHashMap.newKeySet<String>()
        val jobs =
            List(4) { number ->
                launch(Dispatchers.IO) { repeat(2000) { producer.send("$number $it".encodeToByteArray()) } }
                launch(Dispatchers.Default) { repeat(2000) { seen += consumer.receive().text } }
            }
        for (job in jobs) job.join()
        assertEquals(8000, seen.size)
    }

    @Test
    fun `a listener accepts many`() = test { path ->
        Listener(path).use { listener ->
            assertFailsWith<AddressInUseException> { Listener(path) }
            assertNull(withTimeoutOrNull(BLINK) { listener.accept() })
            val clients = List(3) { async { Bus.connect(path).also { it.send("hello".encodeToByteArray()) } } }
            repeat(3) { listener.accept().use { assertEquals("hello", it.receive().text) } }
            clients.awaitAll().forEach { it.close() }
            val accepting = async { assertFailsWith<CancelledException> { listener.accept() } }
            yield()
            listener.close()
            accepting.await()
        }
    }

    @Test
    fun `who is cancelled listens and connects no longer`() = test { path ->
        assertNull(withTimeoutOrNull(BLINK) { Bus.connect(path) })
        assertNull(withTimeoutOrNull(BLINK) { Bus.listen(path) })
        assertFalse(Path.of(path).exists())
        assertFailsWith<TachyonException> { Listener("/nowhere/bus") }
    }

    @Test
    fun `options reach the library`() = test { path ->
        val options = Options(capacity = 8192, replyCapacity = 16384, spin = Duration.ZERO, prefault = true)
        val listening = async { Bus.listen(path, options) }
        Bus.connect(path).use { producer ->
            listening.await().use { consumer ->
                assertEquals(8192, producer.properties.sendCapacity)
                assertEquals(16384, producer.properties.recvCapacity)
                assertEquals(0, consumer.properties.spin.toNanos())
                val receiving = async { consumer.receive().text }
                yield()
                producer.send("without polling".encodeToByteArray())
                assertEquals("without polling", receiving.await())
            }
        }
        assertFailsWith<TachyonException> { Listener(path, Options(socketMode = 1 shl 20)) }
    }

    @Test
    fun `a thread of the program's own may block`() = withBuses { consumer, producer ->
        val text = async(Dispatchers.IO) { consumer.blocking.recv().text() }
        thread { producer.blocking.send("blocking".encodeToByteArray(), 0) }
        assertEquals("blocking", text.await())
    }
}
