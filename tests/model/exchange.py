"""The exchange line of ring.h, as protocols.py has the others."""

from __future__ import annotations

from engine import Model

# What a thread does, one after another. A small message goes over the line where it can; a large
# one never does. What comes over the line is copied, or leased (and released by another thread),
# or leased and put back, to be received once more; what comes over the ring is copied.
SMALL, LARGE, COPY, LEASE, BACK = range(5)
LETTERS = "SLclb"  # in names of models
THEIRS, SENT, OURS = 0, 2, 4  # and leases, which are odd

# Positions are counted in frames of the ring. Rings are not full here, and lines of them are not
# used again: for that, see PUBLICATION and RELEASES. A stamp in the ring is 1, or 3 with
# FRAME_FOLLOWS; one on the line is 8 * position + 4 * FRAME_ODD + who. A message's payload says
# whose it is and which: it has to be the next one.
NEXT = """
        next:
            goto ended if k == len({does})
            do = {does}[k]
            k = k + 1
"""

# tachyon_bus_send(): ring_heeds_turn(), ring_exchange(), ring_next_flags(), ring_publish().
SEND = """
            goto flags if do == LARGE
            t <- turn_{me} relaxed
            goto ring if t == THEIRS
            t <- turn_{me} acquire                                  # A6
            goto flags if t != OURS                                 # X1
            text <- 10 * {mine} + n plain
            turn_{me} <- SENT relaxed                               # X1s
            line <- 8 * pos + 4 * odd + {mine} release              # R7
            odd = 1 - odd                                           # X3
            used = used + 1
            goto sent
        flags:
            t <- turn_{me} relaxed
            goto ring if t != SENT
            mark = 2                                                # X2
            ok <- cas turn_{me} SENT THEIRS relaxed                 # X2c
        ring:
            body_{me}[pos] <- 10 * {mine} + n plain
            head_{me}[pos] <- 1 + mark release                      # R1
            pos = pos + 1
        sent:
            n = n + 1
            t = 0
            ok = 0
            mark = 0
            {wake}
            goto next
"""
WAKE = """
            fence                                                   # W2
            e <- waiting_{peer} relaxed
            goto next if e - rung <= 0
            rung = e
            put bell_{peer}
"""

# ring_peek(), ring_exchange_is_fair(), ring_take_exchange(), ring_untake_exchange().
RECEIVE = """
        receive:
            {begin}
        look:
            stamp <- head_{peer}[cursor] acquire                    # A1
            goto got if stamp == 1                                  # X2l
            l <- line acquire                                       # A7
            goto exchanged if l == 8 * cursor + 4 * expect + {theirs}
            goto got if stamp == 3
            {sleep}
            goto look
        got:
            goto over_{me} if do == BACK
            x <- body_{peer}[cursor] plain
            check x == 10 * {theirs} + m
            cursor = cursor + 1
            m = m + 1
            goto over_{me}
        exchanged:
            t <- turn_{me} relaxed
            check t in (THEIRS, SENT)                               # fair
            x <- text plain
            check x == 10 * {theirs} + m
            expect = 1 - expect                                     # X3
            goto leased if do != COPY
            m = m + 1
            turn_{me} <- OURS release                               # R8
            goto over_{me}
        leased:
            turn_{me} <- 2 * m + 3 release
            goto back if do == BACK
            given = 2 * m + 3
            handed_{me} <- given release
            m = m + 1
            goto over_{me}
        back:
            expect = 1 - expect                                     # X3b
            turn_{me} <- THEIRS relaxed                             # X1b
        over_{me}:
            t = 0
            x = 0
            l = 0
            stamp = 0
            goto next
"""
# ring_begin_exchange().
BEGIN = """
            goto look if begun
            begun = 1
            turn_{me} <- OURS relaxed                               # X1a
"""
# bus_sleep_for_data(), which looks at both places.
SLEEP = """
            goto announce if rings != epochs
            epochs = epochs + 1
        announce:
            waiting_{me} <- epochs release                          # S1
            fence                                                   # S2
            l <- line relaxed                                       # S3x
            goto retire if l == 8 * cursor + 4 * expect + {theirs}  # S3x
            stamp <- head_{peer}[cursor] relaxed                    # S3
            goto retire if stamp                                    # S3
            wait bell_{me}
            ring <- take bell_{me}
            rings = rings + ring
            check rings <= epochs
            ring = 0
        retire:
            waiting_{me} <- 0 relaxed
"""

ENDED = """
        ended:
            {last}
"""
HAND_OVER = "handed_{me} <- given + 1 + (given == 0) release"
# ring_release_exchange(), twice: the second one is refused, whatever has become of the turn.
RELEASER = """
        wait:
            h <- handed_{me} acquire
            goto wait if h == seen
            seen = h
            lease = h - (h % 2 == 0)
            goto last if lease < 3 or lease == released
            x <- text plain
            check x == 10 * {theirs} + (lease - 3) // 2
            ok <- cas turn_{me} lease OURS release                  # R9
            check ok
            ok <- cas turn_{me} lease OURS release                  # R9c
            check not ok
            released = lease
            x = 0
        last:
            goto wait if h % 2
"""

SIDES = {
    "connector": {"me": "c", "peer": "l", "mine": 1, "theirs": 2},
    "listener": {"me": "l", "peer": "c", "mine": 2, "theirs": 1},
}


def program(side: str, does: tuple[int, ...], asleep: bool, begun: bool, last: str) -> str:
    """The text of a thread of this side."""
    text = NEXT
    sends = any(what <= LARGE for what in does)
    receives = any(what > LARGE for what in does)
    if sends and receives:
        text += "            goto receive if do > LARGE\n"
    text += SEND * sends + RECEIVE * receives + ENDED
    parts = {
        **SIDES[side],
        "does": repr(does),
        "wake": WAKE if asleep else "",
        "sleep": SLEEP if asleep else "stamp = 0\n            l = 0",
        "begin": BEGIN if side == "connector" and not begun else "",
        "last": last,
    }
    parts = {
        name: part.format(**SIDES[side]) if isinstance(part, str) else part
        for name, part in parts.items()
    }
    return text.format(**parts)


def exchange(
    connector: tuple[tuple[int, ...], ...],
    listener: tuple[tuple[int, ...], ...],
    *,
    used: tuple[int, int] | None = None,
    begun: bool = True,
) -> Model:
    """What each thread of both sides does.

    used: each side is one thread, who sleeps when it finds nothing, and sends so many over the
    line; else threads look again and again. begun: the connector has waited before, and has the
    first turn already.
    """
    asleep = used is not None
    threads = {}
    words = {"line": [0], "text": [0]}
    scripts = {"connector": connector, "listener": listener}
    for place, (side, does) in enumerate(scripts.items()):
        me = str(SIDES[side]["me"])
        releaser = any(LEASE in what for what in does)
        last = f"check used == {used[place]}" if used else ""
        for n, what in enumerate(does):
            if releaser and what[0] > LARGE:
                last = HAND_OVER
            threads[f"{side} {n}"] = program(side, what, asleep, begun, last)
        frames = sum(what <= LARGE for script in does for what in script) + 1
        words |= {f"head_{me}": [0] * frames, f"body_{me}": [0] * frames}
        words[f"turn_{me}"] = [OURS if begun and side == "connector" else THEIRS]
        if asleep:
            words[f"waiting_{me}"] = [0]
        words[f"handed_{me}"] = [0]
        if releaser:
            threads[f"{side}, releasing"] = RELEASER.format(**SIDES[side])
    told = [
        "+".join("".join(LETTERS[w] for w in what) for what in does) for does in scripts.values()
    ]
    name = f"exchange: {' with '.join(told)}, {'asleep' if asleep else 'looking'}"
    constants = {"SMALL": SMALL, "LARGE": LARGE, "COPY": COPY, "LEASE": LEASE, "BACK": BACK}
    constants |= {"THEIRS": THEIRS, "SENT": SENT, "OURS": OURS}
    channels = ["bell_c", "bell_l"] if asleep else []
    # The turn is one side's, and only one's.
    final = ("(turn_c == OURS) + (turn_l == OURS)", 1)
    return Model(name, words, channels, threads, constants, final)


# A peer that writes on the line without having the turn: its message is received, and leased, and
# then another one comes. Whatever it does, what is leased stays leased until it is released.
HOSTILE = {
    "peer": """
            line <- 2 release
            line <- 6 release
        """,
    "receiver": """
            l <- line acquire
            goto last if l != 2
            turn <- 3 release
            handed <- 3 release
            t <- turn relaxed                                       # X1a
            goto begun if t != THEIRS                               # X1a
            turn <- OURS relaxed
        begun:
            l <- line acquire
            goto over if l != 6
            t <- turn relaxed
            goto over if t not in (THEIRS, SENT)                    # fair
            turn <- 5 release
            goto over
        last:
            handed <- 2 release
        over:
        """,
    "releaser": """
        wait:
            h <- handed acquire
            goto wait if h == 0
            goto over if h == 2
            ok <- cas turn 3 OURS release                           # R9
            check ok
        over:
        """,
    "sender": """
            t <- turn acquire                                       # A6
            goto over if t != OURS
            turn <- SENT relaxed                                    # X1s
            line <- 1 release                                       # R7
        over:
        """,
}


def hostile() -> Model:
    words = {"line": [0], "turn": [THEIRS], "handed": [0]}
    constants = {"THEIRS": THEIRS, "SENT": SENT, "OURS": OURS}
    return Model("exchange: a hostile peer", words, [], HOSTILE, constants)
