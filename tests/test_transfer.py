"""Data arrives: every byte, in order, once, between C and Python, however the ends wait.

A small size of what `tests/transfer/run --messages 10000000` does.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from transfer import matrix

MESSAGES = 1500  # per combination
# Often enough that the largest ring gets full, and its largest message occurs.
LARGE_EVERY = 64
# Payloads begin before this place in the block, and the largest end behind it.
WITHIN_LARGE_PAYLOADS = 1 << 20


@pytest.mark.parametrize(("producer", "consumer"), matrix.PAIRS)
@pytest.mark.parametrize("wait", matrix.WAITS)
def test_every_byte_arrives(producer: str, consumer: str, wait: str, folder: Path) -> None:
    matrix.make_block(folder / "block")
    sleeps = {"producer": 0, "consumer": 0}
    for seed, variant in enumerate(matrix.variants(producer, consumer)):
        if variant.wait == wait:
            results = matrix.run_variant(variant, folder, MESSAGES, seed, LARGE_EVERY)
            sleeps["producer"] += results["producer"]["space_sleeps"]
            sleeps["consumer"] += results["consumer"]["data_sleeps"]
    # That the combination was what it is called. (Consumers that poll announce a sleep before
    # they take an end, or a lack of room, for final.)
    if wait == "spin":
        assert sleeps["producer"] == 0
        assert sleeps["consumer"] < MESSAGES / 10
    else:
        assert sleeps["producer"] and sleeps["consumer"], sleeps


def test_a_wrong_byte_is_seen(folder: Path) -> None:
    """The proof is one only if it can fail: one bit of the consumer's block is another."""
    data = bytearray(matrix.make_block(folder / "block").read_bytes())
    data[WITHIN_LARGE_PAYLOADS] ^= 1
    other = folder / "other"
    other.write_bytes(data)
    variant = next(v for v in matrix.variants("c", "c") if v.capacity == matrix.CAPACITIES[-1])
    with pytest.raises(matrix.TransferError, match=r"byte \d+ of \d+ is"):
        matrix.run_variant(variant, folder, MESSAGES, 1, LARGE_EVERY, blocks={"consumer": other})
