"""transfuse: move what trained models know into the model you need, with proof.

>>> import transfuse as tr
>>> model = tr.fit("photos/", sources=["timm:resnet18"], budget="10m")  # doctest: +SKIP
>>> model.predict(["cat.jpg"])  # doctest: +SKIP
"""

from typing import Any

from transfuse.core.errors import TransfuseError
from transfuse.core.nouns import Features, Model, Report, Source, Task

__version__ = "0.1.0"

_PUBLIC_VERBS = (
    "backup",
    "check",
    "cleaned",
    "compare",
    "convert",
    "distill",
    "drift",
    "evaluate",
    "features",
    "fit",
    "forget",
    "fuse",
    "fuse_features",
    "guard",
    "join",
    "load",
    "perplexity",
    "predict",
    "rank",
    "reshape",
    "restore",
    "save",
    "scan",
    "shrink",
    "source",
    "split",
    "task",
    "transfer",
    "update",
    "verify",
)
_ESTIMATORS = {
    "TransferClassifier": "transfuse.fitting.estimators:TransferClassifier",
    "TransferRegressor": "transfuse.fitting.estimators:TransferRegressor",
    "Featurizer": "transfuse.fitting.estimators:Featurizer",
}
__all__ = ["Features", "Model", "Report", "Source", "Task", "TransfuseError", *_PUBLIC_VERBS, *_ESTIMATORS]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Verbs and estimators are imported when first used, so that `import transfuse` stays fast."""
    from transfuse.core.tables import resolve

    if name in _ESTIMATORS:
        return resolve(_ESTIMATORS, name, "estimator")
    if name in _PUBLIC_VERBS:
        from transfuse.core.verbs import VERBS

        return resolve(VERBS, name, "verb")
    raise AttributeError(f"module 'transfuse' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
