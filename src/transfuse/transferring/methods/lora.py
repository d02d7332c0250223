"""lora: the source's weights stay; low-rank changes of its linear layers and the head learn, and are folded in.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685, by the library peft. Changed: the
head starts as the closed-form probe; the adapters are merged into plain weights at the end, so that the model needs no
peft, and no head can be lost with a separate adapter file.

Relations: `finetune` moves every weight and needs the memory for it; `delta` and `l2sp` hold weights near the source's.
"""

from collections.abc import Iterator

import torch
from torch import nn

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Source, Task
from transfuse.core.randomness import key
from transfuse.core.runs import Run
from transfuse.sources.depths import DeepBody
from transfuse.training.loop import Group, Moves
from transfuse.training.options import Fit
from transfuse.tuning.moving import batch_norms
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import Depths, start
from transfuse.tuning.targets import target_scale
from transfuse.tuning.tune import tune, workbench


def lora(
    source: Source,
    task: Task,
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    head: HeadShape = HeadShape(),
    depths: Depths = "final",
    rank: int = 8,
    alpha: float = 16.0,
    targets: str = "all",
    adapter_dropout: float = 0.0,
) -> Outcome:
    """W + (alpha / rank) B A in place of W, A and B of the given rank.

    `targets` names the layers: `all` linear ones (where there is none, convolutions), or ends of names, such as
    `q_proj,v_proj`. `adapter_dropout` is in
    0..1. `depths` is what the head sees (see `probe`).
    """
    if rank < 1 or not 0 <= adapter_dropout < 1:
        raise UsageError(
            f"`rank` must be at least 1 and `adapter_dropout` in 0..1, but are {rank} and {adapter_dropout}."
        )
    begin = start(source, task, head=head, fit=fit, run=run, depths=depths)
    bench = workbench(task, source.preprocessing, fit, probe=begin.solved)
    body = begin.opened.body.of if isinstance(begin.opened.body, DeepBody) else begin.opened.body
    names = _targets(body, targets)
    _inject(body, names, rank, alpha, adapter_dropout, fit.seed)
    moving = tuple(name for name, _ in begin.network.named_parameters() if _moves(name))
    moves = Moves(groups=(Group(names=moving),), still=batch_norms(begin.network))
    identity = {"source": source.digest, "method": "lora", "rank": rank, "alpha": alpha, "targets": list(names)}
    result = tune(begin.network, bench, moves=moves, fit=fit, run=run, identity=identity)
    sizes = {name: p.numel() for name, p in begin.network.named_parameters() if _moves(name)}
    fold(body)
    return Outcome(
        network=begin.network,
        builder=begin.opened.source.builder,
        preprocessing=source.preprocessing,
        head=head,
        temperature=result.temperature,
        target_scale=target_scale(task),
        curves=result.trained.history,
        facts={
            **result.facts,
            "loaded": begin.loaded,
            "adapted": len(names),
            "moving_parameters": sum(sizes.values()),
        },
        interrupted=result.trained.stopped_by == "interrupt",
        licence=source.licence,
    )


def fold(body: nn.Module) -> int:
    """Replace every adapted layer by a plain one with the merged weights; gives their number."""
    adapted = [(name, module) for name, module in body.named_modules() if hasattr(module, "get_base_layer")]
    for name, module in adapted:
        module.merge()
        body.set_submodule(name, module.get_base_layer())
    for attribute in ("peft_config", "_hf_peft_config_loaded"):
        for module in body.modules():
            module.__dict__.pop(attribute, None)
    return len(adapted)


def _moves(name: str) -> bool:
    return name.startswith("head.") or "lora_" in name


def _targets(body: nn.Module, targets: str) -> tuple[str, ...]:
    """Full names of the layers; raises `UsageError` when there is none."""
    linear = tuple(_linear(body)) or tuple(_convolutions(body))
    wanted = [part.strip() for part in targets.split(",") if part.strip()]
    names = tuple(
        name for name in linear if targets == "all" or any(name == w or name.endswith(f".{w}") for w in wanted)
    )
    if not names:
        ends = sorted({name.rpartition(".")[2] for name in linear})
        raise UsageError(
            f"`targets` must be 'all' or ends of names of linear layers, but is '{targets}'. There are:"
            f" {', '.join(ends) or 'none, so this network takes no adapters; use the method finetune'}."
        )
    return names


def _linear(body: nn.Module) -> Iterator[str]:
    for name, module in body.named_modules():
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":  # GPT-2's transposed linear layer
            yield name


def _convolutions(body: nn.Module) -> Iterator[str]:
    for name, module in body.named_modules():
        if type(module) is nn.Conv2d and module.groups == 1:
            yield name


def _inject(body: nn.Module, names: tuple[str, ...], rank: int, alpha: float, dropout: float, seed: int) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    transposed = any(type(body.get_submodule(name)).__name__ == "Conv1D" for name in names)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=list(names), lora_dropout=dropout, fan_in_fan_out=transposed
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, "lora"))
        inject_adapter_in_model(config, body)
