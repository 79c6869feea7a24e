package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.spi.AbstractSelectableChannel;
import java.nio.channels.spi.AbstractSelector;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedDeque;

/**
 * Lets {@link Thread#interrupt()} end a sleep in C. The JDK calls {@code wakeup()} of the selector
 * that a thread is in when it is interrupted, platform thread or virtual; this one selects nothing,
 * and its wakeup makes an eventfd readable, which the library watches while it sleeps
 * (tachyon_thread_interrupt_fd).
 *
 * <p>A wakeup may come late, when the sleep is over: then it ends another sleep, whose thread finds
 * that it was not interrupted, and sleeps on. So the eventfds are never closed, but used again: as many
 * as ever waited at one time.
 */
final class Interrupter extends AbstractSelector {
    private static final ConcurrentLinkedDeque<Interrupter> FREE = new ConcurrentLinkedDeque<>();
    private static final int CLOEXEC_NONBLOCK = 02000000 | 04000;
    private static final MethodHandle EVENTFD = libc("eventfd", FunctionDescriptor.of(JAVA_INT, JAVA_INT, JAVA_INT));
    private static final FunctionDescriptor BYTES =
            FunctionDescriptor.of(JAVA_LONG, JAVA_INT, ValueLayout.ADDRESS, JAVA_LONG);
    private static final MethodHandle READ = libc("read", BYTES);
    private static final MethodHandle WRITE = libc("write", BYTES);
    private static final MemorySegment ONE = Arena.global().allocateFrom(JAVA_LONG, 1);

    /** A call that sleeps at most this long: -1 for ever, 0 not at all. */
    @FunctionalInterface
    interface Sleep {
        long run(long timeoutNs);
    }

    private final int fd;

    private Interrupter() {
        super(null);
        try {
            fd = (int) EVENTFD.invokeExact(0, CLOEXEC_NONBLOCK);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
        if (fd < 0) {
            throw new TachyonException(24, "wait: no more descriptors (EMFILE)");
        }
    }

    private static MethodHandle libc(String name, FunctionDescriptor descriptor) {
        Linker linker = Linker.nativeLinker();
        return linker.downcallHandle(linker.defaultLookup().find(name).orElseThrow(), descriptor);
    }

    /**
     * Runs a call until it is over, the deadline has come ({@code -ETIMEDOUT}), or this thread is
     * interrupted. Between the two calls here that set the descriptor, a virtual thread does
     * nothing that could move it to another carrier.
     */
    static long waiting(Deadline deadline, Sleep call) throws InterruptedException {
        Interrupter interrupter = FREE.pollFirst();
        if (interrupter == null) {
            interrupter = new Interrupter();
        }
        try {
            for (;;) {
                if (Thread.interrupted()) {
                    throw new InterruptedException();
                }
                long result = interrupter.sleep(deadline.left(), call);
                if (result != -Errno.EINTR) {
                    return result;
                }
                interrupter.drain();
                if (deadline.isOver()) {
                    return -Errno.ETIMEDOUT;
                }
            }
        } finally {
            FREE.addFirst(interrupter);
        }
    }

    private long sleep(long timeoutNs, Sleep call) {
        begin();
        Native.interruptFd(fd);
        try {
            return call.run(timeoutNs);
        } finally {
            Native.interruptFd(-1);
            end();
        }
    }

    private void drain() {
        try (Arena arena = Arena.ofConfined()) {
            long ignored = (long) READ.invokeExact(fd, arena.allocate(8), 8L);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
    }

    @Override
    public Selector wakeup() {
        try {
            long ignored = (long) WRITE.invokeExact(fd, ONE, 8L);
        } catch (Throwable e) {
            throw Native.unexpected(e);
        }
        return this;
    }

    // ---- what a selector has, and this one does not -------------------------------------------

    @Override
    protected void implCloseSelector() {}

    @Override
    protected SelectionKey register(AbstractSelectableChannel channel, int operations, Object attachment) {
        throw new UnsupportedOperationException();
    }

    @Override
    public Set<SelectionKey> keys() {
        throw new UnsupportedOperationException();
    }

    @Override
    public Set<SelectionKey> selectedKeys() {
        throw new UnsupportedOperationException();
    }

    @Override
    public int selectNow() {
        throw new UnsupportedOperationException();
    }

    @Override
    public int select(long timeout) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int select() {
        throw new UnsupportedOperationException();
    }
}
