import json
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from transfuse.core.atomic import steady, sweep, sweep_all, write_bytes, write_text, writing_file, writing_folder
from transfuse.core.errors import StorageError

UNPRIVILEGED = 65534


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


def in_child(code: str, **options) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    command = [sys.executable, "-c", "from transfuse.core.atomic import *\nfrom pathlib import Path\n" + code]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, **options)


def killed_while_writing(code: str, path: Path) -> None:
    """Start a writer, wait until it says that it is in the middle, and kill it the hard way."""
    head = f"import time\nfrom transfuse.core.atomic import *\nfrom pathlib import Path\npath = Path({str(path)!r})\n"
    with subprocess.Popen([sys.executable, "-c", head + code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "writing\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait(timeout=60) == -signal.SIGKILL


def test_text_and_bytes_are_written_and_replaced(tmp_path):
    path = tmp_path / "new" / "deep" / "a.txt"
    write_text(path, "Größe")
    assert path.read_bytes() == "Größe".encode()
    write_bytes(path, memoryview(b"second"))
    assert path.read_bytes() == b"second"
    assert names(path.parent) == ["a.txt"]


def test_a_file_name_that_is_no_text_is_written_as_json_reads_it(tmp_path):
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    write_text(tmp_path / "a", json.dumps(name, ensure_ascii=False))
    assert json.loads((tmp_path / "a").read_text()) == name


def test_an_error_in_the_block_leaves_the_old_file_and_no_leftover(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(KeyError), writing_file(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert (tmp_path / "a").read_text() == "old"
    assert hidden(tmp_path) == []


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "model"
    for content in (("a", "b"), ("c",)):
        with writing_folder(target) as temporary:
            (temporary / "sub").mkdir()
            for name in content:
                (temporary / "sub" / name).write_text(name)
    assert names(target / "sub") == ["c"]
    assert names(tmp_path) == ["model"]


def test_an_interrupted_folder_leaves_the_old_one(tmp_path):
    with writing_folder(tmp_path / "model") as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), writing_folder(tmp_path / "model") as temporary:
        (temporary / "a").write_text("new")
        raise KeyboardInterrupt
    assert (tmp_path / "model" / "a").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_reader_never_finds_a_folder_missing_or_half(tmp_path):
    target, wrong, ended = tmp_path / "model", [], threading.Event()

    def write(number: int) -> None:
        with writing_folder(target) as temporary:
            (temporary / "a").write_text(f"{number}")

    def read() -> None:
        while not ended.is_set():
            if not target.is_dir():
                wrong.append("missing")

    write(0)
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 40):
        write(number)
    ended.set()
    reader.join()
    assert wrong == []
    assert (target / "a").read_text() == "39"


def test_where_folders_cannot_change_places_the_old_one_steps_aside(tmp_path, monkeypatch):
    monkeypatch.setattr("transfuse.core.atomic._renameat2", lambda: None)
    for number in range(3):
        with writing_folder(tmp_path / "model") as temporary:
            (temporary / f"{number}").touch()
    assert names(tmp_path / "model") == ["2"]
    assert names(tmp_path) == ["model"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    write_text(path, "old")
    code = "with writing_file(path) as part:\n part.write_text('half')\n print('writing', flush=True)\n time.sleep(60)"
    killed_while_writing(code, path)
    assert path.read_text() == "old"
    assert len(hidden(tmp_path)) == 1
    write_text(path, "new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.bin"]


def test_a_killed_writer_leaves_the_old_folder(tmp_path):
    path = tmp_path / "model"
    with writing_folder(path) as temporary:
        (temporary / "a").write_text("old")
    code = "with writing_folder(path) as part:\n (part / 'a').touch()\n print('writing', flush=True)\n time.sleep(60)"
    killed_while_writing(code, path)
    assert (path / "a").read_text() == "old"


@pytest.mark.parametrize("kind", ["writing_file", "writing_folder"])
@pytest.mark.parametrize("name", ["model", "model[1]", "*"])
def test_a_dead_writer_s_stray_goes_at_the_next_write_and_a_living_one_s_stays(tmp_path, name, kind):
    path, other = tmp_path / name, tmp_path / "else"
    code = f"with {kind}(path) as part:\n print('writing', flush=True)\n time.sleep(60)"
    killed_while_writing(code, path)
    killed_while_writing(code, other)
    assert len(hidden(tmp_path)) == 2
    with writing_folder(path) as living:
        (stray,) = set(hidden(tmp_path)) - {living.parent.name}
        assert stray.startswith(".else.")
        with writing_folder(path) as another:
            assert living.is_dir() and another.is_dir()
    assert hidden(tmp_path) == [stray]
    assert sweep_all(tmp_path) == 0
    assert hidden(tmp_path) == []


def test_sweeping_a_folder_of_its_own_says_what_became_free(tmp_path):
    code = "with writing_file(path) as part:\n part.write_text('half')\n print('writing', flush=True)\n time.sleep(60)"
    killed_while_writing(code, tmp_path / "a")
    assert sweep_all(tmp_path) == len("half") and hidden(tmp_path) == []


def test_what_a_library_leaves_beside_the_file_goes_with_it(tmp_path):
    code = """
with writing_file(path) as part:
 (part.parent / 'of a library').touch()
 print('writing', flush=True)
 time.sleep(60)
"""
    killed_while_writing(code, tmp_path / "a")
    sweep(tmp_path / "a")
    assert names(tmp_path) == []


def test_without_locks_strays_go_when_they_are_a_day_old(tmp_path, monkeypatch):
    monkeypatch.setattr("transfuse.core.atomic._locked", lambda handle, *, wait: None)
    old, young, other = (tmp_path / f".{text}.part" for text in ("model.old", "model.young", "else.old"))
    for leftover in (old, young, other):
        leftover.mkdir()
        (leftover / "x").touch()
    for leftover in (old, other):
        os.utime(leftover, (time.time() - 25 * 3600,) * 2)
    with writing_folder(tmp_path / "model"):
        pass
    assert sorted(hidden(tmp_path)) == sorted([young.name, other.name])


def test_a_file_without_a_lock_is_left_alone_until_it_is_a_day_old(tmp_path):
    old, young = tmp_path / ".a.old.part", tmp_path / ".a.young.part"
    for leftover in (old, young):
        leftover.touch()
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    write_text(tmp_path / "a", "x")
    assert hidden(tmp_path) == [young.name]


def test_a_folder_that_stepped_aside_comes_back_when_its_writer_died(tmp_path, monkeypatch):
    monkeypatch.setattr("transfuse.core.atomic._renameat2", lambda: None)
    path = tmp_path / "model"
    with writing_folder(path) as temporary:
        (temporary / "a").write_text("old")
    code = """
import transfuse.core.atomic as a
a._renameat2 = lambda: None
before = Path.rename
def rename(self, target):
 before(self, target)
 if self == path:
  print('writing', flush=True)
  time.sleep(60)
Path.rename = rename
with writing_folder(path) as part:
 pass
"""
    killed_while_writing(code, path)
    assert not path.exists()
    sweep(path)
    assert (path / "a").read_text() == "old" and names(tmp_path) == ["model"]


def test_a_full_disk_is_an_error_that_says_so_and_loses_nothing(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=False, capture_output=True
    )
    if mounted.returncode:
        return limited_size_is_an_error(tmp_path)
    try:
        write_bytes(tmp_path / "a", b"old")
        with pytest.raises(StorageError, match=r"the disk is full.*What was there before is unchanged"):
            write_bytes(tmp_path / "a", bytes(1 << 20))
        assert (tmp_path / "a").read_bytes() == b"old"
        assert hidden(tmp_path) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_file_that_is_too_large_is_an_error(tmp_path):
    limited_size_is_an_error(tmp_path)


def limited_size_is_an_error(folder: Path) -> None:
    """A child that may write 64 kB a file."""
    write_bytes(folder / "a", b"old")

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))

    result = in_child(f"write_bytes(Path({str(folder / 'a')!r}), bytes(1 << 20))", preexec_fn=limit)
    assert "StorageError" in result.stderr and "larger than a file may be" in result.stderr
    assert (folder / "a").read_bytes() == b"old"
    assert hidden(folder) == []


def test_a_folder_without_permission_is_an_error():
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        folder = Path(name)
        folder.chmod(0o555)
        user = f"import os; os.setuid({UNPRIVILEGED})\n" if os.geteuid() == 0 else ""
        result = in_child(f"{user}write_text(Path({str(folder / 'a')!r}), 'x')")
        assert "StorageError" in result.stderr and "no permission" in result.stderr
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("inside", ["a/b", "a/b/c"])
def test_a_file_where_a_folder_must_be_is_an_error(tmp_path, inside):
    (tmp_path / "a").touch()
    with pytest.raises(StorageError, match="a part of that path is a file"):
        write_text(tmp_path / inside, "x")


@pytest.mark.parametrize("inside", ["a", "a/b/c"])
def test_a_folder_that_cannot_be_made_is_an_error(inside):
    with pytest.raises(StorageError, match="that folder cannot be made"):
        write_text(Path("/proc") / inside, "x")


def test_a_missing_file_that_the_writer_reads_is_not_taken_for_it(tmp_path):
    with pytest.raises(FileNotFoundError), writing_file(tmp_path / "out" / "a") as temporary:
        temporary.write_bytes((tmp_path / "missing").read_bytes())


def test_a_folder_where_a_file_must_be_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageError, match="there is a folder of that name"):
        write_text(tmp_path / "a", "x")
    assert hidden(tmp_path) == []


def test_a_name_that_is_too_long_is_an_error(tmp_path):
    with pytest.raises(StorageError, match="the name is too long"):
        write_text(tmp_path / ("x" * 300), "x")


def test_the_mode_is_that_of_an_ordinary_file_and_folder(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
        with writing_folder(tmp_path / "f"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o750


def test_a_link_is_followed(tmp_path):
    (tmp_path / "big disk").mkdir()
    (tmp_path / "model").symlink_to(tmp_path / "big disk" / "model")
    for content in ("1", "2"):
        with writing_folder(tmp_path / "model") as temporary:
            (temporary / "a").write_text(content)
    assert (tmp_path / "model").is_symlink()
    assert (tmp_path / "big disk" / "model" / "a").read_text() == "2"


def test_the_working_folder_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with writing_folder(Path()) as temporary:
        (temporary / "a").write_text("x")
    assert (tmp_path / "here" / "a").read_text() == "x"


def test_two_writers_at_once_leave_one_whole_file(tmp_path):
    path = tmp_path / "a"
    with writing_file(path) as first, writing_file(path) as second:
        first.write_text("1" * 10)
        second.write_text("2" * 10)
    assert path.read_text() == "1" * 10


def test_a_reader_of_several_files_never_mixes_two_states(tmp_path):
    target = tmp_path / "model"

    def write(number: int) -> None:
        with writing_folder(target) as temporary:
            for name in "ab":
                (temporary / name).write_text(f"{number}")

    def read() -> tuple[str, str]:
        first = (target / "a").read_text()
        if first == "0":
            write(1)  # between the reader's first and second file
        return first, (target / "b").read_text()

    write(0)
    assert steady(target, read) == ("1", "1")
    numbers = iter(range(100))
    with pytest.raises(StorageError, match="again and again"):
        steady(target, lambda: write(next(numbers)))
    with pytest.raises(FileNotFoundError):
        steady(tmp_path / "nothing", (tmp_path / "nothing" / "a").read_text)
