package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class LeaseTest {
    private static final MemoryLayout TICK =
            MemoryLayout.structLayout(JAVA_LONG.withName("time"), JAVA_DOUBLE.withName("price"));

    private static void send(Bus bus, int count) throws InterruptedException {
        for (int i = 0; i < count; i++) {
            bus.send(Ends.bytes(100, i), i);
        }
    }

    @Test
    void aLeaseCannotBeUsedAfterItsEnd() throws Exception {
        try (Ends ends = new Ends()) {
            send(ends.producer, 2);
            Lease lease = ends.consumer.recvLease();
            assertEquals(100, lease.size());
            MemorySegment slice = lease.segment().asSlice(10, 5);
            assertEquals((byte) 310, slice.get(JAVA_BYTE, 0));
            assertThrows(RuntimeException.class, () -> lease.segment().set(JAVA_BYTE, 0, (byte) 1));
            assertThrows(WrongThreadException.class, new Ends.Running<>(() -> slice.get(JAVA_BYTE, 0))::get);
            assertThrows(
                    WrongThreadException.class,
                    new Ends.Running<>(() -> {
                        lease.close();
                        return null;
                    })::get);
            lease.close();
            lease.close();
            assertEquals(0, ends.consumer.stats().leases());
            assertThrows(IllegalStateException.class, () -> slice.get(JAVA_BYTE, 0));
            assertThrows(IllegalStateException.class, () -> lease.segment().toArray(JAVA_BYTE));
            assertThrows(IllegalStateException.class, lease::share);
        }
    }

    @Test
    void aSharedLeaseCannotBeUsedAfterItsEndByAnyThread() throws Exception {
        try (Ends ends = new Ends()) {
            send(ends.producer, 1);
            Lease lease = ends.consumer.recvLease();
            MemorySegment before = lease.segment();
            lease.share();
            assertThrows(IllegalStateException.class, () -> before.get(JAVA_BYTE, 0));
            MemorySegment segment = lease.segment();
            assertEquals((byte) 31, new Ends.Running<>(() -> segment.get(JAVA_BYTE, 1)).get());
            assertEquals(1, ends.consumer.stats().leases());
            // A reader in full flight: it sees the message as it is, or the exception.
            Ends.Running<Long> reading = new Ends.Running<>(() -> {
                long reads = 0;
                try {
                    for (; ; reads++) {
                        if (segment.get(JAVA_BYTE, reads % 100) != (byte) (reads % 100 * 31)) {
                            return -1L;
                        }
                    }
                } catch (IllegalStateException e) {
                    return reads;
                }
            });
            new Ends.Running<>(() -> {
                        lease.close();
                        return null;
                    })
                    .get();
            ends.producer.send(new byte[100], 0); // over the place that was given back
            assertTrue(reading.get() >= 0);
            assertThrows(IllegalStateException.class, new Ends.Running<>(() -> segment.get(JAVA_BYTE, 0))::get);
            assertEquals(0, ends.consumer.stats().leases());
        }
    }

    @Test
    void leasesOutliveTheBusAndEndInAnyOrder() throws Exception {
        Ends ends = new Ends();
        send(ends.producer, 3);
        List<Lease> leases = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            leases.add(ends.consumer.recvLease());
        }
        leases.get(1).close();
        assertEquals(2, ends.consumer.stats().leases());
        ends.close();
        assertEquals(2, leases.get(2).segment().get(JAVA_BYTE, 0));
        leases.get(0).close();
        assertEquals(2, leases.get(2).segment().get(JAVA_BYTE, 0));
        leases.get(2).close();
    }

    @Test
    void leasesThatFillTheRingAreReported() throws Exception {
        try (Ends ends = new Ends(new Options().capacity(4096))) {
            int sent = Ends.fill(ends.producer).size();
            Ends.Running<?> sending = new Ends.Running<>(() -> {
                ends.producer.send(new byte[1000], 77);
                return null;
            });
            List<Lease> kept = new ArrayList<>();
            for (int i = 0; i < sent; i++) {
                kept.add(ends.consumer.recvLease(Ends.PATIENCE));
            }
            assertThrows(LeasesException.class, () -> ends.consumer.recvLease(Ends.PATIENCE));
            kept.forEach(Lease::close);
            assertEquals(77, ends.consumer.recv(Ends.PATIENCE).typeId());
            sending.get();
        }
    }

    @Test
    void aBatchIsSeveralMessages() throws Exception {
        try (Ends ends = new Ends()) {
            send(ends.producer, 5);
            try (Batch batch = ends.consumer.recvBatch(3, Ends.PATIENCE)) {
                assertEquals(3, batch.count());
                batch.share();
                for (int i = 0; i < 3; i++) {
                    assertEquals(i, batch.segment(i).get(JAVA_BYTE, 0));
                    assertEquals(100, batch.segment(i).byteSize());
                    assertEquals(i, batch.typeId(i));
                }
                assertEquals(3, ends.consumer.stats().leases());
            }
            assertEquals(0, ends.consumer.stats().leases());
            assertEquals(2, ends.consumer.recvBatch(Integer.MAX_VALUE).count());
            assertThrows(WaitTimeoutException.class, () -> ends.consumer.recvBatch(1, Ends.BLINK));
            assertThrows(IllegalArgumentException.class, () -> ends.consumer.recvBatch(0));
        }
    }

    @Test
    void recordsAreMessagesOfOneSize() throws Exception {
        int count = 10_000;
        MemorySegment ticks = Arena.ofAuto().allocate(TICK, count);
        for (int i = 0; i < count; i++) {
            ticks.set(JAVA_LONG, i * 16L, i);
            ticks.set(JAVA_DOUBLE, i * 16L + 8, 0.5);
        }
        try (Ends ends = new Ends(new Options().capacity(1 << 16))) {
            Ends.Running<Long> sending = new Ends.Running<>(() -> ends.producer.sendRecords(ticks, 16, 9));
            assertThrows(FormatException.class, () -> ends.consumer.recvRecords(16, 100, 10));
            assertThrows(TooLargeException.class, () -> ends.consumer.recvRecords(4, 100, Bus.ANY_TYPE));
            MemorySegment packed = Arena.ofAuto().allocate(16 * 1000);
            long next = 0;
            while (next < count) {
                MemorySegment one;
                try (Records run = ends.consumer.recvRecords(TICK.byteSize(), 1000, next % 2 == 0 ? 9 : Bus.ANY_TYPE)) {
                    one = run.get(0);
                    assertThrows(IndexOutOfBoundsException.class, () -> run.offset(run.count()));
                    assertThrows(IndexOutOfBoundsException.class, () -> run.get(0).get(JAVA_LONG, 16));
                    run.copyTo(packed);
                    for (long i = 0; i < run.count(); i++, next++) {
                        assertEquals(next, run.segment().get(JAVA_LONG, run.offset(i)));
                        assertEquals(0.5, run.get(i).get(JAVA_DOUBLE, 8));
                        assertEquals(next, packed.get(JAVA_LONG, i * 16));
                    }
                }
                assertThrows(IllegalStateException.class, () -> one.get(JAVA_LONG, 0));
            }
            assertEquals(count, sending.get());
            assertThrows(WaitTimeoutException.class, () -> ends.consumer.recvRecords(16, 1, 9, Ends.BLINK));
            assertThrows(IllegalArgumentException.class, () -> ends.producer.sendRecords(ticks, 17, 0));
        }
    }

    @Test
    void recordsThatHaveNoRoomAreCounted() throws Exception {
        try (Ends ends = new Ends(new Options().capacity(1 << 16))) {
            MemorySegment records = MemorySegment.ofArray(new byte[20_000 * 10]); // larger than a critical call's
            long sent = ends.producer.sendRecords(records, 20_000, 0, Ends.BLINK);
            assertEquals(3, sent);
            assertEquals(0, ends.producer.sendRecords(records, 20_000, 0, Ends.BLINK));
            Ends.Running<Long> sending = new Ends.Running<>(() -> ends.producer.sendRecords(records, 20_000, 0));
            Ends.await(() -> ends.producer.stats().spaceSleeps() > 0);
            ends.consumer.recv();
            Ends.await(() -> ends.producer.stats().sentMessages() == 4);
            sending.thread.interrupt();
            assertEquals(1, sending.get());
            assertThrows(TooLargeException.class, () -> ends.producer.sendRecords(records, 200_000, 0));
        }
    }

    @Test
    void arraysTellTheirTypeAndShape() throws Exception {
        try (Ends ends = new Ends()) {
            Object[] arrays = {
                new byte[] {1, -1}, new short[] {1, -1}, new int[] {1, -1}, new long[] {1, -1}, new float[] {1, -1},
                new double[] {1, -1}
            };
            for (Object array : arrays) {
                NdArray sent = NdArray.of(array, 1, 2);
                ends.producer.sendArray(sent, 0);
                ends.producer.sendArray(sent, 0);
                NdArray received = ends.consumer.recvArray();
                assertEquals(sent.dtype(), received.dtype());
                assertEquals(sent.toString(), received.toString());
                assertEquals(-1, sent.elements().mismatch(received.elements()));
                byte[] message = ends.consumer.recv().data();
                received = NdArray.read(message);
                assertEquals(-1, sent.elements().mismatch(received.elements()));
                assertArrayEquals(message, sent.toMessage());
            }
            ends.producer.sendArray(NdArray.of(DType.UINT16, new short[] {-1}), 4); // no dimension: one element
            NdArray received = ends.consumer.recvArray(Ends.PATIENCE);
            assertEquals(DType.UINT16, received.dtype());
            assertEquals(-1, received.shorts()[0]);
            assertThrows(FormatException.class, received::floats);
            ends.producer.sendArray(NdArray.of(new float[0], 0, 3), 0);
            assertEquals(0, ends.consumer.recvArray().floats().length);
        }
    }

    @Test
    void anArrayInALeaseEndsWithIt() throws Exception {
        try (Ends ends = new Ends()) {
            try (ArraySlot slot = ends.producer.reserveArray(DType.FLOAT64, 3)) {
                slot.elements().setAtIndex(JAVA_DOUBLE, 2, 5);
                slot.commit(7);
            }
            NdArray array;
            try (Lease lease = ends.consumer.recvLease()) {
                assertEquals(7, lease.typeId());
                array = NdArray.view(lease.segment());
                assertEquals(5, array.elements().getAtIndex(JAVA_DOUBLE, 2));
                assertEquals(5, array.doubles()[2]);
            }
            assertThrows(IllegalStateException.class, () -> array.elements().get(JAVA_DOUBLE, 0));
        }
    }

    @Test
    void whatCannotBeAnArrayIsRefused() throws Exception {
        try (Ends ends = new Ends()) {
            assertThrows(IllegalArgumentException.class, () -> NdArray.of(new byte[1], 2));
            assertThrows(IllegalArgumentException.class, () -> NdArray.of(DType.FLOAT32, new byte[2], 2));
            assertThrows(IllegalArgumentException.class, () -> NdArray.of("text", 4));
            assertThrows(TooLargeException.class, () -> ends.producer.reserveArray(DType.INT8, new long[65]));
            assertThrows(TooLargeException.class, () -> ends.producer.reserveArray(DType.INT8, 1L << 40, 1L << 40));
            assertThrows(TooLargeException.class, () -> ends.producer.reserveArray(DType.INT8, 1L << 40));
            assertThrows(TooLargeException.class, () -> ends.producer.reserveArray(DType.INT8, -1));
            assertThrows(FormatException.class, () -> NdArray.read("no array".getBytes()));
            ends.producer.send("no array, and longer than a header is: 64 bytes or more of it".getBytes(), 0);
            assertThrows(FormatException.class, ends.consumer::recvArray);
            assertEquals(0, ends.consumer.stats().leases());
            ends.producer.send("x".getBytes(), 0); // and the ring goes on
            assertEquals("x", ends.consumer.recv().text());
        }
    }
}
