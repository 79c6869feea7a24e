package tachyon;

/** A slot of this thread is open, or too many calls are outstanding. */
public final class BusyException extends TachyonException {
    private static final long serialVersionUID = 1;

    BusyException(int errno, String message) {
        super(errno, message);
    }
}
