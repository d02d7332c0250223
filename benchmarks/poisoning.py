"""What signs of poisoning see of planted triggers and flipped labels in photographs, and how often they accuse in vain.

    python benchmarks/poisoning.py --signs SIGNS [--seeds 3] [--out results.json]

SIGNS is a folder of class folders. Planted in a random 80 % of the pictures, for each seed with its own target class: a
patch of 12 by 12 of 100 pixels (a checkerboard, lower right) on pictures of other classes with the target's label
(`trigger`), on pictures of the target itself (`clean label`), and no patch but the target's label (`flipped`), as many
as 2.5, 5, 10 and 20 % of the class. Features: the network inside the package, as `check` takes it. Of each sign: AUROC
of its score within the target class; of `patches`, which alone accuses, and of `wrong label`, the label-error finder
that was there before (one minus the out-of-fold probability): precision and recall of the examples named. Clean:
nothing planted, random halves of the pictures: how many data sets are accused. Means over seeds; n counts data sets.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

import transfuse as tr
from transfuse.checking.judging import answered
from transfuse.checking.patches import patches
from transfuse.checking.poisoning import SIGNS, signs
from transfuse.checking.seeing import everything, seen
from transfuse.checking.wrong_labels import suspects

SHARES = (0.025, 0.05, 0.1, 0.2)
SIDE, PATCH = 100, 12
Row = dict[str, Any]


def photographs(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 100, 100, 3) and classes."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE))) for path in files])
    return pixels, np.unique([path.parent.name for path in files], return_inverse=True)[1]


def triggered(pixels: np.ndarray) -> np.ndarray:
    """With the patch."""
    found = pixels.copy()
    square = (np.indices((PATCH, PATCH)).sum(0) // 3 % 2 * 255).astype(np.uint8)
    found[:, -PATCH - 4 : -4, -PATCH - 4 : -4] = square[None, ..., None]
    return found


def features_of(pixels: np.ndarray, y_N: np.ndarray) -> np.ndarray:
    """As `check` sees them, in the order of the pictures."""
    task = tr.task((pixels, y_N), seed=0, test=0.0)
    order = np.argsort([int(name.split()[-1]) for name in everything(task).examples.names])
    return seen(task, None)[0][order]


def judged(x_ND: np.ndarray, pixels: np.ndarray, y_N: np.ndarray, planted_N: np.ndarray, target: int) -> list[Row]:
    """One row a sign; `target` -1 for clean data."""
    classes = int(y_N.max()) + 1
    found, shared = signs(x_ND, y_N, classes), patches(list(pixels), y_N, classes)
    named = np.zeros(len(y_N), bool)
    for patch in shared:
        named[list(patch.places)] = True
    accused: dict[str, set[int]] = {name: set() for name in SIGNS} | {"patches": {patch.label for patch in shared}}
    flags = {name: np.zeros(len(y_N), bool) for name in SIGNS} | {"patches": named}
    scores = {**found.scores, "patches": named.astype(float)}
    task = tr.task((pixels, y_N), seed=0, test=0.0)
    order = np.argsort([int(name.split()[-1]) for name in everything(task).examples.names])
    p_NC = answered(x_ND[order.argsort()], task, np.arange(len(y_N)), "features").outputs_NC[order]
    wrong = suspects("single-label", y_N, p_NC)
    flags["wrong label"] = np.isin(np.arange(len(y_N)), wrong.rows_M)
    scores["wrong label"], accused["wrong label"] = 1 - p_NC[np.arange(len(y_N)), y_N], set()
    rows = []
    for name, score_N in scores.items():
        row: Row = {"sign": name, "accused": len(accused[name]), "named": int(flags[name].sum())}
        if target >= 0:
            own = y_N == target
            row |= {"AUROC": roc_auc_score(planted_N[own], score_N[own]), "hit": target in accused[name]}
            right = int((flags[name] & planted_N).sum())
            row |= {"recall": right / planted_N.sum(), "precision": right / max(1, int(flags[name].sum()))}
        rows.append(row)
    return rows


def planted(kind: str, share: float, seed: int, data: tuple[np.ndarray, ...]) -> list[Row]:
    """One data set with something in it."""
    clean, marked, pixels, stamped, y_N = data
    random = np.random.default_rng([seed, round(1000 * share)])
    target = int(random.integers(y_N.max() + 1))
    kept = np.sort(random.permutation(len(y_N))[: round(0.8 * len(y_N))])
    count = max(2, round(share * (y_N[kept] == target).sum()))
    pool = np.flatnonzero((y_N[kept] == target) == (kind == "clean label"))
    chosen = np.isin(np.arange(len(kept)), random.choice(pool, count, replace=False))
    patch = chosen & (kind != "flipped")
    x_ND = np.where(patch[:, None], marked[kept], clean[kept])
    shown = np.where(patch[:, None, None, None], stamped[kept], pixels[kept])
    rows = judged(x_ND, shown, np.where(chosen, target, y_N[kept]), chosen, target)
    return [{"kind": kind, "share": share, "seed": seed, "planted": count, **row} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--signs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clean", type=int, default=20, help="Data sets without anything planted.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    pixels, y_N = photographs(options.signs)
    stamped = triggered(pixels)
    data = (features_of(pixels, y_N), features_of(stamped, y_N), pixels, stamped, y_N)
    rows: list[Row] = []
    for seed in range(options.clean):
        half = np.sort(np.random.default_rng(seed).permutation(len(y_N))[: len(y_N) // 2])
        found = judged(data[0][half], pixels[half], y_N[half], np.zeros(len(half), bool), -1)
        rows += [{"kind": "clean", "share": 0.0, "seed": seed, "planted": 0, **row} for row in found]
    for kind in ("trigger", "clean label", "flipped"):
        for share in SHARES:
            for seed in range(options.seeds):
                rows += planted(kind, share, seed, data)
    _show(rows)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1, default=float))


def _show(rows: list[Row]) -> None:
    table = Table(title="signs of poisoning")
    for column in ("planted", "share", "sign", "AUROC in class", "class accused", "precision", "recall", "n"):
        table.add_column(column)
    for key in dict.fromkeys((row["kind"], row["share"], row["sign"]) for row in rows):
        own = [row for row in rows if (row["kind"], row["share"], row["sign"]) == key]
        if key[0] == "clean":
            wrong, n = sum(row["accused"] > 0 for row in own), len(own)
            high = float(beta.ppf(0.975, wrong + 1, n - wrong)) if wrong < n else 1.0
            low = float(beta.ppf(0.025, wrong, n - wrong + 1)) if wrong else 0.0
            words = f"{wrong} of {n} data sets ({low:.2f} to {high:.2f})"
            table.add_row(
                "nothing", "", key[2], "", words, "", f"{np.mean([r['named'] for r in own]):.1f} named", str(n)
            )
            continue
        mean = {name: float(np.mean([row[name] for row in own])) for name in ("AUROC", "hit", "precision", "recall")}
        hit = f"{sum(row['hit'] for row in own)} of {len(own)}"
        cells = (f"{mean[name]:.2f}" for name in ("precision", "recall"))
        table.add_row(key[0], f"{key[1]:.1%}", key[2], f"{mean['AUROC']:.2f}", hit, *cells, str(len(own)))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
