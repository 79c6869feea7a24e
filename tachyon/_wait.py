"""Blocking calls into C that a signal ends at once, wherever it strikes.

Python runs signal handlers between bytecodes. A signal that arrives after its last look and
before the C library sleeps would only be noticed when the sleep ends, perhaps never. And it
may strike any thread: one of NumPy's, say, while the one that must run the handler sleeps.
But whichever thread it is, Python writes a byte into a descriptor of our choice, and that
stays readable: so the main thread, the only one that runs handlers, sleeps on it as well.
"""

from __future__ import annotations

import errno
import os
import sys

# What the signal module is made of; that one imports enum, which takes longer than all of us.
from _signal import set_wakeup_fd  # type: ignore[import-not-found]
from ctypes import c_int, c_int64, c_void_p, pythonapi
from time import monotonic_ns

from tachyon._library import function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# By index: attributes of ctypes.pythonapi are shared with everyone in the process.
_run_handlers = pythonapi["PyErr_CheckSignals"]
_run_handlers.argtypes = []
_run_handlers.restype = c_int
_interrupt_fd = function("tachyon_thread_interrupt_fd")
_this_interpreter = pythonapi["PyInterpreterState_Get"]
_this_interpreter.argtypes = []
_this_interpreter.restype = c_void_p
_interpreter_id = pythonapi["PyInterpreterState_GetID"]
_interpreter_id.argtypes = [c_void_p]
_interpreter_id.restype = c_int64

# Subinterpreters run no signal handlers.
_IN_MAIN_INTERPRETER = _interpreter_id(_this_interpreter()) == 0

# Ends of the pipe that Python's C code writes a byte into for each signal; made when needed.
_pipe: tuple[int, int] | None = None


def _forget_pipe() -> None:
    global _pipe
    _pipe = None


# A child must not take its parent's bytes.
os.register_at_fork(after_in_child=_forget_pipe)


def _signal_pipe() -> tuple[int, int]:
    global _pipe
    if _pipe is None:
        _pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    return _pipe


def _take_bytes(pipe_end: int, other_wakeup_fd: int) -> None:
    """Empty the pipe, and give the bytes to whom they would have gone (an event loop)."""
    try:
        signals = os.read(pipe_end, 65536)
        if other_wakeup_fd != -1:
            os.write(other_wakeup_fd, signals)
    except OSError:
        pass  # no bytes; or its loop has more than it can take


def runs_handlers() -> bool:
    """Whether this thread is the one that does: the main one of the main interpreter."""
    if not _IN_MAIN_INTERPRETER:
        return False
    # Not imported for this: where nobody imported it, there are no threads.
    threading = sys.modules.get("threading")
    if threading is None:
        return True
    return bool(threading.get_ident() == threading.main_thread().ident)


class Countdown:
    """What is left of a timeout in seconds; None: for ever.

    Raises ValueError for a negative one, TypeError for what is no number.
    """

    __slots__ = ("_deadline_ns", "timeout")

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self._deadline_ns = -1
        if timeout is None or timeout == float("inf"):
            return
        try:
            nanoseconds = timeout * 1e9
        except TypeError:
            raise TypeError(
                f"timeout must be seconds or None, not {type(timeout).__name__}"
            ) from None
        if not nanoseconds >= 0:
            raise ValueError(f"timeout must not be negative, and is {timeout}")
        self._deadline_ns = monotonic_ns() + int(nanoseconds)

    def left_ns(self) -> int:
        """Nanoseconds, as the C library wants them: -1 for ever, 0 only try."""
        if self._deadline_ns < 0:
            return -1
        return min(max(0, self._deadline_ns - monotonic_ns()), 2**63 - 1)

    def __str__(self) -> str:
        return f"within {self.timeout} s" if self.timeout else "at once"


def call_blocking(blocking: Callable[..., int], countdown: Countdown, *arguments: Any) -> int:
    """Call blocking(*arguments, timeout_ns) until it is done, running signal handlers.

    Returns its status, never -EINTR. Raises what a signal handler raises, at once.
    """
    call = _call_interruptibly if runs_handlers() else _call
    while (status := call(blocking, countdown, arguments)) == -errno.EINTR:
        pass
    return status


def _call(blocking: Callable[..., int], countdown: Countdown, arguments: tuple[Any, ...]) -> int:
    return blocking(*arguments, countdown.left_ns())


def _call_interruptibly(
    blocking: Callable[..., int], countdown: Countdown, arguments: tuple[Any, ...]
) -> int:
    read_end, write_end = _signal_pipe()
    replaced: list[int] = []
    try:
        # In one go, without a bytecode: a handler may raise after any call, and the
        # descriptor of somebody's event loop would be lost with the result.
        replaced.extend(map(set_wakeup_fd, (write_end,)))
        _interrupt_fd(read_end)
        _run_handlers()  # of signals that came before
        status = blocking(*arguments, countdown.left_ns())
    finally:
        try:
            _interrupt_fd(-1)
        finally:
            if replaced:
                set_wakeup_fd(replaced[0], warn_on_full_buffer=False)
    if status == -errno.EINTR or replaced[0] != -1:
        _take_bytes(read_end, replaced[0])
    return status


def wait_readable(*fds: int, timeout: float | None = None) -> None:
    """Sleep until one of the descriptors (those below 0 are none) is readable, running signal
    handlers; at most timeout seconds. Raises what a handler raises, at once."""
    call_blocking(_poll, Countdown(timeout), fds)


def _poll(fds: tuple[int, ...], left_ns: int) -> int:
    import select

    # What poll() itself would not see: a signal before it sleeps, or one of another thread.
    signals = _signal_pipe()[0] if runs_handlers() else -1
    poll = select.poll()
    for fd in (*fds, signals):
        if fd >= 0:
            poll.register(fd, select.POLLIN)
    ready = poll.poll(None if left_ns < 0 else left_ns / 1e6)
    return -errno.EINTR if any(fd == signals for fd, _ in ready) else 0
