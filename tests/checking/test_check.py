import csv

import numpy as np
import pytest

import transfuse as tr
from transfuse.checking.check import PAGE, TABLE, check
from transfuse.checking.examining import examined
from transfuse.core.nouns import Examples, Task
from transfuse.tasks.splitting import joined


@pytest.fixture(scope="module")
def checked(task, source):
    return examined(task, source)


def named(checked, problem):
    return {checked.every.examples.names[f.place].rsplit("/")[-1] for f in checked.found if f.problem == problem}


def test_planted_errors_are_found(checked, planted):
    wrong = named(checked, "wrong-label")
    assert set(planted.wrong) <= wrong
    suggested = {checked.every.examples.names[f.place].rsplit("/")[-1]: f.suggested for f in checked.found}
    assert {name: suggested[name] for name in planted.wrong} == dict(planted.wrong)
    assert checked.wrong.share["low"] <= 4 / 80 <= checked.wrong.share["high"]


def test_copies_and_contradictions_are_found(checked):
    assert named(checked, "copy-across-splits") == {"cat0.png"}  # the one that is learnt from, not the tested one
    assert named(checked, "contradiction") == {"dog1.png", "doubted.png"}
    proposed = {f.problem: f.keep for f in checked.found}
    assert proposed == {"copy-across-splits": "no", "contradiction": "yes", "wrong-label": "yes"}
    about = next(f.about for f in checked.found if f.problem == "copy-across-splits")
    assert about.endswith("copied.png (test, cat)")


def test_every_example_is_judged_by_a_head_that_saw_no_copy_of_it(checked):
    """A copy with the wrong label would vouch for it."""
    doubted = next(p for p, name in enumerate(checked.every.examples.names) if name.endswith("doubted.png"))
    classes = checked.task.classes
    assert classes[checked.answers.outputs_NC[doubted].argmax()] == "dog"


def test_the_report_says_it_all_and_the_page_shows_the_pictures(task, source, tmp_path):
    report = check(task, source=source, out=tmp_path / "found", command="transfuse check animals")
    rows = {row["problem"]: row for row in report.rows}
    assert list(rows) == ["contradiction", "copy-across-splits", "wrong-label"]
    assert rows["wrong-label"]["estimated share"]["n"] == 80
    assert report.warnings == task.warnings
    page = (tmp_path / "found" / PAGE).read_text()
    assert page.count("data:image/jpeg;base64") == rows["wrong-label"]["found"]
    assert "perhaps dog" in page and "given <b" in page
    with (tmp_path / "found" / TABLE).open() as stream:
        table = list(csv.DictReader(stream))
    assert list(table[0])[:6] == ["path", "problem", "given", "suggested", "score", "keep"]
    assert len(table) == sum(row["found"] for row in report.rows)


def test_without_a_source_pictures_are_judged_by_the_network_inside_the_package(task, planted):
    report = tr.check(task)
    assert "wrong" in report.summary[0] and "probe on regnetx" in report.summary[0]


def test_texts_need_no_network(texts):
    checked = examined(texts)
    assert named(checked, "wrong-label") == {"row 4"}
    assert named(checked, "damaged-text") == {"row 7"}
    assert checked.answers.by == "linear probe on tf-idf of its words"


def test_a_seed_repeats_and_nothing_depends_on_the_order_of_examples(task, source, checked):
    again = examined(task, source)
    assert again.found == checked.found and again.wrong.share == checked.wrong.share


def test_where_nothing_can_be_held_out_labels_are_not_judged_and_that_is_said(task, source):
    groups = {name: ("one",) * len(examples) for name, examples in task.splits.items()}
    splits = {name: with_groups(examples, groups[name]) for name, examples in task.splits.items()}
    checked = examined(Task(**{**fields(task), "splits": splits}), source)
    assert checked.wrong is None
    assert "labels-not-checked" in {warning.code for warning in checked.warnings}
    assert named(checked, "contradiction")  # the rest is looked at


def test_numbers_that_stand_for_missing_ones_are_named(source):
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 255, (16, 16, 3)).astype(np.uint8) for _ in range(80)]
    values = np.round(generator.normal(50, 10, 80), 3)
    values[:12] = -999.0
    checked = examined(tr.task((pictures, values), kind="regression"), source)
    assert named(checked, "repeated-number") == {f"row {row}" for row in range(12)}


def test_one_coloured_pictures_are_named(source):
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 255, (40, 40, 3)).astype(np.uint8) for _ in range(30)]
    pictures[11] = np.full((40, 40, 3), 128, np.uint8)
    checked = examined(tr.task((pictures, ["a", "b"] * 15)), source)
    assert named(checked, "one-colour") == {"row 11"}


def test_rows_of_a_table_are_judged_by_trees_on_their_cells():
    generator = np.random.default_rng(0)
    size, colour = generator.normal(size=400), generator.choice(["red", "blue"], 400)
    labels = np.where((size > 0) == (colour == "red"), "yes", "no")  # no linear judge could tell
    wrong = [5, 77, 210]
    labels[wrong] = np.where(labels[wrong] == "yes", "no", "yes")
    rows = [
        {"size": None if n % 50 == 49 else float(a), "colour": b}
        for n, (a, b) in enumerate(zip(size, colour, strict=True))
    ]
    checked = examined(tr.task((rows, labels.tolist())))
    assert checked.answers.by == "boosted trees on the cells of the rows"
    first = [finding.place for finding in checked.found if finding.problem == "wrong-label"][:6]
    assert {f"row {row + 1}" for row in wrong} <= {checked.every.examples.names[place] for place in first}


def fields(task: Task) -> dict:
    return {name: getattr(task, name) for name in task.__dataclass_fields__}


def with_groups(examples: Examples, groups: tuple[str, ...]) -> Examples:
    assert joined(len(groups), np.empty((0, 2)), groups).max() == 0
    return Examples(**{**{n: getattr(examples, n) for n in examples.__dataclass_fields__}, "groups": groups})
