"""How a command ends: its exit code for scripts, one line of text for people."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import tachyon

DONE = 0
ERROR = 1
USAGE = 2
TIMEOUT = 3
PEER_DIED = 4
INTERRUPTED = 130
BROKEN_PIPE = 141

EPILOG = """\
exit codes:
  0    done
  1    an error; standard error says which and what to do
  2    wrong usage
  3    a timeout passed (--timeout)
  4    the process at the other end died, or gave up before its end
  130  interrupted (Ctrl-C)
  141  the reader of standard output has gone (said silently, as by any tool
       that SIGPIPE ends)
"""


class Failure(Exception):
    """A command cannot go on. The text is printed as it is, the code returned."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


# What a command may end with; anything else is a bug and shows its traceback.
EXPECTED = (Failure, OSError, MemoryError, KeyboardInterrupt)


def code_of(error: BaseException) -> int:
    """Return the exit code for an error that ended a command."""
    if isinstance(error, Failure):
        return error.code
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, tachyon.TachyonError):
        if isinstance(error, tachyon.WaitTimeoutError):
            return TIMEOUT
        return PEER_DIED if isinstance(error, tachyon.PeerDeadError) else ERROR
    return BROKEN_PIPE if isinstance(error, BrokenPipeError) else ERROR


def text_of(error: BaseException, path: str = "") -> str:
    """Return what to tell a person about an error: "/path: what happened; what to do".

    path: that of the bus, for an error of the bus.
    """
    if isinstance(error, tachyon.TachyonError):
        # "cannot connect to '/tmp/bus': /tmp/bus: the reason": once is enough.
        reason = str(error).rpartition(f"{path!r}: ")[2].removeprefix(f"{path}: ")
        return f"{path}: {reason}" if path else reason
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return str(error) or type(error).__name__


def report(command: str, error: BaseException, path: str = "") -> int:
    """Say on standard error how the command failed, in one line; return its exit code.

    Ctrl-C and a reader that has gone are not worth a word.
    """
    if not isinstance(error, EXPECTED):
        sys.excepthook(type(error), error, error.__traceback__)
        return ERROR
    code = code_of(error)
    if code not in (INTERRUPTED, BROKEN_PIPE) and sys.stderr is not None:
        line = " ".join(text_of(error, path).split("\n"))
        print(f"tachyon {command}: {line}", file=sys.stderr, flush=True)
    return code


def leave_without_goodbye(code: int) -> NoReturn:
    """End the process now, and leave the bus as a crash would.

    For a sender that could not send all: after an orderly close the receiver
    would take half a file for a whole one.
    """
    os._exit(code)
