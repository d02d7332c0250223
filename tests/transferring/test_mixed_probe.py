"""The probe of a mixed table: each column's block is worth what it knows, and the network answers as its head was."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import write_mixed

from transfuse.core.nouns import Task
from transfuse.predicting.predict import activated, logits
from transfuse.sources.references import find
from transfuse.tasks.tables.opening import open_table
from transfuse.training.options import Fit
from transfuse.transferring.feature_fusions import blocks_of, fuse_blocks
from transfuse.transferring.fused_probe import Joined
from transfuse.transferring.mixed_probe import COLUMNS, Seen, joined_columns


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return open_table(write_mixed(tmp_path_factory.mktemp("mixed"), 300), target="label")


@pytest.fixture(scope="module")
def seen(tiny_networks: dict[str, Path]) -> list[Seen]:
    pictures, texts = find("random:timm:test_resnet", size=32), find(tiny_networks["bert"])
    return [Seen(column="photo", source=pictures), Seen(column="note", source=texts)]


@pytest.fixture(scope="module")
def every(seen: list[Seen], task: Task) -> Joined:
    return joined_columns(seen, task, fit=Fit(), every=True)


def test_the_network_answers_as_the_head_was_fitted(every: Joined, seen: list[Seen], task: Task) -> None:
    assert list(every.probes) == [COLUMNS, "words of note", "photo by test_resnet", f"note by {seen[1].source.name}"]
    outcome, train = fuse_blocks(blocks_of(every, task), "concat"), task.splits["train"]
    raw_NC = logits(outcome.network, train.items, outcome.preprocessing)
    x_ND = np.concatenate([probe.x_ND for probe in every.probes.values()], 1)
    head = outcome.network.head
    expected_NC = x_ND @ head.weight.detach().numpy().T + head.bias.detach().numpy()  # type: ignore[union-attr, operator]
    np.testing.assert_allclose(raw_NC, expected_NC, atol=1e-3)
    assert (activated(raw_NC, task.kind).argmax(1) == train.targets).mean() > 0.8


def test_missing_cells_have_the_mean_features_of_the_others(every: Joined) -> None:
    for name, probe in every.probes.items():
        if " by " in name:
            gone = probe.x_ND[:, -1] == 1
            assert 0 < gone.sum() < 30
            np.testing.assert_allclose(probe.x_ND[gone, :-1][0], probe.x_ND[~gone, :-1].mean(0), rtol=1e-4, atol=1e-5)


def test_what_knows_more_joins_and_a_copy_does_not(seen: list[Seen], task: Task) -> None:
    copy = Seen(column="photo", source=replace(seen[0].source, name="copy"))
    found = joined_columns([seen[0], copy], task, fit=Fit())
    photos = {"photo by test_resnet", "photo by copy"}
    assert len(photos & set(found.probes)) == 1 and len(photos & set(found.rejected)) == 1
    assert {COLUMNS, "words of note"} <= set(found.probes)
    assert found.gains[0].gain["low"] > 0 and found.gains[-1].score["value"] > found.gains[0].score["value"]


def test_noise_does_not_join(seen: list[Seen], task: Task, tmp_path: Path) -> None:
    lines = write_mixed(tmp_path, 300, seed=3, holes=False).read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    photos = np.random.default_rng(0).permutation([row[1] for row in rows])
    shuffled = [lines[0], *(f"{row[0]},{photo},{row[2]},{row[3]}" for row, photo in zip(rows, photos, strict=True))]
    (tmp_path / "shuffled.csv").write_text("\n".join(shuffled))
    found = joined_columns(seen[:1], open_table(tmp_path / "shuffled.csv", target="label"), fit=Fit())
    assert set(found.probes) == {COLUMNS, "words of note"} and list(found.rejected) == ["photo by test_resnet"]
