"""What every peer script shares: its arguments, the pictures in one order, the checkpoint, the answer in one line.

Peers run in environments of their own, so this imports nothing but the standard library, numpy, torch and safetensors.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "WANDB_DISABLED": "true",
    "CUDA_VISIBLE_DEVICES": "",  # all sides on the CPU
}


def arguments(description: str) -> argparse.Namespace:
    """The arguments of a peer script; what is left out keeps the peer's own default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, help="folder with train/CLASS/* and test/CLASS/*")
    parser.add_argument("weights", type=Path, help="safetensors file of the timm architecture")
    parser.add_argument("name", help="timm architecture")
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--mean", type=float, nargs=3, default=(0.485, 0.456, 0.406))
    parser.add_argument("--std", type=float, nargs=3, default=(0.229, 0.224, 0.225))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--predictions", type=Path, help="where to save the test predictions (.npy)")
    given = parser.parse_args()
    os.environ.update(OFFLINE)
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    import torch

    torch.set_num_threads(given.threads)
    return given


def pictures(data: Path, split: str) -> tuple[list[Path], list[int], list[str]]:
    """Paths, class indices and class names of a split, sorted; the order of the saved predictions."""
    classes = sorted(folder.name for folder in (data / "train").iterdir() if folder.is_dir())
    found = [(path, c) for c, name in enumerate(classes) for path in sorted((data / split / name).iterdir())]
    return [path for path, _ in found], [c for _, c in found], classes


def body_tensors(weights: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The checkpoint's tensors in float32 without its head, and the plain part of timm's configuration."""
    import timm
    from safetensors.torch import load_file

    config = timm.models.get_pretrained_cfg(name)
    described = config.to_dict() if config is not None else dict(timm.create_model(name).default_cfg)
    tensors = {
        key: value.float() if value.is_floating_point() else value
        for key, value in load_file(weights).items()
        if not key.startswith(head_prefixes(described))
    }
    plain = {k: v for k, v in described.items() if isinstance(v, bool | int | float | str | list | tuple | None)}
    return tensors, plain


def head_prefixes(described: Mapping[str, Any]) -> tuple[str, ...]:
    """How the names of the head's tensors begin."""
    heads = described.get("classifier") or "fc"
    return tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))


def timm_config(given: argparse.Namespace, described: Mapping[str, Any]) -> dict[str, Any]:
    """timm's configuration with the preprocessing that all sides share."""
    own = {"input_size": [3, given.size, given.size], "mean": list(given.mean), "std": list(given.std), "crop_pct": 1.0}
    return {**described, **own}


def report_loaded(tensors: Mapping[str, Any], network: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    """How many of the network's own tensors, without its new head, equal the checkpoint's; printed and answered."""
    import torch

    own = {key: value for key, value in network.items() if not key.startswith(head_prefixes(described))}
    same = sum(key in tensors and torch.equal(tensors[key], value.detach().cpu()) for key, value in own.items())
    text = f"{same} of {len(own)} tensors loaded"
    print(text, file=sys.stderr, flush=True)
    if same < 0.9 * len(own):
        raise SystemExit(f"The comparison would be unfair: only {text}. Do the weights belong to this architecture?")
    return text


def answer(given: argparse.Namespace, peer: str, truth: list[int], predicted: Any, **fields: Any) -> None:
    """Save the predictions and print the one JSON line that the harness reads."""
    import numpy as np

    predicted = np.asarray(predicted).astype(np.int64)
    if given.predictions:
        np.save(given.predictions, predicted)
    right = int((predicted == np.asarray(truth)).sum())
    line = {"peer": peer, "n": len(truth), "right": right, "accuracy": right / len(truth), "seed": given.seed}
    print(json.dumps({**line, **fields}), flush=True)


def heal_torchvision() -> None:
    """Let `import torchvision` work where pip paired a CPU torch with a CUDA torchvision.

    Its compiled operators cannot be opened then, and its import fails on the two that it describes. Declaring these
    two lets it import; nothing here calls them. Asked in a process of its own, since a failed import leaves traces.
    """
    healthy = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, check=False)
    if healthy.returncode == 0:
        return
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    importlib.import_module("torchvision")._declared_operators = library  # type: ignore[attr-defined]
