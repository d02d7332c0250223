"""A picture that half knows, a sound that knows known voices only: what is believed is what carries over."""

import numpy as np
import pytest
import torch
from tests.conftest import write_pairs

from transfuse.core.errors import UnknownName
from transfuse.predicting.predict import activated, logits
from transfuse.sources.opening import rebuild
from transfuse.sources.references import find
from transfuse.sources.sounds.suiting import hearing
from transfuse.tasks.opening import open_task
from transfuse.tasks.tables.rows import cells_of
from transfuse.training.options import Fit
from transfuse.transferring.feature_fusions import FUSIONS, Blocks, blocks_of, fuse_blocks
from transfuse.transferring.mixed_probe import Seen, joined_columns
from transfuse.tuning.starting import fitted


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Blocks:
    task = open_task(write_pairs(tmp_path_factory.mktemp("pairs") / "pairs", 60), target="label")
    source = find("random:timm:test_resnet", size=32)
    heard = hearing(source, cells_of(task.splits["train"].items, "sound", paths=True))
    seen = [Seen(column="picture", source=source), Seen(column="sound", source=heard)]
    return blocks_of(joined_columns(seen, task, fit=Fit(), every=True), task)


def right(outputs_NC: np.ndarray, targets: np.ndarray) -> float:
    return float((outputs_NC.argmax(1) == targets).mean())


def test_folds_hold_voices_out(blocks: Blocks) -> None:
    assert blocks.task.modality == "table" and list(blocks.widths) == ["picture by test_resnet", "sound by test_resnet"]
    sound = blocks.found.probes["sound by test_resnet"]
    train = blocks.task.splits["train"]
    assert sound.parted is not None and sound.parted.known == ("ann", "bob") and sound.parted.asked == ("cid",)
    assert right(sound.head.out_of_fold_NC, train.targets) < 0.65
    assert right(fitted(sound.x_ND, blocks.task, Fit(), "ridge").out_of_fold_NC, train.targets) > 0.9
    assert blocks.found.probes["picture by test_resnet"].parted is None
    np.testing.assert_array_equal(blocks.found.fold_N, sound.head.fold_N)


def test_the_product_believes_what_carries_over(blocks: Blocks) -> None:
    outcome, test = fuse_blocks(blocks, "product"), blocks.task.splits["test"]
    weights = outcome.facts["weights"]
    assert weights["sound by test_resnet"] < 0.2 * weights["picture by test_resnet"]
    outputs_NC = logits(outcome.network, test.items, outcome.preprocessing)
    assert not outcome.network.training and right(outputs_NC, test.targets) > 0.75


def inputs_of(blocks: Blocks, split: str) -> torch.Tensor:
    from transfuse.sources.inputs import tensor_of

    return tensor_of(blocks.task.splits[split].items, blocks.together.source.preprocessing)


def test_the_product_is_the_weighted_sum_of_its_experts(blocks: Blocks) -> None:
    outcome, train = fuse_blocks(blocks, "product"), blocks.task.splits["train"]
    found_NC = logits(outcome.network, train.items, outcome.preprocessing)
    parts = []
    for name, probe in blocks.found.probes.items():
        weight = outcome.facts["weights"][name] / probe.head.temperature
        parts.append(weight * (probe.x_ND @ probe.head.weight_CD.T + probe.head.bias_C))
    expected_NC = sum(parts)
    found_N, expected_N = found_NC[:, 0] - found_NC[:, 1], expected_NC[:, 0] - expected_NC[:, 1]  # type: ignore[index]
    assert np.corrcoef(found_N, expected_N)[0, 1] > 0.999  # all over one temperature, features in another format
    assert outcome.out_of_fold_NC is not None
    np.testing.assert_allclose(outcome.out_of_fold_NC.sum(1), 1)


@pytest.mark.parametrize("kind", ["add", "gated", "attention"])
def test_trained_joins_are_networks_again(blocks: Blocks, kind: str) -> None:
    outcome, valid = fuse_blocks(blocks, kind, fit=Fit(steps=60)), blocks.task.splits["valid"]
    assert outcome.facts["kind"] == kind and outcome.facts["steps"] == 60
    assert outcome.out_of_fold_NC is not None and outcome.out_of_fold_NC.shape == (len(blocks.x_ND), 2)
    raw_NC = logits(outcome.network, valid.items, outcome.preprocessing)
    assert right(activated(raw_NC, "single-label"), valid.targets) > 0.7
    again = rebuild(outcome.builder)
    again.load_state_dict(outcome.network.body.state_dict())  # type: ignore[union-attr, operator, arg-type]
    x = inputs_of(blocks, "valid")
    with torch.inference_mode():
        torch.testing.assert_close(again(x), outcome.network.body(x))  # type: ignore[operator, union-attr]


def test_an_unknown_fusion_is_refused(blocks: Blocks) -> None:
    assert set(FUSIONS) == {"concat", "product", "add", "gated", "attention"}
    with pytest.raises(UnknownName, match="gated"):
        fuse_blocks(blocks, "gate")
