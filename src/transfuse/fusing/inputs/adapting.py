"""Adapters to one adapter, without their base: ranks side by side, which is exact, or cut back to a rank by SVD.

Σ c·s·B·A = [c₁s₁B₁ ...]·[A₁; ...]: the difference that the parents would add up to, at the sum of their ranks. With a
rank the nearest matrix of that rank is taken (Eckart and Young), from the factors alone. Methods that are not linear
see the differences themselves, with zero as the base. DoRA's lengths do not add up: such adapters are merged folded.

Letters: O, I rows and columns of the stored weight, R rank, P parents.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from transfuse.core import atomic
from transfuse.core.errors import UsageError, WeightsError
from transfuse.core.nouns import DataWarning, Report
from transfuse.core.provenance import plain
from transfuse.fusing import record
from transfuse.fusing.checkpoints import entries_of
from transfuse.fusing.inputs.adapters import CONFIG, FILES, Adapter, Pair, read_adapter
from transfuse.fusing.inputs.computed import torch_type, whole
from transfuse.fusing.pieces import digest_of
from transfuse.fusing.recipes import Recipe
from transfuse.fusing.weights.merging import merged
from transfuse.fusing.weights.methods import METHODS
from transfuse.fusing.weights.options import function_of, require_parents, settled
from transfuse.reporting.files import save_report
from transfuse.weights.files import write_tensors

_PREFIX = "base_model.model."
_MUCH = 0.1
"""Relative error of a cut to a rank that is worth a warning."""


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """One module of the result."""

    left_OR: torch.Tensor
    right_RI: torch.Tensor
    norm: float
    """Of the exact difference."""
    error: float
    """Of what is stored, to the exact difference."""


def merged_adapters(
    recipe: Recipe, out: str | Path | None, *, rank: int | None, replaced: bool, command: str = ""
) -> Report:
    """Merge adapters into a folder that peft opens; `out` None only tells what would be done.

    Raises `UsageError` or `WeightsError` for adapters that cannot be added up.
    """
    if rank is not None and rank < 1:
        raise UsageError(f"`rank` must be above 0, but is {rank}.")
    if len(recipe.slices) > 1 or any(part.layers for part in recipe.slices[0].parts):
        raise UsageError("Adapters must be merged whole, but the recipe has slices. Give the base to fold them in.")
    paths = [part.path for part in recipe.slices[0].parts]
    linear = METHODS[recipe.method].form == "coefficients"
    if not linear and rank is None:
        raise UsageError(f"`{recipe.method}` of adapters must be given a `rank` (--rank): its result has no exact one.")
    require_parents(recipe.method, len(paths), True)
    adapters = [read_adapter(path) for path in paths]
    _require_alike(adapters)
    modules = list(dict.fromkeys(module for adapter in adapters for module in adapter.pairs))
    cuts = {module: _module(recipe, adapters, module, rank) for module in modules}
    tensors = _tensors(recipe, adapters, cuts)
    report = _told(recipe, adapters, cuts, rank, command, out)
    if out is not None:
        _write(recipe, adapters, cuts, tensors, Path(out), replaced, report)
    return report


def _require_alike(adapters: Sequence[Adapter]) -> None:
    first = adapters[0]
    for adapter in adapters:
        if any(pair.magnitude_O is not None for pair in adapter.pairs.values()):
            raise WeightsError(f"'{adapter.path}' uses DoRA, whose lengths do not add up. Give the base (--base).")
        for field in ("fan_in_fan_out", "bias"):
            if (adapter.config.get(field) or False) != (first.config.get(field) or False):
                raise WeightsError(f"Adapters must agree in `{field}`, but '{first.path}' and '{adapter.path}' differ.")
        if set(adapter.replaced) != set(first.replaced):
            names = sorted(set(adapter.replaced) ^ set(first.replaced))
            raise WeightsError(f"'{names[0]}' must be in all adapters, but only some have it. Give the base (--base).")
        for module, pair in adapter.pairs.items():
            other = first.pairs.get(module)
            if other is not None and _form(pair) != _form(other):
                raise WeightsError(f"Adapters must come from one network, but '{module}' has other shapes in two.")


def _form(pair: Pair) -> tuple[Any, ...]:
    return pair.kind, pair.left_OR.shape[0], pair.right_RI.shape[1], pair.kernel


def _options(recipe: Recipe, name: str) -> dict[str, Any]:
    piece = recipe.slices[0]
    own = [[part.settings] for part in piece.parts]
    return settled(recipe.method, [piece.settings, recipe.settings], own, name=name, depth=0.0, compat=recipe.compat)


def _coefficients(recipe: Recipe, name: str) -> list[float]:
    return [float(c) for c in function_of(recipe.method)(None, **_options(recipe, name))]


def _module(recipe: Recipe, adapters: Sequence[Adapter], module: str, rank: int | None) -> _Cut:
    pairs = [adapter.pairs.get(module) for adapter in adapters]
    if METHODS[recipe.method].form != "coefficients":
        return _from_whole(_merged(recipe, pairs, module), rank or 1)
    terms = [(p, c) for p, c in zip(pairs, _coefficients(recipe, module), strict=True) if p is not None]
    left_OR = torch.cat([c * p.scale * p.left_OR.double() for p, c in terms], dim=1)
    right_RI = torch.cat([p.right_RI.double() for p, _ in terms])
    norm = _norm(left_OR, right_RI)
    if rank is None or rank >= left_OR.shape[1]:
        return _Cut(left_OR=left_OR, right_RI=right_RI, norm=norm, error=0.0)
    q_OR, core = torch.linalg.qr(left_OR)
    p_IR, other = torch.linalg.qr(right_RI.T)
    u, s_R, v = torch.linalg.svd(core @ other.T)
    return _halved(q_OR @ u, s_R, v @ p_IR.T, rank)


def _merged(recipe: Recipe, pairs: Sequence[Pair | None], module: str) -> torch.Tensor:
    """The differences of all parents, merged as if they had been added to a base of zeros."""
    known = next(pair for pair in pairs if pair is not None)
    zero_OI = torch.zeros(known.left_OR.shape[0], known.right_RI.shape[1])
    deltas = [zero_OI if pair is None else pair.scale * pair.left_OR @ pair.right_RI for pair in pairs]
    base = None if METHODS[recipe.method].base == "ignored" else zero_OI
    options = _options(recipe, module)
    return merged(recipe.method, deltas, base, name=module, seed=recipe.seed, compat=recipe.compat, **options)


def _from_whole(delta_OI: torch.Tensor, rank: int) -> _Cut:
    u, s_R, v = torch.linalg.svd(delta_OI.double(), full_matrices=False)
    return _halved(u, s_R, v, rank)


def _halved(u_OR: torch.Tensor, s_R: torch.Tensor, v_RI: torch.Tensor, rank: int) -> _Cut:
    """The largest singular values, half of each on either side."""
    root = s_R[:rank].sqrt()
    return _Cut(
        left_OR=u_OR[:, :rank] * root, right_RI=root.unsqueeze(1) * v_RI[:rank],
        norm=float(s_R.norm()), error=float(s_R[rank:].norm()),
    )  # fmt: skip


def _norm(left_OR: torch.Tensor, right_RI: torch.Tensor) -> float:
    """‖left·right‖ from the factors: tr(leftᵀleft · right·rightᵀ)."""
    square = ((left_OR.T @ left_OR) * (right_RI @ right_RI.T)).sum()
    return float(square.clamp(min=0).sqrt())


def _tensors(recipe: Recipe, adapters: Sequence[Adapter], cuts: Mapping[str, _Cut]) -> dict[str, torch.Tensor]:
    """The tensors of the result under peft's names."""
    kind = _kind(recipe, adapters)
    found: dict[str, torch.Tensor] = {}
    for module, cut in cuts.items():
        pair = next(adapter.pairs[module] for adapter in adapters if module in adapter.pairs)
        found |= {name: tensor.to(kind) for name, tensor in _named(module, pair, cut, adapters[0].transposed).items()}
        biases = [adapter.pairs[module].bias_O if module in adapter.pairs else None for adapter in adapters]
        if any(bias is not None for bias in biases):
            terms = zip(_linear(recipe, module + ".bias"), biases, strict=True)
            total = torch.stack([c * bias for c, bias in terms if bias is not None]).sum(dim=0)
            found[f"{_PREFIX}{module}.lora_B.bias"] = total.to(kind)
    for name, entry in adapters[0].replaced.items():
        own = [whole(adapter.replaced[name]) for adapter in adapters]
        if any(tensor.shape != own[0].shape for tensor in own):
            raise WeightsError(f"'{name}' must have one shape in all adapters, but has not.")
        if all(torch.equal(tensor, own[0]) for tensor in own):  # of the base, which peft saved beside its pair
            found[entry.name] = own[0]
            continue
        total = torch.stack([c * t.double() for c, t in zip(_shares(recipe, name), own, strict=True)]).sum(dim=0)
        found[entry.name] = total.to(torch_type(entry.dtype))
    return found


def _linear(recipe: Recipe, name: str) -> list[float]:
    if METHODS[recipe.method].form != "coefficients":
        raise WeightsError(f"`{recipe.method}` must have the base (--base) for what is no pair of matrices: '{name}'.")
    return _coefficients(recipe, name)


def _shares(recipe: Recipe, name: str) -> list[float]:
    """Of tensors that were trained whole; only their mean has a meaning without the base."""
    if recipe.method != "linear":
        raise WeightsError(
            f"'{name}' was trained whole: `{recipe.method}` must have the base (--base) to know how far."
        )
    return _coefficients(recipe, name)


def _kind(recipe: Recipe, adapters: Sequence[Adapter]) -> torch.dtype:
    return getattr(torch, recipe.dtype) if recipe.dtype else torch.float32


def _named(module: str, pair: Pair, cut: _Cut, transposed: bool) -> dict[str, torch.Tensor]:
    left, right = cut.left_OR, cut.right_RI
    start = _PREFIX + module
    if pair.kind == "embedding":
        return {f"{start}.lora_embedding_A": left.T, f"{start}.lora_embedding_B": right.T}
    if pair.kind == "conv":
        ones = (1,) * (len(pair.kernel) - 1)
        right, left = right.reshape(len(right), *pair.kernel), left.reshape(*left.shape, *ones)
    elif transposed:
        left, right = right.T, left.T
    return {f"{start}.lora_A.weight": right, f"{start}.lora_B.weight": left}


def _config(adapters: Sequence[Adapter], cuts: Mapping[str, _Cut]) -> dict[str, Any]:
    """The first adapter's, with the modules and ranks of the result and a scale of 1."""
    ranks = {module: cut.right_RI.shape[0] for module, cut in cuts.items()}
    most = max(ranks.values(), default=1)
    others = {module: rank for module, rank in ranks.items() if rank != most}
    saved = [name for adapter in adapters for name in adapter.config.get("modules_to_save") or []]
    biased = any(pair.bias_O is not None for adapter in adapters for pair in adapter.pairs.values())
    changed = {
        "r": most, "lora_alpha": most, "rank_pattern": others, "alpha_pattern": dict(others), "use_rslora": False,
        "target_modules": sorted(ranks), "exclude_modules": None, "layers_to_transform": None, "layers_pattern": None,
        "modules_to_save": sorted(set(saved)) or None, "init_lora_weights": True, "lora_bias": biased,
        "inference_mode": True, "eva_config": None, "corda_config": None, "lora_ga_config": None, "loftq_config": {},
    }  # fmt: skip
    return {**adapters[0].config, **changed}


def _told(
    recipe: Recipe, adapters: Sequence[Adapter], cuts: Mapping[str, _Cut], rank: int | None, command: str, out: Any
) -> Report:
    rows = [
        {"module": m, "rank": c.right_RI.shape[0], "relative error": c.error / c.norm if c.norm else 0.0}
        for m, c in cuts.items()
    ]
    total = sum(cut.norm**2 for cut in cuts.values()) ** 0.5
    error = sum(cut.error**2 for cut in cuts.values()) ** 0.5 / total if total else 0.0
    worst = max(rows, key=lambda row: float(str(row["relative error"])), default=None)
    exact = "Ranks were put side by side: the result is exact." if rank is None else ""
    cut = f"Cut to rank {rank}: relative error {error:.3g} over all weights" if rank is not None else ""
    cut += f", at most {worst['relative error']:.3g} ('{worst['module']}')." if cut and worst else ""
    bases = list(dict.fromkeys(str(adapter.config.get("base_model_name_or_path")) for adapter in adapters))
    warned = DataWarning(
        code="other-bases",
        message=f"The adapters name different bases ({', '.join(bases)}): their sum may mean nothing.",
    )
    lossy = DataWarning(
        code="rank-too-low",
        message=f"Rank {rank} loses {error:.0%} of the length of what the adapters change. Without --rank it is exact.",
    )
    kept = (
        [f"{len(adapters[0].replaced)} tensors that were trained whole are averaged."] if adapters[0].replaced else []
    )
    return Report(
        title=f"{recipe.method} of {len(adapters)} adapters",
        columns=("module", "rank", "relative error"),
        rows=tuple(rows),
        summary=(exact or cut, *([f"Written to {out}."] if out is not None else []), *kept, *recipe.notes),
        warnings=(*((warned,) if len(bases) > 1 else ()), *((lossy,) if error > _MUCH else ())),
        command=command,
    )


def _write(
    recipe: Recipe,
    adapters: Sequence[Adapter],
    cuts: Mapping[str, _Cut],
    tensors: Mapping[str, torch.Tensor],
    out: Path,
    replaced: bool,
    report: Report,
) -> None:
    target = out.resolve()
    if any(target == adapter.path.resolve() for adapter in adapters):
        raise UsageError(f"`out` must be another folder than its parents, but is '{out}'. Choose a new one.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not (replaced and (out / record.RECORD).is_file()):
        raise UsageError(f"'{out}' must be new, but exists. Choose another, or replace an older result (--replace).")
    parents = {str(a.path): {n: digest_of(e) for n, e in entries_of(a.file).items()} for a in adapters}
    with atomic.writing_folder(out) as part:
        write_tensors(part / FILES[0], tensors, {"format": "pt"})
        (part / CONFIG).write_text(json.dumps(_config(adapters, cuts), indent=2, sort_keys=True), encoding="utf-8")
        written = record.of_file(recipe, part / FILES[0], parents)
        (part / record.RECORD).write_text(json.dumps(plain(written), indent=1, ensure_ascii=False), encoding="utf-8")
        save_report(report, part / "report.json")
