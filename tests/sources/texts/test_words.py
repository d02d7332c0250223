"""The built-in source of texts: counted words in directions of the task's own texts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from tests.conftest import sentences

import transfuse as tr
from transfuse.core.errors import DataError, SourceError, UsageError
from transfuse.core.nouns import Task
from transfuse.sources.extraction import features
from transfuse.sources.inputs import tensor_of
from transfuse.sources.opening import open_source
from transfuse.sources.references import find
from transfuse.sources.suiting import suited
from transfuse.sources.texts.words import counts_words, learnt


@pytest.fixture(scope="module")
def task() -> Task:
    """Sentences about three topics."""
    return tr.task(sentences(40))


def test_directions_keep_what_tfidf_says() -> None:
    texts = ["warm rain today", "cold rain and wind", "a loud guitar song song song", "guitar and drums", "x rain"]
    terms = [
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\w+").fit_transform(texts),
        TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 5)).fit_transform(texts),
    ]
    task = tr.task((texts, ["a", "a", "b", "b", "a"]), modality="text", valid=0.2, test=0.0)
    whole = replace(task, splits={"train": replace(task.splits["train"], items=texts, digests=tuple(texts))})
    opened = open_source(suited(find("builtin:words"), whole))
    with torch.inference_mode():
        x_ND = opened.body(tensor_of(texts, opened.source.preprocessing)).double()
    gram_NN = sum((part @ part.T).toarray() for part in terms)
    np.testing.assert_allclose((x_ND @ x_ND.T).numpy(), gram_NN, atol=1e-5)


def test_no_direction_is_spread_much_more_than_others(task: Task) -> None:
    x_ND = features(suited(find("builtin:words"), task), task).x_ND
    spread_D = np.asarray(x_ND).std(0)
    assert spread_D.max() < 4 * spread_D.min()


def test_a_saved_model_answers_as_before_without_a_file_of_the_tokenizer(task: Task, tmp_path: Path) -> None:
    model = tr.transfer("builtin:words", task, method="probe")
    assert model.metrics["test"]["accuracy"]["value"] > 0.9
    model.save(tmp_path / "m")
    assert not list(tmp_path.glob("m/tokenizer*")) and not list(tmp_path.glob("m/*.p*"))
    again = tr.load(tmp_path / "m")
    texts = [*task.splits["test"].items, "unknown xyzzy", "!?", "warm " * 20_000]
    for a, b in zip(model.predict(texts), again.predict(texts), strict=True):
        assert a["class"] == b["class"] and abs(a["confidence"] - b["confidence"]) < 1e-6
    source = tr.source(tmp_path / "m")  # a Model knows more than the next task's own words
    assert source.modality == "text" and not counts_words(source)
    assert tr.transfer(source, task, method="probe").metrics["test"]["accuracy"]["value"] > 0.9


def test_words_are_learnt_once_for_a_task_and_depend_on_it(task: Task) -> None:
    first, other = suited(find("builtin:words"), task), suited(find("builtin:words"), tr.task(sentences(20)))
    assert first == suited(find("builtin:words"), task) and first.digest != other.digest
    a, b = (learnt(task.splits["train"].items, first.preprocessing, seed) for seed in (0, 0))
    assert torch.equal(a["directions_VD"], b["directions_VD"])


def test_a_text_alone_or_beside_others_has_the_same_features(task: Task) -> None:
    opened = open_source(suited(find("builtin:words"), task))
    texts = ["warm rain", "!", "a loud guitar song and a very long sentence about rain", "song"]
    with torch.inference_mode():
        together = opened.body(tensor_of(texts, opened.source.preprocessing))
        alone = [opened.body(tensor_of([text], opened.source.preprocessing)) for text in texts]
    torch.testing.assert_close(together, torch.cat(alone))
    assert not together[1].any()


def test_what_cannot_be_is_said(task: Task) -> None:
    with pytest.raises(SourceError, match="learns its words from a task"):
        open_source(find("builtin:words"))
    with pytest.raises(SourceError, match="no weights to leave out"):
        tr.transfer("builtin:words", task, method="scratch")
    with pytest.raises(UsageError, match="`pooling` is for"):
        find("builtin:words", pooling="cls")
    with pytest.raises(DataError, match="must hold words"):
        learnt(["!?", "..."], find("builtin:words").preprocessing, 0)


def test_ranking_takes_words_too(task: Task, tiny_networks: dict[str, Path]) -> None:
    report = tr.rank(task, ["builtin:words", str(tiny_networks["bert"])])
    assert {row["source"] for row in report.rows} == {"words", "bert"}
