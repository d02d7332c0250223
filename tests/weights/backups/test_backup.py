"""Backups in a real folder, in fsspec's memory, and at places that fail as real ones do."""

import json
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfuse.core import sums
from transfuse.core.documents import sealed
from transfuse.core.errors import MissingExtra, ModelError, StorageError, TransfuseError, UnsafeFile, UsageError
from transfuse.weights.backups.backup import backup, backups, restore
from transfuse.weights.backups.places import place_of
from transfuse.weights.backups.versions import Copy, Version, require_inside


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder as a saved Model's is: some files, two of them alike, and the list of digests."""
    folder = tmp_path / "here" / "birds"
    (folder / "sub").mkdir(parents=True)
    contents = {"model.safetensors": b"w" * 5000, "model.json": b"{}", "sub/größe.txt": b"same", "twice": b"same"}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    (folder / sums.SUMS).write_bytes(sums.of_part(folder))
    return folder


@pytest.fixture(params=["disk", "memory"])
def url(request, tmp_path: Path) -> str:
    """A place of its own."""
    return f"{tmp_path}/there" if request.param == "disk" else f"memory://{tmp_path.name}/there"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stored(url: str, kind: str) -> list[str]:
    place = place_of(url)
    return sorted(place.names(kind))


def change(model: Path, text: str) -> None:
    (model / "model.json").write_text(text)
    (model / sums.SUMS).write_bytes(sums.of_part(model))


def test_what_is_backed_up_comes_back(model, url, tmp_path):
    report = backup(model, url)
    assert "Every byte was read back" in report.summary[1] and report.rows[0]["whole"] == "yes"
    assert len(stored(url, "files")) == 4  # of five files two are alike
    restore(url, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(model)
    assert sums.changes(tmp_path / "back") == []


def test_the_default_name_is_the_old_one_and_a_folder_is_not_replaced_unasked(model, url, tmp_path, monkeypatch):
    backup(model, url)
    monkeypatch.chdir(tmp_path)
    restore(url)
    assert contents(tmp_path / "birds") == contents(model)
    (tmp_path / "birds" / "mine").touch()
    with pytest.raises(UsageError, match="must be new, but exists"):
        restore(url)
    restore(url, replace=True)
    assert contents(tmp_path / "birds") == contents(model)
    monkeypatch.chdir(tmp_path / "birds")
    with pytest.raises(UsageError, match="must not be the folder you are in"):
        restore(url, ".", replace=True)


def test_a_single_checkpoint_can_be_backed_up(tmp_path, url):
    (tmp_path / "training.safetensors").write_bytes(b"state")
    backup(tmp_path / "training.safetensors", url)
    restore(url, tmp_path / "back")
    assert contents(tmp_path / "back") == {"training.safetensors": b"state"}


def test_what_did_not_change_makes_no_new_version_and_is_not_sent_again(model, url):
    first = backup(model, url)
    again = backup(model, url)
    assert again.rows == first.rows and "0 of them sent" in again.summary[0]
    change(model, "{1}")
    assert "2 of them sent" in backup(model, url).summary[0]  # the document and the list
    assert len(stored(url, "versions")) == 2


def test_the_newest_or_a_named_version_comes_back(model, url, tmp_path):
    old = backup(model, url).rows[0]["version"]
    before = contents(model)
    change(model, "{2}")
    backup(model, url)
    restore(url, tmp_path / "new")
    restore(url, tmp_path / "old", version=old)
    assert contents(tmp_path / "new") == contents(model) and contents(tmp_path / "old") == before
    with pytest.raises(UsageError, match=r"must name one version.*Known: \d"):
        restore(url, tmp_path / "x", version="nonsense")
    assert [row["whole"] for row in backups(url).rows] == ["yes", "yes"]


def test_retention_keeps_the_newest_and_what_they_share(model, url, tmp_path):
    for number in range(4):
        change(model, f"{{{number}}}")
        report = backup(model, url, keep=2)
    assert len(stored(url, "versions")) == 2 and "Removed" in report.summary[2]
    assert len(stored(url, "files")) == 6  # two shared, and two of each version
    for version in [row["version"] for row in report.rows]:
        restore(url, tmp_path / version, version=version)
    with pytest.raises(UsageError, match="at least 1"):
        backup(model, url, keep=0)


def test_a_failed_backup_removes_nothing(model, url, monkeypatch):
    backup(model, url)
    change(model, "{5}")
    monkeypatch.setattr("transfuse.weights.backups.places.Place.digest", lambda self, *parts: "0" * 64)
    with pytest.raises(StorageError, match=r"came back .* with other bytes"):
        backup(model, url, keep=1)
    monkeypatch.undo()
    assert len(stored(url, "versions")) == 1 and backups(url).rows[0]["whole"] == "yes"


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "lose"])
def test_a_changed_copy_is_refused_by_name_and_mended_by_the_next_backup(model, url, tmp_path, damage):
    backup(model, url)
    place, name = place_of(url), sums.listed(model)["model.safetensors"]
    data = bytearray(place.read("files", name, limit=1 << 20))
    data[7] ^= 16
    other = {"flip": bytes(data), "cut": bytes(data[:-1]), "grow": bytes(data) + b"x"}
    place.remove("files", name)
    if damage != "lose":
        place.write(other[damage], "files", name)
    with pytest.raises(StorageError, match=r"model\.safetensors"):
        restore(url, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert "1 of them sent" in backup(model, url).summary[0]
    restore(url, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(model)


def test_a_version_that_is_not_whole_is_passed_over(model, url, tmp_path):
    before = contents(model)
    backup(model, url)
    change(model, "{7}")
    backup(model, url)
    place = place_of(url)
    newest = stored(url, "versions")[-1]
    place.write(place.read("versions", newest, limit=1 << 20)[:-40], "versions", newest)
    assert [row["whole"][:2] for row in backups(url).rows] == ["ye", "no"]
    assert "passed over" in restore(url, tmp_path / "back").summary[1]
    assert contents(tmp_path / "back") == before


def test_every_bit_of_a_list_counts(model, url):
    backup(model, url)
    place, (name,) = place_of(url), stored(url, "versions")
    whole = place.read("versions", name, limit=1 << 20)
    for at in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        place.write(bytes(changed), "versions", name)
        row = backups(url).rows[0]
        assert row["whole"] != "yes" or whole.translate(None, b" \n") == changed.translate(None, b" \n\t\r"), at


def test_a_folder_that_is_not_what_was_saved_is_not_backed_up(model, url):
    (model / "model.json").write_text("{9}")
    with pytest.raises(ModelError, match=r"model\.json differs"):
        backup(model, url)
    assert backups(url).summary == ("There are none.",)


def test_one_place_is_for_one_folder_outside_of_it(model, url, tmp_path):
    backup(model, url)
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a").touch()
    with pytest.raises(UsageError, match="holds backups of 'birds'"):
        backup(tmp_path / "cats", url)
    with pytest.raises(UsageError, match="must lie outside"):
        backup(model, model / "backup")
    with pytest.raises(UsageError, match="does not exist"):
        backup(tmp_path / "nothing", url)


def test_links_and_strays_are_not_copied(model, url, tmp_path):
    (model / ".model.json.x.part").mkdir()
    (model / ".model.json.x.part" / "model.json").touch()
    backup(model, url)
    restore(url, tmp_path / "back")
    assert not list((tmp_path / "back").glob(".*"))
    (model / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(StorageError, match="must be a plain file"):
        backup(model, url)


def test_what_changes_meanwhile_is_copied_again_or_refused(model, url, tmp_path):
    changes = iter(range(2))

    def once(event):
        for number in changes:
            change(model, f"{{{number}}}")
            return

    from transfuse.core.runs import Run

    backup(model, url, run=Run(watch=once))
    restore(url, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(model)
    numbers = iter(range(100, 1000))
    with pytest.raises(StorageError, match="changed 3 times"):
        backup(model, url, run=Run(watch=lambda event: change(model, f"{{{next(numbers)}}}")))
    assert len(stored(url, "versions")) == 1


HOSTILE = ["../x", "/etc/x", "a/../../x", "a//b", "./a", "a\\b", "C:x", "a\x00b", "", ".", "a/", "x\ny"]


@pytest.mark.parametrize("path", HOSTILE)
def test_a_hostile_list_is_refused(model, url, tmp_path, path):
    backup(model, url)
    place, (name,) = place_of(url), stored(url, "versions")
    document = json.loads(place.read("versions", name, limit=1 << 20))
    document.pop("seal")
    document["files"][path] = document["files"].pop("twice")
    place.write(json.dumps(sealed(document)).encode(), "versions", name)
    with pytest.raises(StorageError, match="outside its folder"):
        restore(url, tmp_path / "a" / "b" / "back")
    assert not (tmp_path / "a").exists() or not list((tmp_path / "a").rglob("*x*"))


@pytest.mark.parametrize("name", ["..", "a/b", "/a", ".hidden", ""])
def test_a_hostile_name_is_refused(name):
    with pytest.raises(UnsafeFile):
        require_inside(version_of({"a": 1}, name))


@pytest.mark.parametrize("paths", [("a", "a/b"), ("A", "a")])
def test_two_files_of_one_path_are_refused(paths):
    with pytest.raises(UnsafeFile, match="two files of one path"):
        require_inside(version_of(dict.fromkeys(paths, 1)))


def version_of(paths: dict[str, int], name: str = "birds") -> Version:
    files = {path: Copy(sha256="0" * 64, bytes=size) for path, size in paths.items()}
    return Version(id="20260101T000000000000Z-" + "0" * 12, name=name, files=files, digest="0" * 64)


@given(st.text(max_size=30))
def test_a_path_that_is_allowed_stays_inside(path):
    try:
        require_inside(version_of({path: 1}))
    except UnsafeFile:
        return
    root = Path("/root/of/it")
    assert root in Path(f"{root}/{path}").resolve().parents


def test_a_killed_backup_is_none_and_goes_on(model, tmp_path):
    (model / "large").write_bytes(bytes(60 << 20))
    (model / sums.SUMS).unlink()
    url = tmp_path / "there"
    code = f"from transfuse.weights.backups.backup import backup; backup({str(model)!r}, {str(url)!r})"
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        while not list(url.glob("files/.*.part")):
            assert child.poll() is None
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
    assert backups(url).summary == ("There are none.",)
    with pytest.raises(StorageError, match="must hold a whole backup, but has none"):
        restore(url, tmp_path / "back")
    backup(model, url)
    assert not list(url.rglob(".*.part"))
    restore(url, tmp_path / "back")
    assert contents(tmp_path / "back") == contents(model)


class Refusing(fsspec.AbstractFileSystem):
    """A place that knows nobody."""

    protocol = "refusing"

    def ls(self, path, detail=True, **options):
        raise PermissionError("the secret is hunter2")


def test_refused_access_says_what_to_do_and_tells_no_secret(model):
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    with pytest.raises(StorageError, match="refused access") as caught:
        backup(model, "refusing://me:hunter2@host/place?signature=hunter2")
    text = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in str(caught.value) and "the secret is" not in text


def test_a_missing_driver_is_named(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingExtra, match="pip install s3fs"):
        backup(model, "s3://bucket/birds")


def test_an_unknown_place_is_an_error_in_words(model):
    with pytest.raises(UsageError, match="must be a path or a URL"):
        backup(model, "nonsense://x")
    with pytest.raises(TransfuseError):
        backups("/proc/nowhere/there") if backups("/proc/nowhere/there").rows else backup(model, "/proc/nowhere/there")
