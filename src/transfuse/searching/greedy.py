"""Greedy selection: parts in the order of what they are worth alone, each kept when the mix with it is better.

Wortsman et al., "Model soups", arXiv 2203.05482, recipe 1. Where the paper keeps a part that only ties, the authors'
code and we do not: fewer ingredients are simpler.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Part = TypeVar("Part")
Mix = TypeVar("Mix")


def greedy(
    ordered: Sequence[Part], alone: Mix, mixed: Callable[[Sequence[Part]], Mix], worth: Callable[[Mix], Any]
) -> tuple[list[Part], Mix]:
    """The parts that help, and their mix. `ordered`: the best first; `alone`: the mix of that one."""
    kept, best = [ordered[0]], alone
    for part in ordered[1:]:
        tried = mixed([*kept, part])
        if worth(tried) > worth(best):
            kept, best = [*kept, part], tried
    return kept, best
