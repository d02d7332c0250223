"""Ordinary files as people have them, generated: none of them may be refused by `transfuse scan`.

    python benchmarks/ordinary_files.py OUT [--seed 0]      # writes them, scans them, counts verdicts by family

Families: torch state dicts of every kind of tensor, checkpoints with every optimiser and scheduler, what Lightning and
Hugging Face's trainer leave behind, every estimator of scikit-learn through joblib and pickle, arrays of every type,
and archives of those. The same seed gives the same files.
"""

import argparse
import bz2
import gzip
import io
import lzma
import pickle
import random
import sys
import tarfile
import warnings
import zipfile
import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import nn

from transfuse.weights.scanning.folders import judge

Files = Iterator[tuple[str, bytes]]
FLOATS = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool")
COMPLEX = ("complex64", "complex128")


def saved(value: Any, *, legacy: bool = False, protocol: int = 2) -> bytes:
    """What `torch.save` writes."""
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return stream.getvalue()


def joblibbed(value: Any, **options: Any) -> bytes:
    """What `joblib.dump` writes."""
    stream = io.BytesIO()
    joblib.dump(value, stream, **options)
    return stream.getvalue()


def network() -> nn.Module:
    """A little of everything."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


def tensors(seed: int) -> Files:
    """State dicts by type, container and protocol."""
    generator = torch.Generator().manual_seed(seed)
    for name in (*FLOATS, *INTEGERS, *COMPLEX):
        value = (torch.rand(3, 4, generator=generator) * 4).to(getattr(torch, name))
        yield f"type_{name}.pt", saved({"w": value})
    weights = network().state_dict()
    for legacy in (False, True):
        end = "pth" if legacy else "pt"
        yield f"state_{legacy}.{end}", saved(weights, legacy=legacy)
        yield f"views_{legacy}.{end}", saved(_views(generator), legacy=legacy)
        yield f"odd_{legacy}.{end}", saved(_odd(), legacy=legacy)
        yield f"parameters_{legacy}.{end}", saved(dict(network().named_parameters()), legacy=legacy)
    for protocol in (2, 3, 4, 5):
        yield f"protocol_{protocol}.bin", saved(weights, protocol=protocol)
    yield from _special(generator)


def _views(generator: torch.Generator) -> dict[str, Any]:
    base = torch.rand(6, 8, generator=generator)
    return {"base": base, "row": base[2], "turned": base.T, "part": base[1:, ::2], "wide": base[:1].expand(5, 8)}


def _odd() -> dict[str, Any]:
    return {
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(3.5),
        "size": torch.Size([1, 2]),
        "none": None,
        "device": torch.device("cpu"),
        "type": torch.float32,
        "nested": [({"a": (1, 2.5)}, "x" * 300)],
    }


def _special(generator: torch.Generator) -> Files:
    quantised = torch.quantize_per_tensor(torch.rand(4, 4, generator=generator), 0.1, 0, torch.qint8)
    scales, zeros = torch.tensor([0.1, 0.2]), torch.tensor([0, 1])
    by_channel = torch.quantize_per_channel(torch.rand(2, 4, generator=generator), scales, zeros, 0, torch.quint8)
    yield "quantised.pt", saved({"a": quantised, "b": by_channel})
    dense = torch.eye(4)
    yield "sparse_coo.pt", saved({"w": dense.to_sparse()})
    yield "sparse_csr.pt", saved({"w": dense.to_sparse_csr()})
    yield "meta.pt", saved({"w": torch.empty(2, 3, device="meta")})
    parameter = nn.Parameter(torch.ones(2))
    parameter.note = "attribute"  # type: ignore[attr-defined]
    yield "attribute.pt", saved({"w": parameter})
    yield "conjugated.pt", saved({"w": torch.ones(2, dtype=torch.complex64).conj()})
    yield "nested.pt", saved({"w": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])})
    yield "tensor.pt", saved(torch.rand(5, generator=generator))
    yield "list.pt", saved([torch.ones(2), (torch.zeros(1), {"k": torch.ones(1)})])


def modules(seed: int) -> Files:
    """Whole modules and programs."""
    layers = (
        network(),
        nn.LSTM(2, 3),
        nn.TransformerEncoderLayer(8, 2),
        nn.Embedding(5, 2),
        nn.ModuleDict({"a": nn.GELU()}),
    )
    for number, module in enumerate(layers):
        yield f"module_{number}.pt", saved(module)
    yield "module_legacy.pth", saved(network(), legacy=True)
    for number, module in enumerate((nn.Linear(2, 2), nn.Sequential(nn.Conv1d(1, 2, 3), nn.Tanh()), nn.LSTM(2, 2))):
        stream = io.BytesIO()
        torch.jit.save(torch.jit.script(module), stream)
        yield f"script_{number}.pt", stream.getvalue()
    import torchvision

    yield "resnet.pth", saved(torchvision.models.resnet18(num_classes=3))


def checkpoints(seed: int) -> Files:
    """A step with every optimiser; every scheduler's state; mixed precision, moving averages, random states."""
    for name in sorted(vars(torch.optim)):
        maker = getattr(torch.optim, name)
        if (
            isinstance(maker, type)
            and issubclass(maker, torch.optim.Optimizer)
            and name not in ("Optimizer", "SparseAdam")
        ):
            yield f"optimiser_{name}.ckpt", saved(_step(maker))
    optimiser = torch.optim.SGD(network().parameters(), 0.1)
    for name, schedule in _schedules(optimiser).items():
        yield f"scheduler_{name}.pt", saved({"scheduler": schedule.state_dict(), "last": schedule.get_last_lr()})
    average = torch.optim.swa_utils.AveragedModel(network())
    yield "average.pt", saved({"ema": average.state_dict(), "scaler": torch.amp.GradScaler("cpu").state_dict()})
    yield (
        "random.pt",
        saved(
            {
                "torch": torch.get_rng_state(),
                "numpy": np.random.RandomState(seed).get_state(),
                "python": random.Random(seed).getstate(),
            }
        ),
    )


def _step(maker: Any) -> dict[str, Any]:
    model = nn.Linear(4, 2)
    optimiser = maker([model.weight] if maker is torch.optim.Muon else model.parameters())
    optimiser.step(lambda: _loss(model, optimiser))
    return {"model": model.state_dict(), "optimizer": optimiser.state_dict(), "epoch": 3, "best": 0.5, "lr": 1e-3}


def _loss(model: nn.Module, optimiser: Any) -> torch.Tensor:
    optimiser.zero_grad()
    loss = model(torch.ones(3, 4)).square().sum()
    loss.backward()
    return loss


def _schedules(optimiser: Any) -> dict[str, Any]:
    from torch.optim import lr_scheduler as made

    linear = made.LinearLR(optimiser)
    return {
        "step": made.StepLR(optimiser, 2),
        "multi": made.MultiStepLR(optimiser, [1, 3]),
        "exp": made.ExponentialLR(optimiser, 0.9),
        "cosine": made.CosineAnnealingLR(optimiser, 5),
        "warm": made.CosineAnnealingWarmRestarts(optimiser, 5),
        "one": made.OneCycleLR(optimiser, 0.1, total_steps=9),
        "plateau": made.ReduceLROnPlateau(optimiser),
        "linear": linear,
        "poly": made.PolynomialLR(optimiser),
        "lambda": made.LambdaLR(optimiser, lambda epoch: 0.9**epoch),
        "chained": made.ChainedScheduler([linear]),
        "cyclic": made.CyclicLR(optimiser, 0.1, 0.2, cycle_momentum=False),
    }


def trainers(seed: int) -> Files:
    """What trainers leave behind."""
    from transformers import TrainingArguments

    state = network().state_dict()
    for number, strategy in enumerate(("no", "steps", "epoch")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arguments = TrainingArguments(output_dir="runs", use_cpu=True, save_strategy=strategy)
        yield f"{number}/training_args.bin", saved(arguments)
    yield (
        "rng_state.pth",
        saved(
            {
                "python": random.Random(seed).getstate(),
                "numpy": np.random.RandomState(seed).get_state(),
                "cpu": torch.get_rng_state(),
            }
        ),
    )
    yield "pytorch_model.bin", saved(state)
    yield (
        "scheduler.pt",
        saved({"base_lrs": [0.1], "last_epoch": 3, "_step_count": 4, "_get_lr_called_within_step": False}),
    )
    lightning = {
        "state_dict": state,
        "epoch": 1,
        "global_step": 20,
        "pytorch-lightning_version": "2.6.6",
        "loops": {},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5), "kth": {}}},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 1e-3, "layers": [1, 2]},
    }
    yield "lightning.ckpt", saved(lightning)
    yield "namespace.pth", saved({"model": state, "args": argparse.Namespace(lr=0.1, path=Path("data"))})
    yield (
        "scores.pt",
        saved({"model": state, "score": np.float64(0.5), "history": np.arange(3), "when": datetime.now(UTC)}),
    )
    yield (
        "yolo_like.pt",
        saved({"epoch": -1, "best_fitness": None, "model": network().half(), "ema": None, "updates": None}),
    )


def estimators(seed: int) -> Files:
    """Every estimator that can be fitted to a small table, by joblib and by pickle."""
    from sklearn.utils import all_estimators

    random_state = np.random.RandomState(seed)
    x_ND = random_state.rand(40, 4)
    y_N = (x_ND[:, 0] > 0.5).astype(int)
    for number, (name, maker) in enumerate(all_estimators()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = _fitted(maker, x_ND, y_N)
        if fitted is None:
            continue
        how = number % 8
        if how < 6:
            yield f"{name}_{how}.pkl", pickle.dumps(fitted, how)
        compression: list[Any] = [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3), ("zlib", 9), 1]
        yield f"{name}.joblib", joblibbed(fitted, compress=compression[how])
    yield from _composed(x_ND, y_N)


def _fitted(maker: Any, x_ND: np.ndarray, y_N: np.ndarray) -> Any:
    for make in (maker, lambda: maker(_inner())):
        try:
            estimator = make()
            return estimator.fit(np.abs(x_ND), y_N)
        except Exception:
            continue
    return None


def _inner() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression()


def _composed(x_ND: np.ndarray, y_N: np.ndarray) -> Files:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier, VotingClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    columns = ColumnTransformer([("n", StandardScaler(), [0, 1]), ("c", OneHotEncoder(handle_unknown="ignore"), [2])])
    forest = RandomForestClassifier(3, random_state=0)
    yield "pipeline.joblib", joblibbed(make_pipeline(columns, forest).fit(x_ND, y_N))
    yield "grid.pkl", pickle.dumps(GridSearchCV(_inner(), {"C": [0.1, 1.0]}).fit(x_ND, y_N))
    yield "vote.joblib", joblibbed(VotingClassifier([("a", _inner()), ("b", forest)]).fit(x_ND, y_N), compress=3)
    yield "text.joblib", joblibbed(TfidfVectorizer().fit(["a cat sat", "a dog ran"]))
    yield "function.pkl", pickle.dumps(make_pipeline(FunctionTransformer(np.log1p), _inner()).fit(x_ND, y_N))


def arrays(seed: int) -> Files:
    """`.npy`, `.npz` and pickles of arrays of every type."""
    random_state = np.random.RandomState(seed)
    record = np.dtype([("name", "U5"), ("at", "<f4", (2,)), ("day", "M8[D]")])
    aligned = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    kinds: list[Any] = [
        "?",
        "i1",
        "u2",
        "<i4",
        ">i8",
        "f2",
        "f4",
        ">f8",
        "c8",
        "c16",
        "S7",
        "U3",
        "V4",
        "M8[ns]",
        "m8[h]",
        record,
        aligned,
        "longdouble",
    ]
    for number, kind in enumerate(kinds):
        array = np.zeros((3, 2), kind)
        if array.dtype.kind in "iuf":
            array[:] = (random_state.rand(3, 2) * 9).astype(array.dtype)
        stream = io.BytesIO()
        np.save(stream, array if number % 2 else np.asfortranarray(array))
        yield f"array_{number}.npy", stream.getvalue()
        yield f"array_{number}.pkl", pickle.dumps({"a": array, "b": array[0, 0], "c": array.dtype}, number % 6)
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}, "text", None], dtype=object), allow_pickle=True)
    yield "objects.npy", stream.getvalue()
    for name, write in (("plain", np.savez), ("packed", np.savez_compressed)):
        stream = io.BytesIO()
        write(stream, x=random_state.rand(30, 3), y=np.arange(30), names=np.array(["a", "b"]))
        yield f"{name}.npz", stream.getvalue()
    yield (
        "mixed.joblib",
        joblibbed({"x": random_state.rand(30, 3), "o": np.array(["a", None], dtype=object)}, compress=3),
    )
    yield "masked.pkl", pickle.dumps(np.ma.masked_array([1, 2], [0, 1]))
    yield "generator.pkl", pickle.dumps({"old": random_state, "new": np.random.default_rng(seed)})


def plain(seed: int) -> Files:
    """Containers of Python by every protocol, with cycles and shared parts."""
    cyclic: list[Any] = [1]
    cyclic.append((cyclic, {"self": cyclic}))
    shared = list(range(5))
    values = {
        "plain": {
            "a": [1, 2.0, "os.system", b"x", None, True],
            "t": (1, {2}),
            "big": 10**60,
            "neg": -5,
            "text": "é" * 300,
        },
        "kinds": [frozenset({1}), bytearray(b"abc"), 1 + 2j, range(3), slice(1, 2), b"", bytes(300), set()],
        "standard": [
            OrderedDict(a=1),
            defaultdict(list, a=[1]),
            Counter("aab"),
            deque([1, 2], 5),
            timedelta(1),
            datetime.now(UTC),
        ],
        "cyclic": cyclic,
        "shared": [shared] * 40,
        "long": list(range(5000)),
        "deep": _deep(150),
    }
    for name, value in values.items():
        for protocol in range(6):
            yield f"{name}_{protocol}.pkl", pickle.dumps(value, protocol)
    yield "python2.pkl", b"(dp0\nS'weights'\np1\n(lp2\nF1.5\naI3\naL4L\nas."
    yield (
        "python2_array.pkl",
        (
            b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\ntp4\nRp5\n(I1\n(I2\ntp6\n"
            b"cnumpy\ndtype\np7\n(S'u1'\np8\nI0\nI1\ntp9\nRp10\n(I3\nS'|'\np11\nNNNI-1\nI-1\nI0\ntp12\nbI00\nS'\\x01\\x02'\np13\ntp14\nb."
        ),
    )


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def archives(seed: int) -> Files:
    """Zips, tars and compressed streams of ordinary files."""
    inner = {
        "model.pt": saved(network().state_dict()),
        "labels.txt": b"cat\ndog\neel\n",
        "data.pkl": pickle.dumps({"a": 1}),
        "empty/__init__.py": b"",
        "notes.md": b"I like it.\nThe end.\n",
        "config.json": b"{}",
    }
    for name, method in (
        ("stored", zipfile.ZIP_STORED),
        ("deflated", zipfile.ZIP_DEFLATED),
        ("bzipped", zipfile.ZIP_BZIP2),
    ):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            archive.mkdir("empty")
            for member, data in inner.items():
                archive.writestr(member, data)
        yield f"{name}.zip", stream.getvalue()
    for mode, formatted in (
        ("", tarfile.GNU_FORMAT),
        ("gz", tarfile.PAX_FORMAT),
        ("bz2", tarfile.USTAR_FORMAT),
        ("xz", tarfile.PAX_FORMAT),
    ):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=f"w:{mode}", format=formatted) as archive:
            for member, data in inner.items():
                entry = tarfile.TarInfo(f"./{'long' * 40 if formatted == tarfile.PAX_FORMAT else 'm'}/{member}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        yield f"bundle.tar{'.' if mode else ''}{mode}", stream.getvalue()
    state = pickle.dumps({"w": np.arange(1000)})
    yield "a.pkl.gz", gzip.compress(state)
    yield "b.pkl.bz2", bz2.compress(state)
    yield "c.pkl.xz", lzma.compress(state)
    yield "d.joblib", zlib.compress(state)
    yield "labels.txt", b"in\nof\nRat\ncat\ndog\n"
    yield "words.txt", b"cat\ndog\n(tuple)\nb.\n"


FAMILIES: dict[str, Callable[[int], Files]] = {
    "tensors": tensors,
    "modules": modules,
    "checkpoints": checkpoints,
    "trainers": trainers,
    "estimators": estimators,
    "arrays": arrays,
    "plain": plain,
    "archives": archives,
}


def write(folder: Path, seed: int = 0) -> dict[str, list[Path]]:
    """Every file, by family."""
    warnings.simplefilter("ignore")
    torch.manual_seed(seed)
    written: dict[str, list[Path]] = {}
    for family, maker in FAMILIES.items():
        for name, data in maker(seed):
            path = folder / family / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            written.setdefault(family, []).append(path)
    return written


def main() -> int:
    """Write, scan, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    refused = 0
    for family, paths in write(options.out, options.seed).items():
        judged = [one for path in paths for one in judge(path)]
        counts = Counter(one.verdict for one in judged)
        slowest = max(one.seconds for one in judged)
        print(f"{family:12} {len(judged):4} files  {dict(counts)}  slowest {slowest:.3f} s")
        for one in judged:
            if one.verdict == "reject":
                refused += 1
                print("  REFUSED", one.path, one.kind, [(f.rule, f.reason, f.where) for f in one.findings][:2])
    print(f"refused: {refused}")
    return refused > 0


if __name__ == "__main__":
    sys.exit(main())
