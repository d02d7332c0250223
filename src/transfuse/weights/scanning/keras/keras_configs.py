"""How Keras rebuilds a network from JSON: classes and functions by name, and where these names may lead.

Follows `keras/src/saving/serialization_lib.py` (3.15) and the older `model_config` of HDF5 files. CVE-2024-3660
(Lambda), 2025-1550 (any module), 2025-8747 (`get_file`), 2025-9906 (safe mode off), 2025-12058 (vocabulary).
"""

import builtins
import functools
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.places import strays
from transfuse.weights.scanning.words import names

_ROOMS = (
    "activations applications constraints dtype_policies initializers layers losses metrics models ops optimizers"
    r" quantizers random regularizers backend.common backend.\w+.optimizers engine legacy trainers"
)
_MODULE = re.compile(
    rf"(tensorflow\.(python\.)?|tf_)?keras(\.(api|src|_tf_keras|keras))*(\.({'|'.join(_ROOMS.split())})(\.\w+)*)?"
)
_FUNCTIONS = re.compile(r"keras(\.(api|src))*\.(activations|losses|metrics|ops|initializers|regularizers)(\.\w+)*")
_FAMILY = ("keras_hub", "keras_nlp", "keras_cv", "tensorflow_addons", "keras_tuner")
_CODE = frozenset({"Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"})
_PLAIN = names(
    """
    __tuple__ __tensor__ __numpy__ __bytes__ __ellipsis__ __slice__ __keras_tensor__ __complex__ TensorShape
    CompositeTensor __tf_tensor__ __empty__
    """
)
_OPERATIONS = re.compile(
    r"(math|nn|linalg|image|signal|strings|sparse|ragged|bitwise|sets|compat\.v1\.nn|compat\.v1\.math|__operators__|"
    r"keras\.(activations|backend|ops))\.\w+(\.\w+)?|[a-z]\w*"
)
_WRITING = re.compile(r"(read|write|load|save|file|print|py_func|numpy_func|raw_ops|io\.|get_logger|import)", re.I)
_FILE_KEYS = ("vocabulary", "idf_weights", "vocabulary_file", "spm_proto")
_MEASURES = ("loss", "metrics", "weighted_metrics")
_SIZES = ("units", "filters", "input_dim", "output_dim", "num_heads", "key_dim", "batch_shape", "n", "rank")
_REGISTERED = frozenset(
    f"Custom>{name}" for name in ["Adadelta", "Adagrad", "Adam", "Adamax", "AdamW", "Ftrl", "Nadam", "RMSprop", "SGD"]
)
"""What Keras 2.11 to 2.13 calls its own optimisers."""
_LARGEST = 2**31
_DEPTH = 200
_SAFE = "Ask for the weights alone, or for a model of ordinary layers, saved as .keras by Keras 3."


def keras_config(document: Any, where: str = "") -> Iterator[Finding]:
    """Findings of a model's, a layer's or a training's configuration; each place is visited once."""
    waiting: list[tuple[Any, str, int]] = [(document, where, 0)]
    while waiting:
        node, path, depth = waiting.pop()
        if depth > _DEPTH:
            raise refused("keras-depth", f"Its configuration is nested more than {_DEPTH} deep.", path[:80])
        if isinstance(node, dict):
            path = _place(node, path)
            if isinstance(node.get("class_name"), str):
                yield from _class(node, path)
            yield from _values(node, path)
            waiting += [(value, path, depth + 1) for value in node.values() if isinstance(value, dict | list)]
        elif isinstance(node, list):
            waiting += [(value, path, depth + 1) for value in node if isinstance(value, dict | list)]


def describes_keras(document: Any) -> bool:
    """Whether a JSON document is a network as Keras writes it."""
    return isinstance(document, dict) and isinstance(document.get("class_name"), str) and "config" in document


def _place(node: Mapping[str, Any], path: str) -> str:
    config = node.get("config")
    name = node.get("name") or (config.get("name") if isinstance(config, dict) else None)
    if not isinstance(name, str) or path == name or path.endswith(f"/{name}"):
        return path
    return f"{path}/{name}"[-200:] if path else name[:200]


def _class(node: Mapping[str, Any], path: str) -> Iterator[Finding]:
    name, module, registered = node["class_name"], node.get("module"), node.get("registered_name")
    if name in _CODE:
        yield _found("keras-lambda", f"A layer of the class {name} runs code that comes with the model.", path)
    elif name in _PLAIN:
        return
    elif name == "function":
        yield from _function(node, path)
    elif name in ("TFOpLambda", "SlicingOpLambda"):
        yield from _operation(node, path)
    elif not name.isascii() or not re.fullmatch(r"\w+(>\w+)?", name):
        yield _found("keras-class", f"The class '{name[:60]}' has an impossible name.", path)
    elif isinstance(module, str) and _MODULE.fullmatch(module) and not name[0].isupper():
        yield _found("keras-function", f"It takes the function '{module}.{name}' where a class must be.", path)
    elif isinstance(module, str) and not _MODULE.fullmatch(module):
        yield _elsewhere(f"{module[:60]}.{name[:60]}", module, registered, path)
    elif module is None and not ({str(registered), name} <= known_classes() | _REGISTERED | {"None"}):
        yield _custom(f"The class '{str(registered or name)[:60]}' is not Keras' own.", path)


@functools.cache
def known_classes() -> frozenset[str]:
    """Names of Keras' own classes, of all its versions."""
    return names(Path(__file__).with_name("keras_classes.txt").read_text())


def _elsewhere(spoken: str, module: str, registered: Any, path: str) -> Finding:
    package = module.split(".")[0]
    known = package in _FAMILY or module in ("__main__", "builtins")
    named = isinstance(registered, str) and ">" in registered and package not in sys.stdlib_module_names
    if known or named:
        return _custom(f"The class '{spoken}' is not Keras' own.", path)
    return _found("keras-module", f"It takes '{spoken}' from a module that has nothing to do with Keras.", path)


def _function(node: Mapping[str, Any], path: str) -> Iterator[Finding]:
    name, module, registered = node.get("config"), node.get("module"), node.get("registered_name")
    names = [text for text in (name, registered) if isinstance(text, str) and text != "function"]
    spoken = f"{module}.{name}"[:120]
    if any(hasattr(builtins, text) for text in names) or not all(re.fullmatch(r"[A-Za-z]\w*(>\w+)?", t) for t in names):
        yield _found("keras-function", f"It takes the function '{spoken}', which is none of a network.", path)
    elif isinstance(module, str) and _FUNCTIONS.fullmatch(module):
        return
    elif module in (None, "builtins", "__main__"):
        if names and names[0] not in _KNOWN:
            yield _custom(f"The function '{names[0][:60]}' is not Keras' own.", path)
    else:
        yield _found("keras-function", f"It takes the function '{spoken}', which is none of a network.", path)


def _operation(node: Mapping[str, Any], path: str) -> Iterator[Finding]:
    """An operation of TensorFlow as a layer (Keras 2): those of arithmetic pass."""
    config = node.get("config")
    name = config.get("function") if isinstance(config, dict) else None
    if node["class_name"] == "SlicingOpLambda" and name is None:
        return
    if not isinstance(name, str) or _WRITING.search(name):
        yield _found("keras-operation", f"It calls '{str(name)[:60]}' of TensorFlow, which is no arithmetic.", path)
    elif not _OPERATIONS.fullmatch(name):
        yield _custom(f"It calls '{name[:60]}' of TensorFlow.", path)


def _values(node: Mapping[str, Any], path: str) -> Iterator[Finding]:
    for key, value in node.items():
        if key.endswith("function_type") and value == "lambda":
            yield _found("keras-lambda", "It holds a Python function, as bytes to be run.", path)
        if key in _FILE_KEYS and isinstance(value, str) and (strays(value) or "/" in value):
            reason = f"It reads its {key} from '{value[:120]}', outside the model."
            yield _found("keras-path", reason, path)
        if key in _MEASURES:
            for name in _spoken(value):
                if not {name, name.lower()} & (_KNOWN | known_classes()):
                    yield _custom(f"The function '{name[:60]}' it is trained by is not Keras' own.", path)
        if key in _SIZES and _largest(value) >= _LARGEST:
            yield _found("keras-size", f"Its {key} is {_largest(value):,}, which no machine can hold.", path)
        if key in ("function", "output_shape", "mask") and _is_code(value):
            yield _found("keras-lambda", "It holds a Python function, as bytes to be run.", path)


def _spoken(value: Any) -> list[str]:
    """Names of losses or metrics, alone or in lists and by output."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = [] if "class_name" in value else list(value.values())
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _largest(value: Any) -> int:
    numbers = value if isinstance(value, list) else [value]
    return max((abs(number) for number in numbers if isinstance(number, int)), default=0)


def _is_code(value: Any) -> bool:
    """Whether a list begins with a marshalled function in base64: `[code, defaults, closure]`."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], str) and len(value[0]) > 40


def _found(rule: str, reason: str, where: str) -> Finding:
    return Finding(verdict="reject", rule=rule, reason=reason, where=where, advice=_SAFE)


def _custom(reason: str, where: str) -> Finding:
    advice = "Open it only with code of your own for that name, which you know and trust."
    return Finding(verdict="ask", rule="keras-custom", reason=reason, where=where, advice=advice)


_KNOWN = names(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear
    log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus
    sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink threshold glorot_uniform glorot_normal he_normal
    he_uniform lecun_normal lecun_uniform zeros ones constant identity orthogonal random_normal random_uniform
    truncated_normal variance_scaling mean_squared_error mean_absolute_error mean_absolute_percentage_error
    mean_squared_logarithmic_error mse mae mape msle binary_crossentropy categorical_crossentropy
    sparse_categorical_crossentropy binary_focal_crossentropy categorical_focal_crossentropy hinge squared_hinge
    categorical_hinge huber log_cosh poisson kl_divergence cosine_similarity dice tversky circle ctc accuracy
    binary_accuracy categorical_accuracy sparse_categorical_accuracy top_k_categorical_accuracy
    sparse_top_k_categorical_accuracy l1 l2 l1_l2 max_norm non_neg unit_norm min_max_norm
    """
)
