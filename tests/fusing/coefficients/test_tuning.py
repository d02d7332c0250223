"""Coefficients searched on one half of the validation examples, and judged on the other."""

import numpy as np
import pytest
import torch

from transfuse.core.errors import UnknownName, UsageError
from transfuse.core.nouns import Examples, Task
from transfuse.core.runs import Run
from transfuse.fusing.checkpoints import open_checkpoint
from transfuse.fusing.coefficients.alpha import alpha
from transfuse.fusing.coefficients.layers import layers
from transfuse.fusing.coefficients.methods import SEARCHES, TRIALS, Worth
from transfuse.fusing.coefficients.scale import scale
from transfuse.fusing.coefficients.soup import soup
from transfuse.fusing.coefficients.tuning import halves
from transfuse.fusing.fuse import fuse
from transfuse.fusing.recipes import recipe_of
from transfuse.fusing.statistics.batches import same_statistics
from transfuse.predicting.folder import load
from transfuse.tasks.opening import open_task
from transfuse.weights.files import write_tensors

RIGHT = torch.eye(3) * 4
WRONG = torch.tensor([[0.0, 9, -9], [-9, 0, 9], [9, -9, 0]])
GIVEN = {"trials": 11, "seed": 0, "run": Run()}


def settings(recipe):
    return [dict(part.settings) for part in recipe.slices[0].parts], dict(recipe.settings)


def test_the_tables_agree():
    assert set(SEARCHES) == set(TRIALS)


def test_a_sweep_of_alpha_finds_the_maximum_of_a_parabola():
    recipe = recipe_of(["a", "b"], base=None, method="linear", options={"weight": [3.0, 1.0]})
    seen = []

    def judge(tried):
        own, _ = settings(tried)
        assert own[0]["weight"] + own[1]["weight"] == pytest.approx(1)
        seen.append(own[1]["weight"])
        return Worth(metric=0.0, likelihood=-((own[1]["weight"] - 0.42) ** 2))

    found = alpha(recipe, judge, **GIVEN)
    assert sorted(seen) == pytest.approx(np.linspace(0, 1, 11)) and len(found.rows) == 11
    assert settings(found.recipe)[0] == [{"weight": pytest.approx(0.6)}, {"weight": pytest.approx(0.4)}]
    assert found.found == "alpha = 0.4"


def test_alpha_of_slerp_is_t_and_other_methods_are_refused():
    recipe = recipe_of(["a"], base="base", method="slerp", options={})
    found = alpha(recipe, lambda r: Worth(metric=0, likelihood=-abs(r.settings["t"] - 1)), **GIVEN)
    assert found.recipe.settings == {"t": 1.0}
    for parents, method in ((["a", "b", "c"], "linear"), (["a", "b"], "karcher")):
        with pytest.raises(UsageError, match="search=alpha"):
            alpha(recipe_of(parents, base=None, method=method, options={}), judge=None, **GIVEN)
    with pytest.raises(UsageError, match="at least 2"):
        alpha(recipe, judge=None, **{**GIVEN, "trials": 1})


def test_the_line_search_of_lambda_tries_the_base_too():
    recipe = recipe_of(["a", "b"], base="base", method="task_arithmetic", options={"scale": 1.0})
    found = scale(recipe, lambda r: Worth(metric=0, likelihood=-r.settings["scale"]), **GIVEN)
    assert found.recipe.settings["scale"] == 0.0 and found.rows[-1]["lambda"] == 1.0
    with pytest.raises(UsageError, match="has λ"):
        scale(recipe_of(["a", "b"], base=None, method="linear", options={}), judge=None, **GIVEN)


def test_gradients_over_depth_are_found_by_cmaes():
    recipe = recipe_of(["a", "b"], base="base", method="task_arithmetic", options={})
    target = np.array([[0.9, 0.5, 0.2], [0.1, 0.5, 0.7]])

    def judge(tried):
        weight = np.array([own["weight"] for own in settings(tried)[0]])
        return Worth(metric=0, likelihood=-float(((weight - target) ** 2).sum()))

    few, many = (layers(recipe, judge, trials=n, seed=0, run=Run()) for n in (2, 150))
    best = [max(row["likelihood"] for row in found.rows) for found in (few, many)]
    assert best[0] < -0.05 and best[1] > -0.01
    assert judge(many.recipe).likelihood == pytest.approx(best[1])
    again = layers(recipe, judge, trials=150, seed=0, run=Run())
    assert again == many


def greedy(names, accuracy):
    """Wortsman et al. 2022, recipe 1, with a strict gain, over sets."""
    order = sorted(names, key=lambda name: -accuracy(frozenset([name])))
    kept = {order[0]}
    for name in order[1:]:
        if accuracy(frozenset(kept | {name})) > accuracy(frozenset(kept)):
            kept.add(name)
    return kept


@pytest.mark.parametrize("seed", range(8))
def test_a_greedy_soup_is_the_papers(seed):
    names = list("abcde")

    def accuracy(kept):
        return float(np.random.default_rng([seed, *sorted(map(ord, kept))]).integers(0, 8))

    def judge(recipe):
        return Worth(metric=accuracy(frozenset(p.path for p in recipe.slices[0].parts)), likelihood=0.0)

    recipe = recipe_of(names, base=None, method="linear", options={})
    found = soup(recipe, judge, **GIVEN)
    assert {part.path for part in found.recipe.slices[0].parts} == greedy(names, accuracy)
    assert len(found.rows) == 9


def test_halves_are_stratified_and_keep_groups_together():
    count = 40
    examples = Examples(
        items=list(range(count)), targets=np.arange(count) % 2, digests=tuple(map(str, range(count))),
        names=tuple(map(str, range(count))), groups=tuple(str(place // 4) for place in range(count)),
    )  # fmt: skip
    task = Task(
        name="t",
        kind="single-label",
        classes=("a", "b"),
        splits={"train": examples, "valid": examples},
        seed=0,
        digest="",
    )
    one, other = halves(task)
    assert sorted([*one.items, *other.items]) == list(range(count)) and not set(one.groups) & set(other.groups)
    assert abs(len(one) - len(other)) <= 4 and abs(int(one.targets.sum()) - len(one) // 2) <= 2


def test_a_search_ends_in_a_model_that_the_other_half_judges(colours, photos, tmp_path):
    paths = [colours("one", RIGHT + WRONG), colours("two", RIGHT - 0.5 * WRONG)]
    task = open_task(photos, valid=0.6, test=0.2)
    report = fuse(*paths, search="alpha", trials=13, out=tmp_path / "out", on=task, force=True, trust_code=True)
    assert report.summary[0] == "The fusion is kept."
    assert any("Searched (alpha, 13 trials" in line and "judge" in line for line in report.summary)
    table = next(section for section in report.sections if section.title == "What the search tried")
    assert len(table.content["rows"]) == 13
    model = load(tmp_path / "out", trust_code=True)
    weights = [part["settings"]["weight"] for part in model.provenance.options["slices"][0]["parts"]]
    assert weights == pytest.approx([1 - weights[1], weights[1]]) and 0.4 < weights[1] < 0.95
    torch.testing.assert_close(
        model.network.head.weight, weights[0] * (RIGHT + WRONG) + weights[1] * (RIGHT - 0.5 * WRONG)
    )
    assert model.temperature != 1.0  # the parents'; fitted where the search was
    valid = next(row for row in report.rows if row["split"] == "valid")
    assert valid["accuracy"]["n"] < len(task.splits["valid"])


def test_a_greedy_soup_leaves_out_who_does_harm_but_must_beat_them_all(colours, photos, tmp_path):
    weights = {"one": RIGHT + WRONG, "two": RIGHT - WRONG, "bad": -9 * RIGHT}
    paths = [colours(name, weight) for name, weight in weights.items()]
    task = open_task(photos, valid=0.6, test=0.2)
    report = fuse(*paths, method="greedy_soup", out=tmp_path / "out", on=task, force=True, trust_code=True)
    assert report.summary[0] == "The fusion is kept."
    assert sum(row["split"] == "valid" for row in report.rows) == 4  # the fusion and all three
    torch.testing.assert_close(load(tmp_path / "out", trust_code=True).network.head.weight, RIGHT)


def test_the_base_is_a_rival_too(colours, photos, tmp_path):
    base = colours("base", RIGHT)
    paths = [colours("one", RIGHT + WRONG), colours("two", RIGHT + 0.9 * WRONG)]
    given = {"base": base, "method": "task_arithmetic", "on": photos, "force": True, "trust_code": True}
    report = fuse(*paths, out=tmp_path / "out", **given)
    assert "refused" in report.summary[0] and "base" in report.summary[0] and "worse" in report.summary[1]
    assert load(tmp_path / "out", trust_code=True).name == "base"


def test_statistics_that_all_parents_share_are_left_alone(colours, photos, tmp_path):
    paths = [colours("one", RIGHT + WRONG), colours("two", RIGHT - WRONG)]  # names of one length: one running mean
    report = fuse(*paths, out=tmp_path / "out", on=photos, force=True, trust_code=True)
    assert not any("estimated anew" in line for line in report.summary)


def test_searches_that_cannot_be_are_refused(colours, photos, tmp_path):
    paths = [colours("one", RIGHT), colours("two", WRONG)]
    given = {"out": tmp_path / "out", "force": True, "trust_code": True}
    with pytest.raises(UnknownName, match="Did you mean 'alpha'"):
        fuse(*paths, search="alhpa", on=photos, **given)
    with pytest.raises(UsageError, match="must be given `on`"):
        fuse(*paths, search="alpha", **given)
    with pytest.raises(UsageError, match="must be given `on`"):
        fuse(*paths, method="greedy_soup", **given)
    with pytest.raises(UsageError, match="must go with a `search`"):
        fuse(*paths, trials=3, on=photos, **given)
    with pytest.raises(UsageError, match="fuses predictions"):
        fuse(*paths, method="average", search="alpha", on=photos, **given)


def test_statistics_that_differ_by_rounding_alone_are_shared(tmp_path):
    """Fine-tuned models are interpolated with their source: frozen statistics came out another bit."""
    given = torch.rand(500, generator=torch.Generator().manual_seed(0)) + 0.1
    paths = [tmp_path / f"{name}.safetensors" for name in ("frozen", "rounded", "trained")]
    for path, running in zip(paths, (given, given.nextafter(given + 1), given * 1.001), strict=True):
        write_tensors(path, {"bn.running_mean": running, "fc.weight": torch.rand(3)})
    frozen, rounded, trained = map(open_checkpoint, paths)
    assert same_statistics([frozen, rounded]) and not same_statistics([frozen, trained])


def test_a_tokenizer_is_not_asked_of_models_that_have_none(colours, tmp_path):
    paths = [colours("one", RIGHT), colours("two", WRONG)]
    with pytest.raises(UsageError, match=r"tokenizer.json, but '.*' has none"):
        fuse(*paths, tokenizer="union", out=tmp_path / "out", force=True, trust_code=True)


def test_the_proof_is_a_sentence(colours, photos, tmp_path):
    paths = [colours("one", RIGHT), colours("two", RIGHT)]
    report = fuse(*paths, out=tmp_path / "out", on=photos, force=True, trust_code=True)
    assert report.summary[1].startswith("No difference between the fusion and its best parent")
