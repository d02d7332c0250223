"""The index of a checkpoint and its shards: each speaks for the other, and sizes must agree."""

import pytest

from transfuse.weights.scanning.places import strays

SHARD = "variables.data-00000-of-00001"


def test_index_and_shard_belong_together(judged, made) -> None:
    assert judged(SHARD, bytes(8)).verdict == "reject"
    assert judged("variables.index", made.tensorflow_index()).verdict == "accept"
    assert judged(SHARD, bytes(8)).verdict == "accept"
    assert judged("variables.index", made.tensorflow_index(12)).findings[0].rule == "checkpoint-tensor"
    judged(SHARD, bytes(4))
    assert judged("variables.index", made.tensorflow_index()).findings[0].rule == "checkpoint-tensor"
    assert judged("other.index", made.tensorflow_index()).findings[0].rule == "checkpoint-shard"


@pytest.mark.parametrize("name", ["a/b.bin", "a..b", "..a", "model-00001-of-00002.safetensors", "ünï.bin"])
def test_names_inside_stay(name: str) -> None:
    assert strays(name) is None


@pytest.mark.parametrize("name", ["../a", "a/../b", "/a", "\\a", "C:a", "~/a", "", "a\0", "https://a/b", "a\\..\\b"])
def test_names_outside_stray(name: str) -> None:
    assert strays(name) is not None
