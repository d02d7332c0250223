"""How a model answers when noise or damage has come over its inputs: a figure for each kind and severity.

Letters: N examples, B of a batch, C classes or target columns, S samples, h w pixels, c channels, K numbers of a row.
"""

import contextlib
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from transfuse.core.ahead import ahead
from transfuse.core.nouns import (
    AnyPreprocessing,
    Examples,
    JointPreprocessing,
    Model,
    Section,
    SoundPreprocessing,
    TablePreprocessing,
)
from transfuse.core.randomness import key
from transfuse.core.runs import Run
from transfuse.measuring.intervals import interval
from transfuse.measuring.metrics import PRIMARY, higher_is_better
from transfuse.perturbing import pixels, table
from transfuse.perturbing.attacks import still
from transfuse.predicting.predict import activated, probabilities
from transfuse.sources import joint_inputs
from transfuse.sources.inputs import tensor_of
from transfuse.tasks.sounds.reading import samples
from transfuse.tasks.texts.reading import text_of

Asked = Callable[[str, int], np.ndarray]
"""(name of a perturbation, severity) -> outputs (N, C); severity 0 is the example as it is."""
_BATCH = 64


def under_perturbations(
    model: Model, examples: Examples, *, seed: int = 0, run: Run = Run()
) -> tuple[dict[str, Any], str, Section]:
    """The mean over all kinds and severities as a row, in a sentence, and the table."""
    keys_N = [key(seed, "perturbation", digest) for digest in examples.digests]
    ask = _ASKING[model.modality](model, examples, keys_N)
    metric, names = PRIMARY[model.kind], list(table.PERTURBATIONS[model.modality])
    clean_NC, outputs, total = ask("", 0), {}, len(names) * len(table.SEVERITIES)
    for name in names:
        outputs[name] = [ask(name, severity) for severity in table.SEVERITIES]
        run.watch({"stage": "perturbing", "done": 5 * len(outputs), "total": total, "text": name})
    clean = _measured(model, examples, [clean_NC], seed)
    lines: list[dict[str, Any]] = [{"perturbation": "none", metric: clean}]
    for name, found in outputs.items():
        each = {f"severity {s}": _value(model, examples, o) for s, o in zip(table.SEVERITIES, found, strict=True)}
        lines.append({"perturbation": name, metric: _measured(model, examples, found, seed), **each})
    mean = _measured(model, examples, [one for found in outputs.values() for one in found], seed)
    sentence = _sentence(metric, clean, mean, lines[1:])
    content = {"columns": list(lines[-1]), "rows": lines}
    note = f"{metric} is the mean over five severities, its interval over the {len(examples)} examples."
    row = {"metric": f"{metric} under {len(names)} perturbations", "value": mean}
    return row, sentence, Section(kind="table", title="Noise and damage", content=content, note=note)


def _sentence(metric: str, clean: dict[str, float], mean: dict[str, float], lines: list[dict[str, Any]]) -> str:
    worst = (min if higher_is_better(metric) else max)(lines, key=lambda line: line[metric]["value"])
    return (
        f"Under noise and damage the {metric} is {mean['value']:.3f} ({mean['low']:.3f} to {mean['high']:.3f}, n ="
        f" {mean['n']:.0f} examples), of {clean['value']:.3f} without; worst is {worst['perturbation']} with"
        f" {worst[metric]['value']:.3f}."
    )


def _measured(model: Model, examples: Examples, outputs: list[np.ndarray], seed: int) -> dict[str, float]:
    """The metric over all of these answers, drawn by example: answers to one example are not independent."""
    repeated = np.concatenate([examples.targets] * len(outputs))
    own = examples.groups or tuple(map(str, range(len(examples))))
    groups = own * len(outputs) if len(outputs) > 1 or examples.groups else None
    found = interval(model.kind, PRIMARY[model.kind], repeated, np.concatenate(outputs), seed=seed, groups=groups)
    return {**found, "n": len(examples)}


def _value(model: Model, examples: Examples, outputs_NC: np.ndarray) -> float:
    return interval(model.kind, PRIMARY[model.kind], examples.targets, outputs_NC, resamples=2)["value"]


def _pictures(model: Model, examples: Examples, keys_N: list[int]) -> Asked:
    """Pictures are changed at the size that the network sees."""
    pictures_Nhwc = pixels.decoded(examples.items, model.preprocessing)
    network = pixels.OnPixels(model.network, model.preprocessing)

    def ask(name: str, severity: int) -> np.ndarray:
        def batch(rows_B: range) -> torch.Tensor:
            if not severity:
                return pixels.as_pixels(pictures_Nhwc[rows_B.start : rows_B.stop])
            changed = [table.picture(pictures_Nhwc[row], name, severity, keys_N[row]) for row in rows_B]
            return pixels.as_pixels(np.stack(changed))

        return _answers(model, network, batch, len(examples))

    return ask


def _sounds(model: Model, examples: Examples, keys_N: list[int]) -> Asked:
    """Sounds are changed at the rate that the source hears, before the spectrogram."""
    views = [view for view in _views(model.preprocessing) if isinstance(view, SoundPreprocessing)]
    rate, seconds = max(view.rate for view in views), max(view.seconds for view in views)
    waves = [samples(item, rate, seconds) for item in examples.items]

    def ask(name: str, severity: int) -> np.ndarray:
        changed = [
            table.sound(wave_S, name, severity, own) if severity else wave_S
            for wave_S, own in zip(waves, keys_N, strict=True)
        ]
        return probabilities(model, [(wave_S, rate) for wave_S in changed])

    return ask


def _texts(model: Model, examples: Examples, keys_N: list[int]) -> Asked:
    texts = [text_of(item) for item in examples.items]

    def ask(name: str, severity: int) -> np.ndarray:
        if not severity:
            return probabilities(model, texts)
        return probabilities(
            model, [table.text(text, name, severity, own) for text, own in zip(texts, keys_N, strict=True)]
        )

    return ask


def _rows(model: Model, examples: Examples, keys_N: list[int]) -> Asked:
    """Rows are changed as they are encoded, in every view of an ensemble alike."""
    x_NK = tensor_of(examples.items, model.preprocessing)
    views = [view for view in _views(model.preprocessing) if isinstance(view, TablePreprocessing)]
    joint = isinstance(model.preprocessing, JointPreprocessing)
    widths = [math.prod(joint_inputs.shape(view)) for view in views] if joint else [x_NK.shape[1]]

    def ask(name: str, severity: int) -> np.ndarray:
        def batch(rows_B: range) -> torch.Tensor:
            part_BK, own_B = x_NK[rows_B.start : rows_B.stop], keys_N[rows_B.start : rows_B.stop]
            if not severity:
                return part_BK
            changed = [
                table.rows(one_BK.numpy(), view, name, severity, own_B)
                for one_BK, view in zip(part_BK.split(widths, 1), views, strict=True)
            ]
            return torch.from_numpy(np.concatenate(changed, 1))

        return _answers(model, model.network, batch, len(examples))

    return ask


_ASKING: dict[str, Callable[[Model, Examples, list[int]], Asked]] = {
    "image": _pictures,
    "sound": _sounds,
    "text": _texts,
    "table": _rows,
}


def _views(preprocessing: AnyPreprocessing) -> tuple[AnyPreprocessing, ...]:
    return preprocessing.views if isinstance(preprocessing, JointPreprocessing) else (preprocessing,)


def _answers(model: Model, network: torch.nn.Module, batch: Callable[[range], torch.Tensor], count: int) -> np.ndarray:
    """What the model answers for batches that are made ahead of it, (N, C)."""
    device = next(itertools.chain(model.network.parameters(), model.network.buffers())).device
    parts = (range(start, min(start + _BATCH, count)) for start in range(0, count, _BATCH))
    made = ahead(batch, parts, workers=2, waiting=4)
    with contextlib.closing(made), torch.inference_mode(), still(network):
        found = [network(x.to(device)).float().cpu().numpy() for x in made]
    logits_NC = np.concatenate(found)
    return activated(logits_NC, model.kind, temperature=model.temperature, target_scale=model.target_scale)
