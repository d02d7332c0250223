"""Where methods start: the head is the probe; deep features are the taps side by side."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from transfuse.core.errors import UnknownName
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.predicting.folder import load, save
from transfuse.predicting.predict import logits, probabilities
from transfuse.probing.heads import logits as probe_logits
from transfuse.sources import bodies
from transfuse.sources.depths import DeepBody, spread
from transfuse.sources.extraction import features
from transfuse.sources.images.preprocessing import normalise
from transfuse.sources.opening import open_source
from transfuse.sources.staging import at_depths
from transfuse.training.options import Fit
from transfuse.transferring.methods.finetune import finetune
from transfuse.transferring.methods.probe import probe
from transfuse.transferring.transfer import carried_out
from transfuse.tuning.outcome import HeadShape
from transfuse.tuning.starting import start


def begun(source: Source, task: Task, **options):
    return start(source, task, head=HeadShape(), fit=Fit(), run=Run(), **options)


@pytest.mark.parametrize("depths", ["final", "several", "many"])
def test_the_start_answers_as_the_probe_over_its_temperature(family: Source, task: Task, depths: str):
    """Logits of step 0, from pictures through the whole network, equal the closed-form head on cached features."""
    begin = begun(family, task, depths=depths)
    items = task.splits["train"].items
    names = begin.opened.source.builder["depths"]["names"] if depths != "final" else ["final"]
    cached = features(open_source(family), task, "train", names, precision="float32")
    x_ND = np.concatenate([cached[name].x_ND for name in names], axis=1)
    expected = probe_logits(begin.probe, x_ND) / begin.probe.temperature
    found = logits(begin.network, items, family.preprocessing)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_a_regression_starts_in_standardised_units(small: Source, tasks: Mapping[str, Task]):
    task = tasks["regression"]
    begin = begun(small, task)
    train = task.splits["train"]
    cached = features(open_source(small), task, "train", precision="float32")
    standard_NC = (probe_logits(begin.probe, cached.x_ND) - train.targets.mean(0)) / train.targets.std(0)
    np.testing.assert_allclose(logits(begin.network, train.items, small.preprocessing), standard_NC, atol=1e-2)


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
def test_an_untrained_finetune_is_the_probe(small: Source, tasks: Mapping[str, Task], kind: str):
    """At a rate of nearly nothing, fine-tuning gives the probabilities of the probe."""
    task = tasks[kind]
    fit = Fit(steps=1, rate=1e-12, batch_size=8)
    tuned = finetune(small, task, fit=fit)
    probed = probe(small, task, depths="final")
    items = task.splits["test"].items
    one, other = (logits(outcome.network, items, small.preprocessing) for outcome in (tuned, probed))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_other_heads_have_no_probe_and_depend_on_the_seed_alone(small: Source, task: Task):
    mlp = HeadShape(kind="mlp", hidden=7, activation="gelu", dropout=0.2)
    one, again, other = (start(small, task, head=mlp, fit=Fit(seed=seed), run=Run()) for seed in (0, 0, 1))
    assert one.probe is None
    weights = [begin.network.head[0].weight for begin in (one, again, other)]
    assert weights[0].shape == (7, 16)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_deep_features_are_the_taps_side_by_side(family: Source, task: Task):
    opened = open_source(family)
    names = spread(opened.depths, 4)
    outcome = probe(family, task, depths="several")
    assert isinstance(outcome.network.body, DeepBody)
    x_Bchw = normalise(np.stack(task.splits["test"].items), family.preprocessing)
    with torch.inference_mode():
        taps = at_depths(opened.body, names)(x_Bchw)
        channels_last = bodies.gives_channels_last(opened.body)
        expected = torch.cat([bodies.pooled(tap, tap.ndim, channels_last) for tap in taps], dim=1)
        torch.testing.assert_close(outcome.network.body(x_Bchw), expected)
    assert outcome.facts["features"] == expected.shape[1] > opened.feature_size


def test_a_deep_body_owns_no_parameter_twice_and_is_saved(small: Source, task: Task, tmp_path: Path):
    options = {"steps": 3, "rate": 1e-3, "depths": "several"}
    model, _ = carried_out(small, task, method="finetune", name=None, run=Run(), options=options)
    names = list(model.network.body.state_dict())
    assert len(names) == len(open_source(small).body.state_dict()) and all(name.startswith("of.") for name in names)
    reloaded = load(save(model, tmp_path / "model"), trust_code=True)
    items = task.splits["test"].items
    np.testing.assert_allclose(probabilities(reloaded, items), probabilities(model, items), atol=1e-6)


def test_an_unknown_choice_of_depths_is_refused(small: Source, task: Task):
    with pytest.raises(UnknownName, match="Did you mean 'several'"):
        probe(small, task, depths="severl")
