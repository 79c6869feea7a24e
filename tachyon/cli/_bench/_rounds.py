"""Runs the rounds: every measurement once a round, those of one case one after the other.

A machine drifts: clocks, neighbours, where memory came to lie. What is to be compared is
therefore measured within the same second, in one order in even rounds and in the opposite
order in odd ones, and compared round by round.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

from tachyon.cli import _exit
from tachyon.cli._bench import _native, _stats
from tachyon.cli._bench._cases import Measurement
from tachyon.cli._bench._programs import Programs
from tachyon.cli._bench._python_pair import PythonPair

Round = dict[str, dict[str, Any]]  # what was measured, by key of the measurement
Tell = Callable[[float, str], None]


class Collected:
    """What the rounds gave."""

    def __init__(self) -> None:
        self.rounds: list[Round] = []
        self.distributions: dict[str, _stats.Distribution] = {}
        self.failures: dict[str, str] = {}
        self.timer_ns: list[dict[str, float]] = []
        self.clock = ""


def value_of(measurement: Measurement, result: dict[str, Any]) -> float:
    """Return the figure that a measurement is about."""
    if measurement.unit == "ns":
        return float(result["typical_ns"])
    if measurement.unit == "bytes":
        return idle_bytes_per_bus(result)
    return float(result["figures"][measurement.unit])


def idle_bytes_per_bus(result: dict[str, Any]) -> float:
    """Return all memory of both processes and of the rings, by the number of buses."""
    figures = result["figures"]
    names = ("hub_private_bytes", "connector_private_bytes", "shared_bytes")
    return float(sum(figures[name] for name in names) / result["buses"])


class Rounds:
    """Runs measurements on two cores, or wherever the kernel likes where cores is None."""

    def __init__(
        self,
        measurements: list[Measurement],
        cores: tuple[int, int] | None,
        programs: Programs | None = None,
    ) -> None:
        self._measurements = measurements
        self._cores = cores
        self._programs = programs
        self._pair = PythonPair(cores)
        self._seconds: dict[str, float] = {}
        self.collected = Collected()

    def run(self, rounds: int, budget_s: float, tell: Tell) -> Collected:
        """Run so many rounds, at least one; none is begun that the budget seems too small for.

        tell(fraction, label) is called before each measurement.
        """
        began = time.monotonic()
        with self._pair, tempfile.TemporaryDirectory(prefix="tachyon-") as folder:
            samples_path = os.path.join(folder, "samples")
            for index in range(rounds):
                self._run_round(index, rounds, samples_path, tell)
                if time.monotonic() - began + self._expected_s(index + 1) > budget_s:
                    break
        return self.collected

    def _expected_s(self, index: int) -> float:
        """How long a round will take, as its measurements took last time."""
        return sum(self._seconds.get(m.key, 0) for m in self._measurements if index < m.most_rounds)

    def _run_round(self, index: int, rounds: int, samples_path: str, tell: Tell) -> None:
        this: Round = {}
        wanted = [m for m in _in_turn(self._measurements, index) if index < m.most_rounds]
        for number, measurement in enumerate(wanted):
            tell((index + number / len(wanted)) / rounds, measurement.case)
            if measurement.key in self.collected.failures:
                continue
            began = time.monotonic()
            self._measure(measurement, this, samples_path)
            self._seconds[measurement.key] = time.monotonic() - began
        self.collected.rounds.append(this)

    def _measure(self, measurement: Measurement, this: Round, samples_path: str) -> None:
        path = samples_path if measurement.curve else None
        try:
            this[measurement.key] = self._run_one(measurement, path)
        except _exit.Failure as failure:
            # A peer that does not work is left out, and said; ours and the limit must work.
            if measurement.role != "peer":
                raise
            self.collected.failures[measurement.key] = str(failure)
            return
        if path:
            self._keep_samples(measurement, this[measurement.key], path)

    def _run_one(self, measurement: Measurement, samples_path: str | None) -> dict[str, Any]:
        if measurement.program:
            assert self._programs
            return self._programs.run(*measurement.program)
        if not measurement.native:
            return self._pair.run(measurement.python, samples_path)
        arguments = list(measurement.native)
        if self._cores:
            arguments += ["--cores", f"{self._cores[0]},{self._cores[1]}"]
        result = _native.run(arguments, samples_path)
        self.collected.timer_ns.append(result["timer_ns"])
        self.collected.clock = result["clock"]
        return result

    def _keep_samples(self, measurement: Measurement, result: dict[str, Any], path: str) -> None:
        kept = self.collected.distributions
        if measurement.key not in kept:
            kept[measurement.key] = _stats.new_distribution()
        kept[measurement.key].add(_native.read_samples(path), result.get("ns_per_tick", 1.0))


def _in_turn(measurements: list[Measurement], index: int) -> list[Measurement]:
    """Return the measurements case by case, each case backwards in odd rounds."""
    cases: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        cases.setdefault(measurement.case, []).append(measurement)
    step = -1 if index % 2 else 1
    return [measurement for case in cases.values() for measurement in case[::step]]
