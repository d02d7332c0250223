"""What `update` and `forget` share: the sums of a probe, features of more pictures, the model with its new head.

Letters: N examples, D features, C classes or target columns.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import transfuse
from transfuse.core.errors import ModelError, UsageError
from transfuse.core.nouns import Examples, Model, Report, Section, Source, Step, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.predicting.folder import load
from transfuse.predicting.learnt import LEARNT
from transfuse.probing.learnt import WIDEST, Learnt, solved
from transfuse.sources.depths import FINAL, DeepBody
from transfuse.sources.extraction import features
from transfuse.sources.network import Network
from transfuse.sources.opening import Opened
from transfuse.sources.precision import Precision
from transfuse.tuning.starting import write_linear


def probe_of(model: Model | str | Path, *, as_ridge: bool, trust_code: bool) -> tuple[Model, Learnt]:
    """The model and what its head was made of.

    Raises `ModelError` when it does not say, `UsageError` when the head is logistic and must not become a ridge head.
    """
    model = model if isinstance(model, Model) else load(model, trust_code=trust_code)
    learnt = model.learnt
    if learnt is None:
        raise ModelError(
            f"'{model.name}' must be a probe that knows what its head was made of, but does not: it was trained by"
            f" gradient, or made without `remember`, has more than {WIDEST} features, or its {LEARNT} was deleted."
            " Make a probe of the data again with `remember=True` (`fit --remember`, `transfer --set remember=true`)."
        )
    if learnt.solver != "ridge" and not as_ridge:
        scores = " against ".join(f"{learnt.losses.get(name, float('nan')):.4f}" for name in ("ridge", learnt.solver))
        raise UsageError(
            f"The head must be a ridge head, which sums over the examples determine, but is {learnt.solver}. Either"
            f" let it become the ridge head on the same features (`as_ridge=True`, --as-ridge; out-of-fold loss"
            f" {scores}), or make a probe with solver='ridge'."
        )
    return model, replace(learnt, solver="ridge")


def features_of(model: Model, examples: Examples, precision: str, run: Run) -> np.ndarray:
    """What the head sees in these examples, (N, D): computed as for the first fit, and not cached."""
    body, names = model.network.get_submodule("body"), (FINAL,)
    if isinstance(body, DeepBody):
        body, names = body.of, tuple(model.builder["depths"]["names"])
    source = Source(
        reference=model.name,
        name=model.name,
        modality=model.modality,
        origin="model",
        builder=model.builder,
        preprocessing=model.preprocessing,
        digest="",
    )
    opened = Opened(source=source, body=body, source_head=None, match=None, depths=(), feature_size=0)
    task = Task(
        name=model.name,
        modality=model.modality,
        kind=model.kind,
        classes=model.classes,
        splits={"new": examples},
        seed=0,
        digest="",
    )
    wanted: Precision = "fast" if precision.startswith("openvino") else precision  # type: ignore[assignment]
    found = features(opened, task, "new", names, precision=wanted, run=run, cache=False)
    assert isinstance(found, dict)
    return np.concatenate([found[name].x_ND for name in names], axis=1)


def relearnt(model: Model, learnt: Learnt, step: Step) -> Model:
    """The model with the head that the sums determine. Figures of the earlier head do not go with it."""
    head = copy.deepcopy(model.network.get_submodule("head"))
    write_linear(head, solved(learnt), learnt.temperature, model.target_scale)
    network = Network(model.network.get_submodule("body"), head).eval().requires_grad_(False)
    return replace(model, network=network, learnt=learnt, provenance=step, guard=None, metrics={}, report=None)


def step_of(verb: str, model: Model, seconds: float, options: Mapping[str, Any]) -> Step:
    """The record of the verb."""
    return Step(
        verb=verb,
        method="ridge",
        options=options,
        inputs=(model.provenance,),
        seconds=round(seconds, 3),
        version=transfuse.__version__,
    )


def relearning_report(
    model: Model, title: str, rows: tuple[Mapping[str, Any], ...], summary: tuple[str, ...], **more: Any
) -> Report:
    """The model's own report from now on."""
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    provenance = Section(kind="provenance", title="How the model was made", content=plain(model.provenance))
    return Report(title=title, columns=columns, rows=rows, summary=summary, sections=(provenance,), **more)


def changed(before: Model, after: Model) -> str:
    """How far the head moved, in words."""
    old, new = (model.network.get_submodule("head").state_dict()["weight"].double() for model in (before, after))
    share = float((new - old).norm() / max(float(old.norm()), 1e-300))
    return f"The head's weights moved by {share:.2%} of their length."
