"""References to models that already know something, and what is known about each without opening it.

timm:NAME[.tag]                   weights from the hub, or from its cache
random:timm:NAME                  the same network with random weights
file:WEIGHTS@timm:NAME            a file of yours for a network of timm
file:WEIGHTS@nets.py:function     a file of yours for a network of yours (runs that code)
builtin[:NAME]                    inside this package
builtin:words                     words of the texts of whatever task it is used on
table:columns, table:network      plain columns or a fresh network, for whatever table it is used on
FOLDER                            a saved Model, or a network of transformers (config.json)
hf:NAME, random:hf:NAME           a network that reads texts, from the hub, its cache, or a folder
"""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transfuse.core import digests, sums, tables
from transfuse.core.errors import ModelError, SourceError, UsageError
from transfuse.core.nouns import AnyPreprocessing, Preprocessing, Source
from transfuse.sources import builtin, functions, inputs
from transfuse.sources.images import preprocessing, timm_networks
from transfuse.sources.images.preprocessing import Size
from transfuse.sources.tables.references import BUILTIN, unfitted
from transfuse.sources.texts import words
from transfuse.weights import gate

_FORMS = (
    "timm:NAME[.tag], random:timm:NAME, file:WEIGHTS@timm:NAME, file:WEIGHTS@nets.py:function, builtin[:NAME],"
    " builtin:words, hf:NAME, random:hf:NAME, or the folder of a saved Model or of a network of transformers"
)
_KINDS = ("timm", "random", "file", "builtin", "hf", "table")
_WEIGHTS_SUFFIXES = {".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt"}


def find(
    reference: str | Path | Source,
    *,
    trust_code: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: Size | None = None,
    range: float | None = None,
    crop: str | None = None,
    max_length: int | None = None,
    prompt: str | None = None,
    pooling: str | None = None,
    cut: str | None = None,
) -> Source:
    """What a reference means: builder, weights' file, preprocessing, licence, digest. Holds no tensors.

    trust_code: allows `nets.py:function` to run. mean, std, range: in place of what the source says about the values
    of its pictures; size: pixels, one number or (height, width); crop: `ink` for the box of what differs from
    the background. max_length (tokens), prompt, pooling (`mean`, `cls`,
    `last`, `max`) and cut (`end`, `start`): the same for texts. Weights of `timm:` and `hf:` are downloaded when they
    are not cached. Raises `UsageError`, `UnknownName`, `NotCached`, `SourceError`, `ModelError`, `WeightsError`.
    """
    if isinstance(reference, Source):
        return reference
    options = {"mean": mean, "std": std, "size": size, "range": range, "crop": crop}
    text = str(reference)
    kind, _, rest = text.partition(":")
    said = {"max_length": max_length, "prompt": prompt, "pooling": pooling, "cut": cut}
    if (name := _text_name(text)) is not None:
        return _text(text, name, trust_code, said, options)
    if text == f"builtin:{words.NAME}":
        _refuse({name: said[name] for name in ("prompt", "pooling")}, "texts by networks", text)
        _refuse(options, "pictures", text)
        return words.unfitted(max_length=max_length, cut=cut)
    _refuse(said, "texts", text)
    if text == "builtin":
        kind, rest = "builtin", ""
    elif kind not in _KINDS or not rest:
        return _folder(Path(text), trust_code, options)
    if kind == "timm":
        return _timm(text, rest, options, random=False)
    if kind == "random":
        return _timm(text, _after_timm(rest), options, random=True)
    if kind == "builtin":
        return _builtin(rest, options)
    if kind == "table":
        return unfitted(tables.chosen("source for tables", rest, BUILTIN))
    return _file(text, rest, trust_code, options)


def _text_name(text: str) -> str | None:
    """The folder or the hub's name of a network that reads texts; None for other references."""
    rest = text.removeprefix("random:")
    if rest.startswith("hf:") and len(rest) > 3:
        return rest[3:]
    plain = ":" not in text or not text.startswith(tuple(f"{kind}:" for kind in _KINDS))
    folder = Path(text).expanduser()
    return text if plain and folder.is_dir() and (folder / "config.json").is_file() and not _is_model(folder) else None


def _text(reference: str, name: str, trust_code: bool, said: Mapping[str, Any], options: Mapping[str, Any]) -> Source:
    from transfuse.sources.texts.references import TextOptions, find_text

    _refuse(options, "pictures", reference)
    random = reference.startswith("random:")
    return find_text(reference, name, random=random, trust_code=trust_code, options=TextOptions(**said))


def _refuse(options: Mapping[str, Any], noun: str, reference: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UsageError(f"`{given[0]}` is for sources of {noun}, which '{reference}' is not. Leave it out.")


def _is_model(folder: Path) -> bool:
    return (folder / "model.json").is_file()


def told_apart(found: Iterable[Source]) -> list[Source]:
    """The sources, where two have one name the later ones with their reference or a number beside it."""
    named: dict[str, Source] = {}
    for source in found:
        names = itertools.chain(
            (source.name, f"{source.name} ({source.reference})"),
            (f"{source.name} ({number})" for number in itertools.count(2)),
        )
        name = next(name for name in names if name not in named)
        named[name] = replace(source, name=name)
    return list(named.values())


def _timm(reference: str, name: str, options: Mapping[str, Any], *, random: bool) -> Source:
    cfg = timm_networks.configuration(name)
    pictures = preprocessing.given(timm_networks.preprocessing_of(cfg), **options)
    builder = {"timm": name.partition(".")[0], "arguments": timm_networks.arguments_for(cfg, pictures)}
    weights = None if random else timm_networks.downloaded(name)
    licence = "none (random weights)" if random else cfg.license or "unknown"
    return _source(reference, name, "timm", builder, weights, pictures, licence)


def _builtin(name: str, options: Mapping[str, Any]) -> Source:
    card, weights = builtin.card_of(name)
    pictures = preprocessing.given(preprocessing.from_plain(card["preprocessing"]), **options)
    cfg = timm_networks.configuration(card["architecture"])
    arguments = timm_networks.arguments_for(cfg, pictures)
    builder = {"timm": card["architecture"], "arguments": {**card.get("arguments", {}), **arguments}}
    return _source(f"builtin:{card['name']}", card["name"], "builtin", builder, weights, pictures, card["licence"])


def _file(reference: str, rest: str, trust_code: bool, options: Mapping[str, Any]) -> Source:
    file, at, network = rest.rpartition("@")
    if not at:
        raise UsageError(
            f"'{reference}' must say which network the weights are for: file:{rest}@timm:NAME.{_guess(rest)}"
        )
    weights = Path(file).expanduser().resolve()
    gate.recognise(weights)
    if network.startswith("timm:"):
        name = _after_timm(network)
        cfg = timm_networks.configuration(name)
        pictures = preprocessing.given(timm_networks.preprocessing_of(cfg), **options)
        builder: dict[str, Any] = {
            "timm": name.partition(".")[0],
            "arguments": timm_networks.arguments_for(cfg, pictures),
        }
    else:
        pictures = preprocessing.given(preprocessing.ASSUMED, **options)
        builder = {
            **functions.builder_of(network, trust_code),
            "input": [pictures.channels, *pictures.size],
        }
    return _source(reference, weights.stem, "file", builder, weights, pictures, _licence_beside(weights))


def _folder(folder: Path, trust_code: bool, options: Mapping[str, Any]) -> Source:
    if not (folder / "model.json").is_file():
        raise _no_such(str(folder))
    sums.require(folder, ["model.json"], ModelError)
    try:
        document = json.loads((folder / "model.json").read_text())
        builder, prepared = document["builder"], inputs.from_plain(document["preprocessing"], folder)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UsageError):
            raise
        raise ModelError(f"'{folder}/model.json' is not a saved Model's description ({error}).") from error
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"'{folder}' must hold model.safetensors, but does not. Save the model again.")
    for place in functions.places_in(builder):
        functions.builder_of(place, trust_code)
    name = str(document.get("name") or folder.resolve().name)
    if isinstance(prepared, Preprocessing):
        prepared = preprocessing.given(prepared, **options)
    else:
        _refuse(options, "pictures", str(folder))
    return _source(str(folder), name, "model", builder, weights, prepared, str(document.get("licence", "unknown")))


def _source(
    reference: str,
    name: str,
    origin: str,
    builder: Mapping[str, Any],
    weights: Path | None,
    prepared: AnyPreprocessing,
    licence: str,
) -> Source:
    contents = digests.of_file(weights) if weights else "random"
    # A function's digest stands for its code, wherever the file lies.
    built = {key: value for key, value in builder.items() if key != "function"}
    built["function"] = str(builder.get("function", "")).rpartition(":")[2]
    return Source(
        reference=reference,
        name=name,
        origin=origin,
        builder=builder,
        weights=str(weights) if weights else None,
        preprocessing=prepared,
        modality=inputs.modality_of(prepared),
        licence=licence,
        digest=digests.of_many([digests.of_value(built), contents]),
    )


def _after_timm(text: str) -> str:
    kind, _, name = text.partition(":")
    if kind != "timm" or not name:
        raise UsageError(f"A source must be {_FORMS}, but '{text}' is none of them.")
    return name


def _licence_beside(weights: Path) -> str:
    """First line of a licence file in the weights' folder, or `unknown`."""
    for path in sorted(weights.parent.glob("LICEN[CS]E*")):
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            return f"{lines[0][:80]} ({path.name})"
    return "unknown"


def _no_such(text: str) -> Exception:
    path = Path(text)
    if path.suffix.lower() in _WEIGHTS_SUFFIXES:
        return UsageError(
            f"'{text}' is a weights file alone; say which network it is for: file:{text}@timm:NAME or"
            f" file:{text}@nets.py:function.{_guess(text)}"
        )
    if (path / "tasks.json").is_file():
        names = ", ".join(sorted(found.parent.name for found in path.glob("*/model.json")))
        return ModelError(f"'{text}' holds a Model for each of several tasks. Name one: {names}.")
    if path.is_dir():
        return ModelError(f"'{text}' must be the folder of a saved Model, but has no model.json. A source is {_FORMS}.")
    if timm_networks.is_known(text):
        return UsageError(f"A source must be {_FORMS}. Did you mean 'timm:{text}'?")
    kind = text.partition(":")[0]
    if ":" in text and kind not in _KINDS:
        return tables.unknown("kind of source", kind, _KINDS)
    return SourceError(f"There is no source '{text}'. A source is {_FORMS}.")


def _guess(file: str) -> str:
    near = timm_networks.nearest(Path(file).stem)
    return f" Perhaps '@timm:{near[0]}'?" if near else ""
