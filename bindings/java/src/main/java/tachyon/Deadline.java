package tachyon;

import java.time.Duration;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/** When a wait is over, on the clock of {@link System#nanoTime()}. */
final class Deadline {
    static final Deadline NEVER = new Deadline(0);
    static final Deadline NOW = new Deadline(0);

    private final long at;

    private Deadline(long at) {
        this.at = at;
    }

    /** Zero and less: one try. */
    static Deadline in(Duration timeout) {
        if (timeout.isNegative() || timeout.isZero()) {
            return NOW;
        }
        long most = Long.MAX_VALUE / 2; // 146 years
        boolean isLong = timeout.compareTo(Duration.ofNanos(most)) >= 0;
        return isLong ? NEVER : new Deadline(System.nanoTime() + timeout.toNanos());
    }

    /** What the library takes: nanoseconds, 0 not to wait, -1 to wait for ever. */
    long left() {
        if (this == NEVER) {
            return -1;
        }
        return this == NOW ? 0 : Math.max(at - System.nanoTime(), 0);
    }

    boolean isOver() {
        return left() == 0;
    }

    /** Waits for this thread's turn; false where the time was over first. */
    boolean acquire(Semaphore turn) throws InterruptedException {
        if (this == NEVER) {
            turn.acquire();
            return true;
        }
        // Whoever does not wait is not interrupted.
        return this != NOW && turn.tryAcquire(left(), TimeUnit.NANOSECONDS);
    }
}
