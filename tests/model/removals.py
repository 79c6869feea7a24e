"""What to leave out of the protocols, one at a time: each barrier, each second look, each order.

The checker must find an error in every one of these. Where it does not, the line is not needed,
or the model does not see what it is for. Not here: I2, the line that stays free. It is no order,
and without it the checker finds no error either.
"""

from __future__ import annotations

from protocols import Removal

RELEASE, ACQUIRE, SEQ_CST = (rf"{order}(?= +#)" for order in ("release", "acquire", "seq_cst"))
NOTHING = "            x = 0"

REMOVALS = [
    # ring.h, ring.c
    Removal("publication", "R1", RELEASE, "relaxed", "the stamp is stored after the frame"),
    Removal("publication", "A1", ACQUIRE, "relaxed", "the frame is read after the stamp"),
    Removal("publication", "I1", "", NOTHING, "stale bytes that look like the next stamp"),
    Removal("publication", "R4", RELEASE, "relaxed", "the frame is read before it is given back"),
    Removal("publication", "A4", ACQUIRE, "relaxed", "what was given back is overwritten after"),
    # ring_records.c
    Removal("records", "R1", RELEASE, "relaxed", "the batch is stored before its first stamp"),
    Removal("records", "A1", ACQUIRE, "relaxed", "the batch is looked at after its first stamp"),
    Removal("records", "A1r", ACQUIRE, "relaxed", "a run goes on into frames stored later"),
    Removal("records", "first", "", "head[0] <- 1 release", "the first stamp is stored last"),
    # wait.h
    Removal("wake, fences", "W2", "fence", "x = 0", "waker: publish, then look who sleeps"),
    Removal("wake, fences", "S2", "fence", "x = 0", "sleeper: announce, then look again"),
    Removal("wake, fences", "S3", "<- published relaxed", "= seen", "the second look"),
    Removal("wake, fences", "P1", "", NOTHING, "a message that nobody was told of"),
    Removal("wake, fences", "P4", "", NOTHING, "an epoch is rung once"),
    Removal("wake, fences", "epoch+", r"epochs \+ 1", "1", "a new epoch after a ring"),
    Removal("wake, membarrier", "S2", "membarrier", "fence", "a fence in the waker as well"),
    Removal("wake, membarrier", "S2", "membarrier", "x = 0", "any barrier at all"),
    Removal(
        "wake, membarrier",
        "P1",
        "",
        "epoch <- waiting relaxed\npublished <- n release\ngoto told",
        "the compiler's order",
    ),
    Removal("wake, membarrier", "S3", "<- published relaxed", "= seen", "the second look"),
    Removal("wake, membarrier", "P4", "", NOTHING, "an epoch is rung once"),
    Removal("claim", "P4", "<= 0", "== 0", "an older epoch is not rung after a newer one"),
    Removal("claim", "P5", "", "rung <- epoch relaxed\nok = 1", "only one thread rings an epoch"),
    Removal("claim", "W2", "fence", "x = 0", "waker: publish, then look who sleeps"),
    Removal("claim", "S2", "fence", "x = 0", "sleeper: announce, then look again"),
    # bus_wait.c
    Removal("room", "T1", RELEASE, "relaxed", "the target is stored after what was sent before"),
    Removal("room", "T2", ACQUIRE, "relaxed", "the ring is looked at after the target"),
    Removal(
        "room, lengths",
        "T3",
        "fence",
        "x = 0",
        "the target is stored, then who sleeps is looked at",
    ),
    Removal("room", "T5", "", NOTHING, "a peer that sleeps is told what is wanted"),
    Removal("room", "T6", "<- published relaxed", "= cursor", "another look at the ring"),
    Removal("room, lengths", "T8", "", NOTHING, "leases are looked at before sleeping"),
    Removal("room", "S2", "fence", "x = 0", "announce, then look again: data"),
    Removal("room", "S2s", "fence", "x = 0", "announce, then look again: room"),
    Removal("room", "S3s", "", NOTHING, "the second look: room"),
    Removal("room", "W2s", "fence", "x = 0", "give room back, then look who sleeps"),
    # leases
    Removal("releases", "R2", RELEASE, "relaxed", "the lease is entered before the cursor"),
    Removal("releases", "A2", ACQUIRE, "relaxed", "the lease is looked at after the cursor"),
    Removal("releases", "R3", RELEASE, "relaxed", "the message is read before it is released"),
    Removal("releases", "R3a", RELEASE, "relaxed", "the same, where nothing else is leased"),
    Removal("releases", "A3", ACQUIRE, "relaxed", "read_position moves after its reader is done"),
    Removal("releases", "R4", "acq_rel", "relaxed", "the peer learns that all readers are done"),
    Removal("releases", "R4a", "acq_rel", "relaxed", "the same, where nothing else is leased"),
    Removal("releases", "A4", ACQUIRE, "relaxed", "what was given back is overwritten after"),
    Removal("releases", "F1", "fence", "x = 0", "two who release neighbours: one sees the other"),
    Removal("releases", "F2", "fence weak", "x = 0", "the same, where nothing else was leased"),
    Removal("releases", "F2c", "", "goto out", "another look at the cursor"),
    # a copy, where nothing is leased
    Removal("copies", "A5", ACQUIRE, "relaxed", "all readers of older messages are done"),
    Removal("copies", "A5", "read_position acquire", "cursor relaxed", "nothing else is leased"),
    Removal("copies", "R5", RELEASE, "relaxed", "the copy is made before its place is given back"),
    Removal(
        "copies",
        "R5",
        "",
        "cursor <- 2 release\nread_position <- 2 release",
        "read_position moves before the cursor",
    ),
    Removal("copies, two", "R6", RELEASE, "relaxed", "read_position is stored before the cursor"),
    # bus_life.c
    Removal("close", "E1", ACQUIRE, "relaxed", "the end is read before the last look at the ring"),
    Removal("close", "E2", RELEASE, "relaxed", "all frames are published before the end is"),
    Removal("close", "E3", "fence", "x = 0", "the end is stored before the sockets hang up"),
    Removal("close", "E6", "", NOTHING, "the sockets hang up"),
    Removal(
        "close",
        "A1",
        "acquire.*",
        "acquire\nst <- state acquire\nend = 2 if st == 2 else end",
        "the end is looked at before the ring",
    ),
    Removal("users", "U1", SEQ_CST, "relaxed", "enter, then look whether it is over"),
    Removal("users", "U1d", SEQ_CST, "relaxed", "the same, the look"),
    Removal("users", "U2k", SEQ_CST, "relaxed", "it is over, then who is in"),
    Removal("users", "U2", SEQ_CST, "relaxed", "the same, the look"),
    Removal("users", "U3", SEQ_CST, "relaxed", "descriptors are used before leaving"),
]
