"""Precision `fast` on texts: with OpenVINO close to float32, whatever is padded; without it, the extra is named."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import sentences

import transfuse as tr
from transfuse.core.errors import MissingExtra, UsageError
from transfuse.core.nouns import Source
from transfuse.sources.extraction import features
from transfuse.sources.suiting import suited

TASK = tr.task(sentences(20))


def seen(source: Source, precision: str) -> np.ndarray:
    return features(source, TASK, precision=precision, cache=False).x_ND


def test_an_encoder(tiny_networks: dict[str, Path]) -> None:
    source = tr.source(tiny_networks["bert"])
    if find_spec("openvino") is None:
        with pytest.raises(MissingExtra, match=r"transfuse\[fast\]"):
            seen(source, "fast")
    else:
        exact = seen(source, "float32")
        assert np.linalg.norm(seen(source, "fast") - exact) < 0.02 * np.linalg.norm(exact)


def test_networks_that_openvino_cannot_run(tiny_networks: dict[str, Path]) -> None:
    error, words = (MissingExtra, "OpenVINO") if find_spec("openvino") is None else (UsageError, "another precision")
    for reference in ("builtin:words", str(tiny_networks["llama"])):
        with pytest.raises(error, match=words):
            seen(suited(tr.source(reference), TASK), "fast")
