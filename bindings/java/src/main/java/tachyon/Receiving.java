package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.ref.Reference;
import java.util.Arrays;

/**
 * The receiving half of a bus: tries in critical calls, and waits for data in plain ones. Its turn
 * holds from the try to the wait and back, so nobody else takes the message.
 */
final class Receiving {
    /** tachyon_message in tachyon.h. */
    static final long MESSAGE_SIZE = 40;

    static final long DATA = 0;
    static final long SIZE = 8;
    static final long LEASE = 16;
    static final long CORRELATION_ID = 24;
    static final long TYPE_ID = 32;

    private static final int FRAME = 64; // the least room that a message takes
    private static final int SMALL = 4096; // messages up to this size take one call

    /**
     * Looks before a wait that can be interrupted is set up: some microseconds. Setting it up, and
     * taking it down when the message is there, costs as much as the message's way.
     */
    private static final int POLLS = 256;

    /** A try: its result, or -EAGAIN. */
    @FunctionalInterface
    private interface Try {
        long run(long bus);
    }

    private final Object owner; // must not be collected while a call is in the library
    private final Handle handle;
    private final Turn turn;
    private final int polls;
    private final long mostMessages; // that the ring can hold
    private final byte[] small = new byte[SMALL];
    private final MemorySegment smallMemory = MemorySegment.ofArray(small);
    private final MemorySegment raw = Arena.ofAuto().allocate(MESSAGE_SIZE, 8);

    Receiving(Object owner, Handle handle) {
        Properties properties = handle.look(Properties::of);
        polls = properties.spin().isZero() ? 0 : POLLS; // none on one CPU
        mostMessages = properties.recvCapacity() / FRAME;
        this.owner = owner;
        this.handle = handle;
        turn = handle.receiving;
    }

    private boolean enter(Deadline deadline) throws InterruptedException {
        return turn.enterAlone() || turn.enter(deadline);
    }

    private void leave() {
        turn.leave();
        Reference.reachabilityFence(owner);
    }

    private boolean awaitData(Deadline deadline) throws InterruptedException {
        if (deadline == Deadline.NOW) {
            return false;
        }
        long bus = handle.address();
        for (int i = 0; i < polls; i++) {
            int result = Native.pollData(bus);
            if (result != -Errno.EAGAIN) {
                return isThere(result);
            }
            Thread.onSpinWait();
        }
        return isThere(Interrupter.waiting(deadline, timeout -> Native.waitData(bus, timeout)));
    }

    private static boolean isThere(long result) {
        if (result < 0 && result != -Errno.ETIMEDOUT && result != -Errno.EAGAIN) {
            throw TachyonException.of(result, "receive");
        }
        return result == 0;
    }

    /** Takes nothing; false: nothing came in that time. */
    boolean await(Deadline deadline) throws InterruptedException {
        if (!enter(deadline)) {
            return false;
        }
        try {
            return isThere(Native.pollData(handle.address())) || awaitData(deadline);
        } finally {
            leave();
        }
    }

    /** What a try gives, or -EAGAIN: nothing came in that time. */
    private long repeat(Try call, Deadline deadline) throws InterruptedException {
        for (;;) {
            long result = call.run(handle.address());
            if (result >= 0) {
                return result;
            }
            if (result != -Errno.EAGAIN) {
                throw TachyonException.of(result, "receive");
            }
            if (!awaitData(deadline)) {
                return -Errno.EAGAIN;
            }
        }
    }

    /** Null: nothing came in that time. */
    Message message(Deadline deadline) throws InterruptedException {
        if (!enter(deadline)) {
            return null;
        }
        try {
            for (;;) {
                long size = copy(smallMemory, SMALL);
                if (size >= 0) {
                    return new Message(Arrays.copyOf(small, (int) size), raw.get(JAVA_INT, TYPE_ID));
                }
                if (size == -Errno.EMSGSIZE) {
                    return large();
                }
                if (!awaitData(deadline)) {
                    return null;
                }
            }
        } finally {
            leave();
        }
    }

    /** The size of what was copied, or -EAGAIN, or -EMSGSIZE: it is larger, and stays. */
    private long copy(MemorySegment buffer, long capacity) {
        long size = Native.tryRecvCopy(handle.address(), buffer, capacity, raw.address() + TYPE_ID);
        if (size < 0 && size != -Errno.EAGAIN && size != -Errno.EMSGSIZE) {
            throw TachyonException.of(size, "receive");
        }
        return size;
    }

    /** One that is there, copied by the JVM, which can stop for a safepoint meanwhile. */
    private Message large() {
        MemorySegment view = take();
        boolean copied = false;
        try {
            Message message = new Message(view.toArray(ValueLayout.JAVA_BYTE), raw.get(JAVA_INT, TYPE_ID));
            copied = true;
            return message;
        } finally {
            giveBack(copied);
        }
    }

    /** What could not be copied, for want of memory, stays the next message. */
    private void giveBack(boolean copied) {
        if (copied) {
            handle.release(raw.get(JAVA_LONG, LEASE));
        } else {
            Native.putBack(handle.address(), raw.address());
        }
    }

    private MemorySegment take() {
        int result = Native.tryRecv(handle.address(), raw.address());
        if (result < 0) {
            throw TachyonException.of(result, "receive");
        }
        return MemorySegment.ofAddress(raw.get(JAVA_LONG, DATA)).reinterpret(raw.get(JAVA_LONG, SIZE));
    }

    /** False: nothing came in that time. */
    boolean into(MessageBuffer buffer, Deadline deadline) throws InterruptedException {
        if (!enter(deadline)) {
            return false;
        }
        try {
            for (;;) {
                long room = Math.min(buffer.capacity(), Native.CRITICAL_BYTES);
                long size =
                        Native.tryRecvInto(handle.address(), buffer.dataAddress(), room, buffer.typeIdAddress());
                if (size >= 0) {
                    buffer.setSize(size);
                    return true;
                }
                if (size == -Errno.EMSGSIZE) {
                    large(buffer);
                    return true;
                }
                if (size != -Errno.EAGAIN) {
                    throw TachyonException.of(size, "receive");
                }
                if (!awaitData(deadline)) {
                    return false;
                }
            }
        } finally {
            leave();
            Reference.reachabilityFence(buffer);
        }
    }

    private void large(MessageBuffer buffer) {
        MemorySegment view = take();
        boolean copied = false;
        try {
            buffer.set(view, raw.get(JAVA_INT, TYPE_ID));
            copied = true;
        } finally {
            giveBack(copied);
        }
    }

    /** Null: nothing came in that time. */
    Lease lease(Deadline deadline) throws InterruptedException {
        if (!enter(deadline)) {
            return null;
        }
        try {
            if (repeat(bus -> Native.tryRecv(bus, raw.address()), deadline) < 0) {
                return null;
            }
            return new Lease(handle, raw);
        } finally {
            leave();
        }
    }

    /** Null: nothing came in that time. */
    Batch batch(int max, Deadline deadline) throws InterruptedException {
        if (max < 1) {
            throw new IllegalArgumentException("a batch has at least one message, not " + max);
        }
        if (!enter(deadline)) {
            return null;
        }
        long most = Math.min(max, mostMessages); // so max may be the largest number that there is
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment messages = arena.allocate(MESSAGE_SIZE * most, 8);
            long count = repeat(bus -> Native.tryRecvBatch(bus, messages, most), deadline);
            return count < 0 ? null : new Batch(handle, messages, (int) count);
        } finally {
            leave();
        }
    }

    /** Null: nothing came in that time. */
    Records records(long recordSize, long max, long typeId, Deadline deadline) throws InterruptedException {
        if (!enter(deadline)) {
            return null;
        }
        try {
            raw.set(JAVA_INT, TYPE_ID, (int) typeId); // the records' own fields end before it
            long tag = typeId == Bus.ANY_TYPE ? 0 : raw.address() + TYPE_ID;
            long count = repeat(bus -> Native.tryRecvRecords(bus, raw.address(), recordSize, max, tag), deadline);
            return count < 0 ? null : new Records(handle, raw, recordSize);
        } finally {
            leave();
        }
    }
}
