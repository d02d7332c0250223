import subprocess
from pathlib import Path

import pytest

from transfuse.core import sums
from transfuse.core.errors import ModelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("a", "sub/b c", "with\nline", "back\\slash", "größe"):
        (tmp_path / name).write_text(name)
    (tmp_path / sums.SUMS).write_bytes(sums.of_part(tmp_path))
    return tmp_path


def test_coreutils_read_the_list(folder: Path):
    ended = subprocess.run(
        ["sha256sum", "--check", "--strict", sums.SUMS], cwd=folder, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    (folder / "a").write_text("b")
    assert subprocess.run(["sha256sum", "-c", "--status", sums.SUMS], cwd=folder, check=False).returncode == 1


def test_whole_then_changed_then_missing_then_new(folder: Path):
    assert sums.changes(folder) == []
    (folder / "a").write_text("b")
    (folder / "sub" / "b c").unlink()
    (folder / "c").touch()
    assert sums.changes(folder) == ["sub/b c is missing", "c is new", "a differs"]


def test_every_bit_of_the_list_counts(folder: Path):
    whole = (folder / sums.SUMS).read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        (folder / sums.SUMS).write_bytes(changed)
        assert sums.changes(folder), (place, bytes(changed))


def test_a_file_that_differs_is_refused_by_name_and_without_a_list_nothing_is_known(folder: Path):
    sums.require(folder, ["a"], ModelError)
    (folder / "a").write_text("b")
    with pytest.raises(ModelError, match="a' is not the file that was saved"):
        sums.require(folder, ["a"], ModelError)
    (folder / sums.SUMS).unlink()
    sums.require(folder, ["a"], ModelError)
    assert sums.changes(folder) == []
