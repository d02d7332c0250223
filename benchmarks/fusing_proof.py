"""When fusing pays, and when it is refused.

    python benchmarks/fusing_proof.py hands DATA --work WORK [--family recipes]   (class folders: DATA/train, DATA/test)
    python benchmarks/fusing_proof.py titles TEXTGENRNN --work WORK [--domain NAME]   (its weights, vocab.json, titles/)

`hands`: short fine-tunes of the built-in source on photographs of hands, a family of six recipes (rate, seed,
augmentation), of six runs of nearly one (seed, two rates), or of four that learnt from photographs of their own, and
their soups, each against the best single one: on clean photographs and on the same ones rotated, dimmed, blurred, with
noise and with little contrast, which none of them was trained on. One half of the test photographs chooses the best
single one and judges, the other half is read once at the end of each fusion; with `--judge` other photographs judge,
and all of them test. All versions of a photograph are one group.

`titles`: a character model and four fine-tunes of it, each of which knows its own titles by heart; λ and TIES searched
on one half of the positions of a domain, judged on the other. Keras' files are converted here (h5py): CuDNNLSTM keeps
kernels in other blocks than LSTM, and two biases that are added. Everything runs on one thread.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image, ImageEnhance, ImageFilter

from transfuse.core.nouns import Column, Examples, Model, Report, Step, TablePreprocessing, Task
from transfuse.fusing.fuse import fuse
from transfuse.sources.functions import builder_of
from transfuse.sources.network import Network
from transfuse.sources.opening import rebuild
from transfuse.tasks.images.opening import open_split
from transfuse.tasks.joining import taken
from transfuse.tasks.opening import open_task
from transfuse.tasks.tables.rows import Cells, Rows
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
    "seeds": tuple({"rate": rate, "augmentation": "standard"} for rate in (0.004,) * 4 + (0.006,) * 2),
    "shares": ({"rate": 0.004, "augmentation": "standard"},) * 4,
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


def share(task: Task, number: int, count: int) -> Task:
    """The task with one of so many parts of its training photographs; no two parts share one."""
    train = task.splits["train"]
    part = taken(train, np.arange(number, len(train), count))
    return replace(task, digest=f"{task.digest} {number}", splits={**task.splits, "train": part})


def fine_tunes(data: Path, work: Path, source: str, family: str) -> list[Path]:
    """The saved fine-tunes; those that are there already are kept."""
    task = open_task(data / "train", valid=0.2, test=0, seed=0)
    paths = []
    for seed, options in enumerate(FAMILIES[family]):
        path = work / f"{family}{seed}"
        own = share(task, seed, len(FAMILIES[family])) if family == "shares" else task
        paths.append(path)
        if not path.exists():
            began = time.process_time()
            transfer(source, own, steps=STEPS, seed=seed, interpolate=False, precision="float32", **options).save(path)
            print(f"{path.name}: {options}, {time.process_time() - began:.0f} CPU-s", flush=True)
    return paths


def judges_and_test(data: Path, judge: Path | None, classes: Sequence[str]) -> dict[str, Examples]:
    """Other photographs to judge and all test photographs, or the two halves of these."""
    if judge is not None:
        folders = {"valid": judge, "test": data / "test"}
        return {name: open_split(one, classes=classes, kind="single-label")[0] for name, one in folders.items()}
    halves = open_task(data / "test", valid=0.5, test=0, seed=0).splits
    return {"valid": halves["train"], "test": halves["valid"]}


def hands(data: Path, work: Path, source: str, family: str, judge: Path | None) -> None:
    """The soups against the best single fine-tune."""
    paths = fine_tunes(data, work, source, family)
    train = open_task(data / "train", valid=0.2, test=0, seed=0)
    clean = judges_and_test(data, judge, train.classes)
    shifted = {name: changed(part, seed) for seed, (name, part) in enumerate(clean.items())}
    for name, parts in (("changed", shifted), ("clean", clean)):
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


DOMAINS = {
    "hacker_news": "hacker_news_2000.txt",
    "reddit_apple_android": "reddit_apple_android_2000.txt",
    "reddit_rarepuppers_politics": "reddit_rarepuppers_politics_2000.txt",
    "reddit_legaladvice_relationshipadvice": "reddit_relationshipadvice_legaladvice_2000.txt",
}
TITLES, POSITIONS = 400, 2
"""Titles of a task, half of them for the validation split, and positions of each."""


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    """Keras' weights under PyTorch's names: every gate's block of a CuDNNLSTM is turned round, both biases stay."""
    import h5py  # for this benchmark alone

    with h5py.File(path) as file:
        paths = [(name.partition("/")[0], name.rpartition("/")[2]) for name in _names(file)]  # between them: a number
        read = {path: np.array(file[name]) for path, name in zip(paths, _names(file), strict=True)}
    found = {"embedding.weight": read["embedding", "embeddings:0"]}
    for layer in (0, 1):
        kernel, recurrent, bias = (
            read[f"rnn_{layer + 1}", f"{name}:0"] for name in ("kernel", "recurrent_kernel", "bias")
        )
        gates = [gate.T.reshape(gate.shape, order="F").T for gate in np.split(kernel, 4, 1)]
        found[f"layers.{layer}.weight_ih_l0"] = np.concatenate(gates)
        found[f"layers.{layer}.weight_hh_l0"] = np.concatenate(np.split(recurrent, 4, 1))
        found[f"layers.{layer}.bias_ih_l0"], found[f"layers.{layer}.bias_hh_l0"] = np.split(bias, 2)
    found["attention.weight"] = read["attention", "attention_W:0"].T
    found["output.weight"], found["output.bias"] = read["output", "kernel:0"].T, read["output", "bias:0"]
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in found.items()}


def _names(file: Any) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    return names


COLUMNS = tuple(Column(name=f"c{place}", role="numeric") for place in range(40))


def saved_models(folder: Path, work: Path, classes: tuple[str, ...]) -> dict[str, Path]:
    """Base and fine-tunes as saved Models."""
    code = Path(__file__).parent / "nets" / "textgenrnn.py"
    builder = {**builder_of(f"{code}:network", trust_code=True), "input": [40]}
    paths = {}
    for name in ("base", *DOMAINS):
        tensors = tensors_of(folder / f"{name}.hdf5")
        network = Network(rebuild(builder, trust_code=True), torch.nn.Linear(356, len(classes))).eval()
        heads = {f"head.{part}": tensors.pop(f"output.{part}") for part in ("weight", "bias")}
        network.load_state_dict({f"body.{key}": tensor for key, tensor in tensors.items()} | heads)
        paths[name] = work / name
        Model(
            name=name, modality="table", kind="single-label", classes=classes, builder=builder, network=network,
            head={"kind": "linear"}, preprocessing=TablePreprocessing(columns=COLUMNS), licence="MIT",
            provenance=Step(verb="source", method=name),
        ).save(paths[name])  # fmt: skip
    return paths


def positions(folder: Path, domains: Sequence[str], vocabulary: dict[str, int], classes: tuple[str, ...]) -> Task:
    """Forty characters and the next one, at random places of random titles; positions of one title are a group."""
    random, parts = np.random.default_rng(0), {}
    contexts: dict[str, list[list[int]]] = {"valid": [], "test": []}
    targets: dict[str, list[int]] = {"valid": [], "test": []}
    groups: dict[str, list[str]] = {"valid": [], "test": []}
    for domain in domains:
        titles = (folder / "titles" / DOMAINS[domain]).read_text(encoding="utf-8").splitlines()[1:]
        for number, title in enumerate(random.permutation(len(titles))[: TITLES // len(domains) // 2 * 2].tolist()):
            part = "valid" if number % 2 else "test"
            text = [vocabulary[c] for c in titles[title] if c in vocabulary]
            text = [vocabulary["<s>"], *text, vocabulary["<s>"]]
            for place in random.integers(1, len(text), POSITIONS).tolist():
                before = text[max(0, place - 40) : place]
                contexts[part].append([0] * (40 - len(before)) + before)
                targets[part].append(text[place])
                groups[part].append(f"{domain} {title}")
    for part, rows in contexts.items():
        columns = np.array(rows, np.float32).T
        cells = Cells(pa.table({column.name: values for column, values in zip(COLUMNS, columns, strict=True)}))
        names = tuple(f"{part} {place}" for place in range(len(rows)))
        parts[part] = Examples(
            items=Rows(cells, np.arange(len(rows))), targets=np.array(targets[part]), digests=names, names=names,
            groups=tuple(groups[part]),
        )  # fmt: skip
    return Task(
        name=" + ".join(domains), modality="table", kind="single-label", classes=classes, seed=0,
        digest=" + ".join(domains), splits={"train": parts["valid"], **parts},
    )  # fmt: skip


def titles(folder: Path, work: Path, only: Sequence[str]) -> None:
    """Merging four fine-tunes of one base, on each of their domains and on all together."""
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    named = {number: character for character, number in vocabulary.items()}
    classes = tuple(named.get(number, "nothing") for number in range(465))
    paths = saved_models(folder, work, classes)
    base, tuned = paths["base"], [paths[domain] for domain in DOMAINS]
    for domains in [(domain,) for domain in only] or [tuple(DOMAINS)]:
        task = positions(folder, domains, vocabulary, classes)
        given: dict[str, dict[str, Any]] = {
            "task arithmetic, lambda 0.25": {"method": "task_arithmetic", "scale": 0.25},
            "task arithmetic, lambda searched": {"method": "task_arithmetic", "search": "lambda", "trials": 11},
        }
        if len(domains) > 1:
            given["ties, lambda searched"] = {"method": "ties", "search": "lambda", "trials": 11}
            given["task arithmetic, layers searched"] = {"method": "task_arithmetic", "search": "layers", "trials": 40}
        for label, options in given.items():
            out = work / f"fused-{len(domains)}-{domains[0]}-{label.replace(' ', '-')}"
            report = fuse(*tuned, out=out, base=base, on=task, replace=True, trust_code=True, **options)
            shown(f"{task.name}: {label}", report)
            against_base(report, base.name)


def against_base(report: Report, base: str) -> None:
    """What the fusion has over the base in nats a character, by the rows of the report."""
    rows = {(row["split"], Path(row["model"]).name): row["log_loss"]["value"] for row in report.rows}
    fusion, known = rows["valid", "fusion"], rows["valid", base]
    print(f"nats a character, validation: fusion {fusion:.3f}, base {known:.3f}, difference {fusion - known:+.3f}")
    sys.stdout.flush()


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
    parser.add_argument("--domain", choices=list(DOMAINS), action="append", default=[], help="Without: all together.")
    parser.add_argument("--family", choices=list(FAMILIES), default="seeds")
    parser.add_argument("--judge", type=Path, help="Class folders of other photographs of hands, to judge by.")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    if given.what == "hands":
        hands(given.data, given.work, given.source, given.family, given.judge)
    else:
        titles(given.data, given.work, given.domain)


if __name__ == "__main__":
    main()
