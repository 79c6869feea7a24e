package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;

/**
 * Facts of a bus that do not change.
 *
 * @param sendCapacity bytes of the ring we send through
 * @param recvCapacity bytes of the ring we receive from
 * @param maxSendSize largest message we can send, bytes
 * @param maxRecvSize largest message we can receive, bytes
 * @param spin the longest a wait polls before it sleeps
 * @param peerPid 0 where it cannot be known
 * @param peerUid user id of the peer
 * @param isolated the kernel refuses to let either end write the other's ring
 * @param trusted both ends asked for it
 */
public record Properties(
        long sendCapacity,
        long recvCapacity,
        long maxSendSize,
        long maxRecvSize,
        Duration spin,
        int peerPid,
        int peerUid,
        boolean isolated,
        boolean trusted) {
    private static final long SIZE = 88;

    static Properties of(long bus) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment raw = arena.allocate(SIZE, 8);
            raw.set(JAVA_LONG, 0, SIZE);
            int result = Native.properties(bus, raw);
            if (result < 0) {
                throw TachyonException.of(result, "read properties");
            }
            return new Properties(
                    raw.get(JAVA_LONG, 8),
                    raw.get(JAVA_LONG, 16),
                    raw.get(JAVA_LONG, 24),
                    raw.get(JAVA_LONG, 32),
                    Duration.ofNanos(raw.get(JAVA_LONG, 40)),
                    raw.get(JAVA_INT, 48),
                    raw.get(JAVA_INT, 52),
                    raw.get(JAVA_INT, 68) == 1,
                    raw.get(JAVA_INT, 84) == 1);
        }
    }
}
