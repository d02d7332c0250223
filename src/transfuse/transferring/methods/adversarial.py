"""adversarial: fine-tuning on pictures that are attacked while it learns, so that small changes do not mislead it.

`fgsm`: one step from noise, de Jorge et al., "Make some noise", arXiv 2202.01181 (N-FGSM, which learns more than Wong
et al., arXiv 2001.03994: 59 % against 56 % of digits withstand PGD, at the same cost). `pgd`: Madry et al.,
arXiv 1706.06083. `trades`: Zhang et al., arXiv 1901.08573. eps grows from 0, without which a network that is not robust
yet does not learn (arXiv 2509.23325). Changed: attacks are made in evaluation mode, so that statistics of batch norms
come from the loss's pass alone; each random start is keyed by (seed, example, pass), so that a resumed run is the same;
the weights are chosen by what they withstand of PGD on the validation split, where clean accuracy would take the first
ones; they are not interpolated with the source, which is not robust.

Relations: `finetune` is this with eps 0; with `moves="head"` it is an adversarial linear probe (arXiv 2506.22602).
"""

from dataclasses import replace
from typing import Any, Literal

from transfuse.core.errors import BudgetError, UsageError
from transfuse.core.nouns import Preprocessing, Source, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.perturbing.attacks import Ball, Norm
from transfuse.sources.network import Network
from transfuse.training.averaging import copied
from transfuse.training.loop import Group, Moves
from transfuse.training.options import Fit, default_steps
from transfuse.transferring.attacking import Judge, Threat, on_attacked, raised, trades
from transfuse.tuning.moving import BatchNorm, layerwise
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import require_pictures, start
from transfuse.tuning.targets import as_tensor, target_scale
from transfuse.tuning.tune import Tuned, Workbench, calibrated, tune, workbench

Attack = Literal["fgsm", "pgd", "trades"]
_STEPS = {"fgsm": 1, "pgd": 7, "trades": 10}
_VALIDATIONS = 4
"""Of a training, when the user does not say: each costs a multiple of a clean one."""
_SHARE = 0.6
"""Of the time that is left, for the training under attack; the plain one beside it has the rest."""


def adversarial(
    source: Source,
    task: Task,
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    head: HeadShape = HeadShape(),
    attack: Attack = "fgsm",
    eps: float = 8 / 255,
    norm: Norm = "linf",
    attack_steps: int = 0,
    ramp: float = 0.25,
    beta: float = 6.0,
    moves: Literal["all", "head"] = "all",
    layer_decay: float = 0.8,
    batch_norm: BatchNorm = "frozen",
    compare: bool = True,
) -> Outcome:
    """Learn from attacked pictures; `eps` is in pixels of 0..1, of the pictures as the network sees them.

    `attack_steps` 0 means 1 of `fgsm`, 7 of `pgd`, 10 of `trades`. `ramp` (0..1) is the share of the training in which
    eps grows from 0. `beta` weighs the divergence of `trades`. `moves="head"` leaves the body as it is; the attack goes
    through it. `compare` trains without attack too, as long and at the same rate, to say what robustness costs.
    """
    threat = _threat(source, task, attack, Ball(eps=eps, norm=norm), attack_steps, ramp, fit.seed)
    begin = start(source, task, head=head, fit=fit, run=run)
    bench = workbench(task, source.preprocessing, fit, probe=begin.solved)
    targets = as_tensor(task.splits["valid"].targets, target_scale(task))
    judge = Judge(validation=bench.validation, threat=threat, loss=raised(bench), targets=targets)
    objective = trades(bench, threat, beta) if attack == "trades" else on_attacked(bench, threat)
    moving = _moves(begin.network, moves, layer_decay, batch_norm)
    identity = {"source": source.digest, "method": "adversarial", "attack": attack, "beta": beta, **plain(threat)}
    origin, trains = copied(begin.network), moves == "all" or begin.solved is None
    share = _SHARE if compare and trains else 1.0
    result = tune(
        begin.network, replace(bench, judge=judge), moves=moving, fit=_seldom_validated(fit, len(bench.train_inputs)),
        run=run.part("attacked", share * run.remaining()), objective=objective, identity=identity,
    )  # fmt: skip
    told: dict[str, Any] = {"attack": attack, "eps": eps, "norm": norm, **judge.measured(begin.network)}
    if compare and result.trained.stopped_by != "interrupt":
        found = copied(begin.network)
        begin.network.load_state_dict(origin)
        if not trains or _trained_plainly(begin.network, bench, moving, result, run.part("plain")):
            told["plain"] = judge.measured(begin.network)
        begin.network.load_state_dict(found)
    return Outcome(
        network=begin.network,
        builder=source.builder,
        preprocessing=source.preprocessing,
        head=head,
        temperature=calibrated(begin.network, bench),
        target_scale=target_scale(task),
        curves=result.trained.history,
        facts={**result.facts, "loaded": begin.loaded, "robustness": told},
        interrupted=result.trained.stopped_by == "interrupt",
        licence=source.licence,
    )


def _threat(
    source: Source, task: Task, attack: Attack, ball: Ball, attack_steps: int, ramp: float, seed: int
) -> Threat:
    """The attack that the options mean. Raises `UsageError` for other data than pictures, or TRADES without classes."""
    require_pictures(source, "adversarial")
    assert isinstance(source.preprocessing, Preprocessing)
    usual = _STEPS[chosen("attack", attack, _STEPS)]
    if attack == "trades" and task.kind != "single-label":
        raise UsageError(f"`trades` needs a single-label task, but this one is {task.kind}. Use 'fgsm' or 'pgd'.")
    return Threat(ball=ball, steps=attack_steps or usual, ramp=ramp, seed=seed, preprocessing=source.preprocessing)


def _moves(network: Network, moves: str, layer_decay: float, batch_norm: BatchNorm) -> Moves:
    if chosen("moves", moves, ("all", "head")) == "all":
        return layerwise(network, decay=layer_decay, batch_norm=batch_norm)
    names = tuple(name for name, _ in network.named_parameters() if name.startswith("head."))
    return Moves(groups=(Group(names=names),), still=("body",))


def _seldom_validated(fit: Fit, examples: int) -> Fit:
    steps = fit.steps or default_steps(examples)
    return replace(fit, validate_every=fit.validate_every or max(20, -(-steps // _VALIDATIONS)))


def _trained_plainly(network: Network, bench: Workbench, moves: Moves, like: Tuned, run: Run) -> bool:
    """As long and at the same rate without attack; False when there is no time for it, or it was interrupted."""
    try:
        found = tune(network, bench, moves=moves, fit=like.fit, run=run, identity={"method": "adversarial, plain"})
    except (BudgetError, KeyboardInterrupt):  # what was learnt under attack is kept
        return False
    return found.fit.steps == like.fit.steps and found.trained.stopped_by not in ("time", "interrupt")
