"""Small good files of each format but pickles and archives: what the fuzzing of `transfuse scan` starts from.

Keys of `SEEDS` are names of files, since settings and templates are told apart by theirs.
"""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def safetensors(tensors: Mapping[str, Any] | None = None, data: bytes | None = None) -> bytes:
    """A header, and data."""
    if tensors is None:
        tensors = {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [8, 16]},
        }
        data = struct.pack("<ff4H", 1.0, -2.0, 0x3F80, 0, 0, 0xFF80)
    header = json.dumps(tensors).encode()
    return struct.pack("<Q", len(header)) + header + (data or b"")


def varint(number: int) -> bytes:
    """A number of protocol buffers."""
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])


def part(number: int, value: bytes | str | int) -> bytes:
    """A field: bytes, text or a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value % 2**64)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def onnx_tensor(name: str = "w", dims: Sequence[int] = (4,), code: int = 1, *extra: bytes) -> bytes:
    """A `TensorProto` without data."""
    return b"".join([*(part(1, side) for side in dims), part(2, code), part(8, name), *extra])


def onnx_model(tensor: bytes | None = None, nodes: Sequence[bytes] = (), extra: bytes = b"") -> bytes:
    """A model of one addition."""
    if tensor is None:
        tensor = onnx_tensor("w", (4,), 1, part(9, bytes(16)))
    add = part(1, "x") + part(1, "w") + part(2, "y") + part(4, "Add")
    graph = b"".join(part(1, node) for node in (add, *nodes)) + part(2, "g") + part(5, tensor)
    return part(1, 9) + part(7, graph) + part(8, part(1, "") + part(2, 17)) + extra


def onnx() -> bytes:
    """A model with a graph inside a graph, a function, and typed data."""
    inner = part(
        1, part(2, "z") + part(4, "Constant") + part(5, part(1, "value") + part(5, onnx_tensor("c", (), 7, part(7, 3))))
    )
    choice = part(4, "If") + part(5, part(1, "then_branch") + part(6, inner))
    function = part(1, "Mine") + part(7, part(4, "Relu")) + part(10, "local")
    used = part(4, "Mine") + part(7, "local")
    return onnx_model(onnx_tensor("w", (2,), 1, part(4, struct.pack("<ff", 1, 2))), [choice, used], part(25, function))


def saved_model(*operations: str, extra: bytes = b"") -> bytes:
    """A SavedModel of these operations, the last of them in a function."""
    nodes = [
        part(1, f"n{i}") + part(2, name) for i, name in enumerate(operations or ("Placeholder", "MatMul", "Identity"))
    ]
    function = part(1, part(1, "f")) + part(3, nodes[-1])
    graph = b"".join(part(1, node) for node in nodes[:-1]) + part(2, part(1, function))
    return part(1, 1) + part(2, part(1, part(4, "serve")) + part(2, graph) + extra)


def graph_def() -> bytes:
    """A frozen graph."""
    return part(1, part(1, "x") + part(2, "Placeholder")) + part(1, part(1, "y") + part(2, "Relu") + part(3, "x"))


def sentencepiece() -> bytes:
    """Two pieces with their scores."""
    return b"".join(part(1, part(1, text) + b"\x15" + struct.pack("<f", -1.0) + part(3, 1)) for text in ("<s>", "▁a"))


def keras_metadata(config: Mapping[str, Any] | None = None) -> bytes:
    """Keras' description of one layer, beside a SavedModel."""
    text = json.dumps(config or {"class_name": "Dense", "config": {"units": 2}})
    return part(1, part(2, 1) + part(3, "root.layer") + part(4, "_tf_keras_layer") + part(5, text))


def tensorflow_index(size: int = 8) -> bytes:
    """A table of one tensor in no shard that must lie beside it."""
    header, entry = part(1, 1), part(1, 1) + part(2, part(2, part(1, 2))) + part(5, size)
    block = b"".join(bytes([0, len(key), len(value)]) + key + value for key, value in ((b"", header), (b"w", entry)))
    block += struct.pack("<II", 0, 1)
    handle = varint(0) + varint(len(block))
    top = bytes([0, 1, len(handle)]) + b"w" + handle + struct.pack("<II", 0, 1)
    footer = varint(0) + varint(0) + varint(len(block) + 5) + varint(len(top))
    return block + bytes(5) + top + bytes(5) + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def gguf_text(text: str | bytes) -> bytes:
    """A text of GGUF."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def gguf_pair(name: str, kind: int, value: bytes) -> bytes:
    """A property."""
    return gguf_text(name) + struct.pack("<I", kind) + value


def gguf_file(pairs: Sequence[bytes], tensors: Sequence[bytes] = (), data: bytes = b"", version: int = 3) -> bytes:
    """The two tables, and data at the next multiple of 32."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join([*pairs, *tensors])
    return head + bytes(-len(head) % 32) + data if tensors else head


def gguf_tensor(name: str, shape: Sequence[int], kind: int = 0, offset: int = 0) -> bytes:
    """A row of the table of tensors."""
    return gguf_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf() -> bytes:
    """A template, words, numbers, and one tensor."""
    words = struct.pack("<IQ", 8, 2) + gguf_text("a") + gguf_text("b")
    pairs = [
        gguf_pair("general.architecture", 8, gguf_text("llama")),
        gguf_pair("general.alignment", 4, struct.pack("<I", 32)),
        gguf_pair("tokenizer.ggml.tokens", 9, words),
        gguf_pair("tokenizer.chat_template", 8, gguf_text("{% for m in messages %}{{ m.content }}{% endfor %}")),
    ]
    return gguf_file(pairs, [gguf_tensor("t", (4, 4))], bytes(64))


def _flat(out: bytearray, node: Any) -> int:
    """Writes a table (a dict of fields), a list of them, a text, or numbers (a type and a list); gives its place."""
    out.extend(bytes(-len(out) % 8))
    if isinstance(node, dict):
        count = max(node, default=-1) + 1
        table = len(out) + 4 + 2 * count + (-(4 + 2 * count) % 8)
        place, offsets, inline, later = table + 8, [0] * count, bytearray(), []
        for field, value in sorted(node.items()):
            offsets[field] = place - table
            if isinstance(value, tuple) and not isinstance(value[1], list):
                inline.extend(struct.pack(value[0], value[1]).ljust(8, b"\0"))
            else:
                inline.extend(bytes(8))
                later.append((place, value))
            place += 8
        start = len(out)
        out.extend(struct.pack(f"<HH{count}H", 4 + 2 * count, 8 + len(inline), *offsets).ljust(table - start, b"\0"))
        out.extend(struct.pack("<i", table - start).ljust(8, b"\0") + inline)
        for at, value in later:
            struct.pack_into("<I", out, at, _flat(out, value) - at)
        return table
    start = len(out)
    if isinstance(node, list):
        out.extend(struct.pack("<I", len(node)) + bytes(4 * len(node)))
        for index, inner in enumerate(node):
            at = start + 4 + 4 * index
            struct.pack_into("<I", out, at, _flat(out, inner) - at)
        return start
    data = node.encode() if isinstance(node, str) else b"".join(struct.pack(node[0], number) for number in node[1])
    count = len(data) if isinstance(node, str) else len(node[1])
    out.extend(struct.pack("<I", count) + data + b"\0")
    return start


def tflite(custom: str = "", shape: Sequence[int] = (2,), data: bytes = bytes(8), node: int = 0) -> bytes:
    """One graph of one operator, one tensor and its buffer."""
    code = {0: ("<b", 32), 1: custom} if custom else {0: ("<b", 9)}
    tensor = {0: ("<i", list(shape)), 1: ("<b", 0), 2: ("<I", 1), 3: "t"}
    graph = {0: [tensor], 1: ("<i", [0]), 2: ("<i", [0]), 3: [{0: ("<I", node), 1: ("<i", [0, -1]), 2: ("<i", [0])}]}
    out = bytearray(b"\0\0\0\0TFL3")
    model = {0: ("<I", 3), 1: [code], 2: [graph], 3: "made", 4: [{}, {0: ("<B", list(data))}]}
    struct.pack_into("<I", out, 0, _flat(out, model))
    return bytes(out)


DENSE: Mapping[str, Any] = {
    "module": "keras",
    "class_name": "Sequential",
    "config": {
        "name": "s",
        "layers": [
            {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 4], "name": "in"}},
            {
                "module": "keras.layers",
                "class_name": "Dense",
                "config": {
                    "name": "d",
                    "units": 2,
                    "activation": "relu",
                    "kernel_initializer": {"module": "keras.initializers", "class_name": "GlorotUniform", "config": {}},
                },
                "registered_name": None,
            },
        ],
    },
    "registered_name": None,
}


def hdf5(fill: Callable[[Any], object] | None = None) -> bytes:
    """A file of h5py; by default a model of Keras 2."""
    import h5py

    def model(file: Any) -> None:
        file.attrs["model_config"] = json.dumps(DENSE)
        file.create_group("model_weights/d").create_dataset("kernel", data=[[1.0, 2.0]], compression="gzip")

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        (fill or model)(file)
    return stream.getvalue()


def zipped(members: Mapping[str, bytes | str]) -> bytes:
    """A zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def keras(config: Mapping[str, Any] | None = None, **more: bytes) -> bytes:
    """A `.keras` archive."""
    members = {"metadata.json": '{"keras_version": "3.15.0"}', "config.json": json.dumps(config or DENSE)}
    return zipped({**members, "model.weights.h5": hdf5(lambda file: file.create_group("layers")), **more})


def skops(node: Mapping[str, Any] | None = None) -> bytes:
    """A `.skops` archive without arrays."""
    text = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": '"l2"', "is_json": True}
    attributes = {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {"penalty": text}}
    model = {"__class__": "LogisticRegression", "__module__": "sklearn.linear_model._logistic", "content": attributes}
    return zipped({"schema.json": json.dumps(node or {**model, "__loader__": "ObjectNode", "protocol": 2})})


def msgpack() -> bytes:
    """A table of one array, as Flax packs it, a number and a text."""
    array = b"\x93\x91\x02\xa7float32\xc4\x08" + bytes(8)
    return b"\x82\xa1w\xc7" + bytes([len(array), 1]) + array + b"\xa1n\x92\xcb" + bytes(8) + b"\xa2ok"


def coreml(*layers: bytes, model: int = 500) -> bytes:
    """A network of these layers."""
    network = b"".join(part(1, layer) for layer in layers or (part(1, "first"),))
    return part(1, 4) + part(2, part(100, "about")) + part(model, network)


CHAT = "{% for message in messages %}{{ '<|' ~ message['role'] ~ '|>' + message.content | trim }}{% endfor %}"


def _settings() -> bytes:
    tokenizer = {
        "tokenizer_class": "BertTokenizer",
        "vocab_file": "vocab.txt",
        "chat_template": CHAT,
        "n": [1, 2.5, None],
    }
    return json.dumps(tokenizer).encode()


SEEDS: dict[str, Callable[[], bytes]] = {
    "model.safetensors": safetensors,
    "model.onnx": onnx,
    "saved_model.pb": saved_model,
    "frozen.pb": graph_def,
    "keras_metadata.pb": keras_metadata,
    "spiece.model": sentencepiece,
    "variables.index": tensorflow_index,
    "model.gguf": gguf,
    "model.tflite": tflite,
    "flax_model.msgpack": msgpack,
    "model.mlmodel": coreml,
    "model.keras": keras,
    "model.skops": skops,
    "tokenizer_config.json": _settings,
    "model.safetensors.index.json": lambda: b'{"metadata": {"total_size": 8}, "weight_map": {"a": "x.safetensors"}}',
    "config.yaml": lambda: b"model: &m\n  size: 3\n  names: [a, b]\nother: *m\n---\nx: !new:torch.nn.Linear {a: 1}\n",
    "chat_template.jinja": CHAT.encode,
    "net.xml": lambda: (
        b'<net name="m"><layer id="0" type="Relu" version="opset1"><data offset="0" size="8"/></layer></net>'
    ),
    "README.md": lambda: b"---\nlicense: mit\ntags: [a]\n---\n# A model\nUse `os.system` with care.\n",
}
ISOLATED: dict[str, Callable[[], bytes]] = {"model.h5": hdf5}
"""Seeds whose reader is a library in C that broken files crash (HDF5 2.0): only for a process of its own."""
