"""Frozen linear probes: the exported trunk against the same network with random weights, and against raw pixels.

Two data sets, never seen in pretraining: scikit-learn's digits with few labels, and a folder of photographs
(`DATA/train/CLASS/*`, `DATA/test/CLASS/*`). The probe is ridge regression on standardised features; its strength is
chosen by leave-one-out on the training part. Differences carry a 95 % interval from a bootstrap that resamples test
examples, random initialisations and label draws together.

Shape letters: N examples, D features, R random networks, L label draws.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="the exported .safetensors; its card lies beside it")
    parser.add_argument("--photos", type=Path, help="class folders under train/ and test/")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 128], help="input sides in pixels")
    parser.add_argument("--networks", type=int, default=5, help="random initialisations")
    parser.add_argument("--draws", type=int, default=10, help="label draws of the digits")
    parser.add_argument("--labels", type=int, default=20, help="labels a class of the digits")
    parser.add_argument("--validate", action="store_true", help="score by 5 folds of the training part, not on test")
    return parser.parse_args()


def digits() -> tuple[Tensor, np.ndarray]:
    """scikit-learn's 1797 digits as (N, 3, 8, 8) in 0..1, and their classes."""
    picture_ND, label_N = load_digits(return_X_y=True)
    picture = torch.as_tensor(picture_ND / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return picture.expand(-1, 3, -1, -1), label_N


def photographs(folder: Path) -> tuple[Tensor, np.ndarray]:
    """Photographs of class folders as (N, 3, 128, 128) in 0..1, upright, and their classes."""
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    names = sorted({path.parent.name for path in files})
    pictures = []
    for path in files:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB").resize((128, 128), Image.Resampling.BILINEAR)
        pictures.append(torch.from_numpy(np.array(upright)).permute(2, 0, 1).float() / 255)
    return torch.stack(pictures), np.array([names.index(path.parent.name) for path in files])


def resized(picture: Tensor, side: int) -> Tensor:
    """Bilinear resize with antialiasing, then -1..1."""
    scaled = nn.functional.interpolate(picture, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return scaled * 2 - 1


@torch.inference_mode()
def features(network: nn.Module, picture: Tensor, side: int) -> dict[str, np.ndarray]:
    """`last`: pooled penultimate features (N, D); `stages`: the means of the last four stages side by side."""
    last, stages = [], []
    for part in picture.split(128):
        final, maps = network.forward_intermediates(resized(part, side), norm=True)
        last.append(network.forward_head(final))
        stages.append(torch.cat([stage.mean((2, 3)) for stage in maps[-4:]], 1))
    return {"last": torch.cat(last).numpy(), "stages": torch.cat(stages).numpy()}


def pretrained(path: Path) -> nn.Module:
    """The exported trunk."""
    card = json.loads(path.with_suffix(".json").read_text())
    network = timm.create_model(card["architecture"], num_classes=0)
    network.load_state_dict(load_file(path))
    return network.eval()


@torch.no_grad()
def untrained(architecture: str, seed: int, picture: Tensor, side: int) -> nn.Module:
    """The same network with random weights; its batch norms see the training pictures once, which helps it."""
    torch.manual_seed(seed)
    network = timm.create_model(architecture, num_classes=0).train()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None
    for part in picture.split(128):
        network(resized(part, side))
    return network.eval()


def hits(train_ND: np.ndarray, label_N: np.ndarray, test_MD: np.ndarray, answer_M: np.ndarray) -> np.ndarray:
    """Which test examples a ridge probe gets right, (M,) of bool."""
    probe = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(-1, 5, 19)))
    return probe.fit(train_ND, label_N).predict(test_MD) == answer_M


def few_labels(label_N: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` examples of each class, as a mask."""
    rng, chosen = np.random.default_rng(seed), np.zeros(len(label_N), bool)
    for value in np.unique(label_N):
        chosen[rng.choice(np.flatnonzero(label_N == value), count, replace=False)] = True
    return chosen


def splits(options: argparse.Namespace, label_N: np.ndarray, train_N: np.ndarray | None) -> list[tuple]:
    """Pairs of index arrays: label draws where no split is given, else the split, or folds of its training part."""
    if train_N is None:
        offset = 1000 if options.validate else 0
        drawn = [few_labels(label_N, options.labels, offset + draw) for draw in range(options.draws)]
        return [(np.flatnonzero(mask), np.flatnonzero(~mask)) for mask in drawn]
    inside = np.flatnonzero(train_N)
    if not options.validate:
        return [(inside, np.flatnonzero(~train_N))]
    folds = StratifiedKFold(5, shuffle=True, random_state=0).split(inside, label_N[inside])
    return [(inside[fit], inside[held]) for fit, held in folds]


def correct(feature_ND: np.ndarray, label_N: np.ndarray, pairs: list[tuple]) -> np.ndarray:
    """One row for each split: 1 right, 0 wrong, NaN where the example is not in its test part, (L, N)."""
    rows = np.full((len(pairs), len(label_N)), np.nan)
    for row, (fit, held) in zip(rows, pairs, strict=True):
        row[held] = hits(feature_ND[fit], label_N[fit], feature_ND[held], label_N[held])
    return rows


def interval(gain_RLN: np.ndarray, repeats: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the mean gain over random networks, label draws and examples."""
    rng, (networks, draws, count) = np.random.default_rng(0), gain_RLN.shape
    gain_RLN, means = gain_RLN[:, :, ~np.isnan(gain_RLN).all((0, 1))], []
    count = gain_RLN.shape[2]
    for _ in range(repeats):
        picked = gain_RLN[rng.integers(networks, size=networks)][:, rng.integers(draws, size=draws)]
        means.append(np.nanmean(picked.mean(0)[:, rng.integers(count, size=count)]))
    return tuple(np.quantile(means, [0.025, 0.975]))


def compare(options: argparse.Namespace, name: str, picture: Tensor, label_N: np.ndarray, train_N) -> None:
    """Print the rows of one data set."""
    pairs = splits(options, label_N, train_N)
    tested = len({int(i) for _, held in pairs for i in held})
    raw = nn.functional.adaptive_avg_pool2d(picture, min(picture.shape[-1], 32)).flatten(1).numpy()
    raw = correct(raw if name == "photos" else picture[:, 0].flatten(1).numpy(), label_N, pairs)
    print(f"{name}: raw pixels {np.nanmean(raw):.3f} ({tested} tested, {len(pairs)} splits)")
    network = pretrained(options.weights)
    architecture = json.loads(options.weights.with_suffix(".json").read_text())["architecture"]
    for side in options.sizes:
        ours = features(network, picture, side)
        shown = picture[torch.as_tensor(pairs[0][0])]
        chance = [features(untrained(architecture, s, shown, side), picture, side) for s in range(options.networks)]
        for depth in ("last", "stages"):
            own = correct(ours[depth], label_N, pairs)
            other = np.stack([correct(features_[depth], label_N, pairs) for features_ in chance])
            low, high = interval(own[None] - other)
            print(
                f"| {name} | {side} | {depth} | {np.nanmean(own):.3f} | {np.nanmean(other):.3f} "
                f"| {np.nanmean(own) - np.nanmean(other):+.3f} ({low:+.3f} to {high:+.3f}) |",
                flush=True,
            )


def main() -> None:
    """Print one table."""
    options = parse()
    print("| data | side | features | pretrained | random | gain (95 % interval) |\n|---|---|---|---|---|---|")
    compare(options, "digits", *digits(), None)
    if options.photos:
        train, test = photographs(options.photos / "train"), photographs(options.photos / "test")
        first = np.arange(len(train[1]) + len(test[1])) < len(train[1])
        compare(options, "photos", torch.cat([train[0], test[0]]), np.concatenate([train[1], test[1]]), first)


if __name__ == "__main__":
    main()
