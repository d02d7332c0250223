"""How well a language model foretells texts: perplexity, by token and by byte.

Perplexity by token depends on the tokenizer; bits a byte compare models with different ones. Every text is read alone,
its first token given, as far as the source's `max_length`.
Letters: B texts, T tokens, V tokens of the vocabulary, N texts.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transfuse.core.errors import DataError, SourceError
from transfuse.core.nouns import Report, Source, TextPreprocessing
from transfuse.core.runs import Run
from transfuse.sources.inputs import PADDING
from transfuse.sources.references import find
from transfuse.sources.texts.inputs import tokens_of
from transfuse.sources.texts.networks import language_model
from transfuse.tasks.texts.opening import texts_in
from transfuse.tasks.texts.reading import text_of

_TOKENS = 4096  # of a batch
_RESAMPLES = 1000


def perplexity(
    source: Source | str | Path, data: Any, *, trust_code: bool = False, seed: int = 0, run: Run = Run()
) -> Report:
    """Measure a causal language model on texts: a `.txt` file with one text a line, a table, or strings in memory.

    Intervals are bootstrapped over texts. Raises `SourceError` for a source that has no language model's head.
    """
    source = source if isinstance(source, Source) else find(source, trust_code=trust_code)
    if not isinstance(source.preprocessing, TextPreprocessing):
        raise SourceError(f"'{source.reference}' must be a language model, but takes no texts.")
    texts = texts_in(data)
    losses_N, tokens_N = token_losses(source, texts, run=run)
    if not tokens_N.sum():
        raise DataError("Texts must have at least two tokens for anything to be foretold, but none has.")
    bytes_N = np.array([len(text_of(text).encode("utf-8", "replace")) for text in texts])
    random = np.random.default_rng(seed).integers(0, len(texts), (_RESAMPLES, len(texts)))
    sums = losses_N[random].sum(1), tokens_N[random].sum(1), bytes_N[random].sum(1)
    count = {"n": len(texts)}
    rows = (
        {
            "metric": "perplexity",
            "value": _measured(_exp(losses_N.sum() / tokens_N.sum()), _exp(sums[0] / sums[1])) | count,
        },
        {
            "metric": "bits a byte",
            "value": _measured(losses_N.sum() / bytes_N.sum() / math.log(2), sums[0] / sums[2] / math.log(2)) | count,
        },
    )
    summary = (f"{int(tokens_N.sum())} tokens of {len(texts)} texts were foretold, each text by itself.",)
    title = f"{source.name} as a language model of {len(texts)} texts"
    return Report(title=title, columns=("metric", "value"), rows=rows, summary=summary)


def token_losses(source: Source, texts: Sequence[str], *, run: Run = Run()) -> tuple[np.ndarray, np.ndarray]:
    """Sum of −log p over the foretold tokens of each text, and their number, (N,) each; none for texts of one token."""
    assert isinstance(source.preprocessing, TextPreprocessing)
    network = language_model(source)
    rows = tokens_of(texts, source.preprocessing)
    losses_N, order = np.zeros(len(rows)), sorted(range(len(rows)), key=lambda place: -len(rows[place]))
    start = 0
    while start < len(order):
        places = order[start : start + max(1, _TOKENS // max(1, len(rows[order[start]])))]
        losses_N[places] = _losses(network, [rows[place] for place in places])
        start += len(places)
        run.watch({"stage": "foretelling", "done": start, "total": len(order), "text": source.name})
    return losses_N, np.array([max(0, len(row) - 1) for row in rows])


def _losses(network: Any, rows: Sequence[np.ndarray]) -> np.ndarray:
    width = max(2, *map(len, rows))
    ids_BT = torch.full((len(rows), width), PADDING, dtype=torch.int64)
    for place, row in enumerate(rows):
        ids_BT[place, : len(row)] = torch.from_numpy(row.astype(np.int64))
    with torch.inference_mode():
        logits_BTV = network(input_ids=ids_BT.clamp(min=0), attention_mask=(ids_BT >= 0).long()).logits[:, :-1]
        losses_BT = torch.nn.functional.cross_entropy(
            logits_BTV.float().transpose(1, 2), ids_BT[:, 1:], ignore_index=PADDING, reduction="none"
        )
    return losses_BT.sum(1).double().numpy()


def _exp(value: Any) -> Any:
    return np.exp(np.minimum(value, 700))


def _measured(value: float, resampled: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {"value": float(value), "low": float(low), "high": float(high)}
