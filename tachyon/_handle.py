"""What the C library has made, and when it is freed: with the last reference, and not before.

A finalizer would be too early. Where objects refer to each other in a circle, the garbage
collector first calls all the finalizers, and all the callbacks of weak references, and only
then takes the circle apart: a user's __del__() may still look at a bus or at a message of it
after ours has freed them. So what frees memory is an object that the collector does not
know: it dies when the circle has been taken apart, for nobody refers to it any more.
"""

from __future__ import annotations

from ctypes import c_void_p, py_object, pythonapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# By index: attributes of ctypes.pythonapi are shared with everyone in the process.
hide_from_collector = pythonapi["PyObject_GC_UnTrack"]
hide_from_collector.argtypes = [py_object]
hide_from_collector.restype = None


class Handle(c_void_p):
    """A pointer that the C library fills in, and what frees it: that strikes whatever happens
    on the way."""

    def __init__(self, free: Any) -> None:
        super().__init__()
        self.free = free
        hide_from_collector(self)

    def __del__(self) -> None:
        if self:
            self.free(self)
