package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Counters of a bus. What another thread is doing at the moment may lag behind.
 *
 * @param sentMessages messages sent
 * @param sentBytes their payload
 * @param receivedMessages messages received
 * @param receivedBytes their payload
 * @param sendUsed ring bytes sent and not yet given back by the peer
 * @param recvUsed ring bytes received or waiting, not yet released by us
 * @param leases received messages not yet released
 * @param doorbells times that we woke the peer
 * @param dataSleeps times that we slept for data
 * @param spaceSleeps times that we slept for room
 */
public record Stats(
        long sentMessages,
        long sentBytes,
        long receivedMessages,
        long receivedBytes,
        long sendUsed,
        long recvUsed,
        long leases,
        long doorbells,
        long dataSleeps,
        long spaceSleeps) {
    private static final long SIZE = 88;

    static Stats of(long bus) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment raw = arena.allocate(SIZE, 8);
            raw.set(JAVA_LONG, 0, SIZE);
            int result = Native.stats(bus, raw);
            if (result < 0) {
                throw TachyonException.of(result, "read counters");
            }
            long[] counters = raw.toArray(JAVA_LONG);
            return new Stats(
                    counters[1],
                    counters[2],
                    counters[3],
                    counters[4],
                    counters[5],
                    counters[6],
                    counters[7],
                    counters[8],
                    counters[9],
                    counters[10]);
        }
    }
}
