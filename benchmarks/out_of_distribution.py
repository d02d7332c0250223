"""How well each score tells inputs from outside, and whether ordinary ones are turned away as seldom as promised.

    python benchmarks/out_of_distribution.py --data DATA [--seeds 3] [--out results.json]

DATA is a folder with image/sign_digits, detection/blood_cells, domain_pair/mnist_to_optdigits, text/clinc_intents,
text/sms_spam, tabular/adult_income, audio/spoken_digits, each with train and test. A probe of the default source learns
from the training split; the threshold is set on its validation split (20 %) for a share of 5 %, because the sets are
small; inside is the untouched test set. Outside, far: other data sets, noise, rows whose cells were drawn column by
column or multiplied by ten. Outside, near: classes that were left out of training, out-of-scope questions. AUROC, the
share of the outside that is answered where 95 % of the inside are (FPR95), and the share of ordinary test inputs above
the threshold: means over seeds of the split with 95 % t-intervals for the last, and n.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from rich.console import Console
from rich.table import Table

import transfuse as tr
from transfuse.measuring.intervals import wilson
from transfuse.predicting.predict import asked
from transfuse.probing.outside import SCORES, scores
from transfuse.probing.rejecting import operating_curve, separation
from transfuse.sources.inputs import expanded
from transfuse.tasks.texts.opening import texts_in

SHARE = 0.05
Row = dict[str, Any]


def scored(model: Any, items: list[Any]) -> np.ndarray:
    """Scores of items by the model's guard."""
    found = asked({"": model}, items, scored={""})[""]
    return scores(
        model.guard.score, model.kind, found.logits_NC / model.temperature, found.x_ND, model.guard.statistics
    )


def measured(
    name: str, source: str, train: Any, inside: Any, outside: dict[str, Any], seeds: int, **options: Any
) -> list[Row]:
    """Rows of one data set."""
    rows = []
    for seed in range(seeds):
        task = tr.task(train, test=0.0, seed=seed, **options)
        model = tr.transfer(source, task, method="probe")
        for score in SCORES:
            try:
                guarded = tr.guard(model, task, score=score, share=SHARE)
            except tr.TransfuseError as error:
                print(name, score, error)
                continue
            inside_N = scored(guarded, inside(guarded))
            above = float((inside_N > guarded.guard.threshold).mean())
            for other, items in outside.items():
                outside_N = scored(guarded, items(guarded))
                area = separation(inside_N, outside_N)
                answered = 1 - operating_curve(inside_N, outside_N, (0.95,))[0]["outside rejected"]
                row = {"data": name, "outside": other, "score": score, "seed": seed, "AUROC": area["value"]}
                row |= {
                    "low": area["low"],
                    "high": area["high"],
                    "FPR95": answered,
                    "refused": float((outside_N > guarded.guard.threshold).mean()),
                }
                rows.append(row | {"ordinary": above, "n inside": len(inside_N), "n outside": len(outside_N)})
                print(json.dumps(rows[-1]), flush=True)
    return rows


def picture_cases(data: Path, folder: Path, seeds: int) -> list[Row]:
    """Hands showing digits; blood cells, handwritten digits, noise; digits that were left out."""
    signs = data / "image/sign_digits"
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, (100, 100, 3), dtype=np.uint8) for _ in range(200)]
    few = folder / "few"
    few.mkdir()
    for digit in range(8):
        shutil.copytree(signs / "train" / str(digit), few / str(digit))
    found = measured(
        "signs", "builtin", signs / "train", _folder(signs / "test"),
        {"blood cells": _folder(data / "detection/blood_cells/images"),
         "written digits": _folder(data / "domain_pair/mnist_to_optdigits/target/test"),
         "noise": lambda _: noise}, seeds,
    )  # fmt: skip
    inside = _folder(*(signs / "test" / str(digit) for digit in range(8)))
    outside = {"left-out classes": _folder(signs / "test/8", signs / "test/9")}
    return found + measured("signs 0-7", "builtin", few, inside, outside, seeds)


def text_cases(data: Path, folder: Path, seeds: int) -> list[Row]:
    """Intents; questions out of scope, short messages."""
    clinc = data / "text/clinc_intents"
    outside = {"out of scope": _texts(clinc / "out_of_scope.csv"), "messages": _texts(data / "text/sms_spam/test.csv")}
    return measured("intents", "builtin:words", clinc / "train.csv", _texts(clinc / "test.csv"), outside, seeds)


def table_cases(data: Path, folder: Path, seeds: int) -> list[Row]:
    """Incomes; cells drawn column by column, one number multiplied by ten."""
    income = data / "tabular/adult_income"
    table = pyarrow.csv.read_csv(income / "test.csv")
    generator = np.random.default_rng(0)
    drawn = {name: table[name].take(pa.array(generator.permutation(len(table)))) for name in table.column_names}
    drawn["age"] = table["age"]
    tenfold = table.to_pydict() | {"hours-per-week": [10 * value for value in table["hours-per-week"].to_pylist()]}
    paths = {"columns drawn apart": folder / "drawn.csv", "hours tenfold": folder / "tenfold.csv"}
    for path, columns in zip(paths.values(), (drawn, tenfold), strict=True):
        pyarrow.csv.write_csv(pa.table(columns), path)
    outside = {name: _folder(path) for name, path in paths.items()}
    return measured(
        "income", "table:columns", income / "train.csv", _folder(income / "test.csv"), outside, seeds, target="label"
    )


def sound_cases(data: Path, folder: Path, seeds: int) -> list[Row]:
    """Spoken digits; noise, tones, digits that were left out."""
    spoken = data / "audio/spoken_digits"
    generator = np.random.default_rng(0)
    noise = [(generator.normal(size=4000).astype(np.float32) * 0.1, 8000) for _ in range(200)]
    tones = [(np.sin(np.arange(4000) * generator.uniform(0.1, 2)).astype(np.float32), 8000) for _ in range(200)]
    few = folder / "few_sounds"
    few.mkdir()
    for digit in range(8):
        shutil.copytree(spoken / "train" / str(digit), few / str(digit))
    outside: dict[str, Any] = {"noise": lambda _: noise, "tones": lambda _: tones}
    found = measured("spoken", "builtin", spoken / "train", _folder(spoken / "test"), outside, seeds)
    inside = _folder(*(spoken / "test" / str(digit) for digit in range(8)))
    outside = {"left-out classes": _folder(spoken / "test/8", spoken / "test/9")}
    return found + measured("spoken 0-7", "builtin", few, inside, outside, seeds)


def _folder(*paths: Path) -> Callable[[Any], list[Any]]:
    return lambda model: expanded([str(path) for path in paths], model.preprocessing)


def _texts(path: Path) -> Callable[[Any], list[Any]]:
    return lambda _: texts_in(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for cases in (table_cases, text_cases, picture_cases, sound_cases):
            rows += cases(options.data, Path(folder), options.seeds)
    table = Table(title=f"outside told from inside; {options.seeds} seeds; AUROC's interval is the widest of the seeds")
    for column in (
        "data",
        "outside",
        "score",
        "AUROC",
        "FPR95",
        "refused at 5 %",
        "ordinary refused",
        "n inside, outside",
    ):
        table.add_column(column)
    for key in dict.fromkeys((row["data"], row["outside"], row["score"]) for row in rows):
        own = [row for row in rows if (row["data"], row["outside"], row["score"]) == key]
        mean = {name: float(np.mean([row[name] for row in own])) for name in ("AUROC", "FPR95", "refused", "ordinary")}
        count = own[0]["n inside"]
        low, high = wilson(mean["ordinary"], count)
        table.add_row(
            *key, f"{mean['AUROC']:.3f} ({min(r['low'] for r in own):.3f} to {max(r['high'] for r in own):.3f})",
            f"{mean['FPR95']:.3f}", f"{mean['refused']:.3f}", f"{mean['ordinary']:.3f} ({low:.3f} to {high:.3f})",
            f"{count}, {own[0]['n outside']}",
        )  # fmt: skip
    Console(width=160).print(table)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
