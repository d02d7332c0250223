"""What the tests of inspections stand on: files from bytes, judged; and a marker that no judgement may make."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from transfuse.weights.scanning.findings import Judgement
from transfuse.weights.scanning.inspecting import judge_file


@pytest.fixture
def judged(tmp_path: Path) -> Callable[[str, bytes], Judgement]:
    """The judgement of a file of a name and bytes."""

    def judge(name: str, data: bytes) -> Judgement:
        path = tmp_path / name
        path.write_bytes(data)
        return judge_file(path)

    return judge


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """What the payload of a hostile file would make."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()
