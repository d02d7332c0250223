"""The nouns: frozen, keyword-only data. Everything else in transfuse is a verb.

Methods here are one-line doors that call a verb through `core.verbs`; no logic lives in a noun.
Letters: N examples, C classes or target columns, D features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transfuse.core import verbs

if TYPE_CHECKING:
    import numpy as np
    import torch

    from transfuse.probing.learnt import Learnt

Kind = Literal["single-label", "multi-label", "regression"]
Severity = Literal["warning", "note"]
Modality = Literal["image", "text", "table", "sound"]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a source wants its pictures: part of the source, stored with every Model."""

    size: tuple[int, int]
    """Height and width in pixels."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Per channel, in units of `range`; subtracted."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    """Per channel, in units of `range`; divided by."""
    range: float = 1.0
    """Value of a white pixel before mean and std: 1 or 255."""
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bicubic"
    fit: Literal["squash", "crop"] = "squash"
    """`squash` resizes both sides to `size`; `crop` keeps the shape and cuts the centre."""
    crop_share: float = 1.0
    """0..1: for `crop`, the share of the shorter side that is kept."""
    crop: Literal["none", "ink"] = "none"
    """`ink` first cuts to the box of what differs from the background, which keeps its shape."""
    encoding: str = ""
    """Such as `jpeg:75+bits:5`: how pictures are made coarser before the network sees them; empty for not at all."""
    known: bool = True
    """False when a default was assumed because the source does not say."""

    @property
    def channels(self) -> int:
        """Number of colour channels that the network takes: 1 (grey) or 3 (RGB)."""
        return len(self.mean)


@dataclass(frozen=True, kw_only=True)
class TextPreprocessing:
    """How a source wants its texts: part of the source, stored with every Model."""

    tokenizer: str
    """Path of the tokenizer's `tokenizer.json`; in a saved Model's document its name inside the folder."""
    digest: str
    """SHA-256 of that file: what the tokenizer is, wherever it lies."""
    max_length: int
    """Most tokens of a text that the network sees, special ones included."""
    cut: Literal["end", "start"] = "end"
    """Which side of a longer text is left out."""
    prompt: str = ""
    """Stands before every text."""
    known: bool = True
    """False when `max_length` was assumed because the source does not say."""


@dataclass(frozen=True, kw_only=True)
class SoundPreprocessing:
    """How sounds become the pictures that a source sees: part of the source, stored with every Model."""

    picture: Preprocessing
    """How the source wants its pictures; the louder a place of the sound, the whiter it is."""
    rate: int
    """Samples a second to which sounds are brought."""
    seconds: float
    """Of longer sounds the middle is kept."""
    fit: Literal["pad", "stretch"] = "pad"
    """What becomes of shorter ones: silence on both sides, or the whole picture is theirs."""
    window: float = 0.04
    """Seconds of the sound that one column of the picture is about."""
    hop: float = 0.01
    """Seconds from one column to the next, before the picture is resized."""
    bands: int = 32
    """Rows of the picture before it is resized: pitches, equally spaced in mel (HTK's scale)."""
    low: float = 20.0
    """Hz at which they begin; they end at half the rate."""
    decibels: float = 60.0
    """Below the loudest place of the sound, from which on it is black."""
    known: bool = True


Role = Literal["numeric", "categorical", "boolean", "date", "text", "picture", "sound"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """How one column of a table becomes numbers, and how its cells were distributed where it was learnt."""

    name: str
    role: Role
    mean: float = 0.0
    """Subtracted from numbers; of dates in days since 1970."""
    std: float = 1.0
    """Divided by."""
    values: tuple[str, ...] = ()
    """Categories, most frequent first; the code of each is its place. Others get the code -1, missing cells NaN."""
    spellings: tuple[tuple[str, int], ...] = ()
    """Other spellings of categories, with their codes."""
    blanks: tuple[str, ...] = ()
    """Texts that stand for a missing cell in this column."""
    form: str = ""
    """Of dates: the format, when it is not ISO 8601; of numbers: `,` when that is the decimal mark."""
    quantiles: tuple[float, ...] = ()
    """33 quantiles, 0 to 1 in equal steps, of the numbers before mean and deviation are taken off."""
    shares: tuple[float, ...] = ()
    """0..1: of each of `values` among the cells that are not missing."""
    missing: float = 0.0
    """0..1: share of cells that were missing."""
    absent: bool = False
    """The data at hand do not have this column: all of its cells are missing."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A column of texts, or of paths of pictures or sounds, whose cells are prepared as a source wants them."""

    column: str
    preprocessing: Preprocessing | TextPreprocessing | SoundPreprocessing


@dataclass(frozen=True, kw_only=True)
class TablePreprocessing:
    """How rows of a table become numbers, column by column."""

    columns: tuple[Column, ...]
    known: bool = True
    parts: tuple[Part, ...] = ()
    """Their numbers stand behind those of the columns."""


@dataclass(frozen=True, kw_only=True)
class JointPreprocessing:
    """One example prepared in several ways side by side: that of each member of an ensemble."""

    views: tuple["AnyPreprocessing", ...]
    """All of one modality, no two alike."""
    known: bool = True


AnyPreprocessing = Preprocessing | TextPreprocessing | TablePreprocessing | SoundPreprocessing | JointPreprocessing


@dataclass(frozen=True, kw_only=True)
class Source:
    """A reference to a model that already knows something. It holds no tensors."""

    reference: str
    """As the user wrote it: `timm:resnet18`, `file:w.pth@timm:resnet18`, `builtin:NAME`, a Model's folder."""
    name: str
    modality: Modality = "image"
    origin: str
    """`timm`, `hf`, `file`, `builtin` or `model`: which file of `sources/` opens it."""
    builder: Mapping[str, Any]
    """How the network is built, as plain values: `{"timm": "resnet18", "arguments": {}}` or
    `{"function": "nets.py:resnet20", "digest": ...}`."""
    weights: str | None = None
    """Path of the file with the tensors; None for random weights."""
    preprocessing: AnyPreprocessing
    licence: str = "unknown"
    digest: str
    """SHA-256 over builder and weights."""
    parameters: int | None = None
    """Number of weights without the head; None until known."""


@dataclass(frozen=True, kw_only=True)
class DataWarning:
    """Something about the user's data that they should know, with the places."""

    code: str
    """Stable short name, such as `unreadable`, `duplicate-across-splits`."""
    message: str
    places: tuple[str, ...] = ()
    """Paths or rows concerned; all of them, in order."""
    severity: Severity = "warning"


@dataclass(frozen=True, kw_only=True)
class Examples:
    """One split: lazily decoded examples and their targets."""

    items: Sequence[Any]
    """N things that decode on demand: paths, or rows of an array."""
    targets: "np.ndarray"
    """int64 (N,) class indices; float32 (N, C) of 0/1 for multi-label; float32 (N, C) for regression."""
    digests: tuple[str, ...]
    """N digests of the examples' contents."""
    names: tuple[str, ...]
    """N names for people: the path, or `row 17`."""
    weights: "np.ndarray | None" = None
    """float32 (N,) example weights, or None for equal ones."""
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be learnt: kind, classes and fixed, seeded splits of lazily decoded examples."""

    name: str
    modality: Modality = "image"
    kind: Kind
    classes: tuple[str, ...]
    """Class names, or the names of the target columns for regression."""
    splits: Mapping[str, Examples]
    """`train`, `valid` and `test`; `test` may be absent when the user gave none and asked for none."""
    seed: int
    digest: str
    """SHA-256 over kind, classes, splits, targets and the examples' digests."""
    warnings: tuple[DataWarning, ...] = ()
    description: Mapping[str, Any] = field(default_factory=dict)
    """How it was opened: path, layout, target column, group column."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """What one frozen source sees in one split, memory-mapped."""

    x_ND: "np.ndarray"
    y_N: "np.ndarray"
    source: str
    """Digest of the source, its preprocessing, precision and depth."""
    task: str
    """Digest of the task."""
    depth: str = "final"
    precision: str = "float32"
    deviation: float | None = None
    """Relative difference to float32 features, measured on a sample; None when precision is float32."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The record of one verb. Steps form a tree: a fusion has many parents."""

    verb: str
    method: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Every option with its value, defaults included."""
    inputs: tuple["Step", ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    """Digests of what went in: sources, tasks."""
    seconds: float = 0.0
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What a model knows of the inputs that it learnt from, by which `predict` tells that others are unlike them."""

    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Least and most of what the training inputs measured: `width`, `height`, `characters`, `seconds`, ..."""
    score: str = ""
    """By which inputs from outside are told (`probing.outside.SCORES`); empty for none."""
    statistics: "Mapping[str, np.ndarray]" = field(default_factory=dict)
    """What the score needs beside the network."""
    threshold: float = 0.0
    """Of the score: what lies above is from outside."""
    share: float = 0.01
    """0..1: of ordinary inputs, how many were to be taken for strangers."""
    ordinary: Mapping[str, float] = field(default_factory=dict)
    """Share of new ordinary inputs above the threshold: `value`, `low`, `high` (95 %), `n` of validation."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A predictor: network, preprocessing, classes and where all of it came from."""

    name: str
    modality: Modality = "image"
    kind: Kind
    classes: tuple[str, ...]
    preprocessing: AnyPreprocessing
    builder: Mapping[str, Any]
    """How the body is built (see Source.builder)."""
    head: Mapping[str, Any]
    """How the head is built: `{"kind": "linear"}`, `{"kind": "mlp", "hidden": 256, "activation": "gelu"}`."""
    network: "torch.nn.Module"
    """body + head; gives (N, C) logits or values."""
    temperature: float = 1.0
    """Logits are divided by it before they become probabilities."""
    provenance: Step
    metrics: Mapping[str, Any] = field(default_factory=dict)
    report: "Report | None" = None
    licence: str = "unknown"
    target_scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Mean and standard deviation (C each) by which regression targets were standardised."""
    confidences: tuple[float, ...] = ()
    """0..1: quantiles, in equal steps, of the confidence of its answers on the validation split, by which `predict` may
    reject; empty when unknown."""
    guard: Guard | None = None
    """None for models of older versions: `guard` makes one."""
    learnt: "Learnt | None" = None
    """Of a probe: the sums that its head was made of, for `update` and `forget`; personal data."""

    def predict(self, inputs: Any, **options: Any) -> "Any":
        """Answers for paths, arrays, PIL pictures, texts or rows: see `transfuse.predict`."""
        return verbs.call("predict", self, inputs, **options)

    def save(self, folder: "str | Path") -> "Path":
        """Write the model as a folder, atomically: see `transfuse.save`."""
        return verbs.call("save", self, folder)

    @staticmethod
    def load(folder: "str | Path", **options: Any) -> "Model":
        """Open a saved folder without running code from it: see `transfuse.load`."""
        return verbs.call("load", folder, **options)


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of a report's page. `kind` says how it is drawn, `content` holds plain values only."""

    kind: str
    """`table`, `decisions`, `curves`, `confusion`, `reliability`, `front`, `pictures`, `warnings`, `provenance`, `text`
    or `command`."""
    title: str
    content: Any
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Measured rows, each with n and an interval; prints as a table, writes JSON and one HTML page."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    """One mapping from column to value. A measured value is a mapping `{"value", "low", "high", "n"}`."""
    summary: tuple[str, ...] = ()
    """Findings in words, most important first."""
    sections: tuple[Section, ...] = ()
    warnings: tuple[DataWarning, ...] = ()
    command: str = ""
    """The command that repeats it."""

    def __str__(self) -> str:
        return str(verbs.call("render_text", self))

    def save(self, path: "str | Path") -> "Path":
        """Write `*.html` or `*.json`, atomically."""
        return verbs.call("save_report", self, path)
