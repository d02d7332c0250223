"""The house behind scikit-learn's interface: for Pipelines, GridSearchCV, and whoever lives there.

X may be a table of numbers, which are features already, so that a head is fitted to them; or pictures (arrays, paths,
Pillow pictures) or texts (strings, to a source of texts), from which `source` gives features, or is fine-tuned.

    search = GridSearchCV(TransferClassifier("timm:resnet18"), {"solver": ["ridge", "logistic"]})
    pipeline = make_pipeline(Featurizer("timm:resnet18"), StandardScaler(), SVC())
    texts = TransferClassifier("builtin:words").fit(["warm rain", "loud guitar"], ["weather", "music"])

A search over what comes after the features is fast behind a `Featurizer`, which sees every picture once. What users can
cause is a ValueError, as scikit-learn wants it. Letters: N rows, D features, C classes, labels or target columns.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import (
    check_is_fitted,
    check_X_y,
    column_or_1d,
    validate_data,
)

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Kind, Source
from transfuse.core.tables import chosen
from transfuse.fitting.examples import (
    as_value_errors,
    class_names,
    examples_in,
    features_of,
    learnt_from,
    names_of,
    seed_of,
    seen_by,
    source_of,
    weights_given,
)
from transfuse.predicting.predict import probabilities
from transfuse.probing.heads import fit_head, logits
from transfuse.sources.precision import Precision


class TransferClassifier(ClassifierMixin, BaseEstimator):
    """Classes or labels, from features, pictures or texts.

    Parameters:
        source: What pictures or texts are seen by: a Source or a reference such as `timm:resnet18`, `hf:NAME` or
            `builtin:words`, for which `builtin` stands where X holds texts. Not asked for features.
        method: For both: a method of transfer, such as `probe` or `finetune`; or `fit`, which decides by evidence.
        solver: `ridge`, `logistic` or `auto`: of the head on features.
        class_weight: None, `balanced` or a weight for each class.
        options: For both: of the method, such as `{"steps": 300}`, or of `fit`: `{"budget": "5m"}`.
        random_state: Of folds, orders, augmentation and random weights; None stands for 0.
        trust_code: Allow a source that is built by the user's own function.

    Attributes:
        classes_: Class labels; for labels (y of 0 and 1, (N, C)) their places.
        head_: The fitted head, after features.
        model_: The fitted Model, after pictures or texts: it can be saved, evaluated, updated.
    """

    def __init__(
        self,
        source: Source | str = "builtin",
        *,
        method: str = "probe",
        solver: str = "auto",
        class_weight: Any = None,
        options: Mapping[str, Any] | None = None,
        random_state: Any = 0,
        trust_code: bool = False,
    ) -> None:
        self.source = source
        self.method = method
        self.solver = solver
        self.class_weight = class_weight
        self.options = options
        self.random_state = random_state
        self.trust_code = trust_code

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "TransferClassifier":
        """Learn from rows of features, pictures or texts."""
        items, X, y = _given(self, X, y, numeric=False)
        check_classification_targets(y)
        labels = type_of_target(y) == "multilabel-indicator"
        y = y if labels else column_or_1d(y, warn=True)
        self.classes_: np.ndarray = np.arange(y.shape[1]) if labels else np.unique(y)
        targets = y if labels else np.searchsorted(self.classes_, y)
        if len(self.classes_) < 2:
            raise UsageError(f"`y` must hold at least 2 classes, but holds one class only: {self.classes_}.")
        weights_N = weights_given(sample_weight, X if items is None else items)
        if self.class_weight is not None:
            factors_N = compute_sample_weight(self.class_weight, y)
            weights_N = factors_N if weights_N is None else weights_N * factors_N
        kind: Kind = "multi-label" if labels else "single-label"
        if items is None:
            return _fit_head(self, X, targets, kind, weights_N, chosen("solver", self.solver, _SOLVERS))
        names = class_names(self.classes_)
        shown = targets if labels else [names[place] for place in targets]
        _fit_model(self, items, shown, kind, weights_N, {"solver": self.solver} if self.method == "probe" else {})
        order = self.model_.classes
        self.columns_ = list(range(len(names))) if labels else [order.index(name) for name in names]
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Calibrated probabilities (N, C); of labels, each by itself."""
        z_NC = _outputs(self, X)
        if hasattr(self, "model_"):
            return z_NC[:, self.columns_]
        z_NC = z_NC / self.head_.temperature
        return expit(z_NC) if self.head_.kind == "multi-label" else softmax(z_NC, axis=1)

    def decision_function(self, X: Any) -> np.ndarray:
        """Log-odds (N, C) behind the probabilities; of two classes those of the second one (N,)."""
        p_NC = self.predict_proba(X).clip(1e-300, 1 - 1e-16)
        log_odds_NC = np.log(p_NC) - np.log1p(-p_NC)
        return log_odds_NC[:, 1] if len(self.classes_) == 2 and not self._has_labels() else log_odds_NC

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class (N,); the labels that are likelier than not, 0 or 1 (N, C)."""
        p_NC = self.predict_proba(X)
        return (p_NC >= 0.5).astype(int) if self._has_labels() else self.classes_[p_NC.argmax(axis=1)]

    def _has_labels(self) -> bool:
        return bool((self.model_ if hasattr(self, "model_") else self.head_).kind == "multi-label")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class TransferRegressor(RegressorMixin, BaseEstimator):
    """One number or several, from features, pictures or texts: parameters and attributes as of `TransferClassifier`."""

    def __init__(
        self,
        source: Source | str = "builtin",
        *,
        method: str = "probe",
        options: Mapping[str, Any] | None = None,
        random_state: Any = 0,
        trust_code: bool = False,
    ) -> None:
        self.source = source
        self.method = method
        self.options = options
        self.random_state = random_state
        self.trust_code = trust_code

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "TransferRegressor":
        """Learn from rows of features, pictures or texts."""
        items, X, y = _given(self, X, y, numeric=True)
        self.flat_ = y.ndim == 1
        weights_N = weights_given(sample_weight, X if items is None else items)
        if items is None:
            return _fit_head(self, X, y, "regression", weights_N, "ridge")
        return _fit_model(self, items, y, "regression", weights_N, {})

    def predict(self, X: Any) -> np.ndarray:
        """Values (N,), or (N, C) where y had columns."""
        values_NC = _outputs(self, X)
        return values_NC[:, 0] if self.flat_ else values_NC

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class Featurizer(TransformerMixin, BaseEstimator):
    """Pictures or texts to what a frozen source sees in them; numbers are features already and pass unchanged.

    Parameters:
        source: A Source or a reference such as `timm:resnet18`.
        depths: `final`, `several` or `many`: up to 1, 4 or 12 depths side by side.
        precision: `auto`, `float32`, `bfloat16` or `fast`.
        trust_code: Allow a source that is built by the user's own function.
    """

    def __init__(
        self,
        source: Source | str = "builtin",
        *,
        depths: str = "final",
        precision: Precision = "auto",
        trust_code: bool = False,
    ) -> None:
        self.source = source
        self.depths = depths
        self.precision = precision
        self.trust_code = trust_code

    def fit(self, X: Any, y: Any = None) -> "Featurizer":
        """Find the source; nothing is learnt but the words of `builtin:words`."""
        _forget_earlier(self)
        items = examples_in(X)
        if items is None:
            validate_data(self, X)
        else:
            chosen("choice of depths", self.depths, ("final", "several", "many"))
            with as_value_errors():
                self.source_ = seen_by(source_of(self.source, self.trust_code, items), items)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features, float32 (N, D)."""
        check_is_fitted(self)
        items = examples_in(X)
        if items is None:
            _refuse_other(self, "source_", "pictures or texts")
            return validate_data(self, X, reset=False)
        _refuse_other(self, "n_features_in_", "features")
        with as_value_errors():
            return features_of(self.source_, items, self.depths, self.precision)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the features: those of the columns that came in, or source, depth and place."""
        check_is_fitted(self)
        if hasattr(self, "source_"):
            return np.array(names_of(self.source_, self.depths), dtype=object)
        own = getattr(self, "feature_names_in_", np.array([f"x{d}" for d in range(self.n_features_in_)], dtype=object))
        return own if input_features is None else np.asarray(input_features, dtype=object)


_SOLVERS = ("auto", "ridge", "logistic")


def _given(estimator: Any, X: Any, y: Any, *, numeric: bool) -> tuple[list[Any] | None, Any, np.ndarray]:
    """(pictures or texts, None, targets), or (None, features, targets), checked as scikit-learn does."""
    _forget_earlier(estimator)
    items = examples_in(X)
    if items is None:
        X, y = validate_data(estimator, X, y, multi_output=True, y_numeric=numeric, ensure_min_samples=2)
    else:
        places = np.arange(len(items), dtype=float)[:, None]
        X, y = None, check_X_y(places, y, multi_output=True, y_numeric=numeric, ensure_min_samples=2)[1]
    return items, X, y


def _fit_head(estimator: Any, X: Any, targets: Any, kind: Kind, weights_N: np.ndarray | None, solver: Any) -> Any:
    with as_value_errors():
        estimator.head_ = fit_head(
            X, targets, kind, method=solver, weights_N=weights_N, seed=seed_of(estimator.random_state)
        )
    return estimator


def _fit_model(
    estimator: Any, items: list[Any], targets: Any, kind: Kind, weights_N: np.ndarray | None, more: Mapping[str, Any]
) -> Any:
    options = {**more, "seed": seed_of(estimator.random_state), **(estimator.options or {})}
    with as_value_errors():
        estimator.model_ = learnt_from(
            source_of(estimator.source, estimator.trust_code, items),
            items,
            targets,
            kind=kind,
            method=estimator.method,
            weights_N=weights_N,
            options=options,
        )
    return estimator


def _outputs(estimator: Any, X: Any) -> np.ndarray:
    """Logits or values of the head, or probabilities or values of the model, (N, C)."""
    check_is_fitted(estimator)
    items = examples_in(X)
    if items is None:
        _refuse_other(estimator, "model_", "pictures or texts")
        return logits(estimator.head_, validate_data(estimator, X, reset=False))
    _refuse_other(estimator, "head_", "features")
    with as_value_errors():
        return probabilities(estimator.model_, items)


def _refuse_other(estimator: Any, fitted: str, what: str) -> None:
    if hasattr(estimator, fitted):
        raise UsageError(f"`X` must hold {what}, as it did when the estimator was fitted, but holds something else.")


def _forget_earlier(estimator: Any) -> None:
    """Attributes of an earlier fit to the other kind of X would mislead."""
    for name in ("head_", "model_", "columns_", "source_", "n_features_in_", "feature_names_in_"):
        if hasattr(estimator, name):
            delattr(estimator, name)
