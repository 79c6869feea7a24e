"""Blocking calls into C that a signal ends at once, wherever it strikes.

Python runs signal handlers between bytecodes. A signal that arrives after its last look and
before the C library sleeps would only be noticed when the sleep ends, perhaps never. So: all
signals are blocked, what came before is handled, and the C library lets them in again only
while it sleeps, which ppoll(2) does without a gap.

In the main thread, that is; only there does Python run handlers. A wait in another thread
keeps signals out altogether, so that the kernel hands them to the main thread.
"""

from __future__ import annotations

import errno
import sys
from ctypes import c_int, c_ulong, c_void_p, pythonapi
from time import monotonic_ns

from tachyon._library import function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SIG_SETMASK = 3 if sys.platform == "darwin" else 2
# 128 bytes, as in glibc and musl; more than any other system has.
_SignalSet = c_ulong * 16


def _bind_system(name: str, *arguments: Any) -> Callable[..., int]:
    # By index: attributes of ctypes.pythonapi are shared with everyone in the process.
    bound = pythonapi[name]
    bound.restype = c_int
    bound.argtypes = arguments
    return bound


_sigmask = _bind_system("pthread_sigmask", c_int, c_void_p, c_void_p)
_sigfillset = _bind_system("sigfillset", c_void_p)
_sigdelset = _bind_system("sigdelset", c_void_p, c_int)
_run_handlers = _bind_system("PyErr_CheckSignals")
_thread_sigmask = function("tachyon_thread_sigmask")

# Faults of this thread's own: ILL, TRAP, ABRT, BUS (two systems' numbers), FPE, SEGV. They
# must reach faulthandler, and cannot be postponed anyway.
_FAULTS = (4, 5, 6, 10 if sys.platform == "darwin" else 7, 8, 11)


def _all_but_faults() -> Any:
    mask = _SignalSet()
    _sigfillset(mask)
    for number in _FAULTS:
        _sigdelset(mask, number)
    return mask


_ALL_BUT_FAULTS = _all_but_faults()


def _in_main_thread() -> bool:
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
    while True:
        mask = _SignalSet()
        # A query, before the try: whatever strikes from there on, the old mask is known.
        _sigmask(_SIG_SETMASK, None, mask)
        try:
            _sigmask(_SIG_SETMASK, _ALL_BUT_FAULTS, None)
            _run_handlers()
            if _in_main_thread():
                _thread_sigmask(mask)
            status = blocking(*arguments, countdown.left_ns())
        finally:
            # A handler may raise after any of these calls, yet both must be made.
            try:
                _thread_sigmask(None)
            finally:
                _sigmask(_SIG_SETMASK, mask, None)
        if status != -errno.EINTR:
            return status
