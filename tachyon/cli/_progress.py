"""A progress bar of one line on a terminal; nothing at all elsewhere."""

from __future__ import annotations

import os
from typing import TextIO

BAR_WIDTH = 28


class Progress:
    """Draws on the stream while it is a terminal. A context: it wipes itself at the end."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if stream is not None and stream.isatty() else None
        self._fraction = 0.0
        encoding = (getattr(stream, "encoding", None) or "ascii").lower()
        self._full, self._empty = ("█", "░") if encoding.startswith("utf") else ("#", ".")

    @property
    def visible(self) -> bool:
        """Whether anybody sees it, and reports of progress are worth their time."""
        return self._stream is not None

    def show(self, fraction: float, label: str) -> None:
        """Draw the bar: a fraction of 0 to 1, and what is being done."""
        if self._stream is None:
            return
        # Reports of two processes may cross: the bar never goes back.
        self._fraction = min(max(fraction, self._fraction), 1.0)
        full = round(self._fraction * BAR_WIDTH)
        bar = self._full * full + self._empty * (BAR_WIDTH - full)
        line = f"{bar} {self._fraction:4.0%}  {label}"
        # A line as wide as the terminal would wrap, and \r could not go back to its start.
        self._write(f"\r{line[: self._columns() - 1]}\x1b[K")

    def wipe(self) -> None:
        """Give the line back."""
        self._write("\r\x1b[K")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.wipe()

    def _columns(self) -> int:
        try:
            assert self._stream is not None
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()
