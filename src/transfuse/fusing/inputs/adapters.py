"""A LoRA adapter on disk, as peft writes it: `adapter_config.json` and `adapter_model.safetensors`.

Hu et al., "LoRA", arXiv 2106.09685: W + s·B·A with s = alpha/r, or alpha/√r ("rsLoRA", arXiv 2312.03732). Read are
linear, embedding and convolution layers, ranks and alphas by pattern, biases and whole modules that were trained
beside (`modules_to_save`), and DoRA's magnitudes (arXiv 2402.09353). Everything else changes what a network computes in
ways that no weight can hold, or needs more than the folder has, and is refused by name.

Letters: O outputs, I inputs, R rank; left_OR·right_RI is the difference of the stored weight, flattened to a matrix.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from transfuse.core.documents import json_object
from transfuse.core.errors import WeightsError
from transfuse.fusing.checkpoints import entries_of
from transfuse.fusing.inputs.computed import whole
from transfuse.fusing.inputs.opening import ADAPTER
from transfuse.weights.headers import Entry

FILES = ("adapter_model.safetensors", "adapter_model.bin")
PREFIX = "base_model.model."
_KEY = re.compile(r"(.+)\.lora_(embedding_)?([AB])(?:\.default)?(?:\.(weight|bias))?$")
_MAGNITUDE = re.compile(r"(.+)\.lora_magnitude_vector(?:\.default)?(?:\.weight)?$")
_INNER = re.compile(r"\.(?:modules_to_save(?:\.default)?|base_layer)\.")
"""What peft's wrappers put into the names of tensors that were trained whole."""
_REFUSED = (
    "target_parameters", "trainable_token_indices", "layer_replication", "alora_invocation_tokens", "use_qalora",
    "use_bdlora", "arrow_config", "kasa_config", "monteclora_config", "velora_config", "megatron_config",
)  # fmt: skip
"""Settings of peft's LoraConfig under which a folder's A and B alone do not say what is added to the weights."""
_MOVED = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations that change the base itself, so that A and B do not belong to the base that was published."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What is added to one weight: scale · left_OR @ right_RI, of the stored weight seen as rows."""

    left_OR: torch.Tensor
    right_RI: torch.Tensor
    scale: float
    kind: str
    """`linear`, `embedding` or `conv`."""
    magnitude_O: torch.Tensor | None = None
    """Of DoRA: the length that every output's weights get."""
    bias_O: torch.Tensor | None = None
    """Added to the layer's bias."""
    kernel: tuple[int, ...] = ()
    """Of a convolution: inputs, height and width of A."""

    @property
    def rank(self) -> int:
        """R."""
        return self.right_RI.shape[0]


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """All that an adapter changes, by the names of the base's modules."""

    path: Path
    file: Path
    config: Mapping[str, Any]
    pairs: Mapping[str, Pair]
    replaced: Mapping[str, Entry] = field(default_factory=dict)
    """Tensors that were trained whole, by name."""

    @property
    def transposed(self) -> bool:
        """Whether the weights of its linear layers are stored as inputs x outputs (GPT-2's Conv1D)."""
        return bool(self.config.get("fan_in_fan_out"))


def read_adapter(path: str | Path) -> Adapter:
    """An adapter with its small matrices in memory. Raises `WeightsError` for what cannot be folded."""
    path = Path(path)
    config = json_object(path / ADAPTER, WeightsError)
    _require_lora(path, config)
    file = next((path / name for name in FILES if (path / name).is_file()), None)
    if file is None:
        raise WeightsError(f"'{path}' must hold {FILES[0]}, but has only its configuration. Fetch it again.")
    parts: dict[str, dict[str, torch.Tensor]] = {}
    replaced: dict[str, Entry] = {}
    for key, entry in entries_of(file).items():
        name = key.removeprefix(PREFIX)
        if "lora_" not in name and "token_adapter" not in name:
            replaced[_INNER.sub(".", name)] = entry
            continue
        module, part = _place(path, name)
        parts.setdefault(module, {})[part] = whole(entry).float()
    pairs = {module: _pair(path, module, found, config) for module, found in parts.items()}
    return Adapter(path=path, file=file, config=config, pairs=pairs, replaced=replaced)


def _require_lora(path: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise WeightsError(f"The adapter '{path}' must be LORA, but is {kind}. Fold it in with peft first.")
    found = next((name for name in _REFUSED if config.get(name)), None)
    if found is not None:
        raise WeightsError(f"The adapter '{path}' uses peft's `{found}`, which is not folded here. Use peft for that.")
    saved = config.get("modules_to_save")
    if saved is not None and not isinstance(saved, list):
        raise WeightsError(f"The adapter '{path}' must have a list as `modules_to_save`, but has {saved!r:.40}.")
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_MOVED):
        raise WeightsError(
            f"The adapter '{path}' must belong to the base as it was published, but was begun with '{start}', which"
            " changed the base. Save it with peft's `path_initial_model_for_weight_conversion`."
        )


def _place(path: Path, name: str) -> tuple[str, str]:
    """Module and part: A, B, EA, EB (of an embedding), bias, magnitude."""
    found = _MAGNITUDE.match(name)
    if found is not None:
        return found[1], "magnitude"
    found = _KEY.match(name)
    if found is None or (found[4] == "bias" and found[3] == "A"):
        raise WeightsError(f"The adapter '{path}' has '{name}', which is not a part of LoRA that is known here.")
    return found[1], "bias" if found[4] == "bias" else ("E" if found[2] else "") + found[3]


def _pair(path: Path, module: str, parts: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> Pair:
    embedding = "EA" in parts
    a, b = parts.get("EA" if embedding else "A"), parts.get("EB" if embedding else "B")
    if a is None or b is None:
        raise WeightsError(f"The adapter '{path}' must hold A and B for '{module}', but lacks one. Fetch it again.")
    if min(a.dim(), b.dim()) < 2 or not len(a):
        raise WeightsError(f"The adapter '{path}' must hold matrices for '{module}', but A or B is none.")
    kind = "embedding" if embedding else "conv" if a.dim() > 2 else "linear"
    rank = a.shape[0]
    left, right = b.reshape(b.shape[0], -1), a.reshape(rank, -1)
    if left.shape[1] != rank:
        raise WeightsError(f"The adapter '{path}' has matrices for '{module}' that do not fit: a grouped convolution?")
    if embedding or (kind == "linear" and config.get("fan_in_fan_out")):
        left, right = right.T.contiguous(), left.T.contiguous()
    magnitude, bias = parts.get("magnitude"), parts.get("bias")
    if magnitude is None and config.get("use_dora"):
        raise WeightsError(f"The adapter '{path}' says DoRA, but has no magnitudes for '{module}'. Fetch it again.")
    if magnitude is not None and embedding:
        raise WeightsError(
            f"The adapter '{path}' uses DoRA on the embedding '{module}', which is not folded. Use peft."
        )
    scale = _scale(module, rank, config)
    return Pair(
        left_OR=left, right_RI=right, scale=scale, kind=kind,
        magnitude_O=None if magnitude is None else magnitude.reshape(-1),
        bias_O=None if bias is None else scale * bias, kernel=tuple(a.shape[1:]) if kind == "conv" else (),
    )  # fmt: skip


def _scale(module: str, rank: int, config: Mapping[str, Any]) -> float:
    """alpha/r, with the module's own alpha when a pattern says one (peft: the name's end must match)."""
    patterns = config.get("alpha_pattern") or {}
    try:
        own = next((alpha for key, alpha in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), None)
        alpha = float(own if own is not None else config.get("lora_alpha", 8))
    except (AttributeError, TypeError, ValueError, re.error) as error:
        raise WeightsError(f"An adapter's `lora_alpha` and `alpha_pattern` must be numbers: {error}.") from None
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)
