"""last_stages: a frozen prefix that is run once, its activations cached, and a suffix that is trained on them.

The cached activations belong to K seeded augmented views of each picture; pass p of the training sees view p mod K.
Changed against plain partial fine-tuning: nothing in the result, since the prefix is frozen either way; only its cost.

Relations: between `probe` (nothing of the body moves) and `finetune` (all of it does).
"""

from typing import cast

import numpy as np

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Features, Source, Task
from transfuse.core.runs import Run
from transfuse.sources.extraction import features
from transfuse.sources.network import Network
from transfuse.sources.opening import Opened
from transfuse.sources.staging import split_at
from transfuse.tasks.images.augmenting import NONE, Augmentation
from transfuse.training.averaging import copied
from transfuse.training.batches import Activations
from transfuse.training.options import Fit
from transfuse.transferring.interpolating import keep_best_between
from transfuse.tuning.augmenting import chosen_augmentation
from transfuse.tuning.moving import BatchNorm, layerwise
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import start
from transfuse.tuning.targets import target_scale
from transfuse.tuning.tune import calibrated, tune, workbench


def last_stages(
    source: Source,
    task: Task,
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    head: HeadShape = HeadShape(),
    depth: str = "auto",
    views: int = 4,
    layer_decay: float = 0.8,
    batch_norm: BatchNorm = "frozen",
    interpolate: bool = True,
) -> Outcome:
    """Train what follows `depth`, a stage's name; `auto` freezes about the first two thirds of the stages.

    `views` is K, the augmented views of each training picture that are cached; 0 caches the clean pictures only.
    """
    if views < 0:
        raise UsageError(f"`views` must be 0 or more, but is {views}.")
    begin = start(source, task, head=head, fit=fit, run=run)
    place = _middle(begin.opened.depths, source.name) if depth == "auto" else depth
    _, suffix = split_at(begin.opened.body, place)
    augmentation, words = chosen_augmentation(task, source.preprocessing, fit, begin.solved)
    views = 0 if augmentation == NONE else views
    seen = _activations(begin.opened, task, "train", place, run, views, augmentation)
    inputs = (Activations(seen, max(views, 1)), Activations(_activations(begin.opened, task, "valid", place, run)))
    bench = workbench(task, source.preprocessing, fit, inputs=inputs)
    trainable = Network(suffix, begin.network.head)
    origin = copied(trainable)
    moves = layerwise(trainable, decay=layer_decay, batch_norm=batch_norm)
    identity = {"source": source.digest, "method": "last_stages", "depth": place, "views": views}
    result = tune(trainable, bench, moves=moves, fit=fit, run=run, identity=identity)
    facts = {**result.facts, "loaded": begin.loaded, "augmentation": words, "depth": place, "views": views}
    if interpolate and begin.probe is not None:
        facts["interpolation"] = keep_best_between(trainable, origin, bench.validation)
    return Outcome(
        network=begin.network,
        builder=source.builder,
        preprocessing=source.preprocessing,
        head=head,
        temperature=calibrated(trainable, bench),
        target_scale=target_scale(task),
        curves=result.trained.history,
        facts=facts,
        interrupted=result.trained.stopped_by == "interrupt",
        licence=source.licence,
    )


def _activations(
    opened: Opened,
    task: Task,
    split: str,
    depth: str,
    run: Run,
    views: int = 0,
    augmentation: Augmentation | None = None,
) -> np.ndarray:
    found = features(opened, task, split, depth, pooled=False, views=views, augmentation=augmentation, run=run)
    return cast("Features", found).x_ND


def _middle(depths: tuple[str, ...], name: str) -> str:
    if not depths:
        raise UsageError(f"'{name}' cannot be cut into stages. Use `finetune` or `probe`, which need no cut.")
    return depths[min(len(depths) - 1, 2 * len(depths) // 3)]
