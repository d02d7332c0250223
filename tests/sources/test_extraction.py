"""Features: what they are, when they are extracted again, and what is recorded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from transfuse.core.errors import BudgetError, DataError, MissingExtra, UnknownName, UsageError
from transfuse.core.nouns import Task
from transfuse.core.randomness import key
from transfuse.core.runs import Run
from transfuse.sources import cache as store
from transfuse.sources.extraction import features
from transfuse.sources.images.preprocessing import normalise
from transfuse.sources.opening import open_source
from transfuse.sources.references import find
from transfuse.sources.staging import split_at
from transfuse.tasks.images.augmenting import Augmentation, augment
from transfuse.tasks.images.loading import batch

SOURCE = find("random:timm:test_resnet", size=32)


def by_hand(task: Task, split: str = "test") -> torch.Tensor:
    pictures = batch(task.splits[split].items, SOURCE.preprocessing)
    with torch.inference_mode():
        return open_source(SOURCE).body(normalise(pictures, SOURCE.preprocessing))


def test_features_are_those_of_the_body(task: Task) -> None:
    found = features(SOURCE, task, "test")
    assert found.x_ND.shape == (5, 96)
    np.testing.assert_allclose(found.x_ND, by_hand(task), rtol=1e-4, atol=1e-6)
    assert np.array_equal(found.y_N, task.splits["test"].targets)
    assert (found.task, found.depth, found.precision, found.deviation) == ("toys", "final", "float32", None)


def test_several_depths_give_a_dictionary(task: Task) -> None:
    found = features(SOURCE, task, "train", depth=("layer1", "final"))
    assert {name: value.x_ND.shape for name, value in found.items()} == {"layer1": (37, 32), "final": (37, 96)}
    assert found["layer1"].source != found["final"].source


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "test_vit", "test_convnext"])
def test_pooling_is_over_space_whatever_the_layout(name: str, task: Task) -> None:
    arguments = {"img_size": [32, 32]} if name != "test_convnext" else {}
    if name.startswith("swin"):
        arguments.update({"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4})
    source = replace(find(f"random:timm:{name}", size=32), builder={"timm": name, "arguments": arguments})
    opened = open_source(source)
    depth = opened.depths[len(opened.depths) // 2]
    whole = features(opened, task, "test", depth=depth, pooled=False).x_ND
    pooled = features(opened, task, "test", depth=depth).x_ND
    channels_last = whole.ndim == 3 or name.startswith("swin")
    axes = tuple(range(1, whole.ndim - 1)) if channels_last else (2, 3)
    np.testing.assert_allclose(pooled, whole.mean(axes), rtol=1e-4, atol=1e-5)
    assert pooled.ndim == 2


def test_whole_maps_are_what_a_suffix_wants(task: Task) -> None:
    opened = open_source(SOURCE)
    whole = features(opened, task, "test", depth="layer2", pooled=False)
    _, suffix = split_at(opened.body, "layer2")
    with torch.inference_mode():
        np.testing.assert_allclose(suffix(torch.from_numpy(np.array(whole.x_ND))), by_hand(task), rtol=1e-3, atol=1e-5)


def test_views_are_keyed_by_example_and_view(task: Task) -> None:
    change = Augmentation(flip_horizontal=True, shift=0.2)
    found = features(SOURCE, task, "test", views=3, augmentation=change)
    assert found.x_ND.shape == (15, 96)
    assert found.y_N.tolist() == task.splits["test"].targets.tolist() * 3
    pictures = batch(task.splits["test"].items, SOURCE.preprocessing)
    keys = [key(task.seed, digest, 2) for digest in task.splits["test"].digests]
    with torch.inference_mode():
        body = open_source(SOURCE).body
        expected = body(normalise(augment(pictures, keys, change), SOURCE.preprocessing))
    np.testing.assert_allclose(found.x_ND[10:], expected, rtol=1e-4, atol=1e-6)
    alone = features(SOURCE, restricted(task, 1), "test", views=3, augmentation=change)
    np.testing.assert_allclose(alone.x_ND[2], found.x_ND[11], rtol=1e-4, atol=1e-6)


def restricted(task: Task, place: int) -> Task:
    examples = task.splits["test"]
    one = replace(
        examples,
        items=[examples.items[place]],
        targets=examples.targets[place : place + 1],
        digests=examples.digests[place : place + 1],
        names=examples.names[place : place + 1],
    )
    return replace(task, splits={"test": one})


class Counter:
    """Counts pictures that were really looked at."""

    def __init__(self) -> None:
        self.events: list = []

    def __call__(self, event) -> None:
        self.events.append(dict(event))

    @property
    def run(self) -> Run:
        return Run(watch=self)


def test_progress_is_told(task: Task) -> None:
    counter = Counter()
    features(SOURCE, task, "train", run=counter.run)
    assert [event["done"] for event in counter.events] == [32, 37]
    assert {event["total"] for event in counter.events} == {37}
    assert {event["stage"] for event in counter.events} == {"extracting"}


def test_what_is_cached_is_not_extracted_again(task: Task) -> None:
    first, counter = features(SOURCE, task, "train"), Counter()
    again = features(SOURCE, task, "train", run=counter.run)
    assert counter.events == []
    assert isinstance(again.x_ND, np.memmap)
    assert np.array_equal(first.x_ND, again.x_ND)
    features(SOURCE, task, "train", depth=("final", "layer1"), run=counter.run)
    assert len(counter.events) == 2


@pytest.mark.parametrize("change", ["size", "mean", "depth", "pooled", "views", "examples", "precision", "source"])
def test_everything_that_features_depend_on_separates_entries(task: Task, change: str) -> None:
    features(SOURCE, task, "test", depth="layer2")
    options: dict = {"depth": "layer2"}
    source, other = SOURCE, task
    if change == "size":
        source = find("random:timm:test_resnet", size=40)
    elif change == "mean":
        source = find("random:timm:test_resnet", size=32, mean=(0, 0, 0), std=(1, 1, 1))
    elif change == "source":
        source = open_source(SOURCE, seed=5).source
    elif change == "examples":
        renamed = replace(task.splits["test"], digests=tuple("vwxyz"))
        other = replace(task, splits={"test": renamed})
    else:
        options.update({"depth": "layer1"} if change == "depth" else {})
        options.update({"pooled": False} if change == "pooled" else {})
        options.update({"views": 2, "augmentation": Augmentation(shift=0.1)} if change == "views" else {})
        options.update({"precision": "bfloat16"} if change == "precision" else {})
    counter = Counter()
    features(source, other, "test", run=counter.run, **options)
    assert counter.events


def test_a_corrupt_entry_is_extracted_again(task: Task, cache: Path) -> None:
    first = np.array(features(SOURCE, task, "train").x_ND)
    (entry,) = store.entries(cache)
    data = bytearray(entry.path.read_bytes())
    data[200] ^= 1
    entry.path.write_bytes(data)
    counter = Counter()
    assert np.array_equal(features(SOURCE, task, "train", run=counter.run).x_ND, first)
    assert counter.events


def test_an_extraction_that_fails_leaves_no_entry(task: Task, cache: Path) -> None:
    examples = task.splits["test"]
    bad = replace(task, splits={"test": replace(examples, items=[*examples.items[:4], Path("nowhere.jpg")])})
    with pytest.raises(DataError, match=r"nowhere\.jpg"):
        features(SOURCE, bad, "test")
    assert store.entries(cache) == []
    assert list((cache / "features").iterdir()) == []


def test_without_a_cache_nothing_is_written(task: Task, cache: Path) -> None:
    assert features(SOURCE, task, "test", cache=False).x_ND.shape == (5, 96)
    assert not cache.exists()


def test_a_lower_precision_is_recorded_with_its_effect(task: Task) -> None:
    exact = features(SOURCE, task, "test")
    rough = features(SOURCE, task, "test", precision="bfloat16")
    assert rough.precision == "bfloat16"
    assert rough.deviation is not None
    error = np.linalg.norm(rough.x_ND - exact.x_ND) / np.linalg.norm(exact.x_ND)
    assert rough.deviation == pytest.approx(error, rel=1e-3)
    assert 0 < rough.deviation < 0.05
    assert features(SOURCE, task, "test", precision="bfloat16").deviation == rough.deviation


def test_unknown_names_are_told(task: Task) -> None:
    with pytest.raises(UnknownName, match="Known: test, train"):
        features(SOURCE, task, "tset")
    with pytest.raises(UnknownName, match="layer1"):
        features(SOURCE, task, "test", depth="layr1")
    with pytest.raises(UnknownName, match="bfloat16"):
        features(SOURCE, task, "test", precision="half")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="views"):
        features(SOURCE, task, "test", views=-1)


def test_the_extra_is_named_where_it_is_missing(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"pip install transfuse\[fast\]"):
        features(SOURCE, task, "test", precision="fast")


def test_time_that_runs_out_is_an_error_and_leaves_no_entry(task: Task, cache: Path) -> None:
    with pytest.raises(BudgetError, match="32 of 37"):
        features(SOURCE, task, "train", run=Run(deadline=0.0))
    assert store.entries(cache) == []
