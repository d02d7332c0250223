"""Small networks of every kind, with nothing in them 0 or 1, so that a wrong permutation shows."""

import functools

import pytest
import timm
import torch
from torch import nn

from transfuse.fusing.alignment.symmetry import symmetry_of


class Grouped(nn.Module):
    """Grouped convolutions, channel shuffle, dense concatenation, chunks, a gate, flatten over space."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1)
        self.grouped = nn.Conv2d(24, 24, 3, padding=1, groups=4)
        self.norm = nn.GroupNorm(4, 24)
        self.mixed = nn.Conv2d(24, 24, 1)
        self.dense = nn.Conv2d(48, 20, 1)
        self.gate = nn.Linear(10, 10)
        self.out = nn.Linear(10 * 16, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        y = torch.relu(self.norm(self.grouped(x)))
        y = y.view(len(y), 2, 12, *y.shape[2:]).transpose(1, 2).flatten(1, 2)  # channel shuffle
        y = self.mixed(y)
        a, b = self.dense(torch.cat([x, y], 1)).chunk(2, 1)
        z = nn.functional.max_pool2d(a * torch.sigmoid(b), 8)
        z = z * torch.sigmoid(self.gate(z.mean((2, 3))))[..., None, None]
        return self.out(z.flatten(1))


class Attention(nn.Module):
    """A block whose queries, keys and values come from one matrix, with normalised queries."""

    def __init__(self, heads=3, width=24):
        super().__init__()
        self.embed = nn.Conv2d(3, width, 8, 8)
        self.place = nn.Parameter(torch.randn(1, 16, width))
        self.norm, self.last = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 40), nn.Linear(40, width)
        self.out, self.heads = nn.Linear(width, 5), heads

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2) + self.place
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / 3).softmax(-1)
        x = x + self.proj((weights @ v).transpose(1, 2).reshape(b, n, c))
        x = x + self.down(nn.functional.gelu(self.up(x)))
        return self.out(self.last(x).mean(1))


def mlp():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(3072, 20), nn.ReLU(), nn.BatchNorm1d(20), nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 5)
    )


def vgg():
    layers = [nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(7)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 16, 30), nn.Dropout(), nn.ReLU(), nn.Linear(30, 5))


def encoder():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, dropout=0.0)
    return nn.Sequential(nn.Conv2d(3, 16, 8, 8), nn.Flatten(2), Transposed(), layer, nn.Flatten(), nn.Linear(256, 5))


class Transposed(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


def swin():
    return timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=32, window_size=4, embed_dim=12, depths=(1, 1), num_heads=(2, 3),
        num_classes=5,
    )  # fmt: skip


def of_timm(name, **options):
    return lambda: timm.create_model(name, num_classes=5, **options)


NETWORKS = {
    "mlp": mlp,
    "vgg": vgg,
    "grouped": Grouped,
    "attention": Attention,
    "encoder": encoder,
    "swin": swin,
    "resnet": of_timm("test_resnet"),
    "convnext": of_timm("test_convnext"),
    "mobilenet": of_timm("test_efficientnet"),
    "regnet": of_timm("test_byobnet"),
    "vit": of_timm("vit_tiny_patch16_224", img_size=32, depth=1, embed_dim=24),
}  # fmt: skip


def drawn_network(name, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NETWORKS[name]().eval()
        with torch.no_grad():
            for tensor in network.state_dict().values():
                if tensor.is_floating_point() and tensor.ndim < 2:
                    tensor += 0.2 * torch.rand_like(tensor)
    return network


def pictures(count=4, seed=0):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def drawn_networks():
    """A function from the name of a network to it, with random weights that depend on a seed."""
    return drawn_network


@pytest.fixture(scope="session")
def some_pictures():
    """A function to random pictures (B, 3, 32, 32)."""
    return pictures


@pytest.fixture(scope="session")
def found():
    """A function from the name of a network to it and its symmetry for four pictures; traced once."""

    @functools.cache
    def of(name):
        network = drawn_network(name)
        return network, symmetry_of(network, pictures())

    return of
