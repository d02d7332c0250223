"""Normalising, compared with torchvision's own transforms."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from transfuse.core.nouns import Preprocessing
from transfuse.sources.images.preprocessing import from_plain, given, normalise

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)


def test_normalising_is_that_of_torchvision() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    steps = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
    expected = steps(torch.from_numpy(PICTURES).permute(0, 3, 1, 2))
    found = normalise(PICTURES, Preprocessing(size=(5, 4), mean=mean, std=std))
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_values_up_to_255() -> None:
    found = normalise(PICTURES, Preprocessing(size=(5, 4), range=255.0))
    assert torch.equal(found.permute(0, 2, 3, 1), torch.from_numpy(PICTURES).float())


def test_grey_pictures() -> None:
    found = normalise(PICTURES[..., :1], Preprocessing(size=(5, 4), mean=(0.5,), std=(0.5,)))
    assert found.shape == (3, 1, 5, 4)
    assert float(found.max()) == pytest.approx(PICTURES[..., 0].max() / 127.5 - 1, abs=1e-5)


def test_known_means_that_the_values_are_known() -> None:
    assumed = Preprocessing(size=(8, 8), known=False)
    assert not given(assumed, size=16).known
    assert given(assumed, mean=(0, 0, 0), std=(1, 1, 1)).known
    assert given(assumed, size=(4, 6)).size == (4, 6)


def test_a_plain_form_is_read() -> None:
    document = {"size": [8, 9], "mean": [0.1] * 3, "std": [0.2] * 3, "range": 255.0, "interpolation": "nearest"}
    read = from_plain(document)
    assert read == Preprocessing(size=(8, 9), mean=(0.1,) * 3, std=(0.2,) * 3, range=255.0, interpolation="nearest")
    assert from_plain({"size": 32}).size == (32, 32)
    assert from_plain({"size": 32, "range": [0.0, 255.0]}).range == 255.0
