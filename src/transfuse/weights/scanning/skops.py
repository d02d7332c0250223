"""skops: a zip archive of arrays and one JSON tree that says which classes and functions to build.

Follows `skops/io/_general.py` and its audit (0.16), which trusts scikit-learn's estimators, NumPy's and SciPy's types
and functions of elements, and containers. CVE-2025-54412, 54413 and 54886: nodes whose loader and class disagree.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from transfuse.weights.scanning.archives.zips import unpacked_members
from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, located, refused
from transfuse.weights.scanning.inspecting import inspect
from transfuse.weights.scanning.settings.documents import parsed
from transfuse.weights.scanning.words import names

_DEPTH = 300
_CONTAINERS: Mapping[str, frozenset[str]] = {
    "DictNode": frozenset({"builtins.dict", "collections.OrderedDict"}),
    "DefaultDictNode": frozenset({"collections.defaultdict"}),
    "ListNode": frozenset({"builtins.list"}),
    "SetNode": frozenset({"builtins.set", "builtins.frozenset"}),
    "TupleNode": frozenset({"builtins.tuple"}),
    "BytesNode": frozenset({"builtins.bytes"}),
    "BytearrayNode": frozenset({"builtins.bytearray"}),
    "SliceNode": frozenset({"builtins.slice"}),
    "JsonNode": frozenset({"builtins.str", "builtins.int", "builtins.float", "builtins.bool", "builtins.NoneType"}),
    "MaskedArrayNode": frozenset({"numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"}),
    "RandomStateNode": frozenset({"numpy.random.RandomState", "numpy.random.mtrand.RandomState"}),
    "RandomGeneratorNode": frozenset({"numpy.random.Generator", "numpy.random._generator.Generator"}),
    "DTypeNode": frozenset({"numpy.dtype"}),
}
"""What a loader may build; a node that says otherwise is made to deceive."""
_NUMPY = re.compile(
    r"numpy\.(ndarray|generic|memmap|matrix|bool_?|(u?int|float|complex)\d+|str_|bytes_|datetime64|timedelta64|intc|uintc|longlong|ulonglong|longdouble|clongdouble|object_|void)"
)
_SPARSE = re.compile(r"scipy\.sparse\.(_?\w+\.)?(csr|csc|coo|bsr|dia|dok|lil)_(matrix|array)")
_ESTIMATORS = re.compile(r"sklearn(\.(?!externals|datasets|utils\._testing|tests|conftest)\w+)+")
_FUNCTIONS = re.compile(
    r"(scipy\._lib\.array_api_compat\.numpy\._aliases\.[a-z]\w*|scipy\.special(\._ufuncs)?\.[a-z]\w*|sklearn(\.(?!externals|datasets|utils\._testing)\w+)+)"
)
_OPENS = re.compile(r"^_|load|save|from|memmap|open|vectorize|apply|piecewise|test|info|show")
_UFUNCS = names(
    """
    abs absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt ceil cos cosh deg2rad degrees
    divide exp exp2 expm1 fabs float_power floor fmax fmin hypot isfinite isnan log log10 log1p log2 logaddexp
    maximum minimum mod multiply negative positive power rad2deg radians reciprocal rint sign sin sinh sqrt square
    subtract tan tanh true_divide trunc
    """
)
_TYPES = frozenset(
    f"builtins.{name}"
    for name in ["int", "float", "str", "bool", "list", "set", "map", "tuple", "dict", "bytes", "complex"]
)
_ASKED = "Open it only with `trusted=[...]` naming the types that you know."
_BAD = "Do not open it; ask for the model without that function."


def skops(content: Content) -> Iterator[Finding]:
    """Each member by its bytes, the tree node by node."""
    for member in unpacked_members(content):
        name = member.name.rpartition("!")[2]
        if name == "schema.json":
            yield from _tree(parsed(member.read(0, member.size)))
        else:
            yield from located(inspect(member), name)


def _tree(document: Any) -> Iterator[Finding]:
    waiting, told = [(document, 0)], set[tuple[str, str]]()
    while waiting:
        node, depth = waiting.pop()
        if depth > _DEPTH:
            raise refused("skops-depth", f"Its tree is more than {_DEPTH} deep.", "schema.json")
        if isinstance(node, list):
            waiting += [(value, depth + 1) for value in node]
        elif isinstance(node, dict):
            waiting += [(value, depth + 1) for value in node.values() if isinstance(value, dict | list)]
            named = _named(node)
            if named and named not in told:
                told.add(named)
                yield from _node(*named, node)


def _named(node: Mapping[str, Any]) -> tuple[str, str] | None:
    """Loader and full name; None for a plain table inside a node."""
    if "__loader__" not in node and "__class__" not in node:
        return None
    parts = [node.get(key) for key in ("__loader__", "__module__", "__class__")]
    if not all(isinstance(part, str) and re.fullmatch(r"\w+(\.\w+)*", part) for part in parts):
        raise refused("skops-node", f"A node names '{str(parts)[:120]}', which is no class.", "schema.json")
    return str(parts[0]), f"{parts[1]}.{parts[2]}"


def _node(loader: str, name: str, node: Mapping[str, Any]) -> Iterator[Finding]:
    short, module = name.rpartition(".")[2], name.partition(".")[0]
    private = loader == "MethodNode" and str((node.get("content") or {}).get("func", "_")).startswith("_")
    if loader in _CONTAINERS:
        if name not in _CONTAINERS[loader]:
            yield _reject(f"A node of the kind {loader} claims to be '{name[:80]}'.", name)
    elif (
        loader in ("CachedNode",)
        or (loader == "NdArrayNode" and _NUMPY.fullmatch(name))
        or (loader == "SparseMatrixNode" and _SPARSE.fullmatch(name))
    ):
        return
    elif loader == "FunctionNode":
        yield from _function(name)
    elif loader == "TypeNode" and (name in _TYPES or _NUMPY.fullmatch(name)):
        return
    elif (loader == "OperatorFuncNode" and short not in ("itemgetter",)) or private:
        yield _reject(f"It calls '{name[:80]}', which reaches into other objects.", name)
    elif name in _UNCHECKED:
        reason = f"It builds '{name}' from raw places in memory, which scikit-learn does not check when it predicts."
        yield Finding(verdict="ask", rule="skops-tree", reason=reason, where=name, advice=_ASKED)
    elif loader in _OBJECTS and _ESTIMATORS.fullmatch(name):
        return
    elif loader in _OBJECTS and module in {*sys.stdlib_module_names, "sklearn"} and not _harmless(name):
        yield _reject(f"It builds '{name[:80]}', which is no part of a model.", name)
    elif loader in _OBJECTS:
        yield _ask(name)
    else:
        yield _reject(f"A node of the unknown kind {loader[:60]} builds '{name[:80]}'.", name)


def _function(name: str) -> Iterator[Finding]:
    """Functions of elements are trusted; others of NumPy and one's own need a person's word; all else is refused."""
    module, _, short = name.partition(".")
    if _FUNCTIONS.fullmatch(name) or (module == "numpy" and short in _UFUNCS):
        return
    own = module == "__main__" or (module == "numpy" and short.isidentifier() and not _OPENS.search(short))
    yield _ask(name) if own else _reject(f"It names the function '{name[:80]}'.", name)


_OBJECTS = names(
    """
    ObjectNode TypeNode ConstructorFromReduceNode MethodNode PartialNode ReduceNode TreeNode LossNode SGDNode
    OperatorFuncNode QuantileForestNode SparseMatrixNode NdArrayNode _DictWithDeprecatedKeysNode
    """
)


_UNCHECKED = frozenset({"sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"})


def _harmless(name: str) -> bool:
    return name.startswith(
        ("datetime.", "decimal.Decimal", "fractions.Fraction", "uuid.UUID", "zoneinfo.", "pathlib.Pure")
    ) or (name in ("collections.Counter", "collections.deque", "functools.partial", "operator.itemgetter"))


def _reject(reason: str, name: str) -> Finding:
    return Finding(verdict="reject", rule="skops-name", reason=reason, where=name[:80], advice=_BAD)


def _ask(name: str) -> Finding:
    reason = f"It builds '{name[:80]}', which is code of its author's or of another library."
    return Finding(verdict="ask", rule="skops-custom", reason=reason, where=name[:80], advice=_ASKED)
