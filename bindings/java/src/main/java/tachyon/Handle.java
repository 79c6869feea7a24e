package tachyon;

import java.lang.ref.Cleaner;
import java.util.function.LongFunction;

/**
 * A bus or an RPC end that the library made, whose turn it is to use it, and its end.
 *
 * <p>One thread at a time sends and one receives: who does has its turn. It is freed once: by
 * close(), if nobody has one then, else when the collector finds that the bus is not reachable.
 * What may run beside those (closing, releasing, counters) is synchronized on the handle, so that
 * nothing else is in the library while it is freed.
 */
final class Handle implements Runnable {
    static final Cleaner CLEANER = Cleaner.create();

    /** What ends and frees the address. */
    enum Kind {
        BUS {
            @Override
            void close(long address) {
                Native.busClose(address);
            }

            @Override
            void free(long address) {
                Native.busFree(address);
            }
        },
        RPC {
            @Override
            void close(long address) {
                NativeRpc.close(address);
            }

            @Override
            void free(long address) {
                NativeRpc.free(address);
            }
        };

        abstract void close(long address);

        abstract void free(long address);
    }

    final Turn sending = new Turn();
    final Turn receiving = new Turn();
    private final Kind kind;
    private final long address;
    private final long bus;
    private boolean freed;
    private boolean closed; // who is alone and does not see it yet, hears it from the library

    /** The address is the bus itself, or an end that has it. */
    Handle(Kind kind, long address, long bus) {
        this.kind = kind;
        this.address = address;
        this.bus = bus;
    }

    /** For who has a turn. */
    long address() {
        if (closed) {
            throw cancelled();
        }
        return address;
    }

    /** The bus itself, for who has a turn. */
    long busAddress() {
        if (closed) {
            throw cancelled();
        }
        return bus;
    }

    private static CancelledException cancelled() {
        return new CancelledException(Errno.ECANCELED, "this end was closed");
    }

    /**
     * Calls that are in the library return. Those that wait for their turn get it, and find it closed; so do
     * all that come later.
     */
    synchronized void close() {
        if (closed) {
            return;
        }
        closed = true;
        kind.close(address);
        if (sending.tryEnter() && receiving.tryEnter()) {
            run();
        }
        sending.open();
        receiving.open();
    }

    /** Frees it: when no call can be using it. */
    @Override
    public synchronized void run() {
        if (!freed) {
            freed = true;
            closed = true;
            kind.free(address);
        }
    }

    /** Gives a place in the ring back: allowed after the bus was freed, too. */
    synchronized void release(long lease) {
        Native.release(bus, lease);
    }

    /** Runs a call that may run beside others. */
    synchronized <T> T look(LongFunction<T> call) {
        if (freed) {
            throw cancelled();
        }
        return call.apply(bus);
    }
}
