"""Networks of transformers that read texts: building, loading, pooling, layers.

Encoders, sentence encoders, decoders, and the encoder of an encoder-decoder. Built from their configuration alone, by
transformers' own code; weights pass the gate and are loaded by name. The code of a checkpoint runs only when trusted.
Letters: B texts, T tokens, D features, L layers.
"""

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core import tables
from transfuse.core.errors import SourceError, UsageError, WeightsError
from transfuse.core.nouns import Source
from transfuse.sources.changes.blocks import Chain, Skipped
from transfuse.weights import gate, matching
from transfuse.weights.libraries import require_safe
from transfuse.weights.matching import Match

POOLINGS = ("mean", "cls", "last", "max")
FINAL = "final"
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


class TextBody(nn.Module):
    """Token ids (B, T), padded with -1, to pooled features (B, D) of the last hidden states."""

    def __init__(self, net: nn.Module, pooling: str, unit: bool = False) -> None:
        super().__init__()
        self.net = net
        self.pooling = tables.chosen("pooling", pooling, POOLINGS)
        self.unit = unit

    def forward(self, ids_BT: Tensor) -> Tensor:
        return self.read(ids_BT, (FINAL,))[0]

    def read(self, ids_BT: Tensor, names: tuple[str, ...]) -> tuple[Tensor, ...]:
        """Pooled features at each of the depths, in one pass; those of `final` have length 1 where the source says."""
        mask_BT = ids_BT >= 0
        deep = any(name != FINAL for name in names)
        # without padding there is nothing to mask, and attention takes its fastest path; a traced graph cannot ask
        whole = not torch.compiler.is_exporting() and bool(mask_BT.all())
        mask = None if whole else mask_BT.long()
        output = self.net(input_ids=ids_BT.clamp(min=0), attention_mask=mask, output_hidden_states=deep)
        known = dict(zip(self.layer_names(), output.hidden_states or (), strict=False)) if deep else {}
        found = (output.last_hidden_state if name == FINAL else known[name] for name in names)
        pooled = (pool(states_BTD, mask_BT, self.pooling) for states_BTD in found)
        unit = (self.unit and name == FINAL for name in names)
        return tuple(nn.functional.normalize(p) if one else p for p, one in zip(pooled, unit, strict=True))

    def layer_names(self) -> tuple[str, ...]:
        """`embeddings`, `layer1`, ... without the last layer, which is `final`; none once layers were put in or out.

        transformers counts layers by their class, so that its hidden states are then others than the configuration's.
        """
        if any(isinstance(module, Chain | Skipped) for module in self.net.modules()):
            return ()
        config: Any = self.net.config
        return ("embeddings", *(f"layer{number}" for number in range(1, _count(config))))

    def at(self, names: tuple[str, ...]) -> nn.Module:
        """A module that gives the features at these depths."""
        return _At(self, names)

    def layer_of_parameter(self) -> dict[str, int]:
        """0 for embeddings, then each layer, then what comes after them."""
        found: dict[str, int] = {}
        last = 0
        for name, _ in self.named_parameters():
            match = _LAYER.search(name)
            last = int(match.group(1)) + 1 if match else (last + 1 if last and "embed" not in name else 0)
            found[name] = last
        return found


class _At(nn.Module):
    def __init__(self, body: TextBody, names: tuple[str, ...]) -> None:
        super().__init__()
        self.body, self.names = body, names

    def forward(self, ids_BT: Tensor) -> tuple[Tensor, ...]:
        return self.body.read(ids_BT, self.names)


def pool(states_BTD: Tensor, mask_BT: Tensor, pooling: str) -> Tensor:
    """One vector a text, (B, D): the first token's state, the last one's, or the mean or maximum over its tokens."""
    if pooling == "cls":
        return states_BTD[:, 0]
    if pooling == "last":
        last_B = (mask_BT.sum(1) - 1).clamp(min=0)
        return states_BTD[torch.arange(len(last_B), device=last_B.device), last_B]
    if pooling == "max":
        return states_BTD.masked_fill(~mask_BT[..., None], -torch.inf).amax(1)
    weight_BT1 = mask_BT[..., None].to(states_BTD.dtype)
    return (states_BTD * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1)


def built(builder: Mapping[str, Any], *, trust_code: bool = False) -> TextBody:
    """The body with random weights. Raises `SourceError`; `UsageError` when it needs code that is not trusted."""
    network = _built(builder, trust_code)
    encoder = network.get_encoder() if getattr(network.config, "is_encoder_decoder", False) else network
    return TextBody(encoder, builder["pooling"], builder.get("unit", False))


def parts(source: Source, tensors: Mapping[str, Tensor] | None) -> tuple[nn.Module, None, Match | None]:
    """Body and how its weights fitted; no head: what such checkpoints carry was made for other tasks."""
    if tensors is None:
        return built(source.builder, trust_code=True), None, None  # `find` has asked
    network = _built(source.builder, trust_code=True)
    prefix = f"{network.base_model_prefix}."
    named = {_modern(name.removeprefix(prefix)): tensor for name, tensor in tensors.items()}
    try:
        match = matching.load_into(network, named, new=(".*",))
    except WeightsError as error:
        raise WeightsError(f"'{source.reference}': {error}") from error
    encoder = network.get_encoder() if getattr(network.config, "is_encoder_decoder", False) else network
    return TextBody(encoder, source.builder["pooling"], source.builder.get("unit", False)), None, match


def language_model(source: Source) -> nn.Module:
    """The network with the head that foretells the next token. Raises `SourceError` when its weights have none."""
    if source.origin != "hf" or not source.weights:
        raise SourceError(f"'{source.reference}' must be a language model with its weights: a folder, or hf:NAME.")
    network = _built(source.builder, True, "AutoModelForCausalLM")
    tensors = opened_tensors(Path(source.weights))
    tied = getattr(network.config, "tie_word_embeddings", False)
    new = (".*(lm_head|embed_out|output).*",) if tied else ()
    try:
        matching.load_into(network, tensors, new=new)
    except WeightsError as error:
        raise SourceError(f"'{source.reference}' must hold a language model, but does not: {error}") from error
    network.tie_weights()
    return network.eval()


def opened_tensors(weights: Path) -> dict[str, Tensor]:
    """Tensors of a file, or of all files that an index names, through the gate."""
    if not weights.name.endswith(".index.json"):
        return gate.open_tensors(weights)
    return {name: tensor for part in shards(weights) for name, tensor in gate.open_tensors(part).items()}


def shards(weights: Path) -> list[Path]:
    """The files that an index of weights names; the file itself when it is one. Raises `SourceError`."""
    if not weights.name.endswith(".index.json"):
        return [weights]
    try:
        names = sorted(set(json.loads(weights.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise SourceError(f"'{weights}' must be an index of weights, but cannot be read: {error}.") from error
    found = [weights.parent / Path(str(name)).name for name in names]
    missing = [path.name for path in found if not path.is_file()]
    if missing or not found:
        raise SourceError(f"'{weights}' names {', '.join(missing) or 'no files'}, which must lie beside it.")
    return found


_NOT_OF_A_NETWORK = {"model_type", "auto_map", "_name_or_path", "dtype", "torch_dtype"}


def config_of(document: Mapping[str, Any]) -> Any:
    """The configuration that `config.json` describes; raises `SourceError` for a kind that transformers lacks."""
    require_safe("transformers")
    from transformers import CONFIG_MAPPING, AutoConfig

    kind = str(document.get("model_type", ""))
    if kind not in CONFIG_MAPPING:
        raise SourceError(f"transformers has no network of the type '{kind}'. Update transformers, or take another.")
    values = {k: v for k, v in document.items() if k not in _NOT_OF_A_NETWORK and "attn_implementation" not in k}
    try:
        return AutoConfig.for_model(kind, **values)
    except Exception as error:  # a configuration's checks raise anything
        raise SourceError(f"The configuration of type '{kind}' cannot be read: {str(error)[:200]}.") from error


def needs_code(document: Mapping[str, Any]) -> bool:
    """Whether a configuration is of a kind that comes with code of its own."""
    from transformers import CONFIG_MAPPING

    return "auto_map" in document and str(document.get("model_type", "")) not in CONFIG_MAPPING


def _built(builder: Mapping[str, Any], trust_code: bool, kind: str = "AutoModel") -> Any:
    """The whole network of transformers, float32, random weights, without the pooler that nothing here uses."""
    import transformers

    code = builder.get("code")
    if code and not trust_code:
        raise UsageError(
            f"'{code}' comes with code of its own, which must be trusted: read it, then pass `trust_code=True` (on the"
            " command line `--trust-code`)."
        )
    auto = getattr(transformers, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers warns of what its own defaults will become
        if code:
            config: Any = transformers.AutoConfig.from_pretrained(code, trust_remote_code=True)
            network = auto.from_config(config, trust_remote_code=True)
        else:
            network = _of_config(auto, config_of(builder["transformers"]))
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
    return network.float()


def _of_config(auto: Any, config: Any) -> Any:
    try:
        return auto.from_config(config, attn_implementation="sdpa", trust_remote_code=False)
    except (ValueError, ImportError):
        pass  # a network that torch's attention does not fit
    try:
        return auto.from_config(config, trust_remote_code=False)
    except Exception as error:  # a configuration of no use raises anything
        raise SourceError(f"transformers cannot build '{config.model_type}': {str(error)[:300]}.") from error


def _modern(name: str) -> str:
    """Names as they are today; checkpoints of 2018 have others."""
    for old, new in _OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def _count(config: Any) -> int:
    """Layers of a network, whatever its configuration calls them."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    found = next((getattr(text, n, None) for n in ("num_hidden_layers", "num_layers", "n_layer", "n_layers")), 1)
    return int(found or 1)
