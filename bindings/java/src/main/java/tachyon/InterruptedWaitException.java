package tachyon;

/**
 * The thread was interrupted while it waited where Java allows no InterruptedException: in an
 * iterator. The thread's interrupt status is set.
 */
public final class InterruptedWaitException extends TachyonException {
    private static final long serialVersionUID = 1;

    private InterruptedWaitException() {
        super(Errno.EINTR, "the thread was interrupted while it waited");
    }

    static InterruptedWaitException keep() {
        Thread.currentThread().interrupt();
        return new InterruptedWaitException();
    }
}
