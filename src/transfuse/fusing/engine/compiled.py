"""What the compiled kernels can merge, file to file: sums of parents, TIES and DARE, of float32 and the halves.

The same definitions as in `fusing/weights`, whose functions give the coefficients, ranks and keys; only the loops over
elements are others. Every tensor has buffers of its own, so small that they stay in the processor's cache.
Letters: P parents.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from transfuse.core.errors import WeightsError
from transfuse.fusing.engine import kernels
from transfuse.fusing.planning import Work
from transfuse.fusing.recipes import Recipe
from transfuse.fusing.weights import trimming
from transfuse.fusing.weights.dare import NO_NORM
from transfuse.fusing.weights.masks import BLOCK, key_of, limit_of
from transfuse.fusing.weights.options import based, engine_options, form_of, function_of
from transfuse.fusing.weights.shares import shares
from transfuse.fusing.weights.trimming import Survey
from transfuse.weights.pieces import Files, Stream

_THINNED = ("ties", "dare_linear", "dare_ties")


def able(recipe: Recipe, work: Work) -> bool:
    """Whether the kernels can merge this tensor."""
    types = {entry.dtype.name for entry in work.operands} | {work.dtype.name}
    sums = form_of(recipe.method, work.options, recipe.compat) in ("coefficients", "gram")
    return (
        kernels.library() is not None
        and types <= kernels.TYPES.keys()
        and len(work.entries) <= kernels.MOST
        and (sums or recipe.method in _THINNED)
    )


class Operands:
    """The parents of one tensor, and the base when differences to it are merged, read block after block."""

    def __init__(self, recipe: Recipe, work: Work, streams: Sequence[Stream]) -> None:
        """`streams` of every parent, and of the base last when there is one."""
        self.recipe, self.work, self.options = recipe, work, work.options
        self.based = based(recipe.method, work.base)
        self.most = len(work.entries)
        self.streams = list(streams[: self.most + self.based])
        self.step = min(BLOCK, work.entries[0].count)
        self._buffers = [np.empty(self.step * s.entry.dtype.itemsize, dtype=np.uint8) for s in self.streams]
        self.parents = (kernels.Parent * len(self.streams))()
        for parent, stream, buffer in zip(self.parents, self.streams, self._buffers, strict=True):
            parent.data, parent.type = buffer.ctypes.data, kernels.TYPES[stream.entry.dtype.name]
            parent.limit, parent.weight, parent.divisor, parent.factor = kernels.NO_MASK, 1.0, 1.0, 1.0
        base = self.parents[self.most] if self.based else None
        self._both = (self.parents, self.most, base)

    @property
    def count(self) -> int:
        """Number of elements."""
        return self.work.entries[0].count

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Start and length of every block, once it is read."""
        for start in range(0, self.count, self.step):
            stop = min(start + self.step, self.count)
            for stream, buffer in zip(self.streams, self._buffers, strict=True):
                stream.into(buffer, start, stop)
            yield start, stop - start

    def run(self, name: str, *arguments: object) -> None:
        """A kernel over the block that was read."""
        kernels.call(name, self.streams, *self._both, *arguments)


def merged(recipe: Recipe, work: Work, streams: Sequence[Stream], survey: Survey | None) -> Iterator[np.ndarray]:
    """The tensor in its type, as bytes, block after block; each is overwritten by the next."""
    operands = Operands(recipe, work, streams)
    how, tie, scale = kernels.SUM, 1.0, 1.0
    if recipe.method in _THINNED:
        _set_thinning(operands, survey)
        tie, scale = survey.tie if survey else 1.0, float(work.options["scale"])
        if recipe.method != "dare_linear":
            how = kernels.AGREED_MEAN if work.options["normalize"] else kernels.AGREED_SUM
    else:
        _set_coefficients(operands)
    out = np.empty(operands.step * work.dtype.itemsize, dtype=np.uint8)
    kind = kernels.TYPES[work.dtype.name]
    for start, size in operands.blocks():
        try:
            operands.run("merge", start, size, how, tie, scale, out.ctypes.data, kind)
        except OverflowError:
            raise too_large(work) from None
        yield out[: size * work.dtype.itemsize]


def too_large(work: Work) -> WeightsError:
    """What is said when a number does not fit the type of the result."""
    return WeightsError(
        f"'{work.name}' must fit {work.dtype.name}, but is larger than it holds. Choose --dtype bfloat16 or float32."
    )


def _set_coefficients(operands: Operands) -> None:
    method, n = operands.recipe.method, operands.most
    gram_PP = None
    if form_of(method, operands.options, operands.recipe.compat) == "gram":
        gram_PP = np.zeros((n, n))
        for _, size in operands.blocks():
            operands.run("products", size, gram_PP.ctypes.data)
        gram_PP = np.triu(gram_PP) + np.triu(gram_PP, 1).T
    ours = {"compat": operands.recipe.compat} if "compat" in engine_options(method) else {}
    for parent, c in zip(operands.parents, function_of(method)(gram_PP, **operands.options, **ours), strict=False):
        parent.weight = c


def _set_thinning(operands: Operands, survey: Survey | None) -> None:
    """Weights, thresholds or masks, and what makes up for the dropped ones."""
    recipe, options = operands.recipe, operands.options
    weight_P = options["weight"]
    if recipe.method == "dare_linear":
        weight_P = shares(weight_P, options["normalize"])
    for parent, w in zip(operands.parents, weight_P, strict=False):
        parent.weight = w
    if recipe.method == "ties":
        _set_thresholds(operands, survey)
    else:
        _set_masks(operands)
    if options["rescale"] and (recipe.method == "ties" or recipe.compat == "mergekit"):
        _set_factors(operands)


def _set_masks(operands: Operands) -> None:
    recipe, work = operands.recipe, operands.work
    for i, p in enumerate(operands.options["density"]):
        parent = operands.parents[i]
        parent.key = key_of(recipe.seed, work.name, i)
        parent.limit = kernels.NO_MASK if p >= 1 else kernels.NOTHING if p <= 0 else limit_of(p)
        if 0 < p < 1 and operands.options["rescale"] and recipe.compat == "published":
            parent.divisor = p


def _set_factors(operands: Operands) -> None:
    """L1 norms before and after thinning, whose ratio makes up for what was dropped."""
    norms_P2 = np.zeros((operands.most, 2))
    for start, size in operands.blocks():
        operands.run("norms", start, size, norms_P2.ctypes.data)
    for parent, (before, after) in zip(operands.parents, norms_P2, strict=False):
        parent.factor = 1.0 if min(before, after) < NO_NORM else before / after


Key = tuple[int, float]
"""A parent and its density: what has one threshold."""
Ranks = Mapping[Key, tuple[int, int] | None]
"""The ranks that are kept, see `trimming.ranks`; the last is that of the largest."""
Counts = dict[Key, np.ndarray]


def _set_thresholds(operands: Operands, survey: Survey | None) -> None:
    density_P = operands.options["density"]
    if survey is not None and operands.options["trim"] == "model":
        bounds = survey.bounds
    else:
        n = operands.count
        wanted = {(i, p): trimming.ranks("ties", operands.options, i, n) for i, p in enumerate(density_P)}
        bounds = _partitioned(operands, wanted) if n <= BLOCK else thresholds(partial(_spread, [operands]), wanted)
    for i, p in enumerate(density_P):
        low, high = bounds[i, p]
        operands.parents[i].least = low if low <= high else np.inf


def thresholds(spread: Callable[[Mapping[Key, int] | None], Counts], wanted: Ranks) -> dict[Key, tuple[float, float]]:
    """The magnitudes that are kept, from two histograms: of the upper 16 bits, and of the lower ones in a bin."""
    asked = {key: ranks[0] for key, ranks in wanted.items() if ranks is not None and ranks[0] > 0}
    low = {key: 0.0 for key, ranks in wanted.items() if ranks is not None}
    if asked:
        below = {key: counts.cumsum() for key, counts in spread(None).items()}
        bins = {key: int(np.searchsorted(below[key], rank)) for key, rank in asked.items()}
        inner = spread({key: bins.get(key, 0) for key in wanted})
        for key, rank in asked.items():
            left = rank - (int(below[key][bins[key] - 1]) if bins[key] else 0)
            bits = bins[key] << 16 | int(np.searchsorted(inner[key].cumsum(), left))
            low[key] = float(np.uint32(bits).view(np.float32))
    return {key: (low[key], np.inf) if key in low else trimming.NONE for key in wanted}


def _spread(tensors: Iterable[Operands], bins: Mapping[Key, int] | None) -> Counts:
    """How often magnitudes of the differences fall into which bin, over some tensors."""
    counts: dict[tuple[float, ...], np.ndarray] = {}
    for operands in tensors:
        density_P = operands.options["density"]
        counts_PB = counts.setdefault(density_P, np.zeros((operands.most, kernels.BINS), dtype=np.int64))
        bins_P = None if bins is None else np.array([bins[i, p] for i, p in enumerate(density_P)], dtype=np.int64)
        for _, size in operands.blocks():
            operands.run("spread", size, None if bins_P is None else bins_P.ctypes.data, counts_PB.ctypes.data)
    return _added({(i, p): c_PB[i] for i, p in enumerate(density_P)} for density_P, c_PB in counts.items())


def _added(parts: Iterable[Counts]) -> Counts:
    total: Counts = {}
    for part in parts:
        for key, counts in part.items():
            total[key] = total[key] + counts if key in total else counts
    return total


def _partitioned(operands: Operands, wanted: Ranks) -> dict[Key, tuple[float, float]]:
    """The same for one block: histograms are larger than it is, so its differences are partitioned."""
    delta, found = np.empty(operands.count, dtype=np.float32), {}
    ((_, size),) = operands.blocks()
    for (i, p), ranks in wanted.items():
        low = 0.0
        if ranks is not None and ranks[0] > 0:
            pair = (kernels.Parent * 2)(operands.parents[i], operands.parents[operands.most])
            pair[0].weight, pair[1].weight = 1.0, -1.0
            streams = [operands.streams[i], operands.streams[-1]]
            kernels.call("merge", streams, pair, 2, None, 0, size, kernels.SUM, 1.0, 1.0, delta.ctypes.data, 0)
            low = float(np.partition(np.abs(delta), ranks[0] - 1)[ranks[0] - 1])
        found[i, p] = trimming.NONE if ranks is None else (low, np.inf)
    return found


def surveyed(recipe: Recipe, works: Sequence[Work], files: Files, threads: int) -> Survey:
    """TIES over a whole model: thresholds over all tensors of one density, and the majority of the elected signs."""
    counts: Counter[Key] = Counter()
    for work in works:
        counts.update(dict.fromkeys(enumerate(work.options["density"]), work.entries[0].count))
    wanted = {
        key: trimming.ranks("ties", {"density": [key[1]] * (key[0] + 1), "trim": "model"}, key[0], n)
        for key, n in counts.items()
    }
    groups = [works[i::threads] for i in range(threads)]

    def opened(group: Sequence[Work]) -> Iterator[Operands]:
        return (Operands(recipe, work, files.streams(work.operands)) for work in group)

    with ThreadPoolExecutor(max_workers=threads) as pool:

        def spread(bins: Mapping[Key, int] | None) -> Counts:
            return _added(pool.map(lambda group: _spread(opened(group), bins), groups))

        bounds = thresholds(spread, wanted)
        votes = sum(pool.map(lambda group: _votes(opened(group), Survey(bounds=bounds, tie=1.0)), groups))
    return Survey(bounds=bounds, tie=-1.0 if votes < 0 else 1.0)


def _votes(tensors: Iterable[Operands], survey: Survey) -> int:
    """How many elements elect a positive sign, less those that elect a negative one."""
    votes = np.zeros(1, dtype=np.int64)
    for operands in tensors:
        _set_thinning(operands, survey)
        for start, size in operands.blocks():
            operands.run("votes", start, size, votes.ctypes.data)
    return int(votes[0])
