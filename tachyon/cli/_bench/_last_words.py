"""What the processes of a measurement say on standard error: their last words, should one end."""

from __future__ import annotations

import tempfile
from typing import IO


class LastWords:
    """A file for each process. In a file that two share, one would write where the other reads."""

    def __init__(self) -> None:
        self._files: list[IO[bytes]] = []

    def file(self) -> IO[bytes]:
        """Return the file of the next process."""
        self._files.append(tempfile.TemporaryFile())  # noqa: SIM115 -- closed in close()
        return self._files[-1]

    def of(self, side: int) -> str:
        """Return the last line of a process that has ended, but no part of a trace of the stack."""
        said = self._files[side]
        said.seek(0)
        lines = said.read().decode(errors="replace").split("\n")
        spoken = (line for line in reversed(lines) if line.strip() and not line[0].isspace())
        return next(spoken, "it said nothing")

    def close(self) -> None:
        """Forget all of them."""
        for file in self._files:
            file.close()
        self._files = []
