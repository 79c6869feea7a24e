package tachyon;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.Semaphore;

/**
 * Whose turn it is to use one half of a bus: a lock that a thread on its own takes without an atomic
 * instruction. Two of those, for a message that is sent and received, cost as much as the message.
 *
 * <p>The first thread that comes keeps the one permit, and from then on only writes into a word
 * whether it is inside. When another thread comes, it closes the arena of that word. To close a
 * shared arena is atomic to the accesses of all threads: those that were before have happened, and those
 * that come are refused with IllegalStateException. So if the word says that the first thread is outside,
 * it can no more come in that way, and the permit is given back for it; if inside, it is refused when
 * it leaves, and gives the permit back itself. After that everybody needs the permit.
 */
final class Turn {
    private static final int EVERYBODY = Integer.MAX_VALUE / 2;

    private final Semaphore permits = new Semaphore(1);
    private final MemorySegment inside = Arena.ofAuto().allocate(JAVA_BYTE);
    private final Arena bias = Arena.ofShared();
    private final MemorySegment word = inside.reinterpret(bias, null);
    private boolean claimed; // by an owner; guarded by this
    private volatile boolean shared; // everybody needs the permit; written under this
    private Thread owner; // a thread finds itself here only where it wrote itself

    /** The way of a thread on its own; false: try enter(). */
    boolean enterAlone() {
        return owner == Thread.currentThread() && write((byte) 1);
    }

    /** Waits for the turn; false where the time was over first. */
    boolean enter(Deadline deadline) throws InterruptedException {
        return enterAlone() || claim() || permits.tryAcquire() || deadline.acquire(permits);
    }

    /** Does not wait. */
    boolean tryEnter() {
        return enterAlone() || claim() || permits.tryAcquire();
    }

    /** As {@link #enter}, for who leaves in another thread perhaps. */
    boolean enterShared(Deadline deadline) throws InterruptedException {
        share();
        return permits.tryAcquire() || deadline.acquire(permits);
    }

    void leave() {
        if (owner != Thread.currentThread() || !write((byte) 0)) {
            permits.release();
        }
    }

    /** Lets all that wait in, and all that come later. */
    void open() {
        permits.release(EVERYBODY);
    }

    private boolean write(byte value) {
        try {
            word.set(JAVA_BYTE, 0, value);
            return true;
        } catch (IllegalStateException e) {
            owner = null;
            return false;
        }
    }

    private boolean claim() {
        return !shared && claimOrShare();
    }

    private synchronized boolean claimOrShare() {
        if (claimed || shared) {
            share();
            return false;
        }
        permits.acquireUninterruptibly(); // nobody else has it
        claimed = true;
        owner = Thread.currentThread();
        return write((byte) 1);
    }

    private synchronized void share() {
        if (!shared) {
            shared = true;
            bias.close();
            if (claimed && inside.get(JAVA_BYTE, 0) == 0) {
                permits.release();
            }
        }
    }
}
