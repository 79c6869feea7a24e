"""The real data that `tachyon demo` moves."""

from __future__ import annotations

import io
import itertools
import os
import random
import sys
import sysconfig
import tarfile
from array import array
from collections.abc import Iterator

# No more of the sources than this: the archive is made in memory.
TAR_LIMIT = 100_000_000
TICK_COUNT = 1_000_000
TICK_SIZE = 32


def source_files(folder: str) -> Iterator[str]:
    """Walk the Python sources below a folder, in a fixed order, without installed packages."""
    for parent, folders, files in os.walk(folder):
        unwanted = {"site-packages", "dist-packages", "__pycache__"}
        folders[:] = sorted(name for name in folders if name not in unwanted)
        for name in sorted(files):
            if name.endswith(".py"):
                yield os.path.join(parent, name)


def standard_library_tar(limit: int = TAR_LIMIT) -> tuple[bytes, int]:
    """Pack the sources of the running Python's standard library.

    limit: the archive's most bytes. Returns the archive and its number of files.
    """
    folder = sysconfig.get_paths()["stdlib"]
    archive = io.BytesIO()
    packed = 0
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in source_files(folder):
            packed += _add(tar, path, os.path.relpath(path, folder), limit - archive.tell())
    return archive.getvalue(), packed


def _add(tar: tarfile.TarFile, path: str, name: str, room: int) -> bool:
    """Add one file with nothing of its owner; a file that does not fit or open is left out."""
    try:
        with open(path, "rb") as source:
            content = source.read()
    except OSError:
        return False
    member = tarfile.TarInfo(name)
    member.size = len(content)
    # Header, padding, and the end mark of the archive.
    if len(content) + 3 * tarfile.RECORDSIZE > room:
        return False
    try:
        tar.addfile(member, io.BytesIO(content))
    except ValueError:  # A name too long for this format.
        return False
    return True


def market_ticks(count: int = TICK_COUNT, seed: int = 20260701) -> bytes:
    """Make a day of market ticks: 32 bytes each, the same ones every time.

    A tick is, little-endian: u64 time in ns, u32 symbol, u32 quantity, f64 bid, f64 ask.
    The price walks at random in steps of a cent, the spread is one to four cents and
    arrivals come in bursts. All loops run in C (array, itertools), so a million take
    well under a second without NumPy.
    """
    rng = random.Random(seed)
    open_ns = 1_782_000_000_000_000_000
    gaps = rng.choices((200, 900, 4_000, 60_000, 2_000_000), weights=(30, 30, 25, 12, 3), k=count)
    times = array("Q", itertools.accumulate(gaps, initial=open_ns))[:count]
    steps = rng.choices((-2, -1, 0, 1, 2), weights=(4, 20, 52, 20, 4), k=count)
    cents = list(itertools.islice(itertools.accumulate(steps, initial=1_000_000), count))
    spreads = rng.choices((1, 2, 3, 4), weights=(60, 25, 10, 5), k=count)
    bids = array("d", [cent / 100 for cent in cents])
    asks = array("d", [(cent + spread) / 100 for cent, spread in zip(cents, spreads, strict=True)])
    # Symbol in the low half of the word, quantity in the high half.
    orders = [symbol | lots * 100 << 32 for symbol in range(8) for lots in (1, 1, 2, 5, 10)]
    words = array("Q", bytes(TICK_SIZE * count))
    words[0::4] = times
    words[1::4] = array("Q", rng.choices(orders, k=count))
    words[2::4] = array("Q", bids.tobytes())
    words[3::4] = array("Q", asks.tobytes())
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()
