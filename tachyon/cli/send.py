"""tachyon send: from standard input or a file to a bus.

read(2) goes straight into the ring: a slot is reserved, read into, and
committed with as many bytes as came. Only messages too small for that to pay
are cut from a larger read.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import stat
import sys
from collections.abc import Iterator

import tachyon
from tachyon.cli import _endpoint, _exit, _text

DESCRIPTION = f"""\
Send standard input or a file as messages.

{_endpoint.ROLES}"""

EPILOG = f"""\
Without --message-size, each message is what one read gives, 64K at most (and a
quarter of the ring at most). With it, each message has exactly that size, but
for the last. Empty input is no message at all.

examples:
  echo hi | tachyon send /tmp/hello           and elsewhere: tachyon recv /tmp/hello
  tachyon send /tmp/backup backup.tar         a file, of any size
  tachyon send /tmp/ticks ticks.bin --message-size 32 --type-id 7

When it ends with 0, everything lies in shared memory and the receiver gets it,
as long as the receiver lives. When it fails half-way, the receiver is not told
"that was all": it ends with code 4.

{_exit.EPILOG}"""

DEFAULT_MESSAGE_SIZE = 1 << 16
# Below this, a read per message costs more than the copy that it saves.
SMALL_MESSAGE_SIZE = 4096
LARGEST = 0  # --message-size max


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `tachyon send`."""
    parser = subparsers.add_parser(
        "send",
        help="send standard input or a file as messages",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _endpoint.add_arguments(parser, "--listen", "listen, for a receiver that connects")
    parser.add_argument("file", metavar="FILE", nargs="?", help="what to send; - is standard input")
    parser.add_argument(
        "--message-size",
        metavar="SIZE",
        type=_parse_message_size,
        help='bytes per message, like 512 or 64K; "max" for the largest that the ring takes',
    )
    parser.add_argument(
        "--type-id",
        metavar="ID",
        type=_text.parse_type_id,
        default=0,
        help="number to tag each message with (default 0)",
    )
    parser.set_defaults(run=run, command="send", parser=parser)


def _parse_message_size(text: str) -> int:
    return LARGEST if text == "max" else _text.parse_size(text)


def run(args: argparse.Namespace) -> int:
    """Send all of the input. Where that fails, the process ends here and now."""
    _endpoint.check_capacity(args.parser, args, listens=args.swap)
    with _open_input(args.file) as source:
        bus = _endpoint.open_bus(args, listens=args.swap, sends=True)
        try:
            _Sender(bus, source, args).send_all()
            bus.close()
        except BaseException as error:  # Whatever it is, it must not look like the end.
            code = _exit.report(args.command, _in_our_words(error, args), args.path)
            _exit.leave_without_goodbye(code)
    return _exit.DONE


def _in_our_words(error: BaseException, args: argparse.Namespace) -> BaseException:
    """Say what an error of the bus means to somebody who sends a file."""
    if isinstance(error, tachyon.WaitTimeoutError):
        text = f"the receiver made no room within {args.timeout:g} s"
        return _exit.Failure(_exit.TIMEOUT, f"{args.path}: {text}")
    if isinstance(error, tachyon.PeerDeadError):
        text = "the receiver died; what it had not read is lost"
        return _exit.Failure(_exit.PEER_DIED, f"{args.path}: {text}")
    if isinstance(error, tachyon.ClosedError):
        text = "the receiver closed the bus before everything was sent"
        return _exit.Failure(_exit.ERROR, f"{args.path}: {text}")
    return error


class _Sender:
    """Cuts one input into messages for one bus."""

    def __init__(self, bus: tachyon.Bus, source: int, args: argparse.Namespace) -> None:
        self.bus = bus
        self.source = source
        self.type_id: int = args.type_id
        self.timeout: float | None = args.timeout
        self.left: int = args.count if args.count is not None else sys.maxsize
        self.exact = args.message_size is not None
        self.size = _choose_message_size(bus, args)
        # Reads of a plain file never wait; all else may, and meanwhile the receiver may die.
        self.may_wait = not stat.S_ISREG(os.fstat(source).st_mode)

    def send_all(self) -> None:
        """Send until the input ends or the count is reached."""
        if self.exact and self.size < SMALL_MESSAGE_SIZE:
            self._send_small()
        else:
            self._send_large()
        try:
            self._check_receiver()
        except tachyon.ClosedError:
            # It has closed first; which is as it should be where it has taken everything.
            if self.bus.stats().send_used:
                raise

    def _send_large(self) -> None:
        while self.left > 0 and self._send_one():
            self.left -= 1

    def _send_one(self) -> bool:
        """Read the next message straight into the ring. False: there was nothing left."""
        with self.bus.send_zero_copy(self.size, self.type_id, timeout=self.timeout) as slot:
            filled = self._read_into(slot.data)
            while self.exact and 0 < filled < self.size:
                with slot.data[filled:] as rest:
                    got = self._read_into(rest)
                if not got:
                    break
                filled += got
            if filled:
                slot.size = filled
            else:
                slot.cancel()
        return filled > 0

    def _send_small(self) -> None:
        """Read plenty at a time and cut it up."""
        carried = b""
        while self.left > 0:
            self._wait_for_input()
            block = os.read(self.source, DEFAULT_MESSAGE_SIZE)
            if not block:
                break
            carried = self._send_pieces(carried + block)
        if carried and self.left > 0:
            self.bus.send(carried, self.type_id, timeout=self.timeout)

    def _send_pieces(self, data: bytes) -> bytes:
        """Send all whole messages in data; return what is left over."""
        send, size, type_id, timeout = self.bus.send, self.size, self.type_id, self.timeout
        whole = min(len(data) // size, self.left)
        for start in range(0, whole * size, size):
            send(data[start : start + size], type_id, timeout)
        self.left -= whole
        return data[whole * size :]

    def _read_into(self, room: memoryview) -> int:
        """Read as much as one read gives; 0 at the end of the input."""
        self._wait_for_input()
        return os.readv(self.source, [room])

    def _wait_for_input(self) -> None:
        """Sleep until there is input, or raise what became of the receiver meanwhile."""
        if not self.may_wait:
            return
        poll = select.poll()
        poll.register(self.source, select.POLLIN)
        if poll.poll(0):
            return
        poll.register(self.bus.fileno(), select.POLLIN)
        while True:
            if not self.bus.arm():
                self._check_receiver()
                continue
            if any(descriptor == self.source for descriptor, _ in poll.poll()):
                return

    def _check_receiver(self) -> None:
        """Raise the receiver's end, if it has come. What it sends us is dropped."""
        with contextlib.suppress(tachyon.WaitTimeoutError):
            while True:
                self.bus.recv(timeout=0)


def _choose_message_size(bus: tachyon.Bus, args: argparse.Namespace) -> int:
    """Return the bytes per message, or fail before anything is sent."""
    largest = bus.max_message_size
    if args.message_size is None:
        return min(DEFAULT_MESSAGE_SIZE, largest // 4)
    if args.message_size == LARGEST:
        return largest
    if args.message_size > largest:
        raise _exit.Failure(
            _exit.ERROR,
            f"{args.path}: a message of {args.message_size} bytes does not fit, the ring takes"
            f" {largest} at most; use a smaller --message-size, or a larger --capacity at the"
            " end that listens",
        )
    return int(args.message_size)


@contextlib.contextmanager
def _open_input(name: str | None) -> Iterator[int]:
    """Give the descriptor to read from."""
    if name is None or name == "-":
        if sys.stdin is None:
            raise _exit.Failure(_exit.ERROR, "standard input is closed; name a FILE to send")
        yield sys.stdin.fileno()
        return
    source = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if stat.S_ISDIR(os.fstat(source).st_mode):
            text = f"{name}: is a folder; pack it first: tar c {name} | tachyon send ..."
            raise _exit.Failure(_exit.ERROR, text)
        yield source
    finally:
        os.close(source)
