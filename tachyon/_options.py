"""Keyword options of Bus and Listener, checked and put into the C library's struct."""

from __future__ import annotations

import os
from ctypes import POINTER, c_uint32, cast, sizeof

from tachyon._abi import HUGE_PAGES, MLOCK, PREFAULT, TRUSTED, OptionsStruct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from typing_extensions import TypedDict

    class ConnectOptions(TypedDict, total=False):
        """Options of Bus.connect(); explained at Listener."""

        max_capacity: int | None
        spin: float | None
        prefault: bool
        mlock: bool
        huge_pages: bool
        trusted: bool
        numa_node: int | None
        allowed_uids: Iterable[int] | None
        handshake_timeout: float | None

    class ListenOptions(ConnectOptions, total=False):
        """Options of Listener and Bus.listen(); explained at Listener."""

        reply_capacity: int | None
        socket_mode: int | None
        max_pending: int | None


_NO_LIMIT = 2**64 - 1
LISTENERS_OWN = {"capacity", "reply_capacity", "socket_mode", "max_pending"}


def _positive(name: str, value: int | None, largest: int = _NO_LIMIT) -> int:
    """The number for a field in which 0 means the default."""
    if value is None:
        return 0
    from operator import index

    try:
        number = index(value)
    except TypeError:
        unit = " of bytes" if name.endswith("capacity") else ""
        raise TypeError(f"{name} must be an int{unit}, not {type(value).__name__}") from None
    if number < 1 and largest == _NO_LIMIT:
        raise ValueError(f"{name} must be at least 1, and is {number}")
    if not 1 <= number <= largest:
        raise ValueError(f"{name} must be 1 to {largest}, and is {number}")
    return number


def _spin_ns(spin: float | None) -> int:
    if spin is None:
        return 0
    if not 0 <= spin <= 1e9:
        raise ValueError(f"spin must be seconds, 0 (never) to 1e9, and is {spin}")
    # To the C library 0 is the default, and a negative number is never.
    return max(1, int(spin * 1e9)) if spin else -1


def _numa_node(node: int | None) -> int:
    if node is None:
        return 0
    if not 0 <= node < 2**31 - 1:
        raise ValueError(f"numa_node must be 0 or more, and is {node}")
    return node + 1


def _timeout_ns(name: str, seconds: float | None) -> int:
    if seconds is None:
        return 0
    if not 0 < seconds <= 1e9:
        raise ValueError(f"{name} must be more than 0 seconds, and is {seconds}")
    return max(1, int(seconds * 1e9))


def _user_ids(uids: Iterable[int] | None) -> Any:
    if uids is None:
        return None
    numbers = list(uids)
    if not numbers:
        raise ValueError("allowed_uids is empty: nobody could be the peer; None: only ourselves")
    for number in numbers:
        if not 0 <= number <= 0xFFFFFFFF:
            raise ValueError(f"allowed_uids must be user ids, and has {number}")
    return (c_uint32 * len(numbers))(*numbers)


def make_options(
    *,
    capacity: int | None = None,
    reply_capacity: int | None = None,
    max_capacity: int | None = None,
    spin: float | None = None,
    prefault: bool = False,
    mlock: bool = False,
    huge_pages: bool = False,
    trusted: bool = False,
    numa_node: int | None = None,
    socket_mode: int | None = None,
    allowed_uids: Iterable[int] | None = None,
    handshake_timeout: float | None = None,
    max_pending: int | None = None,
) -> OptionsStruct:
    """Check the options and make the struct. None is the default, everywhere.

    Raises TypeError and ValueError that name the option.
    """
    options = OptionsStruct()
    options.struct_size = sizeof(OptionsStruct)
    options.capacity = _positive("capacity", capacity)
    options.reply_capacity = _positive("reply_capacity", reply_capacity)
    options.max_capacity = _positive("max_capacity", max_capacity)
    options.spin_ns = _spin_ns(spin)
    options.flags = (
        (PREFAULT if prefault else 0)
        | (MLOCK if mlock else 0)
        | (HUGE_PAGES if huge_pages else 0)
        | (TRUSTED if trusted else 0)
    )
    options.numa_node = _numa_node(numa_node)
    options.socket_mode = _positive("socket_mode", socket_mode, 0o777)
    uids = _user_ids(allowed_uids)
    if uids is not None:
        # The cast pointer keeps the array alive, and the struct keeps the pointer.
        options.allowed_uids = cast(uids, POINTER(c_uint32))
        options.allowed_uid_count = len(uids)
    options.handshake_timeout_ns = _timeout_ns("handshake_timeout", handshake_timeout)
    options.max_pending = _positive("max_pending", max_pending, 64)
    return options


_NAMES = tuple(make_options.__kwdefaults__ or ())


def make_listen_options(kind: str, options: Any) -> OptionsStruct:
    """make_options(), for who has these keywords. kind: the name of the class."""
    for name in options:
        if name not in _NAMES:
            raise TypeError(f"{kind}() has no option {name!r}; it has: {', '.join(_NAMES)}")
    return make_options(**options)


def make_connect_options(kind: str, options: Any) -> OptionsStruct:
    """make_options() without those that only a listener has. kind: the name of the class."""
    for name in options:
        if name in LISTENERS_OWN:
            raise TypeError(f"{name} is an option of the listener's side, not of connect()")
        if name not in _NAMES:
            own = ", ".join(name for name in _NAMES if name not in LISTENERS_OWN)
            raise TypeError(f"{kind}.connect() has no option {name!r}; it has: timeout, {own}")
    return make_options(**options)


def encode_path(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> tuple[bytes, str]:
    """The path for the C library, and for people. Raises TypeError, ValueError."""
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise ValueError("the path has a NUL byte in it")
    return raw, os.fsdecode(raw)
