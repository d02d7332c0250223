"""Tied weights: a head that is the embedding of tokens, stored once, twice, or by only some of the parents.

Press and Wolf, "Using the output embedding", arXiv 1608.05859. Whether a parent is tied is decided by its numbers: a
head that is not stored, or that equals the embedding, is tied. Are all parents, so is the result, and the head is not
stored; are only some, then the others' heads are read from their embeddings, and the result is untied.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from transfuse.fusing.checkpoints import Checkpoint
from transfuse.weights.headers import Entry
from transfuse.weights.pieces import stored

EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|tok_embeddings|embed_in|shared)\.weight$")
HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output|predictions\.decoder)\.weight$")
SHARED = re.compile(r"(?:^|\.)shared\.weight$")
_SPEAKING = re.compile(r"LM|Generation|PreTraining")
"""In the names of architectures that have a head over tokens."""
_BLOCK = 1 << 20


def tied_to(name: str, entries: Mapping[str, Entry]) -> Entry | None:
    """What a tensor may be tied to: a head to the embedding of tokens, an embedding to a shared one."""
    if HEAD.search(name):
        return next((entry for known, entry in entries.items() if EMBEDDING.search(known)), None)
    if EMBEDDING.search(name) and not SHARED.search(name):
        return next((entry for known, entry in entries.items() if SHARED.search(known)), None)
    return None


def with_ties(checkpoints: Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
    """Checkpoints that all have the tied tensors, or none of them."""
    found = dict(checkpoints)
    names = dict.fromkeys(n for c in found.values() for n in c.entries if HEAD.search(n) or EMBEDDING.search(n))
    for name in names:
        if EMBEDDING.search(name) and all(name in c.entries for c in found.values()):
            continue
        if all(tied_to(name, c.entries) and (name in c.entries or _may_tie(c)) for c in found.values()):
            found = _agreed(name, found)
    return found


def _may_tie(checkpoint: Checkpoint) -> bool:
    """Whether a head that is not stored can be a tied one: not where the configuration denies it, or has no head."""
    settings = checkpoint.settings
    kinds = " ".join(map(str, settings.get("architectures") or ()))
    return settings.get("tie_word_embeddings") is not False and (not kinds or bool(_SPEAKING.search(kinds)))


def _agreed(name: str, checkpoints: Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
    tied = {path: _is_tied(name, checkpoint) for path, checkpoint in checkpoints.items()}
    if all(tied.values()) and any(_says_tied(c) or name not in c.entries for c in checkpoints.values()):
        return {path: _without(name, checkpoint) for path, checkpoint in checkpoints.items()}
    lacking = [path for path, checkpoint in checkpoints.items() if name not in checkpoint.entries]
    told = f"'{name}' is tied in {', '.join(lacking)} and not in the others: the result is untied." if lacking else ""
    return {path: _with(name, checkpoint, told) for path, checkpoint in checkpoints.items()}


def _says_tied(checkpoint: Checkpoint) -> bool:
    return checkpoint.settings.get("tie_word_embeddings") is True


def _is_tied(name: str, checkpoint: Checkpoint) -> bool:
    """Whether a tensor is not stored, or is in every number the one that it may be tied to."""
    own, other = checkpoint.entries.get(name), tied_to(name, _others(name, checkpoint))
    if own is None or other is None:
        return own is None
    if own.shape != other.shape or own.dtype != other.dtype:
        return False
    return all(
        np.array_equal(stored(own, i, min(i + _BLOCK, own.count)), stored(other, i, min(i + _BLOCK, own.count)))
        for i in range(0, own.count, _BLOCK)
    )


def _others(name: str, checkpoint: Checkpoint) -> dict[str, Entry]:
    return {known: entry for known, entry in checkpoint.entries.items() if known != name}


def _without(name: str, checkpoint: Checkpoint) -> Checkpoint:
    other = tied_to(name, _others(name, checkpoint))
    assert other is not None
    if name not in checkpoint.entries:
        return checkpoint
    left = {**checkpoint.left, name: f"is tied to {other.name}"}
    return _saying(replace(checkpoint, entries=_others(name, checkpoint), left=left), name, True)


def _with(name: str, checkpoint: Checkpoint, told: str) -> Checkpoint:
    """With the tensor, read from what it is tied to where it is not stored."""
    entries, other = dict(checkpoint.entries), tied_to(name, checkpoint.entries)
    if name not in entries and other is not None:
        entries[name] = replace(other, name=name)
    notes = (*checkpoint.notes, told) if told else checkpoint.notes
    return _saying(replace(checkpoint, entries=entries, notes=notes), name, False)


def _saying(checkpoint: Checkpoint, name: str, tied: bool) -> Checkpoint:
    """With a configuration that says whether the head is tied."""
    if not HEAD.search(name) or checkpoint.settings.get("tie_word_embeddings") is tied:
        return checkpoint
    return replace(checkpoint, config={**checkpoint.config, "tie_word_embeddings": tied})
