"""Fusing the features of two modalities: python benchmarks/fusing_features.py PAIRS --target label [--seeds 5].

PAIRS is a folder of tables by split with columns of pictures and of sounds. One source of pictures sees both. Rows:
each column alone; one linear head on all features (`naive`, folds at random); the mean of both heads' probabilities
(`late`); and this tool's fusions, whose folds hold out the groups that the names of files show. A seed decides splits,
folds and trainings; the test split is one and the same. Equal for all: features, training rows, heads.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping

import numpy as np
import torch

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.measuring.intervals import interval, paired
from transfuse.measuring.metrics import measure
from transfuse.predicting.predict import activated
from transfuse.probing.heads import Head
from transfuse.probing.opinion_pools import pool_weights
from transfuse.sources.extraction import features
from transfuse.sources.references import find
from transfuse.sources.sounds.suiting import hearing
from transfuse.tasks.opening import open_task
from transfuse.tasks.tables.rows import cells_of
from transfuse.training.options import Fit
from transfuse.transferring.feature_fusions import FUSIONS, Blocks, blocks_of, fuse_blocks
from transfuse.transferring.mixed_probe import Seen, joined_columns
from transfuse.tuning.starting import fitted


def blocks(pairs: str, target: str, found: Source, seed: int) -> Blocks:
    """The columns of the table and what the source sees in them."""
    task = open_task(pairs, target=target, seed=seed)
    train = task.splits["train"]
    seen = []
    for column, role in task.description["roles"].items():
        if role in ("picture", "sound"):
            cells = [cell for cell in cells_of(train.items, column, paths=True) if cell is not None]
            seen.append(Seen(column=column, source=hearing(found, cells) if role == "sound" else found))
    return blocks_of(joined_columns(seen, task, fit=Fit(seed=seed), every=True), task)


def answered(head: Head, x_ND: np.ndarray, kind: str) -> np.ndarray:
    """Calibrated probabilities."""
    return activated(x_ND @ head.weight_CD.T + head.bias_C, kind, temperature=head.temperature)  # type: ignore[arg-type]


def rivals(given: Blocks, test_ND: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """What each column alone, all features under one head, and the mean of the heads answer."""
    task, fit = given.task, Fit(seed=seed)
    borders = np.cumsum(list(given.widths.values()))[:-1]
    parts = [np.split(x_ND, borders, 1) for x_ND in (given.x_ND, test_ND)]
    heads = [fitted(x_ND, task, fit, "ridge") for x_ND in parts[0]]
    alone = [answered(head, x_ND, task.kind) for head, x_ND in zip(heads, parts[1], strict=True)]
    found = dict(zip(given.widths, alone, strict=True))
    weights = pool_weights([head.out_of_fold_NC for head in heads], task.splits["train"].targets, task.kind)
    raw = [x_ND @ head.weight_CD.T + head.bias_C for head, x_ND in zip(heads, parts[1], strict=True)]
    found["product, folds at random"] = activated(np.tensordot(weights, np.stack(raw), 1), task.kind)
    naive = {solver: fitted(given.x_ND, task, fit, solver) for solver in ("logistic", "ridge")}  # type: ignore[arg-type]
    found |= {f"naive, {solver}": answered(head, test_ND, task.kind) for solver, head in naive.items()}
    return {**found, "late": np.mean(alone, axis=0)}


def fusions(given: Blocks, test_ND: np.ndarray, seed: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What each fusion of the tool answers, and what it found out about itself."""
    answers, said, task = {}, {}, given.task
    for kind in FUSIONS:
        started = time.process_time()
        outcome = fuse_blocks(given, kind, fit=Fit(seed=seed), run=Run())
        network = outcome.network.eval()
        seen = network.body.join if hasattr(network.body, "join") else torch.nn.Identity()
        with torch.inference_mode():
            logits = network.head(seen(torch.from_numpy(np.array(test_ND, np.float32)))).numpy()
        answers[kind] = activated(logits, task.kind, temperature=outcome.temperature)
        told = {
            name: outcome.facts[name] for name in ("out_of_fold", "weights", "solver", "steps") if name in outcome.facts
        }
        said[kind] = json.dumps({**told, "cpu_seconds": round(time.process_time() - started, 1)})
    return answers, said


def measured(task: Task, answers: Mapping[str, np.ndarray], best: str) -> list[dict]:
    """Accuracy and log-loss on the test split, with the paired difference of accuracy to the best column alone."""
    test, rows = task.splits["test"], []
    for name, outputs_NC in answers.items():
        score = interval(task.kind, "accuracy", test.targets, outputs_NC)
        gap = paired(task.kind, "accuracy", test.targets, outputs_NC, answers[best])
        loss = measure(task.kind, test.targets, outputs_NC)["log_loss"]
        rows.append({"row": name, "accuracy": score, "against_best_alone": gap, "log_loss": loss})
    return rows


def told(row: dict) -> str:
    """One line."""
    score, gap = row["accuracy"], row["against_best_alone"]
    return (
        f"{row['row']:<34} {score['value']:.4f} ({score['low']:.3f} to {score['high']:.3f}, n = {score['n']:.0f})"
        f"  {100 * gap['value']:+.1f} points ({100 * gap['low']:+.1f} to {100 * gap['high']:+.1f})"
        f"  log-loss {row['log_loss']:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs")
    parser.add_argument("--target", default="label")
    parser.add_argument("--source", default="builtin")
    parser.add_argument("--trust-code", action="store_true", help="For a source built by a function.")
    parser.add_argument("--size", type=int, help="Pixels a side, instead of what the source says.")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    source = find(given.source, trust_code=given.trust_code, size=given.size)
    collected: dict[str, list[tuple[float, float]]] = {}
    for seed in range(given.seeds):
        stage = blocks(given.pairs, given.target, source, seed)
        found = features(stage.together, stage.task, "test")
        test_ND = found.x_ND  # type: ignore[union-attr]
        alone = rivals(stage, test_ND, seed)
        fused, said = fusions(stage, test_ND, seed)
        best = max(stage.widths, key=lambda name: (alone[name].argmax(1) == stage.task.splits["test"].targets).mean())
        print(
            f"seed {seed}, {len(stage.x_ND)} training rows; groups: {stage.found.parted and stage.found.parted.words}"
        )
        for row in measured(stage.task, {**alone, **fused}, best):
            print(told(row), said.get(row["row"], ""))
            collected.setdefault(row["row"], []).append((row["accuracy"]["value"], row["log_loss"]))
        sys.stdout.flush()
    print(f"mean and standard deviation over {given.seeds} seeds: accuracy, log-loss")
    for name, values in collected.items():
        mean, deviation = np.mean(values, 0), np.std(values, 0)
        print(f"{name:<34} {mean[0]:.4f} ± {deviation[0]:.4f}   {mean[1]:.3f} ± {deviation[1]:.3f}")


if __name__ == "__main__":
    main()
