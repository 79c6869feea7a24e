package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Where {@link Bus#recv(MessageBuffer)} puts one message after the other, so that nothing is
 * allocated for each. It grows where a message is larger. For one thread at a time.
 */
public final class MessageBuffer {
    private static final long DATA = 64; // before it the type id; both are written by C

    private MemorySegment memory;
    private long address;
    private long capacity;
    private long size;

    /** A buffer for messages of at most that many bytes, at first. */
    public MessageBuffer(int capacity) {
        if (capacity < 0) {
            throw new IllegalArgumentException("a buffer of %d bytes".formatted(capacity));
        }
        grow(capacity);
    }

    /** {@return the bytes of the message, until the next one is received; 64-byte aligned} */
    public MemorySegment segment() {
        return memory.asSlice(DATA, size);
    }

    /** {@return a copy of the bytes} */
    public byte[] toBytes() {
        return segment().toArray(JAVA_BYTE);
    }

    /** {@return the number of bytes of the message} */
    public long size() {
        return size;
    }

    /** {@return the sender's tag, unsigned} */
    public int typeId() {
        return memory.get(JAVA_INT, 0);
    }

    long typeIdAddress() {
        return address;
    }

    long dataAddress() {
        return address + DATA;
    }

    long capacity() {
        return capacity;
    }

    /** C has written a message of that size. */
    void setSize(long size) {
        this.size = size;
    }

    void set(MemorySegment data, int typeId) {
        if (data.byteSize() > capacity) {
            grow(data.byteSize());
        }
        memory.set(JAVA_INT, 0, typeId);
        MemorySegment.copy(data, 0, memory, DATA, data.byteSize());
        size = data.byteSize();
    }

    private void grow(long capacity) {
        memory = Arena.ofAuto().allocate(DATA + capacity, 64);
        address = memory.address();
        this.capacity = capacity;
    }
}
