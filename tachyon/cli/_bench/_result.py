"""Turns rounds into the object that --json prints; bench/README.md says what is in it."""

from __future__ import annotations

from typing import Any

from tachyon.cli._bench import _bounds, _stats
from tachyon.cli._bench._cases import Cases, Measurement, Ratio
from tachyon.cli._bench._rounds import Collected, Round, value_of

SCHEMA = 1

REGIME = ("rtt/32/line", "rtt/32/limit", "wake/socket")


def assemble(cases: Cases, collected: Collected, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the whole result. facts: what is known besides the figures."""
    by_key = {measurement.key: measurement for measurement in cases.measurements}
    measurements = {
        key: row
        for key, measurement in by_key.items()
        if (row := _measurement(measurement, collected))
    }
    ratios = {
        ratio.key: row for ratio in cases.ratios if (row := _ratio(ratio, by_key, collected.rounds))
    }
    result = {
        "schema": SCHEMA,
        **facts,
        "rounds": len(collected.rounds),
        "percentiles": _percentile_methods(collected),
        "timer": {"clock": collected.clock, "ns": _medians(collected.timer_ns)},
        "limit_regime": {
            key: {name: measurements[key][name] for name in ("label", "median", "min", "max")}
            for key in REGIME
            if key in measurements
        },
        "measurements": measurements,
        "ratios": ratios,
        "failures": collected.failures,
    }
    result["bounds"] = _bounds.check(result)
    return result


def _percentile_methods(collected: Collected) -> dict[str, str]:
    kept = list(collected.distributions.values())
    merged = kept[0].method if kept else "none"
    return {"of_a_round": "exact, then the median of the rounds", "of_all_rounds": merged}


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure over rounds that all have it."""
    if not rows:
        return {}
    return {name: _stats.median(row[name] for row in rows) for name in rows[0]}


def _spread(values: list[float]) -> dict[str, Any]:
    return {
        "median": _stats.median(values),
        "min": min(values),
        "max": max(values),
        "of_rounds": values,
    }


def _measurement(measurement: Measurement, collected: Collected) -> dict[str, Any] | None:
    found = [this[measurement.key] for this in collected.rounds if measurement.key in this]
    if not found:
        return None
    row: dict[str, Any] = {
        "group": measurement.group,
        "case": measurement.case,
        "label": measurement.label,
        "role": measurement.role,
        "unit": measurement.unit,
        "command": list(measurement.native or measurement.program) or measurement.python,
        **_spread([value_of(measurement, result) for result in found]),
        "figures": _medians([result.get("figures", {}) for result in found]),
    }
    if "ns" in found[0]:
        row["percentiles_ns"] = _medians([result["ns"] for result in found])
    distribution = collected.distributions.get(measurement.key)
    if distribution:
        row["merged_percentiles_ns"] = {
            name: distribution.at(percent) for name, percent in _stats.RANKS.items()
        }
        row["samples"] = distribution.total
        row["curve_ns"] = _stats.curve(distribution)
    return row


def _ratio(
    ratio: Ratio, by_key: dict[str, Measurement], rounds: list[Round]
) -> dict[str, Any] | None:
    values = []
    for this in rounds:
        if all(key in this for key in ratio.of + ratio.to):
            over = [_metric(ratio, by_key[key], this) for key in ratio.of]
            under = [_metric(ratio, by_key[key], this) for key in ratio.to]
            values.append(max(over) / min(under))
    if not values:
        return None
    return {
        "title": ratio.title,
        "of": list(ratio.of),
        "to": list(ratio.to),
        "metric": ratio.metric,
        "better": ratio.better,
        **_spread(values),
    }


def _metric(ratio: Ratio, measurement: Measurement, this: Round) -> float:
    result = this[measurement.key]
    if ratio.metric == "value":
        return value_of(measurement, result)
    return float(result["ns"][ratio.metric])
