"""Batches as a pure function of the step: neither workers nor an interruption can change them.

Letters: N examples, B examples of a batch, H W height and width, K cached views.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from transfuse.core.ahead import ahead
from transfuse.core.nouns import AnyPreprocessing, Examples, Preprocessing, SoundPreprocessing
from transfuse.core.randomness import key
from transfuse.sources.images.preprocessing import normalise
from transfuse.sources.inputs import PADDING, bytes_each, joined, tensor_of, trimmed
from transfuse.sources.sounds.inputs import as_pictures, spectrograms
from transfuse.tasks.images.augmenting import Augmentation, augment
from transfuse.tasks.images.loading import batch as decode_batch
from transfuse.tasks.sounds.augmenting import augment_sounds

_POOL = 16  # batches among which texts of nearly one length are brought together
_IN_MEMORY = 2 << 30  # bytes of prepared examples that are kept rather than decoded in every pass


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a loss sees."""

    x: Tensor
    """float32 (B, channels, H, W) normalised pictures, int64 (B, T) texts, float32 (B, K) rows; or (B, ...)
    activations of a frozen prefix."""
    y: Tensor
    weights_B: Tensor
    index_B: Tensor
    """Positions in the training split."""
    view_B: Tensor
    """The pass in which each is shown: the view of it that `x` holds."""
    done: float = 0.0
    """0..1: share of the training that lies behind; the loop sets it."""


class Shown(Protocol):
    """What training is shown, step by step."""

    def at(self, step: int) -> Batch:
        """The batch of a step: of nothing else."""
        ...


class Inputs(Protocol):
    """Where examples come from: pictures, or activations cached earlier."""

    def __len__(self) -> int: ...

    def take(self, index_B: np.ndarray, view: int | None) -> Tensor:
        """Inputs of these examples as the network takes them; `view` None is the clean one."""
        ...


class Pictures:
    """Pictures of a split, decoded once when they fit into memory."""

    def __init__(
        self, examples: Examples, preprocessing: Preprocessing, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        self.examples, self.preprocessing = examples, preprocessing
        self.augmentation, self.seed = augmentation, seed
        self._decoded: np.ndarray | None = None
        if len(examples) * bytes_each(preprocessing) <= _IN_MEMORY:
            self._decoded = decode_batch(examples.items, preprocessing)

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, index_B: np.ndarray, view: int | None) -> Tensor:
        """float32 (B, channels, H, W), augmented by (seed, example, view)."""
        pictures = self._pictures(index_B)
        if view is not None and self.augmentation is not None:
            keys = [key(self.seed, self.examples.digests[i], view) for i in index_B]
            return normalise(augment(pictures, keys, self.augmentation), self.preprocessing)
        return normalise(pictures, self.preprocessing)

    def _pictures(self, index_B: np.ndarray) -> np.ndarray:
        if self._decoded is not None:
            return self._decoded[index_B]
        return decode_batch([self.examples.items[i] for i in index_B], self.preprocessing)


class Sounds:
    """Sounds of a split, made into spectrograms once when they fit into memory."""

    def __init__(
        self,
        examples: Examples,
        preprocessing: SoundPreprocessing,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.examples, self.preprocessing = examples, preprocessing
        self.augmentation, self.seed = augmentation, seed
        self._made: Tensor | None = None
        if len(examples) * bytes_each(preprocessing) <= _IN_MEMORY:
            self._made = spectrograms(examples.items, preprocessing)

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, index_B: np.ndarray, view: int | None) -> Tensor:
        """float32 (B, channels, H, W), augmented by (seed, example, view)."""
        grey_BHW = self._spectrograms(index_B)
        if view is not None and self.augmentation is not None:
            keys = [key(self.seed, self.examples.digests[i], view) for i in index_B]
            grey_BHW = augment_sounds(grey_BHW, keys, self.augmentation)
        return as_pictures(grey_BHW, self.preprocessing)

    def _spectrograms(self, index_B: np.ndarray) -> Tensor:
        if self._made is not None:
            return self._made[torch.from_numpy(index_B)]
        return spectrograms([self.examples.items[i] for i in index_B], self.preprocessing)


class Plain:
    """Examples of a split as they are, prepared once when they fit into memory."""

    def __init__(self, examples: Examples, preprocessing: AnyPreprocessing) -> None:
        self.examples, self.preprocessing = examples, preprocessing
        self._prepared: Tensor | None = None
        if len(examples) * bytes_each(preprocessing) <= _IN_MEMORY:
            self._prepared = tensor_of(examples.items, preprocessing)

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def lengths_N(self) -> np.ndarray | None:
        """Tokens of each text, by which batches are formed; None where examples are of one length."""
        if self._prepared is None or self._prepared.dtype != torch.int64:
            return None
        return (self._prepared != PADDING).sum(1).numpy()

    def take(self, index_B: np.ndarray, view: int | None) -> Tensor:
        """int64 (B, T) texts or float32 (B, K) rows."""
        if self._prepared is not None:
            return trimmed(self._prepared[torch.from_numpy(index_B)])
        return tensor_of([self.examples.items[place] for place in index_B.tolist()], self.preprocessing)


def inputs_of(
    examples: Examples, preprocessing: AnyPreprocessing, augmentation: Augmentation | None = None, seed: int = 0
) -> Inputs:
    """The examples of a split as training takes them; only pictures and sounds are augmented."""
    if isinstance(preprocessing, Preprocessing):
        return Pictures(examples, preprocessing, augmentation, seed)
    if isinstance(preprocessing, SoundPreprocessing):
        return Sounds(examples, preprocessing, augmentation, seed)
    return Plain(examples, preprocessing)


class Activations:
    """Activations of a frozen prefix: K views of N examples, view by view."""

    def __init__(self, rows: np.ndarray, views: int = 1) -> None:
        self.rows, self.views = rows, views

    def __len__(self) -> int:
        return len(self.rows) // self.views

    def take(self, index_B: np.ndarray, view: int | None) -> Tensor:
        """float32 (B, ...) of the view modulo K."""
        rows_B = ((view or 0) % self.views) * len(self) + index_B
        return torch.from_numpy(np.asarray(self.rows[rows_B], dtype=np.float32))


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The training split in an order keyed by (seed, pass)."""

    inputs: Inputs
    targets: Tensor
    weights_N: np.ndarray
    batch_size: int
    seed: int

    def at(self, step: int) -> Batch:
        """The batch of a step; every pass shows each example once, batches run on across passes."""
        count = len(self.inputs)
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        passes_B, places_B = positions // count, positions % count
        index_B = np.empty(self.batch_size, dtype=np.int64)
        pieces = []
        for number in np.unique(passes_B):
            mine = passes_B == number
            index_B[mine] = self._order(int(number))[places_B[mine]]
            pieces.append(self.inputs.take(index_B[mine], int(number)))
        return Batch(
            x=pieces[0] if len(pieces) == 1 else joined(pieces),
            y=self.targets[torch.from_numpy(index_B)],
            weights_B=torch.from_numpy(self.weights_N[index_B]),
            index_B=torch.from_numpy(index_B),
            view_B=torch.from_numpy(passes_B),
        )

    def _order(self, number: int) -> np.ndarray:
        random = np.random.default_rng(key(self.seed, "order", number))
        order_N = random.permutation(len(self.inputs))
        lengths_N = lengths_of(self.inputs)
        return order_N if lengths_N is None else _by_length(order_N, lengths_N, self.batch_size, random)


def coming(shown: Shown, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """Batches of the steps start..stop-1, the next ones prepared by threads while one is used."""
    if workers == 0:
        return map(shown.at, range(start, stop))
    return ahead(shown.at, range(start, stop), workers=workers, waiting=workers)


def lengths_of(inputs: Inputs) -> np.ndarray | None:
    """Lengths of the examples where they differ."""
    found: np.ndarray | None = getattr(inputs, "lengths_N", None)
    return found


def _by_length(order_N: np.ndarray, lengths_N: np.ndarray, batch_size: int, random: np.random.Generator) -> np.ndarray:
    """A random order in which the examples of a batch are of nearly one length: sorted within pools of batches."""
    pool = _POOL * batch_size
    pools = [order_N[start : start + pool] for start in range(0, len(order_N), pool)]
    sorted_N = np.concatenate([part[np.argsort(lengths_N[part], kind="stable")] for part in pools])
    whole = len(sorted_N) // batch_size
    batches = sorted_N[: whole * batch_size].reshape(whole, batch_size)
    return np.concatenate([batches[random.permutation(whole)].ravel(), sorted_N[whole * batch_size :]])
