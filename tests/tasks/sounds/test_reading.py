"""Sounds of every encoding are the same samples; what is broken is named with its path."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import write_tone

from transfuse.core.errors import DataError
from transfuse.tasks.listing import Listing
from transfuse.tasks.sounds.reading import Heard, digests_of, header, looked, read_sounds, resampled, samples


def listing(*paths: Path) -> Listing:
    return Listing(layout="test", items=paths, names=[str(path) for path in paths], labels=[0] * len(paths))


@pytest.mark.parametrize(
    ("ending", "subtype", "tolerance"),
    [
        ("wav", "PCM_U8", 1 / 100),
        ("wav", "PCM_16", 1 / 30_000),
        ("wav", "PCM_24", 1e-6),
        ("wav", "PCM_32", 1e-7),
        ("wav", "FLOAT", 1e-7),
        ("wav", "DOUBLE", 1e-7),
        ("wav", "ULAW", 0.02),
        ("flac", "PCM_16", 1 / 30_000),
        ("ogg", "VORBIS", 0.1),
        ("aiff", "PCM_16", 1 / 30_000),
    ],
)
def test_every_encoding_holds_the_same_sound(tmp_path: Path, ending: str, subtype: str, tolerance: float) -> None:
    wave_S = 0.5 * np.sin(2 * np.pi * 440 * np.arange(4000) / 8000)
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, wave_S, 8000, subtype=subtype)
    found_S = samples(path, 8000, 10.0)
    assert found_S.dtype == np.float32 and np.abs(found_S - wave_S).max() <= tolerance
    np.testing.assert_array_equal(samples(path.read_bytes(), 8000, 10.0), found_S)
    assert header(path).rate == 8000 and header(path).seconds == 0.5


def test_channels_become_their_mean_and_are_said(tmp_path: Path) -> None:
    both_Sc = np.stack([np.full(100, 0.5), np.full(100, -0.25)], 1)
    soundfile.write(tmp_path / "s.wav", both_Sc, 8000, subtype="FLOAT")
    np.testing.assert_allclose(samples(tmp_path / "s.wav", 8000, 1.0), 0.125)
    assert looked(tmp_path / "s.wav")[1] == ("several-channels",)
    np.testing.assert_allclose(samples((both_Sc, 8000), 8000, 1.0), 0.125)


@settings(deadline=None, max_examples=18)
@given(st.sampled_from([8000, 11025, 16000, 22050, 44099, 48000]), st.sampled_from([8000, 16000, 32000]))
def test_a_tone_keeps_its_pitch_at_any_rate(given: int, wanted: int) -> None:
    wave_S = np.sin(2 * np.pi * 1000 * np.arange(given // 2) / given).astype(np.float32)
    found_S = resampled(wave_S, given, wanted)
    assert abs(len(found_S) - wanted // 2) <= 2
    peak = np.fft.rfftfreq(len(found_S), 1 / wanted)[np.abs(np.fft.rfft(found_S)).argmax()]
    assert abs(peak - 1000) <= 4


def test_of_long_sounds_the_middle_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "l.wav", np.arange(1000) / 1000, 100, subtype="FLOAT")
    np.testing.assert_allclose(samples(tmp_path / "l.wav", 100, 1.0), np.arange(450, 550) / 1000, atol=1e-6)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    good = write_tone(tmp_path / "good.wav", 440)
    text, nothing, cut, none, nan = (tmp_path / f"{name}.wav" for name in ("text", "nothing", "cut", "none", "nan"))
    text.write_text("not a sound")
    nothing.write_bytes(b"")
    cut.write_bytes(good.read_bytes()[:20])
    soundfile.write(none, np.zeros(0), 8000)
    soundfile.write(nan, np.array([0.1, np.nan, np.inf]), 8000, subtype="FLOAT")
    bad = [text, nothing, cut, none, nan, tmp_path / "gone.wav"]
    kept, heard = read_sounds(listing(good, *bad))
    (warning,) = kept.warnings
    assert kept.items == [good] and len(heard.digests) == 1 and warning.code == "unreadable"
    assert [place.partition(" ")[0].rstrip(":") for place in warning.places] == [str(path) for path in bad]
    for part, place in zip(
        ("Format not recognised", "file is empty", "", "is empty", "NaN or infinite", "no such file"),
        warning.places,
        strict=True,
    ):
        assert part in place
    for path in bad:
        with pytest.raises(DataError, match=path.name):
            samples(path, 8000, 1.0)
    with pytest.raises(DataError, match=r"None of the 6 sounds can be read. The first: .*text.wav"):
        read_sounds(listing(*bad))


def test_a_wav_that_ends_too_early_is_named(tmp_path: Path) -> None:
    whole = write_tone(tmp_path / "whole.wav", 440).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    for item in (tmp_path / "cut.wav", whole[: len(whole) // 2]):
        with pytest.raises(DataError, match=f"must hold {len(whole)} bytes, as it says, but ends after"):
            samples(item, 8000, 1.0)


def test_a_wav_of_unknown_length_is_read(tmp_path: Path) -> None:
    whole = write_tone(tmp_path / "whole.wav", 440).read_bytes()
    streamed = whole[:4] + b"\xff\xff\xff\xff" + whole[8:]
    np.testing.assert_array_equal(samples(streamed, 8000, 1.0), samples(whole, 8000, 1.0))


def test_silence_and_length_are_said(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(800), 8000)
    soundfile.write(tmp_path / "long.wav", np.full(61_000, 0.1), 1000)
    kept, heard = read_sounds(listing(write_tone(tmp_path / "a.wav", 440), *sorted(tmp_path.glob("[ls]*.wav"))))
    assert isinstance(heard, Heard) and len(kept) == 3
    assert {w.code: (w.severity, len(w.places)) for w in kept.warnings} == {
        "silent": ("warning", 1),
        "very-long": ("note", 1),
    }


def test_digests_are_of_the_contents(tmp_path: Path) -> None:
    a, b = write_tone(tmp_path / "a.wav", 440), tmp_path / "b.wav"
    b.write_bytes(a.read_bytes())
    assert digests_of([a])[0] == digests_of([b])[0] == digests_of([a.read_bytes()])[0]
    wave_S = np.zeros(10, np.float32)
    assert digests_of([(wave_S, 8000)]) != digests_of([(wave_S, 16000)])
