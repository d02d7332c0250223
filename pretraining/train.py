"""Pretrain a small network to name the formula behind a picture, for a given number of minutes, and export its trunk.

The schedule follows the clock, so a slower machine sees fewer pictures but ends on time. A run that was interrupted
continues from its checkpoint with the same command.
"""

import argparse
import copy
import hashlib
import json
import math
import multiprocessing
import time
from pathlib import Path

import timm
import torch
from pretraining.fields import FAMILIES, Pool, draw_pool
from pretraining.pictures import Painter
from safetensors.torch import save_file
from torch import Tensor, nn

CLASSES = sum(FAMILIES.values())
SIDES = ((0.5, 48), (1.0, 64))
"""Up to which fraction of the time the pictures have which side in pixels."""


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights and their card")
    parser.add_argument("--work", type=Path, required=True, help="folder of the pool, the checkpoint and the log")
    parser.add_argument("--architecture", default="regnetx_002", help="a timm name")
    parser.add_argument("--minutes", type=float, default=75.0, help="training time; the schedule ends with it")
    parser.add_argument("--side", type=int, default=64, help="input side at use, in pixels; for batch-norm statistics")
    parser.add_argument("--batch", type=int, default=64, help="pictures a step of one worker")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate of AdamW")
    parser.add_argument("--instances", type=int, default=32, help="fields a class in the pool")
    parser.add_argument("--save-every", type=float, default=5.0, help="minutes between checkpoints")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Run:
    """Network, its moving average and optimiser in shared memory, and the clock: what a checkpoint holds.

    Workers are forked processes of one thread each that update the same tensors without locks (Hogwild, arXiv
    1106.5730). On a machine shared with others that is several times faster than one process of several threads,
    which waits at every layer for whichever thread lost its core. The price: no two runs are equal bit by bit.
    """

    def __init__(self, options: argparse.Namespace, pool: Pool):
        torch.manual_seed(options.seed)
        network = timm.create_model(options.architecture, num_classes=CLASSES)
        self.options, self.pool = options, pool
        self.network = network.to(memory_format=torch.channels_last).share_memory()
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(parameter_groups(self.network), lr=options.rate)
        self.steps = torch.zeros((), dtype=torch.int64).share_memory_()
        self.began = time.monotonic()
        self.begin_moments()

    def begin_moments(self) -> None:
        """Let the optimiser make its moments (a step of length zero), and share them between the workers."""
        for group in self.optimiser.param_groups:
            group["lr"] = 0.0
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        self.optimiser.step()
        self.optimiser.zero_grad()
        for state in self.optimiser.state.values():
            for tensor in state.values():
                tensor.share_memory_()

    @property
    def seconds(self) -> float:
        """Time since the run began, without the time between an interruption and its continuation."""
        return time.monotonic() - self.began

    @property
    def progress(self) -> float:
        """Fraction of the time that has gone, 0..1."""
        return min(self.seconds / (60 * self.options.minutes), 1.0)

    def step(self, painter: Painter) -> tuple[float, float]:
        """One optimiser step; returns loss and accuracy on its batch."""
        side = next(side for end, side in SIDES if self.progress <= end)
        painter.severity = min(0.2 + 2 * self.progress, 1.0)
        picture, label = painter.batch(self.options.batch, side)
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.rate * rate_factor(self.progress)
        logits = self.network(picture.contiguous(memory_format=torch.channels_last))
        loss = nn.functional.cross_entropy(logits, label, label_smoothing=0.1)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.steps += 1
        self.follow()
        return loss.item(), (logits.argmax(1) == label).float().mean().item()

    @torch.no_grad()
    def follow(self) -> None:
        """Move the averaged weights a little towards the trained ones."""
        keep = min(0.998, (1 + self.steps.item()) / (10 + self.steps.item()))
        for slow, fast in zip(self.average.parameters(), self.network.parameters(), strict=True):
            slow.lerp_(fast, 1 - keep)

    def save(self, path: Path) -> None:
        """Write a checkpoint; the old one stays whole until the new one is."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "seconds": self.seconds,
            "steps": self.steps,
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint, before the workers start."""
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        for moments in self.optimiser.state.values():
            for tensor in moments.values():
                tensor.share_memory_()
        self.began = time.monotonic() - state["seconds"]
        self.steps.copy_(state["steps"])


def parameter_groups(network: nn.Module) -> list[dict]:
    """Weight decay for matrices and kernels only."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def rate_factor(progress: float) -> float:
    """Linear warm-up over 2 % of the time, then half a cosine to zero."""
    return progress / 0.02 + 0.01 if progress < 0.02 else 0.5 * (1 + math.cos(math.pi * (progress - 0.02) / 0.98))


@torch.no_grad()
def settle_statistics(network: nn.Module, painter: Painter, *, side: int, batches: int) -> None:
    """Estimate batch-norm means and variances anew: those of averaged weights are not the average of any."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    for _ in range(batches):
        network(painter.batch(128, side)[0].contiguous(memory_format=torch.channels_last))
    network.eval()


def compact(tensor: Tensor) -> Tensor:
    """Kernels as float16; the few vectors (biases, batch-norm statistics) as they are."""
    return tensor.half().contiguous() if tensor.ndim > 1 else tensor.clone()


def export(run: Run, *, batches: int) -> dict:
    """Write the averaged trunk without its classifier, and a card beside it; returns the card."""
    options, trunk = run.options, timm.create_model(run.options.architecture, num_classes=0)
    network = copy.deepcopy(run.average)
    painter = Painter(pool=run.pool, generator=torch.Generator().manual_seed(options.seed + 1))
    settle_statistics(network, painter, side=options.side, batches=batches)
    state = {name: compact(network.state_dict()[name]) for name in trunk.state_dict()}
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{options.architecture}.formulas.safetensors"
    save_file(state, path.with_suffix(".part"), metadata={"architecture": options.architecture, "format": "pt"})
    path.with_suffix(".part").chmod(0o644)
    path.with_suffix(".part").replace(path)
    card = describe(run, path, trunk)
    part = path.with_suffix(".json.part")
    part.write_text(json.dumps(card, indent=2) + "\n")
    part.replace(path.with_suffix(".json"))
    return card


def describe(run: Run, path: Path, trunk: nn.Module) -> dict:
    """What a reader of the weights needs to know."""
    options = run.options
    return {
        "name": path.stem,
        "architecture": options.architecture,
        "licence": "Apache-2.0",
        "parameters": sum(parameter.numel() for parameter in trunk.parameters()),
        "features": trunk.num_features,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "preprocessing": {
            "size": [options.side, options.side],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "range": 1.0,
            "interpolation": "bilinear",
        },
        "trained_on": f"pictures generated by formula, {CLASSES} classes: "
        + ", ".join(f"{number} {name}" for name, number in FAMILIES.items())
        + "; no photograph, no drawing, no data set",
        "images_seen": run.steps.item() * options.batch,
        "minutes": round(run.seconds / 60, 1),
        "command": f"python -m pretraining.train --architecture {options.architecture} --minutes {options.minutes:g} "
        f"--side {options.side} --seed {options.seed} --work WORK --out OUT",
    }


def opened_pool(path: Path, *, instances: int, seed: int) -> Pool:
    """Draw the pool, or read the one that an earlier run has drawn with the same arguments."""
    if not path.exists():
        pool = draw_pool(instances=instances, seed=seed)
        torch.save({"fields": pool.fields_CNSS, "family": pool.family_C}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
    stored = torch.load(path, weights_only=True)
    return Pool(fields_CNSS=stored["fields"], family_C=stored["family"])


def work(run: Run, worker: int, checkpoint: Path) -> None:
    """Train until time is up; the first worker also reports and saves."""
    seed = torch.Generator().manual_seed(run.options.seed * 1000 + worker + 1 + run.steps.item())
    painter, saved, recent = Painter(pool=run.pool, generator=seed), run.seconds, []
    run.network.train()
    while run.progress < 1:
        recent.append(run.step(painter))
        if worker == 0 and len(recent) == 100:
            loss, accuracy = torch.tensor(recent).mean(0).tolist()
            rate = run.steps.item() * run.options.batch / run.seconds
            print(f"{run.seconds / 60:6.1f} min {run.steps.item():6d} steps {rate:5.0f} a second", end=" ")
            print(f"loss {loss:.3f} accuracy {accuracy:.3f}", flush=True)
            recent = []
        if worker == 0 and run.seconds - saved > 60 * run.options.save_every:
            saved = run.seconds
            run.save(checkpoint)
            export(run, batches=10)


def main() -> None:
    """Draw, train, export."""
    options = parse()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    pool_path = options.work / f"pool_{options.instances}_{options.seed}.pt"
    run = Run(options, opened_pool(pool_path, instances=options.instances, seed=options.seed))
    checkpoint = options.work / f"{options.architecture}.pt"
    if checkpoint.exists():
        run.load(checkpoint)
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=work, args=(run, n, checkpoint)) for n in range(1, options.workers)]
    for process in others:
        process.start()
    work(run, 0, checkpoint)
    for process in others:
        process.join()
    run.save(checkpoint)
    print(json.dumps(export(run, batches=60), indent=2))


if __name__ == "__main__":
    main()
