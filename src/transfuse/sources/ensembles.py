"""Several whole networks as one body: their answers side by side, or their weighted mean. No training, no code.

Every member keeps its own preprocessing (`joint_inputs`), head, temperature and order of classes. The mean is that of
probabilities, not of logits: what it gives is log Σ w·p, of which the softmax is Σ w·p again; of labels that do not
exclude each other logit Σ w·p; of numbers Σ w·v in the user's units.
Letters: B examples, W numbers of an example, M members, C classes, labels or target columns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transfuse.core.errors import SourceError, UsageError
from transfuse.core.nouns import AnyPreprocessing, JointPreprocessing, Kind, Model, TextPreprocessing
from transfuse.sources import bodies, inputs, joint_inputs
from transfuse.sources.network import Network, head_from

Form = Literal["mean", "scores"]
FLOOR = 14.0
"""Log-probabilities and logits beyond it, about one in a million, are cut where they stand side by side."""


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Networks put together."""

    body: "EnsembleBody"
    builder: Mapping[str, Any]
    preprocessing: AnyPreprocessing
    features: int
    """C of the mean, M·C of scores."""


class EnsembleBody(nn.Module):
    """(B, c, h, w), (B, T), (B, K) or, where members prepare examples differently, (B, W) to (B, C) or (B, M·C)."""

    weight_M: Tensor
    temperature_M: Tensor
    order_MC: Tensor
    centre_MC: Tensor
    spread_MC: Tensor

    def __init__(self, members: Sequence[nn.Module], facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.kind, self.form = str(facts["kind"]), str(facts["form"])
        self.view_M = [int(member["view"]) for member in facts["members"]]
        self.views = [(tuple(view["shape"]), bool(view["text"])) for view in facts["views"]]
        count, classes = len(members), int(facts["classes"])
        self.register_buffer("weight_M", torch.full((count,), 1 / count))
        self.register_buffer("temperature_M", torch.ones(count))
        self.register_buffer("order_MC", torch.arange(classes).repeat(count, 1))
        self.register_buffer("centre_MC", torch.zeros(count, classes))
        self.register_buffer("spread_MC", torch.ones(count, classes))

    def layer_names(self) -> tuple[str, ...]:
        """It is read at its end only."""
        return ()

    def at(self, names: tuple[str, ...]) -> nn.Module:
        """There are no other depths."""
        raise SourceError("An ensemble is read at its end only.")

    def layer_of_parameter(self) -> dict[str, int]:
        """All members are one layer."""
        return {name: 0 for name, _ in self.named_parameters()}

    def forward(self, x: Tensor) -> Tensor:
        given = self._cut(x)
        raw = [member(given[view]).float() for member, view in zip(self.members, self.view_M, strict=True)]
        scores_MBC = torch.stack([self._scores(raw_BC, m) for m, raw_BC in enumerate(raw)])
        if self.form == "mean":
            return self._mean(scores_MBC)
        cut = scores_MBC if self.kind == "regression" else scores_MBC.clamp(-FLOOR, FLOOR)
        return torch.cat(list(cut), 1)

    def _cut(self, x: Tensor) -> list[Tensor]:
        """The batch as each view wants it."""
        if len(self.views) == 1:
            return [x]
        parts = x.split([torch.Size(shape).numel() for shape, _ in self.views], 1)
        return [
            inputs.trimmed(part.long()) if text else part.unflatten(1, shape)
            for part, (shape, text) in zip(parts, self.views, strict=True)
        ]

    def _scores(self, raw_BC: Tensor, m: int) -> Tensor:
        """Log-probabilities, logits or values of one member, in the ensemble's order of classes."""
        raw_BC = raw_BC[:, self.order_MC[m]]
        if self.kind == "regression":
            return raw_BC * self.spread_MC[m] + self.centre_MC[m]
        scaled_BC = raw_BC / self.temperature_M[m]
        return F.log_softmax(scaled_BC, 1) if self.kind == "single-label" else scaled_BC

    def _mean(self, scores_MBC: Tensor) -> Tensor:
        if self.kind == "regression":
            return torch.einsum("m,mbc->bc", self.weight_M, scores_MBC)
        share_M11 = self.weight_M.log()[:, None, None]
        if self.kind == "single-label":
            return (scores_MBC + share_M11).logsumexp(0)
        yes_BC = (F.logsigmoid(scores_MBC) + share_M11).logsumexp(0)
        return yes_BC - (F.logsigmoid(-scores_MBC) + share_M11).logsumexp(0)


def ensemble(
    models: Sequence[Model], *, classes: Sequence[str], kind: Kind, form: Form, weight_M: Sequence[float] | None = None
) -> Ensemble:
    """The body of several Models, whose classes are found by name. Raises `UsageError` when these differ."""
    views: list[AnyPreprocessing] = []
    for model in models:
        if model.preprocessing not in views:
            views.append(model.preprocessing)
    facts = {
        "kind": kind,
        "form": form,
        "classes": len(classes),
        "views": [{"shape": list(joint_inputs.shape(v)), "text": isinstance(v, TextPreprocessing)} for v in views],
        "members": [_member(model, views.index(model.preprocessing)) for model in models],
    }
    body = EnsembleBody([model.network for model in models], facts)
    for m, model in enumerate(models):
        body.order_MC[m] = torch.tensor(order(model, classes))
        body.temperature_M[m] = model.temperature
        if model.target_scale is not None:
            for buffer_MC, scale in ((body.centre_MC, model.target_scale[0]), (body.spread_MC, model.target_scale[1])):
                buffer_MC[m] = torch.tensor(scale).index_select(0, body.order_MC[m])
    if weight_M is not None:
        body.weight_M.copy_(torch.tensor(weight_M))
    known = all(view.known for view in views)
    preprocessing = views[0] if len(views) == 1 else JointPreprocessing(views=tuple(views), known=known)
    features = len(classes) * (1 if form == "mean" else len(models))
    return Ensemble(body=body.eval(), builder={"ensemble": facts}, preprocessing=preprocessing, features=features)


def order(model: Model, classes: Sequence[str]) -> list[int]:
    """Where each of these classes stands among those of a Model. Raises `UsageError` when they are others."""
    if sorted(model.classes) != sorted(classes):
        only = [name for name in model.classes if name not in classes][:3]
        lacks = [name for name in classes if name not in model.classes][:3]
        raise UsageError(
            f"Members of an ensemble must have the same classes, but '{model.name}' has {len(model.classes)} and the"
            f" others {len(classes)}: only it has {only}, and it lacks {lacks}."
        )
    return [model.classes.index(name) for name in classes]


def rebuilt(described: Mapping[str, Any], rebuild: Callable[[Mapping[str, Any]], nn.Module]) -> EnsembleBody:
    """The body that a builder's `ensemble` entry describes; `rebuild` makes the bodies of its members."""
    members = [
        Network(rebuild(member["builder"]), head_from(member["head"], member["features"], described["classes"]))
        for member in described["members"]
    ]
    return EnsembleBody(members, described)


def _member(model: Model, view: int) -> dict[str, Any]:
    size = bodies.feature_size(model.network.get_submodule("body"), model.preprocessing)
    return {"builder": model.builder, "head": dict(model.head), "features": size, "view": view}
