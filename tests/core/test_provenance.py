import json
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from transfuse.core.nouns import Preprocessing, Step
from transfuse.core.provenance import options_of, plain, step_from, walk

VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
LEAVES = some.builds(
    Step,
    verb=some.text(max_size=5),
    method=some.text(max_size=5),
    options=some.dictionaries(some.text(max_size=5), VALUES, max_size=3),
    digests=some.dictionaries(some.text(max_size=5), some.text(max_size=5), max_size=2),
    seconds=some.floats(0, 1e6),
    version=some.text(max_size=5),
)
TREES = some.recursive(
    LEAVES,
    lambda inner: some.builds(Step, verb=some.text(max_size=5), inputs=some.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
)


@given(TREES)
def test_a_tree_survives_json(step):
    assert step_from(json.loads(json.dumps(plain(step)))) == step


def method(source, task, *, steps: int = 30, alpha=0.5, where=Path("a"), fn=len, run=None, **rest):
    """A method's shape."""


def test_every_keyword_option_is_recorded_with_its_default():
    assert options_of(method, {"alpha": 0.1, "unknown": 3}) == {
        "steps": 30, "alpha": 0.1, "where": "a", "fn": "len", "run": None
    }  # fmt: skip


def required(source, *, size, depth=1):
    """An option without a default."""


def test_an_option_without_default_that_was_not_given_is_left_out():
    assert options_of(required, {}) == {"depth": 1}
    assert options_of(required, {"size": 3}) == {"size": 3, "depth": 1}


def test_values_become_what_json_holds():
    value = {
        1: (1, 2),
        "s": frozenset({3}),
        "p": Path("x/y"),
        "t": int,
        "d": Preprocessing(size=(2, 3), mean=(0.5,), std=(1.0,)),
    }
    result = plain(value)
    assert result["1"] == [1, 2] and result["s"] == [3] and result["p"] == "x/y" and result["t"] == "int"
    assert result["d"]["size"] == [2, 3] and result["d"]["mean"] == [0.5]


def test_numbers_of_arrays_stay_numbers():
    result = plain({"n": np.int64(3), "x": np.float32(0.5), "flag": np.bool_(True), "a": np.arange(3)})
    assert json.loads(json.dumps(result)) == {"n": 3, "x": 0.5, "flag": True, "a": [0, 1, 2]}


def test_walking_names_what_was_made_before_what_it_was_made_of():
    leaf = Step(verb="source")
    tree = Step(verb="fit", inputs=(Step(verb="transfer", inputs=(leaf, leaf)), leaf))
    assert [(level, step.verb) for level, step in walk(tree)] == [
        (0, "fit"), (1, "transfer"), (2, "source"), (2, "source"), (1, "source")
    ]  # fmt: skip
