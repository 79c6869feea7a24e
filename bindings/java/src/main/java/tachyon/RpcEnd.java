package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.ref.Reference;
import java.time.Duration;

/** What the two ends of request and reply have in common. Their messages are copies. */
abstract sealed class RpcEnd implements AutoCloseable permits Caller, Server {
    final Handle handle;
    final MemorySegment raw = Arena.ofAuto().allocate(Receiving.MESSAGE_SIZE, 8); // of who receives
    final MemorySegment pointer = Arena.ofAuto().allocate(8, 8); // of who sends

    RpcEnd(long bus) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment result = arena.allocate(8, 8);
            int made = NativeRpc.create(result, bus);
            if (made < 0) {
                Native.busFree(bus);
                throw TachyonException.of(made, "make an RPC end");
            }
            handle = new Handle(Handle.Kind.RPC, result.get(JAVA_LONG, 0), bus);
        }
        Handle.CLEANER.register(this, handle);
    }

    /** A call that may sleep; a first try costs nothing but itself. */
    static long waiting(Deadline deadline, Interrupter.Sleep call) throws InterruptedException {
        long result = call.run(0);
        if (result != -Errno.EAGAIN || deadline == Deadline.NOW) {
            return result;
        }
        return Interrupter.waiting(deadline, call);
    }

    final void enter(Turn turn, Deadline deadline, String attempt) throws InterruptedException {
        if (!turn.enter(deadline)) {
            throw Bus.timeout(attempt, "another thread is at it");
        }
    }

    final void leave(Turn turn) {
        turn.leave();
        Reference.reachabilityFence(this);
    }

    static void check(long result, String attempt) {
        if (result < 0) {
            throw TachyonException.of(result, attempt);
        }
    }

    /** A wait that takes nothing; false: the time was over first. */
    final boolean await(Turn turn, Duration timeout, String attempt, Interrupter.Sleep call)
            throws InterruptedException {
        Deadline deadline = Deadline.in(timeout);
        if (!turn.enter(deadline)) {
            return false;
        }
        try {
            long result = waiting(deadline, call);
            if (result != -Errno.EAGAIN && result != -Errno.ETIMEDOUT) {
                check(result, attempt);
            }
            return result >= 0;
        } finally {
            leave(turn);
        }
    }

    /**
     * Waits until it is worth trying to submit or to reply with that many bytes, and sends nothing;
     * zero looks once. Another request or reply may take the room first.
     *
     * @return whether it is; false: the time was over
     */
    public final boolean awaitRoom(long size, Duration timeout) throws InterruptedException {
        return await(handle.sending, timeout, "send", left -> NativeRpc.waitRoom(handle.address(), size, left));
    }

    /** Copies the bytes into room that was reserved. */
    final void fill(byte[] data) {
        MemorySegment room = MemorySegment.ofAddress(pointer.get(JAVA_LONG, 0)).reinterpret(data.length);
        MemorySegment.copy(data, 0, room, ValueLayout.JAVA_BYTE, 0, data.length);
    }

    /** Copies what was received, and gives it back. */
    final byte[] take(long rpc) {
        try {
            long size = raw.get(JAVA_LONG, Receiving.SIZE);
            return MemorySegment.ofAddress(raw.get(JAVA_LONG, Receiving.DATA))
                    .reinterpret(size)
                    .toArray(ValueLayout.JAVA_BYTE);
        } finally {
            NativeRpc.release(rpc, raw.address());
        }
    }

    /** {@return facts of the bus under it} */
    public final Properties properties() {
        return handle.look(Properties::of);
    }

    /** {@return counters of the bus under it} */
    public final Stats stats() {
        return handle.look(Stats::of);
    }

    /**
     * Ends the connection; calls that are outstanding fail at the caller. Calls of other threads that
     * wait throw CancelledException. May be called again, by any thread.
     */
    @Override
    public final void close() {
        handle.close();
    }
}
