"""Merging file to file against copying and mergekit: python benchmarks/fusing_weights.py [--mergekit PYTHON].

Synthetic bfloat16 checkpoints (a base and two parents near it) in a temporary folder beside --folder; then the same in
very many small tensors. Every way is a process of its own, start-up included, and the ways of one method take turns, so
that what else the machine does falls on all of them. `copy` is cp of one model with a sync, and reading the others: the
least that any tool must do. With --mergekit, an environment's Python in which mergekit is installed, its
mergekit-pytorch runs the same recipes; so does transfuse with mergekit's definitions, and with the published ones.

Printed per run: wall seconds, processor seconds (user + system), peak memory; then the medians (and the least of all
runs), mergekit's processor seconds over ours, and our wall over copying's.
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
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

RECIPES = {
    "linear": "parameters: {weight: 0.5}",
    "slerp": "parameters: {t: 0.5}",
    "task_arithmetic": "parameters: {weight: 0.5}",
    "ties": "parameters: {weight: 1.0, density: 0.5}",
    "dare_ties": "parameters: {weight: 0.5, density: 0.5}",
}
WITH_BASE = ("task_arithmetic", "ties", "dare_ties")
PUBLISHED = ("ties", "dare_ties")
"""Methods whose published definition is another than mergekit's."""
FILE = "model.safetensors"
COLUMNS = ("wall_s", "cpu_s", "peak_mb")


def large(megabytes: int, width: int = 1024) -> dict[str, tuple[int, ...]]:
    """Tensors of width x width, 4 width x width and vectors, of so many megabytes in all."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (8 * width, width)}
    size, layer = 16 * width * width, 0
    while size < megabytes * 1e6:
        shapes |= {
            f"model.layers.{layer}.attn.weight": (4 * width, width),
            f"model.layers.{layer}.up.weight": (4 * width, width),
            f"model.layers.{layer}.down.weight": (width, 4 * width),
            f"model.layers.{layer}.norm.weight": (width,),
        }
        size, layer = size + 2 * (12 * width * width + width), layer + 1
    return shapes


def small(count: int) -> dict[str, tuple[int, ...]]:
    """Experts of 32 x 16."""
    return {f"model.layers.{i // 200}.experts.{i % 200}.weight": (32, 16) for i in range(count)}


def write(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """A base and two parents."""
    import torch  # in a process of its own: the measured ones inherit the memory of who starts them
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    base = {name: (torch.randn(shape, generator=generator) * 0.02).bfloat16() for name, shape in shapes.items()}
    for name, far in (("base", 0.0), ("a", 0.002), ("b", 0.002)):
        (folder / name).mkdir(parents=True)
        near = {n: (t + far * torch.randn(t.shape, generator=generator)).bfloat16() for n, t in base.items()}
        save_file(near, str(folder / name / FILE), metadata={"format": "pt"})


def written(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """The folder, once another process has filled it."""
    maker = multiprocessing.get_context("spawn").Process(target=write, args=(folder, shapes))
    maker.start()
    maker.join()
    return folder


def recipe(folder: Path, method: str) -> Path:
    """mergekit's YAML for one method; of files, because mergekit-pytorch takes nothing else."""
    models = [f"  - model: {folder / name / FILE}" for name in ("a", "b")]
    lines = [f"merge_method: {method}", "models:", *models]
    if method != "linear":
        lines.append(f"base_model: {folder / ('base' if method in WITH_BASE else 'a') / FILE}")
    path = folder / f"{method}.yml"
    path.write_text("\n".join([*lines, RECIPES[method], "dtype: bfloat16"]) + "\n")
    return path


def ways(folder: Path, method: str, mergekit: str | None) -> dict[str, list[str]]:
    """The commands to compare for one method."""
    out, made = folder / "out", str(recipe(folder, method))
    read = " ".join(f"{folder / name / FILE}" for name in (["b", "base"] if method in WITH_BASE else ["b"]))
    copy = f"mkdir {out} && cp {folder / 'a' / FILE} {out} && sync {out}/* && cat {read} > /dev/null"
    fuse = [sys.executable, "-m", "transfuse", "fuse", "--recipe", made, "--out", str(out), "--quiet"]
    found = {"copy": ["sh", "-c", copy], "transfuse": fuse}
    if method in PUBLISHED:
        found["transfuse, published"] = [*fuse, "--compat", "published"]
    if mergekit:
        found["mergekit"] = [str(Path(mergekit).parent / "mergekit-pytorch"), made, str(out)]
    return found


def measured(command: Sequence[str], limit: float) -> dict[str, float]:
    """Wall and processor seconds and peak resident megabytes of a process, which may take `limit` processor seconds."""
    with tempfile.TemporaryFile() as errors:
        started = time.monotonic()
        given = ["prlimit", f"--cpu={int(limit)}", *command]
        process = subprocess.Popen(given, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        wall, cpu = time.monotonic() - started, usage.ru_utime + usage.ru_stime
        if status and cpu < limit:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)} failed: {errors.read().decode()[-800:]}")
    return {"wall_s": wall, "cpu_s": cpu, "peak_mb": usage.ru_maxrss / 1024}


def compared(folder: Path, case: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Every way of every method, in turns."""
    found = []
    for method in given.methods:
        for turn in range(given.rounds):
            for way, command in ways(folder, method, given.mergekit).items():
                if way == "mergekit" and turn >= given.mergekit_rounds:
                    continue
                row = {"case": case, "method": method, "way": way, **measured(command, given.limit)}
                shutil.rmtree(folder / "out", ignore_errors=True)
                (folder / "out").unlink(missing_ok=True)
                found.append(row)
                print(f"{case:6} {method:16} {way:22}", *(f"{name} {row[name]:8.2f}" for name in COLUMNS), flush=True)
    return found


def summary(found: Sequence[Mapping[str, Any]], limit: float) -> str:
    """A table of medians, the least in brackets, with both ratios."""
    lines = [
        "| checkpoints | method | way | wall s, median (least) | CPU s, median (least) | peak MB"
        " | mergekit's CPU / ours | wall / copy's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], dict[str, list[Mapping[str, Any]]]] = {}
    for row in found:
        groups.setdefault((row["case"], row["method"]), {}).setdefault(row["way"], []).append(row)
    for (case, method), by_way in groups.items():
        middle = {way: {c: median(row[c] for row in rows) for c in COLUMNS} for way, rows in by_way.items()}
        for way, rows in by_way.items():
            wall, cpu = (f"{middle[way][c]:.2f} ({min(row[c] for row in rows):.2f})" for c in ("wall_s", "cpu_s"))
            ours = way.startswith("transfuse")
            peer = middle["mergekit"]["cpu_s"] if ours and "mergekit" in middle else None
            more = "" if peer is None or peer < limit else "> "
            ratio = "" if peer is None else f"{more}{peer / middle[way]['cpu_s']:.1f}"
            copied = f"{middle[way]['wall_s'] / middle['copy']['wall_s']:.2f}" if ours else ""
            peak = max(row["peak_mb"] for row in rows)
            lines.append(f"| {case} | {method} | {way} | {wall} | {cpu} | {peak:.0f} | {ratio} | {copied} |")
    return "\n".join(lines)


def main() -> None:
    """Print one line a run, the table, and a JSON document at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1290)
    parser.add_argument("--small", type=int, default=20000, help="Tensors of the second case.")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(RECIPES))
    parser.add_argument("--mergekit", help="Python of the environment that has it.")
    parser.add_argument("--mergekit-rounds", type=int, default=1)
    parser.add_argument("--limit", type=float, default=600, help="Processor seconds after which a run is ended.")
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        for case, shapes in (
            ("large", large(given.megabytes) if given.megabytes else {}),
            ("small", small(given.small)),
        ):
            if shapes:
                folder = written(Path(name) / case, shapes)
                found += compared(folder, case, given)
                shutil.rmtree(folder)
    print(summary(found, given.limit))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
