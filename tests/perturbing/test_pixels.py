"""Pixels and what networks take: the same pictures as the usual way gives, forth and back, alone and in ensembles."""

import numpy as np
import pytest
import torch
from torch import nn

from transfuse.core.errors import UsageError
from transfuse.core.nouns import JointPreprocessing, Preprocessing, TablePreprocessing
from transfuse.perturbing import pixels
from transfuse.sources.inputs import tensor_of

RGB = Preprocessing(size=(8, 12), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
WHITE = Preprocessing(size=(8, 12), mean=(10.0, 20.0, 30.0), std=(50.0, 60.0, 70.0), range=255.0)
GREY = Preprocessing(size=(6, 6), mean=(0.5,), std=(0.5,))


@pytest.fixture
def items() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3)).astype(np.uint8))


@pytest.mark.parametrize("preprocessing", [RGB, WHITE, GREY, JointPreprocessing(views=(RGB, WHITE))])
def test_they_become_what_the_source_would_make_of_them(items, preprocessing):
    x = pixels.as_pixels(pixels.decoded(items, preprocessing))
    assert x.min() >= 0 and x.max() <= 1
    torch.testing.assert_close(pixels.prepared(x, preprocessing), tensor_of(items, preprocessing), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("preprocessing", [RGB, WHITE, GREY])
def test_forth_and_back(items, preprocessing):
    x = tensor_of(items, preprocessing)
    back = pixels.denormalised(x, preprocessing)
    torch.testing.assert_close(back, pixels.as_pixels(pixels.decoded(items, preprocessing)), atol=1e-6, rtol=0)


def test_members_of_an_ensemble_see_one_picture(items):
    """The largest member's pixels; a change of them is seen by all, and gradients reach them from all."""
    joint = JointPreprocessing(views=(GREY, RGB))
    x = pixels.as_pixels(pixels.decoded(items, joint)).requires_grad_()
    assert x.shape == (3, 3, 8, 12)
    flat = pixels.prepared(x, joint)
    assert flat.shape == (3, 36 + 3 * 8 * 12)
    flat[:, :36].sum().backward()
    assert (x.grad != 0).all()


def test_other_data_has_no_pixels():
    with pytest.raises(UsageError, match="pictures only"):
        pixels.views_of(TablePreprocessing(columns=()))


def test_a_network_on_pixels_answers_as_on_its_input(items):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    x = pixels.as_pixels(pixels.decoded(items, GREY))
    torch.testing.assert_close(pixels.OnPixels(network, GREY)(x), network(tensor_of(items, GREY)), atol=1e-5, rtol=1e-5)
