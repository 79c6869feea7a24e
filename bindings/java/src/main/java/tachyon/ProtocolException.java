package tachyon;

/** The peer broke the protocol, or speaks another version or kind of it. */
public final class ProtocolException extends TachyonException {
    private static final long serialVersionUID = 1;

    ProtocolException(int errno, String message) {
        super(errno, message);
    }
}
