"""The loop learns, resumes exactly, stops for the right reason, and refuses nonsense."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from transfuse.core.errors import UsageError
from transfuse.core.runs import Run
from transfuse.training.batches import Activations, Batches
from transfuse.training.loop import Diverged, Group, Moves, train
from transfuse.training.options import Fit

FIT = Fit(precision="float32", steps=60, rate=0.01, batch_size=16, validate_every=20, patience=0, average=0.9)


def problem(count: int = 80) -> tuple[Batches, nn.Module]:
    generator = np.random.default_rng(0)
    x_ND = generator.normal(size=(count, 6)).astype(np.float32)
    y_N = (x_ND[:, 0] + x_ND[:, 1] > 0).astype(np.int64)
    batches = Batches(
        inputs=Activations(x_ND),
        targets=torch.from_numpy(y_N),
        weights_N=np.ones(count, np.float32),
        batch_size=16,
        seed=0,
    )
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))
    return batches, network


def everything_moves(network: nn.Module) -> Moves:
    return Moves(groups=(Group(names=tuple(name for name, _ in network.named_parameters())),))


def objective(network: nn.Module, batch: object) -> torch.Tensor:
    return nn.functional.cross_entropy(network(batch.x), batch.y)


def validation(batches: Batches):
    x_ND, y_N = torch.from_numpy(batches.inputs.rows), batches.targets

    def validate(network: nn.Module) -> dict[str, float]:
        logits_NC = network(x_ND)
        right = (logits_NC.argmax(1) == y_N).float().mean()
        return {"score": right.item(), "loss": nn.functional.cross_entropy(logits_NC, y_N).item()}

    return validate


def trained(fit: Fit = FIT, run: Run = Run(), moves: Moves | None = None):
    batches, network = problem()
    result = train(
        network,
        batches,
        objective=objective,
        moves=moves or everything_moves(network),
        validate=validation(batches),
        fit=fit,
        run=run,
    )
    return network, result


def test_learns_and_keeps_the_best_validated_weights():
    network, result = trained(replace(FIT, steps=200))
    batches, _ = problem()
    assert result.best["score"] > 0.9
    assert validation(batches)(network)["score"] == pytest.approx(result.best["score"])
    assert [point["step"] for point in result.history] == list(range(20, 201, 20))
    assert result.stopped_by == "steps"


def test_two_runs_give_the_same_weights_and_leave_the_global_generator_alone():
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    one, _ = trained()
    assert torch.equal(before, torch.random.get_rng_state()) is False  # problem() seeds it itself
    two, _ = trained()
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_resumes_to_the_same_weights(tmp_path: Path, optimizer: str):
    fit = replace(FIT, optimizer=optimizer)
    whole, _ = trained(fit)
    run = Run(checkpoints=tmp_path)

    class Killed(BaseException):
        pass

    def stop_at_45(event):
        if event["done"] == 45:
            raise Killed

    with pytest.raises(Killed):
        trained(fit, replace(run, watch=stop_at_45))
    seen = []
    resumed, result = trained(fit, replace(run, watch=lambda event: seen.append(event["done"])))
    assert min(seen) == 40
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
    assert len(result.history) == 3
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_checkpoint_of_other_work_is_not_taken_up(tmp_path: Path):
    class Killed(BaseException):
        pass

    def stop_at_45(event):
        if event["done"] == 45:
            raise Killed

    with pytest.raises(Killed):
        trained(run=Run(checkpoints=tmp_path, watch=stop_at_45))
    other = replace(FIT, rate=0.02)
    fresh, _ = trained(other)
    same, _ = trained(other, Run(checkpoints=tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(fresh.state_dict().values(), same.state_dict().values(), strict=True))


def test_survives_a_real_kill(tmp_path: Path):
    """SIGKILL in the middle, then the same program again: the weights of an uninterrupted run, bit for bit."""
    program = f"""
import sys, time, torch
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_loop import *
def slowly(event):
    time.sleep(0.02)
    print(event["done"], flush=True)
network, _ = trained(run=Run(checkpoints=Path({str(tmp_path / "runs")!r}), watch=slowly))
torch.save(network.state_dict(), {str(tmp_path / "end.pt")!r})
"""
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 43:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout.split()[0] == "40"
    whole, _ = trained()
    resumed = torch.load(tmp_path / "end.pt", weights_only=True)
    assert all(torch.equal(a, resumed[name]) for name, a in whole.state_dict().items())


def test_accumulation_gives_the_gradient_of_the_whole_batch():
    def without_noise(fit: Fit) -> nn.Module:
        batches, _ = problem()
        torch.manual_seed(1)
        network = nn.Linear(6, 2)
        train(network, batches, objective=objective, moves=everything_moves(network), validate=validation(batches),
              fit=fit, run=Run())  # fmt: skip
        return network

    whole, pieces = without_noise(FIT), without_noise(replace(FIT, accumulate=4))
    torch.testing.assert_close(whole.weight, pieces.weight, rtol=1e-4, atol=1e-5)


def test_frozen_parameters_and_still_modules_do_not_change():
    _, start = problem()
    moves = Moves(
        groups=(Group(names=("4.weight", "4.bias")), Group(names=("0.weight",), rate_scale=0.0)), still=("1",)
    )
    network, _ = trained(moves=moves)
    for name in ("0.weight", "0.bias", "1.running_mean", "1.num_batches_tracked"):
        assert torch.equal(network.state_dict()[name], start.state_dict()[name])
    assert not torch.equal(network.state_dict()["4.weight"], start.state_dict()["4.weight"])


def test_stops_for_patience_target_and_time():
    _, patient = trained(replace(FIT, steps=2000, rate=1e-9, patience=2))
    assert (patient.stopped_by, patient.steps) == ("patience", 60)
    _, target = trained(replace(FIT, steps=2000, target=0.6))
    assert target.stopped_by == "target" and target.steps < 2000
    _, late = trained(replace(FIT, steps=100_000, patience=0), Run(deadline=time.monotonic() + 0.5))
    assert late.stopped_by == "time" and late.best["score"] > 0.5


def test_ctrl_c_keeps_the_best_so_far():
    def interrupt(event):
        if event["done"] == 30:
            raise KeyboardInterrupt

    network, result = trained(run=Run(watch=interrupt))
    batches, _ = problem()
    assert result.stopped_by == "interrupt" and len(result.history) == 1
    assert validation(batches)(network)["score"] == pytest.approx(result.best["score"])


def test_a_loss_that_is_no_number_is_an_error_in_words():
    with pytest.raises(Diverged, match="smaller `rate`"):
        trained(replace(FIT, rate=1e12, optimizer="sgd", clip=0.0))


@pytest.mark.parametrize("change", [{"steps": 0}, {"rate": 0.0}])
def test_steps_and_rate_must_be_set(change):
    with pytest.raises(UsageError, match="must be set"):
        trained(replace(FIT, **change))


def test_something_must_move():
    with pytest.raises(UsageError, match="At least one parameter"):
        trained(moves=Moves(groups=()))


def test_a_resumed_network_of_convolutions_ends_with_the_same_weights(tmp_path: Path):
    """Convolutions lie channels-last in memory, and so must what the optimiser remembers of them."""

    class Killed(BaseException):
        pass

    def stop_at_5(event):
        if event["done"] == 5:
            raise Killed

    def convolved(run: Run) -> nn.Module:
        generator = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        pictures = torch.rand(16, 3, 9, 9, generator=generator).numpy()
        batches = Batches(
            inputs=Activations(pictures), targets=torch.arange(16) % 5, weights_N=np.ones(16, np.float32),
            batch_size=8, seed=0,
        )  # fmt: skip
        fit = replace(FIT, steps=8, validate_every=4, batch_size=8)

        def later_is_better(net: nn.Module) -> dict[str, float]:
            return {"score": time.monotonic(), "loss": 0.0}

        train(network, batches, objective=objective, moves=everything_moves(network), validate=later_is_better,
              fit=fit, run=run)  # fmt: skip
        return network

    whole = convolved(Run())
    with pytest.raises(Killed):
        convolved(Run(checkpoints=tmp_path, watch=stop_at_5))
    resumed = convolved(Run(checkpoints=tmp_path))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
