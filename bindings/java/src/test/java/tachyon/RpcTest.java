package tachyon;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Map;
import org.junit.jupiter.api.Test;

class RpcTest {
    private static final byte[] NOTHING = {};

    /** Both ends, in one process. */
    private static final class Pair implements AutoCloseable {
        final Caller caller;
        final Server server;

        Pair(Options options) throws Exception {
            String path = Ends.path();
            Ends.Running<Server> listening = new Ends.Running<>(() -> Server.listen(path, options, Ends.PATIENCE));
            caller = Caller.connect(path, new Options(), Ends.PATIENCE);
            server = listening.get();
        }

        Pair() throws Exception {
            this(new Options());
        }

        @Override
        public void close() {
            caller.close();
            server.close();
        }
    }

    private static byte[] answer(byte[] request) {
        return ("re: " + new String(request)).getBytes();
    }

    @Test
    void callsAreAnswered() throws Exception {
        try (Pair pair = new Pair()) {
            Ends.Running<?> serving = new Ends.Running<>(() -> {
                pair.server.serveAll(Map.of(
                        1,
                        RpcTest::answer,
                        2,
                        request -> {
                            throw new IllegalStateException("no way");
                        },
                        3,
                        request -> new byte[2 << 20]));
                return null;
            });
            assertArrayEquals("re: hello".getBytes(), pair.caller.call("hello".getBytes(), 1));
            try (PendingCall first = pair.caller.submit("a".getBytes(), 1);
                    PendingCall second = pair.caller.submit("b".getBytes(), 1, Ends.PATIENCE)) {
                assertArrayEquals("re: b".getBytes(), second.await(Ends.PATIENCE));
                assertArrayEquals("re: a".getBytes(), first.await());
                TachyonException e = assertThrows(TachyonException.class, first::await);
                assertEquals(Errno.EINVAL, e.errno());
            }
            Map<Integer, Integer> codes =
                    Map.of(2, RpcException.EXCEPTION, 3, RpcException.TOO_LARGE, 4, RpcException.UNKNOWN_TYPE);
            codes.forEach((type, code) -> {
                RpcException e = assertThrows(RpcException.class, () -> pair.caller.call(NOTHING, type));
                assertEquals(code, e.code());
                assertTrue(type != 2 || e.text().equals("IllegalStateException: no way"), e.text());
            });
            assertThrows(TooLargeException.class, () -> pair.caller.call(new byte[2 << 20], 1));
            pair.caller.close();
            serving.get();
        }
    }

    @Test
    void requestsAreAnsweredInAnyOrderByAnyThread() throws Exception {
        try (Pair pair = new Pair()) {
            PendingCall first = pair.caller.submit("1".getBytes(), 7);
            PendingCall second = pair.caller.submit("2".getBytes(), 8);
            Request one = pair.server.serve();
            Request two = pair.server.serve(Ends.PATIENCE);
            assertEquals(7, one.typeId());
            new Ends.Running<>(() -> {
                        two.fail(42, "not today");
                        one.reply("one".getBytes(), 0);
                        return null;
                    })
                    .get();
            RpcException e = assertThrows(RpcException.class, second::await);
            assertEquals(42, e.code());
            assertEquals("not today", e.text());
            assertArrayEquals("one".getBytes(), first.await());
            assertThrows(WaitTimeoutException.class, () -> pair.server.serve(Ends.BLINK));
            assertThrows(WaitTimeoutException.class, () -> pair.caller.call(NOTHING, 7, Ends.BLINK));
            pair.server.serve().reply("late".getBytes(), 0); // dropped
            PendingCall third = pair.caller.submit(NOTHING, 9);
            assertThrows(WaitTimeoutException.class, () -> third.await(Ends.BLINK));
            pair.server.serve().reply("three".getBytes(), 0);
            assertArrayEquals("three".getBytes(), third.await());
            pair.server.close();
            assertThrows(ClosedException.class, () -> pair.caller.call(NOTHING, 7));
        }
    }

    @Test
    void interruptsAndCloseEndCalls() throws Exception {
        try (Pair pair = new Pair()) {
            Ends.Running<byte[]> calling = new Ends.Running<>(() -> pair.caller.call(NOTHING, 1));
            Ends.await(() -> pair.caller.stats().dataSleeps() > 0);
            // Another thread's call with a timeout does not wait for that one.
            assertThrows(WaitTimeoutException.class, () -> pair.caller.call(NOTHING, 1, Ends.BLINK));
            calling.thread.interrupt();
            assertThrows(InterruptedException.class, calling::get);
            Ends.Running<byte[]> other = new Ends.Running<>(() -> pair.caller.call(NOTHING, 1));
            Ends.Running<Request> serving = new Ends.Running<>(() -> {
                for (;;) {
                    pair.server.serve();
                }
            });
            Ends.await(() -> pair.caller.stats().dataSleeps() > 1 && pair.server.stats().dataSleeps() > 0);
            serving.thread.interrupt();
            assertThrows(InterruptedException.class, serving::get);
            pair.caller.close();
            assertThrows(CancelledException.class, other::get);
        }
    }

    @Test
    void aCallThatWasGivenUpLeavesNothingBehind() throws Exception {
        try (Pair pair = new Pair(new Options().capacity(4096))) {
            for (int i = 0; i < 70_000; i++) { // more than may be outstanding
                pair.caller.submit(NOTHING, 1).close();
                Request request = pair.server.serve();
                if (i % 7000 == 0) {
                    request.reply(new byte[100], 0); // too late
                }
            }
            PendingCall last = pair.caller.submit("x".getBytes(), 1);
            pair.server.serve().reply("y".getBytes(), 0);
            assertArrayEquals("y".getBytes(), last.await());
            assertEquals(0, pair.caller.stats().leases());
        }
    }

    @Test
    void aListenerServesManyClients() throws Exception {
        String path = Ends.path();
        try (ServerListener listener = new ServerListener(path)) {
            for (int i = 0; i < 3; i++) {
                Ends.Running<byte[]> calling = new Ends.Running<>(() -> {
                    try (Caller caller = Caller.connect(path)) {
                        return caller.call("x".getBytes(), 1);
                    }
                });
                try (Server server = listener.accept(Ends.PATIENCE)) {
                    server.serveAll(Map.of(1, RpcTest::answer));
                }
                assertArrayEquals("re: x".getBytes(), calling.get());
            }
            assertThrows(ProtocolException.class, () -> {
                Ends.Running<Server> accepting = new Ends.Running<>(listener::accept);
                try {
                    Bus.connect(path, new Options(), Ends.PATIENCE);
                } finally {
                    accepting.thread.interrupt();
                }
            });
        }
    }
}
