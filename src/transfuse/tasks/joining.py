"""Several sets of examples as one, and parts of one."""

import numpy as np

from transfuse.core.nouns import Examples
from transfuse.core.randomness import key


def concatenated(*parts: Examples) -> Examples:
    """All examples in the order of the parts; groups only where every part has them, weight 1 where none is given."""
    weights = [np.ones(len(part), np.float32) if part.weights is None else part.weights for part in parts]
    groups = [part.groups for part in parts if part.groups is not None]
    return Examples(
        items=[item for part in parts for item in part.items],
        targets=np.concatenate([part.targets for part in parts]),
        digests=tuple(digest for part in parts for digest in part.digests),
        names=tuple(name for part in parts for name in part.names),
        weights=np.concatenate(weights) if any(part.weights is not None for part in parts) else None,
        groups=tuple(group for part in groups for group in part) if len(groups) == len(parts) else None,
    )


def drawn(examples: Examples, seed: int, purpose: str, most: int | None = None) -> Examples:
    """`most` of the examples (all by default) in an order that depends on the seed and on what they are for."""
    order = np.random.default_rng(key(seed, purpose)).permutation(len(examples))
    return taken(examples, order[:most])


def taken(examples: Examples, places: np.ndarray) -> Examples:
    """The examples at `places`, in that order."""
    rows = [int(place) for place in places]
    return Examples(
        items=[examples.items[row] for row in rows],
        targets=examples.targets[rows],
        digests=tuple(examples.digests[row] for row in rows),
        names=tuple(examples.names[row] for row in rows),
        weights=None if examples.weights is None else examples.weights[rows],
        groups=None if examples.groups is None else tuple(examples.groups[row] for row in rows),
    )
