package tachyon;

/** Leases fill the ring: the peer cannot send what it has before some are closed. */
public final class LeasesException extends TachyonException {
    private static final long serialVersionUID = 1;

    LeasesException(int errno, String message) {
        super(errno, message);
    }
}
