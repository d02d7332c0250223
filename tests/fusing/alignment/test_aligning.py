"""`fuse --align`: Models that were trained apart become one; what cannot be aligned is refused in words."""

import json

import pytest
import torch
from safetensors.torch import save_file

from transfuse.core.errors import UnknownName, UsageError, WeightsError
from transfuse.core.nouns import Model, Preprocessing, Step
from transfuse.fusing.alignment.permuting import drawn, permuted
from transfuse.fusing.alignment.symmetry import symmetry_of
from transfuse.fusing.fuse import fuse
from transfuse.fusing.verify import verify
from transfuse.predicting.folder import load
from transfuse.sources.functions import builder_of
from transfuse.sources.network import Network, new_head
from transfuse.sources.opening import rebuild
from transfuse.tasks.opening import open_task

CODE = """
from torch import nn


def hidden():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU(), nn.Identity())


def one_layer():
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Identity())
"""


@pytest.fixture
def saved(tmp_path):
    """A function that saves a Model of a user's function and gives its folder; `change` is applied to its network."""
    (tmp_path / "nets.py").write_text(CODE)

    def make(name, function="hidden", features=30, change=None):
        place = f"{tmp_path / 'nets.py'}:{function}"
        builder = {**builder_of(place, trust_code=True), "input": [3, 8, 8]}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = Network(rebuild(builder, trust_code=True), new_head(features, 3)).eval()
        if change is not None:
            network.load_state_dict(change(network))
        model = Model(
            name=name, kind="single-label", classes=("cat", "dog", "eel"), builder=builder, head={"kind": "linear"},
            preprocessing=Preprocessing(size=(8, 8)), network=network, provenance=Step(verb="transfer", method=name),
        )  # fmt: skip
        return model.save(tmp_path / name)

    return make


def shuffled(network):
    symmetry = symmetry_of(network, torch.randn(2, 3, 8, 8))
    return permuted(network.state_dict(), symmetry, drawn(symmetry, 1))


@pytest.mark.parametrize("way", ["weights", "activations"])
def test_a_network_and_its_shuffled_twin_fuse_to_that_network(saved, photos, tmp_path, way):
    a, b = saved("a"), saved("b", change=shuffled)
    with pytest.raises(WeightsError, match=r"unrelated.*--align weights"):
        fuse(a, b, out=tmp_path / "no", trust_code=True)
    on = open_task(photos, valid=0.3, test=0.2) if way == "activations" else None
    report = fuse(a, b, out=tmp_path / "out", align=way, on=on, trust_code=True)
    x = torch.rand(5, 3, 8, 8)
    with torch.no_grad():
        want, have = (load(f, trust_code=True).network(x) for f in (a, tmp_path / "out"))
    torch.testing.assert_close(have, want, atol=1e-5, rtol=1e-4)
    moved = next(section for section in report.sections if section.title == "What was permuted")
    assert [row["units"] for row in moved.content["rows"]] == [40, 30]
    assert all(row[f"moved in {b}"] > 0.8 for row in moved.content["rows"])


def test_the_report_and_the_record_say_what_alignment_did(saved, photos, tmp_path):
    a, b = saved("a"), saved("b", change=shuffled)
    report = fuse(
        a, b, out=tmp_path / "out", align="weights", on=open_task(photos, valid=0.3, test=0.2), trust_code=True
    )
    barriers = next(section for section in report.sections if section.title.startswith("Loss barrier"))
    rows = {row["state"]: row["barrier"] for row in barriers.content["rows"]}
    assert set(rows) == {"as they are", "as they are, mended", "aligned", "aligned, mended"}
    assert abs(rows["aligned"]["value"]) < 1e-5 < abs(rows["as they are"]["value"])
    assert any("2 groups of 70 units may change places" in sentence for sentence in report.summary)
    kept = load(tmp_path / "out", trust_code=True)
    assert "refused" in " ".join(report.summary) and kept.name == "a"  # a twin is no better than its parent


def test_the_record_beside_the_weights(saved, tmp_path):
    a, b = saved("a"), saved("b", change=shuffled)
    report = fuse(a, b, out=tmp_path / "out", align="weights", trust_code=True)
    assert [warning.code for warning in report.warnings] == ["not-mended"]
    record = json.loads((tmp_path / "out" / "fusion.json").read_text())
    assert record["recipe"]["align"] == "weights" and list(record["alignment"]["orders"]) == [str(b)]
    assert "Everything" in verify(tmp_path / "out").summary[0]
    assert load(tmp_path / "out", trust_code=True).provenance.options["align"] == "weights"


def test_what_cannot_be_aligned_is_refused(saved, family_file, tmp_path):
    a, b = saved("a"), saved("b", change=shuffled)
    options = {"out": tmp_path / "no", "trust_code": True}
    with pytest.raises(UnknownName, match="way to align"):
        fuse(a, b, align="weigths", **options)
    with pytest.raises(UsageError, match="must be given examples"):
        fuse(a, b, align="activations", **options)
    with pytest.raises(UsageError, match="must go without `base`"):
        fuse(a, b, base=a, method="ties", align="weights", **options)
    with pytest.raises(UsageError, match="saved Models"):
        fuse(family_file, family_file, align="weights", **options)
    plain = [saved(name, "one_layer", 3) for name in ("c", "d")]
    with pytest.raises(WeightsError, match="nothing in their network can be permuted"):
        fuse(*plain, align="weights", **options)
    assert not (tmp_path / "no").exists()


@pytest.fixture
def family_file(tmp_path):
    save_file({"weight": torch.ones(2, 2)}, str(tmp_path / "bare.safetensors"))
    return tmp_path / "bare.safetensors"
