package tachyon;

/** The peer's process ended without closing the bus. All that it had sent was received. */
public final class PeerDeadException extends TachyonException {
    private static final long serialVersionUID = 1;

    PeerDeadException(int errno, String message) {
        super(errno, message);
    }
}
