import io

import numpy as np
from PIL import Image

from transfuse.tasks.images import duplicates
from transfuse.tasks.images.duplicates import difference_hashes, exact_pairs, near_pairs
from transfuse.tasks.images.inspecting import Looks, inspect
from transfuse.tasks.listing import Listing


def seen(pictures: list) -> Looks:
    names = [f"n{place}" for place in range(len(pictures))]
    return inspect(Listing(layout="test", items=pictures, names=names, labels=names))[1]


def compressed(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def test_equal_pixels_in_unequal_files(painted) -> None:
    image = painted(0)
    looks = seen(
        [compressed(image, format="PNG"), compressed(painted(1), format="PNG"), compressed(image, format="BMP")]
    )
    assert exact_pairs(looks).tolist() == [[0, 2]] and near_pairs(looks).tolist() == []
    assert looks.digests[0] != looks.digests[2]


def test_copies_after_compression_and_resizing_are_near(painted) -> None:
    image = painted(0, (160, 120))
    copies = [image, image.resize((120, 90)), painted(1, (160, 120)), compressed(image, format="JPEG", quality=60)]
    looks = seen([compressed(c, format="PNG") if isinstance(c, Image.Image) else c for c in copies])
    assert near_pairs(looks).tolist() == [[0, 1], [0, 3], [1, 3]]


def test_other_pictures_are_not_near(painted) -> None:
    assert len(near_pairs(seen([np.asarray(painted(seed)) for seed in range(200)]))) == 0


def test_plain_backgrounds_raise_no_alarm() -> None:
    rng = np.random.default_rng(0)
    plain = [np.clip(rng.normal(200, 3, (64, 64, 3)), 0, 255).astype(np.uint8) for _ in range(30)]
    assert len(near_pairs(seen(plain))) == 0


def test_a_mark_on_the_same_background_makes_another_picture() -> None:
    base = np.full((64, 64), 230, np.uint8)
    marks = []
    for place in range(12):
        marked = base.copy()
        marked[8 + 4 * place : 12 + 4 * place, 20:44] = 20
        marks.append(marked)
    assert len(near_pairs(seen(marks))) == 0


def test_small_digits_are_compared_exactly_only() -> None:
    digits = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    almost = digits[:1] ^ 1
    looks = seen(list(np.concatenate([digits, digits[:1], almost])))
    assert exact_pairs(looks).tolist() == [[0, 20]] and len(near_pairs(looks)) == 0


def test_hash_says_where_brightness_falls_to_the_right() -> None:
    falling = np.tile(np.arange(255, -1, -16, dtype=np.uint8)[:16], (16, 1))
    rising = falling[:, ::-1]
    assert difference_hashes(np.stack([falling, rising])).tolist() == [0, 2**64 - 1]


def test_many_pictures_are_compared_among_neighbours(painted, monkeypatch) -> None:
    monkeypatch.setattr(duplicates, "_ALL_PAIRS", 10)
    pictures = [np.asarray(painted(seed)) for seed in range(40)]
    softened = np.asarray(painted(5)).astype(int) + 2
    looks = seen([*pictures, np.clip(softened, 0, 255).astype(np.uint8)])
    assert near_pairs(looks).tolist() == [[5, 40]]
