"""Percentile curves and bars of ratios, as one PNG by matplotlib, to be read on light and dark."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

Result = dict[str, Any]
Bar = tuple[str, float, str]  # text, how many times better tachyon is, role of the other

# Seen well on white and on near black, by the colour-blind too (Okabe and Ito's).
COLOURS = {"limit": "#8a8f98", "tachyon": "#d55e00", "python": "#e69f00", "peer": "#2a86c8"}
PEERS = ("#2a86c8", "#009e73", "#cc79a7", "#56b4e9", "#8f74d8", "#a0762c")
INK = "#757c86"
TICKS = (0, 90, 99, 99.9, 99.99, 99.999)

WIDTH_IN = 9.0
CURVES_IN = 4.6
BAR_IN = 0.24
MARGIN_IN = 0.62

# The ratios worth a bar: those of tachyon's first way to do each job.
BARS = {
    "rtt/32/tachyon": "round trip, 32 B",
    "stream/32/tachyon": "stream, 32 B",
    "bandwidth/1048576/4194304/send": "bandwidth, 1 MiB",
    "wake/tachyon": "asleep, round trip",
    "python/rtt/tachyon": "Python round trip, 32 B",
    "python/stream/tachyon": "Python stream, 32 B",
}


def draw(result: Result, path: str) -> None:
    """Write the picture; what was not measured is not in it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curves = [row for row in result["measurements"].values() if "curve_ns" in row]
    bars = _bars(result)
    panels: list[tuple[float, float, float, Callable[[Any], None]]] = []
    if curves:
        panels.append((CURVES_IN, 1.75, 6.5, lambda axis: _curves(axis, curves)))
    if bars:
        panels.append((BAR_IN * len(bars), 3.4, 4.85, lambda axis: _bar_panel(axis, bars)))
    if not panels:
        panels.append((CURVES_IN, 0.75, 7.5, _nothing))
    total = sum(height + 2 * MARGIN_IN for height, *_ in panels)
    figure = pyplot.figure(figsize=(WIDTH_IN, total))
    top = total
    for height, left, width, draw_panel in panels:
        top -= MARGIN_IN + height
        place = (left / WIDTH_IN, top / total, width / WIDTH_IN, height / total)
        axis = figure.add_axes(place)
        _style(axis)
        draw_panel(axis)
        top -= MARGIN_IN
    figure.savefig(path, dpi=160, transparent=True)
    pyplot.close(figure)


def _style(axis: Any) -> None:
    axis.set_facecolor("none")
    axis.tick_params(colors=INK, which="both")
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def _title(axis: Any, text: str) -> None:
    axis.set_title(text, loc="left", color=INK, fontsize=11)


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
    return str(row["label"]) if row["role"] == "limit" else f"{row['label']}, {where}"


def _curves(axis: Any, rows: list[Result]) -> None:
    starts = []
    for row, colour in zip(rows, _colours(rows), strict=True):
        points = [(1 / (1 - percent / 100), ns) for percent, ns in row["curve_ns"]]
        width = 2.6 if row["role"] == "tachyon" else 1.6
        style = "--" if row["role"] == "limit" else "-"
        axis.plot(*zip(*points, strict=True), color=colour, lw=width, ls=style)
        starts.append((points[0][1], row["median"], _label(row), colour))
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks([1 / (1 - percent / 100) for percent in TICKS])
    axis.set_xticklabels([f"{percent:g}" for percent in TICKS])
    axis.minorticks_off()
    axis.set_xlim(1, 1 / (1 - TICKS[-1] / 100))
    axis.set_xlabel("percentile", color=INK)
    axis.yaxis.tick_right()
    axis.spines["left"].set_visible(False)
    axis.spines["right"].set_visible(True)
    axis.grid(True, color=INK, alpha=0.2, lw=0.6)
    _time_axis(axis)
    _title(axis, "round trip of 32 bytes, all rounds together")
    _label_starts(axis, sorted(starts))


def _time_axis(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    units = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns"))

    def write(value: float, _: object) -> str:
        factor, unit = next(((f, u) for f, u in units if value >= f), (1, "ns"))
        return f"{value / factor:g} {unit}"

    axis.yaxis.set_major_formatter(FuncFormatter(write))


def _spread(places: list[float], gap: float) -> list[float]:
    """Move places, in rising order, at least gap apart, and all of them into 0 to 1."""
    spread = list(places)
    for i in range(1, len(spread)):
        spread[i] = max(spread[i], spread[i - 1] + gap)
    ceiling = 1.0
    for i in reversed(range(len(spread))):
        spread[i] = min(spread[i], ceiling)
        ceiling = spread[i] - gap
    return spread


def _label_starts(axis: Any, starts: list[tuple[float, float, str, str]]) -> None:
    """Write each curve's name at its left end, where they lie apart, joined by a thin line."""
    from math import log

    low, high = axis.get_ylim()
    places = [log(value / low) / log(high / low) for value, *_ in starts]
    spread = _spread(places, 0.062)
    for place, moved, (_, _, text, colour) in zip(places, spread, starts, strict=True):
        axis.annotate(
            text,
            xy=(0.0, place),
            xytext=(-0.03, moved),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            ha="right",
            va="center",
            fontsize=9,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "shrinkA": 1, "shrinkB": 0},
        )


# ---- bars -------------------------------------------------------------------


def _bars(result: Result) -> list[Bar]:
    bars = []
    for ratio in result["ratios"].values():
        ours = BARS.get(ratio["of"][0])
        if not ours or len(ratio["to"]) > 1 or ratio["metric"] != "value":
            continue
        other = result["measurements"][ratio["to"][0]]
        times = ratio["median"] if ratio["better"] == "higher" else 1 / ratio["median"]
        bars.append((f"{ours} / {other['label']}", times, other["role"]))
    return bars


def _bar_panel(axis: Any, bars: list[Bar]) -> None:
    bars = bars[::-1]
    colours = [COLOURS["limit" if role == "limit" else "peer"] for *_, role in bars]
    places = range(len(bars))
    axis.barh(places, [times - 1 for _, times, _ in bars], left=1, color=colours, height=0.62)
    axis.set_xscale("log")
    axis.set_yticks(places)
    axis.set_yticklabels([text for text, *_ in bars], fontsize=8, color=INK)
    axis.tick_params(axis="y", length=0)
    axis.axvline(1, color=COLOURS["tachyon"], lw=1.6)
    for place, (_, times, _) in zip(places, bars, strict=True):
        axis.annotate(
            f"{times:,.0f}" if times >= 100 else f"{times:.3g}",
            (max(times, 1.0), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
        )
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.5), high * 2)
    axis.minorticks_off()
    axis.grid(True, axis="x", color=INK, alpha=0.2, lw=0.6)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _title(axis, "times better than the other; grey: than the same loops without a library")
