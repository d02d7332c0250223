"""Where a fusion is written: by one run at a time, and in words when the disk refuses."""

import errno
from pathlib import Path

import pytest
from filelock import FileLock

from transfuse.core.errors import StorageError, UsageError
from transfuse.fusing.placing import alone


def test_a_second_run_waits_for_nothing(tmp_path: Path) -> None:
    with alone(tmp_path / "fused"), pytest.raises(UsageError, match="Another run"), alone(tmp_path / "fused"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_the_lock_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: FileLock, **options: object) -> None:
        raise OSError(errno.EIO, "Input/output error", str(tmp_path / ".fused.fusing.lock"))

    monkeypatch.setattr(FileLock, "acquire", refused)
    with pytest.raises(StorageError, match="the disk reported an error"), alone(tmp_path / "fused"):
        pass
