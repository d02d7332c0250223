"""scikit-learn's interface, tested by scikit-learn: its own checks, its pipelines, its searches."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import expit
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import transfuse as tr
from transfuse.core.errors import UnknownName, UsageError
from transfuse.core.nouns import Task
from transfuse.fitting import examples
from transfuse.fitting.estimators import Featurizer, TransferClassifier, TransferRegressor
from transfuse.predicting.folder import load
from transfuse.probing.heads import fit_head

FOLDS = "The strength is chosen by cross-validation, in which copies of a row and one row of twice the weight differ."
FAILING = {"check_sample_weight_equivalence_on_dense_data": FOLDS}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, task: Task) -> tuple[list[str], np.ndarray]:
    """Paths of the task's training and test pictures, and their colours."""
    folder: Path = tmp_path_factory.mktemp("files")
    paths, colours = [], []
    for split in ("train", "test"):
        examples = task.splits[split]
        for place, (picture, target) in enumerate(zip(examples.items, examples.targets, strict=True)):
            paths.append(str(folder / f"{split}{place}.png"))
            colours.append(task.classes[target])
            Image.fromarray(picture).save(paths[-1])
    return paths, np.array(colours)


@pytest.mark.parametrize(
    ("estimator", "failing"),
    [
        (Featurizer(), {}),
        (TransferRegressor(), FAILING),
        (TransferClassifier(solver="ridge"), FAILING),
        (TransferClassifier(), FAILING),
    ],
)
def test_scikit_learn_s_own_checks(estimator, failing):
    results = check_estimator(estimator, on_skip=None, expected_failed_checks=failing)
    assert {result["check_name"] for result in results if result["status"] == "xfail"} == set(failing)
    assert sum(result["status"] == "passed" for result in results) >= 40


def test_they_are_found_in_the_package_and_keep_their_parameters():
    for name, kind in (
        ("TransferClassifier", TransferClassifier),
        ("TransferRegressor", TransferRegressor),
        ("Featurizer", Featurizer),
    ):
        assert getattr(tr, name) is kind and name in dir(tr)
        assert clone(kind("timm:resnet18", trust_code=True)).get_params()["source"] == "timm:resnet18"


def test_numbers_are_features_of_the_cross_validated_head():
    x_ND, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    fitted = TransferClassifier(solver="ridge").fit(x_ND, names)
    head = fit_head(x_ND, y, "single-label", method="ridge", seed=0)
    np.testing.assert_array_equal(fitted.head_.weight_CD, head.weight_CD)
    z_NC = (x_ND @ head.weight_CD.T + head.bias_C) / head.temperature
    expected = np.exp(z_NC) / np.exp(z_NC).sum(1, keepdims=True)
    np.testing.assert_allclose(fitted.predict_proba(x_ND), expected, rtol=1e-6)
    assert list(fitted.classes_) == sorted(set(names)) and fitted.n_features_in_ == 4
    assert fitted.score(x_ND, names) > 0.8


def test_a_search_over_a_pipeline_of_features():
    x_ND, y = load_digits(return_X_y=True)
    x_ND, y = x_ND[:400], y[:400]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), TransferClassifier()),
        {"transferclassifier__solver": ["ridge", "logistic"]},
        cv=3,
    ).fit(x_ND, y)
    assert search.best_score_ > 0.85 and set(search.cv_results_["rank_test_score"]) <= {1, 2}


def test_probabilities_are_calibrated_on_what_was_not_seen():
    x_ND, y = load_digits(return_X_y=True)
    seen, unseen, y_seen, y_unseen = train_test_split(x_ND, y, train_size=500, random_state=0)
    fitted = TransferClassifier(solver="ridge").fit(seen, y_seen)
    p_NC = fitted.predict_proba(unseen)
    sure = p_NC.max(1).mean()
    right = (fitted.predict(unseen) == y_unseen).mean()
    assert abs(sure - right) < 0.03


def test_weights_of_classes_move_the_border():
    rng = np.random.default_rng(0)
    y = (rng.uniform(size=400) < 0.1).astype(int)
    x_ND = rng.normal(size=(400, 3)) + y[:, None]
    plain = TransferClassifier(solver="ridge").fit(x_ND, y)
    balanced = TransferClassifier(solver="ridge", class_weight="balanced").fit(x_ND, y)
    by_hand = TransferClassifier(solver="ridge").fit(
        x_ND, y, sample_weight=np.where(y, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    )
    assert balanced.predict(x_ND).mean() > plain.predict(x_ND).mean() + 0.1
    np.testing.assert_allclose(balanced.predict_proba(x_ND), by_hand.predict_proba(x_ND), atol=1e-9)


def test_labels_have_a_probability_each():
    rng = np.random.default_rng(0)
    x_ND = rng.normal(size=(200, 6))
    y_NC = (x_ND[:, :3] + 0.3 * rng.normal(size=(200, 3)) > 0).astype(int)
    fitted = TransferClassifier().fit(x_ND, y_NC)
    p_NC = fitted.predict_proba(x_ND)
    assert p_NC.shape == (200, 3) and roc_auc_score(y_NC, p_NC) > 0.95
    np.testing.assert_array_equal(fitted.predict(x_ND), p_NC >= 0.5)


def test_one_number_or_several():
    rng = np.random.default_rng(0)
    x_ND = rng.normal(size=(100, 5))
    y_NC = x_ND[:, :2] * [3, 100] + [10, 1000]
    one, two = TransferRegressor().fit(x_ND, y_NC[:, 0]), TransferRegressor().fit(x_ND, y_NC)
    assert one.predict(x_ND).shape == (100,) and two.predict(x_ND).shape == (100, 2)
    np.testing.assert_allclose(two.predict(x_ND), y_NC, rtol=1e-3, atol=1e-2)


def test_pictures_in_every_form(good, files, task):
    paths, colours = files
    arrays = np.stack([np.asarray(Image.open(path)) for path in paths])
    expected = TransferClassifier(good).fit(paths, colours).predict_proba(paths)
    assert (np.array(sorted(set(colours)))[expected.argmax(1)] == colours).mean() > 0.8
    for x in (
        np.array(paths),
        [Path(path) for path in paths],
        pd.Series(paths),
        pd.DataFrame({"path": paths}),
        arrays,
        list(arrays),
        [Image.open(path) for path in paths],
    ):
        fitted = TransferClassifier(good).fit(x, colours)
        np.testing.assert_allclose(fitted.predict_proba(x), expected, atol=1e-5, err_msg=type(x).__name__)


def test_a_search_sees_every_picture_once(good, files, monkeypatch):
    paths, colours = files
    seen: list[str] = []
    extracted = examples._extracted
    monkeypatch.setattr(examples, "_kept", type(examples._kept)())
    monkeypatch.setattr(
        examples, "_extracted", lambda source, items, *more: seen.extend(items) or extracted(source, items, *more)
    )
    pipeline = make_pipeline(Featurizer(good), StandardScaler(), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.01, 1.0, 100.0]}, cv=3).fit(paths, colours)
    assert search.best_score_ > 0.7
    assert len(seen) == len(set(seen)) == len(paths)


def test_memory_for_features_has_a_bound(good, files, monkeypatch):
    paths, _ = files
    monkeypatch.setattr(examples, "_kept", type(examples._kept)())
    monkeypatch.setattr(examples, "_SMALL", 10 * 16 * 4)
    x_ND = Featurizer(good).fit_transform(paths)
    assert len(examples._kept) == 10
    np.testing.assert_allclose(Featurizer(good).fit_transform(paths), x_ND, rtol=1e-5, atol=1e-6)


def test_a_featurizer_gives_what_the_verb_gives(good, task):
    examples = task.splits["train"]
    featurizer = Featurizer(good).fit(examples.items)
    x_ND = featurizer.transform(examples.items)
    np.testing.assert_array_equal(x_ND, tr.features(good, task, "train").x_ND)
    assert len(featurizer.get_feature_names_out()) == x_ND.shape[1]
    deep = Featurizer(good, depths="several").fit(examples.items)
    names = deep.get_feature_names_out()
    assert len(names) == len(set(names)) == deep.transform(examples.items).shape[1] > x_ND.shape[1]


def test_a_fitted_estimator_is_pickled_and_its_model_saved(good, files, tmp_path):
    paths, colours = files
    for options in ({"remember": True}, {"depths": "several", "remember": True}):
        fitted = TransferClassifier(good, options=options).fit(paths, colours)
        again = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_allclose(again.predict_proba(paths), fitted.predict_proba(paths), atol=1e-5)
    model = load(fitted.model_.save(tmp_path / "m"), trust_code=True)
    answers = [answer["class"] for answer in model.predict(paths)]
    np.testing.assert_array_equal(answers, fitted.predict(paths))
    assert len(model.learnt.digests) == len(paths)


def test_pictures_are_fine_tuned_and_cross_validated(good, files):
    paths, colours = files
    options = {"steps": 20, "rate": 0.003, "augmentation": "none"}
    tuned = TransferClassifier(good, method="finetune", options=options)
    assert cross_val_score(tuned, paths, colours, cv=2).min() > 0.6
    assert tuned.fit(paths, colours).model_.provenance.method == "finetune"


def test_the_main_job_decides_by_evidence(good, files):
    paths, colours = files
    options = {"budget": "2m", "finetune": False}
    fitted = TransferClassifier(good, method="fit", options=options).fit(paths, colours)
    assert fitted.model_.provenance.verb == "fit" and fitted.score(paths, colours) > 0.8


def test_decisions_are_log_odds(good, files):
    x_ND, y = load_digits(return_X_y=True)
    several = TransferClassifier(solver="ridge").fit(x_ND, y)
    np.testing.assert_allclose(expit(several.decision_function(x_ND)), several.predict_proba(x_ND), atol=1e-9)
    two = TransferClassifier(solver="ridge").fit(x_ND, y % 2)
    np.testing.assert_array_equal((two.decision_function(x_ND) > 0).astype(int), two.predict(x_ND))


def test_numbers_from_pictures(good, files):
    paths, _ = files
    light = np.array([np.asarray(Image.open(path)).mean((0, 1)) for path in paths])
    fitted = TransferRegressor(good).fit(paths, light[:, 0], sample_weight=np.ones(len(paths)))
    assert fitted.predict(paths).shape == (len(paths),) and fitted.score(paths, light[:, 0]) > 0.5
    assert TransferRegressor(good).fit(paths, light).predict(paths[:4]).shape == (4, 3)


def test_classes_of_any_type_keep_their_place(good, files):
    paths, colours = files
    numbers = np.unique(colours, return_inverse=True)[1] * 10 - 5  # -5 comes after 5 in natural order
    fitted = TransferClassifier(good).fit(paths, numbers)
    assert list(fitted.classes_) == [-5, 5, 15] and fitted.model_.classes != ("-5", "5", "15")
    assert fitted.score(paths, numbers) > 0.8
    np.testing.assert_array_equal(fitted.classes_[fitted.predict_proba(paths).argmax(1)], fitted.predict(paths))


@pytest.mark.parametrize("blank", [["", "a", "b"], ["a", "a ", "b"]])
def test_blank_and_like_names_are_told_apart(good, files, blank):
    paths, colours = files
    names = np.array(blank, dtype=object)[np.unique(colours, return_inverse=True)[1]]
    assert set(TransferClassifier(good).fit(paths, names).predict(paths)) == set(blank)


def test_one_kind_of_x_does_not_pass_for_the_other(good, files):
    paths, colours = files
    x_ND = np.random.default_rng(0).normal(size=(len(paths), 5))
    seen = TransferClassifier(good).fit(paths, colours)
    with pytest.raises(ValueError, match="`X` must hold pictures"):
        seen.predict(x_ND)
    with pytest.raises(ValueError, match="`X` must hold features"):
        seen.fit(x_ND, colours).predict(paths)
    assert not hasattr(seen, "model_")
    with pytest.raises(ValueError, match="`X` must hold pictures"):
        Featurizer(good).fit(paths).transform(x_ND)
    with pytest.raises(ValueError, match="`X` must hold features"):
        Featurizer(good).fit(x_ND).transform(paths)


def test_what_users_get_wrong_is_a_value_error(good, files):
    paths, colours = files
    x_ND = np.random.default_rng(0).normal(size=(len(paths), 5))
    with pytest.raises(NotFittedError):
        TransferClassifier(good).predict(paths)
    with pytest.raises(ValueError, match="one class only"):
        TransferClassifier(good).fit(x_ND, np.ones(len(x_ND)))
    with pytest.raises(UnknownName, match="Did you mean 'ridge'"):
        TransferClassifier(solver="rigde").fit(x_ND, colours)
    with pytest.raises(UnknownName, match="Did you mean 'finetune'"):
        TransferClassifier(good, method="fintune").fit(paths, colours)
    with pytest.raises(UnknownName, match="Did you mean 'several'"):
        Featurizer(good, depths="severl").fit(paths)
    with pytest.raises(ValueError, match="cannot be read"):
        TransferClassifier(good).fit([*paths[:-1], "nowhere.png"], colours)
    with pytest.raises(ValueError, match="cannot be read"):
        Featurizer(good).fit_transform([*paths[:-1], "nowhere.png"])
    with pytest.raises(UsageError, match=r"nowhere\.png"):
        TransferClassifier(good).fit(paths, colours).predict(["nowhere.png"])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        TransferClassifier(good).fit(paths, colours[:-1])
    with pytest.raises(ValueError, match="finite"):
        TransferClassifier(good).fit(np.full((len(paths), 24, 24, 3), np.nan), colours)


def test_the_seed_may_be_a_generator_or_nothing():
    x_ND, y = load_iris(return_X_y=True)
    nothing, zero = (TransferClassifier(solver="ridge", random_state=state).fit(x_ND, y) for state in (None, 0))
    np.testing.assert_array_equal(nothing.head_.fold_N, zero.head_.fold_N)
    drawn = TransferClassifier(solver="ridge", random_state=np.random.RandomState(3)).fit(x_ND, y)
    assert (drawn.head_.fold_N != zero.head_.fold_N).any()
