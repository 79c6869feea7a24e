"""tachyon bench: that it measures what it says and notices wrong data. No figure is judged."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest
from conftest import until

from tachyon import _builtin
from tachyon.cli import _exit, main
from tachyon.cli._bench import (
    _amounts,
    _bounds,
    _cases,
    _chart,
    _links,
    _native,
    _python_pair,
    _stats,
)
from tachyon.cli.bench import QUICK_BUDGET_S

ROOT = Path(__file__).parent.parent
FEW = ["--count", "120", "--warmup", "30"]
SIZES = {"bandwidth": "65536", "copy": "65536"}
RANKS = ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max"]

# Every measurement of tachyon-bench, with each of its variants; a test below compares.
NATIVE = [
    *("limit-line", "limit-ring", "limit-stream", "limit-copy"),
    *("limit-sleep --how socket", "limit-sleep --how eventfd", "limit-sleep --how futex"),
    *("bus-rpc --how call", "bus-rpc --how stream"),
    *("bus-rtt", "bus-wake", "bus-stream --how single", "bus-stream --how batch"),
    *("bus-bandwidth --how send", "bus-bandwidth --how reserve"),
    *("bus-many --how one", "bus-many --how robin", "bus-many --how idle", "bus-call"),
    *("socket-rtt", "socket-stream", "socket-bandwidth"),
    *("pipe-rtt", "pipe-stream", "pipe-bandwidth"),
]
# They send nothing, or nothing that arrives in another process.
WITHOUT_DATA = {"bus-many --how idle", "bus-call"}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """tachyon-bench as it is installed, or, where only the library is, built for these tests."""
    try:
        return _native.find_program()
    except _exit.Failure:
        folder = tmp_path_factory.mktemp("build")
        meson = [sys.executable, "-m", "mesonbuild.mesonmain"]
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
        for command in (
            [*meson, "setup", "-Dtests=false", str(folder), str(ROOT)],
            [*meson, "compile", "-C", str(folder)],
        ):
            subprocess.run(
                command, check=True, env={**os.environ, "PATH": path}, stdout=subprocess.DEVNULL
            )
        return str(folder / "bench" / "tachyon-bench")


@pytest.fixture(autouse=True)
def found(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TACHYON_BENCH", program)


def arguments(case: str) -> list[str]:
    words = case.split()
    size = next((SIZES[word] for word in words[0].split("-") if word in SIZES), "32")
    return [*words, *FEW, "--size", size, "--buses", "3"]


def run_native(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=100)


def run_bench(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tachyon", "bench", "--tiny", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, **options)


# ---- the native program -----------------------------------------------------


def test_the_list_here_names_all_measurements(program: str) -> None:
    usage = run_native(program)
    assert usage.returncode == 2
    listed = []
    for line in usage.stderr.partition("measurements:\n")[2].splitlines():
        name, *hows = line.split()
        listed += [f"{name} --how {how}" for how in hows[1].split(",")] if hows else [name]
    assert sorted(listed) == sorted(NATIVE)


@pytest.mark.parametrize("case", NATIVE)
def test_each_measurement_runs_and_its_figures_are_sane(program: str, case: str) -> None:
    done = run_native(program, *arguments(case))
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert result["mode"] == case.split()[0]
    assert result["ns_per_tick"] > 0
    assert result["figures"] and all(value >= 0 for value in result["figures"].values())
    for name in {"ns", "timer_ns"} & set(result):
        values = [result[name][rank] for rank in RANKS]
        assert values == sorted(values) and values[0] >= 0
    if "ns" in result:
        assert result["typical_ns"] > 0
    elif "messages_per_second" in result["figures"]:
        rate = 120 * 1e9 / result["figures"]["elapsed_ns"]
        assert result["figures"]["messages_per_second"] == pytest.approx(rate)


@pytest.mark.parametrize("case", [case for case in NATIVE if case not in WITHOUT_DATA])
def test_wrong_data_fails_the_round(program: str, case: str) -> None:
    done = run_native(program, *arguments(case), "--spoil")
    assert done.returncode == 4
    assert "wrong data" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "words",
    [
        ["nothing"],
        ["bus-rtt", "--size", "7"],
        ["bus-rtt", "--count", "0"],
        ["bus-rtt", "--how", "well"],
        ["bus-stream", "--how", "fast"],
        ["bus-rtt", "--cores", "0"],
        ["bus-bandwidth", "--size", "72"],
        ["bus-rtt", "bus-rtt"],
    ],
)
def test_wrong_usage_is_code_2(program: str, words: list[str]) -> None:
    assert run_native(program, *words).returncode == 2


def test_samples_are_what_the_percentiles_are_of(program: str, tmp_path: Path) -> None:
    path = tmp_path / "samples"
    result = json.loads(run_native(program, *arguments("bus-rtt"), "--samples", str(path)).stdout)
    samples = array("Q", path.read_bytes())
    assert len(samples) == 120
    exact = _stats.percentiles(tick * result["ns_per_tick"] for tick in samples)
    assert result["ns"] == pytest.approx(exact, abs=0.01)


def test_a_round_leaves_nothing_behind(program: str) -> None:
    before = set(os.listdir("/tmp"))
    run_native(program, *arguments("bus-rtt"))
    run_native(program, *arguments("bus-rtt"), "--spoil")
    assert not [name for name in set(os.listdir("/tmp")) - before if "tachyon-bench" in name]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_round_and_both_sides(program: str, ending: signal.Signals) -> None:
    before = set(os.listdir("/tmp"))
    words = ["limit-line", "--warmup", "10000000000"]
    process = subprocess.Popen([program, *words], stderr=subprocess.PIPE)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until(lambda: len(children.read_text().split()) == 2)
    sides = children.read_text().split()
    process.send_signal(ending)
    process.communicate(timeout=30)
    assert process.returncode == -ending
    assert not [side for side in sides if Path(f"/proc/{side}").exists()]
    assert not [name for name in set(os.listdir("/tmp")) - before if "tachyon-bench" in name]


def test_a_round_that_takes_too_long_is_ended(program: str) -> None:
    done = run_native(program, "limit-line", "--warmup", "10000000000", "--timeout", "1")
    assert done.returncode == 1
    assert "longer than --timeout" in done.stderr


def test_idle_buses_cost_what_their_rings_need(program: str) -> None:
    words = ["bus-many", "--how", "idle", "--buses", "50", "--capacity", "65536"]
    figures = json.loads(run_native(program, *words).stdout)["figures"]
    assert figures["descriptors"] >= 50
    assert figures["accepts_per_second"] > 0
    assert figures["hub_private_bytes"] > 0


# ---- statistics -------------------------------------------------------------


def test_percentiles_are_nearest_ranks() -> None:
    assert _stats.percentiles([5.0]) == dict.fromkeys(RANKS, 5.0)
    found = _stats.percentiles(range(1, 1001))
    assert [found[rank] for rank in RANKS] == [1, 500, 900, 990, 999, 1000, 1000]


def test_median_of_an_even_number() -> None:
    assert _stats.median([4, 1, 3, 2]) == 2.5


def test_distributions_grow_over_rounds_and_agree() -> None:
    first, second = array("Q", range(100, 1100)), array("Q", range(2000, 3000))
    kinds: list[_stats.Distribution] = [_stats.ExactDistribution(), _stats.new_distribution()]
    for distribution in kinds:
        distribution.add(first, 0.5)
        distribution.add(second, 0.5)
        assert distribution.total == 2000
        assert distribution.at(0) == pytest.approx(50, rel=0.002)
        assert distribution.at(50) == pytest.approx(549.5, rel=0.002)
        assert distribution.at(100) == pytest.approx(1499.5, rel=0.002)


def test_a_curve_ends_where_samples_do() -> None:
    distribution = _stats.ExactDistribution()
    distribution.add(array("Q", range(1000)), 1.0)
    assert _stats.curve(distribution)[-1] == [99.9, 998]


# ---- the whole --------------------------------------------------------------


@pytest.fixture(scope="module")
def result(program: str) -> dict[str, Any]:
    """One run of everything, as --json gives it."""
    environment = {**os.environ, "TACHYON_BENCH": program}
    done = run_bench("--quick", "--rounds", "2", "--json", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def test_all_rows_are_there(result: dict[str, Any]) -> None:
    assert result["schema"] == 1
    peers = [*_cases.C_PEERS, *filter(_links.is_installed, _cases.PYTHON_PEERS)]
    cases = _cases.all_cases(_amounts.TINY, peers, 32 << 20, _links.has_numpy())
    keys = {measurement.key for measurement in cases.measurements}
    assert set(result["measurements"]) == keys
    assert set(result["ratios"]) == {ratio.key for ratio in cases.ratios}
    assert result["failures"] == {}
    groups = {row["group"] for row in result["measurements"].values()}
    assert groups == set(_cases.NAMES) - {"limit", "peers"}


def test_each_row_has_its_figures(result: dict[str, Any]) -> None:
    # Both that were asked for, unless one took so long that two would be over the budget.
    assert result["rounds"] == 2 or 2 * result["seconds"] > QUICK_BUDGET_S
    for key, row in result["measurements"].items():
        assert row["min"] <= row["median"] <= row["max"], key
        assert row["role"] in ("limit", "tachyon", "peer")
        if row["unit"] == "ns":
            assert list(row["percentiles_ns"]) == RANKS
        if "curve_ns" in row:
            assert list(row["merged_percentiles_ns"]) == RANKS
            assert row["samples"] > 0


def test_a_ratio_is_of_figures_of_the_same_round(result: dict[str, Any]) -> None:
    rows, ratios = result["measurements"], result["ratios"]
    ratio = ratios["rtt/32/tachyon:limit"]
    ours, limit = rows["rtt/32/tachyon"]["of_rounds"], rows["rtt/32/limit"]["of_rounds"]
    assert ratio["of_rounds"] == pytest.approx([a / b for a, b in zip(ours, limit, strict=True)])
    assert ratio["median"] == pytest.approx(_stats.median(ratio["of_rounds"]))
    flat = [rows[f"capacity/{n}"]["of_rounds"][0] for n in (1 << 16, 1 << 20)]
    assert ratios["capacity:flat"]["of_rounds"][0] == pytest.approx(max(flat) / min(flat))


def test_bounds_say_what_was_measured_and_whether_it_holds(result: dict[str, Any]) -> None:
    assert [row["name"] for row in result["bounds"]] == [bound.name for bound in _bounds.BOUNDS]
    for row in result["bounds"]:
        if row["measured"] is None:
            assert row["holds"] is None and ("iceoryx2" in row["name"] or "pyzmq" in row["name"])
        elif row["relation"] == "<=":
            assert row["holds"] is (row["measured"] <= row["bound"])
        else:
            assert row["holds"] is (row["measured"] >= row["bound"])


def test_bounds_of_several_runs_are_judged_by_their_median(
    result: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bound, three runs of which one misses it; another that only one run measured."""
    one, other = [bound for bound in _bounds.BOUNDS if bound.relation == "<="][:2]
    paths = []
    for number, factor in enumerate((0.5, 3.0, 0.75)):
        rows = [_bounds.judge(one, one.bound * factor)]
        if number == 0:
            rows.append(_bounds.judge(other, other.bound * 2))
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps({**result, "bounds": rows}), encoding="utf-8")
        paths.append(str(path))
    assert main(["bench", "--json", "--medians", *paths]) == _exit.DONE
    combined = json.loads(capsys.readouterr().out)
    first, second = (
        next(row for row in combined["bounds"] if row["name"] == bound.name)
        for bound in (one, other)
    )
    assert first["of_runs"] == [one.bound * factor for factor in (0.5, 3.0, 0.75)]
    assert first["measured"] == one.bound * 0.75 and first["holds"] is True
    assert second["of_runs"] == [other.bound * 2] and second["holds"] is False
    assert main(["bench", "--medians", *paths]) == _exit.DONE
    text = capsys.readouterr().out
    assert one.name in text and text.count("holds") == 1 and text.count("MISSED") == 1


def test_what_is_no_result_gives_no_medians(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for content in (None, "", "[]", '{"schema": 1}', '{"schema": 0, "bounds": []}'):
        path = tmp_path / "no.json"
        if content is not None:
            path.write_text(content, encoding="utf-8")
        assert main(["bench", "--medians", str(path)]) == _exit.ERROR
        assert str(path) in capsys.readouterr().err


def test_the_state_of_the_machine_is_told(result: dict[str, Any]) -> None:
    machine = result["machine"]
    for name in ("cpu", "cores_are", "governor", "load_average", "cpu_quota", "virtual", "kernel"):
        assert machine[name]
    assert set(result["limit_regime"]) == {"rtt/32/line", "rtt/32/limit", "wake/socket"}
    assert result["timer"]["clock"] and list(result["timer"]["ns"]) == RANKS


def test_the_parts_of_a_call_add_up_to_it(result: dict[str, Any]) -> None:
    for name in ("send", "recv"):
        *parts, (_, whole) = result["where"][name]
        assert len(parts) >= 3
        assert sum(ns for _, ns in parts) == pytest.approx(whole)
        assert whole > 0


def test_text_shows_every_case_and_bound(result: dict[str, Any]) -> None:
    from tachyon.cli._bench import _text

    text = _text.render(result)
    for row in result["measurements"].values():
        assert row["case"] in text and row["label"] in text
    for row in result["bounds"]:
        assert (row["name"] in text) is (row["measured"] is not None)
    # Of --where, by the way that this Python takes.
    assert ("the Message, and " if _builtin.QUICK else "making the Message") in text


def test_a_chart_of_text_shows_round_trips_and_bounds(result: dict[str, Any]) -> None:
    text = _chart.render(result)
    assert "rotating line" in text and "tachyon (Python)" in text
    assert "C wake of a sleeper" in text
    assert max(map(len, text.splitlines())) < 130


def test_plot_draws_or_says_why_not(tmp_path: Path) -> None:
    from tachyon.cli.bench import _has_matplotlib

    picture = tmp_path / "picture.png"
    done = run_bench("rtt", "--peers", "none", "--plot", str(picture))
    assert done.returncode == 0
    if _has_matplotlib():
        assert picture.read_bytes().startswith(b"\x89PNG")
    else:
        assert "no matplotlib" in done.stderr and "rotating line" in done.stderr


# ---- what is asked for ------------------------------------------------------


def keys_of(*words: str) -> set[str]:
    done = run_bench("--json", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return set(json.loads(done.stdout)["measurements"])


def test_names_choose_what_is_measured() -> None:
    assert keys_of("wake") == {"wake/socket", "wake/futex", "wake/eventfd", "wake/tachyon"}
    assert keys_of("stream", "--peers", "pipe") == {
        f"stream/32/{name}" for name in ("limit", "tachyon", "batch", "pipe")
    }
    limits = keys_of("limit")
    assert "rtt/32/line" in limits and "wake/futex" in limits
    assert not [key for key in limits if "tachyon" in key or key.endswith(("pipe", "send"))]
    peers = keys_of("peers", "--peers", "seqpacket,multiprocessing")
    assert {"rtt/8/seqpacket", "python/stream/multiprocessing", "rtt/8/tachyon"} <= peers
    assert not [key for key in peers if key.endswith("/limit")]


def test_unknown_names_are_wrong_usage() -> None:
    for words in (["speed"], ["--peers", "zeromq"], ["--cores", "0"], ["--cores", "0,9999"]):
        done = run_bench(*words)
        assert done.returncode == 2
        assert words[-1].split(",")[-1] in done.stderr


def test_a_peer_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_links, "is_installed", lambda peer: peer == "multiprocessing")
    assert main(["bench", "--tiny", "python"]) == 0
    text = capsys.readouterr().out
    for peer in ("pyzmq", "pynng", "iceoryx2"):
        assert f"not measured: {peer}; pip install {peer}" in text


def test_a_peer_that_fails_is_said_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _native.run

    def broken(words: list[str], samples_path: str | None = None) -> dict[str, Any]:
        if words[0].startswith("pipe"):
            raise _exit.Failure(_exit.ERROR, "no pipes today")
        return run(words, samples_path)

    monkeypatch.setattr(_native, "run", broken)
    assert main(["bench", "--tiny", "stream", "--rounds", "2"]) == 0
    text = capsys.readouterr().out
    assert "failed: stream/32/pipe: no pipes today" in text
    assert "seqpacket" in text


def test_wrong_data_fails_the_whole_run(program: str, tmp_path: Path) -> None:
    spoiler = tmp_path / "tachyon-bench"
    spoiler.write_text(f'#!/bin/sh\nexec "{program}" "$@" --spoil\n')
    spoiler.chmod(0o755)
    done = run_bench("rtt", env={**os.environ, "TACHYON_BENCH": str(spoiler)})
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"tachyon bench: .*wrong data.*\n", done.stderr)


@pytest.mark.parametrize("work", ["rtt", "stream"])
def test_wrong_data_fails_a_job_of_python(work: str) -> None:
    job = {"transport": "tachyon", "work": work, "count": 50, "warmup": 10}
    with _python_pair.PythonPair(None) as pair:
        assert pair.run(job)
        with pytest.raises(_exit.Failure, match="wrong data"):
            pair.run({**job, "spoil": True})
        assert pair.run(job)  # by two new processes


def test_no_program_is_explained(tmp_path: Path) -> None:
    done = run_bench(env={**os.environ, "TACHYON_BENCH": str(tmp_path / "none")})
    assert done.returncode == 1
    assert "TACHYON_BENCH" in done.stderr and "Traceback" not in done.stderr


def test_one_cpu_works_and_is_noted() -> None:
    first = min(os.sched_getaffinity(0))
    done = run_bench(
        *("rtt", "--peers", "none", "--json"),
        preexec_fn=lambda: os.sched_setaffinity(0, {first}),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["machine"]["pinned_to"] is None
    assert any(note.startswith("One CPU") for note in result["notes"])


def test_cores_are_pinned_as_asked() -> None:
    first = min(os.sched_getaffinity(0))
    cores = f"{first},{first}"
    result = json.loads(run_bench("stream", "--peers", "none", "--cores", cores, "--json").stdout)
    assert result["machine"]["pinned_to"] == [first, first]
    none = json.loads(run_bench("stream", "--peers", "none", "--cores", "none", "--json").stdout)
    assert none["machine"]["pinned_to"] is None


def test_records_and_arrays_bring_what_they_are_compared_to(program: str) -> None:
    environment = {**os.environ, "TACHYON_BENCH": program}
    done = run_bench("records", "arrays", "--quick", "--rounds", "1", "--json", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert {row["group"] for row in result["measurements"].values()} >= {"records", "stream"}
    assert {"records/32/tachyon:c", "records/32/tachyon:stream"} <= set(result["ratios"])
    names = [row["name"] for row in result["bounds"] if row["measured"] is not None]
    assert {"Python records / C stream", "Python records / message by message"} <= set(names)
