"""Several tasks made ready to be learnt by one network: what is shown, what is lost, what is validated.

Tasks over the same training examples are one stream, of which each example passes the trunk once a step; every other
task is a stream of its own. A step shows a batch of each stream.
Letters: B examples of a batch, N examples, C classes or target columns of a task, D features, T tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from transfuse.core.nouns import Task
from transfuse.predicting.predict import activated
from transfuse.sources.network import Network, SharedNetwork
from transfuse.sources.opening import Opened
from transfuse.training.batches import Batch, Inputs, inputs_of
from transfuse.training.options import Fit
from transfuse.training.streams import Streams
from transfuse.transferring.sharing.fits import for_task
from transfuse.tuning.augmenting import chosen_augmentation
from transfuse.tuning.targets import scored
from transfuse.tuning.tune import Workbench, workbench


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One task and where its examples come from."""

    task: Task
    bench: Workbench
    stream: int
    """Which of the streams shows its examples."""
    valid_stream: int
    """The first task with the same validation examples: what the network answers to them is asked once."""

    def loss(self, logits_BC: Tensor, index_B: Tensor) -> Tensor:
        """The weighted loss of these training examples, summed."""
        places_B = index_B.cpu()
        y = self.bench.targets[places_B].to(logits_BC.device)
        weights_B = torch.from_numpy(self.bench.weights_N)[places_B].to(logits_BC.device)
        return (self.bench.loss(logits_BC, y) * weights_B).sum()

    def knowing_nothing(self) -> float:
        """The loss of a network that answers 0 to everything: log C, or 1 of standardised columns."""
        blank_NC = torch.zeros(len(self.bench.targets), len(self.task.classes))
        return float(self.loss(blank_NC, torch.arange(len(blank_NC)))) / len(blank_NC)

    def measured(self, logits_NC: np.ndarray) -> dict[str, float]:
        """The validation metric; as `score` (at most 1, whatever the kind) and `loss` in units that add up."""
        validation = self.bench.validation
        outputs_NC = activated(logits_NC, validation.kind, target_scale=validation.scale)
        found = scored(validation.kind, validation.targets, outputs_NC, balanced=validation.balanced)
        if validation.scale is not None:  # as a share of the training split's deviation
            error_NC = (outputs_NC - validation.targets) / np.asarray(validation.scale[1])
            rmse = float(np.sqrt((error_NC**2).mean()))
            found |= {"score": 1 - rmse, "loss": rmse}
        return found


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What a group of tasks is learnt from."""

    each: tuple[Lesson, ...]
    streams: Streams

    def objective(self, network: nn.Module, batch: Batch) -> Tensor:
        """The balanced losses of all tasks, each the weighted mean over its examples of the whole batch."""
        x_BD = network.get_submodule("body")(batch.x)
        share = len(batch.y) / self.streams.batch_size
        losses = []
        for lesson, head in zip(self.each, network.get_submodule("heads").children(), strict=True):
            mine_B = batch.y == lesson.stream
            summed = lesson.loss(head(x_BD[mine_B]), batch.index_B[mine_B])
            losses.append(summed / (self.streams.parts[lesson.stream].batch_size * share))
        return network.get_submodule("balance")(torch.stack(losses), last_shared(network.get_submodule("body")))

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """Mean `score` and `loss` of the tasks, and those of each under its number."""
        found = [lesson.measured(logits_NC) for lesson, logits_NC in zip(self.each, self.logits(network), strict=True)]
        means = {name: float(np.mean([one[name] for one in found])) for name in ("score", "loss")}
        return means | {f"{name} {t}": value for t, one in enumerate(found) for name, value in one.items()}

    def logits(self, network: nn.Module) -> list[np.ndarray]:
        """What every head answers on the validation split of its task, float32 (N, C) each."""
        seen: dict[int, np.ndarray] = {}
        widths = np.cumsum([len(lesson.task.classes) for lesson in self.each])
        found = []
        for t, lesson in enumerate(self.each):
            if lesson.valid_stream not in seen:
                seen[lesson.valid_stream] = lesson.bench.validation.logits(network)
            found.append(np.split(seen[lesson.valid_stream], widths[:-1], axis=1)[t])
        return found

    def curves(self, history: Sequence[Mapping[str, float]], t: int) -> tuple[dict[str, float], ...]:
        """The history of validations as one task saw it."""
        ending = f" {t}"
        common = ("step", "rate", "train_loss")
        return tuple(
            {name: point[name] for name in common}
            | {name.removesuffix(ending): value for name, value in point.items() if name.endswith(ending)}
            for point in history
        )


def prepared(tasks: Sequence[Task], opened: Opened, network: SharedNetwork, fit: Fit, *, solved: bool) -> Lessons:
    """The tasks made ready; `solved` says that the heads answer already, so that mirroring can be tested."""
    preprocessing = opened.source.preprocessing
    first_train, first_valid = (_first_with_same(tasks, split) for split in ("train", "valid"))
    train, words = _train_inputs(tasks, first_train, opened, network if solved else None, fit)
    valid = {t: inputs_of(tasks[t].splits["valid"], preprocessing) for t in set(first_valid)}
    benches = [
        replace(
            workbench(task, preprocessing, for_task(fit, task), inputs=(train[first_train[t]], valid[first_valid[t]])),
            augmentation=words[t],
        )
        for t, task in enumerate(tasks)
    ]
    numbers = {first: number for number, first in enumerate(sorted(set(first_train)))}
    lessons = tuple(
        Lesson(task=task, bench=benches[t], stream=numbers[first_train[t]], valid_stream=first_valid[t])
        for t, task in enumerate(tasks)
    )
    return Lessons(each=lessons, streams=Streams(parts=tuple(benches[first].batches(fit) for first in numbers)))


def _first_with_same(tasks: Sequence[Task], split: str) -> list[int]:
    """For each task the place of the first one with the same examples in this split, itself among them."""
    every = [task.splits[split].digests for task in tasks]
    return [every.index(mine) for mine in every]


def _train_inputs(
    tasks: Sequence[Task], first: Sequence[int], opened: Opened, network: SharedNetwork | None, fit: Fit
) -> tuple[dict[int, Inputs], list[str]]:
    """The training examples of every stream by its first task; and what is done to those of each task, in words.

    Examples of several tasks are mirrored only where that keeps the meaning for all of them.
    """
    preprocessing = opened.source.preprocessing
    heads = list(network.heads) if network is not None else [None] * len(tasks)
    found = [
        chosen_augmentation(task, preprocessing, fit, Network(opened.body, head) if head is not None else None)
        for task, head in zip(tasks, heads, strict=True)
    ]
    inputs: dict[int, Inputs] = {}
    told = [words for _, words in found]
    for place in set(first):
        sharing = [found[t][0] for t in range(len(tasks)) if first[t] == place]
        augmentation = replace(
            sharing[0],
            flip_horizontal=all(one.flip_horizontal for one in sharing),
            flip_vertical=all(one.flip_vertical for one in sharing),
        )
        inputs[place] = inputs_of(tasks[place].splits["train"], preprocessing, augmentation, fit.seed)
        for t in range(len(tasks)):
            if first[t] == place and found[t][0] != augmentation:
                told[t] += " Not mirrored after all: another task on the same examples does not allow it."
    return inputs, told


def last_shared(body: nn.Module) -> nn.Parameter | None:
    """The last matrix of the trunk that moves, at which the tasks' gradients are compared; None when none moves."""
    return next((p for p in reversed(list(body.parameters())) if p.requires_grad and p.ndim > 1), None)
