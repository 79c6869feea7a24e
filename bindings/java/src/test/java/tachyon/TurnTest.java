package tachyon;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.ProcessBuilder.Redirect;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class TurnTest {
    private int inside; // without any synchronization but the turn's
    private int total;

    private Void takeTurns(Turn turn, int count) throws InterruptedException {
        for (int i = 0; i < count; i++) {
            assertTrue(turn.enter(Deadline.NEVER));
            try {
                assertEquals(0, inside);
                inside++;
                total++;
                inside--;
            } finally {
                turn.leave();
            }
        }
        return null;
    }

    @Test
    void oneThreadAtATimeIsInside() throws Exception {
        for (int round = 0; round < 300; round++) {
            Turn turn = new Turn();
            total = 0;
            List<Ends.Running<?>> threads = new ArrayList<>();
            for (int i = 0; i < 3; i++) { // one is the first, and others take its right away in the middle
                threads.add(new Ends.Running<>(() -> takeTurns(turn, 2000)));
            }
            for (Ends.Running<?> thread : threads) {
                thread.get();
            }
            assertEquals(6000, total);
        }
    }

    @Test
    void theFirstOneIsNotPutOutWhileItIsInside() throws Exception {
        Turn turn = new Turn();
        assertTrue(turn.tryEnter());
        Ends.Running<Boolean> trying = new Ends.Running<>(turn::tryEnter);
        assertFalse(trying.get());
        Ends.Running<Boolean> waiting = new Ends.Running<>(() -> turn.enter(Deadline.NEVER));
        Ends.await(() -> waiting.thread.getState() == Thread.State.WAITING);
        turn.leave();
        assertTrue(waiting.get()); // and never leaves
        assertFalse(turn.enter(Deadline.in(Ends.BLINK)));
        Ends.Running<Boolean> interrupted = new Ends.Running<>(() -> turn.enter(Deadline.NEVER));
        interrupted.thread.interrupt();
        assertThrows(InterruptedException.class, interrupted::get);
        turn.open();
        assertTrue(turn.tryEnter());
        assertTrue(turn.tryEnter());
    }

    /**
     * The first thread's note and its look are two instructions that no test can come between. But a
     * newcomer takes no turn before all threads have stopped, and one that is in a critical call
     * does not stop: this one's writes more than a pipe holds, until another process reads.
     */
    @Test
    void aNewcomerStopsAllThreads() throws Exception {
        Path pipe = Path.of(Ends.path());
        Path reading = Path.of(pipe + "-reading");
        assertEquals(0, new ProcessBuilder("mkfifo", pipe.toString()).start().waitFor());
        Turn turn = new Turn();
        assertTrue(new Ends.Running<>(turn::tryEnter).get()); // and is inside for ever
        try (FileChannel file = FileChannel.open(pipe, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            Ends.Running<?> busy = new Ends.Running<>(() -> write(pipe, new byte[1 << 18]));
            file.read(ByteBuffer.allocate(1)); // it is in the call
            String read = "sleep 0.5; touch " + reading + "; head -c 262143 " + pipe;
            Process reader = new ProcessBuilder("sh", "-c", read).redirectOutput(Redirect.DISCARD).start();
            assertFalse(turn.tryEnter());
            assertTrue(Files.exists(reading));
            busy.get();
            assertEquals(0, reader.waitFor());
        }
    }

    private static Void write(Path path, byte[] data) throws IOException {
        Linker linker = Linker.nativeLinker();
        try (Arena arena = Arena.ofConfined()) {
            MethodHandle open = linker.downcallHandle(
                    linker.defaultLookup().find("open").orElseThrow(),
                    FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.ADDRESS, ValueLayout.JAVA_INT));
            MethodHandle write = linker.downcallHandle(
                    linker.defaultLookup().find("write").orElseThrow(),
                    FunctionDescriptor.of(ValueLayout.JAVA_LONG, ValueLayout.JAVA_INT, ValueLayout.ADDRESS, ValueLayout.JAVA_LONG),
                    Linker.Option.critical(true));
            int fd = (int) open.invokeExact(arena.allocateFrom(path.toString()), 2); // O_RDWR
            long written = (long) write.invokeExact(fd, MemorySegment.ofArray(data), (long) data.length);
            assertEquals(data.length, written);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
        return null;
    }

    @Test
    void aTurnThatIsLeftByAnotherThreadIsFree() throws Exception {
        Turn turn = new Turn();
        assertTrue(turn.tryEnter());
        turn.leave();
        assertTrue(turn.enterShared(Deadline.NEVER));
        new Ends.Running<>(() -> {
                    turn.leave();
                    return null;
                })
                .get();
        assertTrue(turn.tryEnter());
    }
}
