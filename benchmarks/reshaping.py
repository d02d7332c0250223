"""Networks of every kind made wider: whether they still answer the same, and what refused to grow.

    OMP_NUM_THREADS=1 python benchmarks/reshaping.py [--ratios 1.5 2] [--networks resnet18 bert ...]

Networks of timm, transformers and for tables with random weights, where nothing is 0 or 1 that training would move.
Differences are those of a sample that widening did not see, as a share of the largest answer. `copied only` is the
control: the same copies without splitting any weight, which must not pass. Pruning: `reshaping_pruning.py`.
"""

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from transfuse.core.errors import TransfuseError
from transfuse.core.randomness import key
from transfuse.reshaping.resizing import anatomy_of, resized
from transfuse.reshaping.widening import TOLERANCE, _copies, difference, widen
from transfuse.sources.bodies import of_timm
from transfuse.sources.network import Network
from transfuse.sources.tables.network import TabularBody
from transfuse.sources.texts.networks import built

PICTURES = """
resnet18 resnet50 vgg11_bn mobilenetv2_100 mobilenetv3_small_050 efficientnet_b0 tf_efficientnetv2_b0 inception_v3
resnext50_32x4d regnety_002 densenet121 dla34 vovnet39a hgnetv2_b0 repvgg_a0 res2net50_26w_4s seresnet18 convnext_atto
poolformer_s12 vit_tiny_patch16_224 deit_tiny_patch16_224 swin_tiny_patch4_window7_224 mixer_s32_224 resmlp_12_224
mobilevit_xxs edgenext_xx_small fastvit_t8 levit_128s pvt_v2_b0 ghostnet_050 cspresnet50 rexnet_100 skresnet18
inception_next_atto coat_lite_tiny xcit_nano_12_p16_224 cait_xxs24_224
"""
_BERT = {"model_type": "bert", "hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256}
_LLAMA = {"model_type": "llama", "hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
_GPT = {"model_type": "gpt2", "n_embd": 128, "n_head": 4, "n_layer": 3}
TEXTS: Mapping[str, Mapping[str, Any]] = {
    "bert": {**_BERT, "num_hidden_layers": 3},
    "llama": {**_LLAMA, "intermediate_size": 256, "num_hidden_layers": 3},
    "gpt2": _GPT,
}
"""Configurations of transformers, of few layers and words."""


def main() -> None:
    """Print a line for each network and ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratios", type=float, nargs="+", default=[1.5, 2.0])
    parser.add_argument("--networks", nargs="+", default=[*PICTURES.split(), *TEXTS, "table"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    for ratio in given.ratios:
        _table(given.networks, ratio)


def _table(names: list[str], ratio: float) -> None:
    print(f"widen {ratio:g} | parameters, times | float64 | float32 | copied only | grown | kept: why | CPU-s")
    passed = 0
    for name in names:
        begin = time.process_time()
        try:
            told, good = _row(*network_of(name), ratio)
        except TransfuseError as error:
            told, good = f"refused: {error}"[:300], False
        passed += good
        print(f"{name} | {told} | {time.process_time() - begin:.1f}", flush=True)
    print(f"widen {ratio:g}: {passed} of {len(names)} wider within {TOLERANCE:g} in float64\n", flush=True)


def _row(network: Network, sample_of: Callable[[int], Tensor], ratio: float) -> tuple[str, bool]:
    wider, _, facts = widen(network, sample_of(0), ratio)
    other = sample_of(1)
    exact = difference(network, wider, other)
    with torch.no_grad():
        a, b = network(other), wider.eval()(other)
    single = float((a - b).abs().max() / a.abs().max())
    times = _size(wider) / _size(network)
    why = Counter(re.sub(r"(body|head)[\w.]*", "..", reason) for reason in facts["kept"].values())
    reasons = "; ".join(f"{count} {reason}" for reason, count in why.most_common(2))
    unknown = f"; not understood: {len(facts['not_understood'])}" if facts["not_understood"] else ""
    control = difference(network, _copied(network, sample_of(0), facts["grown"]), other)
    cells = (f"{times:.2f}", f"{exact:.1e}", f"{single:.1e}", f"{control:.1e}", str(len(facts["grown"])))
    return f"{' | '.join(cells)} | {len(facts['kept'])}: {reasons}{unknown}", exact <= TOLERANCE


def _copied(network: Network, sample: Tensor, grown: Mapping[str, list[int]]) -> Network:
    """The same copies, no weight split."""
    anatomy = anatomy_of(network, sample)
    names = {units.name: number for number, units in enumerate(anatomy.units)}
    maps = {names[n]: _copies(old, new, key(0, "copies", names[n])) for n, (old, new) in grown.items()}
    return resized(network, anatomy, maps)


def network_of(name: str) -> tuple[Network, Callable[[int], Tensor]]:
    """A network with random weights that are not trivial, and samples of its input by a seed."""
    torch.manual_seed(0)
    if name == "table":
        body: nn.Module = TabularBody([0, 0, 0, 5, 7], 8, (64, 64), 0.1)
        network, sample = Network(body, nn.Linear(64, 7)), _rows
    elif name in TEXTS:
        sizes = {**TEXTS[name], "vocab_size": 100, "max_position_embeddings": 64}
        network, sample = Network(built({"transformers": sizes, "pooling": "mean"}), nn.Linear(128, 7)), _words
    else:
        size = 128 if name == "inception_v3" else 64
        body, head = of_timm(_timm(name, size))
        sample = partial(_pictures, size=size)
        linear = head if isinstance(head, nn.Linear) else nn.Linear(body.eval()(sample(0)).shape[1], 7)
        network = Network(body, linear)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                trivial = tensor.ndim > 1 and not tensor.any()
                tensor += 0.05 * torch.randn_like(tensor) if trivial else 0
                tensor += 0.2 * torch.rand_like(tensor) if tensor.ndim < 2 else 0
    return network.eval().requires_grad_(False), sample


def _timm(name: str, size: int) -> nn.Module:
    try:
        return timm.create_model(name, num_classes=7, img_size=size)
    except TypeError:  # most take pictures of any size
        return timm.create_model(name, num_classes=7)


def _pictures(seed: int, size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


def _words(seed: int) -> Tensor:
    ids = torch.randint(5, 100, (3, 12), generator=torch.Generator().manual_seed(seed))
    ids[-1, 8:] = -1  # padding
    return ids


def _rows(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([torch.rand(4, 3, generator=generator), torch.randint(0, 5, (4, 2), generator=generator)], 1)


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    main()
