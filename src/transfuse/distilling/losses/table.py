"""The losses by name, for each kind of task, and the weights with which their papers train."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Kind
from transfuse.core.tables import resolve

LOSSES = {
    "kd": "transfuse.distilling.losses.kd:kd",
    "dkd": "transfuse.distilling.losses.dkd:dkd",
    "dist": "transfuse.distilling.losses.dist:dist",
    "logit_std": "transfuse.distilling.losses.logit_std:logit_std",
    "ctkd": "transfuse.distilling.losses.ctkd:CTKD",
    "gkd": "transfuse.distilling.losses.gkd:gkd",
    "fitnet": "transfuse.distilling.losses.fitnet:FitNet",
    "at": "transfuse.distilling.losses.at:at",
    "sp": "transfuse.distilling.losses.sp:sp",
    "rkd": "transfuse.distilling.losses.rkd:rkd",
    "cc": "transfuse.distilling.losses.cc:CC",
    "pkt": "transfuse.distilling.losses.pkt:pkt",
    "nst": "transfuse.distilling.losses.nst:nst",
    "crd": "transfuse.distilling.losses.crd:CRD",
    "mgd": "transfuse.distilling.losses.mgd:MGD",
    "simkd": "transfuse.distilling.losses.simkd:simkd",
    "ofa": "transfuse.distilling.losses.ofa:OFA",
}

ANYWHERE = ("fitnet", "at", "sp", "rkd", "cc", "pkt", "nst", "crd", "mgd")
"""Losses that compare inner layers alone, and so do not ask what the answers are."""
LOSSES_OF: Mapping[Kind, Mapping[str, str]] = {
    "single-label": LOSSES,
    "multi-label": {
        "kd": "transfuse.distilling.losses.bernoulli:bernoulli",
        "simkd": LOSSES["simkd"],
        **{name: LOSSES[name] for name in ANYWHERE},
    },
    "regression": {
        "kd": "transfuse.distilling.losses.values:values",
        **{name: LOSSES[name] for name in ANYWHERE},
    },
}


def loss_of(name: str, kind: Kind) -> Any:
    """The loss of this name for a kind of task. Raises `UsageError` for one that makes no sense there."""
    if name in LOSSES and name not in LOSSES_OF[kind]:
        known = ", ".join(LOSSES_OF[kind])
        raise UsageError(
            f"`method` of a {kind} task must be of {known}, but is '{name}', which is for classes that exclude each"
            " other."
        )
    return resolve(LOSSES_OF[kind], name, "loss of distillation")


@dataclass(frozen=True, kw_only=True)
class Published:
    """Factors of a method's paper or its reference code."""

    loss: float
    labels: float = 1.0
    """On the loss of the labels, when the method is the first of a sum."""


PUBLISHED = {
    "kd": Published(loss=0.9, labels=0.1),
    "dkd": Published(loss=1.0),
    "dist": Published(loss=2.0),
    "logit_std": Published(loss=9.0, labels=0.1),
    "ctkd": Published(loss=0.9, labels=0.1),
    "gkd": Published(loss=1.0, labels=0.0),
    "fitnet": Published(loss=100.0),
    "at": Published(loss=1000.0),
    "sp": Published(loss=3000.0),
    "rkd": Published(loss=1.0),
    "cc": Published(loss=0.02),
    "pkt": Published(loss=30000.0),
    "nst": Published(loss=50.0),
    "crd": Published(loss=0.8),
    "mgd": Published(loss=7e-5),
    "simkd": Published(loss=1.0, labels=0.0),
    "ofa": Published(loss=1.0),
}
