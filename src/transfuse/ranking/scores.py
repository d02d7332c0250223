"""Scores of transferability and costs, for the columns that inform and do not decide.

Letters: N examples, D features, C classes or target columns, Z classes of the source.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transfuse.core.nouns import Source
from transfuse.core.runs import Run
from transfuse.probing.evidence import h_score, ledoit_wolf, logme
from transfuse.probing.moments import moments
from transfuse.ranking.leep import leep
from transfuse.ranking.looking import Look, part_of, seen, targets_of
from transfuse.ranking.nleep import nleep
from transfuse.ranking.subsets import Subset
from transfuse.ranking.transrate import transrate
from transfuse.sources import inputs
from transfuse.sources.depths import FINAL
from transfuse.sources.opening import Opened, open_source
from transfuse.sources.precision import chosen_precision, device_of, prepared

_ANSWERED = 5000
"""Examples for LEEP: a source may have 20,000 classes."""
_TIMED, _REPEATS = 16, 2

Cell = float | str
"""A score, or why there is none."""


def scores(look: Look, subset: Subset, *, seed: int, run: Run) -> dict[str, Cell]:
    """LogME, LEEP, N-LEEP, H-score and TransRate by column, each a number or the reason why there is none."""
    opened = open_source(look.source)
    x_ND = seen(opened, (look.depth,), subset, run)[look.depth]
    kind, y = subset.task.kind, subset.examples.targets
    targets_NC = targets_of(kind, y, len(subset.task.classes))
    if kind == "regression":
        targets_NC = _standardised(targets_NC)
    of_rows = moments(x_ND, targets_NC, exact=True)
    found: dict[str, Cell] = {"logme": logme(of_rows)}
    for name in ("leep", "nleep", "h_score", "transrate"):
        found[name] = "no classes" if kind == "regression" else "several labels"
    if kind != "single-label":
        return found
    rows = subset.order
    answered: dict[str, Callable[[], Cell]] = {
        "leep": lambda: _leep(opened, look.depth, x_ND[rows[:_ANSWERED]], y[rows[:_ANSWERED]]),
        "nleep": lambda: nleep(x_ND[rows], y[rows], seed=seed),
        "h_score": lambda: h_score(of_rows, shrink=ledoit_wolf(x_ND, of_rows)),
        "transrate": lambda: transrate(x_ND, y),
    }
    return {**found, **{name: score() for name, score in answered.items()}}


def milliseconds(look: Look, run: Run) -> float:
    """What one example takes on this machine without reading it, in batches of 16: the better of two, after one."""
    opened = open_source(look.source)
    device = device_of(run.device)
    compute = prepared(part_of(opened, look.depth), chosen_precision("auto", device), device)
    blank = inputs.blank(opened.source.preprocessing, _TIMED)
    compute(blank)
    taken = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        compute(blank)
        taken.append(time.perf_counter() - started)
    return 1000 * min(taken) / _TIMED


def _leep(opened: Opened, depth: str, x_ND: np.ndarray, y_N: np.ndarray) -> Cell:
    if depth != FINAL:
        return "no head here"
    if opened.source_head is None:
        return "no head"
    if not _classifies(opened.source):
        return "no classes"
    with torch.inference_mode():
        logits_NZ = opened.source_head.float()(torch.from_numpy(np.ascontiguousarray(x_ND, np.float32)))
    if logits_NZ.ndim != 2 or logits_NZ.shape[1] < 2 or not torch.isfinite(logits_NZ).all():
        return "no classes"
    return leep(logits_NZ.double().softmax(1).numpy(), y_N)


def _classifies(source: Source) -> bool:
    """Whether the source's head gives one of several classes; a saved Model says so, of others it is assumed."""
    if source.origin != "model":
        return True
    document: Mapping[str, Any] = json.loads((Path(str(source.weights)).parent / "model.json").read_text())
    return document.get("kind") == "single-label"


def _standardised(values_NC: np.ndarray) -> np.ndarray:
    spread_C = values_NC.std(axis=0)
    return (values_NC - values_NC.mean(axis=0)) / np.where(spread_C > 0, spread_C, 1.0)
