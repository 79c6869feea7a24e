package tachyon;

/**
 * What the library reports. Subclasses are what a program may want to tell from the rest; the
 * message says what was tried, what happened, and where it helps which path or limit.
 */
public class TachyonException extends RuntimeException {
    private static final long serialVersionUID = 1;

    /** The error number of the C library, positive. */
    private final int errno;

    TachyonException(int errno, String message) {
        super(message);
        this.errno = errno;
    }

    /** {@return the error number of the C library, positive} */
    public int errno() {
        return errno;
    }

    /** The exception for a negative result of the call that this thread has just made. */
    static TachyonException of(long result, String attempt) {
        int errno = (int) -result;
        return of(errno, attempt, Native.explain(errno));
    }

    static TachyonException of(int errno, String attempt, String explanation) {
        String message = attempt + ": " + explanation;
        return switch (errno) {
            case Errno.ECLOSED -> new ClosedException(errno, message);
            case Errno.EPEERDEAD -> new PeerDeadException(errno, message);
            case Errno.ECANCELED -> new CancelledException(errno, message);
            case Errno.EAGAIN, Errno.ETIMEDOUT -> new WaitTimeoutException(errno, message);
            case Errno.ELEASES -> new LeasesException(errno, message);
            case Errno.EBUSY -> new BusyException(errno, message);
            case Errno.EMSGSIZE -> new TooLargeException(errno, message);
            case Errno.EPROTO, Errno.EPROTONOSUPPORT -> new ProtocolException(errno, message);
            case Errno.ECONNREFUSED -> new RefusedException(errno, message);
            case Errno.EBADMSG -> new FormatException(errno, message);
            case Errno.EADDRINUSE -> new AddressInUseException(errno, message);
            default -> new TachyonException(errno, message);
        };
    }
}
