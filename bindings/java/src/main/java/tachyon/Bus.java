package tachyon;

import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Optional;

/**
 * One end of a connection between two processes of this machine: messages, bytes with a 32-bit
 * tag, go both ways through shared memory.
 *
 * <p>Any thread may use a bus: one at a time sends, and one receives; the others wait for their turn.
 * What waits is ended by {@link Thread#interrupt()} (InterruptedException, nothing is lost) and by
 * {@link #close()} of another thread (CancelledException). A thread that waits is in C: a virtual
 * one keeps its carrier meanwhile. A timeout of zero tries once.
 *
 * <p>Failures of receiving: {@link ClosedException} and {@link PeerDeadException}, both after the last message,
 * {@link LeasesException}, {@link ProtocolException}, {@link CancelledException}. Of sending: the
 * same without leases, and {@link TooLargeException}; that the peer died is noticed when the ring is full, or
 * the receiver slept. With a timeout also {@link WaitTimeoutException}.
 */
public final class Bus implements AutoCloseable {
    /** For {@link #recvRecords}: messages of any tag. */
    public static final long ANY_TYPE = -1;

    private final Handle handle;
    final Sending sending;
    final Receiving receiving;

    Bus(long address) {
        handle = new Handle(Handle.Kind.BUS, address, address);
        sending = new Sending(this, handle);
        receiving = new Receiving(this, handle);
        Handle.CLEANER.register(this, handle);
    }

    // ---- making ------------------------------------------------------------------------------

    /** Listens on a path until one process connects; the path is free again then. */
    public static Bus listen(String path) throws InterruptedException {
        return listen(path, new Options());
    }

    /** {@link #listen(String)} with options. */
    public static Bus listen(String path, Options options) throws InterruptedException {
        return new Bus(Opening.listen(path, options, Opening.STREAM, Deadline.NEVER));
    }

    /** {@link #listen(String)} with options, for so long. */
    public static Bus listen(String path, Options options, Duration timeout) throws InterruptedException {
        return new Bus(Opening.listen(path, options, Opening.STREAM, Deadline.in(timeout)));
    }

    /** Connects to the listener on a path; waits for one to appear. */
    public static Bus connect(String path) throws InterruptedException {
        return connect(path, new Options());
    }

    /** {@link #connect(String)} with options. */
    public static Bus connect(String path, Options options) throws InterruptedException {
        return new Bus(Opening.connect(path, options, Opening.STREAM, Deadline.NEVER));
    }

    /** {@link #connect(String)} with options, for so long. */
    public static Bus connect(String path, Options options, Duration timeout) throws InterruptedException {
        return new Bus(Opening.connect(path, options, Opening.STREAM, Deadline.in(timeout)));
    }

    // ---- sending -----------------------------------------------------------------------------

    /**
     * Sends one message, and waits while the ring is full. When this returns, the message arrives
     * even if this process is killed, as long as the receiver lives.
     */
    public void send(byte[] data, int typeId) throws InterruptedException {
        sending.send(MemorySegment.ofArray(data), typeId, Deadline.NEVER);
    }

    /** {@link #send(byte[], int)}, waiting for room at most so long. */
    public void send(byte[] data, int typeId, Duration timeout) throws InterruptedException {
        send(MemorySegment.ofArray(data), typeId, timeout);
    }

    /** Sends any memory, as {@link #send(byte[], int)} does: of C, of an array, of a buffer. */
    public void send(MemorySegment data, int typeId) throws InterruptedException {
        sending.send(data, typeId, Deadline.NEVER);
    }

    /** {@link #send(MemorySegment, int)}, waiting for room at most so long. */
    public void send(MemorySegment data, int typeId, Duration timeout) throws InterruptedException {
        if (!sending.send(data, typeId, Deadline.in(timeout))) {
            throw timeout("send", "there was no room in " + timeout);
        }
    }

    /** Sends one message if there is room, and tells whether there was. Does not wait. */
    public boolean trySend(byte[] data, int typeId) {
        return trySend(MemorySegment.ofArray(data), typeId);
    }

    /** Sends one message if there is room, and tells whether there was. Does not wait. */
    public boolean trySend(MemorySegment data, int typeId) {
        try {
            return sending.send(data, typeId, Deadline.NOW);
        } catch (InterruptedException e) {
            throw new AssertionError(e); // only waits are interrupted
        }
    }

    /** Gets room in the ring, to write a message of at most that many bytes in place. */
    public Slot reserve(long size) throws InterruptedException {
        return sending.open(size, Deadline.NEVER);
    }

    /** {@link #reserve(long)}, waiting for room at most so long. */
    public Slot reserve(long size, Duration timeout) throws InterruptedException {
        Slot slot = sending.open(size, Deadline.in(timeout));
        if (slot == null) {
            throw timeout("reserve", "there was no room in " + timeout);
        }
        return slot;
    }

    /**
     * Sends each record as a message of its own.
     *
     * @param records packed, each of {@code recordSize} bytes
     * @param recordSize bytes of one: {@code layout.byteSize()}
     * @param typeId the tag of each
     * @return how many were sent: fewer than all only where the bus came to its end or the thread
     *     was interrupted, which the next call reports
     */
    public long sendRecords(MemorySegment records, long recordSize, int typeId) throws InterruptedException {
        return sending.sendRecords(records, recordSize, typeId, Deadline.NEVER);
    }

    /** {@link #sendRecords(MemorySegment, long, int)} in at most so long; fewer, perhaps none, where that is over. */
    public long sendRecords(MemorySegment records, long recordSize, int typeId, Duration timeout)
            throws InterruptedException {
        return sending.sendRecords(records, recordSize, typeId, Deadline.in(timeout));
    }

    /** Sends an array with its dtype and shape: what Python's {@code recv_array()} reads. */
    public void sendArray(NdArray array, int typeId) throws InterruptedException {
        try (ArraySlot slot = reserveArray(array.dtype(), array.shape())) {
            slot.elements().copyFrom(array.elements());
            slot.commit(typeId);
        }
    }

    /** Gets room in the ring, to compute an array in place. */
    public ArraySlot reserveArray(DType dtype, long... shape) throws InterruptedException {
        return ArraySlot.open(sending, dtype, shape, Deadline.NEVER);
    }

    /** {@link #reserveArray(DType, long...)}, waiting for room at most so long. */
    public ArraySlot reserveArray(DType dtype, Duration timeout, long... shape) throws InterruptedException {
        ArraySlot slot = ArraySlot.open(sending, dtype, shape, Deadline.in(timeout));
        if (slot == null) {
            throw timeout("reserve", "there was no room in " + timeout);
        }
        return slot;
    }

    /** {@return bytes of a message that is this array: what {@link #awaitRoom} wants} */
    public static long arraySize(DType dtype, long... shape) {
        return ArraySlot.size(dtype, shape);
    }

    // ---- receiving ---------------------------------------------------------------------------

    /** Receives one message, as a copy; waits until there is one. */
    public Message recv() throws InterruptedException {
        return receiving.message(Deadline.NEVER);
    }

    /** {@link #recv()}, waiting at most so long. */
    public Message recv(Duration timeout) throws InterruptedException {
        return orTimeout(receiving.message(Deadline.in(timeout)), timeout);
    }

    /** Receives a message if there is one. Does not wait. */
    public Optional<Message> tryRecv() {
        try {
            return Optional.ofNullable(receiving.message(Deadline.NOW));
        } catch (InterruptedException e) {
            throw new AssertionError(e); // only waits are interrupted
        }
    }

    /** Receives one message into a buffer that is used again and again. */
    public void recv(MessageBuffer buffer) throws InterruptedException {
        receiving.into(buffer, Deadline.NEVER);
    }

    /** {@link #recv(MessageBuffer)}, waiting at most so long. */
    public void recv(MessageBuffer buffer, Duration timeout) throws InterruptedException {
        if (!receiving.into(buffer, Deadline.in(timeout))) {
            orTimeout(null, timeout);
        }
    }

    /** Receives a message into a buffer if there is one, and tells whether there was. Does not wait. */
    public boolean tryRecv(MessageBuffer buffer) {
        try {
            return receiving.into(buffer, Deadline.NOW);
        } catch (InterruptedException e) {
            throw new AssertionError(e); // only waits are interrupted
        }
    }

    /**
     * What is received, until either end closes in good order. Where the bus ends otherwise, the
     * iterator throws what {@link #recv()} does; where the thread is interrupted, it stays so,
     * and {@link InterruptedWaitException} is thrown.
     */
    public Iterable<Message> messages() {
        return () -> new Iterator<>() {
            private Message next;

            @Override
            public boolean hasNext() {
                try {
                    next = next == null ? recv() : next;
                } catch (ClosedException | CancelledException e) {
                    return false;
                } catch (InterruptedException e) {
                    throw InterruptedWaitException.keep();
                }
                return true;
            }

            @Override
            public Message next() {
                if (!hasNext()) {
                    throw new NoSuchElementException();
                }
                Message message = next;
                next = null;
                return message;
            }
        };
    }

    /** Receives one message without copying it. */
    public Lease recvLease() throws InterruptedException {
        return receiving.lease(Deadline.NEVER);
    }

    /** {@link #recvLease()}, waiting at most so long. */
    public Lease recvLease(Duration timeout) throws InterruptedException {
        return orTimeout(receiving.lease(Deadline.in(timeout)), timeout);
    }

    /** Receives what is there, at most so many, without copying; waits for the first. */
    public Batch recvBatch(int max) throws InterruptedException {
        return receiving.batch(max, Deadline.NEVER);
    }

    /** {@link #recvBatch(int)}, waiting at most so long. */
    public Batch recvBatch(int max, Duration timeout) throws InterruptedException {
        return orTimeout(receiving.batch(max, Deadline.in(timeout)), timeout);
    }

    /**
     * Receives a run of messages of one size without copying; waits for the first.
     *
     * @param recordSize bytes of each; another size ends the run, or is a TooLargeException where
     *     it is the next one, and stays that
     * @param max the most that are wanted
     * @param typeId the tag of each, or {@link #ANY_TYPE}; another one ends the run, or is a
     *     FormatException
     */
    public Records recvRecords(long recordSize, long max, long typeId) throws InterruptedException {
        return receiving.records(recordSize, max, typeId, Deadline.NEVER);
    }

    /** {@link #recvRecords(long, long, long)}, waiting at most so long. */
    public Records recvRecords(long recordSize, long max, long typeId, Duration timeout) throws InterruptedException {
        return orTimeout(receiving.records(recordSize, max, typeId, Deadline.in(timeout)), timeout);
    }

    /** Receives an array, copied once. FormatException where the message is none; it is gone then. */
    public NdArray recvArray() throws InterruptedException {
        try (Lease lease = recvLease()) {
            return NdArray.view(lease.segment()).copy();
        }
    }

    /** {@link #recvArray()}, waiting at most so long. */
    public NdArray recvArray(Duration timeout) throws InterruptedException {
        try (Lease lease = recvLease(timeout)) {
            return NdArray.view(lease.segment()).copy();
        }
    }

    private static <T> T orTimeout(T received, Duration timeout) {
        if (received == null) {
            throw timeout("receive", "nothing came in " + timeout);
        }
        return received;
    }

    static TachyonException timeout(String attempt, String what) {
        return TachyonException.of(Errno.ETIMEDOUT, attempt, what);
    }

    // ---- waiting, for who has an event loop or coroutines ------------------------------------

    /**
     * Waits until a receive would not wait, and takes nothing; zero looks once. Failures as of receiving.
     *
     * @return whether there is a message; false: the time was over
     */
    public boolean awaitData(Duration timeout) throws InterruptedException {
        return receiving.await(Deadline.in(timeout));
    }

    /**
     * Waits until a message of that many bytes could be sent, and sends nothing; zero looks once.
     * Failures as of sending.
     *
     * @return whether there is room; false: the time was over
     */
    public boolean awaitRoom(long size, Duration timeout) throws InterruptedException {
        return sending.await(size, Deadline.in(timeout));
    }

    // ---- facts and the end ---------------------------------------------------------------------

    /** {@return facts that do not change} */
    public Properties properties() {
        return handle.look(Properties::of);
    }

    /** {@return counters} */
    public Stats stats() {
        return handle.look(Stats::of);
    }

    /**
     * Ends the bus: the peer gets all that was sent, then the end. Calls of other threads that wait
     * throw CancelledException. Leases stay readable. May be called again, by any thread.
     */
    @Override
    public void close() {
        handle.close();
    }
}
