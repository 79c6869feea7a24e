"""How much is measured: so that a full round takes seconds, and --quick as a whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True)
class Amounts:
    """How much of each."""

    trips: int
    warm_trips: int
    sleeps: int
    messages: int
    peer_messages: int
    bandwidth_bytes: int
    blocks: tuple[int, ...]
    blocks_beyond_cache: tuple[int, ...]  # with a ring that no cache holds as well
    python_trips: int
    python_messages: int
    slow_trips: int
    slow_messages: int
    many: tuple[int, ...]
    capacities: tuple[int, ...]
    few_rounds: int  # of `many` and `capacity`
    program_s: float  # `languages`: a round of each program, and how long it runs before the first
    program_warm_s: float


FULL = Amounts(
    trips=50_000,
    # A ring of the default capacity, once round.
    warm_trips=20_000,
    sleeps=1_000,
    messages=2_000_000,
    peer_messages=50_000,
    bandwidth_bytes=256 * MIB,
    blocks=(64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB),
    blocks_beyond_cache=(64 * KIB, MIB),
    python_trips=10_000,
    python_messages=100_000,
    slow_trips=1_500,
    slow_messages=20_000,
    many=(1, 10, 100, 1000),
    capacities=tuple(1 << n for n in range(12, 27, 2)),
    few_rounds=9,
    program_s=0.08,
    program_warm_s=1.5,
)
QUICK = replace(
    FULL,
    trips=20_000,
    sleeps=200,
    messages=1_000_000,
    peer_messages=10_000,
    bandwidth_bytes=64 * MIB,
    blocks=(64 * KIB, MIB, 16 * MIB),
    blocks_beyond_cache=(MIB,),
    python_trips=4_000,
    python_messages=40_000,
    slow_trips=300,
    slow_messages=5_000,
    many=(1, 1000),
    capacities=(4 * KIB, 64 * KIB, MIB, 64 * MIB),
    few_rounds=1,
    program_s=0.03,
    program_warm_s=0.5,
)
# For tests of everything but the figures.
TINY = replace(
    QUICK,
    trips=200,
    warm_trips=100,
    sleeps=20,
    messages=2_000,
    peer_messages=200,
    bandwidth_bytes=MIB,
    blocks=(64 * KIB, MIB),
    blocks_beyond_cache=(),
    python_trips=100,
    python_messages=200,
    slow_trips=50,
    slow_messages=100,
    many=(1, 10),
    capacities=(4 * KIB, 64 * KIB, MIB),
    program_s=0.001,
    program_warm_s=0.0,
)
