"""Percentile curves and bars of ratios, as one PNG by matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

Result = dict[str, Any]

# Seen well on white and on near black, by the colour-blind too (Okabe and Ito's, muted).
COLOURS = {"limit": "#8a8f98", "tachyon": "#d55e00", "python": "#e69f00", "peer": "#0072b2"}
PEERS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#7b61c9", "#a0762c")
INK = "#6b7078"
PAPER = "none"
TICKS = (0, 90, 99, 99.9, 99.99, 99.999)


def draw(result: Result, path: str) -> None:
    """Write the picture; what was not measured is not in it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curves = [row for row in result["measurements"].values() if "curve_ns" in row]
    bars = _bars(result)
    panels: list[Callable[[Any], None]] = []
    if curves:
        panels.append(lambda axis: _curves(axis, curves))
    if bars:
        panels.append(lambda axis: _bar_panel(axis, bars))
    panels = panels or [_nothing]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(9, 4.4 * len(panels) + 0.28 * len(bars) - 1), squeeze=False
    )
    figure.patch.set_alpha(0)
    for axis, draw_panel in zip(axes[:, 0], panels, strict=True):
        _style(axis)
        draw_panel(axis)
    figure.tight_layout(h_pad=2)
    figure.savefig(path, dpi=160, transparent=True)
    pyplot.close(figure)


def _style(axis: Any) -> None:
    axis.set_facecolor(PAPER)
    axis.tick_params(colors=INK, which="both")
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def _nothing(axis: Any) -> None:
    axis.text(0.5, 0.5, "nothing was measured that could be drawn", ha="center", color=INK)


# ---- curves -----------------------------------------------------------------


def _colours(rows: list[Result]) -> list[str]:
    peers = cycle(PEERS)
    chosen = []
    for row in rows:
        if row["role"] == "tachyon":
            chosen.append(COLOURS["python" if row["group"] == "python" else "tachyon"])
        else:
            chosen.append(COLOURS["limit"] if row["role"] == "limit" else next(peers))
    return chosen


def _label(row: Result) -> str:
    where = "Python" if row["group"] == "python" else "C"
    return row["label"] if row["role"] == "limit" else f"{row['label']}, {where}"


def _curves(axis: Any, rows: list[Result]) -> None:
    ends = []
    for row, colour in zip(rows, _colours(rows), strict=True):
        points = [(1 / (1 - percent / 100), ns) for percent, ns in row["curve_ns"]]
        width = 2.6 if row["role"] == "tachyon" else 1.6
        style = "--" if row["role"] == "limit" else "-"
        axis.plot(
            *zip(*points, strict=True), color=colour, lw=width, ls=style, solid_capstyle="round"
        )
        ends.append((points[-1][1], _label(row), colour))
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks([1 / (1 - percent / 100) for percent in TICKS])
    axis.set_xticklabels([f"{percent:g}" for percent in TICKS])
    axis.minorticks_off()
    axis.set_xlim(1, 1 / (1 - TICKS[-1] / 100))
    axis.set_xlabel("percentile", color=INK)
    axis.grid(True, color=INK, alpha=0.2, lw=0.6)
    _time_axis(axis)
    _title(axis, "round trip of 32 bytes, all rounds together")
    _label_ends(axis, ends)


def _time_axis(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    units = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns"))

    def write(value: float, _: object) -> str:
        factor, unit = next(((f, u) for f, u in units if value >= f), (1, "ns"))
        return f"{value / factor:g} {unit}"

    axis.yaxis.set_major_formatter(FuncFormatter(write))


def _label_ends(axis: Any, ends: list[tuple[float, str, str]]) -> None:
    """Write each curve's name at its right end, moved apart where they would overlap."""
    low, high = axis.get_ylim()
    from math import log

    gap, lowest = 0.062, -1.0
    for value, text, colour in sorted(ends):
        place = max(log(value / low) / log(high / low), lowest + gap)
        lowest = place
        axis.annotate(
            text,
            (1.015, place),
            xycoords="axes fraction",
            color=colour,
            va="center",
            fontsize=9,
            annotation_clip=False,
        )


def _title(axis: Any, text: str) -> None:
    axis.set_title(text, loc="left", color=INK, fontsize=11)


# ---- bars -------------------------------------------------------------------


def _bars(result: Result) -> list[tuple[str, float, str]]:
    """Return what to draw: text, how many times better tachyon is, role of the other."""
    measurements = result["measurements"]
    bars = []
    for ratio in result["ratios"].values():
        other = measurements[ratio["to"][0]]
        if len(ratio["to"]) > 1 or ratio["metric"] != "value" or other["group"] == "bandwidth":
            continue
        times = ratio["median"] if ratio["better"] == "higher" else 1 / ratio["median"]
        bars.append((ratio["title"], times, other["role"]))
    return bars


def _bar_panel(axis: Any, bars: list[tuple[str, float, str]]) -> None:
    bars = bars[::-1]
    colours = [COLOURS["limit"] if role == "limit" else COLOURS["peer"] for *_, role in bars]
    places = range(len(bars))
    axis.barh(places, [times - 1 for _, times, _ in bars], left=1, color=colours, height=0.62)
    axis.set_xscale("log")
    axis.set_yticks(places)
    axis.set_yticklabels([text for text, *_ in bars], fontsize=8, color=INK)
    axis.axvline(1, color=COLOURS["tachyon"], lw=1.6)
    for place, (_, times, _) in zip(places, bars, strict=True):
        side = "left" if times >= 1 else "right"
        axis.annotate(
            f"{times:.3g}",
            (times, place),
            xytext=(4 if times >= 1 else -4, 0),
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=8,
            color=INK,
        )
    axis.margins(x=0.14, y=0.01)
    axis.grid(True, axis="x", color=INK, alpha=0.2, lw=0.6)
    _title(axis, "how many times better tachyon is (1: the same); grey: than the limit")
