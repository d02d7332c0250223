"""evaluate --robust and transfer --method adversarial, as a user types them."""

import json


def test_evaluate_attacks_and_says_so(transfuse, here, photos, model):
    ended = transfuse("evaluate", model, photos, "--robust", "--robust-examples", 12, "--report", "r.html")
    assert ended.code == 0, ended.err
    for words in ("Under PGD-20 (L-infinity, eps 8/255)", "Accuracy under attack", "Noise and damage", "n=12"):
        assert words in ended.out
    page = (here / "r.html").read_text()
    assert "<svg" in page and "Accuracy by eps" in page


def test_eps_and_norm_are_taken_and_mean_robust(transfuse, here, photos, model):
    ended = transfuse(
        "evaluate", model, photos, "--eps", 0.25, "--norm", "l2", "--robust-examples", 6, "--format", "json"
    )
    metrics = [row["metric"] for row in json.loads(ended.out)["rows"]]
    assert "PGD-20 (L2, eps 0.25)" in metrics and "accuracy under 11 perturbations" in metrics


def test_a_wrong_eps_is_told_before_any_work(transfuse, here, photos, model):
    ended = transfuse("evaluate", model, photos, "--eps", -1)
    assert ended.code != 0 and "`eps` must be at least 0" in ended.err and "Traceback" not in ended.err


def test_transfer_says_what_robustness_costs(transfuse, here, photos, source, trained):
    ended = transfuse("transfer", source, photos, "--method", "adversarial", "--steps", 4, *trained,
                      *("--set", "eps=0.02", "--set", "attack=pgd", "--out", "m"))  # fmt: skip
    assert ended.code == 0, ended.err
    text = " ".join(ended.out.split())
    assert "Trained on attacked pictures (pgd)" in text and "Robustness costs" in text and "eps 0.02 (linf)" in text
