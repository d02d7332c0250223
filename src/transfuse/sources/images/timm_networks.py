"""Networks of timm: names, what is known about their weights, building, hub files.

Weights are never loaded by timm itself: its file is found on the hub and passes the gate like any other.
"""

import difflib
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from huggingface_hub import hf_hub_download, scan_cache_dir
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError
from timm.data import resolve_data_config
from torch import nn

from transfuse.core import tables
from transfuse.core.errors import NotCached, SourceError, UnknownName
from transfuse.core.nouns import Preprocessing
from transfuse.sources import hub

Interpolation = Literal["bilinear", "bicubic", "nearest"]

_FILES = ("model.safetensors", "pytorch_model.bin")


def configuration(name: str) -> Any:
    """timm's record of a network's weights (`NAME` or `NAME.tag`); raises `UnknownName` with the nearest."""
    architecture, _, tag = name.partition(".")
    if not timm.models.is_model(architecture):
        raise _unknown(architecture)
    if tag and tag not in _tags(architecture):
        raise tables.unknown(f"set of weights of {architecture}", tag, _tags(architecture))
    return timm.models.get_pretrained_cfg(name) or timm.models.PretrainedCfg()


def preprocessing_of(cfg: Any) -> Preprocessing:
    """What timm knows about the pictures a network was trained on.

    Pictures are squashed to the whole input instead of timm's centre crop: a user's object may touch the border.
    """
    data = resolve_data_config({}, pretrained_cfg=cfg.to_dict() if hasattr(cfg, "to_dict") else dict(cfg))
    _, height, width = data["input_size"]
    known: dict[str, Interpolation] = {"bilinear": "bilinear", "nearest": "nearest"}
    return Preprocessing(
        size=(height, width),
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        range=1.0,
        interpolation=known.get(data["interpolation"], "bicubic"),
    )


def arguments_for(cfg: Any, preprocessing: Preprocessing) -> dict[str, Any]:
    """Arguments by which the network takes pictures of this size and number of channels."""
    arguments: dict[str, Any] = {}
    if cfg.fixed_input_size and tuple(cfg.input_size[1:]) != preprocessing.size:
        arguments["img_size"] = list(preprocessing.size)
    if preprocessing.channels != cfg.input_size[0]:
        arguments["in_chans"] = preprocessing.channels
    return arguments


def build(builder: Mapping[str, Any], classes: int = 0) -> nn.Module:
    """The network with random weights; with `classes` its own classifier is on. Raises `SourceError`."""
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in builder.get("arguments", {}).items()}
    try:
        return timm.create_model(builder["timm"], pretrained=False, num_classes=classes, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise SourceError(
            f"timm cannot build '{builder['timm']}' with {arguments}: {error}. Try the size it was made for."
        ) from error


def classifier_name(network: nn.Module) -> str | None:
    """Name of the module that gives class scores, or None."""
    classifier: Any = getattr(network, "get_classifier", None)
    last = classifier() if classifier else None
    return next((name for name, module in network.named_modules() if module is last), None)


def adapted(
    builder: Mapping[str, Any], network: nn.Module, tensors: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Tensors under today's names and for this input size, as timm's own loader would give them.

    Its filters rename old checkpoints and resample position embeddings and relative-position tables.
    """
    module = sys.modules[timm.models.model_entrypoint(builder["timm"].partition(".")[0]).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch's hints on the speed of timm's resampling
            converted = convert(dict(tensors), network)
    except (KeyError, RuntimeError, IndexError, TypeError, ValueError, AttributeError):
        return tensors  # not this family's checkpoint; the match will show how it differs
    return {name: tensor for name, tensor in converted.items() if isinstance(tensor, torch.Tensor)}


def downloaded(name: str) -> Path:
    """Path of the weights' file: from the hub's cache, or downloaded with a progress bar. Raises `NotCached`."""
    cfg = configuration(name)
    if not cfg.hf_hub_id:
        raise SourceError(
            f"timm has no weights for '{name}'. Use 'random:timm:{name}' for random ones, or give a file."
        )
    names = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else _FILES
    for local in (True, False):  # what is cached opens without asking the network
        for file in names:
            path = _fetched(name, cfg.hf_hub_id, file, local)
            if path:
                return path
    raise SourceError(f"The hub has no weights that can be opened for '{name}' ({cfg.hf_hub_id}).")


def _fetched(name: str, repository: str, file: str, local: bool) -> Path | None:
    if not local and not hub.reachable():
        raise NotCached(_not_cached(name, "the hub cannot be reached"))
    try:
        return Path(hf_hub_download(repository, file, local_files_only=local))
    except LocalEntryNotFoundError as error:
        if local:
            return None
        raise NotCached(_not_cached(name, str(error))) from error
    except RepositoryNotFoundError as error:
        raise SourceError(f"The hub has no repository '{repository}' for '{name}'.") from error
    except EntryNotFoundError:
        return None  # the repository has the other file
    except Exception as error:  # httpx, urllib3, OSError: a dozen types mean that there is no network
        raise NotCached(_not_cached(name, str(error))) from error


def cached() -> list[str]:
    """Names of timm weights that open without a network."""
    try:
        repositories = scan_cache_dir().repos
    except Exception:  # no cache folder yet
        return []
    files = {r.repo_id: {f.file_name for v in r.revisions for f in v.files} for r in repositories}
    return sorted(f"timm:{name.removeprefix('timm/')}" for name, held in files.items() if held & set(_FILES))


def _not_cached(name: str, reason: str) -> str:
    held = ", ".join(cached()) or "nothing"
    return (
        f"'timm:{name}' must be downloaded, but that failed: {hub.offline_words(reason)}. Cached: {held}. Without a"
        f" network work 'builtin', a weights file as 'file:WEIGHTS@timm:NAME', a"
        f" saved Model's folder, and 'random:timm:{name}'."
    )


def _tags(architecture: str) -> list[str]:
    return [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*") if "." in name]


def _unknown(name: str) -> Exception:
    near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.6)
    hint = f" Near: {', '.join(near)}." if near else ""
    return UnknownName(f"timm has no network '{name}'.{hint} `timm.list_models('*part*')` lists all of them.")


def is_known(name: str) -> bool:
    """Whether timm has a network of this name (a tag after a dot does not count)."""
    return timm.models.is_model(name.partition(".")[0])


def nearest(text: str, most: int = 3) -> list[str]:
    """Names of timm nearest to a text such as a file's name."""
    return difflib.get_close_matches(text.lower().replace("-", "_"), timm.list_models(), n=most, cutoff=0.6)
