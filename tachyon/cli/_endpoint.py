"""What send and recv share: their arguments, and how they get a bus."""

from __future__ import annotations

import argparse
import os
import sys

import tachyon
from tachyon.cli import _exit, _text

# One page: the least that a direction nobody uses can have.
UNUSED_CAPACITY = 4096

ROLES = """\
One of the two ends listens on PATH, the other connects; the first one there
waits for the other. recv listens unless told to --connect, send connects
unless told to --listen.
"""


def add_arguments(parser: argparse.ArgumentParser, swap: str, swap_help: str) -> None:
    """Add the arguments that both commands have; swap is the flag that trades roles."""
    parser.add_argument("path", metavar="PATH", help="where the two ends meet, like /tmp/hello")
    parser.add_argument(swap, dest="swap", action="store_true", help=swap_help)
    parser.add_argument(
        "--capacity",
        metavar="SIZE",
        type=_text.parse_size,
        help="size of the ring in shared memory, for the end that listens (default 1M)",
    )
    parser.add_argument(
        "--count", metavar="N", type=_text.parse_count, help="stop after so many messages"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_text.parse_seconds,
        help="give up after so long without the other end doing anything (default: never)",
    )


def check_capacity(
    parser: argparse.ArgumentParser, args: argparse.Namespace, listens: bool
) -> None:
    """End in a usage error where --capacity is given to the end that has no say in it."""
    if args.capacity is not None and not listens:
        parser.error("--capacity is for the end that listens; give it there")


def open_bus(args: argparse.Namespace, *, listens: bool, sends: bool) -> tachyon.Bus:
    """Listen or connect as the arguments say, and wait for the other end."""
    _check_folder(args.path)
    _tell_terminal(args, listens, sends)
    try:
        if not listens:
            return tachyon.Bus.connect(args.path, timeout=args.timeout)
        capacity = args.capacity or 1 << 20
        inward, outward = (UNUSED_CAPACITY, capacity) if sends else (capacity, UNUSED_CAPACITY)
        return tachyon.Bus.listen(args.path, inward, reply_capacity=outward, timeout=args.timeout)
    except tachyon.WaitTimeoutError:
        other = _other_command(args.path, listens, sends)
        raise _exit.Failure(
            _exit.TIMEOUT,
            f"{args.path}: no other end within {args.timeout:g} s; start it with: {other}",
        ) from None


def _check_folder(path: str) -> None:
    """Fail now where there can be no socket: a connector would wait for it for ever."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise _exit.Failure(
            _exit.ERROR, f"{path}: there is no folder {folder}; create it, or choose another path"
        )


def _other_command(path: str, listens: bool, sends: bool) -> str:
    if sends:
        return f"tachyon recv --connect {path}" if listens else f"tachyon recv {path}"
    return f"tachyon send {path}" if listens else f"tachyon send --listen {path}"


def _tell_terminal(args: argparse.Namespace, listens: bool, sends: bool) -> None:
    """Tell a person, not a log file, what we are waiting for."""
    if sys.stderr is None or not sys.stderr.isatty():
        return
    what = "listening on" if listens else "connecting to"
    other = _other_command(args.path, listens, sends)
    print(
        f"tachyon {args.command}: {what} {args.path} (the other end: {other})",
        file=sys.stderr,
        flush=True,
    )
