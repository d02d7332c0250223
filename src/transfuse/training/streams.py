"""Several training splits side by side: every step shows some examples of each.

Letters: B examples of a batch.
"""

from dataclasses import dataclass

import numpy as np
import torch

from transfuse.sources.inputs import joined
from transfuse.training.batches import Batch, Batches


@dataclass(frozen=True, kw_only=True)
class Streams:
    """What a step shows of every stream; `Batch.y` says of which stream an example is, `index_B` which of it."""

    parts: tuple[Batches, ...]

    @property
    def batch_size(self) -> int:
        """Examples a step, of all streams."""
        return sum(part.batch_size for part in self.parts)

    def at(self, step: int) -> Batch:
        """The batches of all streams mixed evenly, so that every piece of it holds some of each."""
        batches = [part.at(step) for part in self.parts]
        places_B = np.concatenate([(np.arange(part.batch_size) + 0.5) / part.batch_size for part in self.parts])
        order_B = torch.from_numpy(np.argsort(places_B, kind="stable"))
        streams = [torch.full((len(batch.y),), number) for number, batch in enumerate(batches)]
        return Batch(
            x=joined([batch.x for batch in batches])[order_B],
            y=torch.cat(streams)[order_B],
            weights_B=torch.cat([batch.weights_B for batch in batches])[order_B],
            index_B=torch.cat([batch.index_B for batch in batches])[order_B],
            view_B=torch.cat([batch.view_B for batch in batches])[order_B],
        )
