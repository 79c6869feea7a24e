package tachyon;

import java.time.Duration;

/** A call whose reply is still to come. Wait for it, or close it: that gives it up. */
public final class PendingCall implements AutoCloseable {
    private final Caller caller;
    private final long id;

    PendingCall(Caller caller, long id) {
        this.caller = caller;
        this.id = id;
    }

    /** Waits for the reply, once; failures as of {@link Caller#call}. */
    public byte[] await() throws InterruptedException {
        return caller.await(id, Deadline.NEVER);
    }

    /** {@link #await()}, for so long. After WaitTimeoutException the call is still outstanding. */
    public byte[] await(Duration timeout) throws InterruptedException {
        return caller.await(id, Deadline.in(timeout));
    }

    /** Gives the call up, if its reply did not come. */
    @Override
    public void close() {
        caller.forget(id);
    }
}
