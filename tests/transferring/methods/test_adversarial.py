"""adversarial: what it minimises, when eps grows, what decides, that it resumes exactly, and that it makes robust."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.perturbing.attacks import Ball
from transfuse.sources.images.preprocessing import normalise
from transfuse.training.batches import Batch
from transfuse.training.options import Fit
from transfuse.transferring.attacking import Judge, Threat, on_attacked, raised, trades
from transfuse.transferring.methods.adversarial import adversarial
from transfuse.transferring.transfer import transfer
from transfuse.tuning.outcome import HeadShape
from transfuse.tuning.targets import as_tensor
from transfuse.tuning.tune import workbench

FIT = Fit(steps=12, rate=1e-2, batch_size=8, augmentation="none", validate_every=3)


def threat_of(source: Source, **changes) -> Threat:
    found = Threat(ball=Ball(eps=0.05), steps=3, ramp=0.0, seed=0, preprocessing=source.preprocessing)
    return replace(found, **changes)


def batch_of(task: Task, source: Source, done: float = 1.0) -> Batch:
    train = task.splits["train"]
    x = normalise(np.stack(train.items[:8]), source.preprocessing)
    return Batch(
        x=x, y=torch.from_numpy(train.targets[:8]), weights_B=torch.ones(8), index_B=torch.arange(8),
        view_B=torch.zeros(8, dtype=torch.int64), done=done,
    )  # fmt: skip


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3))


def test_the_loss_is_that_of_pictures_within_eps_in_pixels(small: Source, task: Task):
    """Normalised by the source, so that a step of eps is eps / std of what the network sees."""
    network, batch = linear(), batch_of(task, small)
    bench = workbench(task, small.preprocessing, FIT)
    seen = []
    network.register_forward_hook(lambda module, given, output: seen.append(given[0].detach()))
    loss = on_attacked(bench, threat_of(small))(network, batch)
    std = torch.tensor(small.preprocessing.std).view(3, 1, 1)
    moved = (seen[-1] - batch.x).abs() * std
    assert float(moved.max()) == pytest.approx(0.05, abs=1e-5)
    assert loss.item() == pytest.approx(F.cross_entropy(network(seen[-1]), batch.y).item(), rel=1e-5)
    assert loss > F.cross_entropy(network(batch.x), batch.y)
    loss.backward()
    assert network[2].weight.grad is not None


def test_trades_is_the_papers_sum(small: Source, task: Task):
    """Against the formula by torch's own kl_div on probabilities; beta 0 leaves the clean loss."""
    network, batch = linear(), batch_of(task, small)
    bench, seen = workbench(task, small.preprocessing, FIT), []
    network.register_forward_hook(lambda module, given, output: seen.append(given[0].detach()))
    loss = trades(bench, threat_of(small), 6.0)(network, batch)
    attacked, clean = network(seen[-1]), network(batch.x)
    apart = F.kl_div(F.log_softmax(attacked, 1), F.softmax(clean, 1), reduction="batchmean")
    assert apart > 1e-4
    assert loss.item() == pytest.approx((F.cross_entropy(clean, batch.y) + 6 * apart).item(), rel=1e-4)
    plain = trades(bench, threat_of(small), 0.0)(network, batch)
    assert plain.item() == pytest.approx(F.cross_entropy(clean, batch.y).item(), rel=1e-5)


@pytest.mark.parametrize(("ramp", "done", "eps"), [(0.5, 0, 0), (0.5, 0.25, 0.025), (0.5, 0.75, 0.05), (0, 0, 0.05)])
def test_eps_grows_from_0(small: Source, ramp: float, done: float, eps: float):
    assert threat_of(small, ramp=ramp).at(done).eps == pytest.approx(eps)


def test_weights_are_judged_under_attack_also_in_inference_mode(small: Source, task: Task):
    bench = workbench(task, small.preprocessing, FIT)
    targets = as_tensor(task.splits["valid"].targets, None)
    judge = Judge(validation=bench.validation, threat=threat_of(small), loss=raised(bench), targets=targets)
    network = linear()
    with torch.inference_mode():
        attacked, clean = judge(network), bench.validation(network)
    assert attacked["loss"] > clean["loss"] + 0.01
    before = judge.measured(network)["robust"]["value"]
    with torch.no_grad():
        for parameter in network[2].parameters():
            parameter.mul_(3000)  # so sure that float32 has no gradient left; the answers are the same
    assert judge.measured(network)["robust"]["value"] == before < 1
    with torch.no_grad():
        for parameter in network[2].parameters():
            parameter.div_(3000)
    harmless = replace(judge, threat=threat_of(small, ball=Ball(eps=0.0)))
    assert harmless(network)["loss"] == pytest.approx(clean["loss"], abs=1e-5)


@pytest.mark.parametrize("attack", ["fgsm", "trades"])
def test_it_resumes_to_the_same_weights(small: Source, task: Task, attack: str, tmp_path: Path):
    def made(run: Run) -> dict[str, torch.Tensor]:
        found = adversarial(small, task, fit=FIT, run=run, attack=attack, attack_steps=2, compare=False)
        return found.network.state_dict()

    class Killed(BaseException):
        pass

    def stop(event):
        if event["stage"] == "training" and event["done"] == 7:
            raise Killed

    whole = made(Run())
    with pytest.raises(Killed):
        made(Run(checkpoints=tmp_path, watch=stop))
    seen = []
    again = made(Run(checkpoints=tmp_path, watch=lambda event: seen.append((event["stage"], event["done"]))))
    assert min(done for stage, done in seen if stage == "training") == 6
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


def test_the_probe_moves_the_head_alone(small: Source, task: Task):
    from transfuse.sources.opening import open_source

    outcome = adversarial(small, task, fit=FIT, moves="head", eps=0.1)
    before, after = open_source(small).body.state_dict(), outcome.network.body.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    told = outcome.facts["robustness"]
    assert told["robust"]["value"] >= told["plain"]["robust"]["value"]  # the plain method is the closed-form probe


def test_it_withstands_more_than_the_same_training_without_attack(small: Source, task: Task):
    """And the report says what it costs."""
    model = transfer(
        small, task, method="adversarial", steps=120, rate=1e-2, batch_size=12, augmentation="none", eps=0.12, seed=1
    )
    told = model.provenance.options["found"]["robustness"]
    assert told["robust"]["n"] == 9 and told["robust"]["value"] > told["plain"]["robust"]["value"]
    text = " ".join(model.report.summary)
    assert "eps 0.12 (linf), n = 9" in text and "Robustness costs" in text


def test_an_interrupted_comparison_keeps_what_was_learnt(small: Source, task: Task):
    """And claims nothing about the plain method."""

    def stop(event):
        if event["stage"] == "training":
            seen.append(event["done"])
            if len(seen) == FIT.steps + 2:  # the second training has begun
                raise KeyboardInterrupt

    seen: list[int] = []
    stopped = adversarial(small, task, fit=FIT, run=Run(watch=stop))
    whole = adversarial(small, task, fit=FIT, compare=False)
    assert "plain" not in stopped.facts["robustness"]
    same = whole.network.state_dict()
    assert all(torch.equal(tensor, same[name]) for name, tensor in stopped.network.state_dict().items())


def test_a_head_that_has_no_closed_form_is_trained_to_compare(small: Source, task: Task):
    outcome = adversarial(small, task, fit=replace(FIT, steps=60), moves="head", head=HeadShape(kind="mlp"))
    assert outcome.facts["robustness"]["plain"]["clean"]["value"] > 0.6


def test_bfloat16_learns_too(small: Source, task: Task):
    """Weights get gradients although the attack's pass came first: autocast keeps what it has converted."""
    outcome = adversarial(small, task, fit=replace(FIT, precision="bfloat16"), attack="trades", compare=False)
    origin = adversarial(small, task, fit=replace(FIT, steps=1, rate=1e-12), compare=False).network.state_dict()
    assert any(not torch.equal(tensor, origin[name]) for name, tensor in outcome.network.state_dict().items())
    assert all(np.isfinite(point["train_loss"]) for point in outcome.curves)


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_other_kinds_are_attacked_by_their_own_loss(small: Source, tasks, kind: str):
    outcome = adversarial(small, tasks[kind], fit=FIT, attack="pgd", attack_steps=2)
    assert outcome.facts["robustness"]["robust"]["n"] == 9
    with pytest.raises(UsageError, match="needs a single-label task"):
        adversarial(small, tasks[kind], fit=FIT, attack="trades")


@pytest.mark.parametrize("wrong", [{"ramp": 2.0}, {"attack_steps": -1}, {"eps": -0.1}, {"moves": "tail"}])
def test_options_that_are_none_are_refused(small: Source, task: Task, wrong):
    with pytest.raises(UsageError):
        adversarial(small, task, fit=FIT, **wrong)
