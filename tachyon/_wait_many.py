"""wait(): several buses, one thread, no event loop."""

from __future__ import annotations

import errno
from ctypes import c_void_p, create_string_buffer

from tachyon._errors import BusyError
from tachyon._library import failure, function
from tachyon._wait import Countdown, call_blocking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeVar

    from tachyon._bus import Bus

    SomeBus = TypeVar("SomeBus", bound=Bus)

_wait_any = function("tachyon_bus_wait_any")


def wait(buses: Iterable[SomeBus], timeout: float | None = None) -> list[SomeBus]:
    """Wait until at least one of several buses has something to receive.

    timeout: seconds, None: for ever, 0: only look. Sleeps at once, without polling first.

    Returns those that have a message, or news of their end, in the order given; receive from
    each of them until WaitTimeoutError, or once (recv(timeout=0)), and wait again. Where the
    time is up the list is empty. A bus that was closed or has ended is among them every time:
    its recv() raises, then leave it out.

    Raises ValueError (no buses, or one of them twice), BusyError (another thread is waiting
    on one of them), TachyonError (no memory).
    """
    waiting = list(buses)
    if not waiting:
        raise ValueError("wait() needs at least one bus: it would wait for ever for none")
    if len({id(bus) for bus in waiting}) < len(waiting):
        raise ValueError("wait() was given the same bus twice")
    handles = (c_void_p * len(waiting))(*(bus._handle.value for bus in waiting))
    ready = create_string_buffer(len(waiting))
    status = call_blocking(_wait_any, Countdown(timeout), handles, len(waiting), ready)
    if status in (-errno.EAGAIN, -errno.ETIMEDOUT):
        return []
    if status == -errno.EBUSY:
        raise BusyError(errno.EBUSY, "another thread is waiting for data on one of these buses")
    if status < 0:
        raise failure(status, "wait on", ", ".join(bus.path for bus in waiting))
    return [bus for bus, flag in zip(waiting, ready.raw, strict=True) if flag]
