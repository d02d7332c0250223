"""A network that answers on another machine, by the Open Inference Protocol v2 (KServe, Triton, OpenVINO, MLServer).

`GET v2/models/NAME` says what the model takes and gives; `POST v2/models/NAME/infer` answers a batch, in JSON or, where
the server offers `binary_tensor_data`, in raw bytes behind a JSON header. Nothing is run that the server sends. What
the protocol does not say stands in the address: `?mean=0.485,0.456,0.406&std=...&range=255&size=224&classes=cat,dog`
(without these the server gets 0..1 of float inputs, 0..255 of UINT8), and `timeout=30` in seconds. Answers that are
probabilities (not negative, of sum 1) become logits by their logarithm.

Letters: B examples, c channels, h w pixels, C classes.
"""

import http.client
import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transfuse.core.errors import SourceError, UsageError
from transfuse.core.nouns import Preprocessing

WAITS = (0.5, 2.0, 8.0)
"""Seconds before each time that a request is tried again."""
_KINDS = {
    "FP64": "float64", "FP32": "float32", "FP16": "float16", "UINT8": "uint8", "INT8": "int8", "INT32": "int32",
    "INT64": "int64",
}  # fmt: skip
_KNOWN = ("mean", "std", "range", "size", "classes", "timeout")
_SMALLEST = 1e-12  # probability whose logarithm is taken
_MOST = 1 << 28  # bytes of an answer


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model on a server."""

    url: str
    """`http://HOST/v2/models/NAME`, without what it says about preparing."""
    name: str
    input: Mapping[str, Any]
    """`name`, `datatype` and `shape` as the server tells them."""
    outputs: int | None
    """C, when the server says so."""
    classes: tuple[str, ...]
    """As named in the address; empty when they are not."""
    preprocessing: Preprocessing
    binary: bool
    timeout: float
    """Seconds."""
    metadata: Mapping[str, Any]


class RemoteNetwork(nn.Module):
    """Pictures (B, c, h, w), prepared, to logits (B, C), over the network."""

    block = 256
    """Examples whose answers are kept together as soon as they are there."""

    def __init__(self, served: Served, classes: int) -> None:
        super().__init__()
        self.served, self.classes = served, classes
        self.register_buffer("here", torch.zeros(()), persistent=False)

    def forward(self, x_Bchw: Tensor) -> Tensor:
        kind = str(self.served.input["datatype"])
        values = x_Bchw.detach().float().cpu().numpy()
        array = values.round().clip(0, 255).astype(np.uint8) if kind == "UINT8" else values.astype(_KINDS[kind])
        found_BC = torch.from_numpy(infer(self.served, np.ascontiguousarray(array), self.classes))
        if (found_BC >= 0).all() and torch.allclose(found_BC.sum(1), torch.ones(len(found_BC)), atol=1e-3):
            found_BC = found_BC.clamp(min=_SMALLEST).log()
        return found_BC.to(x_Bchw.device)


def is_remote(reference: Any) -> bool:
    """Whether a reference is the address of a server."""
    return isinstance(reference, str) and reference.lower().startswith(("http://", "https://"))


def served(address: str) -> Served:
    """What a server says about a model. Raises `UsageError` for a wrong address, `SourceError` for a wrong answer."""
    parts = urllib.parse.urlsplit(address)
    said = dict(urllib.parse.parse_qsl(parts.query))
    path = parts.path.rstrip("/").removesuffix("/infer")
    if "/v2/models/" not in path or not path.rpartition("/")[2]:
        raise UsageError(f"A server's address must be like http://HOST:8000/v2/models/NAME, but is '{address}'.")
    wrong = next((name for name in said if name not in _KNOWN), None)
    if wrong is not None:
        raise UsageError(f"A server's address may say {', '.join(_KNOWN)}, but says '{wrong}'.")
    url = urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    timeout = _numbers(said, "timeout", (30.0,))[0]
    metadata = _json(url, _asked(url, None, {}, timeout)[0])
    inputs, outputs = (metadata.get(side) for side in ("inputs", "outputs"))
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(outputs, list) or not outputs:
        raise SourceError(f"The model at {url} must take one tensor and give answers, but says {str(metadata)[:200]}.")
    if inputs[0].get("datatype") not in _KINDS or len(inputs[0].get("shape", ())) != 4:
        raise SourceError(
            f"The model at {url} must take pictures (B, c, h, w) of numbers, but takes {inputs[0].get('datatype')}"
            f" {inputs[0].get('shape')}."
        )
    width = outputs[0].get("shape", [-1])[-1]
    return Served(
        url=url, name=str(metadata.get("name") or path.rpartition("/")[2]), input=inputs[0],
        outputs=int(width) if int(width) > 0 else None,
        classes=tuple(part for part in said.get("classes", "").split(",") if part),
        preprocessing=_prepared(inputs[0], said), binary=_offers_binary(url, timeout), timeout=timeout,
        metadata={name: metadata.get(name) for name in ("name", "versions", "platform", "inputs", "outputs")},
    )  # fmt: skip


def infer(model: Served, array: np.ndarray, classes: int) -> np.ndarray:
    """The answers float32 (B, C) about a batch. Raises `SourceError` when there are none, or of another shape."""
    tensor = {"name": model.input["name"], "datatype": model.input["datatype"], "shape": list(array.shape)}
    headers = {"Content-Type": "application/json"}
    if model.binary:
        head = json.dumps(
            {
                "inputs": [{**tensor, "parameters": {"binary_data_size": array.nbytes}}],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
        body = head + array.tobytes()
    else:
        body = json.dumps({"inputs": [{**tensor, "data": array.ravel().tolist()}]}).encode()
    content, given = _asked(f"{model.url}/infer", body, headers, model.timeout)
    length = int(given.get("Inference-Header-Content-Length") or len(content))
    found = _first_output(model.url, _json(model.url, content[:length]), content[length:])
    if found.shape != (len(array), classes):
        raise SourceError(
            f"The model at {model.url} must answer ({len(array)}, {classes}), an answer for every example and class,"
            f" but answered {found.shape}."
        )
    return found.astype(np.float32)


def _first_output(url: str, document: Mapping[str, Any], raw: bytes) -> np.ndarray:
    try:
        output = document["outputs"][0]
        kind, shape = np.dtype(_KINDS[output["datatype"]]), [int(side) for side in output["shape"]]
        if "data" in output:
            return np.asarray(output["data"], dtype=kind).reshape(shape)
        size = int(output["parameters"]["binary_data_size"])
        return np.frombuffer(raw[:size], dtype=kind).reshape(shape)
    except (KeyError, IndexError, TypeError, ValueError) as problem:
        raise SourceError(
            f"The model at {url} must answer with a tensor, but what it sent is none ({problem})."
        ) from None


def _asked(url: str, body: bytes | None, headers: Mapping[str, str], timeout: float) -> tuple[bytes, Mapping[str, str]]:
    """Content and headers; tried again when the server does not answer. Raises `SourceError`."""
    request = urllib.request.Request(url, data=body, headers=dict(headers))
    for wait in (*WAITS, None):
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.read(_MOST), dict(response.headers)
        except urllib.error.HTTPError as problem:
            said = problem.read(500).decode("utf-8", "replace").strip()
            if problem.code < 500 or wait is None:
                raise SourceError(f"The server refused {url}: {problem.code} {problem.reason}. {said}") from None
        except (urllib.error.URLError, OSError, http.client.HTTPException) as problem:
            if wait is None:
                why = getattr(problem, "reason", None) or problem or type(problem).__name__
                raise SourceError(
                    f"The server must answer at {url}, but does not ({why}), {len(WAITS) + 1} times. Answers that came"
                    " are kept: the same command goes on from there."
                ) from None
        time.sleep(wait)
    raise AssertionError("unreachable")


def _json(url: str, content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise SourceError(f"The server must answer {url} in JSON, but sent {content[:80]!r}.")
    return document


def _offers_binary(url: str, timeout: float) -> bool:
    try:
        found = _json(url, _asked(url.partition("/models/")[0], None, {}, timeout)[0])
    except SourceError:
        return False
    return "binary_tensor_data" in found.get("extensions", ())


def _prepared(tensor: Mapping[str, Any], said: Mapping[str, str]) -> Preprocessing:
    _, channels, height, width = (int(side) for side in tensor["shape"])
    side = int(_numbers(said, "size", (224.0,))[0])
    count = channels if channels > 0 else 3
    white = 255.0 if tensor["datatype"] == "UINT8" else 1.0
    size = (height if height > 0 else side, width if width > 0 else side)
    mean, std = (_numbers(said, name, (value,) * count) for name, value in (("mean", 0.0), ("std", 1.0)))
    if len(mean) != count or len(std) != count or count not in (1, 3):
        raise UsageError(f"`mean` and `std` must have a number for each of {count} channels (1 or 3).")
    return Preprocessing(
        size=size,
        mean=mean,
        std=std,
        range=_numbers(said, "range", (white,))[0],
        known="mean" in said or white == 255.0,
    )


def _numbers(said: Mapping[str, str], name: str, otherwise: Sequence[float]) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in said[name].split(",")) if name in said else tuple(otherwise)
    except ValueError:
        found = (math.nan,)
    if not all(math.isfinite(number) for number in found):
        raise UsageError(f"`{name}` of a server's address must be numbers, but is '{said[name]}'.")
    return found
