"""Several runs side by side: whether the bounds hold by the medians of all of them."""

from __future__ import annotations

import json
import statistics
from typing import Any

from tachyon.cli import _exit
from tachyon.cli._bench import _bounds, _result

Result = dict[str, Any]


def load(path: str) -> Result:
    """Return a run that --json wrote. Raises Failure where the file holds none."""
    try:
        with open(path, encoding="utf-8") as file:
            run = json.load(file)
    except (OSError, ValueError) as error:
        raise _exit.Failure(_exit.ERROR, f"cannot read {path}: {error}") from None
    if not isinstance(run, dict) or run.get("schema") != _result.SCHEMA or "bounds" not in run:
        raise _exit.Failure(
            _exit.ERROR, f"{path} is no result of tachyon bench --json, schema {_result.SCHEMA}"
        )
    return run


def combine(runs: list[Result]) -> Result:
    """Return their bounds with what each run measured, and whether the median of them holds."""
    rows = []
    named = {row["name"] for run in runs for row in run["bounds"]}
    for bound in (*_bounds.BOUNDS, *_bounds.LANGUAGES):
        if bound.name not in named:
            continue
        found = [row for run in runs for row in run["bounds"] if row["name"] == bound.name]
        measured = [row["measured"] for row in found if row["measured"] is not None]
        median = statistics.median(measured) if measured else None
        rows.append({**_bounds.judge(bound, median), "of_runs": measured})
    return {
        "schema": _result.SCHEMA,
        "runs": [{name: run[name] for name in ("started", "rounds", "machine")} for run in runs],
        "bounds": rows,
    }


def render(combined: Result) -> str:
    """Return the table for people."""
    lines = [f"{'bounds, runs of':<54}" + _cells(run["started"][11:16] for run in combined["runs"])]
    lines[0] += f"{'median':>10}"
    for row in combined["bounds"]:
        if row["measured"] is not None:
            cells = _cells(f"{value:.3g}" for value in [*row["of_runs"], row["measured"]])
            mark = "holds" if row["holds"] else "MISSED"
            lines.append(f"{row['name']:<54}{cells}   {row['relation']} {row['bound']:<8g} {mark}")
    return "\n".join(lines)


def _cells(texts: Any) -> str:
    return "".join(f"{text:>10}" for text in texts)
