package tachyon;

/** The peer closed the bus in good order. All that it sent was received. */
public final class ClosedException extends TachyonException {
    private static final long serialVersionUID = 1;

    ClosedException(int errno, String message) {
        super(errno, message);
    }
}
