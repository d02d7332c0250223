"""`update` and `forget`: exact, at once, and honest about what they do not do."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import Ridge

from transfuse.core.errors import DataError, ModelError, UsageError
from transfuse.core.nouns import Model, Source, Task
from transfuse.core.runs import Run
from transfuse.predicting.folder import load
from transfuse.predicting.predict import probabilities
from transfuse.sources.depths import FINAL
from transfuse.sources.extraction import features
from transfuse.tasks.images.opening import open_images
from transfuse.transferring.forget import forget
from transfuse.transferring.transfer import carried_out, transfer
from transfuse.transferring.update import update

CLASSES = ("red", "green", "blue")
SIZE = 24


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures in three colours (N, H, W, 3), and which is strongest."""
    generator = np.random.default_rng(seed)
    targets = np.arange(count) % 3
    light = 80 + 40 * np.eye(3)[targets][:, None, None, :] + generator.normal(0, 60, (count, SIZE, SIZE, 3))
    return np.clip(light, 0, 255).astype(np.uint8), targets


def opened(count: int, seed: int, kind: str = "single-label") -> Task:
    """A task in memory of that kind."""
    x, y = pictures(count, seed)
    if kind == "single-label":
        targets = np.array(CLASSES)[y]
    elif kind == "multi-label":
        targets = np.stack([y == 0, y != 1], axis=1).astype(int)
    else:
        targets = np.stack([y * 10.0 + 3, x.mean((1, 2, 3))], axis=1)
    return open_images((x, targets), kind=kind, test=0, valid=0.1)


def all_of(task: Task, split: str = "train"):
    return task.splits[split]


def probe_of(source: Source, task: Task, **options) -> Model:
    options = {"solver": "ridge", "depths": "final", **options}
    return carried_out(source, task, method="probe", name=None, run=Run(), options={"remember": True, **options})[0]


def refitted(model: Model, source: Source, tasks: list[Task], weights_N: np.ndarray | None = None) -> tuple:
    """scikit-learn's ridge on the features of all tasks, at the model's strength and metric: weights and bias."""
    assert model.learnt is not None
    x_ND = np.concatenate([features(source, task, "train", FINAL).x_ND for task in tasks]).astype(float)
    targets = np.concatenate([task.splits["train"].targets for task in tasks])
    t_NC = np.eye(3)[targets] if model.kind == "single-label" else targets.astype(float)
    t_NC = 2 * t_NC - 1 if model.kind == "multi-label" else t_NC
    w_N = np.ones(len(x_ND)) if weights_N is None else weights_N
    ridge = Ridge(alpha=model.learnt.strength * w_N.sum(), solver="cholesky")
    scale_D = model.learnt.scale_D
    inverse_D = np.divide(1.0, scale_D, out=np.zeros_like(scale_D), where=scale_D > 0)  # 0: never varied, no weight
    ridge.fit(x_ND * inverse_D, t_NC, sample_weight=w_N)
    weight_CD, bias_C = ridge.coef_ * inverse_D, ridge.intercept_
    if model.kind == "regression":
        mean_C, deviation_C = map(np.asarray, model.target_scale)
        return weight_CD / deviation_C[:, None], (bias_C - mean_C) / deviation_C
    return weight_CD / model.learnt.temperature, bias_C / model.learnt.temperature


def assert_head(model: Model, expected: tuple[np.ndarray, np.ndarray]) -> None:
    head = model.network.get_submodule("head").state_dict()
    for found, wanted in zip((head["weight"], head["bias"]), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=2e-6, atol=2e-6 * np.abs(expected[0]).max())


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
def test_updating_is_a_fit_to_all_and_forgetting_a_fit_to_the_rest(small, kind):
    first, second = opened(36, 0, kind), opened(20, 1, kind)
    model = probe_of(small, first)
    assert_head(model, refitted(model, small, [first]))
    updated = update(model, second)
    assert_head(updated, refitted(model, small, [first, second]))
    back = forget(updated, np.stack(second.splits["train"].items))
    assert_head(back, refitted(model, small, [first]))
    other = forget(updated, list(first.splits["train"].items))
    assert_head(other, refitted(model, small, [second]))


def test_the_answers_follow_and_the_body_stays(small):
    first, second = opened(36, 0), opened(20, 1)
    model = probe_of(small, first)
    updated = update(model, second)
    items = second.splits["train"].items
    back = forget(updated, items)
    assert np.abs(probabilities(updated, items) - probabilities(model, items)).max() > 1e-3
    np.testing.assert_allclose(probabilities(back, items), probabilities(model, items), atol=1e-5)
    assert updated.network.get_submodule("body") is model.network.get_submodule("body")


@pytest.mark.parametrize("depths", ["several", "many"])
def test_several_depths_are_updated_as_they_were_fitted(small, depths):
    first, second = opened(36, 0), opened(20, 1)
    model = probe_of(small, first, depths=depths)
    assert len(model.builder["depths"]["names"]) > 1
    back = forget(update(model, second), second.splits["train"].items)
    head, expected = (m.network.get_submodule("head").state_dict()["weight"].numpy() for m in (back, model))
    np.testing.assert_allclose(head, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_example_and_class_weights_count_as_at_the_first_fit(small):
    first, second = opened(36, 0), opened(20, 1)
    x, y = pictures(30, 2)
    weight = np.linspace(0.5, 3, 30)
    weighted = open_images((x, np.array(CLASSES)[y]), kind="single-label", weight=list(weight), test=0, valid=0.1)
    factors = {"red": 3.0, "green": 0.5, "blue": 1.0}
    model = probe_of(small, first, class_weights=factors)
    updated = update(model, weighted)
    by_class = np.array([factors[name] for name in first.classes])
    w_N = np.concatenate(
        [
            by_class[first.splits["train"].targets],
            by_class[weighted.splits["train"].targets] * weighted.splits["train"].weights,
        ]
    )
    assert_head(updated, refitted(model, small, [first, weighted], w_N))
    assert_head(
        forget(updated, weighted.splits["train"].items), refitted(model, small, [first], w_N[: len(all_of(first))])
    )
    assert_head(update(model, second), refitted(model, small, [first, second], _balanced(by_class, first, second)))


def _balanced(by_class: np.ndarray, *tasks: Task) -> np.ndarray:
    return np.concatenate([by_class[task.splits["train"].targets] for task in tasks])


def test_only_the_new_pictures_are_looked_at(small, tmp_path: Path):
    """The earlier ones are gone from the disk."""
    for seed, name in enumerate(("old", "new")):
        for place, (picture, target) in enumerate(zip(*pictures(24, seed), strict=True)):
            folder = tmp_path / name / CLASSES[target]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"{place}.png")
    model = transfer(small, str(tmp_path / "old"), method="probe", solver="ridge", remember=True)
    folder = model.save(tmp_path / "model")
    shutil.rmtree(tmp_path / "old")
    seen: list[dict] = []
    updated = update(folder, tmp_path / "new", trust_code=True, run=Run(watch=seen.append))
    extracted = [event for event in seen if event["stage"] == "extracting"]
    assert extracted[-1]["total"] == 24
    assert len(updated.learnt.digests) == len(model.learnt.digests) + 24
    again = load(updated.save(folder), trust_code=True)
    red = forget(again, tmp_path / "new" / "red")
    assert red.report.rows[0]["red"] - red.report.rows[1]["red"] == 8
    assert red.report.rows[0]["blue"] == red.report.rows[1]["blue"]


def test_figures_of_the_earlier_head_do_not_go_along(small):
    first, second = opened(36, 0), opened(20, 1)
    model = transfer(small, first, method="probe", solver="ridge", remember=True)
    assert model.metrics
    updated = update(model, second, command="transfuse update m d")
    assert updated.metrics == {} and updated.report.command == "transfuse update m d"
    measured = updated.report.rows[0]["accuracy on the new"]
    answers = probabilities(model, second.splits["train"].items).argmax(1)
    right = (answers == second.splits["train"].targets).mean()
    assert measured["value"] == pytest.approx(right) and measured["n"] == len(all_of(second))
    step = updated.provenance
    assert (step.verb, step.inputs[0]) == ("update", model.provenance) and step.options["examples"] == measured["n"]


def test_the_record_of_forgetting_does_not_remember(small):
    first = opened(36, 0)
    model = probe_of(small, first)
    digest, item = first.splits["train"].digests[3], first.splits["train"].items[3]
    without = forget(model, item)
    assert digest in model.learnt.digests and digest not in without.learnt.digests
    step = without.provenance
    assert step.verb == "forget" and step.digests == {} and digest not in str(step.options)
    assert digest not in str(without.report)
    words = " ".join(without.report.summary)
    for kept in ("strength", "metric", "temperature", "body", "cache", "provenance"):
        assert kept in words.partition("Not forgotten")[2]


def test_what_was_learnt_already_is_left_out_and_named(small):
    first, second = opened(36, 0), opened(20, 1)
    model = probe_of(small, first)
    updated = update(model, second)
    with pytest.raises(DataError, match="all 18 were learnt already"):
        update(updated, second)
    x = np.concatenate([np.stack(second.splits["train"].items), pictures(5, 7)[0]])
    names = [
        *np.array(CLASSES)[[CLASSES.index(second.classes[t]) for t in second.splits["train"].targets]],
        *CLASSES,
        *CLASSES[:2],
    ]
    more = update(updated, (x, names))
    (warning,) = [w for w in more.report.warnings if w.code == "already-learnt"]
    assert "18 of 23" in warning.message and len(warning.places) == 18
    assert len(more.learnt.digests) == len(updated.learnt.digests) + 5


def test_strange_pictures_are_refused_whole_or_left_out(small):
    first = opened(36, 0)
    model = probe_of(small, first)
    own, strange = first.splits["train"].items[0], pictures(1, 99)[0][0]
    with pytest.raises(DataError, match=r"1 of 2 were not, or were changed since: picture 1\. Nothing was forgotten"):
        forget(model, [own, strange])
    without = forget(model, [own, strange], skip_unknown=True)
    assert len(without.learnt.digests) == len(model.learnt.digests) - 1
    assert [w.places for w in without.report.warnings if w.code == "not-learnt"] == [("picture 1",)]
    with pytest.raises(DataError, match="1 of 1 were not"):
        forget(model, strange, skip_unknown=True)
    with pytest.raises(DataError, match="1 of 1 were not"):
        forget(without, own)
    changed = own.copy()
    changed[0, 0, 0] ^= 1
    with pytest.raises(DataError, match="were changed since"):
        forget(model, changed)


def test_float_pictures_are_known_again(small):
    x, y = pictures(30, 3)
    floats = (x / 255.0).astype(np.float32)
    task = open_images((floats, np.array(CLASSES)[y]), kind="single-label", test=0, valid=0.1)
    model = probe_of(small, task)
    some = floats[[np.flatnonzero((x == item).all((1, 2, 3)))[0] for item in task.splits["train"].items[:4]]]
    assert len(forget(model, some).learnt.digests) == len(model.learnt.digests) - 4


def test_a_class_that_is_emptied_is_said(small):
    first = opened(36, 0)
    model = probe_of(small, first)
    train = first.splits["train"]
    red = first.classes.index("red")
    without = forget(model, [item for item, t in zip(train.items, train.targets, strict=True) if t == red])
    assert [w.places for w in without.report.warnings] == [("red",)]
    assert red not in probabilities(without, train.items).argmax(1)


def test_a_logistic_head_becomes_a_ridge_head_only_when_told(small):
    first, second = opened(36, 0), opened(20, 1)
    model = probe_of(small, first, solver="logistic")
    assert set(model.learnt.losses) == {"ridge", "logistic"}
    for verb in (lambda: update(model, second), lambda: forget(model, first.splits["train"].items[0])):
        with pytest.raises(UsageError, match=r"must be a ridge head.*--as-ridge; out-of-fold loss 0.* against 0"):
            verb()
    updated = update(model, second, as_ridge=True)
    assert_head(updated, refitted(model, small, [first, second]))
    assert updated.learnt.solver == "ridge" and update(updated, opened(9, 5)).learnt is not None


def test_a_model_that_does_not_know_what_it_learnt_is_refused(small):
    first = opened(36, 0)
    forgetful = probe_of(small, first, remember=False)
    tuned = carried_out(small, first, method="finetune", name=None, run=Run(), options={"steps": 1, "rate": 1e-4})[0]
    for model in (forgetful, tuned):
        assert model.learnt is None
        with pytest.raises(ModelError, match="must be a probe that knows what its head was made of"):
            update(model, first)
        with pytest.raises(ModelError, match="must be a probe"):
            forget(model, first.splits["train"].items[0])


def test_heads_too_wide_for_their_sums_keep_none(small, monkeypatch):
    monkeypatch.setattr("transfuse.transferring.remembering.WIDEST", 15)
    assert probe_of(small, opened(36, 0)).learnt is None
    monkeypatch.setattr("transfuse.transferring.remembering.WIDEST", 16)
    assert probe_of(small, opened(36, 0)).learnt is not None


def test_classes_must_be_known(small):
    model = probe_of(small, opened(36, 0))
    with pytest.raises(DataError, match="The model knows the classes"):
        update(model, (pictures(3, 5)[0], ["red", "green", "mauve"]))
