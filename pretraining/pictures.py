"""From fields to pictures: a batch of fields is warped, cut into a figure, coloured, lit and degraded.

Everything that may differ between two views of one class happens here, so a class is told by its form alone.

Shape letters: B batch, S side of a field, H side of a picture in pixels.
"""

from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from pretraining.fields import FAMILIES, REACH, Pool
from torch import Tensor, nn

NAMES = tuple(FAMILIES)
STROKES, LIMBS, CONTOURS, FRACTALS, TEXTURES = (
    NAMES.index(name) for name in ("strokes", "limbs", "contours", "fractals", "textures")
)
CHUNK = 16
"""Pictures that share one draw of blur and resolution."""


@dataclass(kw_only=True)
class Painter:
    """Draws batches of labelled pictures from a pool; all randomness comes from `generator`."""

    pool: Pool
    generator: torch.Generator
    severity: float = 1.0
    """How far pictures of one class may differ, 0..1: training begins with easy ones."""

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Numbers drawn evenly from low..high."""
        return torch.rand(shape, generator=self.generator) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.generator)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Whole numbers drawn evenly from 0..high-1."""
        return torch.randint(high, shape, generator=self.generator)

    def batch(self, size: int, side: int) -> tuple[Tensor, Tensor]:
        """`size` pictures (B, 3, H, H) in -1..1 and their labels (B,)."""
        classes, instances = self.pool.fields_CNSS.shape[:2]
        label = self.integers(classes, size)
        family = self.pool.family_C[label]
        field = self.pool.fields_CNSS[label, self.integers(instances, size)].float()[:, None] / 255
        field = warp(self, field, side, tiled=family == TEXTURES)
        mask, height = figure(self, field, family)
        picture = colour(self, mask, height, family)
        return degrade(self, picture) * 2 - 1, label


@lru_cache(maxsize=64)
def interpolation(small: int, large: int, mode: str) -> Tensor:
    """The matrix (large, small) that interpolates one axis as `nn.functional.interpolate` does."""
    rows = nn.functional.interpolate(torch.eye(small)[None, None], (large, small), mode=mode, align_corners=False)
    return rows[0, 0]


def enlarge(picture: Tensor, side: int, mode: str) -> Tensor:
    """Resize the last two axes to `side`: two matrix products, six times faster than `interpolate` here."""
    matrix = interpolation(picture.shape[-1], side, mode)
    return matrix @ picture @ matrix.T


def warp(draw: Painter, field: Tensor, side: int, *, tiled: Tensor) -> Tensor:
    """Random affine and elastic warp of fields (B, 1, S, S), read at H x H pixels.

    Outside its square a distance field repeats its border and a tiled one (a texture) is mirrored.
    """
    size, hard = len(field), draw.severity
    turn, shear = draw.normal(size) * 0.2 * hard, draw.normal(size) * 0.15 * hard
    zoom = torch.exp(draw.uniform(size, low=-0.15 * hard, high=0.45 * hard))
    stretch = torch.exp(draw.normal(size) * 0.12 * hard)
    cos, sin = torch.cos(turn) * zoom, torch.sin(turn) * zoom
    shift = draw.uniform(size, 2, low=-0.3, high=0.3) * hard * zoom[:, None].clamp(min=1) ** 1.5
    theta = torch.stack(
        [
            torch.stack([cos * stretch, -sin + shear, shift[:, 0]], -1),
            torch.stack([sin, cos / stretch, shift[:, 1]], -1),
        ],
        1,
    )
    grid = nn.functional.affine_grid(theta, [size, 1, side, side], align_corners=False)
    strength = draw.uniform(size, 1, 1, 1, high=0.09 * hard)
    elastic = enlarge(draw.normal(size, 2, 5, 5) * strength, side, "bicubic")
    grid = grid + elastic.permute(0, 2, 3, 1)
    read = partial(nn.functional.grid_sample, align_corners=False)
    warped = read(field, grid, padding_mode="border")
    if tiled.any():
        warped[tiled] = read(field[tiled], grid[tiled], padding_mode="reflection")
    return warped


def figure(draw: Painter, field: Tensor, family: Tensor) -> tuple[Tensor, Tensor]:
    """Coverage 0..1 of the figure and its height above the ground (0 where flat), each (B, 1, H, H)."""
    size, side = len(field), field.shape[-1]
    distance = (field - 0.5) * 2 * REACH
    soft = 1.5 / side * torch.exp(draw.uniform(size, 1, 1, 1, high=0.8))
    width = torch.exp(draw.uniform(size, 1, 1, 1, low=-3.7, high=-1.9))
    stroke = (family == STROKES)[:, None, None, None]
    outlined = (draw.uniform(size) < 0.25)[:, None, None, None] & ~stroke
    edge = torch.where(stroke, distance - width, torch.where(outlined, distance.abs() - 0.6 * width, distance))
    cut = (0.5 - edge / (2 * soft)).clamp(0, 1)
    plain = (family >= FRACTALS)[:, None, None, None]
    contrast = draw.uniform(size, 1, 1, 1, low=0.8, high=1.6)
    bright = ((field - 0.5) * contrast + 0.5).clamp(0, 1)
    height = torch.where(plain | stroke | outlined, torch.zeros(()), (-distance).clamp(0.0, 0.25) * 2).add(1e-4).sqrt()
    return torch.where(plain, bright, cut), height


def colour(draw: Painter, mask: Tensor, height: Tensor, family: Tensor) -> Tensor:
    """Paint figure and ground, light the solids, and let a slow gradient pass over all, (B, 3, H, H) in 0..1."""
    size, side = len(mask), mask.shape[-1]
    ground, ink = contrasting(draw, size)
    ground = surface(draw, ground, side, 0.55 * draw.severity)
    ink = surface(draw, ink, side, 0.35 * draw.severity)
    slope_x = nn.functional.pad(height[..., 1:] - height[..., :-1], (0, 1)) * side / 8
    slope_y = nn.functional.pad(height[..., 1:, :] - height[..., :-1, :], (0, 0, 0, 1)) * side / 8
    light = draw.normal(size, 2, 1, 1) * 0.25
    shade = (slope_x * light[:, :1] + slope_y * light[:, 1:]).clamp(-0.35, 0.35)
    picture = torch.lerp(ground, ink + shade, mask)
    axis = torch.linspace(-1, 1, side)
    tilt = draw.normal(size, 2, 1, 1) * 0.1
    picture = picture + tilt[:, :1] * axis + tilt[:, 1:] * axis[:, None]
    grey = (draw.uniform(size) < 0.35)[:, None, None, None]
    return torch.where(grey, picture.mean(1, keepdim=True), picture).clamp(0, 1)


def contrasting(draw: Painter, size: int) -> tuple[Tensor, Tensor]:
    """Colours of ground and figure whose mean brightness differs by at least 0.15, each (B, 3, 1, 1)."""
    gap = draw.uniform(size, 1, low=0.5 - 0.35 * draw.severity, high=1.0)
    low = draw.uniform(size, 1) * (1 - gap)
    dark = (low + draw.normal(size, 3) * 0.12 * low.clamp(min=0.1).sqrt()).clamp(0, 1)
    pale = (low + gap + draw.normal(size, 3) * 0.12).clamp(0, 1)
    flip = draw.uniform(size, 1) < 0.5
    first, second = torch.where(flip, pale, dark), torch.where(flip, dark, pale)
    return first[:, :, None, None], second[:, :, None, None]


def surface(draw: Painter, base: Tensor, side: int, chance: float) -> Tensor:
    """A flat colour, or (with `chance`) one broken by a texture of the pool or by soft blotches, (B, 3, H, H)."""
    size = len(base)
    textured = (draw.pool.family_C == TEXTURES).nonzero()[:, 0]
    pick = textured[draw.integers(len(textured), size)]
    instance = draw.integers(draw.pool.fields_CNSS.shape[1], size)
    grain = enlarge(draw.pool.fields_CNSS[pick, instance].float()[:, None] / 127.5 - 1, side, "bilinear")
    blotch = enlarge(draw.normal(size, 3, 4, 4), side, "bicubic")
    strong = draw.uniform(size, 1, 1, 1, high=0.22) * (draw.uniform(size, 1, 1, 1) < chance)
    soft = draw.uniform(size, 1, 1, 1, high=0.18) * (draw.uniform(size, 1, 1, 1) < chance)
    tint = draw.normal(size, 3, 1, 1) * 0.4 + 1
    return base + grain * tint * strong + blotch * soft


def degrade(draw: Painter, picture: Tensor) -> Tensor:
    """Cover a corner, blur, lose resolution, add noise: (B, 3, H, H) in 0..1."""
    chunks = [resample(draw, occlude(draw, chunk)) for chunk in picture.split(CHUNK)]
    picture = torch.cat(chunks)
    noisy = draw.uniform(len(picture), 1, 1, 1) < 0.5 * draw.severity
    amount = draw.uniform(len(picture), 1, 1, 1, high=0.08) * noisy
    return (picture + draw.normal(*picture.shape) * amount).clamp(0, 1)


def occlude(draw: Painter, picture: Tensor) -> Tensor:
    """In every fourth chunk, a rectangle of one colour hides up to a ninth of the picture."""
    if draw.uniform(1).item() > 0.25 * draw.severity:
        return picture
    side = picture.shape[-1]
    height, width = (int(v) for v in draw.uniform(2, low=side / 8, high=side / 3))
    top, left = int(draw.integers(side - height, 1)), int(draw.integers(side - width, 1))
    picture = picture.clone()
    picture[:, :, top : top + height, left : left + width] = draw.uniform(len(picture), 3, 1, 1)
    return picture


def resample(draw: Painter, picture: Tensor) -> Tensor:
    """Bring a chunk down to 8-32 pixels a side and up again, or blur it, or leave it."""
    choice, side = draw.uniform(1).item() / max(draw.severity, 1e-6), picture.shape[-1]
    if choice < 0.45:
        small = (8, 8, 10, 12, 16, 20, 24, 32)[int(draw.integers(8, 1))]
        mode = ("bilinear", "bicubic")[int(draw.integers(2, 1))]
        return enlarge(nn.functional.adaptive_avg_pool2d(picture, small), side, mode)
    if choice < 0.6:
        return nn.functional.avg_pool2d(picture, 3, 1, 1, count_include_pad=False)
    return picture
