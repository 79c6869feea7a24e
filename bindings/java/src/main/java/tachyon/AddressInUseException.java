package tachyon;

/** A live listener has the path. */
public final class AddressInUseException extends TachyonException {
    private static final long serialVersionUID = 1;

    AddressInUseException(int errno, String message) {
        super(errno, message);
    }
}
