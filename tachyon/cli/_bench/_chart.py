"""Bars of plain text, for where there is no matplotlib."""

from __future__ import annotations

import math
from typing import Any

from tachyon.cli._bench import _text

WIDTH = 40
LABEL_WIDTH = 54


def render(result: dict[str, Any]) -> str:
    """Return bars of the 32-byte round trips and of the ratios."""
    return "\n\n".join(filter(None, [_trips(result), _ratio_bars(result)]))


def _trips(result: dict[str, Any]) -> str:
    rows = [row for row in result["measurements"].values() if "curve_ns" in row]
    if not rows:
        return ""
    smallest = min(row["median"] for row in rows) / 2
    largest = max(row["median"] for row in rows)
    lines = ["round trips of 32 B, typical, log scale"]
    for row in rows:
        share = math.log(row["median"] / smallest) / math.log(largest / smallest)
        label = f"{row['label']} ({row['case'].split()[0]})" if row["group"] == "python" else ""
        lines.append(_line(label or row["label"], share, _text.nanoseconds(row["median"])))
    return "\n".join(lines)


def _ratio_bars(result: dict[str, Any]) -> str:
    bounds = [row for row in result["bounds"] if row["measured"] is not None]
    if not bounds:
        return ""
    lines = ["measured / bound (the bar ends at the bound)"]
    for row in bounds:
        share = row["measured"] / row["bound"]
        mark = "" if row["holds"] else "  missed"
        text = f"{row['measured']:,.3g} {row['relation']} {row['bound']:g}{mark}"
        lines.append(_line(row["name"][: LABEL_WIDTH - 1], min(share, 1.0), text))
    return "\n".join(lines)


def _line(label: str, share: float, text: str) -> str:
    full = round(min(max(share, 0.0), 1.0) * WIDTH)
    return f"  {label:<{LABEL_WIDTH}}{'#' * full}{'.' * (WIDTH - full)} {text}"
