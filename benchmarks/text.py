"""Texts: small language models and sentence encoders as sources, against counted words, on given test files.

    python benchmarks/text.py TEXT --source FOLDER [--source FOLDER] [--titles FOLDER] [--seconds 120] [--out text.json]
    python benchmarks/text.py TEXT --source FOLDER --parts scope

TEXT holds `clinc_intents/` and `sms_spam/`, each with train.csv and test.csv (and out_of_scope.csv); a source is a
folder of transformers, such as stories260K or a MiniLM. `builtin:words` stands beside them by its probe. A fifth of
train.csv is the validation split, the test file is read once. Equal for all: splits, time for each training, search of
the learning rate. Differences are paired on the same test texts. `--titles` holds `.txt` files with a title a line for
the perplexity of sources that are language models. Out of scope: how surely a score tells inside from outside (AUROC),
and what `predict --reject` does, whose threshold is from the validation split. Extraction is compared with the bare
network over batches of the same lengths already in memory. `--parts` runs some of all this.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import transfuse as tr
from transfuse.core.nouns import Examples, Source, Task
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment, assess
from transfuse.evaluating.compare import difference
from transfuse.evaluating.out_of_scope import reject_scores
from transfuse.evaluating.text_baseline import NAME, text_baseline
from transfuse.measuring.intervals import wilson
from transfuse.predicting.predict import predict
from transfuse.probing.rejecting import operating_curve, separation
from transfuse.reporting.values import cell
from transfuse.sources import inputs
from transfuse.sources.extraction import BATCH, features
from transfuse.sources.opening import open_source
from transfuse.sources.precision import chosen_precision, device_of, prepared
from transfuse.sources.texts.words import counts_words
from transfuse.tasks.opening import open_split
from transfuse.tasks.texts.opening import texts_in

Row = dict[str, Any]


def main() -> None:
    """Measure, print and write everything that was asked for."""
    arguments = _arguments()
    console, rows = Console(width=150), []
    for row in _all(arguments):
        rows.append(row)
        console.print(*(f"{key}: {cell(value)}" for key, value in row.items()), sep="  ")
        if arguments.out:
            Path(arguments.out).write_text(json.dumps(rows, indent=1))
    table = Table("data", "examples", "model", "method", "accuracy", "against words", "seconds", box=None)
    for row in rows:
        if row["part"] == "methods":
            names = ("data", "examples", "model", "method", "accuracy", "against words", "seconds")
            table.add_row(*(cell(row.get(name)) for name in names))
    console.print(table)


def _all(arguments: argparse.Namespace) -> Iterator[Row]:
    networks = [tr.source(folder) for folder in arguments.source]
    sources = [*networks, tr.source("builtin:words")]
    for source in networks if "extraction" in arguments.parts else ():
        yield _throughput(source, arguments.text / "sms_spam" / "train.csv", arguments.repeats)
    for folder in arguments.titles.glob("*.txt") if arguments.titles and "perplexity" in arguments.parts else ():
        yield from _perplexities(networks, folder)
    for name in ("clinc_intents", "sms_spam"):
        yield from _dataset(arguments.text / name, sources, arguments)
    few = arguments.text / "clinc_intents"
    for a_class in arguments.few if "few" in arguments.parts else ():
        task, test = _opened(few, a_class)
        yield from _methods(task, test, sources, ("probe", "contrastive"), arguments, f"{a_class} a class")


def _dataset(folder: Path, sources: list[Source], arguments: argparse.Namespace) -> Iterator[Row]:
    task, test = _opened(folder, None)
    if "methods" in arguments.parts:
        yield from _methods(task, test, sources, ("probe", "finetune", "lora"), arguments, "all")
    outside = folder / "out_of_scope.csv"
    if outside.exists() and "scope" in arguments.parts:
        for source in sources:
            model = tr.transfer(source, task, method="probe")
            yield from _scope(model, source, test, texts_in(outside), task)
            yield from _rejected(model, source, test, texts_in(outside))


def _opened(folder: Path, a_class: int | None) -> tuple[Task, Examples]:
    """The task of train.csv, perhaps with so many training texts of each class only, and the test file."""
    task = tr.task(folder / "train.csv", test=0.0)
    if a_class:
        train = task.splits["train"]
        places = np.concatenate(
            [np.flatnonzero(train.targets == label)[:a_class] for label in np.unique(train.targets)]
        )
        few = replace(
            train,
            items=[train.items[place] for place in places],
            targets=train.targets[places],
            digests=tuple(train.digests[place] for place in places),
            names=tuple(train.names[place] for place in places),
        )
        task = replace(task, splits={**task.splits, "train": few}, digest=f"{task.digest} {a_class}")
    test, _ = open_split(folder / "test.csv", modality="text", classes=task.classes, kind=task.kind)
    return task, test


def _methods(
    task: Task, test: Examples, sources: list[Source], methods: tuple[str, ...], arguments: Any, label: str
) -> Iterator[Row]:
    data = Path(str(task.description["data"])).parent.name
    shared = {"part": "methods", "data": data, "examples": f"{label}, {len(task.splits['train'])}"}
    began = time.monotonic()
    words = text_baseline(task).assess(test)
    row = {**shared, "model": NAME, "method": "", "accuracy": words.measured("accuracy")}
    yield {**row, "balanced": words.measured("balanced_accuracy"), "seconds": time.monotonic() - began}
    for source in sources:
        counted = counts_words(source)
        random = source if counted else tr.source(f"random:hf:{source.reference}")
        for method in ("probe",) if counted else (*methods, "random probe", "scratch"):
            began = time.monotonic()
            used = random if method == "random probe" else source
            run = Run(deadline=time.monotonic() + arguments.seconds)
            model = tr.transfer(used, task, method=method.split()[-1], run=run)
            taken = time.monotonic() - began
            yield {
                **shared,
                "model": source.name,
                "method": method,
                **_measured(assess(model, test), words),
                "seconds": taken,
            }


def _measured(found: Assessment, words: Assessment) -> Row:
    return {
        "accuracy": found.measured("accuracy"),
        "balanced": found.measured("balanced_accuracy"),
        "against words": difference(found, words),
    }


def _scope(model: Any, source: Source, test: Examples, outside: list[str], task: Task) -> Iterator[Row]:
    scores = reject_scores(model, test, outside, train=task.splits["train"])
    for name, (inside_N, outside_N) in scores.items():
        curve = operating_curve(inside_N, outside_N, kept=(0.95,))[0]
        rejected = curve["outside rejected"]
        yield {
            "part": "out of scope", "model": source.name, "score": name,
            "AUROC": separation(inside_N, outside_N), "rejected at 95 % answered": rejected,
        }  # fmt: skip


def _rejected(model: Any, source: Source, test: Examples, outside: list[str]) -> Iterator[Row]:
    """What `--reject` gives up: of answers inside, of strangers, and how many of the answers left are right."""
    for share in (0.02, 0.05, 0.1, 0.2):
        inside, strangers = (predict(model, list(texts), reject=share) for texts in (test.items, outside))
        kept_N = np.array([not answer["rejected"] for answer in inside])
        right_N = np.array([answer["class"] for answer in inside]) == np.array(model.classes)[test.targets]
        yield {
            "part": "reject", "model": source.name, "reject": share,
            "inside answered": _share(kept_N),
            "outside answered": _share(np.array([not answer["rejected"] for answer in strangers])),
            "right of the answered": _share(right_N[kept_N]), "right of all": _share(right_N),
        }  # fmt: skip


def _share(true_N: np.ndarray) -> Row:
    low, high = wilson(float(true_N.mean()), len(true_N))
    return {"value": float(true_N.mean()), "low": low, "high": high, "n": len(true_N)}


def _perplexities(sources: list[Source], path: Path) -> Iterator[Row]:
    for source in sources:
        try:
            report = tr.perplexity(source, path)
        except tr.TransfuseError:
            continue  # no language model
        yield {
            "part": "perplexity",
            "data": path.stem,
            "model": source.name,
            **{r["metric"]: r["value"] for r in report.rows},
        }


def _throughput(source: Source, path: Path, repeats: int) -> Row:
    """Tokens a second of processor time: the bare network on batches in memory, and extraction from texts on."""
    texts = texts_in(path)
    opened, preprocessing = open_source(source), source.preprocessing
    places = inputs.blocks(texts, preprocessing, BATCH)
    batches = [inputs.tensor_of([texts[place] for place in block.tolist()], preprocessing) for block in places]
    tokens = int(sum((batch >= 0).sum() for batch in batches))
    device = device_of("auto")
    compute = prepared(opened.body, chosen_precision("auto", device), device)
    pairs = []
    for _ in range(repeats):
        bare = _timed(lambda: [compute(batch) for batch in batches])
        _forget()
        ours = _timed(lambda: features(opened, _task(texts), "rows", cache=False))
        pairs.append((tokens / bare, tokens / ours))
    ratios = sorted(ours / bare for bare, ours in pairs)
    ratio = {"value": statistics.median(ratios), "low": ratios[0], "high": ratios[-1], "n": repeats}
    medians = [statistics.median(side) for side in zip(*pairs, strict=True)]
    return {
        "part": "extraction", "model": source.name, "texts": len(texts), "tokens": tokens,
        "bare tokens/CPU-s": medians[0], "ours tokens/CPU-s": medians[1], "ratio": ratio,
        "threads": torch.get_num_threads(),
    }  # fmt: skip


def _forget() -> None:
    """Tokens kept from an earlier repeat would flatter."""
    from transfuse.sources.texts import inputs as text_inputs

    text_inputs._tokens.clear()
    text_inputs._held = 0


def _task(texts: list[str]) -> Task:
    names = tuple(f"row {row}" for row in range(len(texts)))
    examples = Examples(items=texts, targets=np.zeros(len(texts), np.int64), digests=names, names=names)
    splits = {"rows": examples}
    return Task(name="rows", modality="text", kind="single-label", classes=("",), splits=splits, seed=0, digest="")


def _timed(work: Callable[[], Any]) -> float:
    began = time.process_time()  # of all threads: what others do on the machine does not count
    with torch.inference_mode():
        work()
    return time.process_time() - began


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--source", action="append", default=[], help="Folder of transformers.")
    parser.add_argument("--parts", nargs="+", default=["extraction", "perplexity", "methods", "scope", "few"])
    parser.add_argument("--titles", type=Path)
    parser.add_argument("--seconds", type=float, default=120, help="Time for each training.")
    parser.add_argument("--few", type=int, nargs="*", default=[10], help="Training texts a class for few-shot rows.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
