"""Builds the programs of the languages in a clone, and runs them; bindings/bench/README.md."""

from __future__ import annotations

import importlib.util
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from tachyon.cli import _exit, _text
from tachyon.cli._bench._amounts import Amounts
from tachyon.cli._bench._languages import WORKS, in_order, title
from tachyon.cli._bench._last_words import LastWords

Tell = Callable[[float, str], None]

PATIENCE_S = 60.0
FOLDER = "build-languages"  # in the clone: what has not changed is not built again
FIRST_COUNT = 100
ENOUGH = 0.5


def load_builder(clone: str) -> Any:
    """Return the module of a clone that builds the programs. Raises Failure where there is none."""
    path = os.path.join(clone, "bindings", "languages.py")
    if not os.path.isfile(path):
        raise _exit.Failure(
            _exit.ERROR,
            f"{os.path.abspath(clone)} is no clone of tachyon: the languages' programs are built in"
            " one; go there, or name it: --clone DIR",
        )
    spec = importlib.util.spec_from_file_location("tachyon_languages", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(clone: str, languages: list[str] | None, tell: Tell) -> dict[str, list[str]]:
    """Return what starts the program of each language; None: all that the clone has.

    Sets the environment variables by which the programs find the clone's library. Raises Failure
    where a toolchain is missing or fails.
    """
    from pathlib import Path

    builder = load_builder(clone)
    wanted = in_order(languages or list(builder.LANGUAGES))
    work = Path(clone).resolve() / FOLDER
    work.mkdir(exist_ok=True)
    try:
        commands: dict[str, list[str]] = builder.build(
            work, wanted, "bench", lambda language: tell(0.0, f"building: {title(language)}")
        )
    except builder.BuildError as error:
        cause, _, output = str(error).partition("\n")
        if output:
            print(output, file=sys.stderr)
        raise _exit.Failure(_exit.ERROR, cause) from None
    return commands


class Programs:
    """The processes of all languages: each is started once and runs all rounds. A context."""

    def __init__(
        self, commands: dict[str, list[str]], cores: tuple[int, int] | None, amounts: Amounts
    ) -> None:
        self._commands, self._cores, self._amounts = commands, cores, amounts
        self._running: dict[tuple[str, str], _Program] = {}

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for program in self._running.values():
            program.stop()

    def start(self, tell: Tell) -> None:
        """Start all of them, and run each until it is warm and known how much a round is."""
        for language, command in self._commands.items():
            for work, (case, _, roles) in WORKS.items():
                tell(0.0, f"warming up: {title(language)}, {case.partition(',')[0]}")
                program = _Program(title(language), command, roles, self._cores)
                self._running[language, work] = program
                program.warm_up(self._amounts.program_s, self._amounts.program_warm_s)

    def run(self, language: str, work: str) -> dict[str, Any]:
        """Run one round and return its figures."""
        program = self._running[language, work]
        answer = program.round(program.count)
        if work == "calls":
            ns, raw_ns = answer
            return {"typical_ns": ns, "figures": {"raw_ns": raw_ns, "of_raw": ns / raw_ns}}
        (elapsed_ns,) = answer
        if work == "rtt":
            return {"typical_ns": elapsed_ns / program.count, "figures": {}}
        return {"figures": {"messages_per_second": 1e9 * program.count / elapsed_ns}}


class _Program:
    """The process or the two processes that do one work in one language."""

    def __init__(
        self, title: str, command: list[str], roles: tuple[str, ...], cores: tuple[int, int] | None
    ) -> None:
        self._title, self._roles = title, roles
        self._processes: list[subprocess.Popen[bytes]] = []
        self._said = LastWords()
        self.count = FIRST_COUNT
        try:
            with tempfile.TemporaryDirectory(prefix="tachyon-", dir=_text.short_folder()) as folder:
                path = os.path.join(folder, "bus")
                for role, core in zip(roles, reversed(cores or (None, None)), strict=False):
                    self._processes.append(self._start([*command, role, path], core))
                for line in self._await_lines():
                    if line != "ready":
                        self._fail(f"it said {line!r} where ready was expected")
        except BaseException:
            self.stop()
            raise

    def _start(self, command: list[str], core: int | None) -> subprocess.Popen[bytes]:
        def pin() -> None:
            if core is not None:
                os.sched_setaffinity(0, {core})

        return subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said.file(),
            start_new_session=True,
            preexec_fn=pin,  # before the first thread of its runtime
        )

    def stop(self) -> None:
        """End it."""
        for process in self._processes:
            process.kill()
            process.communicate()
        self._said.close()

    def warm_up(self, round_s: float, warm_s: float) -> None:
        """Run rounds for so long, and choose how many messages make a round of round_s."""
        began = time.monotonic()
        while True:
            elapsed_s = self._seconds(self.round(self.count))
            is_warm = time.monotonic() - began >= warm_s
            factor = min(max(round_s / max(elapsed_s, 1e-9), 0.1), 10)
            if is_warm and ENOUGH <= factor <= 1 / ENOUGH:
                return
            self.count = max(int(self.count * factor), FIRST_COUNT)
            if is_warm and self.count == FIRST_COUNT:
                return

    def _seconds(self, answer: list[float]) -> float:
        """How long a round took; of `calls`, an answer is of one message."""
        return sum(answer) / 1e9 * (self.count if self._roles == ("calls",) else 1)

    def round(self, count: int) -> list[float]:
        """Have all of its processes do so many messages; return the figures that they print."""
        try:
            for process in self._processes:
                assert process.stdin is not None
                process.stdin.write(b"%d\n" % count)
        except BrokenPipeError:
            pass  # it has ended, which is seen below
        lines = [line for line in self._await_lines() if line != "done"]
        try:
            return [float(word) for word in " ".join(lines).split()]
        except ValueError:
            self._fail(f"it said {lines[0]!r} where a figure was expected")
            raise

    def _await_lines(self) -> list[str]:
        """Read a line of each. Raises Failure where one ends, or takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        lines: dict[int, str] = {}
        with selectors.DefaultSelector() as selector:
            for side, process in enumerate(self._processes):
                assert process.stdout is not None
                selector.register(process.stdout, selectors.EVENT_READ, side)
            while len(lines) < len(self._processes):
                ready = selector.select(max(deadline - time.monotonic(), 0))
                if not ready:
                    self._fail(f"no answer within {PATIENCE_S:.0f} s")
                for event, _ in ready:
                    lines[event.data] = self._read_line(event.data)
                    selector.unregister(event.fileobj)
        return [lines[side] for side in range(len(self._processes))]

    def _read_line(self, side: int) -> str:
        process = self._processes[side]
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            self._fail(f"{self._roles[side]} ended with code {code}: {self._said.of(side)}")
        return line.decode(errors="replace").strip()

    def _fail(self, what: str) -> None:
        raise _exit.Failure(
            _exit.ERROR, f"{self._title}, {' and '.join(reversed(self._roles))}: {what}"
        )
