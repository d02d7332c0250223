"""`transfuse fit` against AutoGluon (tables) and SetFit (few-shot texts): same rows, same threads, one after the other.

    python benchmarks/peers_rows.py table FOLDER --target label --env v-ag/bin/python --budget 60
    python benchmarks/peers_rows.py text FOLDER --per-class 10 --encoder MINILM --env v-setfit/bin/python --budget 300

FOLDER holds train.csv and test.csv. Peers run in environments of their own (`pip install autogluon.tabular[all]`,
`pip install setfit`). `--per-class` keeps that many training rows of each class, drawn by the seed, for both sides.
Both sides get the budget in seconds; SetFit has none and trains as long as its defaults take (one pass over `--pairs`
pairs of either sort a text, its own `num_iterations`). Seconds are those of whole processes. The interval is of the
paired difference on the test rows, by 10,000 bootstrap resamples; accuracy for classes, R2 for numbers.
"""

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
PEERS = {"table": "peer_autogluon_tabular.py", "text": "peer_setfit.py"}


def main() -> None:
    """Print one line a side and the paired difference."""
    given = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        folder = _subset(given, Path(scratch))
        truth = [row[given.target] for row in _rows(folder / "test.csv")]
        ours, ours_s = _transfuse(given, folder)
        theirs, theirs_s = _peer(given, folder)
    for name, answers, seconds in (("transfuse", ours, ours_s), (given.kind + " peer", theirs, theirs_s)):
        print(f"{name:<12} {_score(truth, answers, slice(None)):.4f}  n = {len(truth)}  {seconds:.0f} s", flush=True)
    print(_difference(truth, ours, theirs))


def _subset(given: argparse.Namespace, scratch: Path) -> Path:
    rows = _rows(given.folder / "train.csv")
    if given.per_class:
        random.Random(given.seed).shuffle(rows)
        counts: dict[str, int] = {}
        kept = []
        for row in rows:
            counts[row[given.target]] = counts.get(row[given.target], 0) + 1
            kept += [row] if counts[row[given.target]] <= given.per_class else []
        rows = kept
    for name, part in (("train.csv", rows), ("test.csv", _rows(given.folder / "test.csv"))):
        with (scratch / name).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(part[0]))
            writer.writeheader()
            writer.writerows(part)
    return scratch


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _transfuse(given: argparse.Namespace, folder: Path) -> tuple[list[str], float]:
    command = [str(Path(sys.executable).with_name("transfuse"))]
    model = folder / "model"
    fit = ["fit", str(folder), "--target", given.target, "--budget", f"{given.budget}s", "--seed", str(given.seed)]
    fit += ["--source", str(given.encoder)] if given.encoder else []
    seconds, _ = _run([*command, *fit, "--out", str(model), "--format", "json", "--quiet"], given.threads)
    _, text = _run([*command, "predict", str(model), str(folder / "test.csv"), "--format", "json"], given.threads)
    answers = json.loads(text)
    return [str(a["class"]) if "class" in a else str(next(iter(a["values"].values()))) for a in answers], seconds


def _peer(given: argparse.Namespace, folder: Path) -> tuple[list[str], float]:
    script = [str(given.env), str(HERE / "peers" / PEERS[given.kind]), str(folder), "--target", given.target]
    script += ["--budget", str(given.budget), "--seed", str(given.seed), "--out", str(folder / "answers.json")]
    script += ["--encoder", str(given.encoder), "--pairs", str(given.pairs)] if given.kind == "text" else []
    seconds, _ = _run(script, given.threads)
    return [str(answer) for answer in json.loads((folder / "answers.json").read_text())], seconds


def _run(command: Sequence[str], threads: int) -> tuple[float, str]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} ... failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - begin, done.stdout


def _score(truth: Sequence[str], answers: Sequence[str], rows: Any) -> float:
    right, given = np.array(truth)[rows], np.array(answers)[rows]
    if _is_number(truth):
        y, a = right.astype(float), given.astype(float)
        return float(1 - ((y - a) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    return float((right == given).mean())


def _is_number(truth: Sequence[str]) -> bool:
    """More than 20 different numbers are a quantity; fewer are classes."""
    try:
        return len({float(value) for value in truth}) > 20
    except ValueError:
        return False


def _difference(truth: Sequence[str], ours: Sequence[str], theirs: Sequence[str]) -> str:
    draw = np.random.default_rng(0)
    gaps = []
    for _ in range(10_000):
        rows = draw.integers(len(truth), size=len(truth))
        gaps.append(_score(truth, ours, rows) - _score(truth, theirs, rows))
    gap = _score(truth, ours, slice(None)) - _score(truth, theirs, slice(None))
    low, high = np.percentile(gaps, [2.5, 97.5])
    return f"transfuse minus peer {gap:+.4f} ({low:+.4f} to {high:+.4f}), paired"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=tuple(PEERS))
    parser.add_argument("folder", type=Path, help="holds train.csv and test.csv")
    parser.add_argument("--target", default="label", help="column to learn (default label)")
    parser.add_argument("--env", type=Path, required=True, help="python of the peer's environment")
    parser.add_argument("--encoder", type=Path, help="folder of a sentence encoder, for texts")
    parser.add_argument("--budget", type=int, default=60, help="seconds (default 60)")
    parser.add_argument("--per-class", type=int, default=0, help="training rows a class (default all)")
    parser.add_argument("--pairs", type=int, default=20, help="SetFit's pairs of either sort a text (default 20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
