import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import tachyon.ArraySlot;
import tachyon.Bus;
import tachyon.Caller;
import tachyon.ClosedException;
import tachyon.DType;
import tachyon.Message;
import tachyon.NdArray;
import tachyon.PeerDeadException;
import tachyon.Records;
import tachyon.Request;
import tachyon.RpcException;
import tachyon.Server;
import tachyon.Slot;

/** MatrixPeer ROLE MODE PATH COUNT BLOCK: one side of the matrix, in Java. See bindings/run-matrix. */
final class MatrixPeer {
    private static final int LARGEST = 1048448;
    private static final int RECORD_TYPE = 7;
    private static final int RECORD_SIZE = 24;
    private static final int FAILING_TYPE = 9;
    private static final int FAILING_CODE = 42;
    private static final String FAILING_TEXT = "not today";
    private static final DType[] DTYPES = {DType.FLOAT32, DType.FLOAT64, DType.INT16, DType.UINT8};

    private static byte[] block;
    private static long count;

    private record Rule(int size, int start, int typeId, DType dtype, long[] shape) {
        static Rule of(long number) {
            long r = mix(number);
            int size = (int) (r >>> 16) & ((1 << (r >>> 10) % 13) - 1);
            return new Rule(
                    Long.remainderUnsigned(r, 1024) == 0 ? LARGEST : size,
                    (int) (r >>> 40) & 0xfffff,
                    (int) (r >>> 20),
                    DTYPES[(int) (r & 3)],
                    new long[] {(r >>> 8) % 5, (r >>> 16) % 7, (r >>> 24) % 33});
        }

        byte[] payload(int size) {
            return Arrays.copyOfRange(block, start, start + size);
        }

        int items() {
            return (int) (shape[0] * shape[1] * shape[2]);
        }

        int element(int index) {
            return (start + index) % 120;
        }

        /** The array, by Java's own types. */
        NdArray array() {
            int n = items();
            Object array;
            switch (dtype) {
                case FLOAT32 -> {
                    float[] a = new float[n];
                    for (int i = 0; i < n; i++) a[i] = element(i);
                    array = a;
                }
                case FLOAT64 -> {
                    double[] a = new double[n];
                    for (int i = 0; i < n; i++) a[i] = element(i);
                    array = a;
                }
                case INT16 -> {
                    short[] a = new short[n];
                    for (int i = 0; i < n; i++) a[i] = (short) element(i);
                    array = a;
                }
                default -> {
                    byte[] a = new byte[n];
                    for (int i = 0; i < n; i++) a[i] = (byte) element(i);
                    array = a;
                }
            }
            return NdArray.of(array, shape);
        }
    }

    private static long mix(long number) {
        long z = (number + 1) * 0x9e3779b97f4a7c15L;
        z = (z ^ z >>> 30) * 0xbf58476d1ce4e5b9L;
        z = (z ^ z >>> 27) * 0x94d049bb133111ebL;
        return z ^ z >>> 31;
    }

    private static void expect(boolean good, String what, long number) {
        if (!good) {
            throw new AssertionError("message " + number + ": " + what);
        }
    }

    private static void sendStream(Bus bus) throws InterruptedException {
        for (long i = 0; i < count; i++) {
            Rule rule = Rule.of(i);
            if (i % 2 == 1) {
                bus.send(rule.payload(rule.size), rule.typeId);
                continue;
            }
            try (Slot slot = bus.reserve(rule.size)) {
                MemorySegment.copy(block, rule.start, slot.segment(), JAVA_BYTE, 0, rule.size);
                slot.commit(rule.typeId);
            }
        }
    }

    private static void receiveStream(Bus bus) {
        long received = 0;
        for (Message message : bus.messages()) {
            Rule rule = Rule.of(received);
            expect(message.typeId() == rule.typeId, "type", received);
            expect(Arrays.equals(message.data(), rule.payload(rule.size)), "bytes", received);
            received++;
        }
        expect(received == count, "the end", received);
    }

    private static void sendRecords(Bus bus) throws InterruptedException {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment records = arena.allocate(RECORD_SIZE * count, 8);
            for (long i = 0; i < count; i++) {
                records.set(JAVA_LONG, i * RECORD_SIZE, i);
                records.set(JAVA_LONG, i * RECORD_SIZE + 8, mix(i));
                records.set(JAVA_DOUBLE, i * RECORD_SIZE + 16, i / 2.0);
            }
            expect(bus.sendRecords(records, RECORD_SIZE, RECORD_TYPE) == count, "sent", count);
        }
    }

    private static void receiveRecords(Bus bus) throws InterruptedException {
        for (long i = 0; i < count; ) {
            try (Records run = bus.recvRecords(RECORD_SIZE, 5000, RECORD_TYPE)) {
                for (long j = 0; j < run.count(); j++, i++) {
                    MemorySegment record = run.get(j);
                    boolean same = record.get(JAVA_LONG, 0) == i
                            && record.get(JAVA_LONG, 8) == mix(i)
                            && record.get(JAVA_DOUBLE, 16) == i / 2.0;
                    expect(same, "record", i);
                }
            }
        }
    }

    private static void sendArrays(Bus bus) throws InterruptedException {
        for (long i = 0; i < count; i++) {
            NdArray array = Rule.of(i).array();
            if (i % 2 == 1) {
                bus.sendArray(array, 0);
                continue;
            }
            try (ArraySlot slot = bus.reserveArray(array.dtype(), array.shape())) {
                slot.elements().copyFrom(array.elements());
                slot.commit(0);
            }
        }
    }

    private static void receiveArrays(Bus bus) throws InterruptedException {
        for (long i = 0; i < count; i++) {
            NdArray wanted = Rule.of(i).array();
            NdArray array = bus.recvArray();
            expect(array.dtype() == wanted.dtype(), "dtype", i);
            expect(Arrays.equals(array.shape(), wanted.shape()), "shape", i);
            expect(array.elements().mismatch(wanted.elements()) == -1, "elements", i);
        }
    }

    private static byte[] xor(byte[] data) {
        byte[] changed = data.clone();
        for (int i = 0; i < changed.length; i++) {
            changed[i] ^= 0x5a;
        }
        return changed;
    }

    private static void call(String path) throws InterruptedException {
        try (Caller caller = Caller.connect(path)) {
            for (long i = 0; i < count; i++) {
                Rule rule = Rule.of(i);
                byte[] request = rule.payload(rule.size % 4096);
                if (i % 97 != 0) {
                    expect(Arrays.equals(caller.call(request, 1), xor(request)), "reply", i);
                    continue;
                }
                try {
                    caller.call(request, FAILING_TYPE);
                    expect(false, "it must fail", i);
                } catch (RpcException e) {
                    expect(e.code() == FAILING_CODE && e.text().equals(FAILING_TEXT), "failure", i);
                }
            }
        }
    }

    private static void serve(String path) throws InterruptedException {
        long served = 0;
        try (Server server = Server.listen(path)) {
            for (; ; served++) {
                Request request = server.serve();
                if (request.typeId() == FAILING_TYPE) {
                    request.fail(FAILING_CODE, FAILING_TEXT);
                } else {
                    request.reply(xor(request.data()), 0);
                }
            }
        } catch (ClosedException e) {
            expect(served == count, "the end", served);
        }
    }

    /** Goes on until the other one is killed. */
    private static void flow(Bus bus, boolean sends) throws InterruptedException {
        byte[] data = Arrays.copyOf(block, 1000);
        try {
            for (;;) {
                if (sends) {
                    bus.send(data, 0);
                } else {
                    bus.recv();
                }
            }
        } catch (PeerDeadException e) {
            // as it should
        }
    }

    private static void run(String mode, Bus bus, boolean sends) throws InterruptedException {
        switch (mode + (sends ? " out" : " in")) {
            case "stream out" -> sendStream(bus);
            case "stream in" -> receiveStream(bus);
            case "records out" -> sendRecords(bus);
            case "records in" -> receiveRecords(bus);
            case "arrays out" -> sendArrays(bus);
            case "arrays in" -> receiveArrays(bus);
            default -> flow(bus, sends);
        }
    }

    public static void main(String[] arguments) throws Exception {
        boolean sends = arguments[0].equals("producer");
        String mode = arguments[1];
        String path = arguments[2];
        count = Long.parseLong(arguments[3]);
        block = Files.readAllBytes(Path.of(arguments[4]));
        if (!mode.equals("rpc")) {
            try (Bus bus = sends ? Bus.connect(path) : Bus.listen(path)) {
                run(mode, bus, sends);
            }
        } else if (sends) {
            call(path);
        } else {
            serve(path);
        }
        System.out.println("ok");
    }
}
