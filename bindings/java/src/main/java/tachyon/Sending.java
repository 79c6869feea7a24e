package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;

/**
 * The sending half of a bus. A message is tried in a critical call, which sees the caller's bytes
 * where they are; where the ring is full, the thread waits for room in a plain one, and tries again:
 * as it is its turn, nobody else takes the room.
 */
final class Sending {
    private final Object owner; // must not be collected while a call is in the library
    private final Handle handle;
    private final Turn turn;
    private final MemorySegment pointer = Arena.ofAuto().allocate(8, 8);
    private volatile Thread slotOwner; // who has a slot open, and so the turn

    Sending(Object owner, Handle handle) {
        this.owner = owner;
        this.handle = handle;
        turn = handle.sending;
    }

    private boolean enter(Deadline deadline) throws InterruptedException {
        if (turn.enterAlone()) {
            return true;
        }
        if (slotOwner == Thread.currentThread()) {
            throw busy();
        }
        return turn.enter(deadline);
    }

    private static BusyException busy() {
        return new BusyException(Errno.EBUSY, "send: a slot of this thread is open; commit or close it");
    }

    private void leave() {
        turn.leave();
        Reference.reachabilityFence(owner);
    }

    private boolean awaitRoom(long size, Deadline deadline) throws InterruptedException {
        if (deadline == Deadline.NOW) {
            return false;
        }
        long bus = handle.address();
        return isThere(Interrupter.waiting(deadline, timeout -> Native.waitSpace(bus, size, timeout)));
    }

    private static boolean isThere(long result) {
        if (result < 0 && result != -Errno.ETIMEDOUT && result != -Errno.EAGAIN) {
            throw TachyonException.of(result, "send");
        }
        return result == 0;
    }

    /** Sends nothing; false: there was no room in that time. */
    boolean await(long size, Deadline deadline) throws InterruptedException {
        if (!enter(deadline)) {
            return false;
        }
        try {
            return isThere(Native.pollSpace(handle.address(), size)) || awaitRoom(size, deadline);
        } finally {
            leave();
        }
    }

    /** False: there was no room in that time. */
    boolean send(MemorySegment data, int typeId, Deadline deadline) throws InterruptedException {
        if (!enter(deadline)) {
            return false;
        }
        try {
            return put(data, typeId, deadline);
        } finally {
            leave();
        }
    }

    private boolean put(MemorySegment data, int typeId, Deadline deadline) throws InterruptedException {
        long size = data.byteSize();
        if (size > Native.CRITICAL_BYTES) {
            return putLarge(data, typeId, deadline);
        }
        for (;;) {
            int result = Native.trySend(handle.address(), data, (int) size, typeId);
            if (result == 0) {
                return true;
            }
            if (result != -Errno.EAGAIN) {
                throw TachyonException.of(result, "send");
            }
            if (!awaitRoom(size, deadline)) {
                return false;
            }
        }
    }

    /** Copied by the JVM, which can stop for a safepoint meanwhile. */
    private boolean putLarge(MemorySegment data, int typeId, Deadline deadline) throws InterruptedException {
        long size = data.byteSize();
        long address = reserve(size, deadline);
        if (address == 0) {
            return false;
        }
        try {
            MemorySegment.ofAddress(address).reinterpret(size).copyFrom(data);
        } catch (RuntimeException e) { // the caller's memory is closed, or another thread's
            Native.cancel(handle.address());
            throw e;
        }
        commit(size, typeId);
        return true;
    }

    /** The address of room for a message, or 0: there was none in that time. */
    private long reserve(long size, Deadline deadline) throws InterruptedException {
        for (;;) {
            int result = Native.tryReserve(handle.address(), pointer.address(), size);
            if (result == 0) {
                return pointer.get(JAVA_LONG, 0);
            }
            if (result != -Errno.EAGAIN) {
                throw TachyonException.of(result, "reserve");
            }
            if (!awaitRoom(size, deadline)) {
                return 0;
            }
        }
    }

    private void commit(long size, int typeId) {
        int result = Native.commit(handle.address(), size, typeId);
        if (result < 0) {
            throw TachyonException.of(result, "commit");
        }
    }

    /** How many were sent before the time was over, the bus came to its end, or an interrupt. */
    long sendRecords(MemorySegment records, long recordSize, int typeId, Deadline deadline)
            throws InterruptedException {
        if (recordSize < 1 || records.byteSize() % recordSize != 0) {
            throw new IllegalArgumentException(
                    "%d bytes are no whole number of records of %d".formatted(records.byteSize(), recordSize));
        }
        if (!enter(deadline)) {
            return 0;
        }
        long sent = 0;
        try {
            for (long n = 1; n > 0 && sent * recordSize < records.byteSize(); sent += n) {
                n = putRecords(records.asSlice(sent * recordSize), recordSize, typeId, deadline);
            }
            return sent;
        } catch (TachyonException e) { // the next call reports it
            if (sent == 0) {
                throw e;
            }
            return sent;
        } catch (InterruptedException e) {
            if (sent == 0) {
                throw e;
            }
            Thread.currentThread().interrupt(); // the next wait reports it
            return sent;
        } finally {
            leave();
        }
    }

    private long putRecords(MemorySegment records, long size, int typeId, Deadline deadline)
            throws InterruptedException {
        long most = Native.CRITICAL_BYTES / size;
        if (most == 0) {
            return putLarge(records.asSlice(0, size), typeId, deadline) ? 1 : 0;
        }
        long count = Math.min(most, records.byteSize() / size);
        for (;;) {
            long result = Native.trySendRecords(handle.address(), records, size, count, typeId);
            if (result > 0) {
                return result;
            }
            if (result != -Errno.EAGAIN) {
                throw TachyonException.of(result, "send records");
            }
            if (!awaitRoom(size, deadline)) {
                return 0;
            }
        }
    }

    // ---- slots: the turn lasts from open to commit or drop ------------------------------------

    /** Null: there was no room in that time. */
    Slot open(long size, Deadline deadline) throws InterruptedException {
        if (slotOwner == Thread.currentThread()) {
            throw busy();
        }
        if (!turn.enterShared(deadline)) { // the collector may end it
            return null;
        }
        long address = 0;
        try {
            address = reserve(size, deadline);
            if (address == 0) {
                return null;
            }
            slotOwner = Thread.currentThread();
            return new Slot(this, address, size);
        } finally {
            if (address == 0) {
                leave();
            }
        }
    }

    void commitSlot(long size, int typeId) {
        try {
            commit(size, typeId);
        } finally {
            slotOwner = null;
            leave();
        }
    }

    void dropSlot() {
        try {
            Native.cancel(handle.address());
        } catch (CancelledException e) {
            // so nothing is sent
        } finally {
            slotOwner = null;
            leave();
        }
    }
}
