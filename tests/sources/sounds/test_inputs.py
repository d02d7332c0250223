"""Sources of pictures that hear: the same network, sounds as pictures, kept with a saved Model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import write_sounds, write_tone

from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import SoundPreprocessing, Source
from transfuse.sources import inputs
from transfuse.sources.fused import fused
from transfuse.sources.opening import open_source, rebuild
from transfuse.sources.references import find
from transfuse.sources.sounds import inputs as sound_inputs
from transfuse.sources.sounds.suiting import hearing, suited
from transfuse.tasks.sounds.opening import open_sounds


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(write_sounds(tmp_path_factory.mktemp("sounds") / "tones", 4).rglob("*.wav"))


@pytest.fixture(scope="module")
def source(paths: list[Path]) -> Source:
    return hearing(find("random:timm:test_resnet", size=32), paths)


def test_a_source_of_pictures_hears(source: Source, paths: list[Path]) -> None:
    plain = find("random:timm:test_resnet", size=32)
    assert (source.modality, source.builder, source.digest) == ("sound", plain.builder, plain.digest)
    preprocessing = source.preprocessing
    assert isinstance(preprocessing, SoundPreprocessing)
    assert (preprocessing.rate, preprocessing.fit, preprocessing.bands) == (8000, "stretch", 32)
    x_Bchw = inputs.tensor_of(paths, preprocessing)
    assert x_Bchw.shape == (12, 3, 32, 32) and torch.isfinite(x_Bchw).all()
    assert inputs.blank(preprocessing, 2).shape == (2, 3, 32, 32)
    torch.testing.assert_close(inputs.tensor_of(paths[3:4], preprocessing)[0], x_Bchw[3])
    with torch.inference_mode():
        assert open_source(source).body(x_Bchw).shape[0] == 12
    assert hearing(source, paths) is source


def test_high_pitches_are_on_top(source: Source, tmp_path: Path) -> None:
    low, high = write_tone(tmp_path / "low.wav", 200), write_tone(tmp_path / "high.wav", 3000)
    assert isinstance(source.preprocessing, SoundPreprocessing)
    rows = [float(sound_inputs.spectrograms([path], source.preprocessing)[0].mean(1).argmax()) for path in (low, high)]
    assert rows[1] < 8 < 20 < rows[0]
    seen = sound_inputs.seen(low, source.preprocessing)
    assert seen.dtype == np.uint8 and seen.shape == (32, 32, 1) and seen.max() > 250


def test_short_sounds_fill_the_picture_or_stand_in_silence(source: Source, tmp_path: Path) -> None:
    assert isinstance(source.preprocessing, SoundPreprocessing)
    path = write_tone(tmp_path / "short.wav", 800, seconds=0.5)
    stretched = sound_inputs.spectrograms([path], source.preprocessing)[0]
    padded = sound_inputs.spectrograms([path], replace(source.preprocessing, fit="pad", seconds=2.0))[0]
    assert stretched[:, :3].max() > 0.1 and not padded[:, :10].any() and not padded[:, -10:].any()
    torch.testing.assert_close(padded[:, 12:20].max(), stretched.max(), atol=0.1, rtol=0)


def test_long_sounds_keep_their_speed(tmp_path: Path) -> None:
    paths = [
        write_tone(tmp_path / f"{n}.wav", 300, seconds=seconds, rate=44100) for n, seconds in enumerate((4, 12, 12))
    ]
    found = sound_inputs.suited(find("random:timm:test_resnet", size=32).preprocessing, paths)  # type: ignore[arg-type]
    assert (found.fit, found.seconds, found.rate, found.bands) == ("pad", 10.0, 32000, 64)
    (note,) = inputs.notes_on(paths, found)
    assert note.code == "sounds-cut" and "66.7%" in note.message


def test_the_preprocessing_is_written_and_read(source: Source, tmp_path: Path) -> None:
    document = inputs.written(source.preprocessing, tmp_path)
    assert inputs.from_plain(document) == source.preprocessing and not list(tmp_path.iterdir())
    assert "8000 Hz" in inputs.described(source.preprocessing)
    with pytest.raises(UsageError, match="picture, rate and seconds"):
        inputs.from_plain({"bands": 3})


def test_what_is_no_sound_is_refused(source: Source, tmp_path: Path, paths: list[Path]) -> None:
    (tmp_path / "a.wav").write_text("no")
    with pytest.raises(DataError, match=r"a\.wav"):
        inputs.decoded(tmp_path / "a.wav", source.preprocessing)
    with pytest.raises(DataError, match="but is float"):
        inputs.decoded(3.5, source.preprocessing)
    assert inputs.expanded(paths[0].parent, source.preprocessing) == sorted(paths[0].parent.glob("*.wav"))
    with pytest.raises(DataError, match="at least one sound"):
        inputs.expanded(tmp_path / "nothing" if (tmp_path / "nothing").mkdir() is None else "", source.preprocessing)


def test_two_sources_hear_side_by_side(source: Source, paths: list[Path]) -> None:
    other = hearing(find("random:timm:test_vit", size=32), paths)
    together = fused([open_source(source), open_source(other)])
    x_Bchw = inputs.tensor_of(paths, together.source.preprocessing)
    again = rebuild(together.source.builder)
    again.load_state_dict(together.body.state_dict())
    with torch.inference_mode():
        found_BD = together.body(x_Bchw)
        torch.testing.assert_close(again(x_Bchw), found_BD)
        alone_BD = open_source(source).body(inputs.tensor_of(paths, source.preprocessing))
    torch.testing.assert_close(found_BD[:, : alone_BD.shape[1]], alone_BD, atol=1e-4, rtol=1e-4)
    assert together.source.modality == "sound"
    with pytest.raises(UsageError, match="one rate, length and number of bands"):
        fused(
            [open_source(source), open_source(replace(other, preprocessing=replace(other.preprocessing, rate=16000)))]
        )


def test_a_task_of_sounds_suits_its_sources(paths: list[Path]) -> None:
    task = open_sounds(paths[0].parent.parent, valid=0.25, test=0.25)
    assert suited(find("random:timm:test_resnet", size=32), task).modality == "sound"
