package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.MemorySegment;
import java.lang.ref.WeakReference;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** What the binding promises under the rules of the JVM: interrupts, garbage collection, other processes. */
class RuntimeTest {
    /** Interrupts a call once it sleeps in C, in a platform thread and in a virtual one. */
    private static void isInterrupted(Bus bus, Callable<?> call) throws Exception {
        for (Thread.Builder builder : List.of(Thread.ofPlatform(), Thread.ofVirtual())) {
            long before = sleeps(bus);
            Ends.Running<Boolean> waiting = new Ends.Running<>(builder, () -> {
                assertThrows(InterruptedException.class, call::call);
                return Thread.currentThread().isInterrupted();
            });
            Ends.await(() -> sleeps(bus) > before);
            waiting.thread.interrupt();
            assertFalse(waiting.get(), "as with any InterruptedException, the status is cleared");
        }
    }

    private static long sleeps(Bus bus) {
        Stats stats = bus.stats();
        return stats.dataSleeps() + stats.spaceSleeps();
    }

    @Test
    void interruptsEndWaitsAndLoseNothing() throws Exception {
        try (Ends ends = new Ends(new Options().capacity(4096))) {
            isInterrupted(ends.consumer, ends.consumer::recv);
            isInterrupted(ends.consumer, ends.consumer::recvLease);
            isInterrupted(ends.consumer, () -> ends.consumer.recvRecords(8, 1, 0));
            isInterrupted(ends.consumer, () -> ends.consumer.recv(Ends.PATIENCE));
            int sent = Ends.fill(ends.producer).size();
            isInterrupted(ends.producer, () -> ends.producer.reserve(1000));
            isInterrupted(ends.producer, () -> {
                ends.producer.send(new byte[1000], 99);
                return null;
            });
            for (int i = 0; i < sent; i++) {
                assertArrayEquals(Ends.bytes(1000, i), ends.consumer.recv(Ends.PATIENCE).data());
            }
            assertTrue(ends.consumer.tryRecv().isEmpty());
        }
    }

    @Test
    void interruptsEndOpening() throws Exception {
        String path = Ends.path();
        try (Listener listener = new Listener(path)) {
            List<Callable<?>> calls =
                    List.of(listener::accept, () -> Bus.listen(path + "-other"), () -> Bus.connect(path + "-nobody"));
            for (Callable<?> call : calls) {
                for (int i = 0; i < 20; i++) { // wherever it strikes
                    Ends.Running<?> waiting = new Ends.Running<>(call);
                    waiting.thread.interrupt();
                    assertThrows(InterruptedException.class, waiting::get);
                }
            }
        }
    }

    @Test
    void aWaitOfAnInterruptedThreadEndsAtOnceAndATryGoesOn() throws Exception {
        try (Ends ends = new Ends()) {
            Thread.currentThread().interrupt();
            assertTrue(ends.consumer.tryRecv().isEmpty());
            ends.producer.send("x".getBytes(), 0);
            assertEquals("x", ends.consumer.recv().text()); // it did not wait
            assertThrows(InterruptedException.class, ends.consumer::recv);
            assertFalse(Thread.interrupted());
            Ends.Running<Boolean> iterating = new Ends.Running<>(() -> {
                assertThrows(
                        InterruptedWaitException.class,
                        () -> ends.consumer.messages().iterator().hasNext());
                return Thread.currentThread().isInterrupted();
            });
            Ends.await(() -> sleeps(ends.consumer) > 0);
            Thread.currentThread().interrupt();
            assertTrue(ends.consumer.tryRecv().isEmpty()); // nor where another thread has its turn
            assertTrue(Thread.interrupted());
            iterating.thread.interrupt();
            assertTrue(iterating.get());
        }
    }

    @Test
    void anInterruptEndsNoOtherThreadsWait() throws Exception {
        try (Ends one = new Ends();
                Ends other = new Ends()) {
            Ends.Running<Message> steady = new Ends.Running<>(other.consumer::recv);
            for (int i = 0; i < 200; i++) {
                Ends.Running<Message> waiting = new Ends.Running<>(one.consumer::recv);
                waiting.thread.interrupt();
                assertThrows(InterruptedException.class, waiting::get);
                // The same eventfd, perhaps rung too late.
                assertThrows(WaitTimeoutException.class, () -> one.consumer.recv(Ends.BLINK));
            }
            other.producer.send("x".getBytes(), 0);
            assertEquals("x", steady.get().text());
        }
    }

    @Test
    void virtualThreadsWaitSideBySideWithTheirPeers() throws Exception {
        try (Ends ends = new Ends()) {
            Ends.Running<Integer> receiving = new Ends.Running<>(Thread.ofVirtual(), () -> {
                int sum = 0;
                for (Message message : ends.consumer.messages()) {
                    sum += message.typeId();
                }
                return sum;
            });
            new Ends.Running<>(Thread.ofVirtual(), () -> {
                        for (int i = 0; i < 10_000; i++) {
                            ends.producer.send(new byte[8], i);
                        }
                        ends.producer.close();
                        return null;
                    })
                    .get();
            assertEquals(10_000 * 9_999 / 2, receiving.get());
        }
    }

    // ---- garbage collection --------------------------------------------------------------------

    @Test
    void theCollectorRunsWhileAThreadWaits() throws Exception {
        try (Ends ends = new Ends(new Options().capacity(4096))) {
            Ends.fill(ends.producer);
            Ends.Running<?> sending = new Ends.Running<>(() -> {
                ends.producer.send(new byte[1000], 0);
                return null;
            });
            Ends.Running<Message> receiving = new Ends.Running<>(ends.producer::recv);
            Ends.await(() -> ends.producer.stats().dataSleeps() > 0 && ends.producer.stats().spaceSleeps() > 0);
            WeakReference<Object> garbage = new WeakReference<>(new Object());
            new Ends.Running<>(() -> { // it would wait for ever, were the waits critical calls
                        System.gc();
                        return null;
                    })
                    .get();
            assertTrue(garbage.refersTo(null));
            ends.consumer.send("x".getBytes(), 0);
            assertEquals("x", receiving.get().text());
            ends.consumer.recv();
            sending.get();
        }
    }

    @Test
    void theCollectorMovesArraysUnderTraffic() throws Exception {
        int rounds = 4000;
        try (Ends ends = new Ends(new Options().capacity(1 << 16))) {
            Ends.Running<?> sending = new Ends.Running<>(() -> {
                for (int i = 0; i < rounds; i++) {
                    ends.producer.send(Ends.bytes(i % 9000, i), i); // a new array for each
                }
                return null;
            });
            Ends.Running<?> collecting = new Ends.Running<>(() -> {
                while (sending.thread.isAlive()) {
                    System.gc();
                }
                return null;
            });
            MessageBuffer buffer = new MessageBuffer(10);
            for (int i = 0; i < rounds; i++) {
                byte[] data;
                if (i % 2 == 0) {
                    data = ends.consumer.recv(Ends.PATIENCE).data();
                } else {
                    ends.consumer.recv(buffer, Ends.PATIENCE);
                    data = buffer.toBytes();
                }
                assertArrayEquals(Ends.bytes(i % 9000, i), data);
            }
            sending.get();
            collecting.get();
        }
    }

    @Test
    void whatWasForgottenIsGivenBack() throws Exception {
        try (Ends ends = new Ends()) {
            for (int i = 0; i < 4; i++) {
                ends.producer.send(new byte[64], 0);
            }
            ends.consumer.recvLease();
            ends.consumer.recvLease().share();
            ends.consumer.recvBatch(1);
            ends.consumer.recvRecords(64, 1, 0);
            assertEquals(4, ends.consumer.stats().leases());
            Ends.await(() -> {
                System.gc();
                return ends.consumer.stats().leases() == 0;
            });
            ends.producer.reserve(100);
            Ends.Running<?> sending = new Ends.Running<>(() -> {
                ends.producer.send("x".getBytes(), 0);
                return null;
            });
            Ends.await(() -> {
                System.gc();
                return !sending.thread.isAlive();
            });
            assertEquals("x", ends.consumer.recv().text());
        }
    }

    @Test
    void aSegmentKeepsItsPlaceWhereTheLeaseWasForgotten() throws Exception {
        try (Ends ends = new Ends()) {
            ends.producer.send(Ends.bytes(100, 5), 0);
            MemorySegment slice = ends.consumer.recvLease().segment().asSlice(1, 3);
            AtomicInteger cleaned = new AtomicInteger();
            for (int i = 1; i <= 3; i++) { // after the lease in the cleaner's work, too
                int number = i;
                Handle.CLEANER.register(new Object(), cleaned::incrementAndGet);
                Ends.await(() -> {
                    System.gc();
                    return cleaned.get() == number;
                });
            }
            assertEquals(1, ends.consumer.stats().leases());
            assertEquals((byte) 36, slice.get(JAVA_BYTE, 0));
        }
    }

    @Test
    void aForgottenBusIsFreed() throws Exception {
        Ends[] ends = {new Ends()};
        Bus consumer = ends[0].consumer;
        ends[0] = null; // the producer with it
        Ends.await(() -> {
            System.gc();
            try {
                return consumer.tryRecv().isPresent();
            } catch (ClosedException e) {
                return true;
            }
        });
        consumer.close();
    }

    @Test
    void aBusIsNotFreedUnderACall() throws Exception {
        String path = Ends.path();
        try (Ends ends = new Ends()) {
            // Compiled code forgets a bus sooner, and is compiled with the wait once that has been seen.
            for (int i = 0; i < 20_000; i++) {
                assertThrows(WaitTimeoutException.class, () -> ends.consumer.recv(Duration.ofNanos(1)));
            }
            for (int i = 0; i < 50_000; i++) {
                ends.producer.send(new byte[1], 0);
                ends.consumer.recv();
            }
        }
        Ends.Running<Message> receiving = new Ends.Running<>(() -> Bus.listen(path).recv()); // nothing else has it
        try (Bus producer = Bus.connect(path)) {
            for (int i = 0; i < 5; i++) {
                System.gc();
            }
            producer.send("x".getBytes(), 0);
            assertEquals("x", receiving.get().text());
        }
    }

    // ---- other processes -----------------------------------------------------------------------

    /** The peer that is killed, or has little memory. */
    public static void main(String[] path) throws Exception {
        Bus bus = Bus.connect(path[0]);
        bus.send("last words".getBytes(), 0);
        assertThrows(OutOfMemoryError.class, bus::recv);
        try (Lease lease = bus.recvLease()) {
            bus.send(lease.segment().asSlice(0, 5), 0);
        }
    }

    private static ProcessBuilder java(String... arguments) {
        List<String> command = new ArrayList<>();
        command.add(System.getProperty("java.home") + "/bin/java");
        command.addAll(List.of("-Xmx32m", "--enable-native-access=ALL-UNNAMED", "-cp", System.getProperty("java.class.path")));
        command.add(RuntimeTest.class.getName());
        command.addAll(List.of(arguments));
        return new ProcessBuilder(command).redirectErrorStream(true);
    }

    @Test
    void aKilledPeerIsReportedAfterItsLastMessage() throws Exception {
        String path = Ends.path();
        Process child = java(path).start();
        try (Bus bus = Bus.listen(path, new Options(), Ends.PATIENCE)) {
            assertEquals("last words", bus.recv(Ends.PATIENCE).text());
            assertTrue(bus.tryRecv().isEmpty());
            child.destroyForcibly();
            assertThrows(PeerDeadException.class, () -> bus.recv(Ends.PATIENCE));
            assertThrows(
                    PeerDeadException.class, () -> bus.messages().iterator().hasNext());
        }
    }

    @Test
    void whatFindsNoMemoryStaysTheNextMessage() throws Exception {
        String path = Ends.path();
        Process child = java(path).start();
        try (Bus bus = Bus.listen(path, new Options().capacity(1 << 27), Ends.PATIENCE)) {
            bus.recv(Ends.PATIENCE);
            try (Slot slot = bus.reserve(1 << 26)) { // twice what the child has
                slot.segment().setString(0, "large");
                slot.commit(0);
            }
            assertEquals("large", bus.recv(Ends.PATIENCE).text());
            assertEquals(0, child.waitFor());
        }
    }

    @Test
    void theLibraryThatIsNamedMustBeThere() throws Exception {
        ProcessBuilder builder = java("/nowhere");
        builder.environment().put("TACHYON_LIBRARY", "/nowhere/libtachyon.so.1");
        Process child = builder.start();
        String output = new String(child.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(1, child.waitFor());
        assertTrue(output.contains("UnsatisfiedLinkError: TACHYON_LIBRARY is /nowhere/libtachyon.so.1"), output);
    }
}
