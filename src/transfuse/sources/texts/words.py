"""builtin:words: a text by its counted words and runs of characters, in directions learnt from the task's own texts.

tf-idf, sublinear, over hashed terms (see `ngrams`), then latent semantic analysis (Deerwester et al., JASIS 1990): the
leading right singular vectors of the training texts' matrix, as plain tensors. Changed: the directions are turned by a
random rotation. A head measures each feature by its own spread, and would blow up the last directions, which carry
chance; turned, all are spread alike (benchmarks and LOG.md: out-of-fold loss 0.55 before, 0.10 after, 0.12 on a test).
It knows nothing from elsewhere, needs no network, and is what a pretrained source must beat.
Letters: B texts, T ids of terms, V known terms, D features, N training texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from transfuse.core import digests
from transfuse.core.errors import DataError, SourceError
from transfuse.core.nouns import Source, Task, TextPreprocessing
from transfuse.core.randomness import key
from transfuse.sources.cache import words_folder
from transfuse.sources.inputs import PADDING
from transfuse.sources.texts import ngrams
from transfuse.sources.texts.inputs import tokens_of
from transfuse.weights import matching
from transfuse.weights.files import is_whole, read_tensors, write_tensors
from transfuse.weights.matching import Match

NAME = "words"
_TERMS = 16_384  # of the most texts; each costs D numbers in the saved model
_DIRECTIONS = 512
_TEXTS = 8_192  # from which words and directions are learnt, at most
_READ = 10_000  # characters of a text
_RULES = f"{_TERMS} terms, {_DIRECTIONS} directions, {_TEXTS} texts, 1"


class WordsBody(nn.Module):
    """Ids of terms (B, T), padded with -1, to features (B, D)."""

    terms_V: Tensor
    idf_V: Tensor
    directions_VD: Tensor

    def __init__(self, terms: int, features: int) -> None:
        super().__init__()
        self.register_buffer("terms_V", torch.zeros(terms, dtype=torch.int64))  # ascending
        self.register_buffer("idf_V", torch.zeros(terms))
        self.register_buffer("directions_VD", torch.zeros(terms, features))

    def forward(self, ids_BT: Tensor) -> Tensor:
        row, column = torch.nonzero(ids_BT != PADDING, as_tuple=True)
        row, term, weight = self.weighted(row, ids_BT[row, column])
        starts_B = torch.searchsorted(row, torch.arange(len(ids_BT), device=row.device))
        weight = weight.to(self.directions_VD.dtype)
        return functional.embedding_bag(term, self.directions_VD, starts_B, mode="sum", per_sample_weights=weight)

    def weighted(self, row: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The texts' matrix: row, column (the term's place) and tf-idf of each entry, ordered by row."""
        count = len(self.terms_V)
        place = torch.searchsorted(self.terms_V, ids).clamp(max=count - 1)
        known = self.terms_V[place] == ids
        entries, times = torch.unique(row[known] * count + place[known], sorted=True, return_counts=True)
        row, term = entries // count, entries % count
        weight = (1 + times.float().log()) * self.idf_V[term]
        part = 2 * row + (self.terms_V[term] >= ngrams.CHARACTERS)  # words and characters have length 1 each
        squares = torch.zeros(int(part.max()) + 1 if len(part) else 0, device=weight.device)
        return row, term, weight / squares.index_add(0, part, weight**2)[part].sqrt()

    def layer_names(self) -> tuple[str, ...]:
        """None: there is one layer."""
        return ()

    def at(self, names: tuple[str, ...]) -> nn.Module:
        """The features, as a tuple."""
        return nn.Sequential(self, _Alone())

    def layer_of_parameter(self) -> dict[str, int]:
        """None moves."""
        return {}


class _Alone(nn.Module):
    def forward(self, x_BD: Tensor) -> tuple[Tensor]:
        return (x_BD,)


def unfitted(*, max_length: int | None = None, cut: Any = None) -> Source:
    """`builtin:words` before the task is known."""
    preprocessing = TextPreprocessing(
        tokenizer=ngrams.NAME,
        digest=ngrams.DIGEST,
        max_length=max_length or _READ,
        cut=cut or "end",
    )
    return Source(
        reference=f"builtin:{NAME}",
        name=NAME,
        modality="text",
        origin="builtin",
        builder={"words": None},
        preprocessing=preprocessing,
        licence="none (nothing learnt elsewhere)",
        digest=digests.of_value(["words", preprocessing.max_length, preprocessing.cut]),
    )


def counts_words(source: Source) -> bool:
    """Whether it knows nothing but the words of the task's own texts."""
    return source.origin == "builtin" and "words" in source.builder


def suited(source: Source, task: Task) -> Source:
    """`builtin:words` with the words and directions of the task's training texts; other sources as they are."""
    if source.builder.get("words", 0) is not None or task.modality != "text":
        return source
    train = task.splits["train"]
    digest = digests.of_many([source.digest, ngrams.DIGEST, _RULES, str(task.seed), *train.digests])
    path = words_folder() / f"{digest[:32]}.safetensors"
    if not is_whole(path):
        write_tensors(path, learnt(train.items, source.preprocessing, task.seed), {"format": "pt"})
    terms, features = read_tensors(path)["directions_VD"].shape
    builder = {"words": {"terms": terms, "features": features}}
    return replace(source, builder=builder, weights=str(path), digest=digest)


def learnt(items: Any, preprocessing: Any, seed: int) -> dict[str, Tensor]:
    """The tensors of a body for these texts. Raises `DataError` when they hold no words."""
    from scipy.sparse import csr_matrix
    from sklearn.utils.extmath import randomized_svd

    generator = np.random.default_rng(key(seed, "words"))
    places = np.sort(generator.permutation(len(items))[:_TEXTS])
    ids_N = tokens_of([items[place] for place in places.tolist()], preprocessing)
    terms_V, idf_V = _known(ids_N)
    body = WordsBody(len(terms_V), 0)  # it has the one formula of the weights
    body.terms_V, body.idf_V = terms_V, idf_V
    rows = torch.repeat_interleave(torch.arange(len(ids_N)), torch.tensor([len(ids) for ids in ids_N]))
    row, term, weight = body.weighted(rows, torch.from_numpy(np.concatenate(ids_N).astype(np.int64)))
    x_NV = csr_matrix((weight.numpy(), (row.numpy(), term.numpy())), (len(ids_N), len(terms_V)))
    count = min(_DIRECTIONS, *x_NV.shape)
    _, _, right_DV = randomized_svd(x_NV, count, random_state=key(seed, "directions") % 2**32)
    rotation_DD, _ = np.linalg.qr(generator.normal(size=(count, count)))
    directions_VD = torch.from_numpy((right_DV.T @ rotation_DD).astype(np.float32))
    return {"terms_V": terms_V, "idf_V": idf_V, "directions_VD": directions_VD}


def _known(ids_N: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Ids of the terms that stand in most texts, ascending, and their weights, smoothed as scikit-learn does it."""
    terms, texts = np.unique(np.concatenate([np.unique(ids) for ids in ids_N]), return_counts=True)
    kept = np.sort(np.argsort(-texts, kind="stable")[:_TERMS])
    kept = kept[terms[kept] > 0]  # 0 stands for a text without words
    if not len(kept):
        raise DataError("Texts must hold words, but none does. Look at the column that is read.")
    idf_V = np.log((1 + len(ids_N)) / (1 + texts[kept])) + 1
    return torch.from_numpy(terms[kept].astype(np.int64)), torch.from_numpy(idf_V.astype(np.float32))


def built(builder: Mapping[str, Any], *, trust_code: bool = False) -> WordsBody:
    """The body without what it learnt. Raises `SourceError` where there was no task to learn from."""
    if builder["words"] is None:
        raise SourceError("`builtin:words` learns its words from a task of texts: use it with fit, transfer or rank.")
    return WordsBody(builder["words"]["terms"], builder["words"]["features"])


def parts(source: Source, tensors: Mapping[str, Tensor] | None) -> tuple[nn.Module, None, Match | None]:
    """Body, no head."""
    body = built(source.builder)
    if tensors is None:
        raise SourceError("`builtin:words` has no weights to leave out. Use the method 'probe'.")
    return body, None, matching.load_into(body, tensors)
