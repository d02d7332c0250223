"""Libraries that are too old for files from outside are named."""

import importlib.metadata

import pytest

from transfuse.core.errors import UnsafeLibrary
from transfuse.weights import libraries


@pytest.fixture(autouse=True)
def fresh() -> None:
    libraries._complaint.cache_clear()


def installed(monkeypatch: pytest.MonkeyPatch, **found: str) -> None:
    def version(name: str) -> str:
        if name in found:
            return found[name]
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(libraries.importlib.metadata, "version", version)


@pytest.mark.parametrize(("found", "safe"), [
    ("2.9.1", False), ("2.10.0", True), ("2.10", True), ("2.15.0+cpu", True), ("3.0.0.dev2026", True),
    ("1.13.1", False),
])  # fmt: skip
def test_the_first_safe_version_and_later_ones_pass(monkeypatch: pytest.MonkeyPatch, found: str, safe: bool) -> None:
    installed(monkeypatch, torch=found)
    if safe:
        libraries.require_safe("torch")
    else:
        with pytest.raises(UnsafeLibrary, match=rf"at least 2\.10 .* but is {found}.*pip install 'torch>=2\.10'"):
            libraries.require_safe("torch")


def test_what_is_not_installed_is_no_danger(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, keras="3.12.0", onnx="1.21.0")
    libraries.require_safe("transformers")
    assert list(libraries.outdated()) == ["keras"]
    assert "3.13.1" in libraries.outdated()["keras"]


def test_what_is_installed_here_is_safe() -> None:
    assert libraries.outdated() == {}
