"""The text that says what the elements of an array are, and back. docs/protocol.md has it too.

Three kinds: NumPy's own type strings ("<f4", "|b1", "<M8[ns]"), names of ml_dtypes
("bfloat16"), and for structures JSON with every offset said outright:

    {"itemsize":16,"fields":[["time","<u8",0],["pair","<f4",8,[2]]]}

What is read may come from a hostile peer: nothing in it is evaluated, only these forms are
let through to NumPy, and no text can ask for references to Python objects.
"""

from __future__ import annotations

import re

from tachyon._numpy import numpy as np

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Type strings: all kinds that NumPy has but objects.
_PLAIN_KINDS = "biufcSUVmM"
_PLAIN = re.compile(r"[<>|](?:[biufcSUV][0-9]{1,9}|[mM]8(?:\[[0-9]{0,9}[A-Za-z]{1,2}\])?)")
# Names as ml_dtypes has them, or may have.
_NAME = re.compile(r"(?:b?float|u?int|b?complex)[0-9]{1,2}(?:_[a-z0-9]{1,20})?")

# A structure in a structure in ...: no deeper than this.
_DEEPEST = 16


class ForeignType(Exception):
    """The text names a type of ml_dtypes, which cannot be imported here."""


def _foreign_name(dtype: np.dtype[Any]) -> str | None:
    """The name of a type of ml_dtypes; NumPy's type string of it would only say "2 bytes"."""
    module = dtype.type.__module__.partition(".")[0]
    return dtype.name if module == "ml_dtypes" else None


def is_foreign(text: str) -> bool:
    """Whether a text that means a dtype means one of ml_dtypes."""
    return text[0] not in "<>|{"


def foreign_dtype(name: str) -> np.dtype[Any]:
    """The dtype of this name in ml_dtypes. Raises ForeignType, ValueError."""
    try:
        import ml_dtypes
    except ImportError:
        raise ForeignType(name) from None
    kind = getattr(ml_dtypes, name, None) if name in ml_dtypes.__all__ else None
    dtype = np.dtype(kind) if isinstance(kind, type) and issubclass(kind, np.generic) else None
    if dtype is None or dtype.name != name:
        raise ValueError(f"ml_dtypes has no type {name!r}")
    return dtype


# ---- dtype to text ----


def text_of(dtype: np.dtype[Any]) -> str:
    """Raises TypeError for a dtype that cannot be sent."""
    form = _form_of(dtype)
    if isinstance(form, str):
        return form
    import json

    return json.dumps(form, separators=(",", ":"))


def _form_of(dtype: np.dtype[Any]) -> Any:
    """A string, or what becomes a JSON object."""
    if dtype.hasobject:
        raise TypeError(
            f"an array of {dtype} holds references to Python objects, which mean nothing to "
            "another process"
        )
    if not dtype.itemsize:
        raise TypeError(f"elements of {dtype} have no bytes")
    if dtype.fields is not None:
        return {
            "itemsize": dtype.itemsize,
            "fields": [_field_of(name, *dtype.fields[name][:2]) for name in dtype.names or ()],
        }
    name = _foreign_name(dtype)
    if name is None and dtype.kind not in _PLAIN_KINDS:
        raise TypeError(f"elements of {dtype} cannot be sent")
    return name or dtype.str


def _field_of(name: str, dtype: np.dtype[Any], offset: int) -> list[Any]:
    base, shape = dtype.subdtype or (dtype, ())
    field = [name, _form_of(base), offset]
    return [*field, list(shape)] if shape else field


# ---- text to dtype ----


def dtype_of(text: str) -> np.dtype[Any]:
    """Raises ValueError for a text that means no dtype, ForeignType for one of ml_dtypes
    where that is not installed."""
    try:
        if not text.startswith("{"):
            return _dtype_of(text, 0)
        import json

        return _dtype_of(json.loads(text), 0)
    except (TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from None


def _dtype_of(form: Any, depth: int) -> np.dtype[Any]:
    if isinstance(form, dict):
        return _structure_of(form, depth)
    if isinstance(form, str) and _PLAIN.fullmatch(form):
        return np.dtype(form)
    if isinstance(form, str) and _NAME.fullmatch(form):
        return foreign_dtype(form)
    raise ValueError(f"{str(form)[:100]!r} is no element type")


def _structure_of(form: dict[str, Any], depth: int) -> np.dtype[Any]:
    if depth > _DEEPEST or form.keys() != {"itemsize", "fields"}:
        raise ValueError("a structure is given by its itemsize and its fields")
    itemsize = _number(form["itemsize"])
    fields = [_check_field(*field, depth=depth, itemsize=itemsize) for field in form["fields"]]
    return np.dtype(
        {
            "names": [name for name, _, _ in fields],
            "formats": [element for _, element, _ in fields],
            "offsets": [offset for _, _, offset in fields],
            "itemsize": itemsize,
        }
    )


def _check_field(
    name: Any, form: Any, offset: Any, shape: Any = (), *, depth: int, itemsize: int
) -> tuple[str, Any, int]:
    dtype = _dtype_of(form, depth + 1)
    size = dtype.itemsize
    extents = tuple(_number(extent) for extent in shape)
    for extent in extents:
        size *= extent
    if not isinstance(name, str) or not size or _number(offset) + size > itemsize:
        raise ValueError(f"a field {str(name)[:100]!r} does not fit its structure")
    return name, (dtype, extents) if extents else dtype, offset


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError(f"{str(value)[:100]} is no size")
    return value
