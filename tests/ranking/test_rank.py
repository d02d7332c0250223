"""rank as a user meets it: the right order, words for the gap, every kind of task, what is extracted, bad input."""

import json
import re
from dataclasses import replace
from time import monotonic

import numpy as np
import pytest

import transfuse as tr
from transfuse.core.errors import BudgetError, DataError, SourceError, UnknownName, UsageError
from transfuse.core.runs import Run
from transfuse.ranking.rank import rank
from transfuse.ranking.subsets import taken
from transfuse.reporting.page import render_page
from transfuse.sources.cache import entries

from .conftest import grouped


def names(report):
    return [row["source"] for row in report.rows]


def test_the_source_that_sees_the_classes_is_proven_better(task, good, dim):
    report = rank(task, [dim, good])
    assert names(report) == ["good", "dim"] and report.title == "colours: good is first of 2 sources"
    first, second = report.rows
    assert first["accuracy"]["value"] > 0.9 > 0.6 > second["accuracy"]["value"]
    assert (
        first["accuracy"]["low"] < first["accuracy"]["value"]
        and first["accuracy"]["n"] == 60 == first["neighbours"]["n"]
    )
    assert first["behind_first"] is None and first["mean_rank"] == 1.0
    gap = second["behind_first"]
    assert gap["value"] == pytest.approx(first["accuracy"]["value"] - second["accuracy"]["value"]) and gap["low"] > 0
    sentence = report.summary[1]
    assert sentence.startswith("good is proven better than the second, dim: +") and "n = 60, out of fold" in sentence
    told = float(re.search(r"([\d.]+) standard errors", sentence)[1])
    hits = gap["value"] * 60
    by_hand = gap["value"] / np.sqrt((hits + 1) / 62 * (1 - (hits + 1) / 62) / 60)  # every differing answer is for good
    assert told == pytest.approx(by_hand, rel=0.2)


def test_equal_sources_are_a_tie_in_words(task, good):
    report = rank(task, [good, good, replace(good, name="twin")])
    assert names(report)[:1] == ["good"] and len(set(names(report))) == 3
    assert report.summary[1].startswith("A tie: good is not proven better than the second, good (file:")
    assert "+0.00 points of accuracy, 0.0 standard errors" in report.summary[1]
    assert report.summary[2] == "Nor is good proven better than twin."


def test_a_prior_that_overrules_the_probe_is_said(task, good, dim):
    report = rank(task, [good, dim, replace(dim, name="dim too")], priors={"dim": 3, "dim too": 2, "good": 1})
    assert "prior" in report.columns and {row["source"]: row["prior"] for row in report.rows}["good"] == 1
    assert names(report)[0] == "good" and "and a prior" in report.summary[0]
    assert any("given by the user, known of 3 of the sources" in sentence for sentence in report.summary)


def test_scores_and_costs_stand_beside(task, good, dim):
    rows = {row["source"]: row for row in rank(task, [good, dim]).rows}
    scores = ("logme", "nleep", "h_score", "transrate")
    assert all(rows["good"][name] > rows["dim"][name] for name in scores)
    assert rows["good"]["leep"] < 0 and rows["dim"]["leep"] == "no head"
    parameters = (8 * 48 + 8) + (12 * 32 + 12) + 2 * (12 * 12 + 12)
    assert rows["good"]["parameters"] == parameters and rows["good"]["megabytes"] == round(4 * parameters / 1e6, 2)
    assert 0 < rows["good"]["ms_an_example"] < 1000 and rows["good"]["licence"] == "unknown"


def test_leep_is_that_of_the_whole_network_s_answers(task, good):
    import torch

    from transfuse.ranking.leep import leep
    from transfuse.sources.images.preprocessing import normalise
    from transfuse.sources.opening import open_source
    from transfuse.tasks.images.loading import batch

    opened, train = open_source(good), task.splits["train"]
    with torch.inference_mode():
        x = normalise(batch(train.items, good.preprocessing), good.preprocessing)
        p = opened.source_head(opened.body(x)).softmax(1).numpy()
    assert rank(task, [good]).rows[0]["leep"] == pytest.approx(leep(p, train.targets), rel=0.02)


def test_the_page_and_the_terminal_show_it(task, good, dim, tmp_path):
    report = rank(task, [good, dim], command="transfuse rank colours good dim")
    text = str(report)
    for word in ("proven better", "logme", "h score", "no head", "licence", "parameters", "transfuse rank colours"):
        assert word in text
    page = render_page(report)
    assert all(title in page for title in ("Leaderboard", "Scores", "What each costs")) and "https://" not in page
    saved = json.loads(report.save(tmp_path / "r.json").read_text())
    assert saved["rows"][1]["leep"] == "no head"


@pytest.mark.parametrize(("kind", "metric"), [("multi-label", "average_precision"), ("regression", "rmse")])
def test_labels_and_values_are_ranked(tasks, good, dim, kind, metric):
    report = rank(tasks[kind], [dim, good])
    assert names(report) == ["good", "dim"] and report.columns[1] == metric
    row = report.rows[0]
    assert np.isfinite([row[metric]["value"], row["neighbours"]["value"], row["logme"]]).all()
    assert {row[name] for name in ("leep", "nleep", "h_score", "transrate")} == {
        "no classes" if kind == "regression" else "several labels"
    }
    assert report.rows[1]["behind_first"]["value"] > 0
    assert ("points" in report.summary[1]) == (kind == "multi-label")


def test_it_does_not_depend_on_the_order_of_examples_or_sources(task, good, dim):
    shuffled = replace(task, splits={"train": taken(task.splits["train"], np.random.default_rng(1).permutation(60))})
    one, other = rank(task, [good, dim]), rank(shuffled, [dim, good])
    assert names(one) == names(other)
    for a, b in zip(one.rows, other.rows, strict=True):
        assert a["accuracy"]["value"] == b["accuracy"]["value"] and a["neighbours"]["value"] == b["neighbours"]["value"]
        assert a["logme"] == pytest.approx(b["logme"])


def test_all_sources_are_judged_on_the_same_folds_and_copies_share_one(task, good, source_of):
    from transfuse.ranking.looking import looks
    from transfuse.ranking.subsets import subsets

    train = task.splits["train"]
    doubled = replace(task, splits={"train": taken(train, np.concatenate([np.arange(60), np.arange(60)]))})
    (whole,) = subsets(doubled, [120], seed=0)
    (look,) = looks(good, 1, whole, seed=0, run=Run())
    np.testing.assert_allclose(look.outputs_NC[:60], look.outputs_NC[60:], atol=1e-6)


class TestManySources:
    def test_a_hundred_candidates_cost_little_more_than_ten(self, source_of, task_of, counted, cache):
        task, sources = task_of(count=1600), [source_of(f"s{seed}", seed) for seed in range(25)]
        ten = rank(task, sources[:10], run=counted.run)
        for_ten, counted.pictures = counted.pictures, 0
        assert len(ten.rows) == 10 and for_ten == 10 * 200 + 4 * 1400
        for entry in entries(cache):
            entry.path.unlink()
        hundred = rank(task, sources, depths="many", run=counted.run)
        assert len(hundred.rows) == 100
        assert counted.pictures == 25 * 100 + 16 * 100 + 4 * 1400 < 1.3 * for_ten
        assert "9,700 pictures went through a network, in 3 rounds, instead of 40,000" in hundred.summary[-1]
        assert sum(e.description["shape"][0] for e in entries(cache) if e.description["depth"] == "final") <= 9700

    def test_the_best_source_is_found_among_many_and_nothing_is_extracted_twice(
        self, source_of, task_of, dim, good, counted
    ):
        task = task_of(count=400)
        blind = [replace(dim, name=f"dim{place}", digest=f"dim{place}") for place in range(11)]
        report = rank(task, [*blind, good], run=counted.run)
        assert names(report)[0] == "good" and [row["examples"] for row in report.rows] == [400] * 4 + [100] * 8
        assert counted.pictures == 12 * 100 + 4 * 300
        counted.pictures = 0
        again = rank(task, [*blind, good], run=counted.run)
        assert counted.pictures == 0 and names(again) == names(report)
        tr.features(good, task, "train", run=counted.run)  # the winner's features of the whole split
        assert counted.pictures == 0
        fallen = report.rows[-1]
        assert fallen["behind_first"]["low"] > 0 and fallen["logme"] is None and fallen["parameters"] > 0
        assert "Rounds" in {section.title for section in report.sections}

    def test_depths_of_a_source_share_one_pass(self, task, good, counted):
        report = rank(task, [good], depths="many", run=counted.run)
        assert len(report.rows) == 4 and counted.pictures == 60
        inner = next(row for row in report.rows if row["depth"].startswith("first"))
        assert inner["leep"] == "no head here" and inner["parameters"] == 8 * 48 + 8
        assert report.title.endswith("is first of 4 depths of 1 source")

    def test_what_it_extracts_other_verbs_find_in_the_cache(self, task, good, counted):
        rank(task, [good], run=counted.run)
        counted.pictures = 0
        tr.features(good, task, "train", run=counted.run)
        assert counted.pictures == 0

    def test_examples_bounds_what_each_source_sees(self, task_of, good, dim, counted):
        report = rank(task_of(count=200), [good, dim], examples=50, run=counted.run)
        assert counted.pictures == 100 and report.rows[0]["accuracy"]["n"] == 50


class TestTime:
    def test_the_last_complete_round_decides(self, task_of, dim, good):
        task = task_of(count=400)
        sources = [replace(dim, name=f"dim{place}", digest=f"dim{place}") for place in range(7)]
        ends = {"after": monotonic() + 3600}

        class Late(Run):
            def remaining(self):
                return ends["after"] - monotonic()

        def watch(event):
            if event["stage"] == "ranking" and event["total"] == 4:
                ends["after"] = 0.0

        report = rank(task, [*sources, good], run=Late(watch=watch))
        assert names(report)[0] == "good" and {row["examples"] for row in report.rows} == {100}
        assert any(w.code == "budget" and "round on 400 examples" in w.message for w in report.warnings)
        assert report.rows[0]["logme"] is None

    def test_who_was_judged_in_time_is_ranked(self, task, dim, good):
        ends = {"after": monotonic() + 3600}

        class Late(Run):
            def remaining(self):
                return ends["after"] - monotonic()

        def watch(event):
            if event["stage"] == "ranking" and event["done"] == 1:
                ends["after"] = 0.0

        report = rank(task, [good, dim], run=Late(watch=watch))
        assert names(report) == ["good"] and "did not allow to judge dim" in report.warnings[0].message

    def test_no_time_at_all_is_an_error(self, task, good):
        with pytest.raises(BudgetError, match="Give a longer `budget`"):
            rank(task, [good], run=Run(deadline=monotonic() - 1))


class TestBadInput:
    def test_a_source_without_finite_features_is_left_out_and_named(self, task, good, nan):
        report = rank(task, [nan, good])
        assert names(report) == ["good"]
        (warning,) = [w for w in report.warnings if w.code == "source-left-out"]
        assert nan.reference in warning.message and "60 of 60 pictures have NaN or infinite" in warning.message
        with pytest.raises(SourceError, match="finite features"):
            rank(task, [nan])

    def test_a_source_whose_weights_are_gone_is_left_out(self, task, good, source_of):
        gone = source_of("gone", 9)
        from pathlib import Path

        Path(gone.weights).unlink()
        report = rank(task, [gone, good])
        assert names(report) == ["good"] and any("gone" in w.message for w in report.warnings)

    def test_one_that_cannot_be_downloaded_is_left_out(self, task, good):
        report = rank(task, ["timm:resnet18", good])
        assert names(report) == ["good"] and "'timm:resnet18' was left out" in report.warnings[0].message

    def test_a_dead_source_is_at_chance_and_last(self, task, good, dead):
        report = rank(task, [dead, good])
        assert names(report) == ["good", "dead"]
        row = report.rows[1]
        assert row["accuracy"]["value"] <= 0.4 and row["h_score"] == pytest.approx(0) and np.isfinite(row["nleep"])

    def test_copies_of_one_picture_cannot_be_held_out(self, task, good):
        train = taken(task.splits["train"], np.zeros(10, int))
        same = replace(task, splits={"train": replace(train, targets=np.arange(10) % 3)})
        with pytest.raises(DataError, match="held out"):
            rank(same, [good])
        with pytest.raises(DataError, match="held out"):
            rank(grouped(task, ("one",) * 60), [good])

    def test_groups_are_kept_apart(self, task, good):
        report = rank(grouped(task, tuple(str(row // 6) for row in range(60))), [good])
        assert report.rows[0]["accuracy"]["value"] > 0.9

    def test_a_class_with_one_example_is_said(self, task, good):
        rows = np.flatnonzero(task.splits["train"].targets < 2)
        one = np.flatnonzero(task.splits["train"].targets == 2)[:1]
        rare = replace(task, splits={"train": taken(task.splits["train"], np.concatenate([rows, one]))})
        report = rank(rare, [good])
        assert any("not judged by cross-validation" in w.message for w in report.warnings)
        assert np.isfinite(report.rows[0]["h_score"])

    def test_two_examples_are_ranked_and_one_is_not(self, task, good, dim):
        pair = replace(task, splits={"train": taken(task.splits["train"], np.array([0, 1]))})
        report = rank(pair, [good, dim])
        assert len(report.rows) == 2 and "A tie" in report.summary[1]
        with pytest.raises(DataError, match="at least 2 training examples"):
            rank(replace(task, splits={"train": taken(task.splits["train"], np.array([0]))}), [good])
        with pytest.raises(DataError, match="at least 2 training examples"):
            rank(replace(task, splits={"test": task.splits["train"]}), [good])

    def test_one_class_alone_and_weights_that_are_zero_are_refused(self, task, good):
        train = task.splits["train"]
        with pytest.raises(DataError, match="same target"):
            rank(replace(task, splits={"train": taken(train, np.flatnonzero(train.targets == 1))}), [good])
        with pytest.raises(DataError, match="all be 0"):
            rank(replace(task, splits={"train": replace(train, weights=np.zeros(60, np.float32))}), [good])

    def test_more_features_than_examples_and_constant_ones(self, task, source_of):
        wide = source_of("good", 1)
        few = replace(task, splits={"train": taken(task.splits["train"], np.arange(9))})
        report = rank(few, [wide], depths="several")
        assert all(np.isfinite(row["logme"]) for row in report.rows)

    def test_options_of_another_form(self, task, good):
        for sources in ([], "builtin", good):
            with pytest.raises(UsageError, match="`sources` must be a list"):
                rank(task, sources)
        with pytest.raises(UnknownName, match="'several'"):
            rank(task, [good], depths="severl")
        for examples in (1, 2.5, True, "many"):
            with pytest.raises(UsageError, match="`examples`"):
                rank(task, [good], examples=examples)
        with pytest.raises(UnknownName, match="source with a prior"):
            rank(task, [good], priors={"god": 1.0})


def test_the_verb_is_public():
    assert tr.rank is rank and "rank" in dir(tr)
