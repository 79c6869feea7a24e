package tachyon.kotlin

import java.lang.foreign.MemorySegment
import java.lang.foreign.ValueLayout.JAVA_BYTE
import java.lang.foreign.ValueLayout.JAVA_FLOAT
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

object Tick : RecordType() {
    val time = long()
    val price = double()
}

object Mixed : RecordType() {
    val flag = byte()
    val size = int()
    val side = short()
    val ratio = float()
    val time = long()
    val small = byte()
}

class DataTest {
    @Test
    fun `a view ends with its block`() = withBuses { consumer, producer ->
        producer.send(byteArrayOf(1, 7), typeId = 3u)
        lateinit var kept: MemorySegment
        val bytes =
            consumer.receiveLease { lease ->
                kept = lease.segment
                assertEquals(3u to 2L, lease.typeId to lease.size)
                lease.bytes()
            }
        assertContentEquals(byteArrayOf(1, 7), bytes)
        assertFailsWith<IllegalStateException> { kept.get(JAVA_BYTE, 0) }
        assertEquals(0, consumer.stats.leases)
    }

    @Test
    fun `a lease is kept by any thread until it is closed`() = withBuses { consumer, producer ->
        repeat(3) { producer.send(byteArrayOf(it.toByte(), 7)) }
        val leases = List(3) { consumer.receiveLease() }
        val slice = leases[1].segment.asSlice(1)
        withContext(Dispatchers.Default) {
            assertEquals(7, slice.get(JAVA_BYTE, 0))
            assertFailsWith<IllegalArgumentException> { leases[1].segment.fill(0) }
            leases[1].close()
        }
        leases[1].close()
        assertFailsWith<IllegalStateException> { slice.get(JAVA_BYTE, 0) }
        assertFailsWith<IllegalStateException> { leases[1].bytes() }
        assertEquals(2, consumer.stats.leases)
        consumer.close() // a lease outlives the bus
        assertContentEquals(byteArrayOf(2, 7), leases[2].bytes())
        leases[0].close()
        leases[2].use { it.text }
    }

    @Test
    fun `forgotten leases are collected`() = withBuses { consumer, producer ->
        producer.send(byteArrayOf(1))
        consumer.receiveLease()
        while (consumer.stats.leases != 0L) { // this test's patience ends it
            System.gc()
            delay(BLINK)
        }
    }

    @Test
    fun `leases that fill the ring are an error`() = withBuses(Options(capacity = 4096)) { consumer, producer ->
        val sending = launch { while (true) producer.send(bytes(1000)) }
        val kept = mutableListOf<Lease>()
        assertFailsWith<LeasesException> { while (true) kept += consumer.receiveLease() }
        kept.forEach { it.close() }
        assertEquals(1000, consumer.receive().data.size)
        sending.cancelAndJoin()
    }

    @Test
    fun batches() = withBuses { consumer, producer ->
        repeat(5) { producer.send(byteArrayOf(it.toByte()), it.toUInt()) }
        lateinit var kept: Batch
        assertEquals(
            listOf(0, 1, 2),
            consumer.receiveBatch(3) { batch ->
                kept = batch
                batch.map { it.bytes()[0].toInt() }
            },
        )
        assertFailsWith<IllegalStateException> { kept[0].bytes() }
        assertEquals(listOf(3u, 4u), consumer.receiveBatch(100) { batch -> batch.map { it.typeId } })
    }

    @Test
    fun records() = withBuses(Options(capacity = 1 shl 16)) { consumer, producer ->
        val count = 10_000 // more than the ring has room for
        val sending =
            launch(Dispatchers.Default) {
                producer.sendRecords(Tick, count, typeId = 9u) { tick, i ->
                    tick[time] = i.toLong()
                    tick[price] = i / 2.0
                }
            }
        assertFailsWith<FormatException> { consumer.receiveRecords(Tick, typeId = 10u) {} }
        assertFailsWith<TooLargeException> { consumer.receiveRecords(Mixed) {} }
        var next = 0
        lateinit var kept: Records
        while (next < count) {
            consumer.receiveRecords(Tick, max = 1000, typeId = 9u) { ticks ->
                assertFailsWith<IndexOutOfBoundsException> { ticks[ticks.size] }
                assertFailsWith<IllegalArgumentException> { ticks[0][time] = 1 }
                for (tick in ticks) {
                    assertEquals(next.toLong() to next / 2.0, tick[time] to tick[price])
                    next++
                }
                kept = ticks
            }
        }
        assertFailsWith<IllegalStateException> { kept[0][Tick.time] }
        sending.join()
        producer.sendRecords(Tick, 0) { _, _ -> }
        assertFailsWith<IllegalStateException> { producer.sendRecords(Tick, 10) { _, _ -> error("no") } }
        assertEquals(null, consumer.tryReceive())
    }

    @Test
    fun `fields lie as in C`() = withBuses { consumer, producer ->
        // struct { int8_t; int32_t; int16_t; float; int64_t; int8_t; }
        assertEquals(16L to 32L, Tick.byteSize to Mixed.byteSize)
        producer.sendRecords(Mixed, 2) { record, i ->
            record[flag] = 1
            record[size] = -2 - i
            record[side] = 3
            record[ratio] = 4.5f
            record[time] = Long.MAX_VALUE
            record[small] = 6
        }
        val raw = MemorySegment.ofArray(consumer.receive().data)
        assertEquals(listOf<Byte>(1, 6), listOf(raw.get(JAVA_BYTE, 0), raw.get(JAVA_BYTE, 24)))
        assertEquals(4.5f, raw.get(JAVA_FLOAT.withByteAlignment(1), 12))
        consumer.receiveRecords(Mixed) { run ->
            val record = run.single()
            assertEquals(-3, record[size])
            assertEquals(3, record[side])
            assertEquals(4.5f, record[ratio])
            assertEquals(Long.MAX_VALUE, record[time])
            assertEquals(listOf<Byte>(1, 6), listOf(record[flag], record[small]))
        }
    }

    @Test
    fun arrays() = withBuses { consumer, producer ->
        producer.sendArray(NdArray(floatArrayOf(0f, 1f, 2f, 3f, 4f, 5f), 2, 3), typeId = 4u)
        producer.sendArray(NdArray(shortArrayOf(), 0, 3, dtype = DType.UINT16))
        producer.sendArray(DType.FLOAT64, typeId = 1u) { it.fill(0) }
        producer.sendArray(NdArray(longArrayOf(1, 2), 2))
        producer.send("no array".encodeToByteArray())

        consumer.receiveLease { lease ->
            val view = lease.array()
            assertEquals(4u to listOf(2L, 3L), lease.typeId to view.shape)
            assertEquals(5f, view.elements.getAtIndex(JAVA_FLOAT, 5))
            assertFailsWith<FormatException> { view.copy<IntArray>() }
            assertFailsWith<IllegalArgumentException> { view.copy<String>() }
        }
        val (elements, shape) = consumer.receiveArray<ShortArray>().also { assertEquals(DType.UINT16, it.dtype) }
        assertEquals(0 to listOf(0L, 3L), elements.size to shape)
        val single = consumer.receive()
        assertContentEquals(doubleArrayOf(0.0), single.array<DoubleArray>().elements)
        assertContentEquals(longArrayOf(1, 2), consumer.receiveArray<LongArray>().elements)
        assertFailsWith<FormatException> { consumer.receiveArray<ByteArray>() }

        assertFailsWith<IllegalArgumentException> { NdArray(byteArrayOf(1), 2) }
        assertFailsWith<IllegalArgumentException> { NdArray("text", 4) }
        assertFailsWith<TooLargeException> { producer.sendArray(DType.INT8, 1L shl 40, 1L shl 40) {} }
        assertFailsWith<TooLargeException> { producer.sendArray(DType.INT8, 2L shl 20) {} }
        assertFailsWith<CancellationException> { producer.sendArray(DType.INT8, 4) { throw CancellationException("no") } }
        assertEquals(null, consumer.tryReceive())
    }
}
