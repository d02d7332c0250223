"""torchdistill side by side on KD and attention transfer: the same weights, pictures, order, optimiser and steps.

python benchmarks/peers_distilling.py ours DATA WEIGHTS FOLDER [--seeds 0 1 2]
PEER/bin/python benchmarks/peers_distilling.py theirs FOLDER        # pip install torchdistill==1.1.5 torch torchvision
python benchmarks/peers_distilling.py table FOLDER

The teacher is the ResNet-20 of CIFAR-10 (WEIGHTS/cifar10_resnet/resnet20-12fca82f.th), fine-tuned on DATA; the student
a ResNet-8 from random weights, 3.6 times smaller, at 32 px. `ours` writes into FOLDER the teacher's and the student's
first weights, and every augmented batch that it trains on; `theirs` trains on those very tensors. Both: SGD with
Nesterov momentum 0.9, a rate of 0.02 that falls to 0 by a cosine, batches of 32, no decay, no clipping, no average, no
early stop, float32, one thread; kd is 0.1·labels + 0.9·T²·KL at T = 4, at is labels + 1000·the sum over three layers.
What cannot be equal: transfuse augments while it trains, and torchdistill is given the finished pictures, so its time
is without augmentation (`preparing` says what that takes); transfuse computes channels last.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nets.resnet_cifar import ResNet
from torch import nn

NETS = Path(__file__).parent / "nets"
STEPS, BATCH, RATE = 300, 32, 0.02
LAYERS = ("layer1", "layer2", "layer3")
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def main() -> None:
    """One of three parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for name, places in (("ours", ("data", "weights", "folder")), ("theirs", ("folder",)), ("table", ("folder",))):
        part = parts.add_parser(name)
        for place in places:
            part.add_argument(place, type=Path)
        part.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    torch.set_num_threads(1)
    {"ours": ours, "theirs": theirs, "table": table}[given.part](given)


def ours(given: argparse.Namespace) -> None:
    """Train here, and write what the other side needs."""
    import transfuse as tr
    from transfuse.evaluating.assessing import assess
    from transfuse.training.options import Fit

    for seed in given.seeds:
        task = tr.task(str(given.data), seed=seed)
        resnet = f"file:{given.weights}/cifar10_resnet/resnet20-12fca82f.th@{NETS}/resnet_cifar.py:resnet20"
        teacher = tr.transfer(
            tr.source(resnet, trust_code=True, size=32, **IMAGENET), task, method="finetune", seed=seed
        )
        fit = Fit(
            steps=STEPS, rate=RATE, batch_size=BATCH, optimizer="sgd", weight_decay=0.0, warm_up=0.0, clip=0.0,
            average=0.0, patience=0, validate_every=STEPS, precision="float32", seed=seed,
        )  # fmt: skip
        folder = given.folder / str(seed)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(ResNet(1).state_dict(), folder / "any.pt")
        student = tr.source(
            f"file:{folder}/any.pt@{NETS}/resnet_cifar.py:resnet8", trust_code=True, size=32, **IMAGENET
        )
        _export(folder, task, student, teacher, fit)
        _write(folder, "teacher", "ours", assess(teacher, task.splits["test"]), 0.0)
        for name, make in _ways(teacher, student, task, fit).items():
            model, seconds = _watched(make)
            _write(folder, name, "ours", assess(model, task.splits["test"]), seconds)


def _ways(teacher: Any, student: Any, task: Any, fit: Any) -> dict[str, Callable[[Any], Any]]:
    import transfuse as tr

    def under(method: str, run: Any, **more: Any) -> Any:
        given = {"method": method, "scratch": True, "compare": False, "fit": fit, "run": run}
        return tr.distill(teacher, student, task, **given, **more)

    return {
        "student alone": lambda run: tr.transfer(student, task, method="scratch", fit=fit, run=run),
        "kd": lambda run: under("kd", run, views=0),
        "kd, kept": lambda run: under("kd", run, views=8),
        "at": lambda run: under("at", run, taps=dict(zip(LAYERS, LAYERS, strict=True))),
    }


def _watched(make: Callable[[Any], Any]) -> tuple[Any, float]:
    """The model, and CPU-seconds of all steps, from those between the end of the first and the last but one."""
    from transfuse.core.runs import Run

    ticks: list[float] = []
    model = make(Run(watch=lambda event: ticks.append(time.process_time()) if event["stage"] == "training" else None))
    return model, (ticks[-2] - ticks[0]) / (len(ticks) - 2) * STEPS


def _export(folder: Path, task: Any, student: Any, teacher: Any, fit: Any) -> None:
    from transfuse.core.runs import Run
    from transfuse.sources.inputs import tensor_of
    from transfuse.tuning.outcome import HeadShape
    from transfuse.tuning.starting import start
    from transfuse.tuning.tune import workbench

    first = start(student, task, head=HeadShape(), fit=fit, run=Run(), pretrained=False).network
    for name, network in (("student", first), ("teacher", teacher.network)):
        torch.save({_plain(key): value for key, value in network.state_dict().items()}, folder / f"{name}.pt")
    batches = workbench(task, student.preprocessing, fit).batches(fit)
    started = time.process_time()
    made = [batches.at(step) for step in range(STEPS)]
    seconds = time.process_time() - started
    np.save(folder / "x.npy", torch.stack([batch.x for batch in made]).contiguous().numpy())
    np.save(folder / "y.npy", torch.stack([batch.y for batch in made]).numpy())
    test = task.splits["test"]
    np.save(folder / "test_x.npy", tensor_of(test.items, student.preprocessing).contiguous().numpy())
    np.save(folder / "test_y.npy", test.targets)
    (folder / "rows.jsonl").write_text(json.dumps({"name": "preparing", "side": "ours", "seconds": seconds}) + "\n")


def _plain(key: str) -> str:
    """A parameter's name in the network as it is written in `nets/resnet_cifar.py`."""
    place, _, rest = key.partition(".")
    return rest if place == "body" else f"linear.{rest.rpartition('.')[2]}"


def _write(folder: Path, name: str, side: str, found: Any, seconds: float) -> None:
    right_N = found if isinstance(found, np.ndarray) else found.outputs_NC.argmax(1) == found.targets
    row = {"name": name, "side": side, "seconds": seconds, "right": "".join(str(int(hit)) for hit in right_N)}
    with (folder / "rows.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(f"{folder.name} {side:<7}{name:<14} {right_N.mean():.4f} (n={len(right_N)}) {seconds:.1f} CPU-s", flush=True)


def theirs(given: argparse.Namespace) -> None:
    """Train by torchdistill on the tensors that `ours` wrote."""
    kd = {"key": "KDLoss", "kwargs": {**_ends("linear"), "temperature": 4.0, "alpha": 0.1, "beta": 0.9}}
    pairs = {name: {"teacher": {"io": "output", "path": name}, "student": _tap(name)} for name in LAYERS}
    labels = {
        "criterion": {"key": "CrossEntropyLoss", "kwargs": {}},
        "criterion_wrapper": {
            "key": "SimpleLossWrapper",
            "kwargs": {"input": {"is_from_teacher": False, "module_path": "linear", "io": "output"},
                       "target": {"uses_label": True}},
        },
        "weight": 1.0,
    }  # fmt: skip
    at = {"criterion": {"key": "ATLoss", "kwargs": {"at_pairs": pairs, "mode": "code"}}, "weight": 1000.0}
    sums = {"kd": {"kd": {"criterion": kd, "weight": 1.0}}, "at": {"labels": labels, "at": at}}
    for folder in sorted(path for path in given.folder.iterdir() if (path / "x.npy").exists()):
        known = {row["name"] for row in _rows(folder.parent, folder.name) if row["side"] == "theirs"}
        for name, terms in sums.items():
            if name in known:
                continue
            student, seconds = _boxed(folder, terms, ["linear", *(LAYERS if name == "at" else ())])
            with torch.no_grad():
                answers = student.eval()(torch.from_numpy(np.load(folder / "test_x.npy"))).argmax(1).numpy()
            _write(folder, name, "theirs", answers == np.load(folder / "test_y.npy"), seconds)


def _ends(path: str) -> dict[str, str]:
    return {f"{whose}_module_{what}": value for whose in ("student", "teacher")
            for what, value in (("path", path), ("io", "output"))}  # fmt: skip


def _tap(path: str) -> dict[str, str]:
    return {"io": "output", "path": path}


def _boxed(folder: Path, terms: dict[str, Any], taps: list[str]) -> tuple[nn.Module, float]:
    from torch.utils.data import SequentialSampler
    from torchdistill.core.distillation import get_distillation_box

    student, teacher = ResNet(1), ResNet(3)
    student.load_state_dict(torch.load(folder / "student.pt"))
    teacher.load_state_dict(torch.load(folder / "teacher.pt"))
    teacher.eval()
    proc = {"forward_proc": "forward_batch_only", "forward_hook": {"input": [], "output": taps}}
    config = {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": SequentialSampler, "kwargs": {}},
            "kwargs": {"batch_size": BATCH, "num_workers": 0},
        },
        "teacher": {**proc, "requires_grad": False},
        "student": proc,
        "optimizer": {"key": "SGD", "kwargs": {"lr": RATE, "momentum": 0.9, "nesterov": True}},
        "scheduler": {"key": "CosineAnnealingLR", "kwargs": {"T_max": STEPS}, "scheduling_step": 1},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms}},
    }
    data = {"train": _Tensors(folder)}
    box = get_distillation_box(teacher, student, data, config, torch.device("cpu"), None, False, 1)
    started = time.process_time()
    box.pre_epoch_process(epoch=0)
    for x, y, more in box.train_data_loader:
        box.post_forward_process(loss=box.forward_process(x, targets=y, supp_dict=more))
    return student, time.process_time() - started


class _Tensors(torch.utils.data.Dataset):
    """The batches' pictures one after the other."""

    def __init__(self, folder: Path) -> None:
        x = np.load(folder / "x.npy")
        self.x = torch.from_numpy(x.reshape(-1, *x.shape[2:]))
        self.y = torch.from_numpy(np.load(folder / "y.npy").reshape(-1))

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.x[place], self.y[place]


def table(given: argparse.Namespace) -> None:
    """Means over seeds, and both sides by pairs."""
    from distilling_summary import in_points, t_interval

    found: dict[tuple[str, str], list[tuple[np.ndarray, float]]] = {}
    for row in _rows(given.folder):
        right_N = np.array([int(hit) for hit in row.get("right", "")], float)
        found.setdefault((row["name"], row["side"]), []).append((right_N, row["seconds"]))
    for (name, side), runs in found.items():
        seconds = np.mean([second for _, second in runs])
        told = f"{name:<14} {side:<7} {seconds:>6.2f} CPU-s for {STEPS} steps"
        if name != "preparing":
            values = [float(right_N.mean()) for right_N, _ in runs]
            low, high = t_interval(values)
            told += f"   {np.mean(values):.4f} ({low:.4f} to {high:.4f}); each {', '.join(f'{v:.4f}' for v in values)}"
        print(told)
    for name in ("kd", "at"):
        pairs = list(zip(found[name, "ours"], found.get((name, "theirs"), []), strict=False))
        gaps = [100 * float((a - b).mean()) for (a, _), (b, _) in pairs]
        same = np.mean([(a == b).mean() for (a, _), (b, _) in pairs])
        print(f"{name}: ours less theirs {in_points(gaps)}; right or wrong on the same pictures {100 * same:.1f} %")


def _rows(folder: Path, seed: str = "*") -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob(f"{seed}/rows.jsonl")):
        yield from map(json.loads, path.read_text().splitlines())


if __name__ == "__main__":
    main()
