"""Sounds as pictures: how strong each pitch is at each time, on a logarithmic scale.

S. Davis, P. Mermelstein, "Comparison of parametric representations for monosyllabic word recognition", IEEE TASSP
28(4), 1980, without the cosine transform. The scale is HTK's, mel = 2595 log10(1 + f / 700), not Slaney's;
triangles are of height 1, not of one area (librosa: `htk=True, norm=None`). The window is Hann's, frames are centred
and the sound is padded with silence; power, not amplitude. Decibels are below the loudest place of the sound, so that
loudness is not seen.
Letters: S samples, T frames, K frequencies of the Fourier transform, F bands.
"""

from functools import lru_cache

import numpy as np

_LEAST = 512
"""Points of the Fourier transform, at least: every band then has a frequency of its own."""


def log_mel(
    wave_S: np.ndarray, rate: int, *, window: float, hop: float, bands: int, low: float, decibels: float
) -> np.ndarray:
    """float32 (F, T) in 0..1: 1 is the loudest place of the sound, 0 what is `decibels` or more below; low bands first.

    window, hop: seconds. low: Hz, where the first band begins; the last ends at half the rate. Silence is 0.
    """
    power_TK = spectra(wave_S, round(window * rate), max(1, round(hop * rate)))
    mel_FT = filterbank(power_TK.shape[1], rate, bands, low) @ power_TK.T
    loudest = float(mel_FT.max(initial=0.0))
    if loudest <= 0:
        return np.zeros(mel_FT.shape, np.float32)
    floor = 10 ** (-decibels / 10)
    return (1 + 10 / decibels * np.log10(np.maximum(mel_FT / loudest, floor))).astype(np.float32)


def spectra(wave_S: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Power float64 (T, K) of Hann-windowed frames, of which the t-th is centred on sample t times hop."""
    size = points(window)
    padded = np.pad(np.asarray(wave_S, np.float64), (window // 2, window - window // 2))
    frames_TW = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    hann_W = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    return np.abs(np.fft.rfft(frames_TW * hann_W, size)) ** 2


def points(window: int) -> int:
    """Points of the Fourier transform of a window: a power of 2, at least twice as long."""
    return max(_LEAST, 1 << (2 * window - 1).bit_length())


@lru_cache(maxsize=32)
def filterbank(frequencies: int, rate: int, bands: int, low: float) -> np.ndarray:
    """Triangles (F, K), equally wide in mel, between `low` and half the rate."""
    hertz_K = np.linspace(0, rate / 2, frequencies)
    edges = _hertz(np.linspace(_mel(low), _mel(rate / 2), bands + 2))
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (hertz_K - left) / (centre - left), (right - hertz_K) / (right - centre)
    found = np.maximum(0, np.minimum(rising, falling))
    found.setflags(write=False)
    return found


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)
