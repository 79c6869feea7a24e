// bindings/java/examples/TicksSend.java
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import tachyon.ArraySlot;
import tachyon.Bus;
import tachyon.DType;
import tachyon.NdArray;

class TicksSend {
    static final MemoryLayout TICK =
            MemoryLayout.structLayout(JAVA_LONG.withName("time"), JAVA_DOUBLE.withName("price"));

    public static void main(String[] arguments) throws InterruptedException {
        try (Bus bus = Bus.connect("/tmp/arrays");
                Arena arena = Arena.ofConfined()) {
            // Copied once, into the ring.
            bus.sendArray(NdArray.of(new double[] {1, 0, 0, 1}, 2, 2), 0);
            // Computed in the ring, never copied.
            try (ArraySlot image = bus.reserveArray(DType.FLOAT32, 480, 640)) {
                for (long i = 0; i < 480 * 640; i++) {
                    image.elements().setAtIndex(JAVA_FLOAT, i, 0.5f);
                }
                image.commit(0);
            }
            long count = 100_000;
            MemorySegment ticks = arena.allocate(TICK, count);
            for (long i = 0; i < count; i++) {
                ticks.set(JAVA_LONG, i * TICK.byteSize(), i);
                ticks.set(JAVA_DOUBLE, i * TICK.byteSize() + 8, 100 + (double) i / count);
            }
            bus.sendRecords(ticks, TICK.byteSize(), 0); // 100,000 messages of 16 bytes
        }
    }
}
