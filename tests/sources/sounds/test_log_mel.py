"""Log-mel pictures against the formula computed another way (SciPy's transform, triangles one number at a time)."""

import math

import numpy as np
import pytest
from scipy import signal

from transfuse.sources.sounds.log_mel import filterbank, log_mel, points, spectra


def hertz_of(mel: float) -> float:
    return 700 * (math.exp(mel / 1127.01048) - 1)  # 2595 log10(x) is 1127.01048 ln(x)


def reference_filterbank(frequencies: int, rate: int, bands: int, low: float) -> np.ndarray:
    """One triangle after another, as in the HTK book, section 5.4."""
    first, last = (1127.01048 * math.log(1 + hertz / 700) for hertz in (low, rate / 2))
    edges = [hertz_of(first + (last - first) * place / (bands + 1)) for place in range(bands + 2)]
    found = np.zeros((bands, frequencies))
    for band in range(bands):
        left, centre, right = edges[band : band + 3]
        for k in range(frequencies):
            hertz = k * rate / 2 / (frequencies - 1)
            if left < hertz <= centre:
                found[band, k] = (hertz - left) / (centre - left)
            elif centre < hertz < right:
                found[band, k] = (right - hertz) / (right - centre)
    return found


@pytest.mark.parametrize(("rate", "bands", "low"), [(8000, 32, 20.0), (16000, 64, 0.0), (22050, 40, 60.0)])
def test_triangles_are_those_of_the_formula(rate: int, bands: int, low: float) -> None:
    found = filterbank(513, rate, bands, low)
    np.testing.assert_allclose(found, reference_filterbank(513, rate, bands, low), atol=1e-6)
    assert (found.max(1) > 0).all() and found.max() <= 1


def test_a_kilohertz_is_a_thousand_mel() -> None:
    """HTK's scale has 1000 mel at 1000 Hz (999.9856 by its formula); Slaney's has 15."""
    ends = filterbank(8001, 16000, 1, 0.0)[0]
    centre = np.argmax(ends)  # in the middle of 0 and 2840.0230 mel: 1420.0115 mel
    assert abs(2595 * math.log10(1 + centre / 700) - 2840.0230 / 2) < 1
    assert abs(2595 * math.log10(1 + 1000 / 700) - 999.9856) < 1e-3


def test_frames_are_those_of_scipy() -> None:
    wave_S = np.random.default_rng(0).normal(size=1000)
    window, hop = 200, 50
    found_TK = spectra(wave_S, window, hop)
    padded = np.pad(wave_S, (window // 2, window - window // 2))
    _, _, expected_KT = signal.stft(
        padded,
        window=signal.get_window("hann", window),
        nperseg=window,
        noverlap=window - hop,
        nfft=points(window),
        boundary=None,
        padded=False,
        scaling="spectrum",
    )
    scale = signal.get_window("hann", window).sum()
    np.testing.assert_allclose(found_TK, (np.abs(expected_KT.T) * scale) ** 2, rtol=1e-9)
    assert len(found_TK) == 1 + 1000 // hop


def test_decibels_are_below_the_loudest_place() -> None:
    time_S = np.arange(4000) / 8000
    wave_S = np.sin(2 * np.pi * 440 * time_S) + 0.01 * np.sin(2 * np.pi * 2500 * time_S)  # 40 dB below
    found_FT = log_mel(wave_S, 8000, window=0.04, hop=0.01, bands=32, low=20.0, decibels=80.0)
    assert found_FT.shape == (32, 51) and found_FT.dtype == np.float32
    middle_F = found_FT[:, 25]
    assert middle_F.max() > 0.99 and abs(middle_F[20:].max() - 0.5) < 0.05
    assert middle_F[:20].argmax() < middle_F[20:].argmax() + 20
    louder_FT = log_mel(100 * wave_S, 8000, window=0.04, hop=0.01, bands=32, low=20.0, decibels=80.0)
    np.testing.assert_allclose(louder_FT, found_FT, atol=1e-5)
    assert not log_mel(np.zeros(4000), 8000, window=0.04, hop=0.01, bands=32, low=20.0, decibels=80.0).any()


def test_the_shortest_sound_has_a_picture() -> None:
    assert log_mel(np.ones(1), 8000, window=0.04, hop=0.01, bands=32, low=20.0, decibels=60.0).shape == (32, 1)
