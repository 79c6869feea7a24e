"""Transfers in every combination that matters, each with every byte checked.

Languages at both ends x how the ends wait x capacity x ring kept full or empty; within each,
all the ways to send and to receive, in turns. See peer.c for what is checked.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfer import programs

WAITS = ("spin", "sleep", "mixed")
CAPACITIES = (4096, 65536, 16 << 20)
RINGS = ("full", "empty")
PAIRS = tuple(itertools.product(programs.LANGUAGES, repeat=2))

BLOCK_BYTES = (1 << 20) + CAPACITIES[-1]
ECLOSED = 32
# More than the other side needs for a message, nanoseconds by its language.
SLOWER_NS = {"c": 1500, "python": 12000}
VARIANT_TIMEOUT = 1800


class TransferError(Exception):
    """A transfer that did not arrive as it should; the text tells how to repeat it."""


@dataclass(frozen=True)
class Variant:
    """One combination. `ring`: which side is slowed down, so that it is full or empty."""

    producer: str
    consumer: str
    wait: str
    capacity: int
    ring: str
    listener: str

    @property
    def pair(self) -> str:
        return f"{self.producer}->{self.consumer}"


def variants(producer: str, consumer: str) -> Iterator[Variant]:
    """All combinations for two languages; producer and consumer take turns at listening."""
    for number, (wait, capacity, ring) in enumerate(itertools.product(WAITS, CAPACITIES, RINGS)):
        listener = ("producer", "consumer")[(number + number // 2) % 2]
        yield Variant(producer, consumer, wait, capacity, ring, listener)


def make_block(path: Path) -> Path:
    """The random bytes that all payloads are cut from."""
    path.write_bytes(random.Random(20260101).randbytes(BLOCK_BYTES))
    return path


def _peer_command(
    variant: Variant, role: str, folder: Path, block: Path, options: dict[str, int]
) -> list[str]:
    language, other = variant.producer, variant.consumer
    if role == "consumer":
        language, other = other, language
    slow = role == {"full": "consumer", "empty": "producer"}[variant.ring]
    values = {
        **options,
        "path": folder / "bus",
        "role": role,
        "end": "listen" if variant.listener == role else "connect",
        "block": block,
        "capacity": variant.capacity,
        "wait": variant.wait,
        "work-ns": SLOWER_NS[other] if slow else 0,
    }
    arguments = itertools.chain(*((f"--{name}", str(value)) for name, value in values.items()))
    return [*programs.command("peer", language, folder), *arguments]


def _check(variant: Variant, results: dict[str, dict[str, Any]], messages: int) -> str:
    """What is wrong, or an empty string."""
    producer, consumer = results["producer"], results["consumer"]
    if producer["count"] != messages or producer["end"] != 0:
        return "the producer did not send everything"
    if consumer["end"] != ECLOSED:
        return "the consumer did not see the end in good order"
    for key in ("count", "bytes", "checksum"):
        if producer[key] != consumer[key]:
            return f"{key}: sent {producer[key]}, received {consumer[key]}"
    return ""


def run_variant(
    variant: Variant,
    folder: Path,
    messages: int,
    seed: int,
    large_every: int,
    blocks: dict[str, Path] | None = None,
) -> dict[str, dict[str, Any]]:
    """Run both sides. Raises TransferError.

    folder: where the C programs are built and the block is; blocks: another one by role.
    Returns what each side printed, by role.
    """
    block = folder / "block"
    options = {"messages": messages, "seed": seed, "large-every": large_every}
    commands = {
        role: _peer_command(variant, role, folder, (blocks or {}).get(role, block), options)
        for role in ("producer", "consumer")
    }
    peers = {
        role: subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=programs.environment(),
            text=True,
        )
        for role, command in commands.items()
    }
    try:
        outputs = {role: peer.communicate(timeout=VARIANT_TIMEOUT) for role, peer in peers.items()}
    finally:
        for peer in peers.values():
            peer.kill()
            peer.wait()
    problem = ""
    for role, peer in peers.items():
        if peer.returncode:
            problem += f"{role}: exit {peer.returncode}: {outputs[role][1].strip()}\n"
    results = {}
    if not problem:
        results = {role: json.loads(output) for role, (output, _) in outputs.items()}
        problem = _check(variant, results, messages)
    if problem:
        repeat = " &\n".join(" ".join(command) for command in commands.values())
        raise TransferError(f"{variant}:\n{problem}\n{results}\nto repeat:\n{repeat}")
    return results
