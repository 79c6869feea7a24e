"""tachyon recv: from a bus to standard output or a file.

The bytes of large messages go from the ring straight to write(2): a batch of
leases is one writev, and the leases end when it returns. Small messages are
copied, which takes less time than a lease does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

import tachyon
from tachyon.cli import _endpoint, _exit, _text

DESCRIPTION = f"""\
Receive messages and write them to standard output or a file, until the sender
has sent everything.

{_endpoint.ROLES}"""

EPILOG = f"""\
examples:
  tachyon recv /tmp/hello                     and elsewhere: echo hi | tachyon send /tmp/hello
  tachyon recv /tmp/backup -o copy.tar        a file, of any size
  tachyon recv /tmp/ticks --json | jq .       one JSON object per message:
      {{"type_id": 7, "size": 2, "encoding": "text", "data": "hi"}}
      encoding is "base64" where the bytes are not UTF-8

{_exit.EPILOG}"""

# Messages per writev; Linux takes up to 1024 buffers in one.
BATCH = 1024
# Below this, a copy is cheaper than a lease.
SMALL_MESSAGE_SIZE = 4096

Batch = Sequence[tachyon.Message | tachyon.Lease]
Pieces = list[memoryview | bytes]
Render = Callable[[Batch], Iterable[Pieces]]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `tachyon recv`."""
    parser = subparsers.add_parser(
        "recv",
        help="receive messages, write them to standard output or a file",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _endpoint.add_arguments(parser, "--connect", "connect to a sender that listens")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write to FILE; - is standard output"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--hex", action="store_true", help="print a hexdump of each message")
    form.add_argument("--json", action="store_true", help="print a line of JSON for each message")
    parser.set_defaults(run=run, command="recv", parser=parser)


def run(args: argparse.Namespace) -> int:
    """Receive until the sender closes, --count is reached or something fails."""
    _endpoint.check_capacity(args.parser, args, listens=not args.swap)
    render = _render_hex() if args.hex else _render_json if args.json else _render_raw
    with (
        _open_output(args.output) as output,
        _endpoint.open_bus(args, listens=not args.swap, sends=False) as bus,
    ):
        try:
            _receive(bus, render, output, args.count, args.timeout)
        except tachyon.ClosedError:
            pass  # The orderly end: all that was sent has been written.
        except tachyon.WaitTimeoutError:
            text = f"{args.path}: no message within {args.timeout:g} s"
            raise _exit.Failure(_exit.TIMEOUT, text) from None
        except tachyon.PeerDeadError:
            text = (
                f"{args.path}: the sender died or gave up before its end; what it sent is written"
            )
            raise _exit.Failure(_exit.PEER_DIED, text) from None
    return _exit.DONE


def _receive(
    bus: tachyon.Bus, render: Render, output: int, count: int | None, timeout: float | None
) -> None:
    """Write batch after batch. Ends at the count, or by the bus's ClosedError."""
    # Leases on an eighth of the ring at most, so that the sender has room to go on.
    share = bus.properties().recv_capacity // 8
    left = count if count is not None else sys.maxsize
    size = share  # of the last message: what the next ones will be like
    while left > 0:
        most = min(BATCH, left)
        with (
            contextlib.nullcontext(_copies(bus, most, timeout))
            if size < SMALL_MESSAGE_SIZE
            else bus.drain_batch(min(share // size or 1, most), timeout)
        ) as batch:
            left -= len(batch)
            size = batch[-1].size
            for pieces in render(batch):
                _write_all(output, pieces)


def _copies(bus: tachyon.Bus, most: int, timeout: float | None) -> list[tachyon.Message]:
    """Wait for a message, and take what else is there."""
    messages = [bus.recv(timeout)]
    # The bus's end, where that is what stops us, is told again by the next call.
    with contextlib.suppress(tachyon.TachyonError):
        while len(messages) < most:
            messages.append(bus.recv(timeout=0))
    return messages


def _write_all(output: int, pieces: Pieces) -> None:
    """Write all pieces, however little a pipe takes at a time."""
    while pieces := [piece for piece in pieces if len(piece)]:
        try:
            written = os.writev(output, pieces)
        except BlockingIOError:
            # Somebody made our output non-blocking, as terminals' programs do.
            poll = select.poll()
            poll.register(output, select.POLLOUT)
            poll.poll()
            continue
        pieces = _after(pieces, written)


def _after(pieces: Pieces, written: int) -> Pieces:
    """Return what is left of the pieces when so many bytes of them are written."""
    for index, piece in enumerate(pieces):
        if written < len(piece):
            return [memoryview(piece)[written:], *pieces[index + 1 :]]
        written -= len(piece)
    return []


@contextlib.contextmanager
def _open_output(name: str | None) -> Iterator[int]:
    """Give the descriptor to write to; a file is created or emptied.

    An error of writing, which tells no name, gets the file's.
    """
    if name is None or name == "-":
        if sys.stdout is None:
            raise _exit.Failure(_exit.ERROR, "standard output is closed; use --output FILE")
        sys.stdout.flush()
        with _named_errors("standard output"):
            yield sys.stdout.fileno()
        return
    output = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    with _named_errors(name):
        try:
            yield output
        except BaseException:
            os.close(output)
            raise
        os.close(output)  # Where some file systems tell at last that they are full.


@contextlib.contextmanager
def _named_errors(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.filename is None and not isinstance(error, tachyon.TachyonError):
            error.filename = name
        raise


def _render_raw(batch: Batch) -> Iterator[Pieces]:
    yield [message.data for message in batch]


def _render_json(batch: Batch) -> Iterator[Pieces]:
    yield [_json_line(message) for message in batch]


def _json_line(message: tachyon.Message | tachyon.Lease) -> bytes:
    data = bytes(message.data)
    try:
        encoding, text = "text", data.decode()
    except UnicodeDecodeError:
        # A module that only binary data needs.
        import binascii

        encoding, text = "base64", binascii.b2a_base64(data, newline=False).decode()
    record = {"type_id": message.type_id, "size": message.size, "encoding": encoding, "data": text}
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def _render_hex() -> Render:
    number = 0

    def render(batch: Batch) -> Iterator[Pieces]:
        nonlocal number
        for message in batch:
            number += 1
            size = _text.plural(message.size, "byte")
            yield [f"message {number}: {size}, type_id {message.type_id}\n".encode()]
            for start in range(0, message.size, 1 << 16):
                yield [_hexdump(bytes(message.data[start : start + (1 << 16)]), start)]

    return render


PRINTABLE = bytes(byte if 32 <= byte < 127 else ord(".") for byte in range(256))


def _hexdump(data: bytes, offset: int) -> bytes:
    """Write bytes as `hexdump -C` does; offset is that of the first one."""
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        octets = f"{row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}"
        lines.append(
            f"{offset + start:08x}  {octets}  |{row.translate(PRINTABLE).decode('ascii')}|\n"
        )
    return "".join(lines).encode()
