"""The table of the proofs of PROMISES.md: what `tests/run-proofs` runs, one row each.

A proof is a program of its own. Its last line is `proof: NAME: SIZE: ok` (or `FAILED`), SIZE
being its figures in words, and its exit code agrees with it; support.closing() prints that
line. `quick` is for every run of CI: all of them together take less than 15 minutes on two
cores, so that one should stay below a minute or two. `full` is the size that is worth a night.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Proof:
    """One row: name, and the commands, relative to the repository's root."""

    name: str
    quick: list[str]
    full: list[str]


PROOFS = [
    Proof(
        "transfer",
        ["tests/transfer/run", "--proof", "--messages", "45000"],
        ["tests/transfer/run", "--proof", "--messages", "2500000"],
    ),
    Proof(
        "kills",
        ["tests/stress/run", "kills", "300"],
        ["tests/stress/run", "kills", "10000"],
    ),
    Proof(
        "eintr",
        ["tests/stress/run", "eintr", "300000"],
        ["tests/stress/run", "eintr", "2000000"],
    ),
    Proof(
        "soak",
        ["tests/stress/run", "soak", "20"],
        ["tests/stress/run", "soak", "3600"],
    ),
    Proof(
        "model",
        ["tests/model/run"],
        ["tests/model/run", "--full"],
    ),
    Proof(
        "fuzzing",
        ["tests/fuzz/run", "--seconds", "60"],
        ["tests/fuzz/run", "--bare", "--executions", "100000000"],
    ),
    Proof(
        "aarch64",
        ["tests/aarch64/run"],
        ["tests/aarch64/run"],
    ),
    Proof(
        "tsan",
        ["tests/tsan/run", "1000000"],
        ["tests/tsan/run", "10000000"],
    ),
    Proof(
        "sandbox",
        ["tests/sandbox/run"],
        ["tests/sandbox/run"],
    ),
    Proof(
        "hostile",
        ["tests/hostile/run", "--quick"],
        ["tests/hostile/run"],
    ),
    Proof(
        "faults",
        ["tests/stress/run", "faults", "3"],
        ["tests/stress/run", "faults", "1"],
    ),
]
