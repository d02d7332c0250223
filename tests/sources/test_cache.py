"""The cache: atomic, checksummed, shared, and honest about a full disk."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transfuse.core.errors import StorageError
from transfuse.core.places import cache_folder
from transfuse.sources import cache as store


def plan(folder: Path, name: str = "a", rows: int = 6) -> store.Planned:
    return store.Planned(path=store.path_of(folder, {"name": name}), shape=(rows, 4), description={"source": name})


def fill_with(value: float):
    def fill(arrays):
        for array in arrays:
            array[:] = value
        return {"deviation": 0.25}

    return fill


def test_what_is_written_is_opened_memory_mapped(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    assert store.opened(planned.path) is None
    ((array, said),) = store.written([planned], fill_with(3))
    again = store.opened(planned.path)
    assert again is not None
    assert isinstance(again[0], np.memmap)
    assert not again[0].flags.writeable
    assert np.array_equal(array, np.full((6, 4), 3, np.float32))
    assert (said["source"], said["deviation"], said["shape"]) == ("a", 0.25, [6, 4])


def test_plain_numpy_reads_an_entry(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    store.written([planned], fill_with(2))
    assert np.load(planned.path).sum() == 48


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), change=st.integers(1, 255), cut=st.booleans())
def test_any_changed_or_missing_byte_is_noticed(tmp_path: Path, place: float, change: int, cut: bool) -> None:
    planned = plan(tmp_path)
    store.written([planned], fill_with(3))
    data = bytearray(planned.path.read_bytes())
    index = int(place * (len(data) - 1))
    original = data[index]
    data[index] ^= change
    planned.path.write_bytes(data[:index] if cut else data)
    found = store.opened(planned.path)
    # A changed byte of the description's text is harmless to the numbers; every other one must be found.
    assert found is None or (not cut and np.array_equal(found[0], np.full((6, 4), 3))), (index, original)


def test_entries_size_and_clear(tmp_path: Path) -> None:
    assert (store.entries(tmp_path), store.size(tmp_path), store.clear(tmp_path)) == ([], 0, 0)
    store.written([plan(tmp_path, "small"), plan(tmp_path, "large", 1000)], fill_with(1))
    listed = store.entries(tmp_path)
    assert [entry.description["source"] for entry in listed] == ["large", "small"]
    assert store.size(tmp_path) == sum(entry.path.stat().st_size for entry in listed) > 16000
    listed[0].path.write_bytes(b"broken")
    assert {str(entry.description.get("source")) for entry in store.entries(tmp_path)} == {"small", "None"}
    assert store.clear(tmp_path) > 0
    assert store.entries(tmp_path) == []


def test_a_full_disk_is_a_clear_error_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = plan(tmp_path, "kept")
    store.written([kept], fill_with(1))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match="disk is full"):
        store.written([plan(tmp_path, "new")], fill_with(1))
    assert [path.name for path in (tmp_path / "features").iterdir()] == [kept.path.name]
    assert store.opened(kept.path) is not None


def test_the_folder_comes_from_the_environment(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == cache
    monkeypatch.delenv("TRANSFUSE_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "transfuse"


SLOW_WRITER = """
    import sys, time
    from pathlib import Path
    from transfuse.sources import cache as store
    def fill(arrays):
        arrays[0][:3] = 1
        print("half", flush=True)
        time.sleep(60)
        return {}
    store.written([store.Planned(path=Path(sys.argv[1]), shape=(6, 4), description={})], fill)
"""


def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    command = [sys.executable, "-c", textwrap.dedent(SLOW_WRITER), str(planned.path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path()}
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        writer.send_signal(signal.SIGKILL)
    assert store.opened(planned.path) is None
    assert store.entries(tmp_path) == []
    assert np.array_equal(store.written([planned], fill_with(7))[0][0], np.full((6, 4), 7))


WRITER = """
    import sys
    from pathlib import Path
    from transfuse.sources import cache as store
    def fill(arrays):
        arrays[0][:] = float(sys.argv[2])
        return {}
    for _ in range(30):
        store.written([store.Planned(path=Path(sys.argv[1]), shape=(600, 4), description={})], fill)
"""


def test_two_processes_share_an_entry(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    code = textwrap.dedent(WRITER)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(planned.path), value], env={**os.environ, "PYTHONPATH": path()}
        )
        for value in "12"
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        found = store.opened(planned.path)
        if found is not None:
            values = np.unique(found[0])
            assert len(values) == 1
            seen.add(float(values[0]))
        time.sleep(0.001)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {1.0, 2.0}
    assert seen


def path() -> str:
    return os.pathsep.join(sys.path)
