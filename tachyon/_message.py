"""What is received as a safe copy, and the two halves of a type_id."""

from __future__ import annotations

# What the operator module is made of; that one may be too late to import, when Python ends.
from _operator import index

from tachyon._builtin import quick_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

_SHOWN_BYTES = 32


@quick_type
class Message:
    """A received message, copied out of the ring: it is yours for as long as you like.

    data: the payload, bytes. type_id: the sender's tag, 0 to 2**32 - 1.
    """

    __slots__ = ("data", "type_id")
    __match_args__ = ("data", "type_id")

    data: bytes
    type_id: int

    def __init__(self, data: bytes, type_id: int = 0) -> None:
        self.data = data
        self.type_id = type_id

    @property
    def size(self) -> int:
        """Payload bytes."""
        return len(self.data)

    def array(self) -> NDArray[Any]:
        """The message as the array that it is: read-only, over .data, without copying.

        Raises ArrayFormatError where it is none; ImportError without NumPy, or where the
        elements need ml_dtypes.
        """
        from tachyon._array import array_in

        return array_in(self.data)

    def __dlpack__(
        self,
        *,
        stream: object = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        """numpy.from_dlpack(message), torch.from_dlpack(message), ...: the array that it is,
        or its bytes as an array of uint8. Never write into it; copy=True gives one to write
        into. Raises BufferError for what DLPack cannot do; ImportError without NumPy.
        """
        from tachyon._dlpack import Exporter

        return Exporter(self.data, False).capsule(max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the CPU

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return self.type_id == other.type_id and self.data == other.data

    def __hash__(self) -> int:
        return hash((self.data, self.type_id))

    def __reduce__(self) -> tuple[type[Message], tuple[bytes, int]]:
        return type(self), (self.data, self.type_id)

    def __repr__(self) -> str:
        more = "..." if self.size > _SHOWN_BYTES else ""
        shown = f"{self.data[:_SHOWN_BYTES]!r}{more}"
        return f"Message(type_id={self.type_id}, size={self.size}, data={shown})"


def make_type_id(route: int, msg_type: int) -> int:
    """Join two 16-bit numbers into a type_id: the route above, the message type below.

    Raises ValueError where one of them is not in 0 to 65535.
    """
    if not 0 <= route <= 0xFFFF:
        raise ValueError(f"route must be 0 to 65535, and is {route}")
    if not 0 <= msg_type <= 0xFFFF:
        raise ValueError(f"msg_type must be 0 to 65535, and is {msg_type}")
    return route << 16 | msg_type


def route_id(type_id: int) -> int:
    """The upper 16 bits of a type_id. Raises ValueError where it is not in 0 to 2**32 - 1."""
    return checked_type_id(type_id) >> 16


def msg_type(type_id: int) -> int:
    """The lower 16 bits of a type_id. Raises ValueError where it is not in 0 to 2**32 - 1."""
    return checked_type_id(type_id) & 0xFFFF


def checked_type_id(type_id: int) -> int:
    """The type_id as a plain int. Raises TypeError, ValueError."""
    try:
        number = index(type_id)
    except TypeError:
        raise TypeError(f"type_id must be an int, not {type(type_id).__name__}") from None
    if not 0 <= number <= 0xFFFFFFFF:
        raise ValueError(f"type_id must be 0 to 2**32 - 1, and is {number}")
    return number
