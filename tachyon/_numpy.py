"""NumPy, for the modules of records, arrays and DLPack; the rest of the package goes without.

Imported at the first use of one of them, never by `import tachyon`.
"""

from __future__ import annotations

_OLDEST = (2, 1)
_ADVICE = f"records, arrays and DLPack need NumPy {_OLDEST[0]}.{_OLDEST[1]} or newer"

try:
    import numpy as numpy
except ImportError as error:
    raise ImportError(f"{_ADVICE}: pip install numpy ({error})", name="numpy") from error

if tuple(map(int, numpy.__version__.split(".")[:2])) < _OLDEST:
    raise ImportError(f"{_ADVICE}; this is {numpy.__version__}", name="numpy")
