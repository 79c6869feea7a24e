"""Numbers as people write and read them."""

from __future__ import annotations

import argparse
import os

SUFFIXES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text: str) -> int:
    """Read a number of bytes: "4096", "64K", "1M", "2GiB". At least 1."""
    upper = text.strip().upper()
    digits = upper.rstrip("KMGTIB")
    suffix = upper[len(digits) :].removesuffix("IB").removesuffix("B")
    if not (digits.isascii() and digits.isdigit()) or suffix not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write for example 4096, 64K or 1M")
    size = int(digits) * SUFFIXES[suffix]
    if not 1 <= size < 1 << 63:
        raise argparse.ArgumentTypeError(f"{text!r}: a size is at least 1 and below 2^63")
    return size


def parse_count(text: str) -> int:
    """Read a number of messages, at least 1."""
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count; write a whole number from 1")
    return int(text)


def parse_seconds(text: str) -> float:
    """Read a time in seconds, 0 or more."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write seconds, for example 2.5")
    return seconds


def parse_type_id(text: str) -> int:
    """Read a type id: decimal or 0x..., 32 bits."""
    try:
        type_id = int(text, 0)
    except ValueError:
        type_id = -1
    if not 0 <= type_id < 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r} is no type id; write 0 to 4294967295, or 0x...")
    return type_id


def exact_size(size: int) -> str:
    """Write a power-of-two sort of size: 65536 -> "64 KiB", 1000 -> "1000 bytes"."""
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} byte" if size == 1 else f"{size} bytes"


def rough_size(size: float) -> str:
    """Write a size in decimal units, as disks and networks do: 38200000 -> "38.2 MB"."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} bytes"


def plural(count: int, noun: str, many: str = "") -> str:
    """Write a count with its noun: "1 bus", "3 messages"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {many or noun + 's'}"


def short_folder() -> str | None:
    """Choose a parent for a temporary folder of sockets: their paths have at most 107 bytes."""
    import tempfile

    return None if len(os.fsencode(tempfile.gettempdir())) < 64 else "/tmp"
