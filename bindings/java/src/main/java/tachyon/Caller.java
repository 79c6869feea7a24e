package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;

/**
 * The calling end. Any thread may call; one at a time is in the library, so give threads that shall
 * wait side by side a Caller each, or submit first and wait afterwards.
 */
public final class Caller extends RpcEnd {
    private final Queue<Long> abandoned = new ConcurrentLinkedQueue<>();

    private Caller(long bus) {
        super(bus);
    }

    /** Connects to a server; waits for one to appear. */
    public static Caller connect(String path) throws InterruptedException {
        return connect(path, new Options());
    }

    /** {@link #connect(String)} with options. */
    public static Caller connect(String path, Options options) throws InterruptedException {
        return new Caller(Opening.connect(path, options, Opening.RPC, Deadline.NEVER));
    }

    /** {@link #connect(String)} with options, for so long. */
    public static Caller connect(String path, Options options, Duration timeout) throws InterruptedException {
        return new Caller(Opening.connect(path, options, Opening.RPC, Deadline.in(timeout)));
    }

    /**
     * Calls, and waits for the reply. RpcException where the server failed the call; ClosedException and
     * PeerDeadException: no reply will come. A call that ends with an
     * exception is given up.
     *
     * @param request its bytes
     * @param typeId which of the server's procedures
     * @return the reply, a copy
     */
    public byte[] call(byte[] request, int typeId) throws InterruptedException {
        return call(request, typeId, Deadline.NEVER);
    }

    /** {@link #call(byte[], int)}, for sending and waiting together at most so long. */
    public byte[] call(byte[] request, int typeId, Duration timeout) throws InterruptedException {
        return call(request, typeId, Deadline.in(timeout));
    }

    private byte[] call(byte[] request, int typeId, Deadline deadline) throws InterruptedException {
        long id = submit(request, typeId, deadline);
        boolean over = false;
        try {
            byte[] reply = await(id, deadline);
            over = true;
            return reply;
        } finally {
            if (!over) {
                forget(id);
            }
        }
    }

    /** Calls, and does not wait for the reply. */
    public PendingCall submit(byte[] request, int typeId) throws InterruptedException {
        return new PendingCall(this, submit(request, typeId, Deadline.NEVER));
    }

    /** {@link #submit(byte[], int)}, waiting for room at most so long. */
    public PendingCall submit(byte[] request, int typeId, Duration timeout) throws InterruptedException {
        return new PendingCall(this, submit(request, typeId, Deadline.in(timeout)));
    }

    private long submit(byte[] request, int typeId, Deadline deadline) throws InterruptedException {
        enter(handle.sending, deadline, "submit");
        try {
            long rpc = handle.address();
            forgetAbandoned(rpc);
            check(
                    waiting(deadline, timeout -> NativeRpc.reserve(rpc, pointer.address(), request.length, timeout)),
                    "submit");
            fill(request);
            check(NativeRpc.commit(rpc, request.length, typeId, pointer.address()), "submit");
            return pointer.get(JAVA_LONG, 0);
        } finally {
            leave(handle.sending);
        }
    }

    byte[] await(long id, Deadline deadline) throws InterruptedException {
        enter(handle.sending, deadline, "wait for a reply");
        try {
            long rpc = handle.address();
            long result =
                    waiting(deadline, timeout -> NativeRpc.await(rpc, id, raw.address(), timeout));
            check(result, "wait for a reply");
            int code = raw.get(JAVA_INT, Receiving.TYPE_ID);
            byte[] reply = take(rpc);
            if (result == 1) {
                throw new RpcException(code, new String(reply, StandardCharsets.UTF_8));
            }
            return reply;
        } finally {
            leave(handle.sending);
        }
    }

    /** Gives a call up; one that is over is none. Where another thread waits for a reply, that one does it later. */
    void forget(long id) {
        abandoned.add(id);
        if (handle.sending.tryEnter()) {
            try {
                forgetAbandoned(handle.address());
            } catch (CancelledException e) {
                // it was given up with all others
            } finally {
                leave(handle.sending);
            }
        }
    }

    private void forgetAbandoned(long rpc) {
        for (Long id = abandoned.poll(); id != null; id = abandoned.poll()) {
            NativeRpc.forget(rpc, id);
        }
    }
}
