"""Formulas that define the classes of the generated world, drawn once into a pool of fields.

A class is a random formula; an instance is that formula with jittered parameters. Every instance is kept as one
square greyscale field, and becomes a picture only later (`pictures.py`): thickness, fill, colour and light are then
free to vary at no cost. There are two kinds of field.

* A distance field holds the signed distance to a contour, negative inside, clipped to +-`REACH` (the picture spans
  -1..1 on both axes). Strokes are contours without an inside.
* A brightness field holds values in 0..1.

Papers: fractals (FractalDB, Kataoka et al., arXiv 2101.08515), noise (Baradad et al., arXiv 2106.05963), shaders
(Baradad et al., arXiv 2211.16412). Strokes, contours and limbed blobs are our additions, since none of the three
contains a line drawing or a lit solid.

Shape letters: N instances, S side in pixels, P points, K parts.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

REACH = 0.5
SIDE = 64
FAMILIES = {"strokes": 220, "limbs": 90, "contours": 80, "fractals": 60, "textures": 50}
"""Classes of each family; the label of a picture is its class's place in this order."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Fields of all classes: the raw material of every picture."""

    fields_CNSS: Tensor
    """Fields as uint8, class by class."""
    family_C: Tensor
    """Index into `FAMILIES` of each class."""


def draw_pool(*, instances: int, seed: int) -> Pool:
    """Draw `instances` fields of each class of each family; equal seeds give equal pools."""
    drawers = {"strokes": strokes, "limbs": limbs, "contours": contours, "fractals": fractals, "textures": textures}
    fields, family = [], []
    for index, (name, classes) in enumerate(FAMILIES.items()):
        for number in range(classes):
            rng = np.random.default_rng([seed, index, number])
            fields.append(drawers[name](rng, instances))
            family.append(index)
    return Pool(fields_CNSS=torch.stack(fields), family_C=torch.tensor(family))


def _pixels() -> Tensor:
    """Centres of the pixels, (S*S, 2) as x, y in -1..1."""
    axis = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


PIXELS = _pixels()


def _distance(points_NP2: np.ndarray) -> Tensor:
    """Distance from every pixel to the nearest of P points, (N, S*S)."""
    points = torch.as_tensor(points_NP2, dtype=torch.float32)
    return torch.cdist(PIXELS.expand(len(points), -1, -1), points).amin(-1)


def _encode_distance(distance: Tensor) -> Tensor:
    """Clip to +-REACH and quantise to uint8, (N, S, S)."""
    unit = distance.clamp(-REACH, REACH) / (2 * REACH) + 0.5
    return (unit * 255).round().to(torch.uint8).reshape(-1, SIDE, SIDE)


def _encode_brightness(value: Tensor) -> Tensor:
    """Quantise 0..1 to uint8, (N, S, S)."""
    return (value.clamp(0, 1) * 255).round().to(torch.uint8).reshape(-1, SIDE, SIDE)


def _jitter(rng: np.random.Generator, value: np.ndarray, amount: float, n: int) -> np.ndarray:
    """N copies of an array with independent Gaussian noise of standard deviation `amount`."""
    return value[None] + rng.normal(0, amount, (n, *value.shape))


# --- strokes -----------------------------------------------------------------------------------------------------


def strokes(rng: np.random.Generator, n: int) -> Tensor:
    """A glyph of one to four strokes: Bezier curves, polylines and elliptic arcs, most joined to the one before."""
    kinds = (_bezier, _polyline, _arc)
    parts, end = [], None
    for _ in range(rng.choice([1, 2, 3, 4], p=[0.25, 0.4, 0.25, 0.1])):
        part = kinds[rng.choice(3, p=[0.4, 0.3, 0.3])](rng, n)
        if end is not None and rng.random() < 0.65:
            part = part + (end - part[:, :1])
        end = part[:, rng.integers(part.shape[1])][:, None]
        parts.append(part)
    return _encode_distance(_distance(_centred(np.concatenate(parts, 1), rng)))


def _centred(points_NP2: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift and scale a glyph so that its box touches about +-0.75; narrow glyphs stay narrow."""
    low, high = points_NP2.min(1, keepdims=True), points_NP2.max(1, keepdims=True)
    size = (high - low).max(-1, keepdims=True).clip(0.2)
    return (points_NP2 - (low + high) / 2) / size * rng.uniform(1.35, 1.6)


def _bezier(rng: np.random.Generator, n: int) -> np.ndarray:
    """A cubic Bezier curve, (N, 48, 2)."""
    control = _jitter(rng, rng.uniform(-1, 1, (4, 2)), 0.09, n)
    t = np.linspace(0, 1, 48)
    basis = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], 1)
    return np.einsum("pk,nkd->npd", basis, control * [1.0, 1.2])


def _polyline(rng: np.random.Generator, n: int) -> np.ndarray:
    """One to three straight segments, (N, 48, 2)."""
    corners = rng.integers(2, 5)
    control = _jitter(rng, rng.uniform(-0.9, 0.9, (corners, 2)), 0.07, n)
    place = np.linspace(0, corners - 1 - 1e-6, 48)
    left, part = place.astype(int), (place % 1)[None, :, None]
    return control[:, left] * (1 - part) + control[:, left + 1] * part


def _arc(rng: np.random.Generator, n: int) -> np.ndarray:
    """Part of an ellipse or all of it, (N, 48, 2)."""
    centre = _jitter(rng, rng.uniform(-0.4, 0.4, 2), 0.05, n)[:, None]
    radii = (rng.uniform(0.25, 0.8, 2) * rng.lognormal(0, 0.12, (n, 2)))[:, None]
    start = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.15, (n, 1))
    extent = rng.choice([rng.uniform(1.5, 5), 2 * np.pi]) * rng.lognormal(0, 0.06, (n, 1))
    angle = start + extent * np.linspace(0, 1, 48)
    return centre + radii * np.stack([np.cos(angle), np.sin(angle)], -1)


# --- solids ------------------------------------------------------------------------------------------------------


def limbs(rng: np.random.Generator, n: int) -> Tensor:
    """A round body with two to seven bent limbs, each long or folded: hands, stars, animals, plants."""
    count = rng.integers(2, 8)
    spread = rng.choice([rng.uniform(1.2, 3.0), 2 * np.pi * (1 - 1 / count)])
    angle = rng.uniform(-0.3, 0.3) + np.linspace(-0.5, 0.5, count) * spread + rng.normal(0, 0.12, count)
    length = np.where(rng.random(count) < 0.6, rng.uniform(0.45, 0.8, count), rng.uniform(0.0, 0.2, count))
    bend, width = rng.normal(0, 0.35, count), rng.uniform(0.06, 0.13) * rng.uniform(0.8, 1.25, count)
    body = rng.uniform(0.2, 0.36)
    angle_NK, bend_NK = _jitter(rng, angle, 0.09, n), _jitter(rng, bend, 0.12, n)
    length_NK = length * rng.lognormal(0, 0.1, (n, count))
    centre = np.array([0.0, rng.uniform(0.0, 0.35)]) + rng.normal(0, 0.03, (n, 2))
    distance = _distance(centre[:, None]) - body
    if rng.random() < 0.5:
        arm = centre[:, None] + np.linspace(0, 1.5, 40)[None, :, None] * np.array([rng.normal(0, 0.2), 1.0])
        distance = torch.minimum(distance, _distance(arm) - body * rng.uniform(0.5, 0.85))
    for k in range(count):
        limb = centre[:, None] + _limb(angle_NK[:, k], bend_NK[:, k], length_NK[:, k], 0.85 * body)
        distance = torch.minimum(distance, _distance(limb) - width[k])
    return _encode_distance(distance)


def _limb(angle: np.ndarray, bend: np.ndarray, length: np.ndarray, start: float) -> np.ndarray:
    """Two straight halves that leave a body's rim and meet at an angle, (N, 24, 2)."""

    def ray(direction: np.ndarray) -> np.ndarray:
        return np.stack([np.sin(direction), -np.cos(direction)], -1)[:, None]

    half, along = length[:, None, None] / 2, np.linspace(0, 1, 12)[None, :, None]
    lower = ray(angle) * (start + half * along)
    return np.concatenate([lower, lower[:, -1:] + ray(angle + bend) * half * along], 1)


def contours(rng: np.random.Generator, n: int) -> Tensor:
    """One closed contour, or two joined, subtracted or intersected."""
    first = _contour(rng, n, size=rng.uniform(0.5, 0.75), shift=0.1)
    operation = rng.choice(["alone", "join", "cut", "meet"], p=[0.55, 0.2, 0.2, 0.05])
    if operation == "alone":
        return _encode_distance(first)
    second = _contour(rng, n, size=rng.uniform(0.2, 0.45), shift=0.45)
    if operation == "join":
        return _encode_distance(torch.minimum(first, second))
    return _encode_distance(torch.maximum(first, -second if operation == "cut" else second))


def _contour(rng: np.random.Generator, n: int, *, size: float, shift: float) -> Tensor:
    """Signed distance to a star-convex contour, smooth (Fourier series) or straight-edged, (N, S*S)."""
    angle = np.linspace(-np.pi, np.pi, 120, endpoint=False)
    radius = _fourier_radius(rng, n, angle) if rng.random() < 0.5 else _polygon_radius(rng, n, angle)
    radius = radius / radius.max(1, keepdims=True) * size
    stretch = np.array([1.0, rng.uniform(0.5, 1.0)])
    centre = rng.uniform(-shift, shift, 2) + rng.normal(0, 0.03, (n, 2))
    rim = radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1) * stretch
    distance = _distance(rim + centre[:, None])
    local = (PIXELS.numpy()[None] - centre[:, None]) / stretch
    place = (np.arctan2(local[..., 1], local[..., 0]) + np.pi) / (2 * np.pi) * len(angle)
    reach = np.take_along_axis(radius, place.astype(int) % len(angle), 1)
    inside = torch.as_tensor(np.hypot(local[..., 0], local[..., 1]) < reach)
    return torch.where(inside, -distance, distance)


def _fourier_radius(rng: np.random.Generator, n: int, angle: np.ndarray) -> np.ndarray:
    """Radius over angle as a short Fourier series, (N, P)."""
    order = np.arange(1, 8)
    strength = rng.normal(0, 0.35, (2, len(order))) * (rng.random(len(order)) < 0.5) / np.sqrt(order)
    strength = _jitter(rng, strength, 0.035, n)
    wave = np.stack([np.cos(np.outer(order, angle)), np.sin(np.outer(order, angle))])
    return np.exp(np.einsum("nck,ckp->np", strength, wave))


def _polygon_radius(rng: np.random.Generator, n: int, angle: np.ndarray) -> np.ndarray:
    """Radius over angle of a polygon or star with three to nine corners, (N, P)."""
    corners = rng.integers(3, 10)
    even = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 2 * np.pi)
    turn = even + rng.normal(0, 0.25, corners) / corners * 3
    far = np.where(np.arange(corners) % 2 == 0, 1.0, rng.uniform(0.4, 1.0)) * rng.uniform(0.8, 1.2, corners)
    turn, far = _jitter(rng, turn, 0.05, n), far * rng.lognormal(0, 0.06, (n, corners))
    x, y = far * np.cos(turn), far * np.sin(turn)
    radius = np.full((n, len(angle)), 0.05)
    for k in range(corners):  # where the ray of each angle meets the edge from corner k to the next
        after = (k + 1) % corners
        dx, dy = (x[:, after] - x[:, k])[:, None], (y[:, after] - y[:, k])[:, None]
        cross = np.cos(angle) * dy - np.sin(angle) * dx
        cross = np.where(np.abs(cross) < 1e-6, 1e-6, cross)
        distance = (x[:, k, None] * dy - y[:, k, None] * dx) / cross
        along = (x[:, k, None] * np.sin(angle) - y[:, k, None] * np.cos(angle)) / cross
        hit = (distance > 0) & (along >= 0) & (along <= 1)
        radius = np.where(hit, np.maximum(radius, distance), radius)
    return radius


# --- fractals and textures ---------------------------------------------------------------------------------------


def fractals(rng: np.random.Generator, n: int) -> Tensor:
    """The attractor of two to five affine maps, by the chaos game (arXiv 2101.08515)."""
    maps = rng.integers(2, 6)
    turn, flip = rng.uniform(-np.pi, np.pi, (2, maps))
    scale = rng.uniform(0.3, 0.85, (maps, 2))
    linear = np.einsum("kab,kb,kbc->kac", _rotation(turn), scale, _rotation(flip))
    shift = rng.uniform(-1, 1, (maps, 2))
    linear_NK22, shift_NK2 = _jitter(rng, linear, 0.035, n), _jitter(rng, shift, 0.05, n)
    weight = np.abs(np.linalg.det(linear)) + 0.05
    point = np.zeros((n, 192, 2))
    visited, row = [], np.arange(n)[:, None]
    for step in range(48):
        pick = rng.choice(maps, (n, 192), p=weight / weight.sum())
        point = np.einsum("nwab,nwb->nwa", linear_NK22[row, pick], point) + shift_NK2[row, pick]
        if step >= 12:
            visited.append(point.copy())
    return _encode_brightness(_density(np.concatenate(visited, 1)))


def _rotation(angle: np.ndarray) -> np.ndarray:
    """Rotation matrices, (..., 2, 2)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


def _density(points_NP2: np.ndarray) -> Tensor:
    """How often each pixel is visited, scaled to its box and clipped at the bright end, (N, S, S)."""
    low, high = np.quantile(points_NP2, [0.01, 0.99], axis=1)[:, :, None]
    unit = (points_NP2 - (low + high) / 2) / (high - low).max(-1, keepdims=True).clip(1e-3) * 0.8 + 0.5
    cell = (unit.clip(0, 0.999) * SIDE).astype(int)
    place = np.arange(len(cell))[:, None] * SIDE**2 + cell[..., 1] * SIDE + cell[..., 0]
    count = np.bincount(place.ravel(), minlength=len(cell) * SIDE**2).reshape(len(cell), 1, SIDE, SIDE)
    smooth = torch.nn.functional.avg_pool2d(torch.as_tensor(count, dtype=torch.float32), 3, 1, 1)
    bright = torch.quantile(smooth.flatten(1), 0.97, dim=1).clamp(min=0.2)
    return (smooth / bright[:, None, None, None]).sqrt()


def textures(rng: np.random.Generator, n: int) -> Tensor:
    """Noise of a given spectrum, a sum of waves, or cells around random points."""
    return (_noise, _waves, _cells)[rng.integers(3)](rng, n)


def _noise(rng: np.random.Generator, n: int) -> Tensor:
    """Gaussian noise with a power-law, band-limited or oriented spectrum (arXiv 2106.05963)."""
    fy, fx = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE), indexing="ij")
    turn, stretch = rng.uniform(0, np.pi), rng.choice([1.0, rng.uniform(2, 6)])
    u, v = np.cos(turn) * fx + np.sin(turn) * fy, (np.cos(turn) * fy - np.sin(turn) * fx) * stretch
    frequency = np.hypot(u, v) + 1 / SIDE
    centre = rng.uniform(0.04, 0.3)
    band = np.exp(-(((frequency - centre) / (0.3 * centre)) ** 2))
    amplitude = rng.choice([0, 1]) * band + 1e-3 * frequency ** -rng.uniform(0.6, 2.5)
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(n, SIDE, SIDE))) * amplitude, s=(SIDE, SIDE))
    noise /= noise.std((1, 2), keepdims=True)
    sharp = rng.choice([0.25, 1.5])
    return _encode_brightness(torch.as_tensor(noise * sharp + 0.5))


def _waves(rng: np.random.Generator, n: int) -> Tensor:
    """One to three gratings, smooth or square, added or multiplied."""
    total = np.zeros((n, SIDE**2)) if (added := rng.random() < 0.6) else np.ones((n, SIDE**2))
    for _ in range(rng.integers(1, 4)):
        turn = rng.uniform(0, np.pi) + rng.normal(0, 0.05, (n, 1))
        cycles = rng.uniform(1.5, 10) * rng.lognormal(0, 0.05, (n, 1))
        bend = rng.uniform(0, 0.6) * np.sin(PIXELS.numpy()[:, 1] * rng.uniform(1, 6) + rng.uniform(0, 6))
        x, y = PIXELS.numpy().T
        phase = np.pi * cycles * (np.cos(turn) * (x + bend) + np.sin(turn) * y) + rng.uniform(0, 2 * np.pi, (n, 1))
        wave = np.sin(phase)
        wave = np.sign(wave) if rng.random() < 0.3 else wave
        total = total + wave if added else total * wave
    return _encode_brightness(torch.as_tensor(total / np.abs(total).max(1, keepdims=True) / 2 + 0.5))


def _cells(rng: np.random.Generator, n: int) -> Tensor:
    """Distance to the nearest, or between the two nearest, of scattered points (Worley noise)."""
    count, order = int(rng.uniform(6, 90)), float(rng.choice([1.0, 2.0, np.inf]))
    stretch = torch.tensor([1.0, rng.choice([1.0, rng.uniform(0.3, 1)])], dtype=torch.float32)
    points = torch.as_tensor(rng.uniform(-1.1, 1.1, (n, count, 2)), dtype=torch.float32)
    near = torch.cdist((PIXELS * stretch).expand(n, -1, -1), points * stretch, p=order).topk(2, largest=False).values
    value = near[..., 0] if rng.random() < 0.5 else near[..., 1] - near[..., 0]
    return _encode_brightness(value / torch.quantile(value, 0.98, dim=1, keepdim=True).clamp(min=1e-3))
