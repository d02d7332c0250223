"""delta: the distance of maps against another implementation's numbers, the attention, its effect."""

import numpy as np
import pytest
import torch

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.sources.depths import spread
from transfuse.sources.images.preprocessing import normalise
from transfuse.sources.opening import open_source
from transfuse.sources.references import find
from transfuse.training.options import Fit
from transfuse.transferring.methods.delta import Maps, channel_attention, delta, map_distance
from transfuse.tuning.outcome import HeadShape
from transfuse.tuning.starting import start
from transfuse.tuning.tune import workbench

FIT = Fit(steps=30, rate=3e-3, batch_size=8, average=0.0)


def maps() -> tuple[torch.Tensor, torch.Tensor]:
    """Maps (2, 3, 4, 4) of a source, and a little later."""
    generator = np.random.default_rng(0)
    for shape in ((8, 12), (4, 6), 4, (4, 6), 4):
        generator.normal(size=shape)
    source = generator.normal(size=(2, 3, 4, 4))
    now = source + 0.2 * generator.normal(size=(2, 3, 4, 4))
    return torch.from_numpy(source), torch.from_numpy(now)


def test_distances_equal_those_of_the_transfer_learning_library():
    """Golden values: thuml/Transfer-Learning-Library c4aa59e, `BehavioralRegularization` and its attention form."""
    source, now = maps()
    attention = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    assert map_distance([now], [source], None).item() == pytest.approx(1.8470554326953466, rel=1e-12)
    assert map_distance([now], [source], [attention]).item() == pytest.approx(0.11766276432973452, rel=1e-12)


def test_the_distance_is_zero_at_the_source_and_adds_over_depths():
    source, now = maps()
    assert map_distance([source], [source], None).item() == 0
    assert map_distance([now, now], [source, source], None).item() == pytest.approx(2 * 1.8470554326953466)


def test_maps_have_channels_second_in_every_family(family: Source, task: Task):
    opened = open_source(family)
    x_Bchw = normalise(np.stack(task.splits["train"].items[:2]), family.preprocessing)
    with torch.inference_mode():
        features_BD, found = Maps(opened.body, opened.depths)(x_Bchw)
        torch.testing.assert_close(features_BD, opened.body(x_Bchw))
    assert len(found) == len(spread(opened.depths, 4)) - 1
    assert found[-1].shape[1] == max(found[-1].shape[1:])  # at 32 pixels the last maps have more channels than places


def test_attention_is_a_distribution_over_the_channels_that_matter(small: Source, task: Task):
    begin = start(small, task, head=HeadShape(), fit=FIT, run=Run())
    bench = workbench(task, small.preprocessing, FIT)
    weights = channel_attention(begin, bench, Maps(begin.opened.body, begin.opened.depths))
    for weights_C in weights:
        assert weights_C.sum().item() == pytest.approx(1) and (weights_C > 0).all()
    assert max(float(w.max() / w.min()) for w in weights) > 1.2


@pytest.mark.parametrize("attention", ["channels", "equal"])
def test_a_large_alpha_holds_the_maps(small: Source, task: Task, attention: str):
    x_Bchw = normalise(np.stack(task.splits["valid"].items), small.preprocessing)
    distances = []
    for alpha in (0.0, 1e3):
        outcome = delta(small, task, fit=FIT, alpha=alpha, attention=attention, interpolate=False)
        opened = open_source(small)
        with torch.inference_mode():
            _, now = Maps(outcome.network.body, opened.depths)(x_Bchw)
            _, then = Maps(opened.body, opened.depths)(x_Bchw)
            distances.append(map_distance(now, then, None).item())
    assert distances[1] < distances[0] / 3


def test_a_network_that_cannot_be_cut_is_refused_in_words(task: Task, tmp_path):
    code = (
        "from torch import nn\nclass Branching(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.conv = nn.Conv2d(3, 4, 3)\n"
        "    def forward(self, x):\n        x = self.conv(x)\n        return x + 1 if x.mean() > 0 else x\n"
    )
    (tmp_path / "nets.py").write_text(code)
    scope: dict = {"__name__": "nets"}
    exec(code, scope)
    torch.save(scope["Branching"]().state_dict(), tmp_path / "w.pt")
    source = find(f"file:{tmp_path / 'w.pt'}@{tmp_path / 'nets.py'}:Branching", size=32, trust_code=True)
    with pytest.raises(UsageError, match="cannot be cut into stages"):
        delta(source, task, fit=FIT)
