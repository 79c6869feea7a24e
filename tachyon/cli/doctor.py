"""tachyon doctor: what this machine gives, and what that means for a user."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from tachyon.cli import _exit

if TYPE_CHECKING:
    from tachyon.cli._checks import Check

DESCRIPTION = """\
Look at this machine as tachyon sees it. Each line says what there is and what
that means for you:

  ok    as good as it gets
  note  works; this line says what you miss, or could change
  bad   tachyon cannot work like this (and the exit code is 1)
"""

COLOURS = {"ok": "\x1b[32m", "note": "\x1b[33m", "bad": "\x1b[31m"}
RESET = "\x1b[0m"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `tachyon doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="say what this machine gives, and what it means",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run, command="doctor")


def run(args: argparse.Namespace) -> int:
    """Print all checks; 1 where one of them is bad."""
    # Only doctor needs these.
    from tachyon.cli import _checks, _checks_machine

    checks = _checks.all_checks() + _checks_machine.all_checks()
    works = all(check.state != "bad" for check in checks)
    if args.json:
        print(json.dumps({"ok": works, "checks": [check._asdict() for check in checks]}, indent=2))
    else:
        print(_render(checks, works))
    return _exit.DONE if works else _exit.ERROR


def _render(checks: list[Check], works: bool) -> str:
    import textwrap

    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    names = max(len(check.name) for check in checks)
    indent = " " * (8 + names)
    lines = []
    for check in checks:
        mark = f"{check.state:4}"
        if colours:
            mark = f"{COLOURS[check.state]}{mark}{RESET}"
        lines.append(f"{mark}  {check.name:<{names}}  {check.value}")
        lines += textwrap.wrap(
            check.meaning,
            width=_columns(),
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join([*lines, "", _verdict(checks, works)])


def _columns() -> int:
    try:
        return max(min(os.get_terminal_size(sys.stdout.fileno()).columns, 100), 60)
    except (OSError, ValueError):
        return 100


def _verdict(checks: list[Check], works: bool) -> str:
    if not works:
        bad = ", ".join(check.name for check in checks if check.state == "bad")
        return f"tachyon cannot work here: {bad}."
    notes = sum(check.state == "note" for check in checks)
    if not notes:
        return "tachyon works here, and nothing is missing."
    return f"tachyon works here. {notes} of these lines could be better, none must be."
