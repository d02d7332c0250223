"""The compiled loops of `_kernels.c`, called through ctypes, which lets other threads run meanwhile.

They are built when transfuse is installed. Where there was no compiler, `library()` is None and the methods in
`fusing/weights` do the work by torch: with the same result, in more time and memory.
"""

import ctypes
import importlib.util
from ctypes import POINTER, c_float, c_int, c_int64, c_uint64, c_void_p
from functools import cache

from transfuse.core.errors import WeightsError
from transfuse.weights.pieces import NOT_FINITE, Stream

MOST = 16
"""Parents."""
TYPES = {"float32": 0, "float16": 1, "bfloat16": 2}
SUM, AGREED_SUM, AGREED_MEAN = 0, 1, 2
NO_MASK, NOTHING = 1 << 32, 0
"""Limits of masks that keep everything, and nothing."""
BINS = 1 << 16


class Parent(ctypes.Structure):
    """`Parent` of `_kernels.c`; its comments say what the fields are."""

    _fields_ = (
        ("data", c_void_p), ("type", c_int64), ("key", c_uint64), ("limit", c_uint64), ("weight", c_float),
        ("least", c_float), ("divisor", c_float), ("factor", c_float),
    )  # fmt: skip


_PARENTS = (POINTER(Parent), c_int, POINTER(Parent))
_SIGNATURES = {
    "merge": (*_PARENTS, c_int64, c_int64, c_int, c_float, c_float, c_void_p, c_int64),
    "votes": (*_PARENTS, c_int64, c_int64, c_void_p),
    "products": (*_PARENTS, c_int64, c_void_p),
    "norms": (*_PARENTS, c_int64, c_int64, c_void_p),
    "spread": (*_PARENTS, c_int64, c_void_p, c_void_p),
}


@cache
def library() -> ctypes.CDLL | None:
    """The functions, or None where they were not built."""
    found = importlib.util.find_spec("transfuse.fusing.engine._kernels")
    if found is None or found.origin is None:
        return None
    try:
        loaded = ctypes.CDLL(found.origin)
        for name, arguments in _SIGNATURES.items():
            getattr(loaded, f"transfuse_{name}").argtypes = arguments
    except (OSError, AttributeError):  # of another machine, or of another version
        return None
    return loaded


def call(name: str, streams: list[Stream], *arguments: object) -> None:
    """One function over one block; `streams` are what it was read from, the base last. Raises `WeightsError`."""
    code = getattr(library(), f"transfuse_{name}")(*arguments)
    if code > 0:
        raise streams[code - 1].told(WeightsError(NOT_FINITE))
    if code < 0:
        raise OverflowError
