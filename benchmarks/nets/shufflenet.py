"""A small ShuffleNet V2 backbone (Ma et al., arXiv 1807.11164) that gives the maps of its three stages.

transfuse transfer file:WEIGHTS@benchmarks/nets/shufflenet.py:backbone DATA --trust-code --mean 0,0,0 --std 1,1,1
"""

import torch
from torch import nn


def _pointwise(channels_in: int, channels: int) -> list[nn.Module]:
    return [nn.Conv2d(channels_in, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


class Unit(nn.Module):
    """Half of the channels passes through, the other half through `branch_main`."""

    def __init__(self, half: int) -> None:
        super().__init__()
        self.branch_main = nn.Sequential(*_pointwise(half, half), *_depthwise(half, 1), *_pointwise(half, half))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, 2 · half, h, w) to the same shape; even channels pass, which is the shuffle of two groups."""
        return torch.cat((x[:, 0::2], self.branch_main(x[:, 1::2])), 1)


class DownUnit(nn.Module):
    """Both branches see all channels and halve the side; channels double in all."""

    def __init__(self, channels: int, half: int) -> None:
        super().__init__()
        self.branch_main = nn.Sequential(*_pointwise(channels, half), *_depthwise(half, 2), *_pointwise(half, half))
        self.branch_proj = nn.Sequential(*_depthwise(channels, 2), *_pointwise(channels, half))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, channels, h, w) to (B, 2 · half, h / 2, w / 2)."""
        return torch.cat((self.branch_proj(x), self.branch_main(x)), 1)


class Backbone(nn.Module):
    """Maps at 1/8, 1/16 and 1/32 of the side with 48, 96 and 192 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stage2 = nn.Sequential(DownUnit(24, 24), *(Unit(24) for _ in range(3)))
        self.stage3 = nn.Sequential(DownUnit(48, 48), *(Unit(48) for _ in range(7)))
        self.stage4 = nn.Sequential(DownUnit(96, 96), *(Unit(96) for _ in range(3)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pictures (B, 3, h, w) to three maps, shallow to deep."""
        shallow = self.stage2(self.maxpool(self.first_conv(x)))
        middle = self.stage3(shallow)
        return shallow, middle, self.stage4(middle)


def backbone() -> nn.Module:
    """The backbone, 0.14 million weights."""
    return Backbone()
