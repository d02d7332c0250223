"""Keras' configurations: classes and functions are taken from Keras, never from elsewhere, however deep they lie."""

import copy
import json

import pytest

from transfuse.weights.scanning.findings import worst
from transfuse.weights.scanning.keras.keras_configs import keras_config


def layer(name: str, config=None, **more):
    return {"class_name": name, "config": config or {"name": "x"}, **more}


def verdict(found) -> str:
    return worst(list(keras_config(found)))


def test_ordinary_networks_pass(made) -> None:
    assert verdict(made.DENSE) == "accept"


@pytest.mark.parametrize(
    "node",
    [
        layer("Lambda", {"function": {"class_name": "__lambda__", "config": {"code": "4wEA"}}}, module="keras.layers"),
        layer("Lambda", {"function": "my_function", "function_type": "function"}),
        layer("Dense", {"activation": {"class_name": "__lambda__", "config": {}}}),
        layer("Dense", {"function_type": "lambda"}),
        layer("Masking", {"output_shape": ["4wEAAAA" * 9, None, None]}),
        layer("TFSMLayer", {"filepath": "/tmp/evil"}, module="keras.layers"),
        layer("TorchModuleWrapper", {"module": "gASV"}, module="keras.layers"),
        layer("Popen", {"args": ["id"]}, module="subprocess"),
        layer("Popen", {"args": ["id"]}, module="subprocess", registered_name="Mine>Popen"),
        layer("Thing", module="somewhere.else"),
        layer("function", "exec", module="builtins", registered_name="function"),
        layer("function", "get_file", module="keras.utils", registered_name="function"),
        layer("function", "enable_unsafe_deserialization", module="keras.config", registered_name="function"),
        layer("function", "load_model", module="keras.saving"),
        layer("function", "system", module="os"),
        layer("load_model", {"filepath": "x"}, module="keras.models"),
        layer("os.system", {"command": "id"}),
        layer("StringLookup", {"vocabulary": "/etc/passwd"}),
        layer("StringLookup", {"vocabulary": "http://169.254.169.254/x"}),
        layer("TextVectorization", {"vocabulary": "a/../../secret"}),
        layer("TFOpLambda", {"function": "io.write_file"}),
        layer("TFOpLambda", {"function": "raw_ops.PyFunc"}),
        layer("Dense", {"units": 2**40}),
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 5])
def test_gadgets_are_refused_at_any_depth(node, depth: int) -> None:
    for _ in range(depth):
        node = layer("TimeDistributed", {"layer": node, "name": "outer"}, module="keras.layers")
    assert verdict({"class_name": "Functional", "config": {"layers": [node]}}) == "reject"


@pytest.mark.parametrize(
    "node",
    [
        layer("Mine", module="my_project.layers", registered_name="Mine>Mine"),
        layer("Mine>Layer"),
        layer("Mine", module="__main__"),
        layer("TransformerEncoder", module="keras_hub.src.layers.modeling.transformer_encoder"),
        layer("function", "my_loss", module="builtins", registered_name="function"),
    ],
)
def test_code_of_ones_own_is_asked_about(node) -> None:
    assert verdict(node) == "ask"


@pytest.mark.parametrize(
    "node",
    [
        layer("Adam", module="keras.src.backend.torch.optimizers.torch_adam", registered_name="Adam"),
        layer("Dense", module="tensorflow.keras.layers"),
        layer("GetItem", module="keras.src.ops.numpy"),
        layer("DTypePolicy", module="keras"),
        layer("Custom>Adam"),
        layer("function", "softplus", module="builtins", registered_name="function"),
        layer("function", "relu", module="keras.activations"),
        layer("TFOpLambda", {"function": "math.add"}),
        layer("StringLookup", {"vocabulary": ["a", "b"]}),
        layer("__tuple__", None),
    ],
)
def test_what_keras_itself_writes_passes(node) -> None:
    assert verdict(node) == "accept"


def test_endless_nesting_is_refused(judged) -> None:
    node = layer("Dense")
    for _ in range(300):
        node = layer("Sequential", {"layers": [node]})
    assert judged("model.json", json.dumps(node)).verdict == "reject"


def test_archives_and_json_are_judged_by_the_same_rules(judged, made) -> None:
    evil = copy.deepcopy(made.DENSE)
    evil["config"]["layers"].append(layer("Lambda"))
    assert judged("model.json", json.dumps(evil)).findings[0].rule == "keras-lambda"
    (finding,) = judged("m.keras", made.keras(evil)).findings
    assert finding.where == "config.json: s/x"


def test_members_of_an_archive_are_judged_by_their_bytes(judged, made) -> None:
    linked = made.hdf5(
        lambda file: file.create_dataset("v", shape=(8,), dtype="u1", external=[("/etc/hostname", 0, 8)])
    )
    for name, data in (("assets/../../x.txt", b"x"), ("/x", b"x"), ("assets/w.h5", linked), ("assets/x", bytes(99))):
        assert judged("m.keras", made.keras(None, **{name: data})).verdict == "reject", name
    assert judged("m.keras", made.keras(None, **{"assets/vocabulary.txt": b"a\nb\n"})).verdict == "accept"
    whole = made.keras()
    place = whole.index(b'"units"')
    assert judged("m.keras", whole[:place] + b'"Units"' + whole[place + 7 :]).verdict == "reject"  # checksum
