"""The one gradient loop. A method says what moves and what is lost; the loop does the rest.

Everything random is keyed by the step, so a run that was killed and resumed ends with the very weights of an
uninterrupted one (bit for bit on the CPU with the same number of threads).
"""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from transfuse.core.digests import of_value
from transfuse.core.errors import TransfuseError, UsageError
from transfuse.core.provenance import plain
from transfuse.core.randomness import key
from transfuse.core.runs import Run
from transfuse.sources.folding import folded
from transfuse.training import checkpoints
from transfuse.training.averaging import Average, copied
from transfuse.training.batches import Batch, Shown, coming
from transfuse.training.options import Fit
from transfuse.training.precision import autocast
from transfuse.training.schedules import rate_at

Objective = Callable[[nn.Module, Batch], Tensor]
"""(network, batch) -> scalar loss, already weighted."""
Metrics = Mapping[str, float]
Validate = Callable[[nn.Module], Metrics]
"""Network in evaluation mode -> metrics; `score` (higher is better) decides, `loss` breaks ties."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters that share a learning rate."""

    names: tuple[str, ...]
    rate_scale: float = 1.0
    """Factor on the peak rate; 0 freezes."""


@dataclass(frozen=True, kw_only=True)
class Moves:
    """What moves in training: groups of parameters, and modules that stay in evaluation mode."""

    groups: tuple[Group, ...]
    still: tuple[str, ...] = ()
    """Names of modules kept in evaluation mode, such as batch norms whose statistics belong to the source."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What the loop did. The network itself holds the kept weights."""

    steps: int
    best: Metrics
    stopped_by: str
    """`steps`, `patience`, `target`, `time` or `interrupt`."""
    history: tuple[Mapping[str, float], ...] = field(default_factory=tuple)
    """One mapping a validation: step, rate, train_loss, score, loss."""
    seconds: float = 0.0


class Diverged(TransfuseError):
    """The loss is no longer a number."""


def train(
    network: nn.Module,
    batches: Shown,
    *,
    objective: Objective,
    moves: Moves,
    validate: Validate,
    fit: Fit,
    run: Run,
    identity: Mapping[str, Any] | None = None,
) -> Trained:
    """Train `network` in place and leave the best validated (averaged) weights in it.

    `fit.steps` and `fit.rate` must be set. `identity` names the work, so that a checkpoint of other work is not taken
    up. Raises `Diverged` when the loss is not finite, `UsageError` when nothing moves.
    """
    if fit.steps < 1 or fit.rate <= 0:
        raise UsageError(f"`steps` and `rate` must be set before training, but are {fit.steps} and {fit.rate}.")
    with torch.random.fork_rng(devices=[] if not torch.cuda.is_available() else None):
        return _Loop(network, batches, objective, moves, validate, fit, run, identity or {}).train()


class _Loop:
    """State of one training run; private, since only `train` makes one."""

    def __init__(
        self,
        network: nn.Module,
        batches: Shown,
        objective: Objective,
        moves: Moves,
        validate: Validate,
        fit: Fit,
        run: Run,
        identity: Mapping[str, Any],
    ) -> None:
        self.accelerator = Accelerator(cpu=run.device == "cpu")
        self.batches, self.objective, self.validate, self.fit, self.run = batches, objective, validate, fit, run
        network.to(self.accelerator.device).to(memory_format=torch.channels_last)
        self.network, self.moves = network, moves
        self.optimizer = _optimizer(network, moves, fit)
        self.average = Average(network, fit.average) if fit.average else None
        self.every = fit.validate_every or max(20, math.ceil(fit.steps / 12))
        self.fingerprint = of_value({"fit": plain(fit), "moves": plain(moves), **identity})
        self.progress: dict[str, Any] = {"step": 0, "since_best": 0, "best": None, "history": [], "seconds": 0.0}
        self.best: dict[str, Tensor] = {}
        self.losses: list[Tensor] = []

    def train(self) -> Trained:
        started = time.monotonic()
        self._restore()
        before = self.progress["seconds"]
        reason = "steps"
        try:
            with self._folded():
                for batch in coming(self.batches, self.progress["step"], self.fit.steps, self.run.workers):
                    self._step(batch)
                    self.progress["seconds"] = before + time.monotonic() - started
                    if stop := self._after_step():
                        reason = stop
                        break
        except KeyboardInterrupt:
            if not self.best:
                raise
            reason = "interrupt"
        if reason == "time" and self.progress["step"] % self.every:
            self._validate()
        self.network.load_state_dict(self.best or copied(self.network))
        self.network.eval()
        if self.run.checkpoints and reason != "interrupt":
            checkpoints.discard(self.run.checkpoints)
        return Trained(
            steps=self.progress["step"],
            best=self.progress["best"] or {},
            stopped_by=reason,
            history=tuple(self.progress["history"]),
            seconds=self.progress["seconds"],
        )

    def _folded(self) -> contextlib.AbstractContextManager[Any]:
        """Norms that stay still cost nothing: they are folded into the convolutions before them."""
        if not self.moves.still:
            return contextlib.nullcontext()
        return folded(self.network, self.batches.at(0).x[:2].to(self.accelerator.device))

    def _step(self, batch: Batch) -> None:
        step = self.progress["step"]
        torch.manual_seed(key(self.fit.seed, "dropout", step, self.accelerator.process_index))
        self._set_modes()
        share = rate_at(step, self.fit.steps, schedule=self.fit.schedule, warm_up=self.fit.warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = self.fit.rate * group["rate_scale"] * share
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.accelerator.device)
        for piece in self._pieces(batch):
            with autocast(self.accelerator.device, self.fit.precision):
                loss = self.objective(self.network, piece) * (len(piece.y) / len(batch.y))
            self.accelerator.backward(loss)
            total += loss.detach()
        self._share_gradients()
        if self.fit.clip:
            self.accelerator.clip_grad_norm_(self.network.parameters(), self.fit.clip)
        self.optimizer.step()
        if self.average:
            self.average.update(self.network)
        self.losses.append(total)
        self.progress["step"] = step + 1

    def _share_gradients(self) -> None:
        """Mean over processes. Not DistributedDataParallel, so that an objective may call parts of the network."""
        if self.accelerator.num_processes > 1:
            for parameter in self.network.parameters():
                if parameter.grad is not None:
                    parameter.grad = self.accelerator.reduce(parameter.grad, reduction="mean")

    def _pieces(self, batch: Batch) -> Sequence[Batch]:
        """This process's share of the batch, cut for accumulation."""
        cut = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        device, count = self.accelerator.device, self.fit.accumulate
        names = [entry.name for entry in fields(Batch) if entry.name != "done"]
        columns = [getattr(batch, name)[cut].to(device, non_blocking=True).chunk(count) for name in names]
        done = self.progress["step"] / self.fit.steps
        return [Batch(**dict(zip(names, piece, strict=True)), done=done) for piece in zip(*columns, strict=True)]

    def _after_step(self) -> str:
        """Validate and save when it is time to; the reason to stop, or an empty string."""
        step, late = self.progress["step"], self.run.remaining() <= 0
        if step % self.every and step != self.fit.steps:
            self.run.watch({"stage": "training", "done": step, "total": self.fit.steps, "text": self._text()})
            return "time" if late else ""
        self._validate()
        self._save()
        score = self.progress["history"][-1]["score"]
        event = {"stage": "training", "done": step, "total": self.fit.steps, "text": self._text(), "score": score}
        self.run.watch(event)
        if self.fit.target and self.progress["best"]["score"] >= self.fit.target:
            return "target"
        if self.fit.patience and self.progress["since_best"] >= self.fit.patience:
            return "patience"
        return "time" if late and step < self.fit.steps else ""

    def _validate(self) -> None:
        train_loss = torch.stack(self.losses).mean().item() if self.losses else float("nan")
        if not math.isfinite(train_loss):
            raise Diverged(
                f"The training loss became {train_loss} at step {self.progress['step']} with a learning rate of "
                f"{self.fit.rate:g}. Give a smaller `rate`, or leave it out so that it is searched."
            )
        self.losses.clear()
        current = copied(self.network) if self.average else None
        if self.average:
            self.network.load_state_dict(self.average.tensors)
        self.network.eval()
        with torch.inference_mode():
            metrics = dict(self.validate(self.network))
        self._keep_best(metrics)
        if current is not None:
            self.network.load_state_dict(current)
        rate = max(group["lr"] for group in self.optimizer.param_groups)
        self.progress["history"].append(
            {"step": self.progress["step"], "rate": rate, "train_loss": train_loss, **metrics}
        )

    def _keep_best(self, metrics: Metrics) -> None:
        best = self.progress["best"]
        if best is None or (metrics["score"], -metrics["loss"]) > (best["score"], -best["loss"]):
            self.progress["best"], self.progress["since_best"] = dict(metrics), 0
            self.best = copied(self.network)
        else:
            self.progress["since_best"] += 1

    def _set_modes(self) -> None:
        self.network.train()
        for name in self.moves.still:
            self.network.get_submodule(name).eval()

    def _state(self) -> checkpoints.State:
        return checkpoints.State(
            network=self.network,
            optimizer=self.optimizer,
            average=self.average,
            best=self.best,
            progress=self.progress,
        )

    def _save(self) -> None:
        if self.run.checkpoints and self.accelerator.is_main_process:
            checkpoints.save(self.run.checkpoints, self._state(), self.fingerprint)

    def _restore(self) -> None:
        if self.run.checkpoints and checkpoints.restore(self.run.checkpoints, self._state(), self.fingerprint):
            self.run.watch(
                {"stage": "training", "done": self.progress["step"], "total": self.fit.steps, "text": "resumed"}
            )

    def _text(self) -> str:
        best = self.progress["best"]
        return f"validation {best['score']:.3f}" if best else ""


def _optimizer(network: nn.Module, moves: Moves, fit: Fit) -> torch.optim.Optimizer:
    """One optimiser group a (rate, decay) pair; parameters in no group are frozen."""
    parameters = dict(network.named_parameters())
    for parameter in parameters.values():
        parameter.requires_grad_(False)
    groups = []
    for group in moves.groups:
        if group.rate_scale == 0:
            continue
        moving = [parameters[name].requires_grad_(True) for name in group.names]
        for decay, chosen in (
            (fit.weight_decay, [p for p in moving if p.ndim > 1]),
            (0.0, [p for p in moving if p.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "rate_scale": group.rate_scale, "weight_decay": decay, "lr": fit.rate})
    if not groups:
        raise UsageError("At least one parameter must move in training, but every one is frozen.")
    if fit.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=fit.momentum, nesterov=fit.momentum > 0)
    return torch.optim.AdamW(groups, fused=True)
