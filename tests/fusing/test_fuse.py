"""The door: files to files, whatever happens on the way; saved Models to a saved Model, when it is better."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from transfuse.core.errors import BudgetError, StorageError, UnknownName, UnsafeFile, UsageError, WeightsError
from transfuse.core.runs import Run
from transfuse.fusing.fuse import fuse
from transfuse.fusing.verify import verify
from transfuse.predicting.folder import load
from transfuse.tasks.opening import open_task

SHAPES = {
    "embed.weight": (50, 8),
    **{f"layers.{i}.weight": (24, 8) for i in range(4)},
    **{f"layers.{i}.norm": (8,) for i in range(4)},
    "head.weight": (5, 8),
}


def network(seed, near=None, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    if near is not None:
        drawn = {name: near[name].float() + 0.1 * tensor for name, tensor in drawn.items()}
    tensors = {name: tensor.to(dtype) for name, tensor in drawn.items()}
    return {**tensors, "bn.num_batches_tracked": torch.tensor(seed, dtype=torch.int64)}


def written(folder, tensors):
    folder.mkdir()
    save_file(tensors, str(folder / "model.safetensors"))
    (folder / "config.json").write_text('{"num_hidden_layers": 4}')
    return folder


@pytest.fixture
def family(tmp_path: Path) -> dict[str, Path]:
    """A base, two fine-tunes of it, and a stranger."""
    base = network(0)
    return {
        "base": written(tmp_path / "base", base),
        "a": written(tmp_path / "a", network(1, base)),
        "b": written(tmp_path / "b", network(2, base)),
        "x": written(tmp_path / "x", network(3)),
    }


def tensors_of(folder):
    return load_file(str(folder / "model.safetensors"))


def test_a_soup_is_the_mean_and_every_tensor_is_accounted_for(family, tmp_path):
    report = fuse(family["a"], family["b"], out=tmp_path / "out")
    a, b, out = (tensors_of(folder) for folder in (family["a"], family["b"], tmp_path / "out"))
    for name in SHAPES:
        torch.testing.assert_close(out[name], (a[name] + b[name]) / 2)
    assert out["bn.num_batches_tracked"] == 1  # the first parent's; their difference is no error
    fates = json.loads((tmp_path / "out" / "fusion.json").read_text())["tensors"]
    assert set(fates) == set(a) and fates["bn.num_batches_tracked"]["fate"] == "copied"
    assert sum(row["tensors"] for row in report.rows) == len(a)
    assert (tmp_path / "out" / "config.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "base", "out", "x"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float8_e4m3fn"])
def test_types_of_parents_and_of_the_result(tmp_path, dtype):
    base = network(0)
    kind = getattr(torch, dtype)
    a, b = (written(tmp_path / n, network(i, base, kind)) for i, n in ((1, "a"), (2, "b")))
    fuse(a, b, out=tmp_path / "out")
    out = tensors_of(tmp_path / "out")["head.weight"]
    wanted = (tensors_of(a)["head.weight"].float() + tensors_of(b)["head.weight"].float()) / 2
    assert out.dtype == kind and torch.equal(out.float(), wanted.to(kind).float())
    fuse(a, b, out=tmp_path / "wide", dtype="float32")
    torch.testing.assert_close(tensors_of(tmp_path / "wide")["head.weight"], wanted)


def test_shards_in_and_out_and_torch_files_change_nothing(family, tmp_path):
    options = {"base": family["base"], "method": "dare_ties", "density": 0.5, "seed": 3}
    fuse(family["a"], family["b"], out=tmp_path / "whole", **options)
    fuse(family["a"], family["b"], out=tmp_path / "parts", shard_bytes=1500, threads=3, **options)
    index = json.loads((tmp_path / "parts" / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(index.values())) > 2
    torch.save(tensors_of(family["b"]), tmp_path / "b.pt")
    again = {}
    for file in set(index.values()):
        again |= load_file(str(tmp_path / "parts" / file))
    fuse(family["a"], tmp_path / "b.pt", out=tmp_path / "torch", **options)
    fuse(tmp_path / "parts", tmp_path / "whole", out=tmp_path / "same")
    whole = tensors_of(tmp_path / "whole")
    for other in (again, tensors_of(tmp_path / "torch"), tensors_of(tmp_path / "same")):
        assert set(other) == set(whole) and all(torch.equal(other[name], whole[name]) for name in whole)


KILLED = """
import os, signal, sys
from transfuse.core.runs import Run
from transfuse.fusing.fuse import fuse

seen = []

def watch(event):
    seen.append(event)
    if len(seen) == 5:
        os.kill(os.getpid(), signal.SIGKILL)

a, b, base, out = sys.argv[1:]
fuse(a, b, base=base, method="ties", out=out, threads=1, run=Run(watch=watch))
"""


def test_a_killed_run_goes_on_where_it_stopped(family, tmp_path):
    paths = [str(family[name]) for name in ("a", "b", "base")]
    fuse(*paths[:2], base=paths[2], method="ties", out=tmp_path / "whole")
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, *paths, str(out)], check=False)
    assert killed.returncode == -9 and not out.exists()
    report = fuse(*paths[:2], base=paths[2], method="ties", out=out)
    assert any("5 tensors were taken over" in sentence for sentence in report.summary)
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert not list(tmp_path.glob(".out*"))


def test_what_an_earlier_run_left_is_not_believed_when_it_differs(family, tmp_path):
    paths = [str(family[name]) for name in ("a", "b", "base")]
    out = tmp_path / "out"
    subprocess.run([sys.executable, "-c", KILLED, *paths, str(out)], check=False)
    half = tmp_path / ".out.fusing" / "result" / "model.safetensors"
    data = bytearray(half.read_bytes())
    done = json.loads((tmp_path / ".out.fusing" / "journal.jsonl").read_text().splitlines()[2])["tensor"]
    from transfuse.weights.headers import read_header

    data[read_header(half)[done].start] ^= 255
    half.write_bytes(data)
    report = fuse(*paths[:2], base=paths[2], method="ties", out=out)
    assert any("4 tensors were taken over" in sentence for sentence in report.summary)
    assert "Everything" in verify(out).summary[0]


def test_time_that_is_up_leaves_nothing_that_looks_whole(family, tmp_path):
    with pytest.raises(BudgetError):
        fuse(family["a"], family["b"], out=tmp_path / "out", run=Run(deadline=0.0))
    assert not (tmp_path / "out").exists()


def test_verify_names_what_changed(family, tmp_path):
    out = tmp_path / "out"
    fuse(family["a"], family["b"], out=out)
    assert "Everything" in verify(out).summary[0]
    changed = tensors_of(out) | {"head.weight": torch.zeros(5, 8)}
    save_file(changed, str(out / "model.safetensors"))
    shutil.rmtree(family["b"])
    lines = verify(out).summary
    assert any("head.weight differs" in line for line in lines) and any("is missing" in line for line in lines)


def test_unrelated_parents_are_refused_unless_forced(family, tmp_path):
    with pytest.raises(WeightsError, match="unrelated"):
        fuse(family["a"], family["x"], out=tmp_path / "out")
    fuse(family["a"], family["x"], out=tmp_path / "out", force=True)


def test_folders_that_must_not_be_written(family, tmp_path):
    a, b = family["a"], family["b"]
    for out in (a, a / "inside", tmp_path):
        with pytest.raises(UsageError, match="another folder"):
            fuse(a, b, out=out)
    fuse(a, b, out=tmp_path / "out")
    with pytest.raises(UsageError, match="must be new"):
        fuse(a, b, out=tmp_path / "out")
    fuse(a, b, out=tmp_path / "out", weight=[0.9, 0.1], replace=True)
    with FileLock(tmp_path / ".two.fusing.lock"), pytest.raises(UsageError, match="Another run"):
        fuse(a, b, out=tmp_path / "two")


def test_a_full_disk_is_told_before_anything_is_written(family, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100})())
    with pytest.raises(StorageError, match="GB left"):
        fuse(family["a"], family["b"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_parents_that_do_not_fit_are_named(family, tmp_path):
    a = tensors_of(family["a"])
    missing = {("layers.0.wieght" if name == "layers.0.weight" else name): t for name, t in a.items()}
    with pytest.raises(WeightsError, match=r"'layers.0.weight'.*Did you mean 'layers.0.wieght'"):
        fuse(family["a"], written(tmp_path / "m", missing), out=tmp_path / "out")
    report = fuse(family["a"], tmp_path / "m", out=tmp_path / "out", missing="drop")
    assert {row["fate"] for row in report.rows} == {"merged", "copied", "dropped"}
    other = {**a, "embed.weight": torch.zeros(60, 8)}
    with pytest.raises(WeightsError, match="vocabularies differ"):
        fuse(family["a"], written(tmp_path / "v", other), out=tmp_path / "no")
    sick = {**a, "head.weight": torch.full((5, 8), float("nan"))}
    with pytest.raises(WeightsError, match=r"head.weight.*finite"):
        fuse(family["a"], written(tmp_path / "n", sick), out=tmp_path / "no", force=True)
    assert not (tmp_path / "no").exists()


def test_broken_and_hostile_files_are_refused(family, tmp_path):
    whole = (family["b"] / "model.safetensors").read_bytes()
    for name, data in (("cut", whole[:-100]), ("header", whole[:50]), ("empty", b""), ("text", b"hello" * 100)):
        file = tmp_path / f"{name}.safetensors"
        file.write_bytes(data)
        with pytest.raises(WeightsError):
            fuse(family["a"], file, out=tmp_path / "out")
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    header["head.weight"]["data_offsets"] = header["embed.weight"]["data_offsets"]
    header["head.weight"]["shape"] = header["embed.weight"]["shape"]
    text = json.dumps(header).encode()
    (tmp_path / "twice.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length :])
    with pytest.raises(UnsafeFile, match="overlaps"):
        fuse(family["a"], tmp_path / "twice.safetensors", out=tmp_path / "out")


def recipe(tmp_path, text):
    path = tmp_path / "recipe.yml"
    path.write_text(text)
    return path


def test_a_recipe_of_mergekit_with_filters_and_gradients(family, tmp_path):
    a, b = family["a"], family["b"]
    text = f"""
merge_method: linear
slices:
  - sources:
      - {{model: {a}, layer_range: [0, 4], parameters: {{weight: [{{filter: norm, value: 1.0}}, {{value: [0, 3]}}]}}}}
      - {{model: {b}, layer_range: [0, 4], parameters: {{weight: 1.0}}}}
dtype: float32
"""
    fuse(recipe=recipe(tmp_path, text), out=tmp_path / "out")
    x, y, out = (tensors_of(folder) for folder in (a, b, tmp_path / "out"))
    for layer in range(4):  # the gradient over four layers: weights 0, 1, 2, 3
        name = f"layers.{layer}.weight"
        torch.testing.assert_close(out[name], (layer * x[name] + y[name]) / (layer + 1))
    torch.testing.assert_close(out["layers.0.norm"], (x["layers.0.norm"] + y["layers.0.norm"]) / 2)


def test_layers_are_stacked(family, tmp_path):
    a, b = family["a"], family["b"]
    text = f"""
merge_method: passthrough
slices:
  - sources: [{{model: {a}, layer_range: [0, 3]}}]
  - sources: [{{model: {b}, layer_range: [1, 4]}}]
"""
    fuse(recipe=recipe(tmp_path, text), out=tmp_path / "out")
    x, y, out = (tensors_of(folder) for folder in (a, b, tmp_path / "out"))
    assert torch.equal(out["layers.2.weight"], x["layers.2.weight"])
    assert torch.equal(out["layers.3.weight"], y["layers.1.weight"])
    assert torch.equal(out["embed.weight"], x["embed.weight"]) and torch.equal(out["head.weight"], y["head.weight"])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_hidden_layers"] == 6


@pytest.mark.parametrize(
    ("line", "hint"),
    [("parameters: {densty: 0.1}", "density"), ("merge_methd: ties", "merge_method"), ("base_modl: x", "base_model")],
)
def test_misspelt_keys_of_a_recipe_are_refused(family, tmp_path, line, hint):
    text = f"merge_method: ties\nbase_model: {family['base']}\nmodels: [{{model: {family['a']}}}]\n{line}\n"
    with pytest.raises(UnknownName, match=f"Did you mean '{hint}'"):
        fuse(recipe=recipe(tmp_path, text), out=None)


def test_the_preflight_writes_nothing(family, tmp_path):
    report = fuse(family["a"], family["b"], base=family["base"], method="ties", out=None)
    assert any(section.title == "How the parents are related" for section in report.sections)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "base", "x"]
    with pytest.raises(UsageError, match="must be given a base"):
        fuse(family["a"], family["b"], method="ties", out=None)


def test_models_fuse_to_a_model_that_is_kept_because_it_is_better(colours, photos, tmp_path):
    right, wrong = torch.eye(3) * 4, torch.tensor([[0.0, 9, -9], [-9, 0, 9], [9, -9, 0]])
    paths = [colours("one", right + wrong), colours("other", right - wrong)]
    task = open_task(photos, valid=0.4, test=0.2)
    report = fuse(*paths, out=tmp_path / "out", on=task, force=True, trust_code=True)
    assert report.summary[0] == "The fusion is kept."
    model = load(tmp_path / "out", trust_code=True)
    assert [step.method for step in model.provenance.inputs] == ["one", "other"]
    assert model.metrics["test"]["accuracy"]["value"] == 1.0
    norm = model.network.get_submodule("body.3")
    assert norm.running_mean.abs().max() > 0.1 and not norm.training  # estimated anew: it was 0
    assert "Everything" in verify(tmp_path / "out").summary[0]


def test_a_fusion_that_is_not_better_is_refused_and_the_best_parent_kept(colours, photos, tmp_path):
    paths = [colours("good", torch.eye(3) * 4), colours("bad", -torch.eye(3) * 4)]
    report = fuse(*paths, out=tmp_path / "out", on=photos, force=True, trust_code=True)
    assert "refused" in report.summary[0] and "good" in report.summary[0]
    kept = load(tmp_path / "out", trust_code=True)
    assert kept.name == "good" and torch.equal(kept.network.head.weight, torch.eye(3) * 4)


def test_models_of_other_classes_do_not_fuse(colours, tmp_path):
    paths = [colours("one", torch.eye(3)), colours("two", torch.eye(3))]
    document = json.loads((paths[1] / "model.json").read_text())
    (paths[1] / "model.json").write_text(json.dumps({**document, "classes": ["cat", "eel", "dog"]}))
    (paths[1] / "SHA256SUMS").unlink()
    with pytest.raises(WeightsError, match="list of classes"):
        fuse(*paths, out=tmp_path / "out", trust_code=True)
