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
    parser.add_argument("--validate", action="store_true", help="score on 5 folds of the training parts, not on test")
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
    """Indices of `count` random examples of each class."""
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(np.flatnonzero(label_N == value), count, replace=False) for value in np.unique(label_N)]
    return np.concatenate(drawn)


def splits(label_N: np.ndarray, fit_parts: list[np.ndarray], *, validate: bool) -> list[tuple]:
    """(fit, held) index pairs: each training part against the rest, or five folds inside each training part."""
    if not validate:
        return [(part, np.setdiff1d(np.arange(len(label_N)), part)) for part in fit_parts]
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return [(part[fit], part[held]) for part in fit_parts for fit, held in folds.split(part, label_N[part])]


def correct(feature_ND: np.ndarray, label_N: np.ndarray, pairs: list[tuple]) -> np.ndarray:
    """One row for each split: 1 right, 0 wrong, NaN where the example is not held out, (L, N)."""
    rows = np.full((len(pairs), len(label_N)), np.nan)
    for row, (fit, held) in zip(rows, pairs, strict=True):
        row[held] = hits(feature_ND[fit], label_N[fit], feature_ND[held], label_N[held])
    return rows


def interval(gain_RLN: np.ndarray, repeats: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the mean gain over random networks, label draws and examples."""
    rng, (networks, draws, examples), means = np.random.default_rng(0), gain_RLN.shape, []
    for _ in range(repeats):
        picked = gain_RLN[np.ix_(rng.integers(networks, size=networks), rng.integers(draws, size=draws))]
        sum_N, count_N = np.nansum(picked, (0, 1)), (~np.isnan(picked)).sum((0, 1))
        resampled = rng.integers(examples, size=examples)
        means.append(sum_N[resampled].sum() / count_N[resampled].sum())
    return tuple(np.quantile(means, [0.025, 0.975]))


def compare(options: argparse.Namespace, data: str, picture: Tensor, label_N: np.ndarray, pairs: list[tuple]) -> None:
    """Print the rows of one data set: raw pixels, then each side and depth."""
    pixels = nn.functional.adaptive_avg_pool2d(picture, min(32, picture.shape[-1]))
    raw = correct(pixels.flatten(1).numpy(), label_N, pairs)
    tested = int((~np.isnan(raw)).any(0).sum())
    network, shown = pretrained(options.weights), picture[torch.as_tensor(pairs[0][0])]
    architecture = json.loads(options.weights.with_suffix(".json").read_text())["architecture"]
    for side in options.sizes:
        ours = features(network, picture, side)
        random = [features(untrained(architecture, s, shown, side), picture, side) for s in range(options.networks)]
        for depth, feature_ND in ours.items():
            own = correct(feature_ND, label_N, pairs)
            gain = own - np.stack([correct(other[depth], label_N, pairs) for other in random])
            low, high = interval(gain)
            print(
                f"| {data} | {tested} | {side} | {depth} | {np.nanmean(raw):.3f} | {np.nanmean(own - gain):.3f} "
                f"| {np.nanmean(own):.3f} | {np.nanmean(gain):+.3f} ({low:+.3f} to {high:+.3f}) |",
                flush=True,
            )


def main() -> None:
    """Print one table."""
    options = parse()
    torch.set_num_threads(1)
    print("| data | n | side | features | raw pixels | random | pretrained | gain (95 % interval) |")
    print("|---|---|---|---|---|---|---|---|")
    picture, label_N = digits()
    parts = [few_labels(label_N, options.labels, draw) for draw in range(options.draws)]
    compare(options, "digits", picture, label_N, splits(label_N, parts, validate=options.validate))
    if options.photos:
        train, test = (photographs(options.photos / part) for part in ("train", "test"))
        picture, label_N = torch.cat([train[0], test[0]]), np.concatenate([train[1], test[1]])
        pairs = splits(label_N, [np.arange(len(train[1]))], validate=options.validate)
        compare(options, "photos", picture, label_N, pairs)


if __name__ == "__main__":
    main()
