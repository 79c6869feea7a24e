package tachyon;

import java.lang.ref.Reference;

/** The listener under Listener and ServerListener; freed when nothing refers to it any more. */
final class Acceptor {
    private final long address;

    Acceptor(String path, Options options, int kind) {
        long made = Opening.listener(path, options, kind);
        address = made;
        Handle.CLEANER.register(this, () -> Native.listenerFree(made));
    }

    long accept(Deadline deadline) throws InterruptedException {
        try {
            return Opening.accept(address, deadline);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    void close() {
        Native.listenerClose(address);
        Reference.reachabilityFence(this);
    }
}
