"""The character network of textgenrnn: 40 characters to the next one. Woolf, github.com/minimaxir/textgenrnn, MIT.

Embedding, two LSTM, both and the embedding side by side, an attention-weighted mean over the characters, a linear head.
Letters: B rows, T characters (40), D features (356).
"""

import torch
from torch import Tensor, nn

CHARACTERS, LENGTH, EMBEDDED, UNITS = 465, 40, 100, 128


class CharacterNetwork(nn.Module):
    """Numbers of characters, as floats (B, T), 0 where a text has not begun, to logits of the next one (B, 465)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, EMBEDDED)
        sizes = (EMBEDDED, UNITS)
        self.layers = nn.ModuleList(nn.LSTM(size, UNITS, batch_first=True) for size in sizes)
        self.attention = nn.Linear(EMBEDDED + 2 * UNITS, 1, bias=False)
        self.output = nn.Linear(EMBEDDED + 2 * UNITS, CHARACTERS)

    def forward(self, x_BT: Tensor) -> Tensor:
        seen = [self.embedding(x_BT.nan_to_num().long())]
        for layer in self.layers:
            seen.append(layer(seen[-1])[0])
        found_BTD = torch.cat(seen, 2)
        share_BT1 = self.attention(found_BTD).softmax(1)
        return self.output((found_BTD * share_BT1).sum(1))


def network() -> nn.Module:
    """With random weights."""
    return CharacterNetwork()
