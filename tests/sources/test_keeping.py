"""keep: what was extracted in parts is found as a whole."""

from dataclasses import replace

import numpy as np
import pytest

from transfuse.core.errors import UsageError
from transfuse.core.runs import Run
from transfuse.sources.extraction import features, keep
from transfuse.sources.opening import open_source
from transfuse.sources.references import find

SOURCE = find("random:timm:test_resnet", size=32)


def test_parts_put_together_are_found_as_a_whole_and_are_what_a_pass_gives(task):
    opened, depths = open_source(SOURCE), ("layer1", "final")
    train = task.splits["train"]
    halves = [
        replace(train, items=train.items[a:b], targets=train.targets[a:b], digests=train.digests[a:b])
        for a, b in ((0, 20), (20, 37))
    ]
    parts = [features(opened, replace(task, splits={"train": half}), "train", depths) for half in halves]
    whole = {
        depth: replace(parts[0][depth], x_ND=np.concatenate([part[depth].x_ND for part in parts])) for depth in depths
    }
    keep(opened, task, "train", whole)
    stages = []
    found = features(opened, task, "train", depths, run=Run(watch=lambda event: stages.append(event["stage"])))
    assert stages == []
    golden = features(opened, task, "train", depths, cache=False)
    for depth in depths:
        np.testing.assert_array_equal(found[depth].x_ND, whole[depth].x_ND)
        np.testing.assert_allclose(found[depth].x_ND, golden[depth].x_ND, rtol=1e-4, atol=1e-6)
        assert found[depth].source == golden[depth].source


def test_what_is_cached_stays_and_rows_of_another_split_are_refused(task):
    opened = open_source(SOURCE)
    first = features(opened, task, "train")
    keep(opened, task, "train", {"final": replace(first, x_ND=first.x_ND + 1)})
    np.testing.assert_array_equal(features(opened, task, "train").x_ND, first.x_ND)
    with pytest.raises(UsageError, match=r"row an example \(5\), but have 37"):
        keep(opened, task, "test", {"final": first})
