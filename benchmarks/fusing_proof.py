"""When fusing pays, and when it is refused.

    python benchmarks/fusing_proof.py hands DATA --work WORK          (class folders: DATA/train, DATA/test)
    python benchmarks/fusing_proof.py titles TEXTGENRNN --work WORK   (base.hdf5, four fine-tunes, vocab.json, titles/)

`hands`: short fine-tunes of the built-in source on photographs of hands, a family of six recipes (rate, seed, augmentation)
or of eight runs of nearly one (seed, two rates), and their soups, each against the best single one: on clean photographs and on the same ones rotated, dimmed, blurred,
with noise and with little contrast, which none of them was trained on. One half of the test photographs chooses the
best single one and judges, the other half is read once at the end; all versions of a photograph are one group.

`titles`: a character model and four fine-tunes of it, each of which knows its own titles by heart; λ and TIES searched
on one half of the positions of a domain, judged on the other. Keras' files are converted here (h5py): CuDNNLSTM keeps
kernels in other blocks than LSTM, and two biases that are added. Everything runs on one thread.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

from transfuse.core.nouns import Examples, Task
from transfuse.fusing.fuse import fuse
from transfuse.tasks.opening import open_task
from transfuse.transferring.transfer import transfer

FAMILIES: dict[str, tuple[dict[str, Any], ...]] = {
    "recipes": (
        {"rate": 0.001, "augmentation": "light"},
        {"rate": 0.002, "augmentation": "light"},
        {"rate": 0.002, "augmentation": "standard"},
        {"rate": 0.004, "augmentation": "light"},
        {"rate": 0.004, "augmentation": "standard"},
        {"rate": 0.002, "augmentation": "none"},
    ),
    "seeds": tuple({"rate": rate, "augmentation": "standard"} for rate in (0.004, 0.006) for _ in range(4)),
}
STEPS = 240


def rotated(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """By 15 to 30 degrees, to either side."""
    return picture.rotate(float(random.uniform(15, 30) * random.choice([-1, 1])), Image.Resampling.BILINEAR)


def dimmed(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """To a third or a fifth of the light."""
    return ImageEnhance.Brightness(picture).enhance(float(random.uniform(0.2, 0.35)))


def blurred(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Gaussian, 2 to 3 of 100 pixels."""
    return picture.filter(ImageFilter.GaussianBlur(float(random.uniform(2, 3))))


def noisy(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Independent noise of 25 to 40 of 255."""
    pixels = np.asarray(picture, np.float64)
    return Image.fromarray(
        np.clip(pixels + random.normal(0, random.uniform(25, 40), pixels.shape), 0, 255).astype(np.uint8)
    )


def faded(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """To a fifth or a third of the contrast."""
    return ImageEnhance.Contrast(picture).enhance(float(random.uniform(0.2, 0.35)))


CHANGES = (rotated, dimmed, blurred, noisy, faded)


def changed(clean: Examples, seed: int) -> Examples:
    """Every photograph in five changed versions, which are one group."""
    items, targets, names, digests, groups = [], [], [], [], []
    for place, (item, target) in enumerate(zip(clean.items, clean.targets, strict=True)):
        picture = Image.open(Path(str(item))).convert("RGB")
        for number, change in enumerate(CHANGES):
            items.append(change(picture, np.random.default_rng([seed, place, number])))
            targets.append(target)
            names.append(f"{clean.names[place]} {change.__name__}")
            digests.append(f"{clean.digests[place]}-{change.__name__}")
            groups.append(clean.digests[place])
    return Examples(
        items=items, targets=np.array(targets), names=tuple(names), digests=tuple(digests), groups=tuple(groups)
    )


def fine_tunes(data: Path, work: Path, source: str, family: str) -> list[Path]:
    """The saved fine-tunes; those that are there already are kept."""
    task = open_task(data / "train", valid=0.2, test=0, seed=0)
    paths = []
    for seed, options in enumerate(FAMILIES[family]):
        path = work / f"{family}{seed}"
        paths.append(path)
        if not path.exists():
            began = time.process_time()
            transfer(source, task, steps=STEPS, seed=seed, interpolate=False, precision="float32", **options).save(path)
            print(f"{path.name}: {options}, {time.process_time() - began:.0f} CPU-s", flush=True)
    return paths


def hands(data: Path, work: Path, source: str, family: str) -> None:
    """The soups against the best single fine-tune."""
    paths = fine_tunes(data, work, source, family)
    train = open_task(data / "train", valid=0.2, test=0, seed=0)
    halves = open_task(data / "test", valid=0.5, test=0, seed=0).splits
    clean = {"valid": halves["train"], "test": halves["valid"]}
    shifted = {name: changed(part, seed) for seed, (name, part) in enumerate(clean.items())}
    for name, parts in (("clean", clean), ("changed", shifted)):
        task = Task(
            name=name, kind=train.kind, classes=train.classes, seed=0, digest=name,
            splits={"train": train.splits["train"], **parts},
        )  # fmt: skip
        for label, options in (
            ("uniform soup", {"method": "linear"}),
            ("greedy soup", {"method": "greedy_soup"}),
            ("average", {"method": "average"}),
            ("caruana", {"method": "caruana"}),
            ("stacking", {"method": "stacking"}),
        ):
            out = work / f"{family}-{name}-{label.replace(' ', '-')}"
            report = fuse(*paths, out=out, on=task, replace=True, **options)
            shown(f"{family}, {name}: {label}", report)


def shown(title: str, report: Any) -> None:
    """Rows and findings of a report."""
    print(f"\n== {title}")
    for row in report.rows:
        cells = [f"{row['split']:5}", f"{Path(row['model']).name:12}"]
        for metric in ("accuracy", "log_loss"):
            m = row[metric]
            cells.append(f"{metric} {m['value']:.4f} ({m['low']:.4f} to {m['high']:.4f}, n = {m['n']:.0f})")
        print("  ".join(cells))
    for line in report.summary[:5]:
        print(line)
    sys.stdout.flush()


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["hands", "titles"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--source", default="builtin")
    parser.add_argument("--family", choices=list(FAMILIES), default="seeds")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    if given.what == "hands":
        hands(given.data, given.work, given.source, given.family)


if __name__ == "__main__":
    main()
