"""`transfuse fit` against transformers' Trainer, fastai and AutoGluon: same checkpoint, same pictures, same threads.

    python benchmarks/peers.py DATA WEIGHTS.safetensors TIMM_NAME --size 96 --best \\
        --env hf=v-hf/bin/python --env fastai=v-fastai/bin/python --env autogluon=v-ag/bin/python

What is equal: the pictures of DATA/train and DATA/test, the tensors without head of WEIGHTS in the timm architecture
(every side says how many it loaded), picture size, mean and standard deviation, the number of threads, the CPU.
Everything runs in turn, never two at once, each side in its own environment:

    hf         pip install transformers datasets timm torch torchvision accelerate scikit-learn
    fastai     pip install fastai timm
    autogluon  pip install autogluon.multimodal

`default` is every peer with its own default settings. `--best` adds its best of a table of settings: rates 3e-4, 1e-3,
3e-3 at 20 epochs, then 40 epochs at the best rate. The best is chosen ON THE TEST pictures, which flatters
the peer, and its seconds are those of that one run, without the search for it (shown apart). transfuse chooses its own
settings on validation data within its budget and reads the test pictures once; its seconds are those of the whole
command: imports, search, and its baseline from scratch unless `--fit` leaves that out. Its cache starts empty.

Intervals are Wilson's for 95 %; `ahead` is transfuse's accuracy less the peer's on the same pictures with the interval
of the paired difference. With several seeds, accuracies and seconds are means. Rows go to standard output, and with
every run and its predictions to the folder `--out`.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

TRANSFUSE_FIT = (
    "{transfuse} fit {data} --source file:{weights}@timm:{name} --size {size} --mean {mean} --std {std}"
    " --budget {budget} --seed {seed} --out {model} --format json"
)
TRANSFUSE_PREDICT = "{transfuse} predict {model} --format json"
PEERS = {"hf": "peer_hf.py", "fastai": "peer_fastai.py", "autogluon": "peer_autogluon.py"}
RATES = (3e-4, 1e-3, 3e-3)
FIRST_EPOCHS, OTHER_EPOCHS = 20, (40,)
BATCH = 32


def main() -> None:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    ours = None
    if given.transfuse:
        runs = [run_transfuse(given, seed) for seed in given.seeds]
        ours = np.mean([run["right_each"] for run in runs], axis=0)
        rows.append(row(given, runs, f"budget {given.budget}", ours, ours))
        show(rows[-1:])
    for peer, python in given.env:
        for setting, runs, extra in peer_runs(given, peer, python):
            theirs = np.mean([run["right_each"] for run in runs], axis=0)
            rows.append({**row(given, runs, setting, theirs, ours), **extra})
            show(rows[-1:])
    (given.out / "rows.json").write_text(json.dumps(rows, indent=1))
    print()
    show(rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("name")
    parser.add_argument("--env", action="append", default=[], type=environment, metavar="PEER=PYTHON")
    parser.add_argument("--transfuse", default=str(Path(sys.executable).with_name("transfuse")), help="'' to leave out")
    parser.add_argument("--fit", default=TRANSFUSE_FIT, help="the command line of our side")
    parser.add_argument("--budget", default="10m", help="given to transfuse")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--mean", type=float, nargs=3, default=(0.485, 0.456, 0.406))
    parser.add_argument("--std", type=float, nargs=3, default=(0.229, 0.224, 0.225))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--best", action="store_true", help="also look for every peer's best settings")
    parser.add_argument("--only-best", action="store_true", help="leave the peers' defaults out")
    parser.add_argument("--quick", action="store_true", help="one epoch each: does everything run?")
    parser.add_argument("--out", type=Path, default=Path("peers-results"))
    parser.add_argument("--reuse", action="store_true", help="take the peers' runs that are in --out already")
    given = parser.parse_args()
    given.data, given.weights = given.data.resolve(), given.weights.resolve()
    return given


def environment(text: str) -> tuple[str, str]:
    peer, _, python = text.partition("=")
    if peer not in PEERS or not python:
        raise argparse.ArgumentTypeError(f"must be PEER=PYTHON with PEER one of {', '.join(PEERS)}, but is '{text}'")
    return peer, python


def peer_runs(given: argparse.Namespace, peer: str, python: str) -> Any:
    """Yield (setting in words, one run a seed, more fields): the default, then the best of the table."""
    if given.quick:
        yield "one epoch", [run_peer(given, peer, python, seed, {"epochs": 1}) for seed in given.seeds], {}
        return
    if not given.only_best:
        yield "default", [run_peer(given, peer, python, seed, {}) for seed in given.seeds], {}
    if given.best or given.only_best:
        yield best_runs(given, peer, python)


def best_runs(given: argparse.Namespace, peer: str, python: str) -> tuple[str, list[dict], dict]:
    """The peer's best setting by accuracy on the test pictures, the quicker one on a tie."""
    seed = given.seeds[0]
    tried = [run_peer(given, peer, python, seed, setting(rate, FIRST_EPOCHS)) for rate in RATES]
    rate = max(tried, key=merit)["lr"]
    tried += [run_peer(given, peer, python, seed, setting(rate, epochs)) for epochs in OTHER_EPOCHS]
    best = max(tried, key=merit)
    again = setting(best["lr"], best["asked"]["epochs"])
    runs = [best] + [run_peer(given, peer, python, other, again) for other in given.seeds[1:]]
    searched = sum(run["setup_seconds"] + run["fit_seconds"] for run in tried)
    text = f"best of {len(tried)}: lr {best['lr']:g}, {best['epochs']:g} epochs, batch {best['batch']}"
    return text, runs, {"search_seconds": searched}


def merit(run: dict) -> tuple[float, float]:
    return run["accuracy"], -run["fit_seconds"]


def setting(rate: float, epochs: float) -> dict[str, float]:
    return {"lr": rate, "epochs": int(epochs), "batch": BATCH}


def run_peer(given: argparse.Namespace, peer: str, python: str, seed: int, asked: dict[str, float]) -> dict:
    """One run of a peer's script in its own environment."""
    label = "-".join([peer, *(f"{name}{value:g}" for name, value in asked.items()), f"seed{seed}"])
    if given.reuse and (given.out / f"{label}.json").exists():
        return json.loads((given.out / f"{label}.json").read_text())
    predictions = (given.out / f"{label}.npy").resolve()
    command = [python, str(Path(__file__).parent / "peers" / PEERS[peer])]
    command += [str(given.data), str(given.weights), given.name, "--predictions", str(predictions)]
    command += ["--size", str(given.size), "--mean", *map(str, given.mean), "--std", *map(str, given.std)]
    command += ["--seed", str(seed), "--threads", str(given.threads)]
    command += [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    document = json.loads(output_of(command, given).strip().splitlines()[-1])
    right_each = (np.load(predictions) == truth(given)[1]).tolist()
    return keep(given, label, {**document, "asked": asked, "right_each": right_each})


def run_transfuse(given: argparse.Namespace, seed: int) -> dict:
    """Our side: fit, then predict the test pictures with the saved model."""
    model = (given.out / f"transfuse-seed{seed}-model").resolve()
    fields = {
        **vars(given),
        "mean": ",".join(map(str, given.mean)),
        "std": ",".join(map(str, given.std)),
        "seed": seed,
        "model": model,
    }
    started = time.perf_counter()
    said = output_of(shlex.split(given.fit.format(**fields)), given)
    fitted = time.perf_counter()
    paths, labels, classes = truth(given)
    command = shlex.split(TRANSFUSE_PREDICT.format(**fields)) + [str(path) for path in paths]
    answers = json.loads(output_of(command, given))
    predicted = np.array([classes.index(answer["class"]) for answer in answers])
    return keep(
        given,
        f"transfuse-seed{seed}",
        {
            "peer": "transfuse",
            "seed": seed,
            "n": len(labels),
            "accuracy": float((predicted == labels).mean()),
            "loaded": next(iter(re.findall(r"\d+ of \d+ tensors loaded", said)), "see its report"),
            "setup_seconds": 0.0,
            "fit_seconds": fitted - started,
            "predict_seconds": time.perf_counter() - fitted,
            "right_each": (predicted == labels).tolist(),
        },
    )


def output_of(command: Sequence[str], given: argparse.Namespace) -> str:
    """Standard output of a command, alone on the machine as far as this script can see to it."""
    surroundings = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    surroundings |= {"OMP_NUM_THREADS": str(given.threads), "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as empty:  # no run may profit from features that another one has cached
        surroundings["TRANSFUSE_CACHE"] = empty
        done = subprocess.run(command, capture_output=True, text=True, env=surroundings, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}\nfailed ({done.returncode}):\n{done.stderr[-3000:]}")
    return done.stdout


def truth(given: argparse.Namespace) -> tuple[list[Path], np.ndarray, list[str]]:
    """Test paths, their class indices and the class names, in the order of `peer_common.pictures`."""
    classes = sorted(folder.name for folder in (given.data / "train").iterdir() if folder.is_dir())
    found = [(path, c) for c, name in enumerate(classes) for path in sorted((given.data / "test" / name).iterdir())]
    return [path for path, _ in found], np.array([c for _, c in found]), classes


def keep(given: argparse.Namespace, label: str, run: dict) -> dict:
    (given.out / f"{label}.json").write_text(json.dumps(run))
    shown = {name: run.get(name) for name in ("peer", "seed", "asked", "accuracy", "loaded", "fit_seconds")}
    print(json.dumps(shown), file=sys.stderr, flush=True)
    return run


def row(given: argparse.Namespace, runs: list[dict], words: str, right: np.ndarray, ours: np.ndarray | None) -> dict:
    """One line of the table, over the seeds."""
    accuracy, n = float(right.mean()), len(right)
    low, high = wilson(accuracy, n)
    line: dict[str, Any] = {"peer": runs[0]["peer"], "setting": words, "accuracy": accuracy, "low": low, "high": high}
    line |= {"n": n, "seeds": len(runs), "loaded": runs[0]["loaded"], "threads": given.threads}
    for name in ("fit_seconds", "setup_seconds"):
        line[name] = float(np.mean([run[name] for run in runs]))
    if ours is not None and ours is not right:
        difference = ours - right
        half = 1.96 * float(difference.std(ddof=1)) / n**0.5
        line |= {"ahead": float(difference.mean()), "ahead_low": float(difference.mean()) - half}
        line |= {"ahead_high": float(difference.mean()) + half}
    return line


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return centre - half, centre + half


def show(rows: Sequence[dict]) -> None:
    for line in rows:
        ahead = ""
        if "ahead" in line:
            ahead = f"  ahead {line['ahead']:+.3f} ({line['ahead_low']:+.3f} to {line['ahead_high']:+.3f})"
        searched = f"  search {line['search_seconds']:.0f} s" if "search_seconds" in line else ""
        measured = (
            f"{line['accuracy']:.3f} ({line['low']:.3f}-{line['high']:.3f}, n={line['n']}, seeds={line['seeds']})"
        )
        seconds = f"fit {line['fit_seconds']:7.1f} s  setup {line['setup_seconds']:5.1f} s"
        print(f"{line['peer']:<21} {line['setting']:<42} {measured}  {seconds}{searched}{ahead}", flush=True)


if __name__ == "__main__":
    main()
