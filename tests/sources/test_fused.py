"""Several bodies as one: each sees the picture as it wants it, and a saved one is rebuilt."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Preprocessing
from transfuse.sources.fused import View, fused
from transfuse.sources.images.preprocessing import normalise
from transfuse.sources.opening import Opened, open_source, rebuild
from transfuse.sources.references import find
from transfuse.tasks.images.decoding import resize

HALVES = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def part(size: int = 32, **options: object) -> Opened:
    return open_source(find("random:timm:test_resnet", size=size, **options))


def pictures(preprocessing: Preprocessing, seed: int = 0) -> torch.Tensor:
    """Smooth pictures, so that one more resizing changes little."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 255, (4, 4, 4, 3)).astype(np.uint8)
    large = [resize(picture, Preprocessing(size=(96, 96))) for picture in coarse]
    return normalise(np.stack([resize(picture, preprocessing) for picture in large]), preprocessing)


def test_features_stand_side_by_side() -> None:
    one, other = part(64, **HALVES), part(32)
    together = fused([one, other])
    assert together.source.preprocessing.size == (64, 64)
    assert together.feature_size == one.feature_size + other.feature_size
    x = pictures(one.source.preprocessing)
    with torch.inference_mode():
        found = together.body(x)
        torch.testing.assert_close(found[:, : one.feature_size], one.body(x))
        expected = other.body(pictures(other.source.preprocessing))
    error = (found[:, one.feature_size :] - expected).norm() / expected.norm()
    assert error < 0.02


def test_a_view_changes_range_mean_deviation_and_grey() -> None:
    given = Preprocessing(size=(8, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    wanted = Preprocessing(size=(8, 8), mean=(100.0,), std=(50.0,), range=255.0)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3)).astype(np.uint8)
    found = View(given, wanted)(normalise(pixels, given))
    grey = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found[:, 0], (grey - 100) / 50, atol=1e-4)


def test_a_fused_body_is_rebuilt_from_its_builder() -> None:
    together = fused([part(64, **HALVES), part(32)])
    again = rebuild(together.source.builder)
    again.load_state_dict(together.body.state_dict())
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(again(x), together.body(x))


def test_order_and_parts_decide_the_digest() -> None:
    one, other = part(64), part(32)
    assert fused([one, other]).source.digest != fused([other, one]).source.digest


def test_pictures_that_are_cut_differently_are_refused() -> None:
    one = part()
    other = replace(one, source=replace(one.source, preprocessing=replace(one.source.preprocessing, fit="crop")))
    with pytest.raises(UsageError, match="all squash pictures or all crop"):
        fused([one, other])
