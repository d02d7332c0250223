"""Merging file to file against copying: python benchmarks/fusing_weights.py --megabytes 1290 [--mergekit PYTHON].

Synthetic bfloat16 checkpoints (a base and two parents near it) in a temporary folder beside --folder. Every method runs
in a process of its own; wall and CPU seconds and peak memory are that process's, start-up included. `copy` is cp of one
model with a sync, and reading the others: the least that any tool must do. With --mergekit, an environment's Python in
which mergekit 0.1.5 is installed, its mergekit-pytorch runs the same recipes.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

RECIPES = {
    "linear": "parameters: {weight: 0.5}",
    "slerp": "parameters: {t: 0.5}",
    "task_arithmetic": "parameters: {weight: 0.5}",
    "ties": "parameters: {weight: 1.0, density: 0.5}",
    "dare_ties": "parameters: {weight: 0.5, density: 0.5}",
}
WITH_BASE = ("task_arithmetic", "ties", "dare_ties")


def checkpoints(folder: Path, megabytes: int, width: int = 1024) -> None:
    """A base and two parents, in tensors of width x width, 4 width x width and vectors."""
    import torch  # in a process of its own: the measured ones inherit the memory of who starts them
    from safetensors.torch import save_file

    def write(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
        folder.mkdir()
        save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})

    generator = torch.Generator().manual_seed(0)
    shapes = {"model.embed_tokens.weight": (8 * width, width)}
    size, layer = 16 * width * width, 0
    while size < megabytes * 1e6:
        shapes |= {
            f"model.layers.{layer}.attn.weight": (4 * width, width),
            f"model.layers.{layer}.up.weight": (4 * width, width),
            f"model.layers.{layer}.down.weight": (width, 4 * width),
            f"model.layers.{layer}.norm.weight": (width,),
        }
        size, layer = size + 2 * (12 * width * width + width), layer + 1
    base = {name: (torch.randn(shape, generator=generator) * 0.02).bfloat16() for name, shape in shapes.items()}
    write(folder / "base", base)
    for name in ("a", "b"):
        write(
            folder / name,
            {n: (t + torch.randn(t.shape, generator=generator) * 0.002).bfloat16() for n, t in base.items()},
        )


def recipe(folder: Path, method: str) -> Path:
    """mergekit's YAML for one method."""
    base = "base" if method in WITH_BASE else "a"
    lines = [f"merge_method: {method}", "models:", f"  - model: {folder / 'a'}", f"  - model: {folder / 'b'}"]
    if method != "linear":
        lines.append(f"base_model: {folder / base}")
    path = folder / f"{method}.yml"
    path.write_text("\n".join([*lines, RECIPES[method], "dtype: bfloat16"]) + "\n")
    return path


def measured(command: Sequence[str]) -> dict[str, float]:
    """Wall and CPU seconds and peak resident megabytes of a process and its children."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    if status:
        raise SystemExit(
            f"{' '.join(command)} failed: {process.stderr.read().decode()[-800:] if process.stderr else ''}"
        )
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


def ways(folder: Path, method: str, mergekit: str | None) -> dict[str, list[str]]:
    """The commands to compare for one method."""
    out, others = folder / "out", ["b", "base"] if method in WITH_BASE else ["b"]
    read = " ".join(f"{folder / name}/model.safetensors" for name in others)
    copy = f"mkdir {out} && cp {folder}/a/model.safetensors {out} && sync {out}/* && cat {read} > /dev/null"
    made = str(recipe(folder, method))
    fuse = [sys.executable, "-m", "transfuse", "fuse", "--recipe", made, "--out", str(out)]
    found = {
        "copy": ["sh", "-c", copy],
        "transfuse": [*fuse, "--quiet"],
        "transfuse, published": [*fuse, "--quiet", "--compat", "published"],
    }
    if mergekit:
        found["mergekit"] = [str(Path(mergekit).parent / "mergekit-pytorch"), made, str(out)]
    return found if method in WITH_BASE else {k: v for k, v in found.items() if "," not in k}


def main() -> None:
    """Print one line a run and a JSON document at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(RECIPES))
    parser.add_argument("--mergekit")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        maker = multiprocessing.get_context("spawn").Process(target=checkpoints, args=(folder, given.megabytes))
        maker.start()
        maker.join()
        found = []
        for method in given.methods:
            for way, command in ways(folder, method, given.mergekit).items():
                for _ in range(given.rounds):
                    row = {"method": method, "way": way, **measured(command)}
                    shutil.rmtree(folder / "out")
                    found.append(row)
                    print(
                        "{method:16} {way:22} wall {wall_s:6.2f} s  cpu {cpu_s:6.2f} s  peak {peak_mb:6.0f} MB".format(
                            **row
                        ),
                        flush=True,
                    )
        print(json.dumps(found))


if __name__ == "__main__":
    main()
