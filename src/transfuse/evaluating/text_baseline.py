"""What words alone say: tf-idf and a linear model, the yardstick of every report on texts. It is measured, never saved.

Words and pairs of words, and runs of 2 to 5 characters within words, weighted by tf-idf (sublinear), under logistic
regression or ridge (scikit-learn); the strength is chosen on the validation split, the temperature fitted there.
Letters: N examples, C classes or target columns.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transfuse.core.nouns import Examples, Kind, Task
from transfuse.evaluating.assessing import Assessment
from transfuse.evaluating.compare import difference, in_words
from transfuse.measuring.metrics import PRIMARY, higher_is_better, measure
from transfuse.predicting.predict import activated
from transfuse.probing.calibrating import temperature
from transfuse.tasks.texts.reading import text_of

NAME = "tf-idf + linear"
_STRENGTHS = (1.0, 10.0, 100.0)  # inverse regularisation of the logistic; the ridge takes its inverse
_LONGEST = 20_000  # characters of a text that are counted
_MOST = 100_000  # terms of each kind


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A linear model on counted words, fitted to the training split."""

    kind: Kind
    classes: tuple[str, ...]
    terms: Any
    linear: Any
    temperature: float
    strength: float

    def logits(self, items: Sequence[Any]) -> np.ndarray:
        """float64 (N, C): logits, or values for regression."""
        found = self.terms.transform(_texts(items))
        if self.kind == "regression":
            return np.asarray(self.linear.predict(found)).reshape(len(items), -1)
        scores = np.asarray(self.linear.decision_function(found)).reshape(len(items), -1)
        if self.kind == "multi-label":
            return scores
        if len(self.linear.classes_) == 2:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        logits_NC = np.full((len(items), len(self.classes)), -30.0)  # classes without a training example
        logits_NC[:, self.linear.classes_] = scores
        return logits_NC

    def assess(self, examples: Examples) -> Assessment:
        """Its answers on a split."""
        outputs_NC = activated(self.logits(examples.items), self.kind, temperature=self.temperature)
        return Assessment(
            kind=self.kind, classes=self.classes, examples=examples, outputs_NC=outputs_NC, modality="text"
        )


def text_baseline(task: Task, *, seed: int = 0) -> Baseline:
    """Fit it to the training split of a task of texts."""
    train, valid = task.splits["train"], task.splits["valid"]
    terms = _terms().fit(_texts(train.items))
    found, held = terms.transform(_texts(train.items)), valid.targets
    weights_N = train.weights

    def made(strength: float) -> Baseline:
        linear = _fitted(task.kind, strength, found, train.targets, weights_N, seed)
        return Baseline(
            kind=task.kind, classes=task.classes, terms=terms, linear=linear, temperature=1.0, strength=strength
        )

    best = max(map(made, _STRENGTHS), key=lambda one: _score(one, valid))
    if task.kind == "regression":
        return best
    fitted = temperature(best.logits(valid.items).astype(np.float32), held, task.kind)
    return Baseline(**{**vars(best), "temperature": fitted})


def against(name: str, model: Assessment, baseline: Assessment, called: str = NAME) -> str:
    """Whether a model beats the words alone, by the paired difference, in a sentence."""
    gap = difference(model, baseline)
    sentence = in_words(name, called, PRIMARY[model.kind], gap)
    if gap["low"] > 0:
        return sentence
    return f"THE SOURCE DOES NOT BEAT COUNTED WORDS. {sentence}"


def _score(one: Baseline, valid: Examples) -> tuple[float, float]:
    outputs_NC = one.assess(valid).outputs_NC
    metrics = measure(one.kind, valid.targets, outputs_NC)
    name = PRIMARY[one.kind]
    return (metrics[name] if higher_is_better(name) else -metrics[name]), -one.strength


def _terms() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    shared = {"sublinear_tf": True, "max_features": _MOST, "dtype": np.float32}
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **shared)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **shared)
    return FeatureUnion([("words", words), ("characters", characters)])


def _fitted(kind: Kind, strength: float, x: Any, y: np.ndarray, weights_N: np.ndarray | None, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of iterations that end early, and classes that are always or never there
        if kind == "regression":
            return Ridge(alpha=1 / strength, random_state=seed).fit(x, y, sample_weight=weights_N)
        logistic = LogisticRegression(C=strength, max_iter=300, random_state=seed)
        if kind == "single-label":
            return logistic.fit(x, y, sample_weight=weights_N)
        return OneVsRestClassifier(logistic).fit(x, y)


def _texts(items: Sequence[Any]) -> list[str]:
    return [text_of(item)[:_LONGEST].encode("utf-8", "replace").decode() for item in items]
