"""The fused probe: two sources that each see a half of what matters are better together; a copy is left out."""

from dataclasses import replace

import pytest

from transfuse.core.nouns import Source, Task
from transfuse.measuring.metrics import measure
from transfuse.predicting.predict import activated, logits
from transfuse.sources.references import find
from transfuse.training.options import Fit
from transfuse.transferring.feature_fusions import blocks_of, fuse_blocks
from transfuse.transferring.fused_probe import joined


@pytest.fixture(scope="module")
def pair() -> list[Source]:
    """Two networks of different random weights and picture sizes."""
    one, other = find("random:timm:test_resnet", size=32), find("random:timm:test_efficientnet", size=48)
    return [replace(one, name="one"), replace(other, name="other")]


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
def test_a_fused_network_answers_as_its_head_was_fitted(pair: list[Source], tasks: dict[str, Task], kind: str) -> None:
    task = tasks[kind]
    outcome = fuse_blocks(blocks_of(joined(pair, task, fit=Fit(), every=True), task), "concat")
    items = task.splits["train"].items
    answers = activated(
        logits(outcome.network, items, outcome.preprocessing), kind, temperature=outcome.temperature,
        target_scale=outcome.target_scale,
    )  # fmt: skip
    targets = task.splits["train"].targets
    name = {"single-label": "accuracy", "multi-label": "f1", "regression": "r2"}[kind]
    assert measure(kind, targets, answers)[name] > 0.6
    assert outcome.out_of_fold_NC is not None and outcome.out_of_fold_NC.shape == answers.shape
    assert outcome.facts["sources"] == ["one", "other"]


def test_a_copy_of_a_source_does_not_join(pair: list[Source], tasks: dict[str, Task]) -> None:
    found = joined([pair[0], replace(pair[0], name="copy")], tasks["single-label"], fit=Fit())
    assert list(found.probes) in (["one"], ["copy"])
    assert len(found.rejected) == 1 and len(found.gains) == 1
