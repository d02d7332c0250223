"""From LightGBM's own text form of a booster to a `Forest` of tensors.

The text is documented by LightGBM's `Tree::ToString`. Bits of `decision_type`: 1 categorical, 2 missing cells go left,
then how missing cells are told: 0 not at all, 1 as zeros, 2 as NaN.
"""

from collections.abc import Sequence

import numpy as np
import torch

from transfuse.sources.tables.trees import Forest

Fields = dict[str, np.ndarray]


def forest_of(boosters: Sequence[str], outputs_of: Sequence[int], outputs: int) -> Forest:
    """The trees of several boosters in one forest.

    boosters: of each its `model_to_string()`. outputs_of: to which output its scores belong; for a booster of several
    classes the first one. outputs: their number.
    """
    found: list[tuple[Fields, int]] = []
    for text, first in zip(boosters, outputs_of, strict=True):
        several = int(text.partition("num_tree_per_iteration=")[2].split("\n")[0])
        found += [(tree, first + place % several) for place, tree in enumerate(_trees(text))]
    found = found or [(_fields("num_leaves=1\nleaf_value=0"), 0)]
    nodes = max(1, *(int(tree["num_leaves"][0]) - 1 for tree, _ in found))
    leaves = max(int(tree["num_leaves"][0]) for tree, _ in found)
    words = sum(len(tree.get("cat_threshold", ())) for tree, _ in found)
    forest = Forest(outputs=outputs, trees=len(found), nodes=nodes, leaves=leaves, words=words)
    state = {name: tensor.numpy() for name, tensor in forest.state_dict().items()}
    used = 0
    for place, (tree, output) in enumerate(found):
        state["output"][place] = output
        used = _fill(state, place, tree, used)
    forest.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    return forest


def _trees(text: str) -> list[Fields]:
    body = text.partition("end of trees")[0]
    return [_fields(block) for block in body.split("\nTree=")[1:]]


def _fields(block: str) -> Fields:
    pairs = (line.partition("=") for line in block.split("\n") if "=" in line)
    return {name: np.array(values.split(), np.float64) for name, _, values in pairs}


def _fill(state: Fields, place: int, tree: Fields, used: int) -> int:
    """Write one tree; gives how many words of sets are used after it."""
    leaves = int(tree["num_leaves"][0])
    state["value"][place, :leaves] = tree["leaf_value"]
    if leaves == 1:
        state["left"][place], state["right"][place] = -1, -1
        return used
    inner = slice(0, leaves - 1)
    kinds = tree["decision_type"].astype(int)
    state["feature"][place, inner] = tree["split_feature"]
    state["threshold"][place, inner] = tree["threshold"]
    state["left"][place, inner] = tree["left_child"]
    state["right"][place, inner] = tree["right_child"]
    state["default_left"][place, inner] = (kinds & 2) > 0
    state["missing"][place, inner] = kinds >> 2
    if not (kinds & 1).any():
        return used
    bounds, words = tree["cat_boundaries"].astype(int), tree["cat_threshold"].astype(np.int64)
    state["sets"][used : used + len(words)] = words
    for node in np.flatnonzero(kinds & 1):
        number = int(tree["threshold"][node])
        state["set_start"][place, node] = used + bounds[number]
        state["set_words"][place, node] = bounds[number + 1] - bounds[number]
    return used + len(words)
