"""The same text twice: exactly, or once more with another spelling or a few other words.

Candidates share a band of their MinHash signature (Broder, "On the resemblance and containment of documents", 1997;
Leskovec, Rajaraman, Ullman, "Mining of massive datasets", section 3.4); they are confirmed by the Jaccard similarity
of all their shingles. Letters: N texts; M pairs; H hashes; S shingles of a text.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from transfuse.tasks.texts.reading import Reads, normalised

LIKE = 0.8
"""Share of common shingles from which on texts count as nearly equal."""
_SHINGLE = 5  # characters
_SHORTEST = 20  # characters of a normalised text below which only equal ones count: a changed word changes everything
_LONGEST = 20_000  # characters that are compared
_BANDS, _ROWS = 20, 4  # a pair with 0.8 of its shingles in common shares a band with probability 0.99997
_BUCKET = 64  # texts of one band that are compared with each other; more are compared with the first ones


def exact_pairs(reads: Reads) -> np.ndarray:
    """Pairs (M, 2) of equal texts; each copy is paired with the first of its kind."""
    return _with_first(reads.digests)


def near_pairs(reads: Reads) -> np.ndarray:
    """Pairs (M, 2) of texts that read the same, or nearly, and are not equal."""
    plain = [normalised(text)[:_LONGEST] for text in reads.texts]
    same = _with_first([text or f"\0{place}" for place, text in enumerate(plain)])
    firsts = np.setdiff1d(np.arange(len(plain)), same[:, 1])
    alike = _alike(plain, [int(place) for place in firsts if len(plain[place]) >= _SHORTEST])
    pairs = np.concatenate([same, alike])
    different = np.array([reads.digests[a] != reads.digests[b] for a, b in pairs.tolist()], bool)
    return pairs[different] if len(pairs) else pairs


def _with_first(keys: Iterable[str]) -> np.ndarray:
    first: dict[str, int] = {}
    pairs = [(first.setdefault(key, row), row) for row, key in enumerate(keys)]
    return np.array([pair for pair in pairs if pair[0] != pair[1]], np.int64).reshape(-1, 2)


def _alike(texts: Sequence[str], places: Sequence[int]) -> np.ndarray:
    shingles = {place: _shingles(texts[place]) for place in places}
    signatures_NH = np.array([_signature(shingles[place]) for place in places], np.uint64)
    pairs = {pair for pair in _candidates(signatures_NH, places) if _jaccard(*(shingles[p] for p in pair)) >= LIKE}
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def _shingles(text: str) -> np.ndarray:
    """uint64 (S,): hashes of all runs of five characters, each once, sorted."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(codes, _SHINGLE)
    with np.errstate(over="ignore"):
        return np.unique((windows * _FACTORS[:_SHINGLE]).sum(axis=1, dtype=np.uint64))


_FACTORS = np.random.default_rng(0).integers(1, 2**63, 2 * _BANDS * _ROWS, dtype=np.uint64) | np.uint64(1)


def _signature(shingles_S: np.ndarray) -> np.ndarray:
    """uint64 (H,): the smallest of the shingles under each of H hash functions (multiply, fold, multiply)."""
    a_H, b_H = _FACTORS[: _BANDS * _ROWS, None], _FACTORS[_BANDS * _ROWS :, None]
    with np.errstate(over="ignore"):
        mixed = shingles_S[None] * a_H
        mixed ^= mixed >> np.uint64(29)
        return (mixed * b_H).min(axis=1)


def _candidates(signatures_NH: np.ndarray, places: Sequence[int]) -> Iterable[tuple[int, int]]:
    for band in range(_BANDS if len(places) else 0):
        rows = np.ascontiguousarray(signatures_NH[:, band * _ROWS : (band + 1) * _ROWS])
        buckets: dict[bytes, list[int]] = {}
        for place, row in zip(places, rows, strict=True):
            members = buckets.setdefault(row.tobytes(), [])
            yield from ((other, place) for other in members)
            if len(members) < _BUCKET:
                members.append(place)


def _jaccard(a_S: np.ndarray, b_S: np.ndarray) -> float:
    common = len(np.intersect1d(a_S, b_S, assume_unique=True))
    return common / (len(a_S) + len(b_S) - common)
