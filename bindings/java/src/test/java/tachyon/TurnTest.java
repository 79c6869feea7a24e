package tachyon;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class TurnTest {
    private int inside; // without any synchronization but the turn's
    private int total;

    private Void takeTurns(Turn turn, int count) throws InterruptedException {
        for (int i = 0; i < count; i++) {
            assertTrue(turn.enter(Deadline.NEVER));
            try {
                assertEquals(0, inside);
                inside++;
                total++;
                inside--;
            } finally {
                turn.leave();
            }
        }
        return null;
    }

    @Test
    void oneThreadAtATimeIsInside() throws Exception {
        for (int round = 0; round < 300; round++) {
            Turn turn = new Turn();
            total = 0;
            List<Ends.Running<?>> threads = new ArrayList<>();
            for (int i = 0; i < 3; i++) { // one is the first, and others take its right away in the middle
                threads.add(new Ends.Running<>(() -> takeTurns(turn, 2000)));
            }
            for (Ends.Running<?> thread : threads) {
                thread.get();
            }
            assertEquals(6000, total);
        }
    }

    @Test
    void theFirstOneIsNotPutOutWhileItIsInside() throws Exception {
        Turn turn = new Turn();
        assertTrue(turn.tryEnter());
        Ends.Running<Boolean> trying = new Ends.Running<>(turn::tryEnter);
        assertFalse(trying.get());
        Ends.Running<Boolean> waiting = new Ends.Running<>(() -> turn.enter(Deadline.NEVER));
        Ends.await(() -> waiting.thread.getState() == Thread.State.WAITING);
        turn.leave();
        assertTrue(waiting.get()); // and never leaves
        assertFalse(turn.enter(Deadline.in(Ends.BLINK)));
        Ends.Running<Boolean> interrupted = new Ends.Running<>(() -> turn.enter(Deadline.NEVER));
        interrupted.thread.interrupt();
        assertThrows(InterruptedException.class, interrupted::get);
        turn.open();
        assertTrue(turn.tryEnter());
        assertTrue(turn.tryEnter());
    }

    @Test
    void aTurnThatIsLeftByAnotherThreadIsFree() throws Exception {
        Turn turn = new Turn();
        assertTrue(turn.tryEnter());
        turn.leave();
        assertTrue(turn.enterShared(Deadline.NEVER));
        new Ends.Running<>(() -> {
                    turn.leave();
                    return null;
                })
                .get();
        assertTrue(turn.tryEnter());
    }
}
