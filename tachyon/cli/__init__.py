"""The command line `tachyon`: one module per subcommand, and what they share.

A subcommand is a module with `add_parser(subparsers)`, which registers it, and
`run(args) -> int`, which does the work and returns the exit code. To add one,
write the module and name it in COMMANDS.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import tachyon
from tachyon.cli import _exit

COMMANDS = ("demo", "recv", "send", "call", "doctor", "bench")

DESCRIPTION = """\
Messages between two processes on one machine, through shared memory.

  tachyon demo                  see it work: real data, checked and timed
  tachyon recv /tmp/hello       in one terminal, and in another:
  echo hi | tachyon send /tmp/hello
  tachyon doctor                what this machine gives, and what it means
"""


class _Version(argparse.Action):
    """Print the versions; looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *args: object) -> None:
        library = f"libtachyon {tachyon.library_version()} from {tachyon.library_path()}"
        print(f"tachyon {tachyon.__version__} ({library})")
        parser.exit(_exit.DONE)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tachyon",
        description=DESCRIPTION,
        epilog=_exit.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the versions and exit")
    parser.set_defaults(run=None, command=None)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"tachyon.cli.{name}").add_parser(subparsers)
    return parser


def _run(args: argparse.Namespace) -> int:
    """Run the subcommand; an error becomes one line on standard error and a code."""
    try:
        code = int(args.run(args))
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except _exit.EXPECTED as error:
        return _exit.report(args.command, error, getattr(args, "path", ""))


def _forget_unwritten_output() -> None:
    """Keep the interpreter from complaining about a reader that has gone."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    argv: the arguments without the program's name; None for sys.argv's.
    Wrong usage ends in SystemExit(2), as argparse has it.
    """
    parser = _build_parser()
    args = parser.parse_args(argv)
    if args.run is None:
        parser.print_help(sys.stderr)
        return _exit.USAGE
    code = _run(args)
    _forget_unwritten_output()
    return code
