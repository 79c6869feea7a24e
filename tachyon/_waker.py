"""Waker: how any thread, or the handler of a signal, wakes one that sleeps on descriptors."""

from __future__ import annotations

import os
from threading import RLock


class Waker:
    """A pipe: its fileno() is readable from wake() on, until clear()."""

    def __init__(self) -> None:
        # Reentrant, for a handler may strike while its thread is in here; and a lock, for the
        # number of a closed descriptor may be another file's the moment after.
        self._lock = RLock()
        self._is_readable = False
        self._read = self._write = -1
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def fileno(self) -> int:
        """The descriptor to sleep on; -1 after close()."""
        return self._read

    def wake(self) -> None:
        """Make it readable. Does nothing after close()."""
        if self._is_readable:
            return
        self._is_readable = True
        with self._lock:
            if self._write >= 0:
                try:
                    os.write(self._write, b"\0")
                except BlockingIOError:  # full, so it is readable
                    pass

    def clear(self) -> None:
        """Make it unreadable again. For the thread that sleeps on it: what it was woken for,
        it must look at after this."""
        try:
            while len(os.read(self._read, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass
        # Last: a byte that is written from here on is there still.
        self._is_readable = False

    def close(self) -> None:
        """Close the pipe. May be called again, and from any thread."""
        with self._lock:
            ends, self._read, self._write = (self._read, self._write), -1, -1
            for end in ends:
                if end >= 0:
                    os.close(end)

    def __del__(self) -> None:
        if self._read >= 0:
            self.close()
