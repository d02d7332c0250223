"""What one input may ask of the machine: files that are none, sizes that are too much, values in memory."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from transfuse.core.errors import DataError, UnknownName, UsageError
from transfuse.tasks.images import limiting as pictures
from transfuse.tasks.limits import Limits, limits_from, require_file, require_plain
from transfuse.tasks.tables import limiting as tables


def test_limits_are_read_as_people_write_them():
    assert limits_from(["pixels=2e8", "seconds=1.5"]) == Limits(pixels=200_000_000, seconds=1.5)
    for texts, error, words in (
        (["pixel=3"], UnknownName, "pixels"),
        (["pixels=many"], UsageError, "pixels=2e8, but is 'pixels=many'"),
        (["pixels"], UsageError, "NAME=NUMBER"),
        (["rows=0"], UsageError, "`rows` must be above 0"),
        (["rows=nan"], UsageError, "NAME=NUMBER"),
        (["rows=inf"], UsageError, "NAME=NUMBER"),
    ):
        with pytest.raises(error, match=words):
            limits_from(texts)


def test_what_is_no_file_is_never_opened(tmp_path: Path):
    (tmp_path / "zero").symlink_to("/dev/zero")
    for path, words in (
        (tmp_path / "zero", "is a device"),
        (tmp_path, "is a folder"),
        (tmp_path / "gone", "there is no such file"),
        (tmp_path / "a\0b", "cannot be read"),
        ("x" * 5000, "cannot be read"),
    ):
        with pytest.raises(DataError, match=words):
            require_file(path, Limits())
    (tmp_path / "large").write_bytes(bytes(11))
    require_file(tmp_path / "large", Limits(bytes=11))
    with pytest.raises(DataError, match="at most 10 bytes, but has 11"):
        require_file(tmp_path / "large", Limits(bytes=10))


def test_a_picture_within_its_limits_is_not_decoded_to_know_it(tmp_path: Path):
    path = tmp_path / "a.png"
    Image.new("RGB", (4000, 3000)).save(path)
    pictures.require_within(path, Limits())  # Pillow imports its formats
    tracemalloc.start()
    pictures.require_within(path, Limits())
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert pictures.size_of(path) == (4000, 3000)
    for item in (path, path.read_bytes(), np.zeros((3000, 4000), np.uint8), Image.new("L", (4000, 3000))):
        pictures.require_within(item, Limits(pixels=12_000_000))
        with pytest.raises(DataError, match="at most 11,999,999 pixels, but has 12,000,000"):
            pictures.require_within(item, Limits(pixels=11_999_999))


def test_a_turned_picture_is_as_wide_as_it_is_looked_at(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert pictures.size_of(tmp_path / "a.jpg") == (20, 30)


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_frames_are_counted_only_as_far_as_needed(tmp_path: Path, kind: str):
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 60, 120, 180, 240)]
    path = tmp_path / f"a.{kind}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "webp" else {}))
    pictures.require_within(path, Limits(frames=5))
    with pytest.raises(DataError, match="at most 4 frames, but has more than 4"):
        pictures.require_within(path, Limits(frames=4))


nested = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('ab"\\[]{}')),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=8,
)


def depth_of(value: object) -> int:
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@settings(max_examples=30)
@given(st.lists(nested, min_size=1, max_size=4))
def test_json_is_as_deep_as_its_brackets_outside_of_strings(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("json") / "a.jsonl"
    path.write_text("\n".join(json.dumps({"a": value}) for value in values))
    deepest = 1 + max(map(depth_of, values))
    tables.require_within(path, Limits(depth=deepest))
    if deepest > 1:
        with pytest.raises(DataError, match="nested at most"):
            tables.require_within(path, Limits(depth=deepest - 1))


def test_depth_is_right_across_blocks_that_cut_escapes(tmp_path: Path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"a": '\\"[[[[', "b\\": "]]]\\\\"}, [1, [2]]]))
    for block in range(1, 30):
        monkeypatch.setattr(tables, "_BLOCK", block)
        tables.require_within(path, Limits(depth=3))
        with pytest.raises(DataError, match="nested at most 2"):
            tables.require_within(path, Limits(depth=2))


def test_values_in_memory_are_measured_without_recursion():
    value: object = 1
    for _ in range(5000):
        value = {"a": [value]}
    with pytest.raises(DataError, match="at most 32 levels"):
        require_plain(value, "row 1", Limits())
    with pytest.raises(DataError, match="row 1 must have at most 3 characters, but has 4"):
        require_plain({"a": ["abcd"]}, "row 1", Limits(characters=3))
    require_plain({"a": [1, "abc"]}, "row 1", Limits(characters=3, depth=2))
