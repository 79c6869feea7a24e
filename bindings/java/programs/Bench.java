import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.util.concurrent.FutureTask;
import tachyon.Bus;
import tachyon.MessageBuffer;
import tachyon.Options;
import tachyon.Records;

/** Bench ROLE PATH: what `tachyon bench languages` measures, in Java. See bindings/bench/README.md. */
final class Bench {
    private static final int SIZE = 32;
    private static final int TURN = 16384; // records of one call: a quarter of their ring
    private static final long RING = 4 << 20;
    private static final int MOST = 1000; // pairs of a turn

    /** A round of so many messages: what it prints. */
    private interface Round {
        String run(long count) throws Throwable;
    }

    private static String ping(Bus bus, long count) throws InterruptedException {
        byte[] data = new byte[SIZE];
        long begin = System.nanoTime();
        for (long i = 0; i < count; i++) {
            bus.send(data, 0);
            data = bus.recv().data();
        }
        return String.valueOf(System.nanoTime() - begin);
    }

    private static String echo(Bus bus, long count) throws InterruptedException {
        for (long i = 0; i < count; i++) {
            bus.send(bus.recv().data(), 0);
        }
        return "done";
    }

    private static String produce(Bus bus, long count) throws InterruptedException {
        byte[] data = new byte[SIZE];
        for (long i = 0; i < count; i++) {
            bus.send(data, 0);
        }
        return "done";
    }

    private static String consume(Bus bus, long count) throws InterruptedException {
        bus.recv();
        long begin = System.nanoTime();
        for (long i = 1; i < count; i++) {
            bus.recv();
        }
        return String.valueOf(System.nanoTime() - begin);
    }

    private static String produceRecords(Bus bus, long count) throws InterruptedException {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment records = arena.allocate((long) SIZE * TURN, 8);
            for (long i = 0; i < TURN; i++) {
                records.set(JAVA_LONG, i * SIZE, 1);
                records.set(JAVA_LONG, i * SIZE + 8, 1);
                records.set(JAVA_DOUBLE, i * SIZE + 16, 0.5);
                records.set(JAVA_DOUBLE, i * SIZE + 24, 1);
            }
            for (long left = count; left > 0; ) {
                left -= bus.sendRecords(records.asSlice(0, SIZE * Math.min(left, TURN)), SIZE, 0);
            }
        }
        return "done";
    }

    private static double sum(Records run) {
        MemorySegment all = run.segment();
        long stride = run.stride();
        long end = run.count() * stride;
        double sum = 0;
        for (long at = 0; at < end; at += stride) {
            sum += all.get(JAVA_DOUBLE, at + 16);
        }
        return sum;
    }

    private static String consumeRecords(Bus bus, long count) throws InterruptedException {
        long begin = 0;
        double sum = 0;
        for (long left = count; left > 0; ) {
            try (Records run = bus.recvRecords(SIZE, Math.min(left, TURN), Bus.ANY_TYPE)) {
                begin = left == count ? System.nanoTime() : begin;
                sum += sum(run);
                left -= run.count();
            }
        }
        if (sum != 0.5 * count) {
            throw new IllegalStateException("the prices do not add up");
        }
        return String.valueOf(System.nanoTime() - begin);
    }

    // ---- calls -----------------------------------------------------------------------------

    private static long pairs(Bus from, Bus to, long count) throws InterruptedException {
        byte[] data = new byte[SIZE];
        MessageBuffer copy = new MessageBuffer(SIZE);
        long begin = System.nanoTime();
        for (long i = 0; i < count; i++) {
            from.send(data, 0);
            if (!to.tryRecv(copy)) {
                throw new IllegalStateException("it did not arrive");
            }
        }
        return System.nanoTime() - begin;
    }

    /** The same functions with what a call costs that does nothing else: memory of C's, no checks. */
    private static final class Raw {
        private static final Linker LINKER = Linker.nativeLinker();
        private static final SymbolLookup LIBRARY =
                SymbolLookup.libraryLookup(System.getenv("TACHYON_LIBRARY"), Arena.global());
        private static final Linker.Option CRITICAL = Linker.Option.critical(false);
        private static final MethodHandle SEND = function(
                "tachyon_bus_try_send", FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS, JAVA_INT, JAVA_INT), CRITICAL);
        private static final MethodHandle RECV = function(
                "tachyon_bus_recv_copy",
                FunctionDescriptor.of(JAVA_LONG, ADDRESS, ADDRESS, JAVA_LONG, ADDRESS, JAVA_LONG),
                CRITICAL);
        private static final FunctionDescriptor OPEN =
                FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG);

        private final MemorySegment data = Arena.global().allocate(SIZE, 8);
        private MemorySegment from;
        private MemorySegment to;

        Raw(String path) throws Exception {
            FutureTask<MemorySegment> listening = new FutureTask<>(() -> open("tachyon_bus_listen", path));
            Thread.ofPlatform().daemon().start(listening);
            from = open("tachyon_bus_connect", path);
            to = listening.get();
        }

        private static MethodHandle function(String name, FunctionDescriptor descriptor, Linker.Option... options) {
            return LINKER.downcallHandle(LIBRARY.find(name).orElseThrow(), descriptor, options);
        }

        private static MemorySegment open(String name, String path) {
            MemorySegment bus = Arena.global().allocate(ADDRESS);
            try {
                MemorySegment where = Arena.global().allocateFrom(path);
                if ((int) function(name, OPEN).invokeExact(bus, where, MemorySegment.NULL, -1L) != 0) {
                    throw new IllegalStateException("no bus");
                }
            } catch (Throwable e) {
                throw new IllegalStateException(e);
            }
            return bus.get(ADDRESS, 0);
        }

        /** Sends and receives, and turns round. */
        long pairs(long count) throws Throwable {
            long begin = System.nanoTime();
            for (long i = 0; i < count; i++) {
                if ((int) SEND.invokeExact(from, data, SIZE, 0) != 0
                        || (long) RECV.invokeExact(to, data, (long) SIZE, MemorySegment.NULL, 0L) != SIZE) {
                    throw new IllegalStateException("the C functions fail");
                }
            }
            long elapsed = System.nanoTime() - begin;
            MemorySegment was = from;
            from = to;
            to = was;
            return elapsed;
        }
    }

    private static Round calls(String path) throws Exception {
        FutureTask<Bus> listening = new FutureTask<>(() -> Bus.listen(path));
        Thread.ofPlatform().daemon().start(listening);
        Bus one = Bus.connect(path);
        Bus other = listening.get();
        Raw raw = new Raw(path);
        return count -> {
            long binding = 0;
            long cheapest = 0;
            boolean forth = true;
            for (long left = count; left > 0; left -= MOST, forth = !forth) {
                long n = Math.min(left, MOST);
                binding += forth ? pairs(one, other, n) : pairs(other, one, n);
                cheapest += raw.pairs(n);
            }
            return "%.3f %.3f".formatted((double) binding / count, (double) cheapest / count);
        };
    }

    private static Round start(String role, String path) throws Exception {
        if (role.equals("calls")) {
            return calls(path);
        }
        boolean listens = role.equals("echo") || role.endsWith("consume");
        Options options = role.startsWith("records") ? new Options().capacity(RING) : new Options();
        Bus bus = listens ? Bus.listen(path, options) : Bus.connect(path, options);
        return switch (role) {
            case "ping" -> count -> ping(bus, count);
            case "echo" -> count -> echo(bus, count);
            case "produce" -> count -> produce(bus, count);
            case "consume" -> count -> consume(bus, count);
            case "records-produce" -> count -> produceRecords(bus, count);
            case "records-consume" -> count -> consumeRecords(bus, count);
            default -> throw new IllegalArgumentException(role + " is no role");
        };
    }

    public static void main(String[] arguments) throws Throwable {
        Round round = start(arguments[0], arguments[1]);
        System.out.println("ready");
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            System.out.println(round.run(Long.parseLong(line)));
        }
    }
}
