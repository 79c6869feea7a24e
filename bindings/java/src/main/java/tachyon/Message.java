package tachyon;

import java.nio.charset.StandardCharsets;

/**
 * A received message, copied out of the ring.
 *
 * @param data its bytes; the array is this message's own
 * @param typeId the sender's tag, unsigned
 */
public record Message(byte[] data, int typeId) {
    /** {@return the bytes as UTF-8} */
    public String text() {
        return new String(data, StandardCharsets.UTF_8);
    }
}
