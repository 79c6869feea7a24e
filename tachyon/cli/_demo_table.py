"""The results of `tachyon demo` as a person likes to read them."""

from __future__ import annotations

from typing import Any

from tachyon.cli import _text
from tachyon.cli._demo_data import TICK_SIZE
from tachyon.cli._demo_links import BLOCK_SIZE

Result = dict[str, Any]
Row = tuple[str, str, str, str]

WIDTHS = (34, 14, 14, 17)

ONE_CPU = """
There is only one CPU here. The two processes take turns on it, so nothing can
wait by polling: every wait is a switch by the kernel, through a bus as through
a socket, and for single round trips a socket's is the cheaper one. With two
CPUs a bus needs no system call on the way."""

BUSY = """
Something else keeps the CPUs busy (load {load:.1f} on {cpus} CPUs), so that the two
processes had to share one and slept for each other. On a calm machine a bus
sleeps in hardly any round trip: try again."""


def render(result: Result) -> str:
    """Return the whole text."""
    machine = result["machine"]
    cpus = _text.plural(machine["cpus"], "CPU")
    lines = [
        f"tachyon {machine['tachyon']}, Python {machine['python']}, {machine['system']}, {cpus}",
        *_warnings(result),
        "",
        *_arrivals(result),
        "",
        _line(("", "tachyon bus", "Unix socket", "")),
        *map(_line, _rates(result)),
        "",
        f"round trips of {TICK_SIZE} bytes, in microseconds ({result['bus']['roundtrips']:,} each)",
        *map(_line, _round_trips(result)),
    ]
    lines += ["", _verdict(result)]
    return "\n".join(lines)


def _warnings(result: Result) -> list[str]:
    """Say what makes the figures other than usual; before them, for it changes how to read them."""
    machine = result["machine"]
    if machine["cpus"] == 1:
        return [ONE_CPU]
    if result["bus"]["sleeps_per_roundtrip"] > 0.1:
        return [BUSY.format(**machine)]
    return []


def _arrivals(result: Result) -> list[str]:
    """Say what went from process to process, and that it is the same."""
    tar, ticks = result["sent"]["tar"], result["sent"]["ticks"]
    block = _text.exact_size(BLOCK_SIZE)
    what = {
        "tar": f"{tar['files']:,} source files of Python as a tar, {_text.rough_size(tar['bytes'])}"
        f" in messages of {block}, {result['bus']['tar']['rounds']} times",
        "ticks": f"{ticks['count']:,} market ticks, {_text.rough_size(ticks['bytes'])}"
        f" in messages of {TICK_SIZE} bytes",
    }
    lines = ["what arrived in the other process"]
    for work, text in what.items():
        lines.append(f"  {text}")
        for transport in ("bus", "socket"):
            transfer = result[transport][work]
            verdict = "as sent" if transfer["sha256_ok"] else "NOT what was sent"
            lines.append(f"    {transport:7} sha256 {transfer['sha256'][:32]}...  {verdict}")
    return lines


def _rates(result: Result) -> list[Row]:
    bus, socket = result["bus"], result["socket"]
    rows = []
    for label, work, unit in (
        ("tar, MB/s", "tar", "megabytes_per_second"),
        ("ticks, messages/s", "ticks", "messages_per_second"),
    ):
        mine, other = bus[work][unit], socket[work][unit]
        rows.append((label, f"{mine:,.0f}", f"{other:,.0f}", _times(mine / other)))
    return rows


def _round_trips(result: Result) -> list[Row]:
    bus, socket = result["bus"]["roundtrip_us"], result["socket"]["roundtrip_us"]
    rows = [
        (f"  {name}", f"{bus[name]:,.1f}", f"{socket[name]:,.1f}", _times(socket[name] / bus[name]))
        for name in bus
    ]
    slept = [f"{result[transport]['sleeps_per_roundtrip']:.2f}" for transport in ("bus", "socket")]
    return [*rows, ("  sleeps per round trip", slept[0], slept[1], "")]


def _times(ratio: float) -> str:
    """Write how many times better the bus is; or worse, in words."""
    return f"{ratio:.1f} x" if ratio >= 1 else f"{1 / ratio:.1f} x slower"


def _line(row: Row) -> str:
    label, *numbers = row
    cells = [f"{cell:>{width}}" for cell, width in zip(numbers, WIDTHS[1:], strict=True)]
    return f"{label:<{WIDTHS[0]}}{''.join(cells)}".rstrip()


def _verdict(result: Result) -> str:
    if result["ok"]:
        return "Every byte arrived as it was sent."
    return "Something arrived that was not what was sent: this is a fault, please report it."
