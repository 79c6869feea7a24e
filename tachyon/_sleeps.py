"""Tasks of asyncio that sleep on descriptors: how they get into an event loop, and out of it.

Descriptors are in a loop only while a task sleeps on them. The loop must give them back
before they are closed, whoever closes them: it is told of them by number, and the number may
be another file's the moment after.
"""

from __future__ import annotations

import errno
import os
from time import monotonic

from tachyon._errors import BusyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Generator


# A task that never has to sleep lets the others run after so long, seconds.
TURN = 0.001


class Pause:
    """`await Pause()`: let the other tasks run, then go on; asyncio.sleep(0) without asyncio."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Sleep:
    """One task's sleep on some descriptors, in one event loop."""

    __slots__ = ("_fds", "_future", "_loop", "_owner", "_pid")

    def __init__(self, owner: Sleeps, fds: tuple[int, ...]) -> None:
        from asyncio import get_running_loop

        self._loop: AbstractEventLoop = get_running_loop()
        self._future: Future[None] = self._loop.create_future()
        self._owner = owner
        self._fds = fds
        self._pid = os.getpid()

    async def until_readable(self) -> None:
        """Sleep until a descriptor is readable, or the owner is closed. Loses nothing."""
        try:
            for fd in self._fds:
                self._loop.add_reader(fd, self._owner.wake, self._loop, fd)
            await self._future
        finally:
            self.leave_loop()

    def leave_loop(self) -> None:
        """Take the descriptors out of the loop; but for those that another sleep there needs."""
        fds, self._fds = self._fds, ()
        # A forked child has the parent's loop in its memory, and shares its epoll descriptor.
        if self._loop.is_closed() or self._pid != os.getpid():
            return
        for fd in fds:
            if not self._owner.is_watched(self._loop, fd):
                self._loop.remove_reader(fd)

    def watches(self, loop: AbstractEventLoop, fd: int) -> bool:
        return fd in self._fds and loop is self._loop

    def cancelled(self) -> bool:
        return self._future.cancelled()

    def wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def end(self) -> None:
        """For good: the descriptors are about to be closed."""
        self.leave_loop()
        if not self._loop.is_closed() and self._pid == os.getpid():
            self.wake()

    def running_elsewhere(self) -> AbstractEventLoop | None:
        """The loop, where it runs in another thread (and this process) than this."""
        from asyncio import _get_running_loop

        if self._pid != os.getpid() or _get_running_loop() is self._loop:
            return None
        return self._loop if self._loop.is_running() else None


class Sleeps:
    """Who sleeps on a bus or listener: at most one task for each purpose.

    turn_end: when it is time to let the other tasks run, on the clock of monotonic().
    """

    __slots__ = ("_sleeping", "turn_end")

    def __init__(self) -> None:
        self._sleeping: dict[str, Sleep] = {}
        self.turn_end = 0.0

    async def take_turns(self) -> None:
        """Let the other tasks run; to be called when turn_end is over."""
        try:
            await Pause()
        finally:  # or else, with very short time limits, there would be a pause in every call
            self.turn_end = monotonic() + TURN

    def check_free(self, purpose: str, path: str) -> None:
        """Raises BusyError where a task sleeps for this purpose already."""
        sleep = self._sleeping.get(purpose)
        if sleep is not None and not sleep.cancelled():
            raise BusyError(
                errno.EBUSY, f"another task is waiting to {purpose} {path!r}; one at a time may"
            )

    async def until_readable(self, purpose: str, *fds: int) -> None:
        """Sleep until one of the descriptors is readable, or end(); those below 0 are none."""
        sleep = Sleep(self, tuple(fd for fd in fds if fd >= 0))
        self._sleeping[purpose] = sleep
        try:
            await sleep.until_readable()
            self.turn_end = monotonic() + TURN
        finally:
            # One that was cancelled may have a successor before it hears of it.
            if self._sleeping.get(purpose) is sleep:
                del self._sleeping[purpose]

    def is_watched(self, loop: AbstractEventLoop, fd: int) -> bool:
        return any(sleep.watches(loop, fd) for sleep in list(self._sleeping.values()))

    def wake(self, loop: AbstractEventLoop, fd: int) -> None:
        """The loop found the descriptor readable."""
        for sleep in list(self._sleeping.values()):
            if sleep.watches(loop, fd):
                sleep.wake()

    def wake_purpose(self, purpose: str) -> None:
        """Wake who sleeps for this purpose, if somebody does; in its own loop's thread."""
        sleep = self._sleeping.get(purpose)
        if sleep is not None:
            sleep.wake()

    def end(self, close: Callable[[], None]) -> None:
        """Take all descriptors out of their loops, wake the sleepers, and close.

        A loop that runs in another thread does that itself, in its next turn: nobody else
        may touch it, and a descriptor must leave it before it is closed.
        """
        for sleep in list(self._sleeping.values()):
            loop = sleep.running_elsewhere()
            if loop is not None:
                try:
                    loop.call_soon_threadsafe(self.end, close)
                    return
                except RuntimeError:  # it has been closed just now
                    pass
            sleep.end()
        close()
