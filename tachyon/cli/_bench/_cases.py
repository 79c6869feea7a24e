"""What is measured: the measurements, and the ratios between them. A list, nothing runs here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tachyon.cli import _text
from tachyon.cli._bench._amounts import KIB, MIB, Amounts

NAMES = (
    *(
        "limit",
        "rtt",
        "stream",
        "bandwidth",
        "wake",
        "rpc",
        "many",
        "capacity",
        "python",
        "records",
        "arrays",
    ),
    "peers",
)

NS = "ns"
MESSAGES = "messages_per_second"
BYTES = "bytes_per_second"

C_PEERS = {"seqpacket": "socket", "pipe": "pipe"}
# How to call with them: the peer that has it, and what it is.
PYTHON_CALL_PEERS = {
    "pyzmq": ("pyzmq", "pyzmq, REQ and REP"),
    "managers": ("multiprocessing", "multiprocessing.managers"),
}
PYTHON_PEERS = ("multiprocessing", "pyzmq", "pynng", "iceoryx2")
# Idle buses and those of `many`: rings as small as a server with many of them would have.
MANY_CAPACITY = 64 * KIB
# Larger than one core's own cache: lines of a run that was written leave it by themselves, which
# is twice as quick as when the reader has to ask that core for each.
RECORDS_CAPACITY = 4 * MIB


@dataclass(frozen=True)
class Measurement:
    """One way to do one job, measured once a round."""

    key: str
    group: str
    case: str  # title of the rows that belong together
    label: str
    role: str  # limit, tachyon or peer
    unit: str
    native: tuple[str, ...] = ()  # arguments of tachyon-bench
    python: dict[str, Any] = field(default_factory=dict, hash=False)  # a job of _worker
    program: tuple[str, ...] = ()  # language and work, of _programs
    curve: bool = False  # keep all samples
    most_rounds: int = 1000


@dataclass(frozen=True)
class Ratio:
    """What is divided by what, round by round. Of several, the largest by the smallest."""

    key: str
    title: str
    of: tuple[str, ...]
    to: tuple[str, ...]
    metric: str = "value"  # or the name of a percentile
    better: str = "lower"


@dataclass
class Cases:
    """All of a run."""

    measurements: list[Measurement] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)

    def add(self, *measurements: Measurement) -> None:
        """Add measurements, and the ratio of each of tachyon's to each of the others."""
        self.measurements += measurements
        for ours in measurements:
            if ours.role == "tachyon":
                for other in measurements:
                    if other.role != "tachyon":
                        self._compare(ours, other)

    def _compare(self, ours: Measurement, other: Measurement) -> None:
        better = "lower" if ours.unit == NS else "higher"
        name = other.key.rpartition("/")[2]
        self.ratios.append(
            Ratio(
                f"{ours.key}:{name}",
                f"{ours.case}: {ours.label} / {other.label}",
                (ours.key,),
                (other.key,),
                better=better,
            )
        )


def _native(mode: str, **options: int | str) -> tuple[str, ...]:
    words = [mode]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    return tuple(words)


def all_cases(
    amounts: Amounts, peers: list[str], last_cache_bytes: int, records: bool = False
) -> Cases:
    """Return everything. peers: those to measure, of C_PEERS and PYTHON_PEERS."""
    cases = Cases()
    c_peers = {name: mode for name, mode in C_PEERS.items() if name in peers}
    _add_round_trips(cases, amounts, c_peers)
    _add_streams(cases, amounts, c_peers)
    _add_bandwidth(cases, amounts, c_peers, last_cache_bytes)
    _add_wakes(cases, amounts)
    _add_calls(cases, amounts)
    _add_python_calls(cases, amounts, peers)
    _add_many(cases, amounts)
    _add_capacities(cases, amounts)
    _add_python(cases, amounts, [name for name in PYTHON_PEERS if name in peers])
    if records:
        _add_records(cases, amounts)
        _add_arrays(cases, amounts)
    return cases


def _add_round_trips(cases: Cases, amounts: Amounts, peers: dict[str, str]) -> None:
    for size in (8, 32, 256, 4096):
        case, prefix = f"round trip, {size} B, polling", f"rtt/{size}"
        work = {"size": size, "count": amounts.trips, "warmup": amounts.warm_trips}
        slow = {"size": size, "count": amounts.sleeps, "warmup": amounts.sleeps // 10}
        curve = size == 32
        line = Measurement(
            f"{prefix}/line",
            "rtt",
            case,
            "limit: one line",
            "limit",
            NS,
            _native("limit-line", count=amounts.trips, warmup=amounts.warm_trips),
        )
        cases.add(
            *([line] if size == 32 else []),
            Measurement(
                f"{prefix}/limit",
                "rtt",
                case,
                "limit: rotating line" if size <= 48 else "limit: rotating lines",
                "limit",
                NS,
                _native("limit-ring", **work),
                curve=curve,
            ),
            Measurement(
                f"{prefix}/tachyon",
                "rtt",
                case,
                "tachyon",
                "tachyon",
                NS,
                _native("bus-rtt", **work),
                curve=curve,
            ),
            *(
                Measurement(
                    f"{prefix}/{name}",
                    "rtt",
                    case,
                    name,
                    "peer",
                    NS,
                    _native(f"{mode}-rtt", **slow),
                    curve=curve,
                )
                for name, mode in peers.items()
            ),
        )
    cases.ratios.append(
        Ratio(
            "rtt/32/tachyon:limit:p99.9",
            "round trip, 32 B: p99.9 of tachyon / p99.9 of the rotating line",
            ("rtt/32/tachyon",),
            ("rtt/32/limit",),
            metric="p99.9",
        )
    )


def _add_streams(cases: Cases, amounts: Amounts, peers: dict[str, str]) -> None:
    case = "stream, 32 B, one way"
    work = {"count": amounts.messages, "warmup": amounts.messages // 10}
    slow = {"count": amounts.peer_messages, "warmup": amounts.peer_messages // 10}

    def row(name: str, label: str, role: str, native: tuple[str, ...]) -> Measurement:
        return Measurement(f"stream/32/{name}", "stream", case, label, role, MESSAGES, native)

    cases.add(
        row("limit", "limit: stamped lines", "limit", _native("limit-stream", **work)),
        row(
            "tachyon", "tachyon, one by one", "tachyon", _native("bus-stream", how="single", **work)
        ),
        row("batch", "tachyon, in batches", "tachyon", _native("bus-stream", how="batch", **work)),
        *(
            row(name, name, "peer", _native(f"{mode}-stream", **slow))
            for name, mode in peers.items()
        ),
    )


def ring_for(block: int) -> int:
    """Return a ring of at least four blocks, at least of the default capacity."""
    ring = MIB
    while ring < 4 * block:
        ring *= 2
    return ring


def _add_bandwidth(
    cases: Cases, amounts: Amounts, peers: dict[str, str], last_cache_bytes: int
) -> None:
    for block in amounts.blocks:
        _add_block(cases, amounts, block, ring_for(block), peers)
        if block in amounts.blocks_beyond_cache:
            _add_block(cases, amounts, block, ring_for(last_cache_bytes // 2), {})


def _add_block(
    cases: Cases, amounts: Amounts, block: int, ring: int, peers: dict[str, str]
) -> None:
    size, room = _text.exact_size(block), _text.exact_size(ring)
    case = f"bandwidth, blocks of {size}, ring of {room}"
    prefix = f"bandwidth/{block}/{ring}"
    # Warm: each page of the ring has been written and read once.
    work: dict[str, int | str] = {
        "size": block,
        "count": max(amounts.bandwidth_bytes // block, 4),
        "warmup": max(ring // block, 2),
        "capacity": ring,
    }
    slow = {**work, "count": max(amounts.bandwidth_bytes // block // 4, 2), "warmup": 2}

    def row(name: str, label: str, role: str, native: tuple[str, ...]) -> Measurement:
        return Measurement(f"{prefix}/{name}", "bandwidth", case, label, role, BYTES, native)

    cases.add(
        row("limit", "limit: memcpy in, read out", "limit", _native("limit-copy", **work)),
        row("send", "tachyon, send", "tachyon", _native("bus-bandwidth", how="send", **work)),
        row(
            "reserve",
            "tachyon, written in place",
            "tachyon",
            _native("bus-bandwidth", how="reserve", **work),
        ),
        *(
            row(name, name, "peer", _native(f"{mode}-bandwidth", **slow))
            for name, mode in peers.items()
        ),
    )


def _add_wakes(cases: Cases, amounts: Amounts) -> None:
    case = "round trip, both sides asleep"
    work = {"count": amounts.sleeps, "warmup": amounts.sleeps // 10}

    def row(name: str, label: str, role: str, mode: str, **more: str) -> Measurement:
        native = _native(mode, **more, **work)
        return Measurement(f"wake/{name}", "wake", case, label, role, NS, native)

    cases.add(
        row("socket", "limit: socket byte + ppoll", "limit", "limit-sleep", how="socket"),
        row("futex", "futex (sees no death)", "limit", "limit-sleep", how="futex"),
        row("eventfd", "eventfd + ppoll (sees no death)", "limit", "limit-sleep", how="eventfd"),
        row("tachyon", "tachyon, 32 B", "tachyon", "bus-wake"),
    )


def _add_calls(cases: Cases, amounts: Amounts) -> None:
    case = "call, 32 B request and 176 B reply"
    work = {"count": amounts.trips, "warmup": amounts.warm_trips}

    def row(name: str, label: str, role: str, how: str) -> Measurement:
        native = _native("bus-rpc", how=how, **work)
        return Measurement(f"rpc/{name}", "rpc", case, label, role, NS, native)

    cases.add(
        row("stream", "the same over a stream", "peer", "stream"),
        row("call", "tachyon, rpc", "tachyon", "call"),
    )


def _add_python_calls(cases: Cases, amounts: Amounts, peers: list[str]) -> None:
    case = "Python call, 32 B request and 176 B reply"

    def row(name: str, label: str, role: str) -> Measurement:
        slow = name in PYTHON_CALL_PEERS
        count = amounts.slow_trips if slow else amounts.python_trips
        job = {"transport": name, "work": "call", "count": count, "warmup": count // 10}
        return Measurement(f"rpc/python/{name}", "rpc", case, label, role, NS, python=job)

    cases.add(
        row("stream", "the same over a stream", "peer"),
        row("reply", "tachyon, serve and reply", "tachyon"),
        row("dispatcher", "tachyon, Dispatcher", "tachyon"),
        *(
            row(name, label, "peer")
            for name, (peer, label) in PYTHON_CALL_PEERS.items()
            if peer in peers
        ),
    )


def _add_many(cases: Cases, amounts: Amounts) -> None:
    hows = {"one": "messages on one of them", "robin": "messages round all of them", "idle": "idle"}
    for buses in amounts.many:
        for how, label in hows.items():
            work: dict[str, int | str] = {
                "how": how,
                "buses": buses,
                "capacity": MANY_CAPACITY,
                "count": amounts.trips,
                "warmup": amounts.warm_trips,
            }
            cases.measurements.append(
                Measurement(
                    f"many/{buses}/{how}",
                    "many",
                    f"{_text.plural(buses, 'bus', 'buses')} held open by one process",
                    label,
                    "tachyon",
                    NS if how != "idle" else "bytes",
                    _native("bus-many", **work),
                    most_rounds=amounts.few_rounds,
                )
            )
    for how in ("one", "robin"):
        keys = tuple(f"many/{buses}/{how}" for buses in amounts.many)
        cases.ratios.append(
            Ratio(
                f"many/{how}:flat",
                f"{hows[how]}, 1 to {amounts.many[-1]} buses: most / least",
                keys,
                keys,
            )
        )


def _add_capacities(cases: Cases, amounts: Amounts) -> None:
    for capacity in amounts.capacities:
        # Each line of the ring has been used, however large it is.
        warmup = max(amounts.warm_trips, capacity // 64)
        cases.measurements.append(
            Measurement(
                f"capacity/{capacity}",
                "capacity",
                "round trip, 32 B, by size of the ring",
                _text.exact_size(capacity),
                "tachyon",
                NS,
                _native("bus-rtt", capacity=capacity, count=amounts.trips, warmup=warmup),
                most_rounds=amounts.few_rounds,
            )
        )
    keys = tuple(f"capacity/{capacity}" for capacity in amounts.capacities if capacity >= 64 * KIB)
    cases.ratios.append(
        Ratio("capacity:flat", "rings of 64 KiB and more: most / least", keys, keys)
    )


def _add_python(cases: Cases, amounts: Amounts, peers: list[str]) -> None:
    trips: list[Measurement] = []
    streams: list[Measurement] = []
    for name in ("tachyon", *peers):
        ours = name == "tachyon"
        # Those that poll in shared memory are worth more of them.
        fast = name in ("tachyon", "iceoryx2")
        role, group = ("tachyon" if ours else "peer"), "python"
        count = amounts.python_trips if fast else amounts.slow_trips
        job = {"transport": name, "work": "rtt", "count": count, "warmup": count // 10}
        trips.append(
            Measurement(
                f"python/rtt/{name}",
                group,
                "Python round trip, 32 B, copies",
                name,
                role,
                NS,
                python=job,
                curve=True,
            )
        )
        count = amounts.python_messages if name in ("tachyon", "pyzmq") else amounts.slow_messages
        job = {"transport": name, "work": "stream", "count": count, "warmup": count // 10}
        streams.append(
            Measurement(
                f"python/stream/{name}",
                group,
                "Python stream, 32 B, message by message",
                name,
                role,
                MESSAGES,
                python=job,
            )
        )
    cases.add(*trips)
    cases.add(*streams)


def _add_records(cases: Cases, amounts: Amounts) -> None:
    key, count = "records/32/tachyon", amounts.messages
    cases.add(
        Measurement(
            key,
            "records",
            "Python stream, 32 B, as records in NumPy arrays, ring of 4 MiB",
            "tachyon",
            "tachyon",
            MESSAGES,
            python={
                "transport": "tachyon",
                "work": "records",
                "capacity": RECORDS_CAPACITY,
                "count": count,
                "warmup": count // 10,
            },
        )
    )
    for name, other, title in (
        ("stream", "python/stream/tachyon", "records / message by message, Python"),
        ("limit", "stream/32/limit", "records from Python / stamped lines in C"),
        ("c", "stream/32/tachyon", "records from Python / C stream, one by one"),
    ):
        cases.ratios.append(Ratio(f"{key}:{name}", title, (key,), (other,), better="higher"))


def _add_arrays(cases: Cases, amounts: Amounts) -> None:
    ring = ring_for(MIB)
    key, peer = f"arrays/{MIB}/tachyon", f"bandwidth/{MIB}/{ring}/reserve"
    cases.add(
        Measurement(
            key,
            "arrays",
            "Python arrays of 1 MiB, made in the ring, added up in place",
            "tachyon",
            "tachyon",
            BYTES,
            python={
                "transport": "tachyon",
                "work": "arrays",
                "capacity": ring,
                "count": max(amounts.bandwidth_bytes // MIB, 4),
                "warmup": 2 * ring // MIB,
            },
        )
    )
    cases.ratios.append(
        Ratio(
            f"{key}:bandwidth",
            "arrays of 1 MiB from Python / C, written in place",
            (key,),
            (peer,),
            better="higher",
        )
    )
