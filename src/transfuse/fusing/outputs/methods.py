"""The methods of fusing predictions by name.

A method is `method(p_MNC, targets, kind, *, seed, groups, its options) -> Blend`: what the members answer on held-out
examples, the truth, and which examples belong together, to how their answers become one.
"""

from collections.abc import Mapping

from transfuse.core.tables import Table

_ROOM = "transfuse.fusing.outputs."

METHODS: Table = {
    "average": _ROOM + "average:average",
    "caruana": _ROOM + "caruana:caruana",
    "stacking": _ROOM + "stacking:stacking",
}

GIVEN = ("seed", "groups")
"""By the door, not by the user."""

LEARNT: Mapping[str, bool] = {"average": False, "caruana": True, "stacking": True}
"""Whether it must see labelled examples."""
