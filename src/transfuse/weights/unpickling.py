"""Plain pickles opened by Python's own unpickler, which finds nothing but what stands in a table here.

For `.pkl` files of numbers, texts, containers and NumPy arrays, once the scan has accepted them. Names are looked up in
the table, never imported by what the file says; persistent identifiers and buffers from outside are refused.
"""

import io
import pickle
from collections.abc import Callable, Mapping
from typing import IO, Any

from transfuse.core.errors import UnsafeFile, WeightsError
from transfuse.core.tables import resolve
from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import worst
from transfuse.weights.scanning.inspecting import inspect

_PLAIN: Mapping[str, str] = {
    "_codecs.encode": "_codecs:encode",
    "builtins.bytearray": "builtins:bytearray",
    "builtins.bytes": "builtins:bytes",
    "builtins.complex": "builtins:complex",
    "builtins.dict": "builtins:dict",
    "builtins.float": "builtins:float",
    "builtins.frozenset": "builtins:frozenset",
    "builtins.int": "builtins:int",
    "builtins.list": "builtins:list",
    "builtins.object": "builtins:object",
    "builtins.range": "builtins:range",
    "builtins.set": "builtins:set",
    "builtins.slice": "builtins:slice",
    "builtins.tuple": "builtins:tuple",
    "builtins.xrange": "builtins:range",
    "collections.Counter": "collections:Counter",
    "collections.OrderedDict": "collections:OrderedDict",
    "collections.defaultdict": "collections:defaultdict",
    "collections.deque": "collections:deque",
    "copyreg._reconstructor": "copyreg:_reconstructor",
    "datetime.date": "datetime:date",
    "datetime.datetime": "datetime:datetime",
    "datetime.time": "datetime:time",
    "datetime.timedelta": "datetime:timedelta",
    "datetime.timezone": "datetime:timezone",
    "decimal.Decimal": "decimal:Decimal",
    "numpy.dtype": "numpy:dtype",
    "numpy.ndarray": "numpy:ndarray",
    "numpy.core.multiarray._reconstruct": "numpy._core.multiarray:_reconstruct",
    "numpy._core.multiarray._reconstruct": "numpy._core.multiarray:_reconstruct",
    "numpy.core.multiarray.scalar": "numpy._core.multiarray:scalar",
    "numpy._core.multiarray.scalar": "numpy._core.multiarray:scalar",
    "numpy.core.numeric._frombuffer": "numpy._core.numeric:_frombuffer",
    "numpy._core.numeric._frombuffer": "numpy._core.numeric:_frombuffer",
}


_OF_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # as protocols 0 to 2 are written to this day


class _Restricted(pickle.Unpickler):
    """Finds what stands in the table."""

    def find_class(self, module: str, name: str) -> Any:
        """The entry of the table. Raises `UnsafeFile` for any other name."""
        full = f"{_OF_PYTHON_2.get(module, module)}.{name}"
        if full not in _PLAIN:
            raise UnsafeFile(f"The pickle must hold plain values and NumPy arrays, but names {full}.")
        return resolve(_PLAIN, full, "plain type")

    def persistent_load(self, pid: Any) -> Any:
        """Nothing lies outside the file."""
        raise UnsafeFile("The pickle must hold everything itself, but refers to objects outside.")


def load_plain(stream: IO[bytes], *, encoding: str = "latin1") -> Any:
    """The value of a pickle of plain types. Raises `UnsafeFile` and `WeightsError`, nothing else.

    `encoding` is how the texts of Python 2 are read. The bytes are judged before they are opened.
    """
    data = stream.read()
    found = list(inspect(Content(stream=io.BytesIO(data), size=len(data), name="plain.pkl")))
    if worst(found) != "accept":
        raise UnsafeFile(f"The pickle must hold plain values, but is refused: {found[0].reason} {found[0].advice}")
    return _loaded(lambda: _Restricted(io.BytesIO(data), encoding=encoding).load())


def _loaded(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except WeightsError:
        raise
    except Exception as error:  # broken bytes make an unpickler raise anything
        raise WeightsError(f"The pickle is broken: {str(error)[:200]}. Fetch it again.") from error
