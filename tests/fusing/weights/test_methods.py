"""Every method against mergekit 0.1.5's own outputs, the papers' formulas, and what must hold at the edges."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transfuse.core.errors import TransfuseError, UnknownName, UsageError, WeightsError
from transfuse.fusing.weights.masks import BLOCK, drawing, threefry, words_of
from transfuse.fusing.weights.merging import merged
from transfuse.fusing.weights.methods import METHODS
from transfuse.fusing.weights.trimming import magnitudes

GOLDENS = json.loads((Path(__file__).parent / "goldens.json").read_text())
CASES = {case["name"]: case for case in GOLDENS["cases"]}
FORMULAS = {case["name"]: case for case in GOLDENS["formulas"]}
REFUSED = {"task_arithmetic_base_only", "della_bad_epsilon", "model_stock_too_few", "shape_mismatch"}
DIFFERENT = ("ties", "dare", "della", "slerp_zero_norm_first")
"""Where the published definition is another than mergekit's."""


def tensor(document):
    return torch.tensor(document["data"], dtype=torch.float32).reshape(document["shape"])


def drawn(masks):
    return lambda parent, probability: (masks[parent] > 0).reshape(probability.shape)


def run(case, compat):
    parents = [tensor(item) for item in case["inputs"]]
    options = {("scale" if name == "lambda" else name): v for name, v in case["parameters"].items()}
    options.pop("int8_mask", None)
    base = None if case["base_index"] is None else parents.pop(case["base_index"])
    if METHODS[case["method"]].base == "parent":
        parents, base = [base, *parents], None
    masks = [tensor(item) for item in case.get("masks", ())]
    draw = drawn(masks) if masks else None
    return merged(case["method"], parents, base, compat=compat, draw=draw, **options)


@pytest.mark.parametrize("name", sorted(set(CASES) - REFUSED))
def test_mergekit_cases_are_reproduced(name):
    case = CASES[name]
    torch.testing.assert_close(run(case, "mergekit"), tensor(case["output"]), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", sorted(name for name in set(CASES) - REFUSED if not name.startswith(DIFFERENT)))
def test_published_is_the_same_where_the_definitions_agree(name):
    case = CASES[name]
    torch.testing.assert_close(run(case, "published"), tensor(case["output"]), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_merged_is_refused(name):
    with pytest.raises(TransfuseError):
        run(CASES[name], "mergekit")


def stacked(values):
    return [torch.tensor(value, dtype=torch.float32) for value in values]


@pytest.mark.parametrize("share", ["0.2", "0.5"])
def test_ties_as_the_authors_trim(share):
    case = FORMULAS[f"ties_paper_K{share}"]
    found = merged("ties", stacked(case["finetuned"]), torch.tensor(case["base"]), density=float(share))
    torch.testing.assert_close(found, torch.tensor(case["output"]), rtol=1e-5, atol=1e-6)


def test_ties_gives_cancelled_signs_to_the_majority():
    case = FORMULAS["ties_paper_sign_tie"]
    found = merged("ties", stacked(case["tv"]), torch.zeros(6), density=1.0)
    assert found.tolist() == case["output"]
    turned = merged("ties", [-tv for tv in stacked(case["tv"])], torch.zeros(6), density=1.0)
    assert turned.tolist() == [-1.0, -1.0, -0.5, 0.0, -2.0, -3.0]


def test_dare_divides_by_the_density():
    case = FORMULAS["dare_paper_fixed_mask"]
    found = merged(
        "dare_linear", stacked(case["finetuned"]), torch.tensor(case["base"]), density=0.5, weight=[0.6, 0.4],
        draw=drawn(stacked(case["masks"])),
    )  # fmt: skip
    torch.testing.assert_close(found, torch.tensor(case["output"]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["magmax", "iso_c"])
def test_formulas_of_the_papers(name):
    case = FORMULAS[name]
    found = merged(name, stacked(case["finetuned"]), torch.tensor(case["base"]))
    torch.testing.assert_close(found, torch.tensor(case["output"]), rtol=1e-5, atol=2e-6)


def test_fisher_by_hand_and_with_the_norms_of_mergelm():
    case, other = FORMULAS["fisher_diag"], FORMULAS["fisher_diag_normalized"]
    found = merged("fisher", stacked(case["theta"]), statistics=stacked(case["fisher"]), floor=case["floor"])
    torch.testing.assert_close(found, torch.tensor(case["output"]), rtol=1e-5, atol=1e-6)
    weight = [1 / (np.linalg.norm(f) + 1e-6) for f in other["fisher"]]
    found = merged("fisher", stacked(other["theta"]), statistics=stacked(other["fisher"]), weight=weight)
    torch.testing.assert_close(found, torch.tensor(other["output"]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alpha", ["1.0", "0.9", "0.0"])
def test_regmean_solves_the_normal_equations(alpha):
    case = FORMULAS[f"regmean_alpha{alpha}"]
    grams = [x.T @ x / len(x) for x in stacked(case["X"])]
    found = merged("regmean", stacked(case["W"]), statistics=grams, alpha=float(alpha))
    torch.testing.assert_close(found, torch.tensor(case["output"]), rtol=1e-4, atol=1e-5)


def test_regmean_takes_the_mean_where_nobody_saw_an_input():
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    gram = torch.diag(torch.tensor([1.0, 2.0, 0.0]))
    found = merged("regmean", [a, b], statistics=[gram, gram])
    torch.testing.assert_close(found, (a + b) / 2)


def test_tsv_m_against_the_formula_in_numpy():
    rng = np.random.default_rng(3)
    base, a, b = (rng.normal(size=(5, 4)).astype(np.float32) for _ in range(3))
    parts = [np.linalg.svd((x - base).astype(np.float64), full_matrices=False) for x in (a, b)]
    u = np.hstack([p[0][:, :2] for p in parts])
    s = np.hstack([p[1][:2] for p in parts])
    v = np.vstack([p[2][:2] for p in parts])
    pu, _, qu = np.linalg.svd(u, full_matrices=False)
    pv, _, qv = np.linalg.svd(v, full_matrices=False)
    wanted = base + pu @ qu @ np.diag(s) @ pv @ qv
    found = merged("tsv_m", [torch.from_numpy(a), torch.from_numpy(b)], torch.from_numpy(base))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_della_published_divides_by_each_probability():
    base, parent = torch.zeros(1, 3), torch.tensor([[1.0, -3.0, 2.0]])
    keep_all = drawn([torch.ones(1, 3)])
    found = merged("della_linear", [parent], base, density=0.5, epsilon=0.1, draw=keep_all)
    torch.testing.assert_close(found, torch.tensor([[1 / 0.4, -3 / 0.6, 2 / 0.5]]))


def test_slerp_of_zeros_is_linear_as_published():
    found = merged("slerp", [torch.zeros(4), torch.tensor([0.0, 2.0, 0.0, 0.0])], t=0.25)
    assert found.tolist() == [0.0, 0.5, 0.0, 0.0]


BASED = [name for name, facts in METHODS.items() if facts.base == "required"]


@pytest.mark.parametrize("method", BASED)
def test_parents_that_are_the_base_give_the_base(method):
    base = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(merged(method, [base, base], base), base)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_parents_that_are_not_finite_are_refused(method):
    parents = [torch.ones(2, 2), torch.tensor([[1.0, float("nan")], [0.0, 1.0]])]
    if METHODS[method].most == 1:
        parents = parents[1:]
    base = torch.zeros(2, 2) if METHODS[method].base == "required" else None
    with pytest.raises(WeightsError, match="finite"):
        merged(method, parents, base)


@pytest.mark.parametrize("method", ["linear", "nuslerp", "multislerp"])
def test_weights_without_a_sum_are_refused(method):
    with pytest.raises(UsageError, match="sum other than 0"):
        merged(method, [torch.ones(3), torch.eye(3)[0]], weight=[1.0, -1.0])


@pytest.mark.parametrize("method", ["ties", "dare_linear", "dare_ties", "della", "breadcrumbs"])
def test_nothing_kept_is_the_base(method):
    base = torch.randn(4, 3)
    torch.testing.assert_close(merged(method, [base + 1, base - 2], base, density=0.0), base)


def test_unknown_options_and_methods_name_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'density'"):
        merged("ties", [torch.ones(2)], torch.zeros(2), densty=0.1)
    with pytest.raises(UnknownName, match="Did you mean 'dare_ties'"):
        merged("dare-ties", [torch.ones(2)], torch.zeros(2))


@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False), min_size=1, max_size=300),
    st.integers(1, 300),
)
@settings(max_examples=60, deadline=None)
def test_magnitudes_are_those_of_sorting(values, rank):
    rank = min(rank, len(values))
    blocks = torch.tensor(values).split(7)
    assert magnitudes(lambda: blocks, [rank]) == [float(torch.tensor(values).abs().sort().values[rank - 1])]


def test_magnitudes_of_many_blocks():
    x = torch.randn(3 * BLOCK + 11, generator=torch.Generator().manual_seed(0))
    ordered = x.abs().sort().values
    ranks = [1, 500, BLOCK, len(x)]
    assert magnitudes(lambda: x.split(BLOCK), ranks) == [float(ordered[rank - 1]) for rank in ranks]


@pytest.mark.parametrize(
    ("key", "counter", "thirteen", "twenty"),
    [
        (0, 0, (0x9D1C5EC6, 0x8BD50731), (0x6B200159, 0x99BA4EFE)),
        (2**64 - 1, 2**64 - 1, (0xFD36D048, 0x2D17272C), (0x1CB996FC, 0xBB002BE7)),
        (0x0370734413198A2E, 0x85A308D3243F6A88, (0xBA3E4725, 0xF27D669E), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_has_the_known_answers_of_random123(key, counter, thirteen, twenty):
    for rounds, wanted in ((13, thirteen), (20, twenty)):
        found = threefry(key, np.array([counter], dtype=np.uint64), rounds)
        assert tuple(int(word[0]) for word in found) == wanted


def test_masks_do_not_depend_on_where_reading_starts():
    whole = words_of(5, 0, 3 * BLOCK)
    np.testing.assert_array_equal(words_of(5, BLOCK - 3, BLOCK + 9), whole[BLOCK - 3 : 2 * BLOCK + 6])
    mask = drawing(0, "w", 100)(1, torch.tensor(0.3).expand(4 * BLOCK))
    assert abs(float(mask.float().mean()) - 0.3) < 4 * (0.21 / (4 * BLOCK)) ** 0.5
    assert not torch.equal(mask, drawing(0, "v", 100)(1, torch.tensor(0.3).expand(4 * BLOCK)))


@pytest.mark.parametrize("method", ["linear", "ties", "dare_ties", "slerp", "model_stock"])
def test_large_tensors_are_as_small_ones(method):
    generator = torch.Generator().manual_seed(2)
    base, a, b = (torch.randn(2, BLOCK, generator=generator) for _ in range(3))
    based = METHODS[method].base == "required"
    options = {"density": 1.0} if method in ("ties", "dare_ties") else {}
    whole = merged(method, [a, b], base if based else None, **options)
    if method in ("linear", "ties", "dare_ties"):
        rows = [merged(method, [a[i], b[i]], base[i] if based else None, **options) for i in (0, 1)]
        torch.testing.assert_close(whole, torch.stack(rows))
    else:
        assert whole.shape == a.shape and bool(torch.isfinite(whole).all())
