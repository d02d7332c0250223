"""An adapter folded into its base: a checkpoint like a full fine-tune, made block by block while it is read.

W + s·B·A; of DoRA (Liu et al., arXiv 2402.09353) m·(W + s·B·A)/‖W + s·B·A‖, the norm over what one output sees.
Sums are float32 and rounded once to the base's type, as peft's `merge_and_unload` does.
Letters: O rows of the stored weight, I what one row holds, R rank.
"""

import threading
from collections.abc import Mapping
from dataclasses import replace

import torch

from transfuse.core.errors import WeightsError
from transfuse.fusing.checkpoints import Checkpoint
from transfuse.fusing.inputs.adapters import Adapter, Pair
from transfuse.fusing.inputs.computed import Make, computed, elements
from transfuse.fusing.inputs.tying import tied_to
from transfuse.weights.headers import Entry, spoken_shape

_ROWS = 1 << 18
"""Elements that are summed at once for DoRA's norms."""


def folded(adapter: Adapter, base: Checkpoint) -> Checkpoint:
    """The base with the adapter in it. Raises `WeightsError` when they do not belong together."""
    rename = _renaming(adapter, base)
    entries = dict(base.entries)
    _replace(adapter, base, rename, entries)  # first: of an embedding that it adapts peft saves the base's rows as well
    for module, pair in adapter.pairs.items():
        name = rename(module) + ".weight"
        entry = entries.get(name) or tied_to(name, entries)
        if entry is None:
            raise WeightsError(f"The base '{base.path}' must have '{name}', which '{adapter.path}' changes.")
        _require_fit(adapter, name, pair, entry)
        make = _dora(adapter, pair, entry) if pair.magnitude_O is not None else _added(pair, entry)
        entries[name] = replace(computed(entry, make, path=adapter.file), name=name)
        if pair.bias_O is not None:
            _with_bias(adapter, rename(module) + ".bias", pair.bias_O, entries)
    told = f"{len(adapter.pairs)} weights, and {len(adapter.replaced)} tensors that it holds whole."
    notes = (*base.notes, f"'{adapter.path}' is folded into '{base.path}': {told}")
    return replace(base, path=adapter.path, files=(adapter.file, *base.files), entries=entries, notes=notes)


def _replace(adapter: Adapter, base: Checkpoint, rename: "_Renaming", entries: dict[str, Entry]) -> None:
    """Tensors that the adapter holds whole, under the base's names."""
    for name, own in adapter.replaced.items():
        module, _, last = name.rpartition(".")
        known = f"{rename(module)}.{last}"
        own_head = any(saved in module.split(".") for saved in adapter.config.get("modules_to_save") or [])
        if known not in entries and not own_head and tied_to(known, base.entries) is None:
            raise WeightsError(f"The base '{base.path}' must have '{known}', which '{adapter.path}' trained whole.")
        entries[known] = replace(own, name=known)


class _Renaming:
    """From a module's name in the adapter to that in the base: they may differ by what stands before."""

    def __init__(self, cut: str, added: str) -> None:
        self.cut, self.added = cut, added

    def __call__(self, module: str) -> str:
        return self.added + module.removeprefix(self.cut)


def _renaming(adapter: Adapter, base: Checkpoint) -> _Renaming:
    """The shift under which every weight of the adapter is in the base; no shift when there is none."""
    modules = list(adapter.pairs) or [name.rpartition(".")[0] for name in adapter.replaced]
    first = modules[0] if modules else ""
    pieces = first.split(".")
    cuts = [".".join(pieces[:i]) + "." if i else "" for i in range(len(pieces))]
    for cut in cuts:
        tail = first.removeprefix(cut) + ".weight"
        for name in base.entries:
            if name == tail or name.endswith("." + tail):
                shift = _Renaming(cut, name.removesuffix(tail))
                if all(shift(m) + ".weight" in base.entries for m in modules if m.startswith(cut)):
                    return shift
    return _Renaming("", "")


def _require_fit(adapter: Adapter, name: str, pair: Pair, entry: Entry) -> None:
    rows, columns = pair.left_OR.shape[0], pair.right_RI.shape[1]
    if not entry.shape or entry.shape[0] != rows or entry.count != rows * columns:
        raise WeightsError(
            f"'{name}' must have {rows} x {columns} weights, as '{adapter.path}' changes, but has"
            f" {spoken_shape(entry.shape)}. Give the base that the adapter was trained on."
        )


def _sums(pair: Pair, entry: Entry, first: int, last: int) -> torch.Tensor:
    """Rows first..last of W + s·left·right, float32."""
    columns = pair.right_RI.shape[1]
    rows_OI = elements(entry, first * columns, last * columns).float().reshape(last - first, columns)
    return torch.addmm(rows_OI, pair.left_OR[first:last], pair.right_RI, alpha=pair.scale)


def _added(pair: Pair, entry: Entry) -> Make:
    columns = pair.right_RI.shape[1]

    def make(start: int, stop: int) -> torch.Tensor:
        first, last = start // columns, -(-stop // columns)
        return _sums(pair, entry, first, last).reshape(-1)[start - first * columns : stop - first * columns]

    return make


def _dora(adapter: Adapter, pair: Pair, entry: Entry) -> Make:
    """Magnitudes over norms are found once, when the first block is asked for."""
    columns = pair.right_RI.shape[1]
    by_column = adapter.transposed and pair.kind == "linear"
    lock, found = threading.Lock(), list[torch.Tensor]()

    def make(start: int, stop: int) -> torch.Tensor:
        with lock:
            if not found:
                assert pair.magnitude_O is not None
                found.append(pair.magnitude_O / _norms(pair, entry, by_column))
        first, last = start // columns, -(-stop // columns)
        factor = found[0] if by_column else found[0][first:last].unsqueeze(1)
        return (factor * _sums(pair, entry, first, last)).reshape(-1)[start - first * columns : stop - first * columns]

    return make


def _norms(pair: Pair, entry: Entry, by_column: bool) -> torch.Tensor:
    """Length of what every output sees: of a row, or of a column where weights are stored as inputs x outputs."""
    rows, columns = pair.left_OR.shape[0], pair.right_RI.shape[1]
    step = max(1, _ROWS // columns)
    pieces = (_sums(pair, entry, i, min(i + step, rows)) for i in range(0, rows, step))
    if not by_column:
        return torch.cat([piece.norm(dim=1) for piece in pieces])
    total = torch.zeros(columns, dtype=torch.float64)
    for piece in pieces:
        total += piece.double().square().sum(dim=0)
    return total.sqrt().float()


def _with_bias(adapter: Adapter, name: str, added_O: torch.Tensor, entries: dict[str, Entry]) -> None:
    own: Mapping[str, Entry] = entries
    if name not in own:
        raise WeightsError(f"The base must have '{name}', because '{adapter.path}' adds to it (lora_bias).")
    entry = own[name]
    entries[name] = computed(
        entry, lambda start, stop: elements(entry, start, stop).float() + added_O[start:stop], path=adapter.file
    )
