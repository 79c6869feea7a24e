package tachyon;

/** What a client asks, a copy. To be answered once, by any thread, in any order. */
public final class Request {
    private final Server server;
    private final long id;
    private final byte[] data;
    private final int typeId;

    Request(Server server, long id, byte[] data, int typeId) {
        this.server = server;
        this.id = id;
        this.data = data;
        this.typeId = typeId;
    }

    /** {@return the bytes; the array is this request's own} */
    public byte[] data() {
        return data;
    }

    /** {@return which procedure, unsigned} */
    public int typeId() {
        return typeId;
    }

    /** Answers; waits while the ring is full. After TooLargeException it can still be failed. */
    public void reply(byte[] reply, int typeId) throws InterruptedException {
        server.reply(id, reply, typeId);
    }

    /** Makes the call an RpcException at the caller. */
    public void fail(int code, String text) throws InterruptedException {
        server.fail(id, code, text);
    }
}
