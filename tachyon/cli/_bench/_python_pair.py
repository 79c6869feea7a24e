"""The two Python processes that measure links, seen from the one that asks them to."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from typing import Any

import tachyon
from tachyon.cli import _exit, _text
from tachyon.cli._bench._last_words import LastWords

PATIENCE_S = 60.0
MOMENT_S = 2.0


class PythonPair:
    """Two workers, started with the first job and again after a failure. A context manager."""

    def __init__(self, cores: tuple[int, int] | None) -> None:
        self._cores = cores or (-1, -1)
        self._workers: list[subprocess.Popen[bytes]] = []
        self._said = LastWords()

    def __enter__(self) -> PythonPair:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End both processes."""
        for worker in self._workers:
            worker.kill()
            worker.communicate()
        self._workers = []
        self._said.close()

    def _start(self) -> None:
        package = os.path.dirname(os.path.dirname(os.path.abspath(tachyon.__file__)))
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [sys.executable, "-m", "tachyon.cli._bench._worker"]
        self._workers = [
            subprocess.Popen(
                [*command, str(side), str(core)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said.file(),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,
            )
            for side, core in enumerate(self._cores)
        ]

    def run(self, job: dict[str, Any], samples_path: str | None = None) -> dict[str, Any]:
        """Have both do a job; return the figures. Raises Failure where it failed."""
        if not self._workers:
            self._start()
        with tempfile.TemporaryDirectory(prefix="tachyon-", dir=_text.short_folder()) as folder:
            job = {**job, "path": os.path.join(folder, "link"), "samples": samples_path}
            for worker in self._workers:
                assert worker.stdin is not None
                worker.stdin.write(json.dumps(job).encode() + b"\n")
                worker.stdin.flush()
            try:
                answers = self._await_answers()
            except BaseException:
                self.stop()
                raise
        result = {}
        for answer in answers:
            result.update(answer["done"])
        return result

    def _await_answers(self) -> list[dict[str, Any]]:
        """Wait for both. Raises Failure with the error of one, wrong data first.

        An error of one side makes the other fail too, and which of them is heard first is
        chance; so after an error the other one has a moment to say what it knows.
        """
        deadline = time.monotonic() + PATIENCE_S
        answers: dict[int, dict[str, Any]] = {}
        with selectors.DefaultSelector() as selector:
            for side, worker in enumerate(self._workers):
                assert worker.stdout is not None
                selector.register(worker.stdout, selectors.EVENT_READ, side)
            while len(answers) < 2:
                ready = selector.select(max(deadline - time.monotonic(), 0))
                if not ready:
                    break
                for key, _ in ready:
                    answers[key.data] = self._read_answer(key.data)
                    selector.unregister(key.fileobj)
                    if "error" in answers[key.data]:
                        deadline = min(deadline, time.monotonic() + MOMENT_S)
        errors = [str(answer["error"]) for answer in answers.values() if "error" in answer]
        if errors:
            raise _exit.Failure(_exit.ERROR, min(errors, key=lambda text: "wrong data" not in text))
        if len(answers) < 2:
            raise _exit.Failure(_exit.ERROR, f"no answer within {PATIENCE_S:.0f} s")
        return [answers[side] for side in (0, 1)]

    def _read_answer(self, side: int) -> dict[str, Any]:
        stdout = self._workers[side].stdout
        assert stdout is not None
        line = stdout.readline()
        if not line:
            code = self._workers[side].wait()
            return {"error": f"a Python process ended with code {code}: {self._said.of(side)}"}
        answer: dict[str, Any] = json.loads(line)
        return answer
