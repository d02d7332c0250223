"""Fisher information and Gram matrices against the formulas written out, and `fuse` that computes them itself."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import sentences
from torch.func import functional_call, jacrev

import transfuse as tr
from transfuse.core.errors import BudgetError, UsageError, WeightsError
from transfuse.core.nouns import Model, Preprocessing, Step
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import assess, plain_row
from transfuse.fusing.fuse import fuse
from transfuse.fusing.statistics.computing import statistics_of
from transfuse.fusing.statistics.information import fisher_information
from transfuse.predicting.folder import load
from transfuse.sources import inputs
from transfuse.sources.functions import builder_of
from transfuse.sources.network import CosineHead, Network, new_head
from transfuse.sources.opening import rebuild
from transfuse.tasks.opening import open_task

CODE = """
from torch import nn


def hidden():
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 6), nn.Tanh(), nn.BatchNorm1d(6))
"""
CLASSES = ("cat", "dog", "eel")


@pytest.fixture
def made(tmp_path):
    """A function from a seed to a Model with a hidden layer; those of seeds above 0 lie near that of seed 0."""
    (tmp_path / "nets.py").write_text(CODE)
    builder = {**builder_of(f"{tmp_path / 'nets.py'}:hidden", trust_code=True), "input": [3, 8, 8]}

    def make(seed, kind="single-label", classes=CLASSES):
        torch.manual_seed(0)
        network = Network(rebuild(builder, trust_code=True), new_head(6, len(classes))).eval()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.2 * bool(seed) * torch.randn(parameter.shape, generator=generator))
        return Model(
            name=f"m{seed}", kind=kind, classes=classes, builder=builder, head={"kind": "linear"}, network=network,
            preprocessing=Preprocessing(size=(8, 8)), provenance=Step(verb="transfer", method=f"m{seed}"),
        )  # fmt: skip

    return make


@pytest.fixture(scope="module")
def task(photos):
    return open_task(photos, valid=0.3, test=0.2)


def batch_of(model, items):
    return inputs.tensor_of(items, model.preprocessing)


def jacobians(model, x, of):
    """By parameter d of(network(x)) / d parameter, (N, C, ...)."""
    parameters = {name: p.detach() for name, p in model.network.named_parameters()}
    answer = lambda given, one: of(functional_call(model.network, given, (one[None],))[0])  # noqa: E731
    found = [jacrev(answer)(parameters, one) for one in x]
    return {name: torch.stack([one[name] for one in found]) for name in parameters}


def test_the_true_fisher_information_of_classes(made, task):
    model, items = made(0), task.splits["train"].items
    found = statistics_of("fisher", model, task)
    x = batch_of(model, items)
    with torch.no_grad():
        p_NC = model.network(x).softmax(1)
        f_ND = model.network.body(x)
    variance_NC = p_NC * (1 - p_NC)  # of a head Σ_y p(y)·(1[c=y] - p_c)² = p_c·(1 - p_c), times the features squared
    torch.testing.assert_close(found["head.weight"], (variance_NC.T @ f_ND.square()) / len(x), rtol=1e-4, atol=1e-7)
    for name, g in jacobians(model, x, lambda z: z.log_softmax(0)).items():
        wanted = (p_NC.reshape(*p_NC.shape, *[1] * (g.dim() - 2)) * g.square()).sum(1).mean(0)
        torch.testing.assert_close(found[name], wanted, rtol=1e-3, atol=1e-7)
    assert set(found) == {name for name, _ in model.network.named_parameters()}


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_the_fisher_information_of_labels_and_numbers(made, task, kind):
    model = made(0, kind=kind)
    items = list(task.splits["train"].items)[:7]
    found = fisher_information(model, items, seed=0, run=Run())
    x = batch_of(model, items)
    with torch.no_grad():
        p_NC = model.network(x).sigmoid()
    weight_NC = p_NC * (1 - p_NC) if kind == "multi-label" else torch.ones_like(p_NC)
    for name, g in jacobians(model, x, lambda z: z).items():
        wanted = (weight_NC.reshape(*p_NC.shape, *[1] * (g.dim() - 2)) * g.square()).sum(1).mean(0)
        torch.testing.assert_close(found[name], wanted, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
def test_drawn_answers_have_the_exact_expectation_as_their_mean(made, task, monkeypatch, kind):
    model = made(0, kind=kind)
    item = task.splits["train"].items[0]
    exact = fisher_information(model, [item], seed=0, run=Run())["head.bias"]
    monkeypatch.setattr("transfuse.fusing.statistics.information.EXACT", 1)
    drawn = fisher_information(model, [item] * 400, seed=0, run=Run())["head.bias"]
    torch.testing.assert_close(drawn, exact, rtol=0.3, atol=0)
    again = fisher_information(model, [item] * 20, seed=0, run=Run())["head.bias"]
    assert torch.equal(again, fisher_information(model, [item] * 20, seed=0, run=Run())["head.bias"])


def test_gram_matrices_of_pictures(made, task):
    model = made(0)
    found = statistics_of("gram", model, task)
    x = batch_of(model, task.splits["train"].items)
    with torch.no_grad():
        x_NI = torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)
        f_ND = model.network.body(x)
    assert set(found) == {"body.2.weight", "head.weight"}
    torch.testing.assert_close(found["body.2.weight"], x_NI.T @ x_NI / len(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["head.weight"], f_ND.T @ f_ND / len(x), rtol=1e-4, atol=1e-5)


def test_padding_of_texts_is_no_input_of_a_layer(tiny_networks):
    task = tr.task(sentences(6))
    model = tr.transfer(tiny_networks["bert"], task, method="probe")
    found = statistics_of("gram", model, task)
    name = next(name for name in found if name.endswith("layer.0.attention.self.query.weight"))
    layer, seen = model.network.get_submodule(name.removesuffix(".weight")), []
    handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()[0]))
    with torch.no_grad():
        for item in task.splits["train"].items:  # one at a time: nothing is padded
            model.network(batch_of(model, [item]))
    handle.remove()
    x = torch.cat(seen)
    torch.testing.assert_close(found[name], x.T @ x / len(x), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["fisher", "regmean"])
def test_fuse_computes_what_is_not_given(made, task, tmp_path, method):
    models = {name: made(seed) for seed, name in ((1, "a"), (2, "b"))}
    paths = [model.save(tmp_path / name) for name, model in models.items()]
    events = []
    run = Run(watch=events.append)
    report = fuse(*paths, method=method, on=task, out=tmp_path / "out", trust_code=True, force=True, run=run)
    assert any("computed on 18 training examples" in sentence for sentence in report.summary)
    stage = "fisher information" if method == "fisher" else "Gram matrices"
    assert sum(e["stage"] == stage and e["done"] == e["total"] == 18 for e in events) == 2
    kind = "fisher" if method == "fisher" else "gram"
    files = []
    for name, model in models.items():
        files.append(tmp_path / f"{name}.safetensors")
        save_file(statistics_of(kind, model, task), str(files[-1]))
    fuse(*paths, method=method, statistics=files, out=tmp_path / "given", trust_code=True, force=True)
    given = load_file(str(tmp_path / "given" / "model.safetensors"))
    states = [model.network.state_dict() for model in models.values()]
    s, t = (load_file(str(file))["body.2.weight"] for file in files)
    a, b = (state["body.2.weight"] for state in states)
    if method == "fisher":
        wanted = ((s + 1e-6) * a + (t + 1e-6) * b) / (s + t + 2e-6)
    else:
        s, t = (0.9 * g + 0.1 * torch.diag(g.diagonal()) for g in (s.double(), t.double()))
        wanted = torch.linalg.solve(s + t, s @ a.T.double() + t @ b.T.double()).T.float()
    torch.testing.assert_close(given["body.2.weight"], wanted, rtol=1e-3, atol=1e-4)
    fused = next(row for row in report.rows if row["model"] == "fusion" and row["split"] == "valid")
    merged = load(tmp_path / "given", trust_code=True)
    judged = assess(merged, task.splits["valid"])
    assert fused == plain_row("fusion", judged, split="valid")
    assert not list(tmp_path.glob(".out*"))


def test_what_was_computed_is_taken_up_and_depends_on_the_examples(made, task, photos, tmp_path):
    paths = [made(seed).save(tmp_path / f"m{seed}") for seed in (1, 2)]
    hidden = tmp_path / ".out.fusing" / "statistics"
    stopped = []

    def stop(event):
        stopped.append(event)
        if len(stopped) == 25:  # within the second parent
            raise KeyboardInterrupt

    options = {"method": "fisher", "out": tmp_path / "out", "trust_code": True, "force": True}
    with pytest.raises(KeyboardInterrupt):
        fuse(*paths, on=task, run=Run(watch=stop), **options)
    assert len(list(hidden.iterdir())) == 1
    kept = shutil.copytree(tmp_path / ".out.fusing", tmp_path / "kept")
    events = []
    fuse(*paths, on=task, run=Run(watch=events.append), **options)
    assert sum(event["stage"] == "fisher information" for event in events) == 18
    shutil.copytree(kept, tmp_path / ".out.fusing")
    events.clear()
    other = open_task(photos, valid=0.3, test=0.2, seed=1)
    fuse(*paths, on=other, run=Run(watch=events.append), replace=True, **options)
    assert sum(event["stage"] == "fisher information" for event in events) == 2 * 18


def test_what_has_no_statistics_is_refused(made, task, tmp_path):
    paths = [made(seed).save(tmp_path / f"m{seed}") for seed in (1, 2)]
    with pytest.raises(UsageError, match="or saved Models with `on`"):
        fuse(*paths, method="fisher", out=tmp_path / "out", trust_code=True)
    with pytest.raises(BudgetError, match="Fisher"):
        fuse(*paths, method="fisher", on=task, out=tmp_path / "out", trust_code=True, run=Run(deadline=0.0))
    with pytest.raises(BudgetError, match="Gram"):
        fuse(*paths, method="regmean", on=task, out=tmp_path / "out", trust_code=True, run=Run(deadline=0.0))
    model = made(0)
    unlike = replace(model, network=Network(torch.nn.Flatten(), CosineHead(192, 3)).eval())
    with pytest.raises(WeightsError, match="must have linear layers"):
        statistics_of("gram", unlike, task)
    empty = replace(model, network=torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()))
    with pytest.raises(WeightsError, match="must be of a network with weights"):
        statistics_of("fisher", empty, task)
    with pytest.raises(UsageError, match="must have the model's kind and classes"):
        other = [made(seed, classes=("a", "b", "c")).save(tmp_path / f"o{seed}") for seed in (1, 2)]
        fuse(*other, method="fisher", on=task, out=tmp_path / "out", trust_code=True)
