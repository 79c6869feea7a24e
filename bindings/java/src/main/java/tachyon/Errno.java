package tachyon;

/** Linux's numbers of the errors that this package tells apart. */
final class Errno {
    static final int EINTR = 4;
    static final int EAGAIN = 11;
    static final int EBUSY = 16;
    static final int EINVAL = 22;
    static final int EFBIG = 27;
    static final int ECLOSED = 32; // EPIPE
    static final int EPROTO = 71;
    static final int EBADMSG = 74;
    static final int EMSGSIZE = 90;
    static final int EPROTONOSUPPORT = 93;
    static final int EADDRINUSE = 98;
    static final int ELEASES = 105; // ENOBUFS
    static final int ETIMEDOUT = 110;
    static final int ECONNREFUSED = 111;
    static final int ECANCELED = 125;
    static final int EPEERDEAD = 130; // EOWNERDEAD

    private Errno() {}
}
