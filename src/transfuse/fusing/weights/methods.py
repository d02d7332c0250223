"""The methods by name, with what the engine must know of each before it reads a number.

Two definitions of one name: where the paper and mergekit 0.1.5 differ, the paper's is taken unless `compat` is
`mergekit`; the method's docstring says in what.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Compat = Literal["published", "mergekit"]
Form = Literal["coefficients", "gram", "rows-gram", "elements", "trimmed", "rows", "whole"]
"""What a method sees at once.

`coefficients` and `gram` give numbers c, and the result is Σ c·x (or base + Σ c·(x - base)): the second kind wants
the inner products of the parents first, `rows-gram` those of every row. `elements` sees any block of a tensor,
`rows` whole rows, `trimmed` a block and the bounds between which differences are kept, `whole` all of a tensor.
"""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a method without importing it."""

    place: str
    form: Form
    base: Literal["required", "optional", "ignored", "parent"] = "required"
    """`parent`: the base is the first of the parents, from which the result departs."""
    least: int = 1
    most: int | None = None
    mergekit: Mapping[str, Any] = field(default_factory=dict)
    """Defaults that differ under `compat="mergekit"`."""
    mergekit_form: Form | None = None
    statistics: str = ""
    """What must be given beside the parents: their Fisher information, or their Gram matrices."""

    @property
    def based(self) -> bool:
        """Whether differences to the base, when there is one, are what is merged."""
        return self.base in ("required", "optional")


_ROOM = "transfuse.fusing.weights."

METHODS: Mapping[str, Facts] = {
    "linear": Facts(place=_ROOM + "linear:linear", form="coefficients", base="ignored"),
    "slerp": Facts(place=_ROOM + "slerp:slerp", form="gram", base="parent", least=2, most=2),
    "nuslerp": Facts(place=_ROOM + "nuslerp:nuslerp", form="gram", base="optional", least=2, most=2),
    "multislerp": Facts(place=_ROOM + "multislerp:multislerp", form="gram", base="optional"),
    "karcher": Facts(place=_ROOM + "karcher:karcher", form="gram", base="ignored"),
    "task_arithmetic": Facts(place=_ROOM + "task_arithmetic:task_arithmetic", form="coefficients"),
    "ties": Facts(place=_ROOM + "ties:ties", form="trimmed", mergekit={"density": 1.0, "trim": "tensor"}),
    "dare_linear": Facts(place=_ROOM + "dare:dare_linear", form="elements", mergekit_form="whole"),
    "dare_ties": Facts(
        place=_ROOM + "dare:dare_ties", form="elements", mergekit={"normalize": False}, mergekit_form="whole"
    ),
    "della": Facts(place=_ROOM + "della:della", form="rows", mergekit_form="whole"),
    "della_linear": Facts(place=_ROOM + "della:della_linear", form="rows", mergekit_form="whole"),
    "breadcrumbs": Facts(place=_ROOM + "breadcrumbs:breadcrumbs", form="trimmed"),
    "breadcrumbs_ties": Facts(place=_ROOM + "breadcrumbs:breadcrumbs_ties", form="trimmed"),
    "model_stock": Facts(place=_ROOM + "model_stock:model_stock", form="gram", least=2),
    "nearswap": Facts(place=_ROOM + "nearswap:nearswap", form="elements", base="parent", least=2, most=2),
    "sce": Facts(place=_ROOM + "sce:sce", form="whole"),
    "fisher": Facts(place=_ROOM + "fisher:fisher", form="elements", base="ignored", statistics="fisher"),
    "regmean": Facts(place=_ROOM + "regmean:regmean", form="whole", base="ignored", statistics="gram"),
    "magmax": Facts(place=_ROOM + "magmax:magmax", form="elements"),
    "iso_c": Facts(place=_ROOM + "iso_c:iso_c", form="whole"),
    "tsv_m": Facts(place=_ROOM + "tsv_m:tsv_m", form="whole"),
    "passthrough": Facts(place=_ROOM + "passthrough:passthrough", form="coefficients", base="ignored", most=1),
}
