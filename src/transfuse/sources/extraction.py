"""Features: what a frozen source sees in the examples of a task, extracted once and cached.

Letters: N examples, K views, B pictures of a batch, h w c pixels and channels, D features.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from transfuse.core import digests
from transfuse.core.errors import BudgetError, UsageError
from transfuse.core.nouns import Examples, Features, Preprocessing, SoundPreprocessing, Source, Task
from transfuse.core.places import cache_folder
from transfuse.core.provenance import plain
from transfuse.core.randomness import key
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.sources import bodies, inputs, staging
from transfuse.sources import cache as feature_cache
from transfuse.sources.folding import folded
from transfuse.sources.images.preprocessing import normalise
from transfuse.sources.opening import Opened, open_source
from transfuse.sources.parallel import on_threads
from transfuse.sources.precision import Compute, Precision, chosen_precision, device_of, prepared
from transfuse.sources.sounds import inputs as sound_inputs
from transfuse.tasks.images.augmenting import NONE, Augmentation, augment
from transfuse.tasks.images.loading import batch
from transfuse.tasks.sounds.augmenting import augment_sounds

BATCH = 32
"""Examples that the network sees at once; of texts those that have as many tokens together as these of 128 tokens."""
_JUDGED = 8
"""Texts whose features are computed in float32 once more."""


def features(
    source: Source | Opened,
    task: Task,
    split: str = "train",
    depth: str | Sequence[str] = "final",
    *,
    precision: Precision = "auto",
    views: int = 0,
    augmentation: Augmentation | None = None,
    pooled: bool = True,
    run: Run | None = None,
    cache: Path | str | Literal[False] | None = None,
) -> Features | dict[str, Features]:
    """Features of one split, from the cache or by one pass of the network over its pictures.

    depth: `final` (what a head sees) or names from `Opened.depths`; several give a dictionary.
    views: 0 for the pictures as they are; K for K augmented views keyed by (task's seed, example, view): row k·N + i is
    view k of example i. pooled: mean over space, (N, D); otherwise whole maps (N, ...), as a suffix wants them.
    precision: `auto`, `float32`, `bfloat16` or `fast` (OpenVINO, extra `[fast]`).
    cache: folder (default `$TRANSFUSE_CACHE` or `~/.cache/transfuse`), or False for none.

    Raises `UnknownName` for a split or depth, `DataError` for an example that cannot be read, `StorageError` when the
    cache's disk is full, `MissingExtra`; and what opening the source raises.
    """
    wanted = (depth,) if isinstance(depth, str) else tuple(depth)
    if not wanted or views < 0:
        raise UsageError(f"`depth` must name at least one and `views` must not be negative, but are {wanted}, {views}.")
    run = run or Run()
    job = _Job(
        source=source if isinstance(source, Source) else source.source,
        opened=source if isinstance(source, Opened) else None,
        examples=task.splits[chosen("split", split, task.splits)],
        seed=task.seed,
        augmentation=augmentation if views and augmentation is not None else NONE,
        views=views,
        pooled=pooled,
        device=device_of(run.device),
        precision=chosen_precision(precision, device_of(run.device)),
        label=f"{task.name}, {split}",
    )
    arrays = _arrays(job, wanted, None if cache is False else Path(cache or cache_folder()), run)
    y_N = np.tile(job.examples.targets, (max(views, 1), *[1] * (job.examples.targets.ndim - 1)))
    found = {name: _features(job, task, name, array, y_N, said) for name, (array, said) in arrays.items()}
    return found[depth] if isinstance(depth, str) else found


def keep(
    source: Opened,
    task: Task,
    split: str,
    found: Mapping[str, Features],
    *,
    run: Run | None = None,
    cache: Path | str | None = None,
) -> None:
    """Write features of a whole split, put together from those of its parts, to where `features` will find them.

    found: by depth, rows in the order of the split, all of one precision. What is cached already stays as it is.
    Raises `UsageError` when the rows are not those of the split, `StorageError` when the cache's disk is full.
    """
    device = device_of((run or Run()).device)
    folder = Path(cache or cache_folder())
    for depth, features_ in found.items():
        job = _Job(
            source=source.source,
            opened=source,
            examples=task.splits[chosen("split", split, task.splits)],
            seed=task.seed,
            augmentation=NONE,
            views=0,
            pooled=True,
            device=device,
            precision=features_.precision,
            label=f"{task.name}, {split}",
        )
        if len(features_.x_ND) != job.rows:
            raise UsageError(f"Features must have a row an example ({job.rows}), but have {len(features_.x_ND)}.")
        path = feature_cache.path_of(folder, job.identity(depth))
        if feature_cache.opened(path) is None:
            said = {"source": job.source.reference, "examples": job.label, "precision": job.precision, "depth": depth}
            planned = feature_cache.Planned(path=path, shape=features_.x_ND.shape, description=said)
            feature_cache.written([planned], _copying(features_))


def _copying(found: Features) -> feature_cache.Fill:
    def fill(arrays: Sequence[np.memmap]) -> Mapping[str, Any]:
        arrays[0][:] = found.x_ND
        return {"deviation": found.deviation}

    return fill


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One extraction, without its depths."""

    source: Source
    opened: Opened | None
    examples: Examples
    seed: int
    augmentation: Augmentation
    views: int
    pooled: bool
    device: torch.device
    precision: str
    label: str

    @property
    def rows(self) -> int:
        return len(self.examples) * max(self.views, 1)

    def identity(self, depth: str) -> dict[str, Any]:
        """Everything that the features depend on."""
        varied = [self.seed, self.views, plain(self.augmentation)] if self.views else None
        return {
            "format": 1,
            "source": self.source.digest,
            "preprocessing": inputs.identity(self.source.preprocessing),
            "precision": self.precision,
            "depth": depth,
            "pooled": self.pooled,
            "examples": digests.of_many(self.examples.digests),
            "views": varied,
        }


Array = tuple[np.ndarray, Mapping[str, Any]]


def _features(
    job: _Job, task: Task, depth: str, array: np.ndarray, y_N: np.ndarray, said: Mapping[str, Any]
) -> Features:
    return Features(
        x_ND=array,
        y_N=y_N,
        source=digests.of_value({k: v for k, v in job.identity(depth).items() if k not in ("examples", "views")}),
        task=task.digest,
        depth=depth,
        precision=job.precision,
        deviation=said.get("deviation"),
    )


def _arrays(job: _Job, wanted: Sequence[str], folder: Path | None, run: Run) -> dict[str, Array]:
    paths = {name: feature_cache.path_of(folder, job.identity(name)) for name in wanted} if folder else {}
    found = {name: array for name, path in paths.items() if (array := feature_cache.opened(path)) is not None}
    missing = tuple(name for name in wanted if name not in found)
    if missing:
        extractor = _Extractor.of(job, missing)
        shapes = extractor.shapes(job)
        said = {"source": job.source.reference, "examples": job.label, "precision": job.precision}
        if not folder:
            arrays = [np.empty(shape, np.float32) for shape in shapes]
            remembered = extractor.fill(job, arrays, run)
            return dict(zip(missing, [(array, remembered) for array in arrays], strict=True))
        planned = [
            feature_cache.Planned(path=paths[name], shape=shape, description={**said, "depth": name})
            for name, shape in zip(missing, shapes, strict=True)
        ]
        made = feature_cache.written(planned, lambda arrays: extractor.fill(job, arrays, run))
        found.update(zip(missing, made, strict=True))
    return {name: found[name] for name in wanted}


@dataclass(frozen=True, kw_only=True)
class _Extractor:
    """A network ready to give values at some depths, one tensor each."""

    network: nn.Module
    compute: Compute
    channels_last: bool

    @staticmethod
    def of(job: _Job, wanted: tuple[str, ...]) -> "_Extractor":
        body = (job.opened or open_source(job.source)).body
        mode = body.training
        network = staging.at_depths(body.eval(), wanted)
        body.train(mode)
        return _Extractor(
            network=network,
            compute=prepared(network, job.precision, job.device),
            channels_last=bodies.gives_channels_last(body),
        )

    def values(self, job: _Job, x_Bchw: torch.Tensor, compute: Compute | None = None) -> list[np.ndarray]:
        """One array (B, ...) for each depth."""
        maps = (compute or self.compute)(x_Bchw)
        return [(bodies.pooled(m, m.ndim, self.channels_last) if job.pooled else m).numpy() for m in maps]

    def shapes(self, job: _Job) -> list[tuple[int, ...]]:
        """Shape of all rows at each depth, by running one blank example."""
        blank = inputs.blank(job.source.preprocessing)
        return [(job.rows, *value.shape[1:]) for value in self.values(job, blank)]

    def fill(self, job: _Job, arrays: Sequence[np.ndarray], run: Run) -> dict[str, Any]:
        """Run every example through the network; gives what is to be remembered with the arrays."""
        preprocessing = job.source.preprocessing
        if job.source.modality not in ("image", "sound"):
            return self._filled(job, arrays, run)
        shape = inputs.blank(preprocessing, 2).shape
        noise = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(job.device)
        with folded(self.network, noise, constant=True):
            return self._filled(job, arrays, run)

    def _filled(self, job: _Job, arrays: Sequence[np.ndarray], run: Run) -> dict[str, Any]:
        count, done, deviation = len(job.examples), 0, None
        places = inputs.blocks(job.examples.items, job.source.preprocessing, BATCH)
        judged = 0 if job.source.modality == "image" else len(places) // 2  # the first texts are the longest
        given = [(number == judged and job.precision != "float32", block) for number, block in enumerate(places)]
        blocks = on_threads(lambda pair: self._block(job, *pair), given)
        with contextlib.closing(blocks):
            for index_B, found in zip(places, blocks, strict=True):
                deviation = deviation if found.deviation is None else found.deviation
                done += len(index_B)
                for view, values in enumerate(found.values):
                    for array, value in zip(arrays, values, strict=True):
                        array[view * count + index_B] = value
                run.watch(
                    {"stage": "extracting", "done": done, "total": count, "text": f"{job.source.name} on {job.label}"}
                )
                if run.remaining() <= 0 and done < count:
                    raise BudgetError(
                        f"The time ran out after {done} of {count} examples. Give more time or fewer examples."
                    )
        if job.device.type != "cpu":
            self.network.to("cpu")  # the parameters are the caller's
        return {"deviation": deviation}

    def _block(self, job: _Job, judged: bool, index_B: np.ndarray) -> "_Block":
        """Decode the examples of a block and run their views through the network; `judged` against float32."""
        values, deviation = [], None
        for view, x in enumerate(_views(job, index_B)):
            values.append(self.values(job, x))
            if judged and view == 0:
                deviation = self._deviation(job, x, values[0])
        return _Block(values, deviation)

    def _deviation(self, job: _Job, x_Bchw: torch.Tensor, values: list[np.ndarray]) -> float:
        """Largest relative difference to float32 over the depths, measured on the first batch.

        Of texts on a few of it: a batch may hold hundreds.
        """
        few = len(x_Bchw) if job.source.modality == "image" else _JUDGED
        exact = self.values(job, x_Bchw[:few], prepared(self.network, "float32", job.device))
        pairs = zip([value[:few] for value in values], exact, strict=True)
        return max(float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(b)), 1e-30) for a, b in pairs)


@dataclass(frozen=True)
class _Block:
    """What the network makes of one batch: arrays by view and depth."""

    values: list[list[np.ndarray]]
    deviation: float | None


def _views(job: _Job, index_B: np.ndarray) -> Iterator[torch.Tensor]:
    """Each view of a block, ready for the body; only pictures and sounds have more than the plain one."""
    items = [job.examples.items[place] for place in index_B.tolist()]
    preprocessing = job.source.preprocessing
    if isinstance(preprocessing, SoundPreprocessing):
        grey_Bhw = sound_inputs.spectrograms(items, preprocessing)
        for view in range(max(job.views, 1)):
            keys = _keys(job, index_B, view)
            heard = augment_sounds(grey_Bhw, keys, job.augmentation) if job.views else grey_Bhw
            yield sound_inputs.as_pictures(heard, preprocessing)
        return
    if not isinstance(preprocessing, Preprocessing):
        for _ in range(max(job.views, 1)):
            yield inputs.tensor_of(items, preprocessing)
        return
    pictures = batch(items, preprocessing, workers=1)
    for view in range(max(job.views, 1)):
        keys = _keys(job, index_B, view)
        varied = augment(pictures, keys, job.augmentation) if job.views else pictures
        yield normalise(varied, preprocessing)


def _keys(job: _Job, index_B: np.ndarray, view: int) -> list[int]:
    return [key(job.seed, job.examples.digests[place], view) for place in index_B.tolist()]
