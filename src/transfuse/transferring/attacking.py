"""A batch attacked while a network learns from it, and the weights judged by what they withstand.

Letters: B pictures, c channels, h w pixels, C classes or target columns, N validation pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Preprocessing
from transfuse.core.randomness import key
from transfuse.measuring.intervals import interval
from transfuse.measuring.metrics import PRIMARY
from transfuse.perturbing import pixels
from transfuse.perturbing.attacks import Ball, Loss, cross_entropy, noisy_fgsm, pgd, still
from transfuse.predicting.predict import activated
from transfuse.training.batches import Batch
from transfuse.training.loop import Objective
from transfuse.tuning.targets import Validation, scored
from transfuse.tuning.tune import Workbench

_JUDGED = 5
"""Steps of the attack that chooses the weights: a single one would not notice a network that only fools FGSM."""
REPORTED = 20
"""Steps of the attack on the finished network."""
_MOST = 512
"""Validation pictures that are attacked."""
_BATCH = 128


@dataclass(frozen=True, kw_only=True)
class Threat:
    """How the pictures of a batch are attacked."""

    ball: Ball
    steps: int
    ramp: float
    """0..1: share of the training in which eps grows from 0."""
    seed: int
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"`attack_steps` must be at least 1, or 0 for the usual number, but is {self.steps}.")
        if not 0 <= self.ramp <= 1:
            raise UsageError(f"`ramp` must be in 0..1, but is {self.ramp}.")

    def at(self, done: float) -> Ball:
        """The ball when this share of the training is done."""
        return replace(self.ball, eps=self.ball.eps * (min(1.0, done / self.ramp) if self.ramp else 1.0))

    def attacked(self, network: nn.Module, batch: Batch, loss: Loss, targets: Tensor) -> Tensor:
        """The batch, ready for the network, where the loss against the targets is large."""
        views = zip(batch.index_B.tolist(), batch.view_B.tolist(), strict=True)
        attack = noisy_fgsm if self.steps == 1 else partial(pgd, steps=self.steps)
        found_Bchw = attack(
            pixels.OnPixels(network, self.preprocessing),
            pixels.denormalised(batch.x.detach(), self.preprocessing),
            targets,
            ball=self.at(batch.done),
            keys_B=[key(self.seed, "attack", index, view) for index, view in views],
            loss=loss,
        )
        return pixels.normalised(found_Bchw, self.preprocessing)


def on_attacked(bench: Workbench, threat: Threat) -> Objective:
    """The task's loss on attacked pictures."""

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        return bench.weighted(network(threat.attacked(network, batch, raised(bench), batch.y)), batch)

    return objective


def raised(bench: Workbench) -> Loss:
    """What attacks make large: of classes the cross-entropy that never goes blind, else the task's loss."""
    return cross_entropy if bench.task.kind == "single-label" else bench.loss


def trades(bench: Workbench, threat: Threat, beta: float) -> Objective:
    """The task's loss on clean pictures + beta · KL(clean ‖ attacked) (Zhang et al., arXiv 1901.08573)."""

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        with still(network):  # detached, not without gradients: autocast would keep weights that have none
            sure_BC = F.log_softmax(network(batch.x).detach().double(), 1)
        x_Bchw = threat.attacked(network, batch, _divergence, sure_BC)
        clean_BC, attacked_BC = network(batch.x), network(x_Bchw)
        apart_B = _divergence(attacked_BC, F.log_softmax(clean_BC.double(), 1))
        return bench.weighted(clean_BC, batch) + beta * (apart_B.float() * batch.weights_B).mean()

    return objective


def _divergence(logits_BC: Tensor, sure_BC: Tensor) -> Tensor:
    """KL(clean ‖ attacked) of each picture, the clean ones by their log-probabilities; float64 as `cross_entropy`."""
    return F.kl_div(F.log_softmax(logits_BC.double(), 1), sure_BC, reduction="none", log_target=True).sum(1)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The validation split under attack, as a function from a network to metrics."""

    validation: Validation
    threat: Threat
    loss: Loss
    targets: Tensor
    """As the loss takes them, of the whole validation split."""

    def __call__(self, network: nn.Module) -> Mapping[str, float]:
        """`score` (higher is better), `loss` and the primary metric, all under attack."""
        outputs_NC, places = self.outputs(network, _JUDGED), self.places
        validation = self.validation
        return scored(validation.kind, validation.targets[places], outputs_NC, balanced=validation.balanced)

    @property
    def places(self) -> np.ndarray:
        """Which validation pictures are attacked: all, or evenly spread ones."""
        count = len(self.validation.inputs)
        return np.unique(np.linspace(0, count - 1, min(count, _MOST)).round().astype(np.int64))

    def outputs(self, network: nn.Module, steps: int) -> np.ndarray:
        """Answers (N, C) after so many steps of PGD; none: the clean pictures."""
        device, found = next(network.parameters()).device, []
        on_pixels = pixels.OnPixels(network, self.threat.preprocessing)
        with torch.inference_mode(False), still(network):  # the loop validates in inference mode: no gradients there
            for start in range(0, len(self.places), _BATCH):
                places_B = self.places[start : start + _BATCH]
                x_Bchw = self.validation.inputs.take(places_B, None).to(device)
                pixels_Bchw = pixels.denormalised(x_Bchw, self.threat.preprocessing)
                if steps:
                    keys_B = [key(self.threat.seed, "judge", place) for place in places_B.tolist()]
                    y_B = self.targets[torch.from_numpy(places_B)].to(device)
                    pixels_Bchw = pgd(
                        on_pixels, pixels_Bchw, y_B, ball=self.threat.ball, keys_B=keys_B, steps=steps, loss=self.loss
                    )
                with torch.no_grad():
                    found.append(on_pixels(pixels_Bchw).cpu().numpy())
        return activated(np.concatenate(found), self.validation.kind, target_scale=self.validation.scale)

    def measured(self, network: nn.Module) -> dict[str, dict[str, float]]:
        """The primary metric on clean and on attacked pictures, with n and interval."""
        kind, targets = self.validation.kind, self.validation.targets[self.places]
        return {
            name: interval(kind, PRIMARY[kind], targets, self.outputs(network, steps))
            for name, steps in {"clean": 0, "robust": REPORTED}.items()
        }
