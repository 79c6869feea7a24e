package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;

/** The serving end. Any thread may serve and any reply; one at a time does each. */
public final class Server extends RpcEnd {
    /** Answers requests of one type. Its exception is the caller's RpcException. */
    @FunctionalInterface
    public interface Procedure {
        /** {@return the reply} */
        byte[] call(byte[] request) throws Exception;
    }

    Server(long bus) {
        super(bus);
    }

    /** Listens on a path until one client connects; the path is free again then. */
    public static Server listen(String path) throws InterruptedException {
        return listen(path, new Options());
    }

    /** {@link #listen(String)} with options. */
    public static Server listen(String path, Options options) throws InterruptedException {
        return new Server(Opening.listen(path, options, Opening.RPC, Deadline.NEVER));
    }

    /** {@link #listen(String)} with options, for so long. */
    public static Server listen(String path, Options options, Duration timeout) throws InterruptedException {
        return new Server(Opening.listen(path, options, Opening.RPC, Deadline.in(timeout)));
    }

    /** Waits for a request. */
    public Request serve() throws InterruptedException {
        return serve(Deadline.NEVER);
    }

    /** {@link #serve()}, for so long. */
    public Request serve(Duration timeout) throws InterruptedException {
        return serve(Deadline.in(timeout));
    }

    /**
     * Waits until there is a request, and takes nothing; zero looks once. Failures as of {@link #serve()}.
     *
     * @return whether there is one; false: the time was over
     */
    public boolean awaitRequest(Duration timeout) throws InterruptedException {
        return await(handle.receiving, timeout, "serve", left -> Native.waitData(handle.busAddress(), left));
    }

    private Request serve(Deadline deadline) throws InterruptedException {
        enter(handle.receiving, deadline, "serve");
        try {
            long rpc = handle.address();
            check(waiting(deadline, timeout -> NativeRpc.serve(rpc, raw.address(), timeout)), "serve");
            int typeId = raw.get(JAVA_INT, Receiving.TYPE_ID);
            long id = raw.get(JAVA_LONG, Receiving.CORRELATION_ID);
            return new Request(this, id, take(rpc), typeId);
        } finally {
            leave(handle.receiving);
        }
    }

    void reply(long id, byte[] data, int typeId) throws InterruptedException {
        enter(handle.sending, Deadline.NEVER, "reply");
        try {
            long rpc = handle.address();
            check(
                    waiting(
                            Deadline.NEVER,
                            timeout -> NativeRpc.reserveReply(rpc, id, pointer.address(), data.length, timeout)),
                    "reply");
            fill(data);
            check(NativeRpc.commitReply(rpc, data.length, typeId), "reply");
        } finally {
            leave(handle.sending);
        }
    }

    void fail(long id, int code, String text) throws InterruptedException {
        enter(handle.sending, Deadline.NEVER, "fail a call");
        try (Arena arena = Arena.ofConfined()) {
            long rpc = handle.address();
            MemorySegment words = arena.allocateFrom(ValueLayout.JAVA_BYTE, text.getBytes(StandardCharsets.UTF_8));
            check(
                    waiting(
                            Deadline.NEVER,
                            timeout -> NativeRpc.fail(rpc, id, code, words, words.byteSize(), timeout)),
                    "fail a call");
        } finally {
            leave(handle.sending);
        }
    }

    /** Answers requests by type until the client closes or dies, or this end is closed. */
    public void serveAll(Map<Integer, Procedure> procedures) throws InterruptedException {
        try {
            for (;;) {
                answer(serve(), procedures);
            }
        } catch (ClosedException | PeerDeadException | CancelledException e) {
            // it was the last one
        }
    }

    private static void answer(Request request, Map<Integer, Procedure> procedures) throws InterruptedException {
        Procedure procedure = procedures.get(request.typeId());
        if (procedure == null) {
            String which = Integer.toUnsignedString(request.typeId());
            request.fail(RpcException.UNKNOWN_TYPE, "there is no procedure " + which);
            return;
        }
        byte[] reply;
        try {
            reply = procedure.call(request.data());
        } catch (InterruptedException e) {
            throw e;
        } catch (Exception e) {
            request.fail(RpcException.EXCEPTION, e.getClass().getSimpleName() + ": " + e.getMessage());
            return;
        }
        try {
            request.reply(reply, 0);
        } catch (TooLargeException e) {
            request.fail(RpcException.TOO_LARGE, e.getMessage());
        }
    }
}
