package tachyon;

/** The listener refused the connection, for the reason that the message gives. */
public final class RefusedException extends TachyonException {
    private static final long serialVersionUID = 1;

    RefusedException(int errno, String message) {
        super(errno, message);
    }
}
