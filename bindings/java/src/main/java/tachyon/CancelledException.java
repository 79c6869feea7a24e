package tachyon;

/** This end was closed: by {@code close()}, perhaps of another thread. */
public final class CancelledException extends TachyonException {
    private static final long serialVersionUID = 1;

    CancelledException(int errno, String message) {
        super(errno, message);
    }
}
