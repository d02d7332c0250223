"""evaluate with `robust`: figures under attack and noise, of every modality; words where nothing can be attacked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import sentences, write_sounds
from torch import Tensor, nn

import transfuse as tr
from transfuse.core.errors import UnknownName, UsageError
from transfuse.core.nouns import Examples, Model, Preprocessing, Report, Step, Task
from transfuse.core.runs import Run
from transfuse.evaluating.evaluate import evaluate
from transfuse.evaluating.robust import sampled, spoken_eps
from transfuse.perturbing.table import PERTURBATIONS
from transfuse.sources.network import Network, new_head


def values(report: Report) -> dict[str, dict[str, float]]:
    return {row["metric"]: row["value"] for row in report.rows}


def content(report: Report, title: str) -> list[dict]:
    return next(section.content["rows"] for section in report.sections if section.title == title)


class Means(nn.Module):
    """Mean colours (B, 3): a linear network whose worst case is known."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Steps(nn.Module):
    """The same in steps: gradients lead nowhere, though others find the way."""

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3))
        return (means * 40).round() / 40 + 0 * means


def of_means(body: nn.Module) -> Model:
    """Its logits are ten times the mean colours, of pixels that are normalised."""
    network = Network(body, new_head(3, 3)).eval()
    with torch.no_grad():
        network.head.weight.copy_(10 * torch.eye(3))
        network.head.bias.zero_()
    return Model(
        name="means", kind="single-label", classes=("red", "green", "blue"), network=network, builder={},
        preprocessing=Preprocessing(size=(4, 4), mean=(0.5,) * 3, std=(0.25,) * 3), head={"kind": "linear"},
        provenance=Step(verb="transfer"),
    )  # fmt: skip


def colours(count: int = 60) -> Task:
    """Grey pictures with 0..60 grey levels more of one colour, so that small changes turn some of them."""
    shades = np.full((count, 4, 4, 3), 100)
    targets = np.arange(count) % 3
    shades[np.arange(count), :, :, targets] += np.arange(count)[:, None, None]
    names = tuple(f"row {place}" for place in range(count))
    test = Examples(items=list(shades.astype(np.uint8)), targets=targets, digests=names, names=names)
    return Task(
        name="t", kind="single-label", classes=("red", "green", "blue"), splits={"test": test}, seed=0, digest="d"
    )


def test_the_figures_are_the_known_worst_case():
    """Each pixel of one colour falls and of the others rises by eps: a lead of more than 2 eps withstands."""
    report = evaluate(of_means(Means()), colours(), robust={"eps": 8 / 255})
    table = content(report, "Accuracy under attack")
    assert [line["eps"] for line in table] == ["0", "2/255", "4/255", "8/255", "16/255"]
    leads = np.arange(60)
    for line, eps in zip(table, (0, 2, 4, 8, 16), strict=True):
        assert line["PGD-20"]["value"] * 60 == pytest.approx((leads > 2 * eps).sum(), abs=1)
        assert line["PGD-20"]["n"] == 60 and line["PGD-20"]["low"] <= line["PGD-20"]["value"] <= line["PGD-20"]["high"]
    found = values(report)
    assert found["PGD-20 (L-infinity, eps 8/255)"] == table[3]["PGD-20"]
    assert found["accuracy of those attacked"] == table[0]["PGD-20"]
    assert "Under PGD-20 (L-infinity, eps 8/255)" in report.summary[0] and "may flatter" in report.summary[1]
    curve = next(section for section in report.sections if section.kind == "curves")
    assert len(curve.content["series"][0]["points"]) == 5


def test_the_euclidean_ball_too():
    """A lead l is gone when ‖change‖ = l · sqrt(16 / 2): half of it in each of the two colours' 16 pixels."""
    report = evaluate(of_means(Means()), colours(), robust={"eps": 0.25, "norm": "l2"})
    leads = np.arange(60) / 255
    expected = (leads * np.sqrt(8) > 0.25).sum()
    assert values(report)["PGD-20 (L2, eps 0.25)"]["value"] * 60 == pytest.approx(expected, abs=1)


def test_gradients_that_lead_nowhere_are_told():
    pytest.importorskip("pyautoattack")
    report = evaluate(of_means(Steps()), colours(), robust={"eps": 8 / 255, "attack": "autoattack"})
    table = {line["eps"]: line for line in content(report, "Accuracy under attack")}
    gap = table["8/255"]["PGD-20"]["value"] - table["8/255"]["AutoAttack"]["value"]
    assert gap > 0.03 and any("WAS BLIND" in line for line in report.summary)
    told = evaluate(of_means(Means()), colours(), robust={"eps": 8 / 255, "attack": "autoattack"})
    assert not any("BLIND" in line for line in told.summary) and "Under AutoAttack" in told.summary[0]


def test_noise_and_damage_stand_beside_the_clean_figure():
    report = evaluate(of_means(Means()), colours(), robust=True)
    table = content(report, "Noise and damage")
    assert [line["perturbation"] for line in table] == ["none", *PERTURBATIONS["image"]]
    jpeg = next(line for line in table if line["perturbation"] == "JPEG")
    assert jpeg["accuracy"]["value"] == pytest.approx(np.mean([jpeg[f"severity {s}"] for s in range(1, 6)]))
    assert jpeg["accuracy"]["n"] == 60 and table[0]["accuracy"]["value"] >= jpeg["accuracy"]["value"]
    mean = np.mean([line["accuracy"]["value"] for line in table[1:]])
    assert values(report)["accuracy under 11 perturbations"]["value"] == pytest.approx(mean)


def test_it_repeats_itself_whatever_stands_beside_an_example():
    model, task = of_means(Means()), colours()
    one, again = (evaluate(model, task, robust={"examples": 30}, seed=4) for _ in range(2))
    assert one.rows == again.rows and one.rows[-2]["value"]["n"] == 30
    test = task.splits["test"]
    few = sampled(test, 20, 0)
    assert few.digests == sampled(test, 20, 0).digests != sampled(test, 20, 1).digests
    assert [test.targets[int(name.split()[1])] for name in few.names] == few.targets.tolist()
    assert sampled(test, 60, 0) is test


def test_progress_is_shown_and_an_interruption_passes():
    seen: list[str] = []
    evaluate(of_means(Means()), colours(), robust=True, run=Run(watch=lambda event: seen.append(event["stage"])))
    assert "attacking by PGD-20" in seen and "perturbing" in seen

    def stop(event):
        if event["stage"] == "perturbing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(of_means(Means()), colours(), robust=True, run=Run(watch=stop))


@pytest.mark.parametrize(
    "wrong", [{"epsilon": 0.1}, {"norm": "l1"}, {"attack": "square"}, {"eps": -1.0}, {"examples": 0}, {"eps": "much"}]
)
def test_wishes_that_are_none_are_refused(wrong):
    with pytest.raises((UsageError, UnknownName)):
        evaluate(of_means(Means()), colours(), robust=wrong)


def test_a_network_that_lets_no_gradient_through_is_told_not_to():
    class Cut(Means):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.detach())

    report = evaluate(of_means(Cut()), colours(), robust=True)
    assert report.summary[0].startswith("No attack was tried:") and "Noise and damage" in {
        section.title for section in report.sections
    }


def test_other_kinds_of_tasks_have_noise_only():
    model, task = of_means(Means()), colours()
    test = task.splits["test"]
    targets = np.eye(3, dtype=np.float32)[test.targets]
    labels = replace(task, kind="multi-label", splits={"test": replace(test, targets=targets)})
    report = evaluate(replace(model, kind="multi-label"), labels, robust=True)
    assert "this model is multi-label" in report.summary[0]
    assert "average_precision under 11 perturbations" in values(report)


def test_members_of_an_ensemble_are_attacked_together(photos: Path, tmp_path: Path):
    """Each sees the one picture in its own size."""
    task = tr.task(photos)
    for size in (32, 24):
        tr.transfer(tr.source("random:timm:test_resnet", size=size), task, method="probe").save(tmp_path / str(size))
    tr.fuse(tmp_path / "32", tmp_path / "24", method="average", out=tmp_path / "both")
    report = evaluate(tmp_path / "both", task, robust={"eps": 64 / 255})
    table = content(report, "Accuracy under attack")
    assert table[0]["PGD-20"]["value"] == values(report)["accuracy"]["value"] == 1.0
    assert table[-1]["PGD-20"]["value"] < 0.5
    assert "32 by 32" in next(one.note for one in report.sections if one.title == "Accuracy under attack")


def test_texts_sounds_and_rows(tmp_path: Path):
    texts = tr.task(sentences(12))
    words = evaluate(tr.transfer("builtin:words", texts, method="probe"), texts, robust=True)
    assert len(content(words, "Noise and damage")) == 8 and "a model of texts" in words.summary[0]
    random = np.random.default_rng(0)
    lines = ["size,colour,label"]
    for _ in range(120):
        size, colour = random.normal(), ("red", "blue")[int(random.integers(2))]
        lines.append(f"{size:.3f},{colour},{'yes' if size + (colour == 'red') > 0.5 else 'no'}")
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    rows = tr.task(tmp_path / "rows.csv", target="label")
    table = content(evaluate(tr.transfer("table:columns", rows, method="trees"), rows, robust=True), "Noise and damage")
    assert [line["perturbation"] for line in table] == ["none", *PERTURBATIONS["table"]]
    assert min(line["accuracy"]["value"] for line in table[1:]) < table[0]["accuracy"]["value"]
    sounds = tr.task(write_sounds(tmp_path / "sounds", 8))
    model = tr.transfer(tr.source("random:timm:test_resnet", size=32), sounds, method="probe")
    heard = content(evaluate(model, sounds, robust=True), "Noise and damage")
    assert [line["perturbation"] for line in heard] == ["none", *PERTURBATIONS["sound"]]


def test_eps_is_spoken_in_grey_levels_where_it_is_some():
    assert [spoken_eps(value) for value in (0.0, 8 / 255, 0.1, 0.5)] == ["0", "8/255", "0.1", "0.5"]
