"""What was trained to its end before a run was killed: the next run of the same work takes it as it is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from transfuse.core.digests import of_value
from transfuse.core.provenance import plain
from transfuse.weights.files import read_whole, write_tensors

_NAME = "finished.safetensors"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A finished training's place beside its checkpoints, and what it belongs to."""

    folder: Path | None
    """None keeps nothing."""
    identity: Mapping[str, Any]

    def keep(self, network: nn.Module, facts: Mapping[str, Any]) -> None:
        """Write the weights and the facts."""
        if self.folder is not None:
            metadata = {"fingerprint": of_value(plain(self.identity)), "facts": json.dumps(plain(facts))}
            write_tensors(self.folder / _NAME, network.state_dict(), metadata)

    def restored(self, network: nn.Module) -> dict[str, Any] | None:
        """Fill the network with what was kept and give the facts; None when nothing of this work was."""
        if self.folder is None or not (self.folder / _NAME).exists():
            return None
        tensors, metadata = read_whole(self.folder / _NAME)
        if metadata["fingerprint"] != of_value(plain(self.identity)):
            return None
        network.load_state_dict(tensors)
        facts: dict[str, Any] = json.loads(metadata["facts"])
        return facts
