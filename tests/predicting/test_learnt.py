"""What a probe was made of lies beside its tensors: whole, checked, and easy to leave out."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from transfuse.core.errors import ModelError
from transfuse.core.nouns import Model
from transfuse.core.sums import SUMS
from transfuse.predicting.folder import DOCUMENT, load, save
from transfuse.predicting.learnt import LEARNT
from transfuse.predicting.predict import probabilities
from transfuse.probing.basis import deviations_D
from transfuse.probing.learnt import Learnt, coded
from transfuse.probing.moments import moments


@pytest.fixture
def probe(model_of) -> Model:
    """A model that says what its head was made of."""
    rng = np.random.default_rng(0)
    x_ND, targets, weights_N = rng.normal(5, 2, (20, 64)), rng.integers(0, 3, 20), rng.uniform(size=20)
    sums = moments(x_ND, coded(targets, "single-label", 3), weights_N, exact=True)
    learnt = Learnt(
        kind="single-label",
        moments=sums,
        scale_D=deviations_D(sums),
        strength=0.1,
        temperature=1 / 3,
        losses={"ridge": 0.5, "logistic": 0.4},
        solver="logistic",
        digests=tuple(f"{row:064x}" for row in range(20)),
        targets=targets,
        weights_N=weights_N.astype(np.float32),
        factors_C=np.array([1.0, 2.0, 0.5]),
        unit=1.25,
        precision="bfloat16",
    )
    return replace(model_of(), learnt=learnt)


def assert_equal(one, other) -> None:
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field.name
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        elif field.name == "moments":
            assert_equal(a, b)
        else:
            assert a == b, field.name


def test_it_comes_back_to_the_bit(probe: Model, tmp_path: Path):
    again = load(save(probe, tmp_path / "model")).learnt
    assert again is not None
    assert_equal(again, probe.learnt)


def test_a_changed_file_is_noticed(probe: Model, tmp_path: Path):
    path = save(probe, tmp_path / "model") / LEARNT
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"{LEARNT}' is not the file that was saved"):
        load(tmp_path / "model")


def test_its_file_may_be_deleted(probe: Model, tmp_path: Path, pictures):
    folder = save(probe, tmp_path / "model")
    (folder / LEARNT).unlink()
    again = load(folder)
    assert again.learnt is None
    np.testing.assert_allclose(probabilities(again, pictures), probabilities(probe, pictures), atol=1e-12)
    assert json.loads((save(again, folder) / DOCUMENT).read_text())["learnt"] is None


def test_broken_facts_are_an_error_in_words(probe: Model, tmp_path: Path):
    path = save(probe, tmp_path / "model") / DOCUMENT
    document = json.loads(path.read_text())
    del document["learnt"]["strength"]
    path.write_text(json.dumps(document))
    path.with_name(SUMS).unlink()
    with pytest.raises(ModelError, match="does not describe a Model"):
        load(tmp_path / "model")


def test_the_card_says_that_it_may_be_personal_data(probe: Model, tmp_path: Path):
    text = (save(probe, tmp_path / "model") / "README.md").read_text()
    assert LEARNT in text and "personal data" in text and "20 learnt examples" in text
    assert LEARNT not in (save(replace(probe, learnt=None), tmp_path / "other") / "README.md").read_text()


def test_a_model_saved_by_an_earlier_version_opens(probe: Model, tmp_path: Path):
    """Its document has no entry for what was learnt."""
    path = save(replace(probe, learnt=None), tmp_path / "model") / DOCUMENT
    document = json.loads(path.read_text())
    del document["learnt"]
    path.write_text(json.dumps(document))
    path.with_name(SUMS).unlink()
    assert load(tmp_path / "model").learnt is None
