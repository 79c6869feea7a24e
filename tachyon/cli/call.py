"""tachyon call: one request to an RPC server, from standard input or a file."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import tachyon
from tachyon.cli import _exit, _text

DESCRIPTION = """\
Call an RPC server on PATH with standard input or a file, and write its reply to
standard output.
"""

EPILOG = f"""\
examples:
  echo 2330 | tachyon call /tmp/books --type 1
  tachyon call /tmp/model --type 2 image.raw --timeout 5 > result.raw

Where the server fails the call, standard error says why, and the exit code is 1.

{_exit.EPILOG}"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `tachyon call`."""
    parser = subparsers.add_parser(
        "call",
        help="call an RPC server, and print its reply",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", metavar="PATH", help="where the server listens")
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="the request; - is standard input, the default"
    )
    parser.add_argument(
        "--type",
        metavar="N",
        type=_text.parse_type_id,
        required=True,
        dest="msg_type",
        help="number of the procedure to call",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_text.parse_seconds,
        help="give up after so long without a server, and without a reply (default: never)",
    )
    parser.set_defaults(run=run, command="call")
    _let_file_come_last(parser)


def _let_file_come_last(parser: argparse.ArgumentParser) -> None:
    """Take FILE after options as well: argparse has given it up by then, until Python 3.12."""
    parse = parser.parse_known_args

    def parse_all(args: Any = None, namespace: Any = None) -> Any:
        found, rest = parse(args, namespace)
        if found.file is None and len(rest) == 1 and (rest[0] == "-" or rest[0][0:1] != "-"):
            found.file = rest.pop()
        return found, rest

    parser.parse_known_args = parse_all  # type: ignore[method-assign]


def run(args: argparse.Namespace) -> int:
    """Call once."""
    request = _read(args.file)
    folder = os.path.dirname(args.path) or "."
    if not os.path.isdir(folder):
        raise _exit.Failure(_exit.ERROR, f"{args.path}: there is no folder {folder}")
    with tachyon.RpcBus.connect(args.path, timeout=args.timeout) as bus:
        try:
            reply = bus.call(request, args.msg_type, args.timeout)
        except tachyon.RpcError as error:
            text = f"{args.path}: the server failed the call: {error.type}: {error.message}"
            raise _exit.Failure(_exit.ERROR, text) from None
    if sys.stdout is None:
        raise _exit.Failure(_exit.ERROR, "standard output is closed")
    sys.stdout.buffer.write(reply)
    return _exit.DONE


def _read(name: str | None) -> bytes:
    if name is not None and name != "-":
        with open(name, "rb") as file:
            return file.read()
    if sys.stdin is None:
        raise _exit.Failure(_exit.ERROR, "standard input is closed; name a FILE to send")
    return sys.stdin.buffer.read()
