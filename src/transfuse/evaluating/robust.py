"""How a model answers when its inputs are changed: by an attacker who knows it, and by noise and damage.

Croce et al., "RobustBench", arXiv 2010.09670, for what is reported; expected robustness, the accuracy at several eps:
arXiv 2509.23325. Letters: B pictures, N examples, c channels, h w pixels, C classes or target columns, E radii.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from transfuse.core.checking import require_kinds
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Examples, Model, Section
from transfuse.core.randomness import key
from transfuse.core.runs import Run
from transfuse.core.tables import chosen, unknown
from transfuse.evaluating.perturbed import under_perturbations
from transfuse.measuring.intervals import interval
from transfuse.perturbing import autoattack, pixels
from transfuse.perturbing.attacks import Ball, cross_entropy, gradient, still, withstood

STEPS = 20
SHARES = (0.25, 0.5, 1.0, 2.0)
"""Of eps: the radii at which the quick attack is tried, so that the curve says more than one point does."""
BLIND = 0.03
"""PGD above AutoAttack by more than this: its gradients do not show the way."""
_BATCH = 100
_SMALL = 64  # pixels of a side up to which published budgets are those of 32 x 32
_USUAL = {("linf", True): 8 / 255, ("linf", False): 4 / 255, ("l2", True): 0.5, ("l2", False): 3.0}
_SPOKEN = {"linf": "L-infinity", "l2": "L2"}
_FIELDS = {"eps": float | None, "norm": str, "attack": str, "examples": int}


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """What is asked about changed inputs."""

    eps: float | None = None
    """Radius in pixels of 0..1. None: 8/255 up to 64 pixels a side and 4/255 above (L2: 0.5 and 3)."""
    norm: Literal["linf", "l2"] = "linf"
    attack: Literal["pgd", "autoattack"] = "pgd"
    """PGD-20 is quick; AutoAttack is the figure that counts."""
    examples: int = 1000
    """At most so many examples are attacked, drawn by the seed."""

    def __post_init__(self) -> None:
        chosen("attack", self.attack, ("pgd", "autoattack"))
        Ball(eps=self.eps or 0.0, norm=self.norm)
        if self.examples < 1:
            raise UsageError(f"`examples` must be at least 1, but is {self.examples}.")


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a report gains."""

    rows: tuple[Mapping[str, Any], ...] = ()
    summary: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()


def asked(robust: bool | Mapping[str, Any] | Robustness) -> Robustness | None:
    """What a user means: nothing, the usual, or options by name. Raises `UnknownName`, `UsageError`, `MissingExtra`."""
    if isinstance(robust, Mapping):
        for name in robust:
            if name not in _FIELDS:
                raise unknown("option of `robust`", name, _FIELDS)
        require_kinds(robust, _FIELDS)
        robust = Robustness(**robust)
    found = robust if isinstance(robust, Robustness) else Robustness() if robust else None
    if found is not None and found.attack == "autoattack":
        autoattack.require_autoattack()  # told before hours of work
    return found


def robustness(model: Model, examples: Examples, wanted: Robustness, *, seed: int = 0, run: Run = Run()) -> Part:
    """Attacks where they are possible, then noise and damage."""
    drawn = sampled(examples, wanted.examples, seed)
    parts = [under_attack(model, drawn, wanted, seed=seed, run=run)]
    rows, sentence, section = under_perturbations(model, drawn, seed=seed, run=run)
    parts.append(Part(rows=(rows,), summary=(sentence,), sections=(section,)))
    return Part(
        rows=tuple(row for part in parts for row in part.rows),
        summary=tuple(line for part in parts for line in part.summary),
        sections=tuple(section for part in parts for section in part.sections),
    )


def sampled(examples: Examples, count: int, seed: int) -> Examples:
    """At most `count` examples, drawn by the seed, in their order."""
    if len(examples) <= count:
        return examples
    random = np.random.default_rng(key(seed, "robust examples"))
    places = np.sort(random.permutation(len(examples))[:count])
    return replace(
        examples,
        items=[examples.items[place] for place in places.tolist()],
        targets=examples.targets[places],
        digests=tuple(examples.digests[place] for place in places),
        names=tuple(examples.names[place] for place in places),
        weights=None if examples.weights is None else examples.weights[places],
        groups=None if examples.groups is None else tuple(examples.groups[place] for place in places),
    )


def under_attack(model: Model, examples: Examples, wanted: Robustness, *, seed: int, run: Run) -> Part:
    """Accuracy under attack at several radii; a sentence instead where there is nothing to follow."""
    why = _impossible(model, examples)
    if why:
        return Part(summary=(f"No attack was tried: {why}",))
    eps = wanted.eps if wanted.eps is not None else usual_eps(model, wanted.norm)
    radii = tuple(share * eps for share in SHARES) if eps else (0.0,)
    right_EN = _under_pgd(model, examples, radii, wanted.norm, seed, run)
    best_N = None
    if wanted.attack == "autoattack":
        best_N = _under_autoattack(model, examples, Ball(eps=eps, norm=wanted.norm), seed, run)
    measured = [_share(right_N, examples, seed) for right_N in right_EN]
    counts = None if best_N is None else _share(best_N, examples, seed)
    return _told(model, radii, eps, wanted, measured, counts)


def usual_eps(model: Model, norm: str) -> float:
    """What is usually reported for pictures of this size."""
    return _USUAL[norm, max(pixels.largest(model.preprocessing).size) <= _SMALL]


def _impossible(model: Model, examples: Examples) -> str:
    """Why the model cannot be attacked along its gradient; nothing when it can."""
    if model.modality != "image":
        return f"attacks are on pixels, and this is a model of {model.modality}s; its own perturbations stand below."
    if model.kind != "single-label":
        return f"attacks are for classes that exclude each other, and this model is {model.kind}."
    x_Bchw, y_B, _ = _batch(model, examples, 0, 0)
    network = pixels.OnPixels(model.network, model.preprocessing)
    try:
        with still(network):
            gradient(network, x_Bchw[:1], y_B[:1], cross_entropy)
    except (UsageError, RuntimeError) as problem:  # torch's own, of a network that cannot be differentiated
        return f"its network has no gradient to follow ({str(problem).splitlines()[0]})."
    return ""


def _under_pgd(
    model: Model, examples: Examples, radii: Sequence[float], norm: Any, seed: int, run: Run
) -> list[np.ndarray]:
    """Right (N,) as they are and within each radius: what a smaller ball broke, a greater one breaks too."""
    network = pixels.OnPixels(model.network, model.preprocessing)
    found, total = [], len(examples) * (len(radii) + 1)
    for start in range(0, len(examples), _BATCH):
        x_Bchw, y_B, keys_B = _batch(model, examples, start, seed)
        right_B = withstood(network, x_Bchw, y_B, ball=Ball(eps=0.0), keys_B=keys_B, steps=0)
        rights = [right_B]
        for radius in radii:
            left = torch.nonzero(rights[-1])[:, 0]
            mine = [keys_B[place] for place in left.tolist()]
            kept_B = withstood(
                network, x_Bchw[left], y_B[left], ball=Ball(eps=radius, norm=norm), keys_B=mine, steps=STEPS
            )
            rights.append(torch.zeros_like(right_B).index_fill_(0, left[kept_B], True))
            done = start * (len(radii) + 1) + len(y_B) * len(rights)
            run.watch({"stage": f"attacking by PGD-{STEPS}", "done": done, "total": total, "text": ""})
        found.append(torch.stack(rights).cpu().numpy())
    return list(np.concatenate(found, axis=1))


def _under_autoattack(model: Model, examples: Examples, ball: Ball, seed: int, run: Run) -> np.ndarray:
    network, found = pixels.OnPixels(model.network, model.preprocessing), []
    for start in range(0, len(examples), _BATCH):
        x_Bchw, y_B, _ = _batch(model, examples, start, seed)
        right_B = autoattack.withstood_all(
            network, x_Bchw, y_B, ball=ball, classes=len(model.classes), seed=key(seed, "autoattack", start) % 2**31
        )
        found.append(right_B.cpu().numpy())
        done = start + len(y_B)
        run.watch({"stage": "attacking by AutoAttack", "done": done, "total": len(examples), "text": ""})
    return np.concatenate(found)


def _batch(model: Model, examples: Examples, start: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    part = slice(start, start + _BATCH)
    device = next(itertools.chain(model.network.parameters(), model.network.buffers())).device
    x_Bchw = pixels.as_pixels(pixels.decoded(examples.items[part], model.preprocessing)).to(device)
    keys_B = [key(seed, "attack", digest) for digest in examples.digests[part]]
    return x_Bchw, torch.from_numpy(examples.targets[part]).to(device), keys_B


def _share(right_N: np.ndarray, examples: Examples, seed: int) -> dict[str, float]:
    """Share of right answers with n and interval."""
    outputs_N2 = np.stack([right_N, ~right_N], 1).astype(float)
    zeros_N = np.zeros(len(right_N), np.int64)
    return interval("single-label", "accuracy", zeros_N, outputs_N2, seed=seed, groups=examples.groups)


def _told(
    model: Model,
    radii: Sequence[float],
    eps: float,
    wanted: Robustness,
    measured: Sequence[Mapping[str, float]],
    counts: Mapping[str, float] | None,
) -> Part:
    """Rows, sentences, table and curve."""
    quick, spoken = f"PGD-{STEPS}", f"{_SPOKEN[wanted.norm]}, eps {spoken_eps(eps)}"
    lines: list[dict[str, Any]] = [
        {"eps": spoken_eps(radius), quick: value} for radius, value in zip((0.0, *radii), measured, strict=True)
    ]
    main = radii.index(eps) + 1
    lines[main]["chosen"] = True
    series = [{"name": quick, "points": [[r, m["value"]] for r, m in zip((0.0, *radii), measured, strict=True)]}]
    rows = [
        {"metric": "accuracy of those attacked", "value": measured[0]},
        {"metric": f"{quick} ({spoken})", "value": measured[main]},
    ]
    columns = ["eps", quick]
    if counts is not None:
        columns, lines[0]["AutoAttack"], lines[main]["AutoAttack"] = [*columns, "AutoAttack"], measured[0], counts
        rows.append({"metric": f"AutoAttack ({spoken})", "value": counts})
        series.append({"name": "AutoAttack", "points": [[0.0, measured[0]["value"]], [eps, counts["value"]]]})
    height, width = pixels.largest(model.preprocessing).size
    note = (
        f"{_SPOKEN[wanted.norm]}; eps in pixels of 0..1 as the network sees them, {height} by {width}. Each radius"
        " attacks what the smaller ones left."
    )
    return Part(
        rows=tuple(rows),
        summary=_sentences(spoken, quick, measured[0], measured[main], counts),
        sections=(
            Section(
                kind="table", title="Accuracy under attack", content={"columns": columns, "rows": lines}, note=note
            ),
            Section(
                kind="curves", title="Accuracy by eps", content={"x": "eps", "y": "accuracy", "series": series}
            ),
        ),
    )  # fmt: skip


def _sentences(
    spoken: str,
    quick: str,
    clean: Mapping[str, float],
    pgd: Mapping[str, float],
    counts: Mapping[str, float] | None,
) -> tuple[str, ...]:
    deciding, name = (pgd, quick) if counts is None else (counts, "AutoAttack")
    found = [
        f"Under {name} ({spoken}) {deciding['value']:.1%} stay right ({deciding['low']:.1%} to {deciding['high']:.1%},"
        f" n = {deciding['n']:.0f}), of {clean['value']:.1%} without attack."
    ]
    if counts is None:
        found.append(f"{quick} is the quick figure and may flatter; `--attack autoattack` gives the one that counts.")
    elif pgd["value"] - counts["value"] > BLIND:
        found.append(
            f"THE GRADIENT ATTACK WAS BLIND: {quick} leaves {100 * (pgd['value'] - counts['value']):.1f} points more"
            " than AutoAttack does. The network's gradients do not show the way (masked gradients)."
        )
    return tuple(found)


def spoken_eps(eps: float) -> str:
    """`8/255` where it is so many whole grey levels, a plain number otherwise."""
    levels = eps * 255
    whole = eps and abs(levels - round(levels)) < 1e-6 and levels <= 64
    return f"{levels:.0f}/255" if whole else f"{eps:.4g}"
