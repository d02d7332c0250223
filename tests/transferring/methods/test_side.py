"""side: the source stays, α does as it is told, both forms come back from a folder."""

from pathlib import Path

import numpy as np
import pytest
import torch

from transfuse.core.errors import UnknownName, UsageError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.predicting.folder import load, save
from transfuse.predicting.predict import logits, probabilities
from transfuse.sources.opening import open_source
from transfuse.sources.sides import AdditiveBody, BlendedBody
from transfuse.training.options import Fit
from transfuse.transferring.methods.probe import probe
from transfuse.transferring.methods.side import side
from transfuse.transferring.transfer import carried_out

FIT = Fit(steps=10, rate=1e-2, batch_size=8, average=0.0)


@pytest.mark.parametrize("form", ["blend", "additive"])
@pytest.mark.parametrize("source", ["small", "vit"])
def test_the_source_does_not_move(source: str, form: str, task: Task, request: pytest.FixtureRequest):
    found = request.getfixturevalue(source)
    outcome = side(found, task, fit=FIT, form=form)
    before, after = open_source(found).body.state_dict(), outcome.network.body.source.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    beside = outcome.network.body.side.state_dict() if form == "blend" else outcome.network.body.linear.state_dict()
    start = before if form == "blend" else {"weight": torch.zeros(1)}
    assert any(not torch.equal(tensor.expand_as(beside[name]), beside[name]) for name, tensor in start.items())


@pytest.mark.parametrize("form", ["blend", "additive"])
def test_alpha_is_kept_when_given_and_learnt_when_not(small: Source, task: Task, form: str):
    given = side(small, task, fit=FIT, form=form, alpha=0.3)
    assert given.facts["alpha"] == pytest.approx(0.3, abs=1e-6)
    learnt = side(small, task, fit=FIT, form=form)
    assert abs(learnt.facts["alpha"] - (0.5 if form == "blend" else 1.0)) > 1e-4


def test_the_additive_form_starts_exactly_at_the_probe(small: Source, task: Task):
    outcome = side(small, task, fit=Fit(steps=1, rate=1e-12, batch_size=8), form="additive")
    probed = probe(small, task, depths="final")
    items = task.splits["test"].items
    one, other = (logits(found.network, items, small.preprocessing) for found in (outcome, probed))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_the_forms_are_the_papers(alpha: float):
    """α·side(x) + (1−α)·source(x), and α·W·x + source(x)."""
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    source, beside = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 4)) for _ in range(2))
    blended = BlendedBody(source, beside, 4, 4, alpha)
    torch.testing.assert_close(blended(x), alpha * beside(x) + (1 - alpha) * source(x), rtol=1e-4, atol=1e-5)
    additive = AdditiveBody(source, 4, 3, alpha)
    torch.testing.assert_close(additive(x), source(x))
    torch.nn.init.normal_(additive.linear.weight)
    reduced = x.reshape(2, 3, 16, 2, 16, 2).mean((3, 5)).flatten(1)
    torch.testing.assert_close(additive(x), source(x) + alpha * reduced @ additive.linear.weight.T)


@pytest.mark.parametrize("options", [{"form": "additive"}, {"beside": "random:timm:test_resnet"}, {"alpha": 0.2}])
def test_is_saved_and_reloaded(small: Source, task: Task, options: dict, tmp_path: Path):
    given = {"steps": 3, "rate": 1e-2, "batch_size": 8, **options}
    model, _ = carried_out(small, task, method="side", name=None, run=Run(), options=given)
    reloaded = load(save(model, tmp_path / "model"), trust_code=True)
    items = task.splits["test"].items
    np.testing.assert_allclose(probabilities(reloaded, items), probabilities(model, items), rtol=0, atol=1e-6)


def test_wrong_options_are_refused(small: Source, task: Task):
    with pytest.raises(UsageError, match=r"`alpha` must be in 0\.\.1"):
        side(small, task, alpha=1.5)
    with pytest.raises(UnknownName, match="Did you mean 'blend'"):
        side(small, task, form="blent")
