"""What is measured on texts alone: counted words, inputs from outside, perplexity."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from tests.conftest import sentences
from tokenizers import Tokenizer

import transfuse as tr
from transfuse.core.errors import SourceError, UsageError
from transfuse.evaluating.language import token_losses
from transfuse.evaluating.out_of_scope import reject_scores
from transfuse.evaluating.text_baseline import against, text_baseline
from transfuse.sources.references import find


def test_counted_words_are_scikit_learns_pipeline() -> None:
    task = tr.task(sentences(20))
    found = text_baseline(task)
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    linear = LogisticRegression(C=found.strength, max_iter=300)
    train, test = task.splits["train"], task.splits["test"]
    pipeline = make_pipeline(make_union(words, characters), linear).fit(train.items, train.targets)
    expected = pipeline.decision_function(test.items)
    np.testing.assert_allclose(found.logits(test.items), expected, atol=1e-3)
    assert found.assess(test).measured("accuracy")["value"] > 0.9


def test_a_class_without_training_examples_is_never_answered() -> None:
    texts, labels = sentences(20)
    task = tr.task((texts, labels))
    few = task.splits["train"]
    keep = np.flatnonzero(few.targets != 1)
    part = type(few)(
        items=[few.items[place] for place in keep],
        targets=few.targets[keep],
        digests=tuple(few.digests[place] for place in keep),
        names=tuple(few.names[place] for place in keep),
    )
    shrunk = type(task)(**{**vars(task), "splits": {**task.splits, "train": part}})
    answers = text_baseline(shrunk).assess(task.splits["test"]).outputs_NC.argmax(1)
    assert set(answers.tolist()) <= {0, 2}


def test_a_source_that_words_beat_is_told(tiny_networks: dict[str, Path]) -> None:
    task = tr.task(sentences(40))
    model = tr.transfer(tiny_networks["llama"], task, method="scratch", steps=1, rate=1e-9)
    assert model.report is not None
    assert model.report.summary[0].startswith("THE SOURCE DOES NOT BEAT COUNTED WORDS. scratch is worse than tf-idf")
    words = text_baseline(task).assess(task.splits["test"])
    assert against("twin", words, words).startswith("THE SOURCE DOES NOT BEAT COUNTED WORDS. No difference")


def test_inputs_from_outside(tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    task = tr.task(sentences(40))
    model = tr.transfer(tiny_networks["bert"], task, method="probe", depths="final")
    outside = ["xyzzy plugh frobnicate qux"] * 10
    scores = reject_scores(model, task.splits["test"], outside, train=task.splits["train"])
    assert list(scores) == ["maximum probability", "energy", "Mahalanobis"]
    assert [(len(a), len(b)) for a, b in scores.values()] == [(24, 10)] * 3
    answers = model.predict(outside[:1])[0]
    assert scores["maximum probability"][1][0] == pytest.approx(1 - answers["confidence"], abs=1e-5)
    path = tmp_path / "outside.txt"
    path.write_text("\n".join(outside))
    report = tr.evaluate(model, task, outside=path)
    assert report.sections[0].title == "Out of scope" and "AUROC" in report.summary[0]
    several = tr.task((sentences(10)[0], [["a", "b"] if place % 3 else ["b"] for place in range(30)]))
    with pytest.raises(UsageError, match="single-label"):
        reject_scores(tr.transfer(tiny_networks["bert"], several, method="probe"), several.splits["test"], outside)


def test_perplexity_is_that_of_transformers_text_by_text(tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    texts, _ = sentences(8)
    folder = tiny_networks["llama"]
    network = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    expected = []
    for text in texts:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.inference_mode():
            expected.append(float(network(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1))
    losses, tokens = token_losses(find(folder), texts)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    path = tmp_path / "titles.txt"
    path.write_text("\n".join(texts))
    row = tr.perplexity(folder, path).rows[0]["value"]
    assert row["value"] == pytest.approx(math.exp(sum(expected) / tokens.sum()), rel=1e-5)
    assert row["low"] < row["value"] < row["high"] and row["n"] == 24


def test_what_is_no_language_model(tiny_networks: dict[str, Path]) -> None:
    with pytest.raises(SourceError, match="language model"):
        tr.perplexity(f"random:hf:{tiny_networks['llama']}", ["rain and sun"])
    with pytest.raises(SourceError, match="takes no texts"):
        tr.perplexity("random:timm:test_resnet", ["rain and sun"])


def test_worst_mistakes_are_shown_as_texts(tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    task = tr.task(sentences(40))
    model = tr.transfer(tiny_networks["bert"], task, method="scratch", steps=1, rate=1e-9)
    assert model.report is not None
    worst = next(section for section in model.report.sections if section.title == "Worst mistakes")
    assert worst.kind == "table" and worst.content["rows"][0]["example"] in task.splits["test"].items
    page = model.report.save(tmp_path / "r.html").read_text()
    assert worst.content["rows"][0]["example"] in page
