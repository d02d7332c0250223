"""The same picture twice: exactly, or once more after compression or resizing.

Candidates differ in few bits of a difference hash (dHash: N. Krawetz, "Kind of like that", 2013); they are confirmed by
their thumbnails, which must agree in shape (correlation) and in brightness. Plain pictures and very small ones are
compared exactly only: their looks prove nothing. Letters: N pictures; M pairs; T side of a thumbnail.
"""

from collections.abc import Iterator

import numpy as np

from transfuse.tasks.images.inspecting import SMALLEST, Looks

RADIUS = 6
"""Bits of 64 in which the hashes of a picture and its copy may differ."""
_CORRELATION = 0.99
_DIFFERENCE = 6.0  # grey levels, mean over the thumbnail
_CONTRAST = 10.0  # grey levels; thumbnails that vary less are plain
_ALL_PAIRS = 30_000  # pictures up to which every pair is compared; beyond, neighbours in sorted hashes
_BLOCK = 512
_WINDOW = 24


def exact_pairs(looks: Looks) -> np.ndarray:
    """Pairs (M, 2) of pictures with equal pixels; each copy is paired with the first of its kind."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(content, row), row) for row, content in enumerate(looks.contents)]
    return np.array([pair for pair in pairs if pair[0] != pair[1]], np.int64).reshape(-1, 2)


def near_pairs(looks: Looks) -> np.ndarray:
    """Pairs (M, 2) of pictures that look the same but whose pixels differ."""
    vivid = np.flatnonzero((looks.thumbnails.std(axis=(1, 2)) >= _CONTRAST) & (looks.sides.min(axis=1) >= SMALLEST))
    if len(vivid) < 2:
        return np.empty((0, 2), np.int64)
    hashes = difference_hashes(looks.thumbnails[vivid])
    candidates = _all_pairs(hashes) if len(vivid) <= _ALL_PAIRS else _neighbours(hashes)
    found = [_confirmed(vivid[pairs], looks) for pairs in candidates if len(pairs)]
    pairs = np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), np.int64)
    contents = np.array(looks.contents)
    return pairs[contents[pairs[:, 0]] != contents[pairs[:, 1]]]


def difference_hashes(thumbnails_NTT: np.ndarray) -> np.ndarray:
    """uint64 (N,): whether each of 8 x 8 places is brighter than the next one to its right."""
    count, side = len(thumbnails_NTT), thumbnails_NTT.shape[1]
    rows = thumbnails_NTT.reshape(count, 8, side // 8, side).mean(axis=2)
    columns = np.linspace(0, side - 1, 9).round().astype(int)
    bits = rows[:, :, columns[1:]] > rows[:, :, columns[:-1]]
    return np.packbits(bits.reshape(count, 64), axis=1).view(np.uint64)[:, 0]


def _all_pairs(hashes: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK]
        distances = np.bitwise_count(block[:, None] ^ hashes[None, start:])
        rows, columns = np.nonzero(distances <= RADIUS)
        later = columns > rows
        yield np.stack([rows[later] + start, columns[later] + start], axis=1)


def _neighbours(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Near pairs among neighbours in the order of the hashes turned by 0, 8, ..., 56 bits.

    Copies that differ in bits of every leading byte are missed; the time grows as N log N.
    """
    for turn in range(0, 64, 8):
        turned = (hashes << np.uint64(turn)) | (hashes >> np.uint64(64 - turn)) if turn else hashes
        order = np.argsort(turned, kind="stable")
        for step in range(1, _WINDOW + 1):
            left, right = order[:-step], order[step:]
            near = np.bitwise_count(hashes[left] ^ hashes[right]) <= RADIUS
            yield np.sort(np.stack([left[near], right[near]], axis=1), axis=1)


def _confirmed(pairs: np.ndarray, looks: Looks) -> np.ndarray:
    parts = [pairs[start : start + 65536] for start in range(0, len(pairs), 65536)]
    return np.concatenate([part[_look_alike(part, looks)] for part in parts])


def _look_alike(pairs: np.ndarray, looks: Looks) -> np.ndarray:
    """Whether both thumbnails agree, and the pictures' shapes do; bool (M,)."""
    a, b = (looks.thumbnails[side].reshape(len(pairs), -1).astype(np.float32) for side in pairs.T)
    difference = np.abs(a - b).mean(axis=1)
    a -= a.mean(axis=1, keepdims=True)
    b -= b.mean(axis=1, keepdims=True)
    correlation = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    ratios = looks.sides[pairs, 0] / looks.sides[pairs, 1]
    same_shape = np.abs(np.log(ratios[:, 0] / ratios[:, 1])) < 0.05
    return (difference <= _DIFFERENCE) & (correlation >= _CORRELATION) & same_shape
