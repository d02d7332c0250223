from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pytest

from transfuse.core.checking import require_kinds
from transfuse.core.errors import UnknownName, UsageError

HINTS = {
    "steps": int,
    "rate": float,
    "keep": bool,
    "hidden": int | None,
    "form": Literal["blend", "additive"],
    "weights": Literal["equal", "balanced"] | Mapping[str, float],
    "new": Sequence[str],
    "either": float | Literal["learnt"],
    "any": Any,
}


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 3), ("steps", np.int64(3)), ("rate", 1), ("rate", np.float32(0.1)), ("keep", False), ("hidden", None),
     ("hidden", 8), ("form", "blend"), ("weights", "balanced"), ("weights", {"a": 1.0}), ("new", ("head.*",)),
     ("new", ["a"]), ("either", 0.5), ("either", "learnt"), ("any", object()), ("unheard", 3)],
)  # fmt: skip
def test_what_the_signature_says_passes(name, value):
    assert require_kinds({name: value}, HINTS) is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("steps", 2.5, "`steps` must be a whole number, but is 2.5"), ("steps", True, "a whole number"),
     ("rate", "fast", "`rate` must be a number, but is 'fast'"), ("keep", "no", "True or False"),
     ("hidden", "many", "a whole number or None"), ("form", 7, "'blend' or 'additive', but is 7"),
     ("weights", 3, "'equal' or 'balanced' or mapping, but is 3"), ("new", "head", "sequence, but is 'head'")],
)  # fmt: skip
def test_anything_else_is_an_error_in_words(name, value, words):
    with pytest.raises(UsageError) as caught:
        require_kinds({name: value}, HINTS)
    assert words in str(caught.value)


def test_a_wrong_word_gets_the_nearest():
    with pytest.raises(UnknownName, match=r"No form is called 'blnd'\. Did you mean 'blend'"):
        require_kinds({"form": "blnd"}, HINTS)
