"""JSON files: what is wrong with one is said by the error of the room that reads it."""

from pathlib import Path

import pytest

from transfuse.core.documents import json_object
from transfuse.core.errors import SourceError, WeightsError


def test_an_object_is_given(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"name": "ä"}', encoding="utf-8")
    assert json_object(tmp_path / "a.json", SourceError) == {"name": "ä"}


@pytest.mark.parametrize(
    ("text", "words"), [("{", "cannot be read"), ("[1]", "holds list"), ("\xff", "cannot be read"), (None, "No such")]
)
def test_anything_else_is_the_reader_s_error(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "a.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    for error in (SourceError, WeightsError):
        with pytest.raises(error, match=words):
            json_object(path, error)
