"""Noise and damage of sounds in five severities, on the samples themselves.

Letters: S samples, -1..1.
"""

import numpy as np

Random = np.random.Generator


def noise(wave_S: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """White noise so many decibels below the sound."""
    below = (30, 20, 15, 10, 5)[severity - 1]
    loudness = float(np.sqrt(np.mean(np.square(wave_S, dtype=np.float64))))
    return wave_S + loudness * 10 ** (-below / 20) * random.standard_normal(len(wave_S))


def clipping(wave_S: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """A microphone that was too near: everything above a share of the peak is cut."""
    most = (0.5, 0.3, 0.2, 0.1, 0.05)[severity - 1] * np.abs(wave_S).max(initial=0.0)
    return wave_S.clip(-most, most)


def quiet(wave_S: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """Softer by so many decibels, and stored in 16 bits."""
    softer = wave_S * 10 ** (-(6, 12, 24, 36, 48)[severity - 1] / 20)
    return np.round(softer * 32767) / 32767


def gaps(wave_S: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """Lost packets: some of 50 stretches are silent."""
    lost = random.random(50) < (0.05, 0.1, 0.2, 0.3, 0.4)[severity - 1]
    return wave_S * ~lost[np.arange(len(wave_S)) * 50 // max(len(wave_S), 1)]


def muffled(wave_S: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """Heard through a wall: only the lower share of the frequencies is left."""
    share = (0.5, 0.35, 0.25, 0.15, 0.1)[severity - 1]
    spectrum = np.fft.rfft(wave_S)
    spectrum[int(share * len(spectrum)) :] = 0
    return np.fft.irfft(spectrum, len(wave_S))


def coarse(wave_S: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """Stored in few bits."""
    levels = 2 ** ((8, 6, 5, 4, 3)[severity - 1] - 1)
    return np.round(wave_S * levels) / levels
