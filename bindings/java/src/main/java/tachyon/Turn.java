package tachyon;

import java.lang.foreign.Arena;
import java.util.concurrent.Semaphore;

/**
 * Whose turn it is to use one half of a bus: a lock that a thread on its own takes without an atomic
 * instruction. Two of those, for a message that is sent and received, cost as much as the message.
 *
 * <p>The first thread that comes keeps the one permit, and from then on only notes whether it is
 * inside, and looks whether another one has come: which says so, stops all threads for a moment,
 * and looks in its turn. The stop is the handshake by which the JDK ends a shared arena: a thread is
 * either before its note, or behind its look, or between them with the note to be seen. So one of
 * the two sees the other, and the permit is given back, once: by the newcomer where the first thread is
 * outside, else by that one. After that everybody needs the permit.
 *
 * <p>(An access to memory of the arena that ends would do without the note, by what the JDK
 * promises of it. But a thread whose access is cut short so finds itself interrupted.)
 */
final class Turn {
    private static final int EVERYBODY = Integer.MAX_VALUE / 2;

    private final Semaphore permits = new Semaphore(1);
    private Thread owner; // the first; a thread finds itself here only where it wrote itself
    private boolean claimed; // there is an owner; guarded by this
    private boolean handedIn; // its permit; guarded by this
    private volatile boolean shared; // everybody needs the permit; written under this
    private boolean inside; // the owner; written by it alone

    /** The way of a thread on its own; false: try enter(). */
    boolean enterAlone() {
        if (owner != Thread.currentThread()) {
            return false;
        }
        inside = true;
        if (!shared) {
            return true;
        }
        inside = false;
        owner = null;
        handIn();
        return false;
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
        if (owner != Thread.currentThread() || !inside) {
            permits.release();
            return;
        }
        inside = false;
        if (shared) {
            owner = null;
            handIn();
        }
    }

    /** Lets all that wait in, and all that come later. */
    void open() {
        permits.release(EVERYBODY);
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
        inside = true;
        return true;
    }

    private synchronized void share() {
        if (shared) {
            return;
        }
        shared = true;
        if (claimed) {
            Arena.ofShared().close(); // stops all threads for a moment
            if (!inside) {
                handIn();
            }
        }
    }

    private synchronized void handIn() {
        if (!handedIn) {
            handedIn = true;
            permits.release();
        }
    }
}
