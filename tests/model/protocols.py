"""The protocols of libtachyon, line by line, and what to leave out of them.

Each thread is what the C does, see the functions named; the notes are the names that the C has
for its orders (R1, A1, ...). Positions are counted in lines, a stamp is 2 * position + 1.
REMOVALS has, for each model, the lines to spoil: a note, what to replace, by what. The checker
must find an error in each.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from engine import Model
from exchange import BACK, COPY, LARGE, LEASE, SMALL, exchange, hostile


class Removal(NamedTuple):
    """One line to spoil."""

    model: str
    note: str  # which lines: those whose note begins with this
    old: str  # a pattern; "" for the whole line
    new: str
    why: str


def spoil(model: Model, removal: Removal) -> Model:
    """Return the model without that order."""
    threads = {}
    found = False
    for name, text in model.threads.items():
        if r"\n" in removal.old:  # a pattern of several lines
            threads[name] = re.sub(removal.old, removal.new, text)
            found |= threads[name] != text
            continue
        lines = []
        for line in text.splitlines():
            note = line.partition("#")[2].strip().split(" ")[0]
            if note == removal.note:
                spoilt = re.sub(removal.old, removal.new, line) if removal.old else removal.new
                assert spoilt != line, f"{removal} changes nothing"
                line, found = spoilt, True
            lines.append(line)
        threads[name] = "\n".join(lines)
    assert found, f"{removal} is nowhere"
    return model._replace(threads=threads)


# ring_publish(), ring_refresh(); ring_peek(), ring_take() and a release in order. Frames of one
# and two lines; the second line of a long one is filled with the stamp that its place will be
# expected to have in the next round, which is the worst that a payload can be.
PUBLICATION = {
    "producer": """
        next:
            goto done if n == len(SIZES)
        room:
            goto write if pos + SIZES[n] <= seen + LINES - 1        # I2
            seen <- read_position acquire                           # A4
            goto room
        write:
            body[pos % LINES] <- n plain
            goto look if SIZES[n] == 1
            head[(pos + 1) % LINES] <- 2 * (pos + 1 + LINES) + 1 plain
        look:
            ahead <- head[(pos + SIZES[n]) % LINES] relaxed
            goto publish if ahead != 2 * (pos + SIZES[n]) + 1
            head[(pos + SIZES[n]) % LINES] <- 0 relaxed             # I1
        publish:
            size[pos % LINES] <- SIZES[n] relaxed
            head[pos % LINES] <- 2 * pos + 1 release                # R1
            pos = pos + SIZES[n]
            n = n + 1
            goto next
        done:
        """,
    "consumer": """
        next:
            stamp <- head[pos % LINES] acquire                      # A1
            goto again if stamp != 2 * pos + 1
            check n < len(SIZES)
            s <- size[pos % LINES] relaxed
            check s == SIZES[n]
            value <- body[pos % LINES] plain
            check value == n
            goto release if s == 1
            value <- head[(pos + 1) % LINES] plain
            check value == 2 * (pos + 1 + LINES) + 1
        release:
            pos = pos + s
            n = n + 1
            read_position <- pos release                            # R4
            goto next
        again:
            goto next if n < len(SIZES)
        """,
}


def publication(lines: int, sizes: tuple[int, ...]) -> Model:
    name = f"publication: {lines} lines, frames of {', '.join(map(str, sizes))}"
    words = {"read_position": [0], "head": [0] * lines, "body": [0] * lines, "size": [0] * lines}
    return Model(name, words, [], PUBLICATION, {"LINES": lines, "SIZES": sizes})


# ring_send_records() and ring_recv_records(): a batch of two, then a frame by itself. Who sees
# the first sees the second; the third is acquired by its own stamp.
RECORDS = {
    "producer": """
            body[1] <- 1 plain
            size[1] <- 1 relaxed
            head[1] <- 3 relaxed
            x = 0                                                   # first
            body[0] <- 1 plain
            size[0] <- 1 relaxed
            head[0] <- 1 release                                    # R1
            body[2] <- 1 plain
            size[2] <- 1 relaxed
            head[2] <- 5 release                                    # R1
        """,
    "consumer": """
        first:
            stamp <- head[0] acquire                                # A1
            goto first if stamp != 1
            s <- size[0] relaxed
            check s == 1
            value <- body[0] plain
            stamp <- head[1] acquire                                # A1r
            check stamp == 3
            s <- size[1] relaxed
            check s == 1
            value <- body[1] plain
            stamp <- head[2] acquire                                # A1r
            goto done if stamp != 5
            s <- size[2] relaxed
            check s == 1
            value <- body[2] plain
        done:
        """,
}


def records() -> Model:
    words = {"head": [0] * 3, "body": [0] * 3, "size": [0] * 3}
    return Model("records: a batch and a frame", words, [], RECORDS)


# sleeper_announce(), bus_barrier(), bus_sleep_for_data(), sleeper_take_rings(); bus_wake_data(),
# waker_look(), waker_claim() for one waking thread.
WAKE = {
    "waker": """
        next:
            goto done if n == N
            n = n + 1
            published <- n release                                  # P1
            W2                                                      # W2
            epoch <- waiting relaxed
        told:
            goto next if epoch == 0
            goto next if epoch - rung <= 0                          # P4
            rung = epoch
            put bell
            goto next
        done:
        """,
    "sleeper": """
        next:
            goto done if seen == N
            there <- published acquire
            goto got if there > seen
            goto announce if rings != epochs
            epochs = epochs + 1                                     # epoch+
        announce:
            waiting <- epochs release                               # S1
            S2                                                      # S2
            there <- published relaxed                              # S3
            goto retire if there > seen
            wait bell                                               # S4
            n <- take bell                                          # S5
            rings = rings + n
            check rings <= epochs
        retire:
            waiting <- 0 relaxed
            goto next
        got:
            seen = seen + 1
            goto next
        done:
        """,
}


def wake(n: int, membarrier: bool) -> Model:
    w2, s2 = ("x = 0", "membarrier") if membarrier else ("fence", "fence")
    threads = {
        name: text.replace("W2      ", w2.ljust(8)).replace("S2      ", s2.ljust(11))
        for name, text in WAKE.items()
    }
    words = {"published": [0], "waiting": [0]}
    kind = "membarrier" if membarrier else "fences"
    return Model(f"wake-up by {kind}: {n} messages", words, ["bell"], threads, {"N": n})


# waker_claim() where two threads release, and both may wake: each epoch is rung once.
CLAIM = """
        next:
            goto over if n == {times}
            n = n + 1
            published{me} <- n release
            fence                                                   # W2
            epoch <- waiting relaxed
            goto next if epoch == 0
            last <- rung relaxed
        claim:
            goto next if epoch - last <= 0                          # P4
            ok <- cas rung last epoch relaxed                       # P5
            goto ring if ok
            last <- rung relaxed
            goto claim
        ring:
            put bell
            goto next
        over:
        """
CLAIMED = """
        next:
            a <- published0 acquire
            b <- published1 acquire
            goto done if a + b == 3
            goto announce if rings != epochs
            epochs = epochs + 1
        announce:
            waiting <- epochs release                               # S1
            fence                                                   # S2
            c <- published0 relaxed
            d <- published1 relaxed
            goto retire if c + d > a + b
            wait bell
            n <- take bell
            rings = rings + n
            check rings <= epochs
        retire:
            waiting <- 0 relaxed
            goto next
        done:
        """


def claim() -> Model:
    threads = {
        f"waker{n}": CLAIM.replace("{me}", str(n)).replace("{times}", str(n + 1)) for n in range(2)
    }
    words = {"published0": [0], "published1": [0], "waiting": [0], "rung": [0]}
    return Model("two wakers, one sleeper", words, ["bell"], {**threads, "sleeper": CLAIMED})


# bus_await_room_busy(), bus_want_room(), bus_look_for_room(); bus_look_for_data(),
# bus_leases_block(), and a consumer that gives its leases back only when told that they block.
# ROOM is what fits, in lines; both sides sleep.
ROOM = {
    "producer": """
        next:
            goto done if m == len(SIZES)
            goto write if pos + SIZES[m] <= seen + ROOM
            target <- pos + SIZES[m] - ROOM release                 # T1
            fence                                                   # T3
            e <- data_waiting relaxed                               # T4
            goto look if e - drung <= 0
            drung = e
            put data                                                # T5
        look:
            seen <- read_position acquire                           # A4
            goto write if pos + SIZES[m] <= seen + ROOM
            goto announce if rings != epochs
            epochs = epochs + 1
        announce:
            space_waiting <- epochs release                         # S1s
            fence                                                   # S2s
            seen <- read_position acquire                           # S3s
            goto retire if pos + SIZES[m] <= seen + ROOM
            wait room
            n <- take room
            rings = rings + n
            check rings <= epochs
        retire:
            space_waiting <- 0 relaxed
            goto look
        write:
            pos = pos + SIZES[m]
            m = m + 1
            published <- pos release                                # R1
            fence                                                   # W2
            e <- data_waiting relaxed
            goto next if e - drung <= 0
            drung = e
            put data
            goto next
        done:
        """,
    "consumer": """
        next:
            goto done if k == len(SIZES)
        receive:
            there <- published acquire                              # A1
            goto got if there > cursor
            goto sleep if position == cursor
            t <- target acquire                                     # T2
            goto blocked if cursor - position == ROOM
            goto sleep if t - position <= 0
        blocked:
            there <- published relaxed                              # T6
            goto receive if there > cursor
            check t - position <= 0 or t + ROOM - SIZES[k] == cursor
            goto release
        sleep:
            goto announce if rings != epochs
            epochs = epochs + 1
        announce:
            data_waiting <- epochs release                          # S1
            fence                                                   # S2
            there <- published relaxed                              # S3
            goto retire if there > cursor
            goto bell if position == cursor
            t <- target acquire                                     # T7
            goto retire if t - position > 0                         # T8
            goto retire if cursor - position == ROOM                # T9
        bell:
            wait data
            n <- take data
            rings = rings + n
            check rings <= epochs
        retire:
            data_waiting <- 0 relaxed
            goto receive
        got:
            cursor = cursor + SIZES[k]
            k = k + 1
            goto next
        release:
            position = cursor
            read_position <- position release                       # R4
            fence                                                   # W2s
            e <- space_waiting relaxed
            goto next if e - srung <= 0
            srung = e
            put room
            goto next
        done:
        """,
}


def room(lines: int, sizes: tuple[int, ...]) -> Model:
    words = {w: [0] for w in ("read_position", "data_waiting", "space_waiting", "published")}
    name = f"room and leases: {lines} lines, {', '.join(map(str, sizes))}"
    # No room was ever wanted: as bus_want_nothing() leaves it.
    words["target"] = [0]
    return Model(name, words, ["data", "room"], ROOM, {"SIZES": sizes, "ROOM": lines})


# ring_release_alone(), ring_release(), ring_advance(), ring_first_lease(): a message released by
# the thread that receives, and one by another. The lease words are of an earlier round.
RELEASE = """
            c <- cursor relaxed
            goto slow if {p} + 1 != c
            s <- lease[{p}] relaxed
            goto slow if s != 3
            x <- read_position relaxed
            goto slow if x != {p}
            lease[{p}] <- 1 release                                 # R3a
            ok <- cas read_position {p} c acq_rel                   # R4a
            fence weak                                              # F2
            d <- cursor relaxed
            goto out if d == c                                      # F2c
            goto advance
        slow:
            lease[{p}] <- 1 release                                 # R3
        advance:
            fence                                                   # F1
        again:
            from <- read_position relaxed
            to <- cursor acquire                                    # A2
            free = from
        scan:
            goto scanned if free >= to
            w <- lease[free] acquire                                # A3
            goto scanned if w != 1
            free = free + 1
            goto scan
        scanned:
            goto out if free == from
            ok <- cas read_position from free acq_rel               # R4
            goto again
        out:
        """
RELEASES = {
    "receiver": """
            lease[0] <- 3 relaxed
            cursor <- 1 release                                     # R2
            handed <- 1 release
            lease[1] <- 3 relaxed
            cursor <- 2 release                                     # R2
            value <- body[1] plain
            check value == 1
        """
    + RELEASE.replace("{p}", "1"),
    "releaser": """
        wait:
            h <- handed acquire
            goto wait if h == 0
            value <- body[0] plain
            check value == 0
        """
    + RELEASE.replace("{p}", "0"),
    "producer": """
        look:
            seen <- read_position acquire                           # A4
            check seen <= 2
            goto done if seen < 1
            body[0] <- 9 plain
            goto done if seen < 2
            body[1] <- 9 plain
        done:
        """,
}


def releases() -> Model:
    words = {"read_position": [0], "cursor": [0], "handed": [0], "lease": [1, 1], "body": [0, 1]}
    return Model("releases by two threads", words, [], RELEASES, final=("read_position", 2))


# ring_look() and ring_pass() in place of the second lease, where nothing is out. Its lease word is
# left from another lap, and says two lines.
COPIES = {
    "receiver": """
            lease[0] <- 3 relaxed
            cursor <- 1 release                                     # R2
            handed <- 1 release
            x <- read_position acquire                              # A5
            goto lease if x != 1
            value <- body[1] plain
            check value == 1
            read_position <- 2 release                              # R5
            cursor <- 2 release                                     # R6
            goto out
        lease:
            lease[1] <- 3 relaxed
            cursor <- 2 release                                     # R2
            value <- body[1] plain
            check value == 1
        """
    + RELEASE.replace("{p}", "1"),
    "releaser": RELEASES["releaser"],
    "producer": RELEASES["producer"],
}


def copies() -> Model:
    words = {"read_position": [0], "cursor": [0], "handed": [0], "lease": [1, 2], "body": [0, 1]}
    threads = {
        name: text.replace("if w != 1", "if w == 3").replace("free = free + 1", "free = free + w")
        for name, text in COPIES.items()
    }
    return Model("a copy beside a release", words, [], threads, final=("read_position", 2))


# ring_look() and ring_pass(): two messages received by copying, without a compare-and-swap, while
# another thread may still be in ring_advance() for one that was leased before.
TWO_COPIES = {
    "receiver": """
            lease[0] <- 3 relaxed
            cursor <- 1 release                                     # R2
            handed <- 1 release
        first:
            x <- read_position acquire                              # A5
            goto first if x != 1
            value <- body[1] plain
            check value == 1
            read_position <- 2 release                              # R5
            cursor <- 2 release                                     # R6
            value <- body[2] plain
            check value == 2
            read_position <- 3 release                              # R5
            cursor <- 3 release                                     # R6
        """,
    "releaser": RELEASES["releaser"],
    "producer": """
        look:
            a <- read_position acquire                              # A4
            goto done if a < 1
            body[0] <- 9 plain
            b <- read_position acquire                              # A4
            check b >= a and b <= 3
            goto done if b < 2
            body[1] <- 9 plain
            goto done if b < 3
            body[2] <- 9 plain
        done:
        """,
}


def two_copies() -> Model:
    words = {"read_position": [0], "cursor": [0], "handed": [0], "lease": [1] * 3}
    words["body"] = [0, 1, 2]
    return Model("two copies beside a release", words, [], TWO_COPIES, final=("read_position", 3))


# bus_tell_end(), bus_note_gone(), bus_peer_end(), bus_look_for_data(). hangup is the
# socket's end, which the receiver remembers.
CLOSE = {
    "closer": """
        next:
            goto close if n == N
            n = n + 1
            published <- n release                                  # R1
            fence                                                   # W2
            e <- waiting relaxed
            goto next if e - rung <= 0
            rung = e
            put bell
            goto next
        close:
            state <- 2 release                                      # E2
            fence                                                   # E3
            put hangup                                              # E6
            put bell                                                # E6
        """,
    "receiver": """
        next:
            st <- state acquire                                     # E1
            end = 2 if st == 2 else end
            there <- published acquire                              # A1
            goto got if there > seen
            goto over if end
            goto announce if rings != epochs
            epochs = epochs + 1
        announce:
            waiting <- epochs release                               # S1
            fence                                                   # S2
            st <- state acquire
            there <- published relaxed                              # S3
            goto retire if there > seen
            goto retire if st == 2                                  # E4
            wait bell
            n <- take bell
            h <- hear hangup
            rings = rings + n - h
            goto retire if h == 0
            st <- state acquire                                     # E5
            check st == 2
            end = 2
        retire:
            waiting <- 0 relaxed
            goto next
        got:
            seen = seen + 1
            goto next
        over:
            check seen == N
        """,
}


def close(n: int) -> Model:
    words = {"published": [0], "waiting": [0], "state": [1]}
    return Model(f"close after {n} messages", words, ["bell", "hangup"], CLOSE, {"N": n})


# bus_enter(), bus_leave(); handle_kill() and bus_tell_end(), which closes descriptors only when
# nobody may be using them.
USERS = {
    "user": """
            u <- add users 1 seq_cst                                # U1
            d <- dead seq_cst                                       # U1d
            goto leave if d
            fd <- descriptor plain
            check fd == 3
        leave:
            u <- add users -1 seq_cst                               # U3
        """,
    "closer": """
            ok <- cas dead 0 1 seq_cst                              # U2k
        wait:
            u <- users seq_cst                                      # U2
            goto wait if u != 0
            descriptor <- -1 plain
        """,
}


def users() -> Model:
    words = {"users": [0], "dead": [0], "descriptor": [3]}
    return Model("close while descriptors are used", words, [], USERS)


S, C = SMALL, COPY
MODELS = {
    "publication": lambda: publication(3, (2, 1, 1)),
    "records": records,
    "wake, fences": lambda: wake(3, False),
    "wake, membarrier": lambda: wake(3, True),
    "claim": claim,
    "room": lambda: room(2, (1, 1, 1)),
    "room, lengths": lambda: room(2, (1, 2)),
    "releases": releases,
    "copies": copies,
    "copies, two": two_copies,
    "close": lambda: close(1),
    "users": users,
    "exchange": lambda: exchange(((S, C, S),), ((C, S, C),), used=(1, 0), begun=False),
    "exchange, marked": lambda: exchange(((S, S, C),), ((C, C, S),), used=(1, 1)),
    "exchange, threads": lambda: exchange(((S, S), (C, C)), ((S, S), (LEASE, C))),
    "exchange, large": lambda: exchange(((S, LARGE, S), (C,)), ((S,), (C, C, C))),
    "exchange, leases": lambda: exchange(((S, S), (LEASE,)), ((S,), (LEASE, LEASE))),
    "exchange, put back": lambda: exchange(((S, S), (C,)), ((S,), (BACK, C, C))),
    "exchange, hostile": hostile,
}

LARGER = {
    "publication, twice round": lambda: publication(3, (1, 1, 2, 1, 1, 2)),
    "publication, 5 lines": lambda: publication(5, (2, 1, 2, 1, 2, 2)),
    "wake, fences, 6": lambda: wake(6, False),
    "wake, membarrier, 6": lambda: wake(6, True),
    "room, 1 at once": lambda: room(1, (1, 1, 1)),
    "room, 3 lines": lambda: room(2, (1, 2, 1)),
    "close after 3": lambda: close(3),
    "exchange, all ways": lambda: exchange(((S, C, S, LARGE, C),), ((C, S, C, C, S),), used=(2, 2)),
    "exchange, 3 threads": lambda: exchange(((S, LARGE, S), (C, C)), ((S, S), (BACK, C, C, C))),
    "exchange, 3 leases": lambda: exchange(((S, S, S), (C, C)), ((S, S), (LEASE,) * 3)),
}
