"""Networks that come inside the package: `NAME.safetensors` with a card `NAME.json` in `sources/weights/`."""

import json
from pathlib import Path
from typing import Any

from transfuse.core import digests, tables
from transfuse.core.errors import SourceError, WeightsError

FOLDER = Path(__file__).parent / "weights"


def card_of(name: str, folder: Path = FOLDER) -> tuple[dict[str, Any], Path]:
    """Card and weights' path of a built-in network; an empty name is the only or first one.

    Raises `UnknownName`; `SourceError` when none is installed; `WeightsError` when the file is not the card's.
    """
    cards = {path.stem: path for path in sorted(folder.glob("*.json")) if path.with_suffix(".safetensors").exists()}
    if not cards:
        raise SourceError(
            f"No built-in network is installed in '{folder}'. Install transfuse again, or name another source such as"
            " 'timm:resnet18'."
        )
    chosen = tables.chosen("built-in network", name, cards) if name else next(iter(cards))
    card = json.loads(cards[chosen].read_text())
    weights = cards[chosen].with_suffix(".safetensors")
    if digests.of_file(weights) != card["sha256"]:
        raise WeightsError(f"'{weights}' is not the file that its card describes. Install transfuse again.")
    return card, weights
