"""Bus.aconnect(): the introduction in a thread, the waiting in the event loop."""

from __future__ import annotations

from asyncio import get_running_loop, sleep

from tachyon._errors import WaitTimeoutError
from tachyon._options import encode_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tachyon._aio import AsyncEnd
    from tachyon._bus import Path
    from tachyon._wait import Countdown

# As in the C library.
_HANDSHAKE_TIMEOUT = 2.0
# How often to look for a listener at first, and at last, seconds.
_RETRY_MIN, _RETRY_MAX = 0.0005, 0.02


class Connecting:
    """An aconnect() under way."""

    def __init__(self, kind: type[AsyncEnd], path: Path, options: Any) -> None:
        self._kind = kind
        self._path = path
        self._options = options
        self._given_up = False

    def _try_in_thread(self, left_ns: int) -> AsyncEnd:
        """One introduction; a bus that nobody waits for any more is closed."""
        options = dict(self._options)
        # A try with timeout=0 goes on only where a listener is there, and this limits it.
        limit = options.get("handshake_timeout")
        limit = _HANDSHAKE_TIMEOUT if limit is None else limit
        options["handshake_timeout"] = limit if left_ns < 0 else min(limit, left_ns / 1e9 + 1e-9)
        bus = self._kind.connect(self._path, timeout=0, **options)
        if self._given_up:
            bus.close()
        return bus

    async def run(self, countdown: Countdown) -> AsyncEnd:
        loop = get_running_loop()
        pause = _RETRY_MIN
        try:
            while True:
                left_ns = countdown.left_ns()
                try:
                    return await loop.run_in_executor(None, self._try_in_thread, left_ns)
                except WaitTimeoutError as error:
                    if left_ns == 0:
                        raise WaitTimeoutError(error.errno, self._says(countdown)) from None
                left_ns = countdown.left_ns()
                await sleep(pause if left_ns < 0 else min(pause, left_ns / 1e9))
                pause = min(2 * pause, _RETRY_MAX)
        except BaseException:
            self._given_up = True
            raise

    def _says(self, countdown: Countdown) -> str:
        shown_path = encode_path(self._path)[1]
        return f"no listener on {shown_path!r} accepted {countdown}; is one running?"
