"""TensorFlow's graphs: what reads, writes or runs Python is refused, also in functions and for TensorFlow Lite."""

import json

import pytest


@pytest.mark.parametrize(
    "verdict, name",
    [
        ("accept", "StatefulPartitionedCall"),
        ("accept", "RestoreV2"),
        ("accept", "ReadVariableOp"),
        ("reject", "ReadFile"),
        ("reject", "WriteFile"),
        ("reject", "PyFunc"),
        ("reject", "EagerPyFunc"),
        ("reject", "DebugIdentityV3"),
        ("reject", "RpcCall"),
        ("ask", "XlaCustomCallV2"),
        ("ask", "MyOwnOp"),
    ],
)
@pytest.mark.parametrize("where", ["graph", "function", "frozen", "text", "lite"])
def test_operations_by_name(judged, made, verdict: str, name: str, where: str) -> None:
    if where == "frozen":
        judgement = judged("frozen.pb", made.part(1, made.part(1, "n") + made.part(2, name)))
    elif where == "text":
        judgement = judged("saved_model.pbtxt", f'node {{\n name: "n"\n op: "{name}"\n}}\n')
        verdict = "accept" if verdict == "ask" else verdict
    elif where == "lite":
        judgement = judged("m.tflite", made.tflite(f"Flex{name}"))
    else:
        names = ("Placeholder", name, "Identity") if where == "graph" else ("Placeholder", "Identity", name)
        judgement = judged("saved_model.pb", made.saved_model(*names))
    assert judgement.verdict == verdict, judgement.findings


def test_printing_to_a_file_is_refused(judged, made) -> None:
    attribute = made.part(1, "output_stream") + made.part(2, made.part(2, "file:///tmp/x"))
    node = made.part(1, "n") + made.part(2, "PrintV2") + made.part(5, attribute)
    assert judged("frozen.pb", made.part(1, node)).verdict == "reject"
    assert judged("frozen.pb", made.part(1, made.part(1, "n") + made.part(2, "PrintV2"))).verdict == "accept"


def test_files_that_are_taken_along_stay_in_the_folder(judged, made) -> None:
    for name, verdict in (("vocab.txt", "accept"), ("../../etc/passwd", "reject"), ("/etc/passwd", "reject")):
        asset = made.part(6, made.part(2, name))
        assert judged("saved_model.pb", made.saved_model(extra=asset)).verdict == verdict


def test_layers_that_keras_describes_beside_the_graph_are_judged(judged, made) -> None:
    code = {"class_name": "Lambda", "config": {"function": ["4wEAAAA" * 9, None, None], "function_type": "lambda"}}
    assert judged("keras_metadata.pb", made.keras_metadata(code)).verdict == "reject"
    described = made.part(1, "_tf_keras_layer") + made.part(3, json.dumps(code))
    objects = made.part(7, made.part(1, made.part(4, described)))
    assert judged("saved_model.pb", made.saved_model(extra=objects)).findings[0].rule == "keras-lambda"


def test_a_model_without_a_graph_is_broken(judged) -> None:
    assert judged("saved_model.pb", b"").verdict == "reject"
    assert judged("saved_model.pb", b"\x08\x01\x12\x02\x0a\x00").verdict == "reject"
    assert judged("saved_model.pb", b"\x12\x04abcd").verdict == "reject"
