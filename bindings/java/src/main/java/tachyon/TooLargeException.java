package tachyon;

/** The message is larger than the ring can carry; or the next message is no record of this size. */
public final class TooLargeException extends TachyonException {
    private static final long serialVersionUID = 1;

    TooLargeException(int errno, String message) {
        super(errno, message);
    }
}
