package tachyon;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.api.Test;

class BusTest {
    private static final int[] SIZES = {0, 1, 48, 49, 4096, 4097, 16384, 16385, 100_000};

    @Test
    void whatIsSentIsReceived() throws Exception {
        try (Ends ends = new Ends();
                Arena arena = Arena.ofConfined()) {
            MessageBuffer buffer = new MessageBuffer(10);
            for (int size : SIZES) {
                byte[] data = Ends.bytes(size, size);
                ends.producer.send(data, -size);
                ends.producer.send(MemorySegment.ofArray(data), 1);
                ends.producer.send(arena.allocateFrom(ValueLayout.JAVA_BYTE, data), 2);
                assertTrue(ends.producer.trySend(data, 3));
                Message message = ends.consumer.recv();
                assertEquals(-size, message.typeId());
                assertArrayEquals(data, message.data());
                ends.consumer.recv(buffer, Ends.PATIENCE);
                assertEquals(size, buffer.size());
                assertEquals(1, buffer.typeId());
                assertArrayEquals(data, buffer.toBytes());
                assertArrayEquals(data, ends.consumer.tryRecv().orElseThrow().data());
                assertTrue(ends.consumer.tryRecv(buffer));
                assertArrayEquals(data, buffer.toBytes());
            }
            assertTrue(ends.consumer.tryRecv().isEmpty());
            assertFalse(ends.consumer.tryRecv(buffer));
        }
    }

    @Test
    void numbersInBuffersAreAligned() throws Exception {
        try (Ends ends = new Ends()) {
            ends.producer.send(MemorySegment.ofArray(new long[] {1, 2}), 0);
            MessageBuffer buffer = new MessageBuffer(16);
            ends.consumer.recv(buffer);
            assertEquals(2, buffer.segment().get(ValueLayout.JAVA_LONG, 8));
            assertThrows(IndexOutOfBoundsException.class, () -> buffer.segment().get(ValueLayout.JAVA_LONG, 16));
            assertThrows(IllegalArgumentException.class, () -> new MessageBuffer(-1)); // C takes no negative sizes
        }
    }

    @Test
    void timeoutsEndWaitsAndLoseNothing() throws Exception {
        try (Ends ends = new Ends(new Options().capacity(4096))) {
            assertThrows(WaitTimeoutException.class, () -> ends.consumer.recv(Ends.BLINK));
            assertThrows(WaitTimeoutException.class, () -> ends.consumer.recv(Duration.ZERO));
            assertThrows(WaitTimeoutException.class, () -> ends.consumer.recvLease(Ends.BLINK));
            int sent = Ends.fill(ends.producer).size();
            byte[] data = new byte[1000];
            assertThrows(WaitTimeoutException.class, () -> ends.producer.send(data, 0, Ends.BLINK));
            assertThrows(WaitTimeoutException.class, () -> ends.producer.reserve(1000, Ends.BLINK));
            for (int i = 0; i < sent; i++) {
                assertEquals(i, ends.consumer.recv(Duration.ofSeconds(Long.MAX_VALUE)).typeId());
            }
            assertThrows(TooLargeException.class, () -> ends.producer.send(new byte[5000], 0));
            assertThrows(TooLargeException.class, () -> ends.producer.send(new byte[50_000], 0));
            assertThrows(TooLargeException.class, () -> ends.producer.reserve(5000));
            assertThrows(WaitTimeoutException.class, () -> Bus.connect(Ends.path(), new Options(), Ends.BLINK));
            assertThrows(WaitTimeoutException.class, () -> Bus.listen(Ends.path(), new Options(), Ends.BLINK));
        }
    }

    @Test
    void iterationEndsWhereThePeerClosed() throws Exception {
        try (Ends ends = new Ends()) {
            for (int i = 0; i < 5; i++) {
                ends.producer.send(new byte[] {(byte) i}, 0);
            }
            ends.producer.close();
            int sum = 0;
            for (Message message : ends.consumer.messages()) {
                sum += message.data()[0];
            }
            assertEquals(10, sum);
            assertThrows(ClosedException.class, ends.consumer::recv);
            ends.consumer.close();
            ends.consumer.close();
            assertThrows(CancelledException.class, ends.consumer::recv);
            assertThrows(CancelledException.class, () -> ends.producer.send(new byte[1], 0));
            assertThrows(CancelledException.class, ends.consumer::stats);
            assertFalse(ends.consumer.messages().iterator().hasNext());
        }
    }

    @Test
    void closeEndsAllWaits() throws Exception {
        for (int round = 0; round < 50; round++) {
            try (Ends ends = new Ends(new Options().capacity(4096))) {
                Ends.fill(ends.producer);
                List<Ends.Running<?>> waiting = new ArrayList<>();
                for (int i = 0; i < 3; i++) { // one in the library, the others for their turn
                    waiting.add(new Ends.Running<>(ends.producer::recv));
                    waiting.add(new Ends.Running<>(() -> {
                        ends.producer.send(new byte[1000], 0);
                        return null;
                    }));
                }
                ends.producer.close();
                for (Ends.Running<?> thread : waiting) {
                    assertThrows(CancelledException.class, thread::get);
                }
            }
        }
    }

    @Test
    void closeEndsTheWaitForAThreadThatHasASlot() throws Exception {
        try (Ends ends = new Ends();
                Slot slot = ends.producer.reserve(10)) {
            Ends.Running<Slot> waiting = new Ends.Running<>(() -> ends.producer.reserve(10));
            Ends.await(() -> waiting.thread.getState() == Thread.State.WAITING);
            ends.producer.close();
            assertThrows(CancelledException.class, waiting::get);
            slot.segment().set(ValueLayout.JAVA_BYTE, 0, (byte) 1); // still ours to write, for nobody
            assertThrows(CancelledException.class, () -> slot.commit(0));
        }
    }

    @Test
    void slotsSendWhatIsCommitted() throws Exception {
        try (Ends ends = new Ends()) {
            try (Slot slot = ends.producer.reserve(100)) {
                slot.segment().setString(0, "in place");
                slot.commit(8, 5);
            }
            try (Slot slot = ends.producer.reserve(100)) {
                slot.segment().setString(0, "dropped");
            }
            try (Slot slot = ends.producer.reserve(3)) {
                assertThrows(IllegalArgumentException.class, () -> slot.commit(4, 0));
                assertThrows(BusyException.class, () -> ends.producer.send(new byte[1], 0));
                assertThrows(BusyException.class, () -> ends.producer.reserve(1));
                assertEquals(ends.producer.properties().maxSendSize(), ends.consumer.properties().maxRecvSize());
                slot.commit(6);
            }
            Message message = ends.consumer.recv();
            assertEquals("in place", message.text());
            assertEquals(5, message.typeId());
            message = ends.consumer.recv();
            assertEquals(3, message.data().length);
            assertEquals(6, message.typeId());
        }
    }

    @Test
    void aSlotCannotBeUsedAfterItsEnd() throws Exception {
        try (Ends ends = new Ends()) {
            Slot slot = ends.producer.reserve(100);
            MemorySegment segment = slot.segment();
            MemorySegment slice = segment.asSlice(8, 8);
            assertThrows(
                    WrongThreadException.class, new Ends.Running<>(() -> segment.get(ValueLayout.JAVA_BYTE, 0))::get);
            assertThrows(
                    WrongThreadException.class,
                    new Ends.Running<>(() -> {
                        slot.commit(0);
                        return null;
                    })::get);
            slot.commit(0);
            assertThrows(IllegalStateException.class, () -> segment.set(ValueLayout.JAVA_BYTE, 0, (byte) 1));
            assertThrows(IllegalStateException.class, () -> slice.set(ValueLayout.JAVA_BYTE, 0, (byte) 1));
            assertThrows(IllegalStateException.class, () -> slot.commit(0));
            slot.close();
            assertThrows(
                    WrongThreadException.class, new Ends.Running<>(() -> slice.get(ValueLayout.JAVA_BYTE, 0))::get);
        }
    }

    @Test
    void manyThreadsTakeTheirTurns() throws Exception {
        int each = 2000;
        int threads = 4;
        Set<String> seen = ConcurrentHashMap.newKeySet();
        try (Ends ends = new Ends(new Options().capacity(4096))) {
            List<Ends.Running<?>> all = new ArrayList<>();
            for (int t = 0; t < threads; t++) {
                int number = t;
                all.add(new Ends.Running<>(() -> {
                    for (int i = 0; i < each; i++) {
                        ends.producer.send((number + " " + i).getBytes(), 0);
                    }
                    return null;
                }));
                all.add(new Ends.Running<>(() -> {
                    for (int i = 0; i < each; i++) {
                        seen.add(ends.consumer.recv().text());
                    }
                    return null;
                }));
            }
            for (Ends.Running<?> thread : all) {
                thread.get();
            }
            assertEquals(each * threads, seen.size());
            assertEquals(each * threads, ends.consumer.stats().receivedMessages());
        }
    }

    @Test
    void aListenerAcceptsMany() throws Exception {
        String path = Ends.path();
        try (Listener listener = new Listener(path)) {
            Ends.Running<?> connecting = new Ends.Running<>(() -> {
                for (int i = 0; i < 3; i++) {
                    try (Bus bus = Bus.connect(path)) {
                        bus.send("hello".getBytes(), i);
                    }
                }
                return null;
            });
            for (int i = 0; i < 3; i++) {
                try (Bus bus = listener.accept(Ends.PATIENCE)) {
                    assertEquals(i, bus.recv(Ends.PATIENCE).typeId());
                }
            }
            connecting.get();
            TachyonException e = assertThrows(AddressInUseException.class, () -> new Listener(path));
            assertTrue(e.getMessage().contains(path), e.getMessage());
            assertThrows(WaitTimeoutException.class, () -> listener.accept(Ends.BLINK));
            Ends.Running<Bus> accepting = new Ends.Running<>(listener::accept);
            listener.close();
            assertThrows(CancelledException.class, accepting::get);
        }
    }

    @Test
    void optionsArriveInC() throws Exception {
        Options options = new Options().capacity(8192).replyCapacity(16384).trusted().spin(Duration.ofNanos(1234));
        try (Ends ends = new Ends(options)) {
            Properties properties = ends.consumer.properties();
            assertEquals(8192, properties.recvCapacity());
            assertEquals(16384, properties.sendCapacity());
            assertEquals(Duration.ofNanos(1234), properties.spin());
            assertTrue(properties.trusted());
            assertEquals((int) ProcessHandle.current().pid(), properties.peerPid());
        }
        try (Ends ends = new Ends(new Options().spin(Duration.ZERO))) {
            assertEquals(Duration.ZERO, ends.consumer.properties().spin());
        }
        TachyonException e =
                assertThrows(TachyonException.class, () -> Bus.connect(Ends.path(), new Options().socketMode(1 << 20)));
        assertEquals(Errno.EINVAL, e.errno());
        Options others = new Options().allowedUids(54321, 54322);
        String path = Ends.path();
        Ends.Running<Bus> listening = new Ends.Running<>(() -> Bus.listen(path, others));
        assertThrows(TachyonException.class, () -> Bus.connect(path, new Options(), Ends.PATIENCE));
        listening.thread.interrupt();
        assertThrows(InterruptedException.class, listening::get);
    }
}
