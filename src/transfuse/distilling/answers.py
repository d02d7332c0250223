"""A teacher's answers: asked again at every step, or computed once for K views and memory-mapped.

An array of the cache holds one view of all training examples, float16 (N, C), under the digest of everything that it
depends on: teacher, examples, view, seed, augmentation, preprocessing, number format. So a killed extraction goes on
with the next view, and the answers of another teacher are never taken. Logits are kept less their largest, which
changes no softmax and is finest near the top.

Letters: N examples, B examples of a batch, C classes, K views.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transfuse.core.digests import of_many
from transfuse.core.errors import WeightsError
from transfuse.core.nouns import Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.distilling.teachers import Teacher
from transfuse.sources import cache
from transfuse.sources.inputs import identity, joined
from transfuse.tasks.images.augmenting import Augmentation
from transfuse.training.batches import Batch, Inputs, lengths_of
from transfuse.training.options import Fit
from transfuse.training.precision import autocast

Answers = Callable[[Batch], Tensor]
"""Of exactly the views that a batch holds: float32 (B, C)."""
_BATCH = 64
_LOWEST = -65504.0  # of float16


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a teacher is asked about."""

    teacher: Teacher
    task: Task
    inputs: Inputs
    """The training split as the teacher wants it."""
    augmentation: Augmentation
    fit: Fit


def live(asked: Asked, same: bool) -> Answers:
    """The teacher in every step; `same` when it takes the student's own batch."""
    network = asked.teacher.network

    def answers(batch: Batch) -> Tensor:
        x = batch.x if same else _seen(asked.inputs, batch).to(batch.x.device)
        network.to(x.device).eval()
        with torch.no_grad():
            found_BC = network(x).float()
        if not found_BC.isfinite().all():
            raise _not_finite(asked, int(batch.index_B[(~found_BC.isfinite()).any(1)][0]))
        return found_BC

    return answers


def kept(asked: Asked, views: int, run: Run) -> Answers:
    """The answers about `views` views of every training example, from the cache or computed now."""
    rows = [_of_view(asked, view, run.part("teacher"), views) for view in range(views)]

    def answers(batch: Batch) -> Tensor:
        view_B, index_B = (batch.view_B % views).cpu().numpy(), batch.index_B.cpu().numpy()
        found_BC = np.empty((len(index_B), rows[0].shape[1]), np.float32)
        for view in np.unique(view_B):
            found_BC[view_B == view] = rows[view][index_B[view_B == view]]
        return torch.from_numpy(found_BC).to(batch.x.device)

    return answers


def _of_view(asked: Asked, view: int, run: Run, views: int) -> np.ndarray:
    """float16 (N, C), memory-mapped."""
    named = _identity(asked, view)
    path = cache.path_of(cache.default_folder(), named)
    if (found := cache.opened(path)) is not None:
        return found[0]
    shape = (len(asked.inputs), len(asked.task.classes))
    description = {"source": asked.teacher.digest, "task": asked.task.digest, "split": "train", "depth": f"view {view}"}

    def fill(arrays: Sequence[np.memmap]) -> Mapping[str, Any]:
        _computed(asked, view, arrays[0], lambda done: _tell(run, view, views, done, shape[0]))
        return {"precision": "float16"}

    return cache.written([cache.Planned(path=path, shape=shape, description=description, dtype="float16")], fill)[0][0]


def _identity(asked: Asked, view: int) -> dict[str, Any]:
    return {
        "teacher": asked.teacher.digest,
        "classes": list(asked.task.classes),
        "examples": of_many(asked.task.splits["train"].digests),
        "view": view,
        "seed": asked.fit.seed,
        "augmentation": plain(asked.augmentation),
        "preprocessing": identity(asked.teacher.preprocessing),
        "precision": asked.fit.precision,
        "form": "logits less their largest, float16",
    }


def _computed(asked: Asked, view: int, out_NC: np.ndarray, tell: Callable[[int], None]) -> None:
    network = asked.teacher.network.eval()
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    lengths_N = lengths_of(asked.inputs)
    order_N = np.arange(len(out_NC)) if lengths_N is None else np.argsort(lengths_N, kind="stable")
    for start in range(0, len(order_N), _BATCH):
        index_B = order_N[start : start + _BATCH]
        with torch.no_grad(), autocast(device, asked.fit.precision):
            found_BC = network(asked.inputs.take(index_B, view).to(device)).float().cpu()
        if not found_BC.isfinite().all():
            raise _not_finite(asked, int(index_B[(~found_BC.isfinite()).any(1).numpy()][0]))
        out_NC[index_B] = (found_BC - found_BC.amax(1, keepdim=True)).clamp(min=_LOWEST).numpy()
        tell(start + len(index_B))


def _seen(inputs: Inputs, batch: Batch) -> Tensor:
    """The views of a batch as the teacher wants them."""
    index_B, view_B = batch.index_B.cpu().numpy(), batch.view_B.cpu().numpy()
    pieces = [
        inputs.take(index_B[view_B == view], int(view)) for view in np.unique(view_B)
    ]  # a batch is in order of them
    return pieces[0] if len(pieces) == 1 else joined(pieces)


def _not_finite(asked: Asked, place: int) -> WeightsError:
    name = asked.task.splits["train"].names[place]
    return WeightsError(
        f"A teacher must answer with finite numbers, but '{asked.teacher.name}' does not for '{name}'. Its weights are"
        " broken, or overflow in this number format: evaluate it, or give --precision float32."
    )


def _tell(run: Run, view: int, views: int, done: int, count: int) -> None:
    run.watch(
        {"stage": "teacher", "done": view * count + done, "total": views * count, "text": f"view {view + 1} of {views}"}
    )
