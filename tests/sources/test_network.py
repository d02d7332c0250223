"""Heads and whole networks."""

import pytest
import torch
from torch import nn

from transfuse.core.errors import UnknownName, UsageError
from transfuse.sources.network import ACTIVATIONS, HEADS, Network, head_from, new_head


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_every_head_gives_one_value_a_class_and_trains(kind: str, dropout: float) -> None:
    head = new_head(6, 4, kind, dropout=dropout)
    head(torch.rand(3, 6)).sum().backward()
    assert head(torch.rand(3, 6)).shape == (3, 4)
    assert all(p.grad is not None for p in head.parameters())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_is_a_choice(activation: str) -> None:
    head = new_head(6, 4, "mlp", hidden=9, activation=activation)
    assert isinstance(head[1], ACTIVATIONS[activation])
    assert head[0].out_features == 9


def test_cosine_logits_do_not_depend_on_the_length_of_features() -> None:
    head, x = new_head(6, 4, "cosine"), torch.rand(3, 6)
    torch.testing.assert_close(head(x), head(5 * x))
    direction = nn.functional.cosine_similarity(x[0], head.weight[1], dim=0)
    torch.testing.assert_close(head(x)[0, 1], head.scale * direction)


def test_a_network_is_its_head_on_its_body() -> None:
    body, head = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), new_head(5, 2)
    x = torch.rand(3, 3, 2, 2)
    assert torch.equal(Network(body, head)(x), head(body(x)))


def test_a_head_is_described_by_plain_values() -> None:
    spec = {"kind": "mlp", "hidden": 7, "activation": "gelu", "dropout": 0.1, "note": "ignored"}
    assert str(head_from(spec, 6, 4)) == str(new_head(6, 4, "mlp", 7, "gelu", 0.1))


def test_unknown_values_are_told() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'linear'"):
        new_head(6, 4, "liner")
    with pytest.raises(UnknownName, match="Did you mean 'gelu'"):
        new_head(6, 4, "mlp", activation="gellu")
    with pytest.raises(UsageError, match="dropout"):
        new_head(6, 4, dropout=1.0)
