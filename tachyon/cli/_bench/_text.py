"""The result as text for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tachyon.cli import _text as numbers
from tachyon.cli._bench import _languages

Result = dict[str, Any]

LABEL_WIDTH = 34
RANKS = ("p50", "p90", "p99", "p99.9", "p99.99", "max")


def render(result: Result) -> str:
    """Return the whole text."""
    parts = [
        _head(result),
        *_cases(result),
        _by_language(result),
        _where(result),
        _bounds(result),
        _tail(result),
    ]
    return "\n\n".join(filter(None, parts))


# ---- numbers ----------------------------------------------------------------


def nanoseconds(value: float) -> str:
    """Write a time with the unit that suits it: "131 ns", "27.4 us"."""
    for factor, unit in ((1e9, "s"), (1e6, "ms"), (1e4, "us")):
        if value >= factor:
            return f"{value / (1e3 if unit == 'us' else factor):,.1f} {unit}"
    return f"{value:,.0f} ns" if value >= 1000 else f"{value:.3g} ns"


def _value(row: Result) -> str:
    value = float(row["median"])
    if row["unit"] == "ns":
        return nanoseconds(value)
    if row["unit"] == "messages_per_second":
        return f"{value / 1e6:.3g} M/s" if value >= 1e5 else f"{value / 1e3:.3g} k/s"
    if row["unit"] == "bytes_per_second":
        return f"{value / 1e9:.3g} GB/s"
    return f"{numbers.rough_size(value)}"


def ratio_text(value: float) -> str:
    """Write a ratio with as many digits as it deserves."""
    return f"{value:.2f} x" if value >= 0.1 else f"{value:.2g} x"


# ---- the parts --------------------------------------------------------------


def _head(result: Result) -> str:
    machine = result["machine"]
    pinned = machine["pinned_to"]
    where = f"cores {pinned[0]} and {pinned[1]}: {machine['cores_are']}" if pinned else "not pinned"
    lines = [
        f"tachyon {machine['tachyon']} on {machine['cpu']}, {machine['kernel']}",
        f"{where}; {machine['virtual']}; governor {machine['governor']};"
        f" quota {machine['cpu_quota']}; load {machine['load_average'][0]:.1f}",
        f"{numbers.plural(result['rounds'], 'round')}, all of it interleaved; figures are medians"
        " over the rounds, ratios those of the same round",
    ]
    return "\n".join(lines + [f"note: {note}" for note in result["notes"]])


def _cases(result: Result) -> Iterator[str]:
    measurements = {
        key: row for key, row in result["measurements"].items() if row["group"] != _languages.NAME
    }
    titles = dict.fromkeys(row["case"] for row in measurements.values())
    for title in titles:
        rows = {key: row for key, row in measurements.items() if row["case"] == title}
        yield "\n".join([*_rows(title, rows), *_ratios(rows, result["ratios"])])


def _rows(title: str, rows: Result) -> Iterator[str]:
    percentiles = any("percentiles_ns" in row for row in rows.values())
    names = "".join(f"{name:>10}" for name in RANKS) if percentiles else ""
    yield f"{title:<{LABEL_WIDTH + 2}}{'typical' if percentiles else '':>12}{names}".rstrip()
    for row in rows.values():
        ranks = row.get("percentiles_ns", {})
        cells = "".join(f"{nanoseconds(ranks[name]):>10}" for name in RANKS if name in ranks)
        yield f"  {row['label']:<{LABEL_WIDTH}}{_value(row):>12}{cells}{_extras(row)}"


def _extras(row: Result) -> str:
    """What a measurement tells besides its figure."""
    if row["unit"] != "bytes":
        return ""
    figures, command = row["figures"], row["command"]
    buses = int(command[command.index("--buses") + 1])
    accepts = figures.get("accepts_per_second")
    text = f" each, {figures['descriptors'] / buses:.3g} descriptors each"
    return text + (f", {accepts:,.0f} accepted a second" if accepts else "")


def _ratios(rows: Result, ratios: Result) -> Iterator[str]:
    for ratio in ratios.values():
        if ratio["of"][0] in rows and ratio["of"][-1] in rows:
            title = ratio["title"].partition(": ")[2] or ratio["title"]
            spread = f"({ratio['min']:.3g} to {ratio['max']:.3g})"
            yield f"    {title:<54} {ratio_text(ratio['median']):>9}  {spread}"


def _by_language(result: Result) -> str:
    """One row a language: what it reaches, what of C's that is, and what its calls cost."""
    languages = _languages.languages_of(result)
    if not languages:
        return ""
    works = {"rtt": "round trip", "stream": "one by one", "records": "as records"}
    head = "".join(f"{title:>12}{'by C':>8}" for title in works.values())
    lines = [
        f"32 bytes, both sides in{head}{'send + recv':>13}{'by hand':>9}{'ratio':>8}",
        *(_language(result, language, list(works)) for language in languages),
        "by hand: the same two functions of C, called in the cheapest way that the language has",
    ]
    return "\n".join(lines)


def _language(result: Result, language: str, works: list[str]) -> str:
    rows, cells = result["measurements"], []
    for work in works:
        key = _languages.key(work, language)
        ratio = result["ratios"].get(f"{key}:{_languages.BASE}")
        by_c = f"{ratio['median']:.2f}" if ratio else "1"
        cells.append(f"{_value(rows[key]):>12}{by_c:>8}")
    calls = rows[_languages.key("calls", language)]
    raw_ns, of_raw = calls["figures"]["raw_ns"], calls["figures"]["of_raw"]
    cells.append(f"{_value(calls):>13}{nanoseconds(raw_ns):>9}{of_raw:>8.2f}")
    return f"  {_languages.title(language):<21}{''.join(cells)}"


def _where(result: Result) -> str:
    tables = result.get("where")
    if not tables:
        return ""
    lines = ["where each nanosecond goes, Python, 32 B, nobody waits"]
    for name in ("send", "recv"):
        for what, ns in tables[name]:
            lines.append(f"  {what:<52}{ns:>8.0f} ns")
        lines.append("")
    return "\n".join(lines[:-1])


def _bounds(result: Result) -> str:
    measured = [row for row in result["bounds"] if row["measured"] is not None]
    if not measured:
        return ""
    marks = {True: "holds", False: "MISSED"}
    lines = ["bounds"]
    for row in measured:
        bound = f"{row['relation']} {row['bound']:g}"
        lines.append(
            f"  {row['name']:<54}{row['measured']:>10,.3g}   {bound:<10} {marks[row['holds']]}"
        )
    return "\n".join(lines)


def _tail(result: Result) -> str:
    lines = []
    timer = result["timer"]["ns"]
    if timer:
        lines.append(
            f"one reading of the clock ({result['timer']['clock']}) is in every percentile, not in"
            f" the typical ones: p50 {timer['p50']:.0f} ns, p99.9 {timer['p99.9']:.0f} ns"
        )
    if any("percentiles_ns" in row for row in result["measurements"].values()):
        methods = result["percentiles"]
        lines.append(
            f"percentiles: of a round {methods['of_a_round']}; of all {methods['of_all_rounds']}"
        )
    lines += [f"not measured: {row['name']}; {row['install']}" for row in result["missing"]]
    lines += [f"failed: {key}: {why}" for key, why in result["failures"].items()]
    return "\n".join(lines)
