"""Deeper networks and their function: how far the answers of 30 architectures move when their depth is doubled.

OMP_NUM_THREADS=1 python benchmarks/reshaping_depth.py [--times 2] [--only resnet18 ...]

Networks of timm with random weights on random pictures, and of transformers (small ones of each kind, random weights)
on random tokens. Printed: blocks added by kind (copies with a silent branch, gated copies, new ones), parameters before
and after, the largest difference of an answer relative to the largest answer, in evaluation and in training mode
(dropout and stochastic depth off, since they are random in both), and CPU-seconds of one thread.
"""

import argparse
import copy
import time
import warnings
from collections.abc import Iterator
from typing import Any

import timm
import torch
import transformers
from torch import Tensor, nn

from transfuse.core.errors import TransfuseError
from transfuse.reshaping.deepening import deepen, deviation
from transfuse.sources.bodies import of_timm
from transfuse.sources.network import Network
from transfuse.sources.texts.networks import TextBody

_PICTURE: dict[str, Any] = {"img_size": 64}
SMALL: dict[str, dict[str, Any]] = {
    "resnet18": {}, "resnet50": {}, "resnext50_32x4d": {}, "regnetx_002": {}, "regnety_002": {}, "nf_resnet26": {},
    "densenet121": {}, "vgg11_bn": {}, "mobilenetv2_100": {}, "mobilenetv3_small_050": {}, "efficientnet_b0": {},
    "ghostnet_050": {"drop_rate": 0.0}, "hrnet_w18_small": {}, "repvgg_a0": {}, "poolformer_s12": {}, "nfnet_f0": {},
    "edgenext_xx_small": {}, "convnext_atto": {}, "pvt_v2_b0": {}, "mobilevit_xxs": {}, "maxvit_tiny_rw_224": _PICTURE,
    "vit_tiny_patch16_224": _PICTURE, "mixer_s32_224": _PICTURE, "xcit_nano_12_p16_224": _PICTURE,
    "cait_xxs24_224": _PICTURE, "swin_tiny_patch4_window7_224": _PICTURE, "beit_base_patch16_224": _PICTURE,
}  # fmt: skip
LARGE: dict[str, dict[str, Any]] = {
    "inception_v3": {}, "coatnet_nano_rw_224": {}, "efficientformer_l1": {}, "gmlp_ti16_224": {},
}  # fmt: skip
"""Of pictures of 224 x 224 instead of 64 x 64."""
_SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
_STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
_GPT2_STILL = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
TEXTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {**_SIZES, **_STILL}),
    "roberta": ("Roberta", {**_SIZES, **_STILL}),
    "electra": ("Electra", {**_SIZES, **_STILL, "embedding_size": 8}),
    "modernbert": ("ModernBert", {**_SIZES, "pad_token_id": 0}),
    "llama": ("Llama", {**_SIZES, "num_key_value_heads": 1}),
    "qwen2": ("Qwen2", {**_SIZES, "num_key_value_heads": 1}),
    "gemma2": ("Gemma2", {**_SIZES, "num_key_value_heads": 1, "head_dim": 8}),
    "gpt2": ("GPT2", {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, **_GPT2_STILL}),
}


def main() -> None:
    """Print a line an architecture, and the worst at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=float, default=2.0)
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(
        f"{'network':30}{'copies':>7}{'gated':>6}{'new':>5}{'before':>12}{'after':>12}{'eval':>9}{'train':>9}{'s':>6}"
    )
    worst, count = 0.0, 0
    for name, network, x in _networks(arguments.only):
        try:
            worst, count = max(worst, _line(name, network, x, arguments.times)), count + 1
        except TransfuseError as error:
            print(f"{name:30} refused: {str(error)[:120]}", flush=True)
    print(f"{count} architectures; the largest relative difference is {worst:.2g}.")


def _networks(only: list[str]) -> Iterator[tuple[str, Network, Tensor]]:
    for names, size in ((SMALL, 64), (LARGE, 224)):
        for name, options in names.items():
            if not only or name in only:
                body, head = of_timm(timm.create_model(name, num_classes=10, **options))
                yield name, Network(body.eval(), head or nn.Identity()).eval(), torch.randn(2, 3, size, size)
    for name, (kind, sizes) in TEXTS.items():
        if not only or name in only:
            config = getattr(transformers, f"{kind}Config")(**sizes)
            net = getattr(transformers, f"{kind}Model")(config)
            net.pooler = None
            ids = torch.randint(4, 64, (2, 12))
            yield name, Network(TextBody(net.eval(), "mean"), nn.Linear(16, 10)).eval(), ids


def _line(name: str, network: Network, x: Tensor, times: float) -> float:
    begin = time.process_time()
    deeper, _, facts = deepen(network, x, times)
    seconds = time.process_time() - begin
    other = torch.randn_like(x) if x.is_floating_point() else torch.randint_like(x, 4, 64)
    still = deviation(network, deeper, other)
    moving = deviation(_training(network), _training(deeper), other)
    blocks, (before, after) = facts["blocks"], facts["parameters"]
    counts = f"{blocks['copy']:7}{blocks['gated']:6}{blocks['new']:5}{before:12,}{after:12,}"
    print(f"{name:30}{counts}{still:9.1g}{moving:9.1g}{seconds:6.1f}", flush=True)
    return max(still, moving)


def _training(network: Network) -> nn.Module:
    """A copy in training mode in which nothing is left out at random."""
    copied = copy.deepcopy(network).train()
    for module in copied.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    return copied


if __name__ == "__main__":
    main()
