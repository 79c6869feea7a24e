"""tachyon bench languages: that each language is measured beside C, and what fails is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tachyon.cli._bench import _bounds, _languages, _text

ROOT = Path(__file__).parent.parent
WORKS = ("rtt", "stream", "records", "calls")

# A clone whose programs tell figures of ours: nanoseconds of a message, by language and role.
BUILDER = """
    import os, sys
    LANGUAGES = {"go": None, "c": None, "rust": None}

    class BuildError(Exception):
        pass

    def build(work, languages, program, tell):
        os.environ["TACHYON_LIBRARY"] = "/the/clone/s/libtachyon.so.1"
        if "rust" in languages:
            raise BuildError("rust: cargo build:\\nerror: what it printed")
        script = os.path.join(os.path.dirname(__file__), "program.py")
        return {language: [sys.executable, script, language] for language in languages}
"""
PROGRAM = """
    import sys
    language, role, path = sys.argv[1:]
    ns = {
        "c": {"ping": 100, "consume": 50, "records-consume": 10, "calls": (20, 20)},
        "go": {"ping": 250, "consume": 200, "records-consume": 125, "calls": (300, 100)},
    }[language].get(role)
    print("ready", flush=True)
    for line in sys.stdin:
        if role == "calls":
            print(*ns, flush=True)
        else:
            print("done" if ns is None else ns * int(line), flush=True)
"""


def run_bench(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, **options.pop("env", {})}
    command = [sys.executable, "-m", "tachyon", "bench", "languages", *words, "--tiny"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=500, env=environment, **options
    )


MakeClone = Callable[..., str]


@pytest.fixture
def make_clone(tmp_path: Path) -> MakeClone:
    def make(program: str = PROGRAM) -> str:
        folder = tmp_path / "bindings"
        folder.mkdir()
        (folder / "languages.py").write_text(textwrap.dedent(BUILDER))
        (folder / "program.py").write_text(textwrap.dedent(program))
        return str(tmp_path)

    return make


# ---- with programs that tell figures of ours --------------------------------


def test_figures_are_shown_beside_those_of_c(make_clone: MakeClone) -> None:
    words = ("--languages", "go", "--rounds", "2", "--json", "--clone", make_clone())
    done = run_bench(*words)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert result["rounds"] == 2
    assert result["machine"]["library"] == "/the/clone/s/libtachyon.so.1"
    rows, ratios = result["measurements"], result["ratios"]
    medians = {key: row["median"] for key, row in rows.items()}
    assert medians == pytest.approx(
        {
            "languages/rtt/c": 100,
            "languages/rtt/go": 250,
            "languages/stream/c": 20e6,
            "languages/stream/go": 5e6,
            "languages/records/c": 100e6,
            "languages/records/go": 8e6,
            "languages/calls/c": 20,
            "languages/calls/go": 300,
        }
    )
    assert rows["languages/calls/go"]["figures"] == {"raw_ns": 100, "of_raw": 3}
    found = {key: (row["median"], row["better"]) for key, row in ratios.items()}
    assert found == {
        "languages/rtt/go:c": (pytest.approx(2.5), "lower"),
        "languages/stream/go:c": (pytest.approx(0.25), "higher"),
        "languages/records/go:c": (pytest.approx(0.08), "higher"),
        "languages/calls/go:c": (pytest.approx(15), "lower"),
    }
    assert [row["name"] for row in result["bounds"]] == [row.name for row in _bounds.LANGUAGES]
    measured = [row for row in result["bounds"] if row["measured"] is not None]
    assert [(row["name"], row["holds"]) for row in measured] == [("Go records, a second", False)]
    lines = _text.render(result).splitlines()
    (row,) = [line.split() for line in lines if line.startswith("  Go  ")]
    assert " ".join(row) == "Go 250 ns 2.50 5 M/s 0.25 8 M/s 0.08 300 ns 100 ns 3.00"
    assert lines.index("bounds") and "MISSED" in lines[lines.index("bounds") + 1]


def test_the_bounds_of_runs_are_judged_by_their_median(
    make_clone: MakeClone, tmp_path: Path
) -> None:
    run = json.loads(run_bench("--languages", "go", "--json", "--clone", make_clone()).stdout)
    paths = []
    for number, rate in enumerate((8e6, 12e6, 30e6)):
        bounds = [_bounds.judge(bound, None) for bound in _bounds.LANGUAGES]
        for row in bounds:
            if row["name"] == "Go records, a second":
                row["measured"] = rate
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps({**run, "bounds": bounds}))
    command = [sys.executable, "-m", "tachyon", "bench", "--medians", *map(str, paths)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (line,) = text.splitlines()[1:]
    assert line.startswith("Go records") and "1.2e+07" in line and line.endswith("holds")


def test_the_two_sides_have_a_core_each(make_clone: MakeClone) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        cores *= 2
    tell = 'import os; sys.exit(f"{role} on {os.sched_getaffinity(0)}")'
    clone = make_clone(PROGRAM.replace('print("ready", flush=True)', tell))
    done = run_bench("--languages", "c", "--cores", f"{cores[0]},{cores[1]}", "--clone", clone)
    assert done.returncode == 1
    # Which of the two is heard first is chance.
    said = (f"ping on {{{cores[0]}}}\n", f"echo on {{{cores[1]}}}\n")
    assert done.stderr.endswith(said)


@pytest.mark.parametrize(
    ("instead", "told"),
    [
        ('print("hello", flush=True)', "it said 'hello' where ready was expected"),
        ("raise ValueError('no\\n bus')", "ended with code 1: ValueError: no"),
        ("pass; raise SystemExit(3)", "ended with code 3: it said nothing"),
    ],
)
def test_a_program_that_does_not_start_is_named(
    make_clone: MakeClone, instead: str, told: str
) -> None:
    clone = make_clone(PROGRAM.replace('print("ready", flush=True)', instead))
    done = run_bench("--languages", "go", "--clone", clone)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tachyon bench: C, ping and echo: ")
    assert told in done.stderr


def test_a_program_that_ends_is_heard_though_the_other_one_talks(make_clone: MakeClone) -> None:
    lines = """while role == "ping":
        print("at work", file=sys.stderr, flush=True)
    __import__("time").sleep(0.5)  # until it talks
    sys.exit("no bus")"""
    clone = make_clone(PROGRAM.replace('print("ready", flush=True)', lines))
    done = run_bench("--languages", "go", "--clone", clone)
    assert done.returncode == 1
    assert done.stderr.endswith("echo ended with code 1: no bus\n")


@pytest.mark.parametrize(
    ("instead", "told"),
    [
        ("sys.exit('out of messages')", "consume ended with code 1: out of messages"),
        ('print("much", flush=True)', "it said 'much' where a figure was expected"),
    ],
)
def test_a_round_that_fails_is_named(make_clone: MakeClone, instead: str, told: str) -> None:
    fail = (
        f'    for line in sys.stdin:\n        if (language, role) == ("go", "consume"): {instead}'
    )
    clone = make_clone(PROGRAM.replace("    for line in sys.stdin:", fail))
    done = run_bench("--languages", "go", "--clone", clone)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"tachyon bench: Go, produce and consume: {told}\n"


def test_what_a_build_printed_is_shown(make_clone: MakeClone) -> None:
    done = run_bench("--clone", make_clone())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "error: what it printed",
        "tachyon bench: rust: cargo build:",
    ]


# ---- what is asked for ------------------------------------------------------


def test_without_a_clone_it_says_what_to_do(tmp_path: Path) -> None:
    for words in ((), ("--clone", str(tmp_path))):
        done = run_bench(*words, cwd=tmp_path)
        assert done.returncode == 1
        assert f"{tmp_path} is no clone" in done.stderr and "--clone DIR" in done.stderr


@pytest.mark.parametrize("words", [["rtt"], ["--where"], ["--plot", "x.png"]])
def test_it_goes_by_itself(words: list[str]) -> None:
    done = run_bench(*words)
    assert done.returncode == 2
    assert "languages goes by itself" in done.stderr


def test_its_options_are_for_nothing_else() -> None:
    for words in (["--languages", "c"], ["--clone", str(ROOT)]):
        command = [sys.executable, "-m", "tachyon", "bench", "rtt", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "belong to it" in done.stderr


def test_a_missing_tool_and_an_unknown_language_are_named(tmp_path: Path) -> None:
    done = run_bench("--clone", str(ROOT), env={"PATH": str(tmp_path)})
    assert done.returncode == 1 and "there is no meson on the path" in done.stderr
    done = run_bench("--clone", str(ROOT), "--languages", "cobol")
    assert done.returncode == 1 and "'cobol' is not one of c, " in done.stderr


# ---- the programs -----------------------------------------------------------


def measured(*words: str) -> dict[str, Any]:
    done = run_bench("--json", "--clone", str(ROOT), *words)
    assert (done.returncode, done.stderr) == (0, "")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def check(result: dict[str, Any], languages: list[str]) -> None:
    keys = [_languages.key(work, language) for work in WORKS for language in languages]
    assert list(result["measurements"]) == keys
    assert all(row["median"] > 0 for row in result["measurements"].values())
    text = _text.render(result)
    assert all(f"\n  {_languages.title(language)} " in text for language in languages)


def test_c_and_python() -> None:
    check(measured("--languages", "python"), ["c", "python"])


@pytest.mark.bindings
def test_all_languages_of_the_clone() -> None:
    result = measured()
    languages = _languages.languages_of(result)
    check(result, _languages.in_order(languages))
    judged = [row["name"] for row in result["bounds"] if row["measured"] is not None]
    for language in languages:
        name = f"{_languages.title(language)} "
        assert any(bound.startswith(name) for bound in judged) or language == "c"
