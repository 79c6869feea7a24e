"""tachyon bench: the limit of this machine, tachyon, and what one would use instead, in one run."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import datetime, timezone
from typing import Any

from tachyon.cli import _exit, _text
from tachyon.cli._bench import (
    _amounts,
    _cases,
    _languages,
    _links,
    _machine,
    _native,
    _programs,
    _result,
    _rounds,
)
from tachyon.cli._progress import Progress

DESCRIPTION = """\
Measure what two cores of this machine can do at most, with no library at all;
tachyon beside it; and what one would use instead: all in the same rounds, with
the same copies and checks, pinned to the same two cores. Ratios are those of
one round, medians over the rounds.

  limit      one cache line, a line that rotates, stamped lines, memcpy, sleepers
  rtt        round trips of 8 B to 4 KiB, both sides polling
  stream     messages a second, one way, one by one and in batches
  bandwidth  blocks of 64 KiB to 16 MiB, every byte written and read
  wake       round trips of sleepers
  rpc        calls, beside the same round trip over a stream
  many       1 to 1000 buses in one process: memory, descriptors, messages
  capacity   round trips by size of the ring
  python     round trips and stream from Python
  records    the stream from Python as NumPy arrays of records
  arrays     arrays of 1 MiB from Python, made in the ring and added up in place
  peers      tachyon and the peers of rtt, stream, bandwidth and python, no limits

  languages  by itself, and not part of all of it: round trips, stream, records and
             the cost of a call from each language, beside C. Its programs are built
             in a clone of tachyon, with the toolchains of bindings/install-toolchains
"""

EPILOG = f"""\
The peers of Python come with: pip install 'tachyon[bench]'

{_exit.EPILOG}"""

ROUNDS = 11
QUICK_ROUNDS = 3
# So that all of --quick stays under 20 seconds.
QUICK_BUDGET_S = 14.0
WHERE_ROUNDS = 400


def _parse_cores(text: str) -> tuple[int, int] | None:
    """Read "A,B" or "none"."""
    if text == "none":
        return None
    parts = text.split(",")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: write two numbers like 0,1, or none")
    cores = int(parts[0]), int(parts[1])
    missing = [core for core in cores if core not in _machine.usable_cores()]
    if missing:
        raise argparse.ArgumentTypeError(f"core {missing[0]} is not one that we may run on")
    return cores


def _parse_peers(text: str) -> str:
    known = (*_cases.C_PEERS, *_cases.PYTHON_PEERS)
    for name in text.split(","):
        if text not in ("auto", "none") and name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
    return text


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `tachyon bench`."""
    parser = subparsers.add_parser(
        "bench",
        help="measure the limit of this machine, tachyon and its peers",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="what to measure, see above; default: all of it"
    )
    parser.add_argument(
        "--quick", action="store_true", help="less of each; under 20 seconds on an idle machine"
    )
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=_text.parse_count,
        help=f"how many rounds (default {ROUNDS}; --quick: up to {QUICK_ROUNDS})",
    )
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    parser.add_argument("--plot", metavar="FILE.png", help="draw curves and bars (matplotlib)")
    parser.add_argument(
        "--cores",
        metavar="A,B",
        type=_parse_cores,
        default=argparse.SUPPRESS,
        help="the two cores to run on, or none; default: two near ones",
    )
    parser.add_argument(
        "--peers",
        metavar="LIST",
        type=_parse_peers,
        default="auto",
        help="auto (those installed), none, or names separated by commas",
    )
    parser.add_argument(
        "--medians",
        metavar="RUN.json",
        nargs="+",
        help="measure nothing: show the bounds of these earlier runs and their medians",
    )
    parser.add_argument(
        "--languages",
        metavar="LIST",
        type=lambda text: text.split(","),
        help="languages: which of them, separated by commas; default: all. C is always there",
    )
    parser.add_argument(
        "--clone",
        metavar="DIR",
        help="languages: where the clone is; default: the working folder",
    )
    parser.add_argument(
        "--where",
        action="store_true",
        help="where each nanosecond of send() and recv() from Python goes; part of python too",
    )
    # For tests: so little of everything that no figure means anything.
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run, command="bench")


def run(args: argparse.Namespace) -> int:
    """Measure, and print; 0 even where a bound is missed: that is a finding, not a failure."""
    if args.medians:
        return _show_medians(args)
    _check_names(args)
    if args.plot:
        _check_plot()
    if _languages.NAME not in args.names:
        _native.find_program()
    cores = args.cores if hasattr(args, "cores") else _machine.choose_cores()
    with Progress(sys.stderr) as progress:
        measure = _measure_languages if _languages.NAME in args.names else _measure
        result = measure(args, cores, progress)
    if args.plot:
        _draw(result, args.plot)
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        from tachyon.cli._bench import _text as bench_text

        print(bench_text.render(result))
    return _exit.DONE


def _show_medians(args: argparse.Namespace) -> int:
    from tachyon.cli._bench import _medians

    combined = _medians.combine([_medians.load(path) for path in args.medians])
    print(json.dumps(combined, indent=1) if args.json else _medians.render(combined))
    return _exit.DONE


def _check_names(args: argparse.Namespace) -> None:
    known = (*_cases.NAMES, _languages.NAME)
    for name in args.names:
        if name not in known:
            raise _exit.Failure(
                _exit.USAGE, f"{name!r} is not one of {', '.join(known)}; see --help"
            )
    alone = args.names == [_languages.NAME] and not (args.where or args.plot)
    if not alone and (_languages.NAME in args.names or args.languages or args.clone):
        raise _exit.Failure(
            _exit.USAGE,
            "languages goes by itself, without --where and --plot;"
            " --languages and --clone belong to it",
        )


# ---- what to measure --------------------------------------------------------


def _choose_peers(text: str) -> tuple[list[str], list[dict[str, str]]]:
    """Return the peers to measure, and those that are not installed, with what to do."""
    if text == "none":
        return [], []
    wanted = [*_cases.C_PEERS, *_cases.PYTHON_PEERS] if text == "auto" else text.split(",")
    missing = [
        name for name in wanted if name in _cases.PYTHON_PEERS and not _links.is_installed(name)
    ]
    rows = [{"name": name, "install": f"pip install {name}"} for name in missing]
    return [name for name in wanted if name not in missing], rows


def _is_wanted(measurement: _cases.Measurement, names: list[str]) -> bool:
    if not names or measurement.group in names:
        return True
    if "limit" in names and measurement.role == "limit":
        return True
    has_peers = measurement.group in ("rtt", "stream", "bandwidth", "python")
    return "peers" in names and has_peers and measurement.role != "limit"


def _cases_for(args: argparse.Namespace, peers: list[str]) -> _cases.Cases:
    amounts = _amounts_of(args)
    records = _links.has_numpy()
    cases = _cases.all_cases(amounts, peers, _machine.last_cache_bytes(), records)
    only_where = args.where and args.names in ([], ["python"])
    keys = {
        measurement.key
        for measurement in cases.measurements
        if _is_wanted(measurement, args.names) and not only_where
    }
    keys |= _compared_to(cases, keys)
    cases.measurements = [
        measurement for measurement in cases.measurements if measurement.key in keys
    ]
    return cases


def _compared_to(cases: _cases.Cases, keys: set[str]) -> set[str]:
    """What records and arrays are measured against: without it, their figures say little."""
    ours = {m.key for m in cases.measurements if m.group in ("records", "arrays")} & keys
    return {key for ratio in cases.ratios if ours & set(ratio.of) for key in ratio.to}


# ---- measuring --------------------------------------------------------------


def _measure(
    args: argparse.Namespace, cores: tuple[int, int] | None, progress: Progress
) -> dict[str, Any]:
    peers, missing = _choose_peers(args.peers)
    cases = _cases_for(args, peers)
    if not _links.has_numpy():
        missing.append({"name": "records, arrays", "install": "pip install numpy"})
    facts = _facts(args, cores, missing)
    began = time.monotonic()
    facts["where"] = _measure_where(args, cores, progress)
    rounds = _rounds_of(args) if cases.measurements else 0
    budget = QUICK_BUDGET_S if args.quick else float("inf")
    collected = _rounds.Rounds(cases.measurements, cores).run(rounds, budget, progress.show)
    result = _result.assemble(cases, collected, facts)
    result["seconds"] = round(time.monotonic() - began, 2)
    return result


def _measure_languages(
    args: argparse.Namespace, cores: tuple[int, int] | None, progress: Progress
) -> dict[str, Any]:
    commands = _programs.build(args.clone or ".", args.languages, progress.show)
    cases = _languages.cases(list(commands))
    facts = _facts(args, cores, [])
    facts["machine"]["library"] = os.environ["TACHYON_LIBRARY"]  # the clone's
    began = time.monotonic()
    with _programs.Programs(commands, cores, _amounts_of(args)) as programs:
        programs.start(progress.show)
        rounds = _rounds.Rounds(cases.measurements, cores, programs)
        collected = rounds.run(_rounds_of(args), float("inf"), progress.show)
    result = _result.assemble(cases, collected, facts)
    result["seconds"] = round(time.monotonic() - began, 2)
    return result


def _facts(
    args: argparse.Namespace, cores: tuple[int, int] | None, missing: list[dict[str, str]]
) -> dict[str, Any]:
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "quick": args.quick,
        "names": args.names or list(_cases.NAMES),
        "machine": _machine.describe(cores),
        "notes": _machine.warnings(cores),
        "peers": _links.versions(),
        "missing": missing,
    }


def _rounds_of(args: argparse.Namespace) -> int:
    return int(args.rounds or (1 if args.tiny else QUICK_ROUNDS if args.quick else ROUNDS))


def _amounts_of(args: argparse.Namespace) -> _amounts.Amounts:
    return _amounts.TINY if args.tiny else _amounts.QUICK if args.quick else _amounts.FULL


def _measure_where(
    args: argparse.Namespace, cores: tuple[int, int] | None, progress: Progress
) -> dict[str, Any] | None:
    if not (args.where or not args.names or "python" in args.names):
        return None
    from tachyon.cli._bench import _where

    progress.show(0.0, "where each nanosecond of Python goes")
    return _where.measure(WHERE_ROUNDS // 8 if args.quick or args.tiny else WHERE_ROUNDS, cores)


# ---- pictures ---------------------------------------------------------------


def _has_matplotlib() -> bool:
    import importlib.util

    return importlib.util.find_spec("matplotlib") is not None


def _check_plot() -> None:
    """Say before the measuring that there will be no picture."""
    if not _has_matplotlib():
        print(
            "tachyon bench: no matplotlib (pip install 'tachyon[bench]'): a chart of text instead",
            file=sys.stderr,
        )


def _draw(result: dict[str, Any], path: str) -> None:
    if _has_matplotlib():
        from tachyon.cli._bench import _plot

        _plot.draw(result, path)
        return
    from tachyon.cli._bench import _chart

    print(_chart.render(result), end="\n\n", file=sys.stderr)
