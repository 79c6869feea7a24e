package tachyon;

/** A call that the server failed. */
public final class RpcException extends TachyonException {
    private static final long serialVersionUID = 1;

    /** The server has no such procedure. */
    public static final int UNKNOWN_TYPE = 0x7fff0001;

    /** The procedure failed: "Type: message". */
    public static final int EXCEPTION = 0x7fff0002;

    /** The reply does not fit into the ring. */
    public static final int TOO_LARGE = 0x7fff0003;

    private final int code;
    private final String text;

    RpcException(int code, String text) {
        super(0, "the call failed: " + text.split("\0", 2)[0]);
        this.code = code;
        this.text = text;
    }

    /** {@return a code of this class, or the server's own} */
    public int code() {
        return code;
    }

    /** {@return the server's words; after a NUL perhaps a traceback} */
    public String text() {
        return text;
    }
}
