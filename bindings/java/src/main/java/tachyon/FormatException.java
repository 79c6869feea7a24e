package tachyon;

/** The message is not what was asked for: no such array, or a record of another type. */
public final class FormatException extends TachyonException {
    private static final long serialVersionUID = 1;

    FormatException(int errno, String message) {
        super(errno, message);
    }
}
