import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transfuse.core.errors import DataError
from transfuse.core.runs import Run
from transfuse.tasks.images.inspecting import digests_of, inspect
from transfuse.tasks.listing import Listing


def listing(items: list) -> Listing:
    names = [str(item) if isinstance(item, Path) else f"row {place}" for place, item in enumerate(items)]
    return Listing(layout="test", items=items, names=names, labels=list(range(len(items))))


def test_bad_pictures_are_named_with_reasons_and_left_out(tmp_path: Path, painted) -> None:
    paths = [tmp_path / f"{name}.png" for name in ("good", "text", "cut", "missing", "folder", "fine")]
    painted(0).save(paths[0])
    paths[1].write_text("no picture")
    paths[2].write_bytes(paths[0].read_bytes()[:200])
    paths[4].mkdir()
    painted(1).save(paths[5])
    kept, looks = inspect(listing([*paths, ""]))
    assert kept.items == [paths[0], paths[5]] and kept.labels == [0, 5]
    (warning,) = kept.warnings
    assert warning.code == "unreadable" and len(warning.places) == 5
    for place, path in zip(warning.places, paths[1:5], strict=False):
        assert place.startswith(f"{path}: ") or str(path) in place
    assert warning.places[4] == "row 6: there is no path"
    assert looks.digests[0] == hashlib.sha256(paths[0].read_bytes()).hexdigest()
    assert looks.sides.tolist() == [[40, 48], [40, 48]]


def test_animations_are_noted(tmp_path: Path, painted) -> None:
    painted(0).save(tmp_path / "a.gif", save_all=True, append_images=[painted(1)])
    kept, _ = inspect(listing([tmp_path / "a.gif"]))
    assert [(note.code, note.places, note.severity) for note in kept.warnings] == [
        ("animated", (str(tmp_path / "a.gif"),), "note")
    ]


def test_transparent_parts_are_noted_and_opaque_alpha_is_not(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 40), (1, 2, 3, 255)).save(tmp_path / "opaque.png")
    Image.new("RGBA", (40, 40), (1, 2, 3, 200)).save(tmp_path / "glass.png")
    kept, _ = inspect(listing([tmp_path / "opaque.png", tmp_path / "glass.png"]))
    assert [(note.code, note.places) for note in kept.warnings] == [("transparent", (str(tmp_path / "glass.png"),))]


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"None of the 2 pictures can be read.*no such file"):
        inspect(listing([tmp_path / "a.png", tmp_path / "b.png"]))


def test_progress_is_told() -> None:
    events: list = []
    inspect(listing(list(np.zeros((130, 4, 4, 1), np.uint8))), Run(watch=events.append))
    assert [event["done"] for event in events] == [64, 128, 130] and events[-1]["total"] == 130


def test_arrays_of_different_shape_with_equal_bytes_differ() -> None:
    _, looks = inspect(listing([np.zeros((2, 8, 1), np.uint8), np.zeros((4, 4, 1), np.uint8)]))
    assert looks.digests[0] != looks.digests[1]


def test_very_large_pictures_are_read_at_reduced_size(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 2000), "red").save(tmp_path / "large.jpg")
    _, looks = inspect(listing([tmp_path / "large.jpg"]))
    assert looks.sides.max() < 1000 and looks.thumbnails[0].mean() == pytest.approx(76, abs=2)


def test_pictures_alone_have_the_digests_that_a_task_knows_them_by(tmp_path: Path, painted) -> None:
    painted(0).save(tmp_path / "a.png")
    items = [tmp_path / "a.png", np.asarray(painted(1)), painted(2), (tmp_path / "a.png").read_bytes()]
    assert digests_of(items) == inspect(listing(items))[1].digests
    assert digests_of([]) == ()
    with pytest.raises(DataError, match=r"1 of 2 pictures cannot be read\. The first: .*none\.png"):
        digests_of([tmp_path / "a.png", tmp_path / "none.png"])
