"""A thousand mutated files through every parser: a judgement comes out, soon, and what is accepted is harmless."""

import contextlib
import importlib.util
import io
import pickle
import tracemalloc
import warnings
from pathlib import Path

import pytest

PATH = Path(__file__).parents[3] / "benchmarks" / "fuzzing.py"
SPECIFICATION = importlib.util.spec_from_file_location("fuzzing", PATH)
assert SPECIFICATION is not None and SPECIFICATION.loader is not None
fuzzing = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(fuzzing)


_BUILTINS = "bytearray bytes complex dict float frozenset int list object range set slice tuple"
PLAIN = {
    "builtins": set(_BUILTINS.split()),
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "_codecs": {"encode"},
    "copyreg": {"_reconstructor"},
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
}
OLD = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Foreign(BaseException):
    """A name beyond the plain ones."""


class Restricted(pickle.Unpickler):
    """Python's own unpickler, which tells every name before it is imported."""

    def find_class(self, module: str, name: str):
        if name not in PLAIN.get(OLD.get(module, module), set()):
            raise Foreign(f"{module}.{name}")
        return super().find_class(OLD.get(module, module), name)


@pytest.mark.parametrize("parser", fuzzing.PARSERS)
def test_a_judgement_comes_out_whatever_goes_in(parser):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seeds = fuzzing.PARSERS[parser][1]()
    tracemalloc.start()
    outcomes = list(fuzzing.run(parser, seeds, 1000, 3))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [outcome for outcome, _, _ in outcomes if outcome.startswith("raised")] == []
    assert max(seconds for _, seconds, _ in outcomes) < 2 and peak < 100e6
    assert any(outcome == "reject" for outcome, _, _ in outcomes)


def test_pickles_that_are_accepted_find_only_plain_names():
    """The other opinion is Python's own unpickler, which asks for every name that it is about to import."""
    seeds, accepted = fuzzing.PARSERS["pickle"][1](), 0
    for outcome, _, data in fuzzing.run("pickle", seeds, 4000, 5):
        if outcome == "accept":
            accepted += 1
            with warnings.catch_warnings(), contextlib.suppress(Exception):  # values may make no sense together
                warnings.simplefilter("ignore")
                Restricted(io.BytesIO(data), encoding="latin1").load()
    assert accepted > 100


def test_mutations_differ_and_can_be_repeated():
    seeds = [pickle.dumps([1, 2, 3])]
    first = [data for _, _, data in fuzzing.run("pickle", seeds, 50, 1)]
    assert first == [data for _, _, data in fuzzing.run("pickle", seeds, 50, 1)]
    assert len(set(first)) > 30
