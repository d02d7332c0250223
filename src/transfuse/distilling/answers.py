"""A teacher's answers: asked again at every step, or computed once for K views and memory-mapped.

An array of the cache holds one view of all training examples, float16 (N, S), under the digest of everything that it
depends on: teacher, examples, view, seed, augmentation, preprocessing, number format. So a killed extraction goes on
with the next view, and the answers of another teacher are never taken. Logits of classes that exclude each other are
kept less their largest, which changes no softmax and is finest near the top. Of very many classes the largest alone can
be kept (`top`), as log-probabilities; the others then share the rest alike, which is sound at temperature 1 only.

`auto` computes in bfloat16 where the processor does so natively (twice as fast here), unless a first batch, compared
with float32, moves its probabilities (or standardised values) by more than `_SAFE`.

Letters: N examples, B examples of a batch, S classes that the teacher knows, K views, P of the largest.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transfuse.core.digests import of_many
from transfuse.core.errors import WeightsError
from transfuse.core.nouns import Examples
from transfuse.core.places import cache_folder
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.distilling.teachers import Teacher
from transfuse.sources import cache
from transfuse.sources.inputs import identity, joined
from transfuse.sources.precision import has_native_bfloat16
from transfuse.tasks.images.augmenting import Augmentation
from transfuse.training.batches import Batch, Inputs, lengths_of
from transfuse.training.options import Fit
from transfuse.training.precision import autocast

Answers = Callable[[Batch], Tensor]
"""Of exactly the views that a batch holds: float32 (B, S)."""
_BATCH = 64
_LARGEST = 65504.0  # of float16
_SAFE = 0.02
"""Relative change of the answers to a batch by bfloat16, in the Euclidean norm, that is taken."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a teacher is asked about."""

    teacher: Teacher
    examples: Examples
    inputs: Inputs
    """The examples as the teacher wants them."""
    augmentation: Augmentation
    fit: Fit
    top: int = 0
    """P; 0 keeps all."""


def live(asked: Asked, same: bool) -> Answers:
    """The teacher in every step; `same` when it takes the student's own batch."""
    network = asked.teacher.network

    def answers(batch: Batch) -> Tensor:
        x = batch.x if same else _seen(asked.inputs, batch).to(batch.x.device)
        network.to(x.device).eval()
        with torch.no_grad():
            found_BS = network(x).float()
        if not found_BS.isfinite().all():
            raise _not_finite(asked, int(batch.index_B[(~found_BS.isfinite()).any(1)][0]))
        return found_BS

    return answers


def kept(asked: Asked, views: int, run: Run) -> Answers:
    """The answers about `views` views of every training example, from the cache or computed now."""
    rows = [_of_view(asked, view, run, views) for view in range(views)]

    def answers(batch: Batch) -> Tensor:
        view_B, index_B = (batch.view_B % views).cpu().numpy(), batch.index_B.cpu().numpy()
        found_BS = np.empty((len(index_B), len(asked.teacher.matched.known)), np.float32)
        for view in np.unique(view_B):
            found_BS[view_B == view] = rows[view](index_B[view_B == view])
        return torch.from_numpy(found_BS).to(batch.x.device)

    return answers


def computed_in(asked: Asked) -> str:
    """In which numbers the kept answers were computed, in words; empty where nothing but float32 was possible."""
    index_N = np.arange(min(len(asked.examples), getattr(asked.teacher.model.network, "block", len(asked.examples))))
    found = cache.opened(cache.path_of(cache_folder(), _identity(asked, 0, index_N, "float16")))
    if found is None or found[1].get("deviation") is None:
        return ""
    description = found[1]
    return f"{description['computed in']} (bfloat16 moves the answers by {description['deviation']:.1%})"


Rows = Callable[[np.ndarray], np.ndarray]
"""Places (B,) to answers (B, S)."""


def _of_view(asked: Asked, view: int, run: Run, views: int) -> Rows:
    """The memory-mapped answers about one view; asked block by block where an answer may fail to come."""
    count = len(asked.examples)
    block = getattr(asked.teacher.model.network, "block", count)
    ends = [(start, min(start + block, count)) for start in range(0, count, block)]

    def tell(done: int) -> None:
        text = f"view {view + 1} of {views}"
        run.watch({"stage": "teacher", "done": view * count + done, "total": views * count, "text": text})

    blocks = [_of_block(asked, view, np.arange(start, end), tell) for start, end in ends]
    if asked.top:
        largest_NP, places_NP = (np.concatenate([block[part] for block in blocks]) for part in (0, 1))
        return lambda index_B: spread_rest(largest_NP[index_B], places_NP[index_B], len(asked.teacher.matched.known))
    rows_NS = blocks[0][0] if len(blocks) == 1 else np.concatenate([block[0] for block in blocks])
    return lambda index_B: rows_NS[index_B]


def _of_block(asked: Asked, view: int, index_N: np.ndarray, tell: Callable[[int], None]) -> list[np.ndarray]:
    """float16 (N, S); with `top` float16 (N, P) and their places int32 (N, P)."""
    shape = (len(index_N), asked.top or len(asked.teacher.matched.known))
    kinds = ("float16", "int32") if asked.top else ("float16",)
    named = [_identity(asked, view, index_N, kind) for kind in kinds]
    paths = [cache.path_of(cache_folder(), one) for one in named]
    found = [cache.opened(path) for path in paths]
    if all(one is not None for one in found):
        return [one[0] for one in found if one is not None]
    description = {"source": asked.teacher.digest, "task": named[0]["examples"], "depth": f"view {view}"}

    def fill(arrays: Sequence[np.memmap]) -> Mapping[str, Any]:
        precision, deviation = _computed(asked, view, index_N, arrays, tell)
        return {"precision": "float16", "computed in": precision, "deviation": deviation}

    planned = [
        cache.Planned(path=path, shape=shape, description={**description, "split": "train"}, dtype=kind)
        for path, kind in zip(paths, kinds, strict=True)
    ]
    return [array for array, _ in cache.written(planned, fill)]


def _identity(asked: Asked, view: int, index_N: np.ndarray, kind: str) -> dict[str, Any]:
    return {
        "teacher": asked.teacher.digest,
        "examples": of_many([asked.examples.digests[place] for place in index_N]),
        "view": view,
        "seed": asked.fit.seed,
        "augmentation": plain(asked.augmentation),
        "preprocessing": identity(asked.teacher.preprocessing),
        "precision": asked.fit.precision,
        "form": [asked.teacher.kind, asked.top, kind],
    }


def _computed(
    asked: Asked, view: int, index_N: np.ndarray, out: Sequence[np.ndarray], tell: Callable[[int], None]
) -> tuple[str, float | None]:
    """Fill the arrays; the number format that was computed in, and how far it moves the answers from float32."""
    network = asked.teacher.network.eval()
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    lengths_N = lengths_of(asked.inputs)
    order_N = np.arange(len(index_N)) if lengths_N is None else np.argsort(lengths_N[index_N], kind="stable")
    precision, deviation = safe_precision(asked, view, index_N[order_N[:_BATCH]], device)
    for start in range(0, len(order_N), _BATCH):
        place_B = order_N[start : start + _BATCH]
        with torch.no_grad(), autocast(device, precision):
            found_BS = network(asked.inputs.take(index_N[place_B], view).to(device)).float().cpu()
        if not found_BS.isfinite().all():
            raise _not_finite(asked, int(index_N[place_B][(~found_BS.isfinite()).any(1).numpy()][0]))
        for array, values in zip(out, _as_kept(found_BS, asked), strict=True):
            array[place_B] = values
        tell(start + len(place_B))
    return precision, deviation


def _as_kept(found_BS: Tensor, asked: Asked) -> list[np.ndarray]:
    if asked.top:
        largest = found_BS.log_softmax(1).topk(asked.top, 1)
        return [largest.values.clamp(min=-_LARGEST).numpy(), largest.indices.numpy()]
    if asked.teacher.kind == "single-label":
        found_BS = found_BS - found_BS.amax(1, keepdim=True)
    return [found_BS.clamp(-_LARGEST, _LARGEST).numpy()]


def spread_rest(largest_BP: np.ndarray, places_BP: np.ndarray, classes: int) -> np.ndarray:
    """Log-probabilities (B, S): the kept ones, and what they leave of 1 shared alike by the others.

    >>> spread_rest(np.log([[0.5, 0.3]]), np.array([[2, 0]]), 4).round(3).tolist()
    [[-1.204, -2.303, -0.693, -2.303]]
    """
    rest_B = np.clip(1 - np.exp(largest_BP.astype(np.float64)).sum(1), 1e-7, 1)
    each_B = np.log(rest_B / max(1, classes - largest_BP.shape[1]))
    found_BS = np.repeat(each_B[:, None], classes, 1)
    np.put_along_axis(found_BS, places_BP.astype(np.int64), largest_BP.astype(np.float64), 1)
    return found_BS.astype(np.float32)


def safe_precision(asked: Asked, view: int, index_B: np.ndarray, device: torch.device) -> tuple[str, float | None]:
    """The number format of an extraction, and how far bfloat16 moves the answers to these examples."""
    wanted = asked.fit.precision
    if asked.teacher.size == 0 or wanted == "float32" or (wanted == "auto" and not has_native_bfloat16(device)):
        return "float32", None
    x = asked.inputs.take(index_B, view).to(device)
    found = []
    for precision in ("bfloat16", "float32"):
        with torch.no_grad(), autocast(device, precision):
            found.append(_shown(asked.teacher.network(x).float(), asked.teacher.kind))
    deviation = float((found[0] - found[1]).norm() / found[1].norm().clamp(min=1e-30))
    safe = wanted == "bfloat16" or (math.isfinite(deviation) and deviation <= _SAFE)
    return ("bfloat16" if safe else "float32"), deviation


def _shown(found_BS: Tensor, kind: str) -> Tensor:
    if kind == "regression":
        return found_BS
    return found_BS.softmax(1) if kind == "single-label" else found_BS.sigmoid()


def _seen(inputs: Inputs, batch: Batch) -> Tensor:
    """The views of a batch as the teacher wants them."""
    index_B, view_B = batch.index_B.cpu().numpy(), batch.view_B.cpu().numpy()
    pieces = [
        inputs.take(index_B[view_B == view], int(view)) for view in np.unique(view_B)
    ]  # a batch is in order of them
    return pieces[0] if len(pieces) == 1 else joined(pieces)


def _not_finite(asked: Asked, place: int) -> WeightsError:
    return WeightsError(
        f"A teacher must answer with finite numbers, but '{asked.teacher.name}' does not for"
        f" '{asked.examples.names[place]}'. Its weights are broken, or overflow in this number format: evaluate it, or"
        " give --precision float32."
    )
