"""scikit-learn's interface on texts: strings in lists, arrays and columns."""

import warnings

import numpy as np
import pandas
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tests.conftest import sentences

import transfuse as tr
from transfuse.fitting.estimators import Featurizer, TransferClassifier, TransferRegressor

WORDS = "builtin:words"
TEXTS, LABELS = sentences(20)


def test_texts_in_every_form_answer_alike() -> None:
    first = TransferClassifier(WORDS).fit(TEXTS, LABELS)
    assert first.classes_.tolist() == sorted(set(LABELS)) and first.score(TEXTS, LABELS) > 0.9
    p_NC = first.predict_proba(TEXTS[:5])
    for x in (np.array(TEXTS), np.array(TEXTS, dtype=object), pandas.Series(TEXTS), pandas.DataFrame({"t": TEXTS})):
        np.testing.assert_allclose(clone(first).fit(x, LABELS).predict_proba(x[:5]), p_NC, atol=1e-6)
    np.testing.assert_allclose(p_NC.sum(1), 1, atol=1e-6)


def test_the_estimator_answers_as_its_model_does(tmp_path) -> None:
    found = TransferClassifier(WORDS).fit(TEXTS, LABELS)
    again = tr.load(found.model_.save(tmp_path / "m"))
    said = [answer["class"] for answer in again.predict(["warm rain today", "a loud guitar"])]
    assert said == found.predict(["warm rain today", "a loud guitar"]).tolist()


def test_searches_and_pipelines_take_texts() -> None:
    search = GridSearchCV(TransferClassifier(WORDS), {"solver": ["ridge", "logistic"]}, cv=2).fit(TEXTS, LABELS)
    assert search.best_score_ > 0.8 and search.best_estimator_.predict(["heavy rain"]).shape == (1,)
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    assert cross_val_score(make_pipeline(lower, TransferClassifier(WORDS)), TEXTS, LABELS, cv=2).mean() > 0.8
    heads = make_pipeline(Featurizer(WORDS), LogisticRegression(C=10))
    assert cross_val_score(heads, TEXTS, LABELS, cv=2).mean() > 0.8


def test_a_network_reads_texts_too(tiny_networks) -> None:
    found = TransferClassifier(str(tiny_networks["bert"])).fit(TEXTS, LABELS)
    assert found.predict_proba(TEXTS[:3]).shape == (3, 3)
    seen = Featurizer(str(tiny_networks["bert"]), depths="several").fit(TEXTS)
    assert seen.transform(TEXTS[:4]).shape == (4, len(seen.get_feature_names_out()))


def test_numbers_and_labels_from_texts() -> None:
    y = np.array([float(len(text)) for text in TEXTS])
    assert TransferRegressor(WORDS).fit(TEXTS, y).predict(TEXTS).shape == y.shape
    labels_NC = np.array([["a" in text, "guitar" in text] for text in TEXTS]).astype(int)
    assert TransferClassifier(WORDS).fit(TEXTS, labels_NC).predict(TEXTS).shape == labels_NC.shape


def test_what_users_get_wrong_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        TransferClassifier(WORDS).fit([*TEXTS[:-1], " "], LABELS)
    with pytest.raises(ValueError, match="must be strings"):
        TransferClassifier(WORDS).fit([np.zeros((8, 8))] * 6, LABELS[:6])
    with pytest.raises(ValueError, match="features"):
        found = TransferClassifier(WORDS).fit(np.eye(6), [0, 1] * 3)
        found.predict(TEXTS[:6])
    with pytest.raises(ValueError, match="read"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        TransferClassifier().fit(
            [f"{row}.jpg" for row in range(len(LABELS))], LABELS
        )  # forgotten pictures are no texts


def test_the_default_counts_the_words_of_texts() -> None:
    found = TransferClassifier().fit(TEXTS, LABELS)
    np.testing.assert_allclose(
        found.predict_proba(TEXTS[:5]), TransferClassifier(WORDS).fit(TEXTS, LABELS).predict_proba(TEXTS[:5])
    )
    assert found.source == "builtin" and found.model_.modality == "text"
    assert TransferClassifier().fit([text + " " * 5000 for text in TEXTS], LABELS).model_.modality == "text"
    y = [float(len(text)) for text in TEXTS]
    assert TransferRegressor().fit(TEXTS, y).score(TEXTS, y) > 0
    assert Featurizer().fit(TEXTS).transform(TEXTS[:4]).shape[0] == 4
