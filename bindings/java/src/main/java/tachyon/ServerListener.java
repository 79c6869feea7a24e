package tachyon;

import java.time.Duration;

/** Owns a path, and accepts one Server for each client that connects. */
public final class ServerListener implements AutoCloseable {
    private final Acceptor acceptor;

    /** Listens on a path. AddressInUseException where a live listener has it. */
    public ServerListener(String path) {
        this(path, new Options());
    }

    /** {@link #ServerListener(String)} with options. */
    public ServerListener(String path, Options options) {
        acceptor = new Acceptor(path, options, Opening.RPC);
    }

    /** Waits for a client to connect; one thread at a time. */
    public Server accept() throws InterruptedException {
        return new Server(acceptor.accept(Deadline.NEVER));
    }

    /** {@link #accept()}, waiting at most so long. */
    public Server accept(Duration timeout) throws InterruptedException {
        return new Server(acceptor.accept(Deadline.in(timeout)));
    }

    /** Stops listening; accepted servers live on. */
    @Override
    public void close() {
        acceptor.close();
    }
}
