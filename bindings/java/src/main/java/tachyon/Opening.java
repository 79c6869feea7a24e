package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** Making a bus or a listener: what stream and RPC have in common. */
final class Opening {
    static final int STREAM = 1;
    static final int RPC = 2;

    private Opening() {}

    /** A call that stores the address of what it made. */
    @FunctionalInterface
    private interface Make {
        int run(MemorySegment result, MemorySegment path, MemorySegment options, long timeoutNs);
    }

    static long listen(String path, Options options, int kind, Deadline deadline) throws InterruptedException {
        return make("listen on " + path, Native::busListen, path, options, kind, deadline);
    }

    static long connect(String path, Options options, int kind, Deadline deadline) throws InterruptedException {
        return make("connect to " + path, Native::busConnect, path, options, kind, deadline);
    }

    private static long make(
            String attempt, Make make, String path, Options options, int kind, Deadline deadline)
            throws InterruptedException {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment result = arena.allocate(8, 8);
            MemorySegment name = arena.allocateFrom(path);
            MemorySegment raw = options.raw(kind, arena);
            long error = Interrupter.waiting(deadline, timeout -> make.run(result, name, raw, timeout));
            return made(attempt, result, error);
        }
    }

    static long listener(String path, Options options, int kind) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment result = arena.allocate(8, 8);
            int made = Native.listenerCreate(result, arena.allocateFrom(path), options.raw(kind, arena));
            return made("listen on " + path, result, made);
        }
    }

    static long accept(long listener, Deadline deadline) throws InterruptedException {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment result = arena.allocate(8, 8);
            long error = Interrupter.waiting(deadline, timeout -> Native.listenerAccept(listener, result, timeout));
            return made("accept", result, error);
        }
    }

    private static long made(String attempt, MemorySegment result, long error) {
        if (error < 0) {
            throw TachyonException.of(error, attempt);
        }
        return result.get(JAVA_LONG, 0);
    }
}
