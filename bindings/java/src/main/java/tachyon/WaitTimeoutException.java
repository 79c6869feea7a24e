package tachyon;

/** Nothing happened in the time that was given. Nothing is lost; try again. */
public final class WaitTimeoutException extends TachyonException {
    private static final long serialVersionUID = 1;

    WaitTimeoutException(int errno, String message) {
        super(errno, message);
    }
}
