"""The residual networks for 32 by 32 pixels of He et al., arXiv 1512.03385, section 4.2, with shortcuts of kind A.

    transfuse transfer file:WEIGHTS@benchmarks/nets/resnet_cifar.py:resnet20 DATA --trust-code --size 32 \
        --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
"""

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions and a shortcut without weights: every second pixel, new channels zero on both sides."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.stride = 1 if channels == channels_in else 2
        self.padding = (channels - channels_in) // 2
        self.conv1 = nn.Conv2d(channels_in, channels, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C_in, h, w) to (B, C, h / stride, w / stride)."""
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        shortcut = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        return functional.relu(inner + shortcut)


class ResNet(nn.Module):
    """Three groups of `depth` blocks with 16, 32 and 64 channels."""

    def __init__(self, depth: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _group(depth, 16, 16)
        self.layer2 = _group(depth, 16, 32)
        self.layer3 = _group(depth, 32, 64)
        self.linear = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, h, w) to class scores (B, classes)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def _group(depth: int, channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(Block(channels_in, channels), *(Block(channels, channels) for _ in range(depth - 1)))


def resnet20() -> nn.Module:
    """20 layers with weights, 0.27 million of them."""
    return ResNet(3)


def resnet32() -> nn.Module:
    """32 layers with weights, 0.46 million of them."""
    return ResNet(5)


def resnet44() -> nn.Module:
    """44 layers with weights, 0.66 million of them."""
    return ResNet(7)


def resnet56() -> nn.Module:
    """56 layers with weights, 0.85 million of them."""
    return ResNet(9)


def resnet8() -> nn.Module:
    """8 layers with weights, 0.08 million of them: a student."""
    return ResNet(1)
