"""The model card: what the model is, how good it is, where it came from, in one Markdown page."""

from collections.abc import Mapping

from transfuse.core.durations import spoken
from transfuse.core.nouns import Modality, Model
from transfuse.core.provenance import walk
from transfuse.predicting.learnt import LEARNT
from transfuse.sources.inputs import described

_EXAMPLES: Mapping[Modality, str] = {
    "image": '"picture.jpg"',
    "text": '"some text"',
    "table": '{"column": 1.0}',
    "sound": '"sound.wav"',
}
"""What `predict` is given, by modality."""


def card(model: Model) -> str:
    """Markdown for the folder's README.md."""
    classes = ", ".join(model.classes[:20]) + (
        f" and {len(model.classes) - 20} more" if len(model.classes) > 20 else ""
    )
    lines = [
        f"# {model.name}",
        "",
        f"- Task: {model.kind} {model.modality}, {len(model.classes)} outputs: {classes}",
        f"- Input: {described(model.preprocessing)}",
        f"- Parameters: {sum(p.numel() for p in model.network.parameters()):,}",
        f"- Licence of the source: {model.licence}",
        "",
        "## Measured",
        "",
        *([] if model.metrics else ["Nothing since the head changed: see `transfuse evaluate`."]),
        *(line for split, metrics in model.metrics.items() for line in _measured(split, metrics)),
        "",
        "## How it was made",
        "",
    ]
    for level, step in walk(model.provenance):
        title = " ".join(part for part in (step.verb, step.method) if part)
        lines.append(f"{'  ' * level}- {title} ({spoken(step.seconds)})")
    if model.learnt is not None:
        lines += ["", "## Before you give it away", "", _warned(len(model.learnt.digests))]
    lines += [
        "",
        "## Use",
        "",
        "```python",
        "import transfuse as tr",
        f'tr.load("THIS_FOLDER").predict([{_EXAMPLES[model.modality]}])',
        "```",
        "",
    ]
    return "\n".join(lines)


def _warned(examples: int) -> str:
    """What the file beside the tensors is."""
    return (
        f"`{LEARNT}` holds sums over the features of {examples} learnt examples, and their digests and targets, for"
        " `transfuse update` and `transfuse forget`. From sums of few examples the examples can be read: where these"
        " are personal data, so is that file. Delete it before you give the model away; the answers stay the same."
    )


def _measured(split: str, metrics: Mapping[str, Mapping[str, float]]) -> list[str]:
    """One line a metric: its value on a split, with interval and n."""
    return [
        f"- {name} ({split}): {m['value']:.4f} (95 % interval {m['low']:.4f} to {m['high']:.4f}, n = {m['n']:.0f})"
        for name, m in metrics.items()
    ]
