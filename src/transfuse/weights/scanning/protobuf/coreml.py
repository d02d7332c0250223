"""Core ML: networks are data; layers and models of one's own name code of an application.

Schema: https://github.com/apple/coremltools/blob/main/mlmodel/format/Model.proto and NeuralNetwork.proto.
"""

from collections.abc import Iterator

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding
from transfuse.weights.scanning.protobuf import wire

_CUSTOM_MODEL, _CUSTOM_LAYER = 555, 500
_NETWORKS = (303, 403, 500)
_PIPELINES = (200, 201, 202)
_MOST_MODELS = 1000


def coreml(content: Content) -> Iterator[Finding]:
    """A model, and the models inside a pipeline."""
    waiting, left = [wire.message(content)], _MOST_MODELS
    while waiting and left:
        left -= 1
        parts = wire.grouped(waiting.pop(), (_CUSTOM_MODEL, *_NETWORKS, *_PIPELINES))
        for custom in wire.messages(parts[_CUSTOM_MODEL]):
            yield _asked(wire.text(wire.grouped(custom, (10,))[10]))
        for network in wire.messages([value for number in _NETWORKS for value in parts[number]]):
            for layer in wire.messages(wire.grouped(network, (1,))[1]):
                for custom in wire.messages(wire.grouped(layer, (_CUSTOM_LAYER,))[_CUSTOM_LAYER]):
                    yield _asked(wire.text(wire.grouped(custom, (10,))[10]))
        for number in _PIPELINES:
            for pipeline in wire.messages(parts[number]):
                inner = wire.grouped(pipeline, (1,))[1]
                nested = (
                    inner
                    if number == 202
                    else [v for part in wire.messages(inner) for v in wire.grouped(part, (1,))[1]]
                )
                waiting += wire.messages(nested)


def _asked(name: str) -> Finding:
    reason = f"Its part '{name[:80]}' is code that an application must bring."
    advice = "Open it only with an application that you know and trust."
    return Finding(verdict="ask", rule="coreml-custom", reason=reason, where=name[:80], advice=advice)
