"""Inner layers of a network read by their module paths, whatever the network.

A hook keeps the tensor that a module gives. If a later operation writes into that tensor (`ReLU(inplace=True)` behind a
batch norm), what is read is no longer what the module gave: a tensor counts its versions, so this is found in a first
pass, and such taps are copied from then on. Modules that run twice, never, or give no tensor are refused.

Letters: B examples, c channels, h w places, T tokens.
"""

import difflib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.errors import UnknownName, UsageError
from transfuse.sources.bodies import gives_channels_last
from transfuse.sources.staging import depths

_EXTRA = (0, 1, 2, 5)  # tokens beside those of the picture: class, distillation, registers


class Taps:
    """What modules of a body give in its latest pass; a context, after which no hook is left."""

    def __init__(self, body: nn.Module, paths: Sequence[str], whose: str) -> None:
        self.body, self.paths, self.whose = body, tuple(dict.fromkeys(paths)), whose
        self.copied: set[str] = set()
        self._given: dict[str, list[tuple[Tensor, int]]] = {}
        known = dict(body.named_modules())
        for path in self.paths:
            if path not in known:
                raise _unknown(path, known, body, whose)
        self._handles = [body.register_forward_pre_hook(lambda *_: self._given.clear())]
        self._handles += [known[path].register_forward_hook(self._keeping(path)) for path in self.paths]

    def __enter__(self) -> "Taps":
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._given.clear()

    def read(self) -> dict[str, Tensor]:
        """By path: maps (B, c, h, w) or features (B, D) of the latest pass."""
        turned = gives_channels_last(self.body)
        return {path: as_map(self._only(path), turned) for path in self.paths}

    def checked(self, x: Tensor) -> dict[str, Tensor]:
        """A first pass on a few examples: overwritten taps are found and copied from now on. Raises `UsageError`."""
        mode = self.body.training
        with torch.no_grad():
            self.body.eval()(x)
            found = {path for path in self.paths if self._only(path)._version != self._given[path][0][1]}
            if found - self.copied:
                self.copied |= found
                self.body(x)
        self.body.train(mode)
        return self.read()

    def _keeping(self, path: str) -> Any:
        def keep(module: nn.Module, given: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                raise UsageError(
                    f"A tap must give one tensor, but '{path}' of the {self.whose} gives {type(output).__name__}. Tap a"
                    " module inside it."
                )
            output = output.clone() if path in self.copied else output
            self._given.setdefault(path, []).append((output, 0 if output.is_inference() else output._version))

        return keep

    def _only(self, path: str) -> Tensor:
        passes = self._given.get(path, [])
        if len(passes) != 1:
            raise UsageError(
                f"A tap must be run once in a pass, but '{path}' of the {self.whose} is run {len(passes)} times. Tap"
                " the block around it."
            )
        return passes[0][0]


def as_map(output: Tensor, channels_last: bool) -> Tensor:
    """Channels second: maps (B, h, w, c) are turned, tokens (B, T, c) laid out as a square, if they are one."""
    if output.ndim == 4:
        return output.movedim(-1, 1) if channels_last else output
    if output.ndim != 3:
        return output
    tokens = output.shape[1]
    extra = next((n for n in _EXTRA if tokens > n and math.isqrt(tokens - n) ** 2 == tokens - n), None)
    if extra is None:
        return output.movedim(-1, 1).unsqueeze(-1)
    side = math.isqrt(tokens - extra)
    return output[:, extra:].movedim(-1, 1).unflatten(2, (side, side))


def places(body: nn.Module) -> tuple[str, ...]:
    """Module paths at which a body can be tapped by default, shallow to deep."""
    known = dict(body.named_modules())
    return tuple(name for name in depths(body) if name in known)


def last_map(body: nn.Module, x: Tensor) -> tuple[str, ...]:
    """The modules that give the last map of more than one place, the outermost first; none without such a map."""
    given: list[tuple[str, Tensor]] = []

    def keeping(name: str) -> Any:
        return lambda module, taken, output: given.append((name, output)) if isinstance(output, Tensor) else None

    handles = [module.register_forward_hook(keeping(name)) for name, module in body.named_modules() if name]
    mode = body.training
    try:
        with torch.no_grad():
            body.eval()(x)
    finally:
        body.train(mode)
        for handle in handles:
            handle.remove()
    turned = gives_channels_last(body)
    maps = [(name, output) for name, output in given if as_map(output, turned)[0, 0].numel() > 1 < output.ndim - 1]
    names = [name for name, output in maps if output is maps[-1][1]]
    once = [name for name in reversed(names) if names.count(name) == 1]  # the latest, where an operation overwrites
    return tuple(sorted(once, key=lambda name: name.count(".")))


def _unknown(path: str, known: dict[str, nn.Module], body: nn.Module, whose: str) -> UnknownName:
    near = difflib.get_close_matches(path, list(known), n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    usual = ", ".join(places(body)[:12]) or "none"
    return UnknownName(f"No module of the {whose} is called '{path}'.{hint} Its depths: {usual}.")
