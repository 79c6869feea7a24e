package tachyon;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Where {@link Bus#recv(MessageBuffer)} puts one message after the other, so that nothing is
 * allocated for each. It grows where a message is larger. For one thread at a time.
 */
public final class MessageBuffer {
    private long[] words; // so that numbers in it are aligned
    private MemorySegment memory;
    private long size;
    private int typeId;

    /** A buffer for messages of at most that many bytes, at first. */
    public MessageBuffer(int capacity) {
        grow(capacity);
    }

    /** {@return the bytes of the message, until the next one is received} */
    public MemorySegment segment() {
        return memory.asSlice(0, size);
    }

    /** {@return a copy of the bytes} */
    public byte[] toBytes() {
        return segment().toArray(ValueLayout.JAVA_BYTE);
    }

    /** {@return the number of bytes of the message} */
    public long size() {
        return size;
    }

    /** {@return the sender's tag, unsigned} */
    public int typeId() {
        return typeId;
    }

    MemorySegment memory() {
        return memory;
    }

    void set(long size, int typeId) {
        this.size = size;
        this.typeId = typeId;
    }

    void grow(long capacity) {
        words = new long[Math.toIntExact((capacity + 7) / 8)];
        memory = MemorySegment.ofArray(words);
    }
}
