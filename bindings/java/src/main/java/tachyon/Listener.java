package tachyon;

import java.time.Duration;

/** Owns a path, and accepts one bus for each process that connects. */
public final class Listener implements AutoCloseable {
    private final Acceptor acceptor;

    /** Listens on a path. AddressInUseException where a live listener has it. */
    public Listener(String path) {
        this(path, new Options());
    }

    /** {@link #Listener(String)} with options. */
    public Listener(String path, Options options) {
        acceptor = new Acceptor(path, options, Opening.STREAM);
    }

    /** Waits for a process to connect; one thread at a time. */
    public Bus accept() throws InterruptedException {
        return new Bus(acceptor.accept(Deadline.NEVER));
    }

    /** {@link #accept()}, waiting at most so long. */
    public Bus accept(Duration timeout) throws InterruptedException {
        return new Bus(acceptor.accept(Deadline.in(timeout)));
    }

    /** Stops listening; accepted buses live on, and an accept that waits throws CancelledException. */
    @Override
    public void close() {
        acceptor.close();
    }
}
